/* scalar: whether two answers are the same number or formula. */
#ifndef KERNELS_ANSWER_SCALAR_H
#define KERNELS_ANSWER_SCALAR_H

#include "kernels/answer/expression.h"

/* A decimal stands for a number that no short decimal is (1/3, pi) or for another decimal when they
 * differ by at most half a unit of the sixth place, and of the sixth significant digit. */
#define SCALAR_TOLERANCE 5e-7
#define SCALAR_SHARE     5e-6

/* Exactly where both are rational, else by value at every point where both are defined (at least
 * two). 28% is 0.28, and 28 where only one side has the sign; 45 degrees are 45, and pi/4 where
 * only one side has the sign; known units must agree (unit.h). Infinities are the same by sign. */
bool scalar_same(struct expressions *all, const struct expression *a, const struct expression *b);

/* a = c b for one real constant c, not zero, at every point; positive: c > 0 too. */
bool scalar_proportional(struct expressions *all, const struct expression *a,
                         const struct expression *b, bool positive);

/* -1, 0, 1 as the numbers a < b, a = b, a > b; 2: symbols, not real, or not told. */
int scalar_order(struct expressions *all, const struct expression *a, const struct expression *b);

/* -1, 1: minus or plus infinity, 0: anything else. */
int scalar_infinity(const struct expression *e);

bool scalar_has_symbols(const struct expression *e);

#endif
