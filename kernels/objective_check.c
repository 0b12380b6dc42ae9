/* Before an objective runs: advantages, and whether everything it needs is there and finite. */
#include <math.h>
#include <stddef.h>

#include "kernels/objective.h"

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

void
objective_advantages(const struct objective_batch *b, const struct objective_settings *s,
                     struct objective_sample *sample)
{
    for (int64_t i = 0; i < b->samples; i++)
        sample[i].advantage = advantage_of(s->advantages, &sample[i], sample[i].reward,
                                           sample[i].mean, sample[i].std,
                                           (double)sample[i].group_size);
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
    for (int64_t i = 0; i < b->samples && rc == 0; i++)
        rc = check_sample(needs, b, i, e);
    return rc;
}
