/* evaluate: the number that a tree is. Exactly, as a rational, where all of it is rational; else as
 * a `value`, symbols being given fixed pseudo-random numbers (kernels/random.h: a function of the
 * symbol's name and the point, so that a verdict never depends on what was compared before).
 *
 * Points 0..EVALUATE_POINTS-1: the first half gives only positive numbers, even ones keep below 1,
 * so that roots, logarithms and arcs are met inside and outside of their real domain. */
#ifndef KERNELS_ANSWER_EVALUATE_H
#define KERNELS_ANSWER_EVALUATE_H

#include "kernels/answer/expression.h"
#include "kernels/answer/value.h"

#define EVALUATE_POINTS 8

struct evaluation {
    struct expressions *all;
    int point;
    bool percent_whole;   /* 28% is 28 */
    bool degrees_circular; /* 45 degrees are pi/4, as they are within sin and its kin anyway */
};

/* false: not rational, undefined, or larger than EXPRESSION_BITS_MAX. */
bool evaluate_exact(struct evaluation *v, const struct expression *e, mpq_t out);

/* false: undefined, not a number, or the work is spent. */
bool evaluate(struct evaluation *v, const struct expression *e, struct value *out);

#endif
