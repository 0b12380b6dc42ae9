/* Before an objective runs: advantages, and whether everything it needs is there and finite. */
#include <math.h>
#include <stddef.h>

#include "kernels/objective.h"
#include "kernels/objectives/math.h"

/* ---- advantages ---- */

static double
advantage_of(enum objective_advantages kind, const struct objective_sample *s, double reward,
             double mean, double std, double size)
{
    double apart = reward - mean, spread;

    switch (kind) {
    case OBJECTIVE_reward:
        return reward;
    case OBJECTIVE_mean:
        return apart;
    case OBJECTIVE_leave_one_out:
        return size > 1 ? apart * size / (size - 1) : reward;
    case OBJECTIVE_mean_std:
    case OBJECTIVE_gdepo:
        spread = size > 1 ? apart / (std * sqrt(size / (size - 1)) + 1e-6) : reward;
        if (kind == OBJECTIVE_mean_std)
            return spread;
        return s->correct ? fabs(spread) : -fabs(spread);
    default:
        return s->advantage;
    }
}

/* The estimate of KL(behaviour, reference) summed over a response: how far the policy that sampled
 * was from the reference (TRL f2cd577, rloo_trainer.py, with k1). */
static double
reward_kl(const struct objective_batch *b, enum objective_kl kind, const struct objective_sample *s)
{
    double sum = 0.0;

    for (int64_t row = s->first; row < s->first + s->count; row++) {
        double d;

        if (!objective_counts(b, row))
            continue;
        d = (double)b->reference[row] - (double)b->behaviour[row];
        sum += kind == OBJECTIVE_k1   ? -d
               : kind == OBJECTIVE_k2 ? 0.5 * d * d
                                      : objective_exp(fmin(d, 700.0)) - d - 1.0;
    }
    return sum;
}

/* Samples [from, to) are a group whose rewards are lowered first. */
static void
lowered_advantages(const struct objective_batch *b, const struct objective_settings *s,
                   int64_t from, int64_t to, struct objective_sample *sample)
{
    double mean = 0.0, square = 0.0, size = (double)(to - from);

    for (int64_t i = from; i < to; i++) {
        sample[i].advantage = sample[i].reward - s->kl_weight * reward_kl(b, s->kl, &sample[i]);
        mean += sample[i].advantage / size;
    }
    for (int64_t i = from; i < to; i++)
        square += (sample[i].advantage - mean) * (sample[i].advantage - mean) / size;
    for (int64_t i = from; i < to; i++)
        sample[i].advantage = advantage_of(s->advantages, &sample[i], sample[i].advantage, mean,
                                           sqrt(square), size);
}

void
objective_advantages(const struct objective_batch *b, const struct objective_settings *s,
                     struct objective_sample *sample)
{
    int64_t from = 0;

    for (int64_t i = 0; i < b->samples && s->advantages != OBJECTIVE_given; i++) {
        if (s->kl == OBJECTIVE_no_kl || !s->kl_in_reward)
            sample[i].advantage = advantage_of(s->advantages, &sample[i], sample[i].reward,
                                               sample[i].mean, sample[i].std,
                                               (double)sample[i].group_size);
        else if (i + 1 == b->samples || sample[i + 1].group != sample[i].group) {
            lowered_advantages(b, s, from, i + 1, sample);
            from = i + 1;
        }
    }
}

/* ---- check ---- */

static int
check_row(unsigned needs, const struct objective_batch *b, int64_t i, int64_t row, struct error *e)
{
    const struct { const char *name; const float *values; int wanted; } columns[] = {
        {"log probability", b->logp, 1},
        {"weight", b->weight, 1},
        {"advantage", b->advantage, 1},
        {"reference log probability", b->reference, needs & OBJECTIVE_needs_reference},
        {"behaviour log probability", b->behaviour, needs & OBJECTIVE_needs_behaviour},
        {"entropy", b->entropy, needs & OBJECTIVE_needs_entropy},
        {"logsumexp", b->lse, needs & OBJECTIVE_needs_lse},
    };

    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        if (columns[k].wanted && columns[k].values != NULL && !isfinite(columns[k].values[row]))
            return error_set(e, ERROR_input, "sample %lld, row %lld: a %s is not finite",
                             (long long)i, (long long)row, columns[k].name);
    return 0;
}

static int
check_named(unsigned needs, const struct objective_batch *b, int64_t i, struct error *e)
{
    const struct objective_sample *s = &b->sample[i];
    int64_t listed = 0;

    if (s->named_row < 0)
        return 0;
    if (s->named_row < s->first || s->named_row >= s->first + s->count || !isfinite(s->score))
        return error_set(e, ERROR_input, "sample %lld: named row %lld is not one of its rows",
                         (long long)i, (long long)s->named_row);
    if ((needs & OBJECTIVE_needs_lse) && !isfinite(b->lse[s->named_row]))
        return error_set(e, ERROR_input, "sample %lld, row %lld: a logsumexp is not finite",
                         (long long)i, (long long)s->named_row);
    for (int64_t k = 0; k < b->named; k++)
        listed += s->rank[k] != 0;
    for (int64_t k = 0; k < b->named; k++) {
        if (s->rank[k] < 0 || s->rank[k] > listed)
            return error_set(e, ERROR_input, "sample %lld: rank %d among %lld", (long long)i,
                             (int)s->rank[k], (long long)listed);
        if (!isfinite(b->named_logits[i * b->named + k]))
            return error_set(e, ERROR_input, "sample %lld: named logit %lld is not finite",
                             (long long)i, (long long)k);
    }
    return 0;
}

static int
check_sample(unsigned needs, const struct objective_batch *b, int64_t i, struct error *e)
{
    const struct objective_sample *s = &b->sample[i];
    int64_t after = i == 0 ? 0 : b->sample[i - 1].first + b->sample[i - 1].count;
    int rc = 0;

    if (s->count < 0 || s->first < after || s->first > b->rows || s->count > b->rows - s->first)
        return error_set(e, ERROR_input,
                         "sample %lld: rows %lld + %lld are not after %lld and in %lld",
                         (long long)i, (long long)s->first, (long long)s->count, (long long)after,
                         (long long)b->rows);
    if (s->group_size < 1 || !isfinite(s->reward) || !isfinite(s->mean) || !isfinite(s->std)
        || !isfinite(s->advantage))
        return error_set(e, ERROR_input,
                         "sample %lld: group of %lld, reward %g, mean %g, advantage %g",
                         (long long)i, (long long)s->group_size, s->reward, s->mean, s->advantage);
    if (!(s->weight >= 0) || isinf(s->weight))
        return error_set(e, ERROR_input, "sample %lld: weight %g", (long long)i, s->weight);
    if (i > 0 && s->group < b->sample[i - 1].group)
        return error_set(e, ERROR_input, "sample %lld: its group comes before its neighbour's",
                         (long long)i);
    if (needs & OBJECTIVE_needs_named)
        rc = check_named(needs, b, i, e);
    for (int64_t row = s->first; row < s->first + s->count && rc == 0; row++)
        if (objective_counts(b, row))
            rc = check_row(needs, b, i, row, e);
    return rc;
}

int
objective_check(const struct objective *o, const struct objective_batch *b,
                const struct objective_settings *s, struct error *e)
{
    unsigned needs = objective_needs(o, s);
    int rc = 0;

    if ((needs & OBJECTIVE_needs_reference) && b->reference == NULL)
        return error_set(e, ERROR_input, "objective %s needs reference log probabilities", o->name);
    if ((needs & OBJECTIVE_needs_behaviour) && b->behaviour == NULL)
        return error_set(e, ERROR_input, "objective %s needs behaviour log probabilities", o->name);
    if ((needs & OBJECTIVE_needs_entropy) && b->entropy == NULL)
        return error_set(e, ERROR_input, "objective %s needs entropies", o->name);
    if ((needs & OBJECTIVE_needs_lse) && b->lse == NULL)
        return error_set(e, ERROR_input, "objective %s needs logsumexps", o->name);
    if ((needs & OBJECTIVE_needs_named)
        && (b->named < 1 || b->named > OBJECTIVE_NAMED_MAX || b->named_logits == NULL
            || b->named_columns == NULL))
        return error_set(e, ERROR_input, "objective %s needs 1 to %d named logits", o->name,
                         OBJECTIVE_NAMED_MAX);
    if ((needs & OBJECTIVE_needs_named) && (needs & OBJECTIVE_named_apart)
        && b->named_values == NULL)
        return error_set(e, ERROR_input, "objective %s needs what each name is worth", o->name);
    for (int64_t i = 0; i < b->samples && rc == 0; i++)
        rc = check_sample(needs, b, i, e);
    return rc;
}

int
objective_check_entries(const struct objective *o, const struct objective_batch *b,
                        const struct objective_output *out, struct error *e)
{
    int64_t room = out->entries != NULL ? b->samples * b->named : 0, at = 0;
    int     fits = out->entry_count >= 0 && out->entry_count <= room;

    for (int64_t i = 0; i < b->samples && fits; i++) {
        const struct objective_sample *s = &b->sample[i];
        int64_t begin = at, row = s->first;

        for (; at < out->entry_count && out->entries[at].row < s->first + s->count; at++) {
            fits = fits && out->entries[at].row >= row && at - begin < b->named;
            row = out->entries[at].row;
        }
    }
    if (fits && at == out->entry_count)
        return 0;
    return error_set(e, ERROR_model,
                     "objective %s wrote %lld named logits: at most %lld for each sample, in the "
                     "order of their rows and in its rows, are understood", o->name,
                     (long long)out->entry_count, (long long)b->named);
}
