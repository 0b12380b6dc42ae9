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

/* Has row a part in the loss of o? Rows of samples only. */
static int
has_part(const struct objective *o, const struct objective_batch *b, int64_t row)
{
    if (!objective_counts(b, row))
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

/* ---- sums ---- */

static void
sum_sample(const struct objective_row *r, const struct objective_batch *b,
           const struct objective_settings *s, const struct objective_sample *sample,
           struct objective_sums *q)
{
    *q = (struct objective_sums){.reward = sample->reward, .correct = sample->correct,
                                 .group_size = (double)sample->group_size};
    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!has_part(&r->objective, b, row))
            continue;
        struct objective_token x = token_at(b, sample, row);

        if (q->length == 0.0)
            q->lse = value_at(b->lse, row);
        q->length += 1.0;
        if (b->reference != NULL)
            q->reference += x.logp - x.reference;
        if (b->behaviour != NULL)
            q->behaviour += x.logp - x.behaviour;
        if (r->gather != NULL)
            q->own += r->gather(&x, s);
    }
}

/* ---- terms ---- */

static void
run_sample(const struct objective_row *r, const struct objective_batch *b,
           const struct objective_settings *s, const struct objective_step *step,
           const struct objective_sample *sample, const struct objective_sums *q,
           struct objective_output *out, struct objective_report *report)
{
    double share = objective_share(s, step, sample, q->length), loss = 0.0, pull = 0.0;
    int first = 1;

    if (q->length == 0.0 || share == 0.0
        || ((r->objective.needs & OBJECTIVE_correct_only) && !sample->correct))
        return;
    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!has_part(&r->objective, b, row))
            continue;
        struct objective_token x = token_at(b, sample, row);
        struct objective_term term = r->term(&x, q, s);

        out->c[row] = (float)(share * term.slope);
        if (first && term.first != 0.0)
            out->e[row] = (float)(share * term.first);
        first = 0;
        loss += term.loss;
        pull += term.pull;
        report->clipped += term.clipped;
    }
    report->policy += share * loss;
    report->pull += share * pull;
}

void
objective_run_row(const struct objective_row *r, const struct objective_batch *b,
                  const struct objective_settings *s, const struct objective_step *step,
                  struct objective_output *out, struct objective_report *report)
{
    struct objective_sums *q = xarray((size_t)b->samples + 1, sizeof *q);

    for (int64_t i = 0; i < b->samples; i++)
        sum_sample(r, b, s, &b->sample[i], &q[i]);
    for (int64_t i = 0; i < b->samples; i++)
        run_sample(r, b, s, step, &b->sample[i], &q[i], out, report);
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
            if (!has_part(o, b, row))
                continue;
            tokens += 1.0;
            step->tokens += o->needs & OBJECTIVE_likelihood ? objective_weight(b, row) : 1.0;
        }
        step->samples += tokens > 0.0;
    }
}

/* The loss of a token's KL estimate; *slope to its log p. d is log pi_ref - log pi. k3 goes on as
 * its tangent beyond |d| = 20, where verl (core_algos.py, kl_penalty) would lose the gradient. */
static double
kl_term(enum objective_kl kind, double d, double *slope)
{
    const double most = 20.0;
    double at = d > most ? most : d;

    switch (kind) {
    case OBJECTIVE_k1:
        *slope = 1.0;
        return -d;
    case OBJECTIVE_k2:
        *slope = -d;
        return 0.5 * d * d;
    case OBJECTIVE_k3:
        *slope = 1.0 - exp(at);
        return exp(at) * (1.0 + (d - at)) - d - 1.0;
    default:
        *slope = 0.0;
        return 0.0;
    }
}

static void
add_terms(const struct objective *o, const struct objective_batch *b,
          const struct objective_settings *s, const struct objective_step *step,
          const struct objective_sample *sample, struct objective_output *out,
          struct objective_report *report)
{
    int64_t length = 0;
    double share, kl = 0.0, entropy = 0.0, slope;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++)
        length += has_part(o, b, row);
    share = objective_share(s, step, sample, (double)length);
    for (int64_t row = sample->first; row < sample->first + sample->count && share != 0.0; row++) {
        if (!has_part(o, b, row))
            continue;
        if (s->kl != OBJECTIVE_no_kl && !s->kl_in_reward) {
            kl += kl_term(s->kl, (double)b->reference[row] - (double)b->logp[row], &slope);
            out->c[row] = (float)((double)out->c[row] + share * s->kl_weight * slope);
        }
        if (s->entropy_weight != 0.0) {
            entropy -= (double)b->entropy[row];
            out->h[row] = (float)((double)out->h[row] - share * s->entropy_weight);
        }
    }
    report->kl_loss += share * s->kl_weight * kl;
    report->entropy_loss += share * s->entropy_weight * entropy;
}

/* The numbers to log. */
static void
count_sample(const struct objective *o, const struct objective_batch *b,
             const struct objective_sample *sample, struct objective_report *report)
{
    double ratio = 0.0, tokens = 0.0, slope;

    for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
        if (!has_part(o, b, row))
            continue;
        double logp = (double)b->logp[row];

        tokens += 1.0;
        report->logp += logp;
        report->entropy += value_at(b->entropy, row);
        if (b->reference != NULL) {
            ratio += logp - (double)b->reference[row];
            report->kl += kl_term(OBJECTIVE_k3, (double)b->reference[row] - logp, &slope);
        }
        if (b->behaviour != NULL) {
            double importance = exp(fmin(logp - (double)b->behaviour[row], 700.0));

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

    out->entry_count = 0;
    if (b->rows > 0) {
        memset(out->c, 0, bytes);
        if (out->e != NULL)
            memset(out->e, 0, bytes);
        if (out->h != NULL)
            memset(out->h, 0, bytes);
    }
    o->run(b, s, step, out, report);
    for (int64_t i = 0; i < b->samples; i++) {
        const struct objective_sample *sample = &b->sample[i];

        if ((o->needs & OBJECTIVE_correct_only) && !sample->correct)
            continue;
        if (s->kl != OBJECTIVE_no_kl || s->entropy_weight != 0.0)
            add_terms(o, b, s, step, sample, out, report);
        count_sample(o, b, sample, report);
    }
    report->loss = report->policy + report->pull + report->kl_loss + report->entropy_loss;
}
