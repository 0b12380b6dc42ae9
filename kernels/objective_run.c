/* What every objective of the table has in common: the sums that its tokens need, then each token's
 * term, aggregated. All sums are doubles in row order; a sample's bits depend on the samples its
 * scope names. And what the caller adds to any objective: KL terms, the entropy bonus, the numbers
 * to log. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/objective.h"
#include "kernels/objective_term.h"
#include "kernels/objectives/clip.h"
#include "kernels/objectives/kl.h"

/* Has row, one of the sample's, a part in the loss of o? */
static int
has_part(const struct objective *o, const struct objective_batch *b,
         const struct objective_sample *sample, int64_t row)
{
    if (!objective_counts(b, row))
        return 0;
    if ((o->needs & OBJECTIVE_named_apart) && row == sample->named_row)
        return 0;
    return !(o->needs & OBJECTIVE_likelihood) || objective_weight(b, row) != 0.0;
}

static double
value_at(const float *values, int64_t row)
{
    return values == NULL ? 0.0 : (double)values[row];
}

static struct objective_token
token_at(const struct objective_batch *b, const struct objective_sample *s, int64_t row)
{
    return (struct objective_token){
        .logp = (double)b->logp[row],
        .reference = value_at(b->reference, row),
        .behaviour = value_at(b->behaviour, row),
        .entropy = value_at(b->entropy, row),
        .weight = objective_weight(b, row),
        .advantage = objective_advantage(b, s, row),
    };
}

/* The mean of lp - lo over the tokens from `row` to the end of its step; *end: the row after. */
static double
step_ratio(const struct objective *o, const struct objective_batch *b,
           const struct objective_sample *sample, int64_t row, int64_t *end)
{
    double sum = 0.0, count = 0.0;

    for (*end = row; *end < sample->first + sample->count; ++*end) {
        if (*end > row && b->begins != NULL && b->begins[*end])
            break;
        if (!has_part(o, b, sample, *end))
            continue;
        sum += (double)b->logp[*end] - value_at(b->behaviour, *end);
        count += 1.0;
    }
    return count > 0.0 ? sum / count : 0.0;
}

/* ---- KL and entropy ---- */

struct extra {
    double kl, kl_slope;        /* of the loss's KL estimate, unweighted; to log p */
    double entropy;
};

static struct extra
extra_at(const struct objective_batch *b, const struct objective_settings *s, int64_t row)
{
    struct extra x = {0};

    if (s->kl != OBJECTIVE_no_kl && !s->kl_in_reward)
        x.kl = objective_kl_term(s->kl, (double)b->reference[row] - (double)b->logp[row],
                                 &x.kl_slope);
    if (s->entropy_weight != 0.0)
        x.entropy = (double)b->entropy[row];
    return x;
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
    double *h = xarray((size_t)sample->count + 1, sizeof *h), at, quantile;
    int64_t count = 0, below;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++)
        if (has_part(o, b, sample, row))
            h[count++] = (double)b->entropy[row];
    qsort(h, (size_t)count, sizeof *h, in_order);
    at = 0.8 * (double)(count > 0 ? count - 1 : 0);
    below = (int64_t)at;
    quantile = count == 0 ? 0.0 : h[below];
    if (below + 1 < count)
        quantile += (at - (double)below) * (h[below + 1] - h[below]);
    free(h);
    return quantile;
}

static void
sum_sample(const struct objective_row *r, const struct objective_batch *b,
           const struct objective_settings *s, const struct objective_sample *sample,
           struct objective_sums *q)
{
    *q = (struct objective_sums){.reward = sample->reward, .correct = sample->correct,
                                 .group_size = (double)sample->group_size};
    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!has_part(&r->objective, b, sample, row))
            continue;
        struct objective_token x = token_at(b, sample, row);

        if (q->length == 0.0)
            q->lse = value_at(b->lse, row);
        q->length += 1.0;
        q->advantage += x.advantage;
        if (b->reference != NULL)
            q->reference += x.logp - x.reference;
        if (b->behaviour != NULL)
            q->behaviour += x.logp - x.behaviour;
        if (r->gather != NULL)
            q->own += r->gather(&x, s);
    }
    if ((r->objective.needs & OBJECTIVE_needs_entropy) && b->entropy != NULL)
        q->surprise = surprise_of(&r->objective, b, sample);
}

/* Samples [from, to) are a group. */
static void
sum_group(const struct objective_batch *b, const struct objective_settings *s, int64_t from,
          int64_t to, struct objective_sums *q)
{
    struct objective_sums all = {0};
    double weights = 0.0, largest = -INFINITY, soft = 0.0;

    for (int64_t i = from; i < to; i++) {
        double v = b->sample[i].weight;

        if (q[i].length == 0.0)
            continue;
        all.members += 1.0;
        weights += v;
        all.mean_reference += v * q[i].reference;
        all.mean_behaviour += v * q[i].behaviour;
        all.mean_reward += v * q[i].reward;
        largest = fmax(largest, q[i].reward);
    }
    for (int64_t i = from; i < to && s->tau > 0; i++)
        soft += q[i].length > 0 ? objective_exp((q[i].reward - largest) / s->tau) : 0.0;
    for (int64_t i = from; i < to && weights > 0; i++) {
        q[i].members = all.members;
        q[i].mean_reference = all.mean_reference / weights;
        q[i].mean_behaviour = all.mean_behaviour / weights;
        q[i].mean_reward = all.mean_reward / weights;
        q[i].soft_reward = largest;
        if (s->tau > 0)
            q[i].soft_reward += s->tau * objective_log(soft / all.members);
    }
}

static double
pair_ratio(const struct objective_settings *s, const struct objective_sums *q)
{
    return s->ratio == OBJECTIVE_ratio_geometric ? q->reference / q->length : q->reference;
}

static void
sum_pairs(const struct objective_row *r, const struct objective_batch *b,
          const struct objective_settings *s, int64_t from, int64_t to, struct objective_sums *q)
{
    double correct = 0.0, wrong = 0.0;

    for (int64_t i = from; i < to; i++) {
        correct += q[i].length > 0 && q[i].correct;
        wrong += q[i].length > 0 && !q[i].correct;
    }
    for (int64_t i = from; i < to; i++)
        for (int64_t j = from; j < to; j++) {
            double slope, loss, share;

            if (!q[i].correct || q[j].correct || q[i].length == 0 || q[j].length == 0)
                continue;
            share = 0.5 * (b->sample[i].weight + b->sample[j].weight) * q[i].group_size
                    / (correct * wrong);
            loss = r->pair(pair_ratio(s, &q[i]) - pair_ratio(s, &q[j]), s, &slope);
            q[i].pair_loss += share * loss;
            q[i].pair_slope += share * slope;
            q[j].pair_slope -= share * slope;
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
        q[i].anchor = fmax(sum / count, 0.0);
}

/* ---- terms ---- */

static void
run_sample(const struct objective_row *r, const struct objective_batch *b,
           const struct objective_settings *s, const struct objective_step *step,
           const struct objective_sample *sample, const struct objective_sums *q,
           struct objective_output *out, struct objective_report *report)
{
    struct objective_sample plain = *sample;    /* a pair has its weights within */
    double share, extra, loss = 0.0, pull = 0.0, kl = 0.0, entropy = 0.0;
    double mean = 0.0;
    objective_term_function *term = r->term;
    int64_t end = sample->first;    /* of the row's step */
    int first = 1;

    extra = objective_share(s, step, sample, q->length);
    if (r->pair != NULL)
        plain.weight = 1.0;
    share = objective_share(s, step, &plain, q->length);
    if (sample->injected && (r->objective.needs & OBJECTIVE_shapes_injected))
        term = objective_term_injected;
    for (int64_t row = sample->first; row < sample->first + sample->count && share != 0.0; row++) {
        if (!has_part(&r->objective, b, sample, row))
            continue;
        struct objective_token x = token_at(b, sample, row);
        if (s->ratio == OBJECTIVE_ratio_step && row >= end)
            mean = step_ratio(&r->objective, b, sample, row, &end);
        x.step = mean;
        struct objective_term now = term(&x, q, s);
        struct extra more = extra_at(b, s, row);

        out->c[row] = (float)(share * now.slope + extra * s->kl_weight * more.kl_slope);
        if (s->entropy_weight != 0.0)
            out->h[row] = (float)(-extra * s->entropy_weight);
        kl += more.kl;
        entropy += more.entropy;
        if (first && now.first != 0.0)
            out->e[row] = (float)(share * now.first);
        first = 0;
        loss += now.loss;
        pull += now.pull;
        report->clipped += now.clipped;
    }
    report->policy += share * loss;
    report->pull += share * pull;
    report->kl_loss += extra * s->kl_weight * kl;
    report->entropy_loss -= extra * s->entropy_weight * entropy;
}

static void
run_named(const struct objective_row *r, const struct objective_batch *b,
          const struct objective_settings *s, const struct objective_step *step, int64_t i,
          struct objective_output *out, struct objective_report *report)
{
    const struct objective_sample *sample = &b->sample[i];
    double slope[OBJECTIVE_NAMED_MAX], lse;
    double share = step->samples > 0 ? sample->weight * s->lambda / step->samples : 0.0;
    struct objective_names names = {
        .count = b->named, .logits = b->named_logits + i * b->named, .values = b->named_values,
        .rank = sample->rank, .lse = value_at(b->lse, sample->named_row), .score = sample->score,
    };

    report->policy += share * r->named(&names, s, slope, &lse);
    for (int64_t k = 0; k < b->named; k++)
        out->entries[out->entry_count++] = (struct objective_entry){
            sample->named_row, b->named_columns[k], (float)(share * slope[k])};
    if (lse != 0.0)
        out->e[sample->named_row] = (float)(share * lse);
}

void
objective_run_row(const struct objective_row *r, const struct objective_batch *b,
                  const struct objective_settings *s, const struct objective_step *step,
                  struct objective_output *out, struct objective_report *report)
{
    struct objective_sums *q = xarray((size_t)b->samples + 1, sizeof *q);
    int64_t from = 0;

    for (int64_t i = 0; i < b->samples; i++)
        sum_sample(r, b, s, &b->sample[i], &q[i]);
    for (int64_t i = 1; i <= b->samples && r->objective.scope >= OBJECTIVE_group; i++) {
        if (i < b->samples && b->sample[i].group == b->sample[from].group)
            continue;
        sum_group(b, s, from, i, q);
        if (r->pair != NULL)
            sum_pairs(r, b, s, from, i, q);
        from = i;
    }
    if (r->objective.scope == OBJECTIVE_step)
        sum_step(b->samples, q);
    for (int64_t i = 0; i < b->samples; i++) {
        if ((r->objective.needs & OBJECTIVE_correct_only) && !b->sample[i].correct)
            continue;
        run_sample(r, b, s, step, &b->sample[i], &q[i], out, report);
        if (r->named != NULL && b->sample[i].named_row >= 0)
            run_named(r, b, s, step, i, out, report);
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
        if ((o->needs & OBJECTIVE_correct_only) && !sample->correct)
            continue;
        for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
            if (!has_part(o, b, sample, row))
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
        length += has_part(o, b, sample, row);
    share = objective_share(s, step, sample, (double)length);
    for (int64_t row = sample->first; row < sample->first + sample->count && share != 0.0; row++) {
        if (!has_part(o, b, sample, row))
            continue;
        struct extra more = extra_at(b, s, row);

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
    double ratio = 0.0, tokens = 0.0, slope;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!has_part(o, b, sample, row))
            continue;
        double logp = (double)b->logp[row];

        tokens += 1.0;
        report->logp += logp;
        report->entropy += value_at(b->entropy, row);
        if (b->reference != NULL) {
            ratio += logp - (double)b->reference[row];
            report->kl += objective_kl_term(OBJECTIVE_k3, (double)b->reference[row] - logp, &slope);
        }
        if (b->behaviour != NULL) {
            double importance = objective_exp(fmin(logp - (double)b->behaviour[row], 700.0));

            report->importance += importance;
            report->importance_largest = fmax(report->importance_largest, importance);
        }
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

        if ((o->needs & OBJECTIVE_correct_only) && !sample->correct)
            continue;
        if (!(o->needs & OBJECTIVE_adds_terms))
            add_terms(o, b, s, step, sample, out, report);
        count_sample(o, b, sample, report);
    }
    report->loss = report->policy + report->pull + report->kl_loss + report->entropy_loss;
}
