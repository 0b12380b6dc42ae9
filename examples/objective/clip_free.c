/* clip_free: a policy gradient whose ratio is pulled to 1 by a parabola, where PPO clips it. With
 * r = exp(lp - ref) the ratio of the policy to the initial model, which stands for the policy that
 * sampled,
 *
 *      l = -A r + |A| (r - 1)^2 / (2 clip),     dl/dlog p = r (-A + |A| (r - 1) / clip)
 *
 * For A > 0 a token is pushed up until r = 1 + clip and drawn back beyond it; for A < 0 down to
 * r = 1 - clip. No token loses its gradient by being far away. `clip_low` of the topology is the
 * clip.
 *
 * One file against one header: cc -shared -fPIC -o clip_free.so clip_free.c (see the Makefile). */
#include <math.h>

#include <sluice/objective_kind.h>

/* l of a token, *slope = dl/dlog p. */
static double
clip_free(double log_ratio, double advantage, double clip, double *slope)
{
    double r = exp(fmin(log_ratio, 20.0)), size = fabs(advantage);

    *slope = r * (-advantage + size * (r - 1.0) / clip);
    return -advantage * r + size * (r - 1.0) * (r - 1.0) / (2.0 * clip);
}

static void
run(const struct objective_batch *b, const struct objective_settings *s,
    const struct objective_step *step, struct objective_output *out,
    struct objective_report *report)
{
    for (int64_t i = 0; i < b->samples; i++) {
        const struct objective_sample *sample = &b->sample[i];
        double share = objective_share(s, step, sample, (double)objective_length(b, sample));

        for (int64_t row = sample->first; row < sample->first + sample->count; row++) {
            double slope, loss;

            if (!objective_counts(b, row))
                continue;
            loss = clip_free((double)b->logp[row] - (double)b->reference[row],
                             objective_advantage(b, sample, row), s->clip_low, &slope);
            out->c[row] = (float)(share * slope);
            report->policy += share * loss;
        }
    }
}

/* What is not said here is 0; NAN says that the objective has no such number. */
const struct objective sluice_objective = {
    .abi = OBJECTIVE_ABI,
    .name = "clip_free",
    .summary = "policy gradient with a parabola on the ratio in place of the clip",
    .source = "this file",
    .needs = OBJECTIVE_needs_reference | OBJECTIVE_needs_group | OBJECTIVE_takes_weights,
    .scope = OBJECTIVE_sequence,
    .standard = {.aggregation = OBJECTIVE_sequence_mean, .advantages = OBJECTIVE_mean_std,
                 .ratio = OBJECTIVE_ratio_none, .tau = NAN, .clip_low = 0.2, .clip_high = NAN,
                 .clip_dual = NAN, .soften_positive = NAN, .soften_negative = NAN, .lambda = NAN,
                 .kl_weight = 1e-3, .constant = NAN, .variant = -1},
    .aggregations = 1 << OBJECTIVE_sequence_mean | 1 << OBJECTIVE_token_mean,
    .run = run,
};
