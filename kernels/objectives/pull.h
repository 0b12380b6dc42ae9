/* Policy gradients pulled by a quadratic to the policy that made the data, and the regressions of
 * S_i on the reward that are their kin. S_i = sum_t (lp_t - ref_t). */
#ifndef KERNELS_OBJECTIVES_PULL_H
#define KERNELS_OBJECTIVES_PULL_H

#include "kernels/objective_term.h"

/* bcpg, bcpg_nsa (arXiv 2505.14403, Eq 6 and 7; read in a transcription of v4):
 *      L_i = -[ sum_t b_t (r_i - rbar) lp_t - (tau/2) S_i^2 ]
 *      c_t = -(b_t A - tau S_i);   sequence_mean, tau 1e-3, b 0.5 on the gems of wrong responses
 * With sequence_sum it is Kimi k1.5's Eq 3 (arXiv 2501.12599). */
OBJECTIVE_TERM(bcpg)
{
    return (struct objective_term){
        .loss = -x->advantage * x->logp,
        .pull = 0.5 * s->tau * q->reference * q->reference / q->length,
        .slope = -(x->advantage - s->tau * q->reference),
    };
}

/* kimi, the token form (ROLL 8eb27cc kimi15; verl 1dda039 dro): l = -A lp + (tau/2) (lp - lo)^2,
 * c = -A + tau (lp - lo); tau 0.1, token_mean, A = r - mean. */
OBJECTIVE_TERM(kimi)
{
    double apart = x->logp - x->behaviour;

    (void)q;
    return (struct objective_term){
        .loss = -x->advantage * x->logp,
        .pull = 0.5 * s->tau * apart * apart,
        .slope = -x->advantage + s->tau * apart,
    };
}

/* tbrm (arXiv 2505.15311; words read, formulas RECONSTRUCTED and checked by an identity):
 *      delta = lse_1 + S_i - r_i / tau,   L_i = delta^2,   c = 2 delta, e_1 = 2 delta
 * lse_1 is of the response's first row, its slope kept; tau 0.002; sequence_sum. */
OBJECTIVE_TERM(tbrm)
{
    double delta = q->lse + q->reference - q->reward / s->tau;

    (void)x;
    return (struct objective_term){
        .loss = delta * delta / q->length, .slope = 2.0 * delta, .first = 2.0 * delta,
    };
}

/* copg (arXiv 2406.19185; read in the Command A report's notes): a group's
 *      L = (1/(k-1)) sum_{i>j} (R_i - R_j)^2 = (k/(k-1)) sum_i (R_i - mean R)^2,  R = r - tau S
 * over the k samples that are here; sequence_sum, tau 0.1 (no number was seen). A group's loss is
 * not divided by its rollouts: group_size undoes the 1/G. */
OBJECTIVE_TERM(copg)
{
    double apart = (q->reward - q->mean_reward) - s->tau * (q->reference - q->mean_reference);
    double scale = q->members > 1 ? q->group_size * q->members / (q->members - 1) : 0.0;

    (void)x;
    return (struct objective_term){
        .loss = scale * apart * apart / q->length, .slope = -2.0 * s->tau * scale * apart,
    };
}

/* gvpo (arXiv 2504.19599; verl-recipe 48ea0a7 gvpo): a group's
 *      L = (1/(2(n-1))) sum_i [ (R_i - mean R) - (r_i - rbar) ]^2,   R = tau sum_t (lp - lo)
 * means over the n samples that are here; tau 0.1; sequence_sum, as copg. */
OBJECTIVE_TERM(gvpo)
{
    double apart = s->tau * (q->behaviour - q->mean_behaviour) - (q->reward - q->mean_reward);
    double scale = q->members > 1 ? q->group_size / (q->members - 1) : 0.0;

    (void)x;
    return (struct objective_term){
        .loss = 0.5 * scale * apart * apart / q->length, .slope = s->tau * scale * apart,
    };
}

#endif
