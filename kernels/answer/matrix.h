/* matrix: sums, differences, multiples and products of matrices, written out item by item, so that
 * what is left to compare are matrices of scalars. */
#ifndef KERNELS_ANSWER_MATRIX_H
#define KERNELS_ANSWER_MATRIX_H

#include "kernels/answer/expression.h"

#define MATRIX_ITEMS_MAX 64 /* of a product's sides */

/* E itself where it holds no arithmetic of matrices; NULL where their shapes do not fit, or a bound
 * is met. */
const struct expression *matrix_written_out(struct expressions *all, const struct expression *e);

#endif
