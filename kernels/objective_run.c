/* What every objective of the table has in common, row by row: the sums that its tokens need, then
 * each token's term, aggregated. All sums are doubles in row order; a sample's bits depend on the
 * samples its scope names. And what the caller adds to any objective: KL terms, the entropy bonus,
 * the numbers to log. The arithmetic is objective_body.h's, which kernels/cuda shares. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/objective.h"
#include "kernels/objective_body.h"

/* The mean of lp - lo over the tokens from `row` to the end of its step; *end: the row after. */
static double
step_ratio(const struct objective *o, const struct objective_batch *b,
           const struct objective_sample *sample, int64_t row, int64_t *end)
{
    double sum = 0.0, count = 0.0;

    for (*end = row; *end < sample->first + sample->count; ++*end) {
        if (*end > row && b->begins != NULL && b->begins[*end])
            break;
        if (!objective_has_part(o->needs, b, sample, *end))
            continue;
        sum += (double)b->logp[*end] - objective_value(b->behaviour, *end);
        count += 1.0;
    }
    return count > 0.0 ? sum / count : 0.0;
}

/* ---- sums ---- */

static int
in_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The 0.8 quantile of the entropies of the sample's tokens, linear between two of them. */
static double
surprise_of(const struct objective *o, const struct objective_batch *b,
            const struct objective_sample *sample)
{
    double *h = xarray((size_t)sample->count + 2, sizeof *h), quantile = 0.0;
    int64_t count = 0, below;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++)
        if (objective_has_part(o->needs, b, sample, row))
            h[count++] = (double)b->entropy[row];
    qsort(h, (size_t)count, sizeof *h, in_order);
    if (count > 0) {
        below = objective_surprise_below(count);
        h[count] = h[count - 1];            /* there may be none after it */
        quantile = objective_surprise_of(count, h[below], h[below + 1]);
    }
    free(h);
    return quantile;
}

static void
sum_sample(const struct objective *o, int index, const struct objective_batch *b,
           const struct objective_settings *s, const struct objective_sample *sample,
           struct objective_sums *q)
{
    *q = (struct objective_sums){.reward = sample->reward, .correct = sample->correct,
                                 .group_size = (double)sample->group_size};
    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!objective_has_part(o->needs, b, sample, row))
            continue;
        struct objective_token x = objective_token_at(b, sample, row);
        struct objective_parts p = objective_parts_of(index, b, s, &x);

        if (q->length == 0.0)
            q->lse = objective_value(b->lse, row);
        q->length += 1.0;
        q->advantage += p.advantage;
        q->reference += p.reference;
        q->behaviour += p.behaviour;
        q->own += p.own;
    }
    if ((o->needs & OBJECTIVE_needs_entropy) && b->entropy != NULL)
        q->surprise = surprise_of(o, b, sample);
}

/* Samples [from, to) are a group. */
static void
sum_group(const struct objective_batch *b, const struct objective_settings *s, int64_t from,
          int64_t to, struct objective_sums *q)
{
    struct objective_group_sums all = {.largest = -INFINITY};

    for (int64_t i = from; i < to; i++) {
        struct objective_group_sums one = objective_member_of(b->sample[i].weight, &q[i]);

        if (q[i].length == 0.0)
            continue;
        all.members += one.members;
        all.weights += one.weights;
        all.reference += one.reference;
        all.behaviour += one.behaviour;
        all.reward += one.reward;
        all.largest = fmax(all.largest, q[i].reward);
    }
    for (int64_t i = from; i < to && s->tau > 0; i++)
        all.soft += objective_soft_of(s, all.largest, &q[i]);
    for (int64_t i = from; i < to && all.weights > 0; i++)
        objective_group_give(s, &all, &q[i]);
}

static void
sum_pairs(int index, const struct objective_batch *b, const struct objective_settings *s,
          int64_t from, int64_t to, struct objective_sums *q)
{
    double correct = 0.0, wrong = 0.0;

    for (int64_t i = from; i < to; i++) {
        correct += q[i].length > 0 && q[i].correct;
        wrong += q[i].length > 0 && !q[i].correct;
    }
    for (int64_t i = from; i < to; i++)
        for (int64_t j = from; j < to; j++) {
            double slope, loss;

            if (!objective_is_pair(&q[i], &q[j]))
                continue;
            loss = objective_pair_parts(index, s, correct, wrong, b->sample[i].weight,
                                        b->sample[j].weight, &q[i], &q[j], &slope);
            q[i].pair_loss += loss;
            q[i].pair_slope += slope;
            q[j].pair_slope -= slope;
        }
}

static void
sum_step(int64_t samples, struct objective_sums *q)
{
    double sum = 0.0, count = 0.0;

    for (int64_t i = 0; i < samples; i++) {
        sum += q[i].length > 0 ? q[i].reference : 0.0;
        count += q[i].length > 0;
    }
    for (int64_t i = 0; i < samples && count > 0; i++)
        q[i].anchor = objective_anchor_of(sum, count);
}

/* ---- terms ---- */

static void
run_sample(const struct objective *o, int index, const struct objective_batch *b,
           const struct objective_settings *s, const struct objective_step *step,
           const struct objective_sample *sample, const struct objective_sums *q,
           struct objective_output *out, struct objective_report *report)
{
    struct objective_shares shares = objective_shares_of(index, s, step, sample, q->length);
    int injected = objective_injects(o->needs, sample);
    double loss = 0.0, pull = 0.0, kl = 0.0, entropy = 0.0, mean = 0.0;
    int64_t end = sample->first;    /* of the row's step */
    int first = 1;

    for (int64_t row = sample->first;
         row < sample->first + sample->count && shares.share != 0.0; row++) {
        if (!objective_has_part(o->needs, b, sample, row))
            continue;
        struct objective_token x = objective_token_at(b, sample, row);
        if (s->ratio == OBJECTIVE_ratio_step && row >= end)
            mean = step_ratio(o, b, sample, row, &end);
        x.step = mean;
        struct objective_solved now = objective_solve_row(index, OBJECTIVE_step, injected, s,
                                                          shares, q, &x);

        out->c[row] = now.c;
        if (s->entropy_weight != 0.0)
            out->h[row] = now.h;
        if (first && now.e != 0.0f)
            out->e[row] = now.e;
        first = 0;
        kl += now.kl;
        entropy += now.entropy;
        loss += now.loss;
        pull += now.pull;
        report->clipped += now.clipped;
    }
    report->policy += shares.share * loss;
    report->pull += shares.share * pull;
    report->kl_loss += shares.extra * s->kl_weight * kl;
    report->entropy_loss -= shares.extra * s->entropy_weight * entropy;
}

static void
run_named(int index, const struct objective_batch *b, const struct objective_settings *s,
          const struct objective_step *step, int64_t i, struct objective_output *out,
          struct objective_report *report)
{
    const struct objective_sample *sample = &b->sample[i];
    double slope[OBJECTIVE_NAMED_MAX], lse, share = objective_named_share(s, step, sample);
    struct objective_names names = {
        .count = b->named, .logits = b->named_logits + i * b->named, .values = b->named_values,
        .rank = sample->rank, .lse = objective_value(b->lse, sample->named_row),
        .score = sample->score,
    };

    report->policy += share * objective_named_of(index, &names, s, slope, &lse);
    for (int64_t k = 0; k < b->named; k++)
        out->entries[out->entry_count++] = (struct objective_entry){
            sample->named_row, b->named_columns[k], (float)(share * slope[k])};
    if (lse != 0.0)
        out->e[sample->named_row] = (float)(share * lse);
}

void
objective_run_row(const struct objective *o, int index, const struct objective_batch *b,
                  const struct objective_settings *s, const struct objective_step *step,
                  struct objective_output *out, struct objective_report *report)
{
    struct objective_sums *q = xarray((size_t)b->samples + 1, sizeof *q);
    int64_t from = 0;

    for (int64_t i = 0; i < b->samples; i++)
        sum_sample(o, index, b, s, &b->sample[i], &q[i]);
    for (int64_t i = 1; i <= b->samples && o->scope >= OBJECTIVE_group; i++) {
        if (i < b->samples && b->sample[i].group == b->sample[from].group)
            continue;
        sum_group(b, s, from, i, q);
        if (objective_has_pairs(index))
            sum_pairs(index, b, s, from, i, q);
        from = i;
    }
    if (o->scope == OBJECTIVE_step)
        sum_step(b->samples, q);
    for (int64_t i = 0; i < b->samples; i++) {
        if (!objective_runs(o->needs, &b->sample[i]))
            continue;
        run_sample(o, index, b, s, step, &b->sample[i], &q[i], out, report);
        if ((o->needs & OBJECTIVE_needs_named) && b->sample[i].named_row >= 0)
            run_named(index, b, s, step, i, out, report);
    }
    free(q);
}

/* ---- what the caller of any objective does ---- */

void
objective_measure(const struct objective *o, const struct objective_batch *b,
                  const struct objective_settings *s, struct objective_step *step)
{
    if (o->measure != NULL) {
        o->measure(b, s, step);
        return;
    }
    for (int64_t i = 0; i < b->samples; i++) {
        const struct objective_sample *sample = &b->sample[i];
        double tokens = 0.0;

        step->groups += 1.0 / (double)sample->group_size;
        if (!objective_runs(o->needs, sample))
            continue;
        for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
            if (!objective_has_part(o->needs, b, sample, row))
                continue;
            tokens += 1.0;
            step->tokens += o->needs & OBJECTIVE_likelihood ? objective_weight(b, row) : 1.0;
        }
        step->samples +=
            tokens > 0.0 || ((o->needs & OBJECTIVE_needs_named) && sample->named_row >= 0);
    }
}

/* KL and entropy of an objective that does not add them itself. */
static void
add_terms(const struct objective *o, const struct objective_batch *b,
          const struct objective_settings *s, const struct objective_step *step,
          const struct objective_sample *sample, struct objective_output *out,
          struct objective_report *report)
{
    int64_t length = 0;
    double share;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++)
        length += objective_has_part(o->needs, b, sample, row);
    share = objective_share(s, step, sample, (double)length);
    for (int64_t row = sample->first; row < sample->first + sample->count && share != 0.0; row++) {
        if (!objective_has_part(o->needs, b, sample, row))
            continue;
        struct objective_token x = objective_token_at(b, sample, row);
        struct objective_extra more = objective_extra_of(s, &x);

        out->c[row] = (float)((double)out->c[row] + share * s->kl_weight * more.kl_slope);
        if (s->entropy_weight != 0.0)
            out->h[row] = (float)((double)out->h[row] - share * s->entropy_weight);
        report->kl_loss += share * s->kl_weight * more.kl;
        report->entropy_loss -= share * s->entropy_weight * more.entropy;
    }
}

/* The numbers to log. */
static void
count_sample(const struct objective *o, const struct objective_batch *b,
             const struct objective_sample *sample, struct objective_report *report)
{
    double ratio = 0.0, tokens = 0.0;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!objective_has_part(o->needs, b, sample, row))
            continue;
        struct objective_counted n = objective_count_row(b, row);

        tokens += 1.0;
        ratio += n.ratio;
        report->logp += n.logp;
        report->entropy += n.entropy;
        report->kl += n.kl;
        report->importance += n.importance;
        report->importance_largest = fmax(report->importance_largest, n.importance);
    }
    if (tokens == 0.0)
        return;
    report->samples += 1.0;
    report->tokens += tokens;
    report->advantage += fabs(sample->advantage);
    report->ratio += ratio;
    report->ratio_largest = fmax(report->ratio_largest, fabs(ratio));
}

void
objective_run(const struct objective *o, const struct objective_batch *b,
              const struct objective_settings *s, const struct objective_step *step,
              struct objective_output *out, struct objective_report *report)
{
    size_t bytes = (size_t)b->rows * sizeof(float);
    struct objective_output given; /* where it writes is the caller's choice */

    out->entry_count = 0;
    if (b->rows > 0) {
        memset(out->c, 0, bytes);
        if (out->e != NULL)
            memset(out->e, 0, bytes);
        if (out->h != NULL)
            memset(out->h, 0, bytes);
    }
    given = *out;
    o->run(b, s, step, &given, report);
    out->entry_count = given.entry_count;
    for (int64_t i = 0; i < b->samples; i++) {
        const struct objective_sample *sample = &b->sample[i];

        if (!objective_runs(o->needs, sample))
            continue;
        if (!(o->needs & OBJECTIVE_adds_terms))
            add_terms(o, b, s, step, sample, out, report);
        count_sample(o, b, sample, report);
    }
    report->loss = report->policy + report->pull + report->kl_loss + report->entropy_loss;
}
