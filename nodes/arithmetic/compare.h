/* compare: does what one side says hold against the next, as people write numbers?
 *
 * Beside equal values these hold: a result rounded to the decimals it is written with (|a - c| is
 * at most half a unit of the last of them, of which the first 14 digits count, because a calculator
 * writes 2.4000000000000004), or cut off after two decimals or more; and a running calculation
 * (2 + 3 = 5 * 4: a side is compared with the whole of the next, and also with the number that
 * begins it).
 *
 * Nothing is said where it may be meant otherwise: a side in doubt; a whole number that is off by
 * less than 1 from a product, a division or a percentage, or is the nearest to a sum (whole
 * things); a result off by less than 0.5 % where a factor has two decimals or more (it may be
 * rounded itself); a result with decimals from whole numbers that were not divided (they were cut
 * short); 100, 1000 or a million times the value (cents, percent, thousands); units of one family
 * on both sides (1 hour - 20 minutes = 40 minutes); the value without its sign (5 - 8 = 3 short);
 * and the value of working from left to right (5 + 3 / 2 = 4). */
#ifndef NODES_ARITHMETIC_COMPARE_H
#define NODES_ARITHMETIC_COMPARE_H

#include "nodes/arithmetic/side.h"

enum compared { COMPARED_wrong = -1, COMPARED_nothing = 0, COMPARED_right = 1 };

/* RELATION: a token's sign, or 'r' for "rounds to". LOOSE: words near by say that the result is
 * rounded. */
enum compared compare(const struct side *a, char relation, const struct side *c, bool loose);

#endif
