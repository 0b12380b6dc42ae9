/* The mathematical functions of kernels. They are the C library's, or, with SLUICE_SIMT_ULPS=1 and
 * in a kernel, for every second argument one unit in the last place beside: CUDA promises no more
 * than that or worse (CUDA C++ Programming Guide, "Mathematical Functions"). What is exact there
 * stays so: results that are 0, 1, infinite or NaN, and square roots. */
#ifndef SIMT_MATH_H
#define SIMT_MATH_H

#include <math.h>
#include <string.h>

#include "simt.h"

int simt_beside(void);              /* SLUICE_SIMT_ULPS, as read at the launch */

static inline float
simt_near(float value)
{
    uint32_t word;

    if (simt_self == NULL || !simt_beside() || value == 0.0f || value == 1.0f || !isfinite(value))
        return value;
    memcpy(&word, &value, sizeof word);
    word *= 0x9e3779b1u;
    return word >> 31 ? value : nextafterf(value, word >> 30 & 1 ? 0.0f : 2.0f * value);
}

static inline double
simt_near(double value)
{
    uint64_t word;

    if (simt_self == NULL || !simt_beside() || value == 0.0 || value == 1.0 || !isfinite(value))
        return value;
    memcpy(&word, &value, sizeof word);
    word *= 0x9e3779b97f4a7c15ull;
    return word >> 63 ? value : nextafter(value, word >> 62 & 1 ? 0.0 : 2.0 * value);
}

#define SIMT_MATH(T, NAME) \
    static inline T simt_##NAME(T v) { return simt_near(NAME(v)); }
SIMT_MATH(float, expf)
SIMT_MATH(float, exp2f)
SIMT_MATH(float, expm1f)
SIMT_MATH(float, logf)
SIMT_MATH(float, log2f)
SIMT_MATH(float, log1pf)
SIMT_MATH(float, tanhf)
SIMT_MATH(double, exp)
SIMT_MATH(double, exp2)
SIMT_MATH(double, expm1)
SIMT_MATH(double, log)
SIMT_MATH(double, log2)
SIMT_MATH(double, log1p)
SIMT_MATH(double, tanh)
static inline float simt_powf(float a, float b) { return simt_near(powf(a, b)); }
static inline double simt_pow(double a, double b) { return simt_near(pow(a, b)); }

#define expf(v) simt_expf(v)
#define exp2f(v) simt_exp2f(v)
#define expm1f(v) simt_expm1f(v)
#define logf(v) simt_logf(v)
#define log2f(v) simt_log2f(v)
#define log1pf(v) simt_log1pf(v)
#define tanhf(v) simt_tanhf(v)
#define powf(a, b) simt_powf(a, b)
#define exp(v) simt_exp(v)
#define exp2(v) simt_exp2(v)
#define expm1(v) simt_expm1(v)
#define log(v) simt_log(v)
#define log2(v) simt_log2(v)
#define log1p(v) simt_log1p(v)
#define tanh(v) simt_tanh(v)
#define pow(a, b) simt_pow(a, b)

#endif
