/* value_parts: what value.c and value_function.c share. */
#ifndef KERNELS_ANSWER_VALUE_PARTS_H
#define KERNELS_ANSWER_VALUE_PARTS_H

#include "kernels/answer/value.h"

#define ROUND MPFR_RNDN
#define UP    MPFR_RNDU

void value_size_up(mpfr_t size, const struct value *a);   /* at least |a| */
void value_size_down(mpfr_t size, const struct value *a); /* at most |a| */

/* Adds what the rounding of the result itself may be off, several roundings deep; false: it is no
 * number. */
bool value_rounded(struct value *r);

bool value_reciprocal(struct value *r, const struct value *b);

#endif
