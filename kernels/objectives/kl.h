/* KL(policy, reference) estimated from a sampled token: k1, k2 and k3 of Schulman's note, d = log
 * pi_ref - log pi (rl_methods 9.5; verl 1dda039 core_algos.py, kl_penalty):
 *      k1 = -d, slope to log pi 1;   k2 = d^2 / 2, -d;   k3 = exp(d) - d - 1, 1 - exp(d)
 * k3 goes on as its tangent beyond d = 20, where verl would lose the slope. */
#ifndef KERNELS_OBJECTIVES_KL_H
#define KERNELS_OBJECTIVES_KL_H

#include "kernels/objective_kind.h"
#include "kernels/objectives/math.h"

#define OBJECTIVE_KL_MAX 20.0

OBJECTIVE_FUNCTION double
objective_kl_term(enum objective_kl kind, double d, double *slope)
{
    double at = d > OBJECTIVE_KL_MAX ? OBJECTIVE_KL_MAX : d;

    switch (kind) {
    case OBJECTIVE_k1:
        *slope = 1.0;
        return -d;
    case OBJECTIVE_k2:
        *slope = -d;
        return 0.5 * d * d;
    case OBJECTIVE_k3:
        *slope = 1.0 - objective_exp(at);
        return objective_exp(at) * (1.0 + (d - at)) - d - 1.0;
    default:
        *slope = 0.0;
        return 0.0;
    }
}

#endif
