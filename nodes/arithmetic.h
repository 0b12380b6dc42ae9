/* arithmetic: the equations in a text, computed exactly.
 *
 * An equation is two or more sides joined by '=', of which at least one has an operator:
 * `16 - 3 - 4 = 9`, `<<48/2=24>>`, `(2 + 3) x 4 = 20`, `2 + 3 = 5 * 4 = 20` (a running
 * calculation: a side is compared with the whole of the next side, and also with the number that begins it; it holds when
 * either is equal). Operators are + - * / and x × * · ÷ \times \cdot \div, with the usual
 * precedence and parentheses; numbers may be negative, have decimals, thousands commas and a
 * currency sign in front.
 *
 * What is part of something larger is left alone: `y + 4 * 2 = 13`, `1/2 of 10 + 2 = 7`, `9:30 -
 * 1:00 = 8:30`, `3x = 6`, powers, percentages, unit letters glued to a number.
 *
 * Values are exact fractions of 127-bit integers; an equation that needs more is left alone. A
 * result written with decimals may be rounded: it is equal when |a - c| is at most half a unit of
 * c's last written digit, of which the first 14 count (a calculator writes 2.4000000000000004). A
 * whole number as the result of a division that does not come out even, off by less than 1, says
 * nothing either way (it may be rounded). */
#ifndef NODES_ARITHMETIC_H
#define NODES_ARITHMETIC_H

#include "base/memory.h"

#define ARITHMETIC_DEPTH_MAX 32     /* parentheses within parentheses */

struct arithmetic {
    int         right, wrong;       /* equations that hold and that do not */
    struct span first_wrong;        /* the text of the first that does not, borrowed ... */
    char        value[64];          /* ... and what its left side is, in decimals */
};

/* Find and compute every equation in `text`. */
void arithmetic_check(struct span text, struct arithmetic *out);

#endif
