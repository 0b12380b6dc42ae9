/* Maximum likelihood: sft, rft, and token_class on a class head.
 *
 *      l_t = -b_t lp_t,   c_t = -b_t;   by default divided by the step's sum of b
 *
 * rft (rl_methods 9.1) is sft on the correct responses only; token_class is the cross-entropy of
 * a labelled step's class. */
#ifndef KERNELS_OBJECTIVES_LIKELIHOOD_H
#define KERNELS_OBJECTIVES_LIKELIHOOD_H

#include "kernels/objective_term.h"

OBJECTIVE_TERM(likelihood)
{
    (void)q;
    (void)s;
    return (struct objective_term){.loss = -x->weight * x->logp, .slope = -x->weight};
}

#endif
