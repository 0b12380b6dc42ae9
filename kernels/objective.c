/* The objectives, one function pair each; sums are doubles in row order. */
#include "kernels/objective.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static double
weight_at(const struct objective_batch *b, int64_t row)
{
    return b->weight == NULL ? 1.0 : (double)b->weight[row];
}

/* ---- maximum likelihood: sft, rft, token_class ---- */

static void
measure_tokens(const struct objective_batch *b, int correct_only, struct objective_step *step)
{
    for (int64_t i = 0; i < b->samples; i++) {
        const struct objective_sample *s = &b->sample[i];

        if (correct_only && !s->correct)
            continue;
        for (int64_t row = s->first; row < s->first + s->count; row++)
            step->tokens += weight_at(b, row);
    }
}

static void
run_tokens(const struct objective_batch *b, int correct_only, const struct objective_step *step,
           float *c, struct objective_report *report)
{
    for (int64_t i = 0; i < b->samples && step->tokens > 0; i++) {
        const struct objective_sample *s = &b->sample[i];
        int64_t before = (int64_t)report->tokens;

        if (correct_only && !s->correct)
            continue;
        for (int64_t row = s->first; row < s->first + s->count; row++) {
            double w = weight_at(b, row) / step->tokens;

            if (w == 0.0)
                continue;
            c[row] = (float)-w;
            report->policy -= w * (double)b->logp[row];
            report->logp += (double)b->logp[row];
            report->tokens += 1;
        }
        report->samples += (int64_t)report->tokens > before;
    }
}

static void
objective_sft_measure(const struct objective_batch *b, struct objective_step *step)
{
    measure_tokens(b, 0, step);
}

static void
objective_sft(const struct objective_batch *b, const struct objective_settings *settings,
              const struct objective_step *step, float *c, struct objective_report *report)
{
    (void)settings;
    run_tokens(b, 0, step, c, report);
}

static void
objective_rft_measure(const struct objective_batch *b, struct objective_step *step)
{
    measure_tokens(b, 1, step);
}

static void
objective_rft(const struct objective_batch *b, const struct objective_settings *settings,
              const struct objective_step *step, float *c, struct objective_report *report)
{
    (void)settings;
    run_tokens(b, 1, step, c, report);
}

/* Cross-entropy over classes has sft's form: the statistics are those of the class head. */
static void
objective_token_class_measure(const struct objective_batch *b, struct objective_step *step)
{
    measure_tokens(b, 0, step);
}

static void
objective_token_class(const struct objective_batch *b, const struct objective_settings *settings,
                      const struct objective_step *step, float *c, struct objective_report *report)
{
    (void)settings;
    run_tokens(b, 0, step, c, report);
}

/* ---- behaviour-constrained policy gradient ---- */

static void
measure_groups(const struct objective_batch *b, struct objective_step *step)
{
    for (int64_t i = 0; i < b->samples; i++) {
        step->groups += 1.0 / (double)b->sample[i].group_size;
        step->tokens += (double)b->sample[i].count;
    }
}

static void
run_groups(const struct objective_batch *b, int with_weight,
           const struct objective_settings *settings, const struct objective_step *step, float *c,
           struct objective_report *report)
{
    for (int64_t i = 0; i < b->samples && step->groups > 0; i++) {
        const struct objective_sample *s = &b->sample[i];
        double advantage = s->reward - s->mean, ratio = 0.0, share, gain = 0.0;

        if (s->count == 0)
            continue;
        share = 1.0 / (step->groups * (double)s->group_size * (double)s->count);
        for (int64_t row = s->first; row < s->first + s->count; row++)
            ratio += (double)b->logp[row] - (double)b->reference[row];
        for (int64_t row = s->first; row < s->first + s->count; row++) {
            double factor = (with_weight ? weight_at(b, row) : 1.0) * advantage;

            c[row] = (float)(-share * (factor - settings->tau * ratio));
            gain += factor * (double)b->logp[row];
            report->logp += (double)b->logp[row];
        }
        report->policy -= share * gain;
        report->pull += share * 0.5 * settings->tau * ratio * ratio;
        report->samples += 1;
        report->tokens += (double)s->count;
        report->ratio += ratio;
        if (fabs(ratio) > report->ratio_largest)
            report->ratio_largest = fabs(ratio);
    }
}

static void
objective_bcpg_measure(const struct objective_batch *b, struct objective_step *step)
{
    measure_groups(b, step);
}

static void
objective_bcpg(const struct objective_batch *b, const struct objective_settings *settings,
               const struct objective_step *step, float *c, struct objective_report *report)
{
    run_groups(b, 0, settings, step, c, report);
}

static void
objective_bcpg_nsa_measure(const struct objective_batch *b, struct objective_step *step)
{
    measure_groups(b, step);
}

static void
objective_bcpg_nsa(const struct objective_batch *b, const struct objective_settings *settings,
                   const struct objective_step *step, float *c, struct objective_report *report)
{
    run_groups(b, 1, settings, step, c, report);
}

/* ---- the table ---- */

static const struct objective objectives[] = {
#define OBJECTIVE(name_, reference_, group_, classes_, summary_) \
    {.name = #name_, .summary = summary_, .needs_reference = reference_, .needs_group = group_, \
     .classes = classes_, .measure = objective_##name_##_measure, .run = objective_##name_},
#include "kernels/objective.def"
#undef OBJECTIVE
};

#define OBJECTIVES ((int)(sizeof objectives / sizeof *objectives))

const struct objective *
objective_find(const char *name)
{
    for (int i = 0; i < OBJECTIVES; i++)
        if (strcmp(objectives[i].name, name) == 0)
            return &objectives[i];
    return NULL;
}

const struct objective *
objective_at(int index)
{
    return index >= 0 && index < OBJECTIVES ? &objectives[index] : NULL;
}

static int
check_sample(const struct objective *o, const struct objective_batch *b, int64_t i, struct error *e)
{
    const struct objective_sample *s = &b->sample[i];
    int64_t after = i == 0 ? 0 : b->sample[i - 1].first + b->sample[i - 1].count;

    if (s->count < 0 || s->first < after || s->first > b->rows || s->count > b->rows - s->first)
        return error_set(e, ERROR_input,
                         "sample %lld: rows %lld + %lld are not after %lld and in %lld",
                         (long long)i, (long long)s->first, (long long)s->count, (long long)after,
                         (long long)b->rows);
    if (o->needs_group && (s->group_size < 1 || !isfinite(s->reward) || !isfinite(s->mean)))
        return error_set(e, ERROR_input, "sample %lld: group of %lld, reward %g, mean %g",
                         (long long)i, (long long)s->group_size, s->reward, s->mean);
    for (int64_t row = s->first; row < s->first + s->count; row++)
        if (!isfinite(b->logp[row]) || !isfinite(weight_at(b, row))
            || (o->needs_reference && !isfinite(b->reference[row])))
            return error_set(e, ERROR_input,
                             "sample %lld, row %lld: a log probability or weight is not finite",
                             (long long)i, (long long)row);
    return 0;
}

int
objective_check(const struct objective *o, const struct objective_batch *b, struct error *e)
{
    int status = 0;

    if (o->needs_reference && b->reference == NULL)
        return error_set(e, ERROR_input, "objective %s needs reference log probabilities", o->name);
    for (int64_t i = 0; i < b->samples && status == 0; i++)
        status = check_sample(o, b, i, e);
    return status;
}

void
objective_measure(const struct objective *o, const struct objective_batch *b,
                  struct objective_step *step)
{
    o->measure(b, step);
}

void
objective_run(const struct objective *o, const struct objective_batch *b,
              const struct objective_settings *settings, const struct objective_step *step,
              float *c, float *e, float *h, struct objective_report *report)
{
    size_t bytes = (size_t)b->rows * sizeof(float);

    if (b->rows > 0) {
        memset(c, 0, bytes);
        if (e != NULL)
            memset(e, 0, bytes);
        if (h != NULL)
            memset(h, 0, bytes);
    }
    o->run(b, settings, step, c, report);
    report->loss = report->policy + report->pull;
}
