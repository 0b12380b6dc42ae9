/* Policy gradients without a clip: reinforce, opmd, topr. */
#ifndef KERNELS_OBJECTIVES_GRADIENT_H
#define KERNELS_OBJECTIVES_GRADIENT_H

#include "kernels/objective_term.h"
#include "kernels/objectives/math.h"

/* reinforce: l = -A lp, c = -A (verl 1dda039 gpg); sequence_mean, A = r - mean. */
OBJECTIVE_TERM(reinforce)
{
    (void)q;
    (void)s;
    return (struct objective_term){.loss = -x->advantage * x->logp, .slope = -x->advantage};
}

/* opmd (Trinity-RFT; rl_methods 1.6, read in code): l = -A lp / (1 + tau), tau 1; the baseline is
 * the group's mean (variant 0: A as `advantages` says) or tau log mean exp(r / tau) over the
 * samples that are here (variant 1). token_mean. */
OBJECTIVE_TERM(opmd)
{
    double a = s->variant == 1 ? x->weight * (q->reward - q->soft_reward) : x->advantage;
    double c = -a / (1.0 + s->tau);

    return (struct objective_term){.loss = c * x->logp, .slope = c};
}

/* topr (arXiv 2503.14286, Eq 8; read in excerpts and in ROLL's docstring): c = -w R with w = 1 for
 * R >= 0 and sg(min(1, pi/mu)) for R < 0, divided by |y|. sequence: the whole trajectory's ratio
 * (the paper); geometric: its |y|-th root (a branch of verl); token: r_t (ROLL 8eb27cc).
 * The value is that of the surrogate w R lp. */
OBJECTIVE_TERM(topr)
{
    double log_ratio = s->ratio == OBJECTIVE_ratio_token    ? x->logp - x->behaviour
                       : s->ratio == OBJECTIVE_ratio_sequence ? q->behaviour
                                                              : q->behaviour / q->length;
    double w = x->advantage >= 0 ? 1.0 : objective_exp(fmin(log_ratio, 0.0));

    return (struct objective_term){
        .loss = -w * x->advantage * x->logp,
        .slope = -w * x->advantage,
        .clipped = x->advantage < 0 && log_ratio > 0,
    };
}

#endif
