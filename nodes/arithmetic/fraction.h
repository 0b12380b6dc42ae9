/* fraction: exact values. Numerator and denominator are 127-bit integers in lowest terms, the
 * denominator above 0; a result that needs more is refused. */
#ifndef NODES_ARITHMETIC_FRACTION_H
#define NODES_ARITHMETIC_FRACTION_H

#include <stdbool.h>
#include <stddef.h>

typedef __int128 wide;

struct fraction {
    wide numerator, denominator;
};

/* False: it cannot be represented, or there is no such value (a division by zero); *out is kept. */
bool fraction_make(wide numerator, wide denominator, struct fraction *out);
bool fraction_add(struct fraction a, struct fraction b, int sign, struct fraction *out);
bool fraction_multiply(struct fraction a, struct fraction b, struct fraction *out);
bool fraction_divide(struct fraction a, struct fraction b, struct fraction *out);
bool fraction_power(struct fraction a, int exponent, struct fraction *out); /* exponent 0 to 64 */

int fraction_sign(struct fraction a);
double fraction_double(struct fraction a);
bool fraction_whole(struct fraction a);
/* In decimals, as a person would write it; TEXT is cut to ROOM. */
void fraction_print(struct fraction a, char *text, size_t room);

#endif
