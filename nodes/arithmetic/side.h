/* side: one side of an equation, read and computed.
 *
 * Numbers with units and notes behind them, + - * / with the usual precedence, parentheses, \frac,
 * whole powers, mixed numbers (1 1/2), percent, "of" behind a part (20% of 50, half of 10), "off"
 * behind a percentage, and signs that are written out (times, divided by). Units are words: they
 * are passed over and remembered.
 *
 * `doubt`: what was read may be meant otherwise (6 / 1/2, $50 + 20%, 1/2 of 10 + 2), so that only a
 * side that agrees says something. */
#ifndef NODES_ARITHMETIC_SIDE_H
#define NODES_ARITHMETIC_SIDE_H

#include "nodes/arithmetic/words.h"

#define SIDE_DEPTH_MAX  16  /* parentheses within parentheses */
#define SIDE_TOKENS_MAX 200 /* of one side */

/* Two readings of a percentage. */
enum side_mode {
    SIDE_share, /* 20% is 0.2; 20% off 50 is 40 */
    SIDE_points /* 20% is 20; 20% off 50 is 10 */
};

struct side {
    struct fraction value, leading; /* the whole, and the number that begins it */
    struct fraction in_order;       /* worked out from left to right, without precedence */
    int operators;
    int decimals; /* digits after the point of a side that is a lone number; else -1 */
    int leading_decimals;
    int precision; /* the most decimals of any of its numbers */
    bool divides, multiplies, percent, doubt;
    bool of;    /* a part "of" something: 1/3 of $150 */
    bool share; /* a bare fraction below 1: 4/7, 3/8 */
    bool unit;  /* words or signs of a unit were passed over */
    struct units units;
    size_t start, end; /* from its first byte to behind its last operand ... */
    size_t next;       /* ... and behind the units and notes of that */
};

/* False: there is no side at `at` that can be computed. */
bool side_read(struct span text, size_t at, enum side_mode mode, struct side *s);

#endif
