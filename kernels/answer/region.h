/* region: a subset of the real line as intervals in order, which is what unions, intersections,
 * differences, solved inequalities and sets of numbers have in common. */
#ifndef KERNELS_ANSWER_REGION_H
#define KERNELS_ANSWER_REGION_H

#include "kernels/answer/expression.h"

#define REGION_PIECES_MAX 32

/* From low to high; NULL: minus and plus infinity. A point is low = high, both closed. */
struct region_piece {
    const struct expression *low, *high;
    bool low_closed, high_closed;
};

struct region {
    struct region_piece at[REGION_PIECES_MAX]; /* apart, in order */
    int count;
};

/* Reads a tuple of two, set, union, intersection, difference, the reals, a relation or list of
 * relations that are solved for one symbol. false: it is none, or its ends have no order. */
bool region_of(struct expressions *all, const struct expression *e, struct region *r);

/* Whether e is of a kind that only a region can compare. */
bool region_is(const struct expression *e);

bool region_same(struct expressions *all, const struct region *a, const struct region *b);

#endif
