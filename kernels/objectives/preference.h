/* Preferences: dpo and ipo on the pairs of a correct and a wrong response of a group, kto on single
 * responses. S_i = sum_t (lp_t - ref_t). A group's loss is the mean over all its pairs, and the
 * step's over all groups, 0 where one has no pair; how the BCPG-NSA paper pairs for its DPO was not
 * found. A pair weighs the mean of its samples' weights. */
#ifndef KERNELS_OBJECTIVES_PREFERENCE_H
#define KERNELS_OBJECTIVES_PREFERENCE_H

#include "kernels/objective_term.h"
#include "kernels/objectives/math.h"

/* dpo (arXiv 2305.18290, Eq 7; TRL f2cd577 dpo_trainer.py "sigmoid"): -log sigma(tau D),
 * D = S_w - S_l, sums without a length; tau 0.1 as TRL (BCPG-NSA's baseline: 0.5). */
OBJECTIVE_FUNCTION double
objective_pair_dpo(double difference, const struct objective_settings *s, double *slope)
{
    double x = s->tau * difference;

    *slope = -s->tau * objective_sigmoid(-x);
    return objective_log_sigmoid(x);
}

/* ipo (arXiv 2310.12036, Eq 17; TRL "ipo"): (D - 1/(2 tau))^2. ratio geometric: D of S / |y|, as
 * TRL and, TRL's note says, the authors; sequence: of the sums, as printed. tau 0.1. */
OBJECTIVE_FUNCTION double
objective_pair_ipo(double difference, const struct objective_settings *s, double *slope)
{
    double apart = difference - 0.5 / s->tau;

    *slope = 2.0 * apart;
    return apart * apart;
}

OBJECTIVE_TERM(pairs)
{
    (void)x;
    return (struct objective_term){
        .loss = q->pair_loss / q->length,
        .slope = s->ratio == OBJECTIVE_ratio_geometric ? q->pair_slope / q->length : q->pair_slope,
    };
}

/* kto (arXiv 2402.01306, Eq 7; TRL kto_trainer.py "kto"): 1 - sigma(+-tau (S - z0)), + for correct
 * ones; tau 0.1, both weights 1; mean over samples. z0 = max(0, mean S of the step), detached. TRL
 * estimates it from mismatched pairs (another prompt's response) of the batch instead; here the
 * policy's own responses serve, which needs no further forward pass. */
OBJECTIVE_TERM(kto)
{
    double sign = q->correct ? 1.0 : -1.0;
    double gate = objective_sigmoid(sign * s->tau * (q->reference - q->anchor));

    (void)x;
    return (struct objective_term){
        .loss = (1.0 - gate) / q->length, .slope = -sign * s->tau * gate * (1.0 - gate),
    };
}

#endif
