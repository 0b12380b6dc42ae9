/* Policy gradients pulled to the policy that made the data.
 *
 * bcpg, bcpg_nsa (BCPG-NSA, arXiv 2505.14403, Eq 6 and 7; read in a transcription of v4):
 *      L_i = -[ sum_t b_t (r_i - rbar) lp_t - (tau/2) S_i^2 ],   S_i = sum_t (lp_t - ref_t)
 *      c_t = -(b_t A - tau S_i);   sequence_mean, tau 1e-3, b = 0.5 on the gems of wrong responses
 * With sequence_sum it is Kimi k1.5's Eq 3. */
#ifndef KERNELS_OBJECTIVES_PULL_H
#define KERNELS_OBJECTIVES_PULL_H

#include "kernels/objective_term.h"

OBJECTIVE_TERM(bcpg)
{
    return (struct objective_term){
        .loss = -x->advantage * x->logp,
        .pull = 0.5 * s->tau * q->reference * q->reference / q->length,
        .slope = -(x->advantage - s->tau * q->reference),
    };
}

#endif
