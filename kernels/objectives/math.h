/* exp and log of doubles with the same bits on every C library and device: sums and products alone,
 * which the build never contracts. exp(0) is exactly 1, log(1) exactly 0; both within 2 units in
 * the last place.
 *
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2, ln 2 in two parts so that n times the first is exact; the
 * Taylor sum to r^13 / 13! (what is left out is below 1e-17). 0 below -708, inf above 709.
 * log, of positive normal numbers: x = m 2^e, m in [sqrt 1/2, sqrt 2), s = (m - 1) / (m + 1),
 * log m = 2 (s + s^3 / 3 + s^5 / 5 ...) to s^21. */
#ifndef KERNELS_OBJECTIVES_MATH_H
#define KERNELS_OBJECTIVES_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/objective_kind.h"

#define OBJECTIVE_LN2_HIGH 0x1.62e42fee00000p-1     /* the first 32 bits of ln 2 ... */
#define OBJECTIVE_LN2_LOW  0x1.a39ef35793c76p-33    /* ... and the rest */
#define OBJECTIVE_LN2      0x1.62e42fefa39efp-1

#ifndef OBJECTIVE_DIVIDE
#define OBJECTIVE_DIVIDE(a, k) ((a) / (k))      /* objective_device.cuh has a faster one */
#endif

OBJECTIVE_FUNCTION double
objective_exp(double x)
{
    double n, r, sum = 1.0, scale;
    int64_t bits;

    if (!(x >= -708.0 && x <= 709.0))
        return x < 0 ? 0.0 : x > 0 ? INFINITY : x;
    n = floor(OBJECTIVE_DIVIDE(x, OBJECTIVE_LN2) + 0.5);
    r = (x - n * OBJECTIVE_LN2_HIGH) - n * OBJECTIVE_LN2_LOW;
    for (int k = 13; k > 1; k--)
        sum = 1.0 + OBJECTIVE_DIVIDE(sum * r, k);
    sum = 1.0 + sum * r;
    bits = ((int64_t)n + 1022) << 52;           /* half of 2^n: n may be 1023 + 1 */
    memcpy(&scale, &bits, sizeof scale);
    return sum * 2.0 * scale;
}

OBJECTIVE_FUNCTION double
objective_log(double x)
{
    int64_t bits, exponent;
    double m, s, square, sum = 0.0;

    memcpy(&bits, &x, sizeof bits);
    exponent = (bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffll) | 1023ll << 52;
    memcpy(&m, &bits, sizeof m);                /* in [1, 2) */
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    s = (m - 1.0) / (m + 1.0);
    square = s * s;
    for (int k = 21; k > 1; k -= 2)
        sum = (sum + 1.0 / k) * square;
    return (double)exponent * OBJECTIVE_LN2_HIGH
           + (2.0 * s + (2.0 * s * sum + (double)exponent * OBJECTIVE_LN2_LOW));
}

OBJECTIVE_FUNCTION double
objective_log2(double x)
{
    return objective_log(x) / OBJECTIVE_LN2;
}

OBJECTIVE_FUNCTION double
objective_exp2(double x)
{
    return objective_exp(x * OBJECTIVE_LN2);
}

OBJECTIVE_FUNCTION double
objective_sigmoid(double x)
{
    double e = objective_exp(-fabs(x));

    return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

/* log(1 + exp(-x)) */
OBJECTIVE_FUNCTION double
objective_log_sigmoid(double x)
{
    return objective_log(1.0 + objective_exp(-fabs(x))) + (x < 0 ? -x : 0.0);
}

#endif
