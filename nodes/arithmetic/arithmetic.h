/* arithmetic: the equations in a text, computed exactly.
 *
 * An equation is two or more sides joined by relations, of which at least one has something to
 * compute: `16 - 3 - 4 = 9`, `<<48/2=24>>`, `\frac{3}{4} \times 20 = 15`, `3 apples x $2 = $6`,
 * `20% of 50 is 10`, `2 + 3 = 5 * 4 = 20`, `10/3 is about 3.3`, `5 + 3 > 7`. What a side may hold:
 * nodes/arithmetic/side.h; when it holds against the next: compare.h; how chains go on from one
 * formula to the next, and under the same name: equation.h.
 *
 * What is part of something larger is left alone: `y + 4 * 2 = 13`, `9:30 - 1:00 = 8:30`, `3x = 6`,
 * `f(3) + 1 = 5`. Nothing is said where it is not sure. Time is linear in the text. */
#ifndef NODES_ARITHMETIC_ARITHMETIC_H
#define NODES_ARITHMETIC_ARITHMETIC_H

#include "base/memory.h"

struct arithmetic {
    int right, wrong;        /* comparisons that hold and that do not */
    struct span first_wrong; /* the text of the first that does not, borrowed ... */
    char value[64];          /* ... and what its left side is, in decimals */
};

/* Find and compute every equation in `text`. */
void arithmetic_check(struct span text, struct arithmetic *out);

#endif
