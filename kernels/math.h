/* math: exp and log of float32 with the same bits on every instruction set and C library.
 *
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2, by adding and taking away 1.5 * 2^23; ln 2 in two parts,
 * so that n times the first is exact; a polynomial of degree 6 in r (Cephes expf); 2^n through the
 * exponent bits. At most 2 units in the last place; exp(0) is exactly 1; below -87.3 (and at -inf)
 * it is 0, above 88.37 it is inf. log: Cephes logf, for finite positive normal arguments; log(1)
 * is exactly 0. */
#ifndef KERNELS_MATH_H
#define KERNELS_MATH_H

#include "kernels/lanes.h"

#define MATH_EXP_LOW  (-87.3f)      /* results below are not normal numbers */
#define MATH_EXP_HIGH 88.37f

LANES_INLINE lanes
math_exp(lanes x)
{
    const lanes shift = lanes_all(0x1.8p23f);
    lanes       t = x * 1.44269504088896341f + shift;
    lanes       n = t - shift;
    lanes       r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    lanes       p = lanes_all(1.9875691500e-4f);

    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    p = (lanes)((lanes_uint)p + (((lanes_uint)t - (lanes_uint)shift) << 23));
    /* what came of a number too small or too large is not looked at */
    p = lanes_choose(x > MATH_EXP_HIGH, lanes_all(__builtin_inff()), p);
    return lanes_choose(x < MATH_EXP_LOW, lanes_all(0.0f), p);
}

LANES_INLINE float
math_log(float x)
{
    int32_t bits, exponent;
    float   m, f, z, y, e;

    memcpy(&bits, &x, sizeof bits);
    exponent = (bits >> 23) - 126;
    bits = (bits & 0x007fffff) | 0x3f000000;        /* m in [0.5, 1) */
    memcpy(&m, &bits, sizeof m);
    if (m < 0.707106781186547524f) {
        exponent--;
        m += m;
    }
    f = m - 1.0f;
    z = f * f;
    y = 7.0376836292e-2f;
    y = y * f - 1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f - 1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f - 1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f - 2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    e = (float)exponent;
    y = ((y * f) * z + e * -2.12194440e-4f) - 0.5f * z;
    return (f + y) + e * 0.693359375f;
}

#endif
