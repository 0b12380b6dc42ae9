/* value: a complex number with a bound on its error. MPFR rounds every operation correctly, so a
 * value has the same bits on every machine and with every C library; the bound tells "equal" from
 * "not told apart": two values are equal when they differ by no more than their bounds and the
 * bounds are tiny. A sum that swallows a term (1 + 1e-200) is marked lossy and equals nothing.
 *
 * Every function sets *R, which may be an operand, and is false where the result is undefined or
 * beyond a bound. err is absolute, at least 0. */
#ifndef KERNELS_ANSWER_VALUE_H
#define KERNELS_ANSWER_VALUE_H

#include <gmp.h>
#include <mpfr.h>
#include <stdbool.h>

#define VALUE_BITS       384
#define VALUE_ERROR_BITS 32
#define VALUE_ANGLE_MAX  1000  /* log2 of the largest argument of sin and its kin */
#define VALUE_GAMMA_MAX  20000 /* largest argument of the gamma function */
#define VALUE_POWER_MAX  4096  /* larger whole powers go by logarithms */

struct value {
    mpfr_t re, im, err;
    bool lossy;
};

void value_init(struct value *v);
void value_fini(struct value *v);

void value_set(struct value *r, const struct value *a);
void value_set_exact(struct value *r, const mpq_t q);
void value_set_double(struct value *r, double x); /* exactly */
void value_set_pi(struct value *r);

bool value_real(const struct value *a);
bool value_add(struct value *r, const struct value *a, const struct value *b);
bool value_subtract(struct value *r, const struct value *a, const struct value *b);
void value_negate(struct value *r, const struct value *a);
bool value_multiply(struct value *r, const struct value *a, const struct value *b);
bool value_divide(struct value *r, const struct value *a, const struct value *b);
bool value_exp(struct value *r, const struct value *a);
bool value_log(struct value *r, const struct value *a);
bool value_sqrt(struct value *r, const struct value *a);
bool value_power(struct value *r, const struct value *a, const struct value *b);
bool value_whole_power(struct value *r, const struct value *a, long n);

/* The real root of a negative real where n is odd, else the principal one. n >= 1. */
bool value_root(struct value *r, const struct value *a, long n);

bool value_sin(struct value *r, const struct value *a);
bool value_cos(struct value *r, const struct value *a);
bool value_arcsin(struct value *r, const struct value *a); /* of reals, as the next two */
bool value_arccos(struct value *r, const struct value *a);
bool value_arctan(struct value *r, const struct value *a);
bool value_abs(struct value *r, const struct value *a);
bool value_floor(struct value *r, const struct value *a);
bool value_factorial(struct value *r, const struct value *a);

/* -1, 0, 1 as the reals a < b, a = b within the bounds, a > b; 2: not told, or not real. */
int value_order(const struct value *a, const struct value *b);

bool value_same(const struct value *a, const struct value *b);

/* |a - b| <= min(most, share * max(|a|, |b|)). */
bool value_near(const struct value *a, const struct value *b, double share, double most);

#endif
