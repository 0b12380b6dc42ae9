/* select: see select.h. */
#include "nodes/learner/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "kernels/random.h"

#define EPOCH_SHIFT 40

static int64_t
learnt_of(const struct sample *s)
{
    return s->count - s->context;
}

static int64_t
group_end(const struct sample *samples, int64_t count, int64_t i)
{
    uint64_t first = samples[i].first;

    while (i < count && samples[i].first == first)
        i++;
    return i;
}

/* ---- rewards ---- */

static double
overlong(const struct select_rules *rules, const struct sample *s)
{
    double over = (double)(learnt_of(s) - (rules->overlong_length - rules->overlong_buffer));

    if (rules->overlong_length == 0 || over <= 0)
        return 0;
    return -fmin(over / (double)rules->overlong_buffer, 1) * rules->overlong_factor;
}

static int
compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static double
repetition(const struct select_rules *rules, const struct sample *s)
{
    int64_t n = rules->repetition_ngram, total = learnt_of(s) - n + 1, distinct = 0;
    uint64_t *hashes;

    if (rules->repetition_penalty == 0 || s->correct || total <= 0)
        return 0;
    hashes = xarray((size_t)total, sizeof(*hashes));
    for (int64_t i = 0; i < total; i++)
        hashes[i] = XXH3_64bits(s->ids + s->context + i, (size_t)n * sizeof(*s->ids));
    qsort(hashes, (size_t)total, sizeof(*hashes), compare_hashes);
    for (int64_t i = 0; i < total; i++)
        distinct += i == 0 || hashes[i] != hashes[i - 1];
    free(hashes);
    return (1 - (double)distinct / (double)total) * rules->repetition_penalty;
}

/* What the group [0, count) gives its correct ones for being short; *mean: their mean length. */
static bool
relative_length(const struct select_rules *rules, const struct sample *group, int64_t count,
                double *mean)
{
    double length = 0;
    int64_t correct = 0;

    for (int64_t i = 0; i < count; i++) {
        correct += group[i].correct;
        length += group[i].correct ? (double)learnt_of(&group[i]) : 0;
    }
    *mean = correct > 0 ? length / (double)correct : 0;
    return rules->rlr_base > 0 && correct > 0 &&
           (double)correct >= rules->rlr_ratio * (double)count;
}

static double
clip(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

/* The mean and spread of the group's rewards after members [0, count) gained `more`. The others of
 * the group_size that were emitted keep the reward they had: with d = r - mean of before, the sum
 * of squares about the new mean is sum d^2 + sum (2 d more + more^2) - (sum more)^2 / G. */
static void
restate(struct sample *group, int64_t count, const double *more)
{
    double size = fmax((double)group[0].group_size, (double)count), gained = 0;
    double squares = size * group[0].std * group[0].std, mean, std;

    for (int64_t i = 0; i < count; i++) {
        gained += more[i];
        squares += more[i] * (2 * (group[i].reward - more[i] - group[0].mean) + more[i]);
    }
    mean = group[0].mean + gained / size;
    std = sqrt(fmax(squares - gained * gained / size, 0) / size);
    for (int64_t i = 0; i < count; i++) {
        group[i].mean = mean;
        group[i].std = std;
    }
}

static void
shape_group(const struct select_rules *rules, struct sample *group, int64_t count)
{
    double length, *more = xarray((size_t)count, sizeof(*more));
    bool relative = relative_length(rules, group, count, &length), changed = false;

    for (int64_t i = 0; i < count; i++) {
        struct sample *s = &group[i];

        more[i] = overlong(rules, s) + repetition(rules, s);
        if (relative && s->correct)
            more[i] += clip((length - (double)learnt_of(s)) / rules->rlr_base, rules->rlr_low,
                            rules->rlr_high);
        s->reward += more[i];
        changed = changed || more[i] != 0;
    }
    if (changed)
        restate(group, count, more);
    free(more);
}

void
select_shape(const struct select_rules *rules, struct sample *samples, int64_t count)
{
    if (rules->overlong_length == 0 && rules->rlr_base == 0 && rules->repetition_penalty == 0)
        return;
    for (int64_t i = 0, end; i < count; i = end) {
        end = group_end(samples, count, i);
        shape_group(rules, samples + i, end - i);
    }
}

/* ---- masks ---- */

/* A mask of the sample's own that may be written. */
static uint8_t *
own_mask(struct sample *s, struct arena *arena)
{
    uint8_t *mask = arena_take(arena, (size_t)learnt_of(s));

    for (int64_t i = 0; i < learnt_of(s); i++)
        mask[i] = s->mask ? s->mask[i] : 1;
    s->mask = mask;
    return mask;
}

static bool
leaves_out(const struct select_rules *rules, const struct sample *s, int64_t i)
{
    if (rules->mask_truncated && s->truncated)
        return true;
    if (i == s->named) /* its logits count, whatever its likelihood */
        return false;
    if (s->marks[i] & SAMPLE_masked)
        return true;
    return rules->stm_threshold > 0 && s->reference && (s->correct || !rules->stm_positive_only) &&
           exp(-(double)s->reference[i]) > rules->stm_threshold;
}

void
select_mask(const struct select_rules *rules, struct sample *samples, int64_t count,
            struct arena *arena)
{
    for (int64_t i = 0; i < count; i++) {
        struct sample *s = &samples[i];
        uint8_t *mask = NULL;

        for (int64_t t = 0; t < learnt_of(s); t++)
            if (leaves_out(rules, s, t)) {
                mask = mask ? mask : own_mask(s, arena);
                mask[t] = 0;
            }
    }
}

bool
select_masks(const struct select_rules *rules)
{
    return rules->stm_threshold > 0 || rules->mask_truncated || rules->token_budget > 0;
}

bool
select_prunes(const struct select_rules *rules)
{
    return rules->prune_prompts > 0 || rules->prune_completions > 0;
}

int64_t
select_rows(const struct sample *s)
{
    int64_t rows = 0;

    for (int64_t i = 0; i < learnt_of(s); i++)
        rows += !s->mask || s->mask[i];
    return rows;
}

/* ---- pruning ---- */

double
select_probability(double rate, double rank, int64_t n)
{
    double place = (rank + 0.5) / (double)n; /* in (0, 1), its mean over the ranks is 1/2 */
    double p = rate <= 0.5 ? 2 * rate * (1 - place) : 1 - 2 * (1 - rate) * place;

    return p < SELECT_PRUNE_MAX ? p : SELECT_PRUNE_MAX;
}

/* Ranks of values [0, n) in rising order; equal ones share the middle of theirs, so that a rank is
 * a function of the value and not of its place. */
static void
rank_of(const double *values, int64_t n, double *ranks)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t below = 0, equal = 0;

        for (int64_t k = 0; k < n; k++) {
            below += values[k] < values[i];
            equal += values[k] == values[i];
        }
        ranks[i] = (double)below + 0.5 * (double)(equal - 1);
    }
}

/* Draws for [0, count) of one sample or one prompt that has probability p. */
static void
draw(struct sample *samples, int64_t count, double p, enum random_purpose purpose, uint64_t seed,
     uint64_t epoch)
{
    bool out = random_unit(seed, purpose, (epoch << EPOCH_SHIFT) + samples[0].ordinal) < p;

    for (int64_t i = 0; i < count; i++) {
        samples[i].pruned = samples[i].pruned || out;
        samples[i].weight /= 1 - p;
    }
}

static void
prune_prompts(const struct select_rules *rules, struct sample *samples, const double *advantages,
              int64_t count, uint64_t seed, uint64_t epoch)
{
    double *values = xarray((size_t)count + 1, 2 * sizeof(*values)), *ranks = values + count + 1;
    int64_t groups = 0;

    for (int64_t i = 0, end; i < count; i = end, groups++) {
        end = group_end(samples, count, i);
        for (int64_t k = i; k < end; k++)
            values[groups] += fabs(advantages[k]) / (double)(end - i);
    }
    rank_of(values, groups, ranks);
    for (int64_t i = 0, end, g = 0; i < count; i = end, g++) {
        end = group_end(samples, count, i);
        draw(samples + i, end - i, select_probability(rules->prune_prompts, ranks[g], groups),
             RANDOM_prune_prompts, seed, epoch);
    }
    free(values);
}

static void
prune_completions(const struct select_rules *rules, struct sample *samples,
                  const double *advantages, int64_t count, uint64_t seed, uint64_t epoch)
{
    double *values = xarray((size_t)count, 2 * sizeof(*values)), *ranks = values + count;

    for (int64_t i = 0; i < count; i++)
        values[i] = fabs(advantages[i]);
    rank_of(values, count, ranks);
    for (int64_t i = 0; i < count; i++)
        draw(samples + i, 1, select_probability(rules->prune_completions, ranks[i], count),
             RANDOM_prune_completions, seed, epoch);
    free(values);
}

void
select_prune(const struct select_rules *rules, struct sample *samples, const double *advantages,
             int64_t count, bool history, uint64_t seed, uint64_t epoch)
{
    if (rules->prune_prompts > 0 && history && count > 0)
        prune_prompts(rules, samples, advantages, count, seed, epoch);
    for (int64_t i = 0, end; rules->prune_completions > 0 && i < count; i = end) {
        end = group_end(samples, count, i);
        prune_completions(rules, samples + i, advantages + i, end - i, seed, epoch);
    }
}

/* ---- budget ---- */

void
select_budget(const struct select_rules *rules, struct sample *samples, int64_t count,
              struct arena *arena)
{
    int64_t left = rules->token_budget;

    for (int64_t i = 0; rules->token_budget > 0 && i < count; i++) {
        struct sample *s = &samples[i];
        int64_t rows = s->pruned ? 0 : select_rows(s);
        uint8_t *mask = rows > left ? own_mask(s, arena) : NULL;

        for (int64_t t = 0; mask && t < learnt_of(s); t++)
            if (mask[t] && left-- <= 0)
                mask[t] = 0;
        left = mask ? 0 : left - rows;
    }
}

/* ---- packing ---- */

static int
compare_places(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int64_t
pack_in_order(const int64_t *tokens_of, int64_t count, int64_t tokens, int64_t *order,
              int64_t *starts)
{
    int64_t batches = 0, filled = 0;

    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || filled + tokens_of[i] > tokens) {
            starts[batches++] = i;
            filled = 0;
        }
        filled += tokens_of[i];
        order[i] = i;
    }
    starts[batches] = count;
    return batches;
}

/* The longest of pending [0, n) that fits into `room`; -1: none. The first of equals. */
static int64_t
longest_that_fits(const int64_t *tokens_of, const int64_t *pending, int64_t n, int64_t room)
{
    int64_t best = -1;

    for (int64_t k = 0; k < n; k++)
        if (tokens_of[pending[k]] <= room &&
            (best < 0 || tokens_of[pending[k]] > tokens_of[pending[best]]))
            best = k;
    return best;
}

int64_t
select_pack(const int64_t *tokens_of, int64_t count, int64_t tokens, int64_t window, int64_t *order,
            int64_t *starts)
{
    int64_t pending[SELECT_WINDOW_MAX], waiting = 0, next = 0, placed = 0, batches = 0, room = 0;

    if (window <= 0)
        return pack_in_order(tokens_of, count, tokens, order, starts);
    window = window > SELECT_WINDOW_MAX ? SELECT_WINDOW_MAX : window;
    while (placed < count) {
        int64_t best;

        while (waiting < window && next < count)
            pending[waiting++] = next++;
        best = longest_that_fits(tokens_of, pending, waiting, room);
        if (best < 0) { /* the batch is full; a sample longer than a batch has one of its own */
            starts[batches++] = placed;
            room = tokens;
            best = longest_that_fits(tokens_of, pending, waiting, room);
            best = best < 0 ? 0 : best;
        }
        order[placed++] = pending[best];
        room -= tokens_of[pending[best]];
        memmove(pending + best, pending + best + 1, (size_t)(--waiting - best) * sizeof(*pending));
    }
    starts[batches] = count;
    for (int64_t b = 0; b < batches; b++)
        qsort(order + starts[b], (size_t)(starts[b + 1] - starts[b]), sizeof(*order),
              compare_places);
    return batches;
}
