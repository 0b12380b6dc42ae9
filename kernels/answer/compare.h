/* compare: whether an answer says what the gold says. The two are not alike in rank (the answer may
 * claim more than it was asked, the gold may not be bent), so the order of arguments counts:
 *
 *   gold a value, answer an equation     the answer's last side counts, if its other sides, where
 *                                        they are numbers, are equal to it ("1 = 2" is nothing)
 *   gold x = value, answer a value       the value counts
 *   gold an inequality, answer a set     the inequality's solution counts
 *   gold a set, answer an inequality     false: it may only restate the problem
 *   both equations                       equal up to a constant factor (inequalities: positive)
 *   1, 2 and {1, 2}                      unordered; 1, 2 and (1, 2): in this order
 *   (1, 2) and (1, 2)                    item by item, with their brackets: point or interval
 *   unions, intersections, \mathbb{R}    as subsets of the line (region.h)
 *   a column or row and a tuple          item by item; matrices: shape and items
 *   \pm                                  both values */
#ifndef KERNELS_ANSWER_COMPARE_H
#define KERNELS_ANSWER_COMPARE_H

#include "kernels/answer/expression.h"

#define COMPARE_ITEMS_MAX 128 /* of sets that are compared without order */

bool compare_answers(struct expressions *all, const struct expression *gold,
                     const struct expression *answer);

#endif
