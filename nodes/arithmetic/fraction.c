/* fraction: every operation checks for overflow and reduces. */
#include "nodes/arithmetic/fraction.h"

#include <stdio.h>

#define EXPONENT_MAX 64

static wide
gcd(wide a, wide b)
{
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    while (b) {
        wide t = a % b;
        a = b;
        b = t;
    }
    return a;
}

bool
fraction_make(wide numerator, wide denominator, struct fraction *out)
{
    const wide max = (wide)1 << 126;

    if (denominator == 0 || numerator > max || numerator < -max || denominator > max ||
        denominator < -max)
        return false;
    wide g = gcd(numerator, denominator);
    if (denominator < 0)
        g = -g;
    *out = (struct fraction){numerator / g, denominator / g};
    return true;
}

bool
fraction_add(struct fraction a, struct fraction b, int sign, struct fraction *out)
{
    wide left, right, sum, denominator;

    return !__builtin_mul_overflow(a.numerator, b.denominator, &left) &&
           !__builtin_mul_overflow(b.numerator * sign, a.denominator, &right) &&
           !__builtin_add_overflow(left, right, &sum) &&
           !__builtin_mul_overflow(a.denominator, b.denominator, &denominator) &&
           fraction_make(sum, denominator, out);
}

bool
fraction_multiply(struct fraction a, struct fraction b, struct fraction *out)
{
    wide numerator, denominator;

    return !__builtin_mul_overflow(a.numerator, b.numerator, &numerator) &&
           !__builtin_mul_overflow(a.denominator, b.denominator, &denominator) &&
           fraction_make(numerator, denominator, out);
}

bool
fraction_divide(struct fraction a, struct fraction b, struct fraction *out)
{
    struct fraction turned;

    return fraction_make(b.denominator, b.numerator, &turned) && fraction_multiply(a, turned, out);
}

bool
fraction_power(struct fraction a, int exponent, struct fraction *out)
{
    struct fraction power = {1, 1};

    if (exponent < 0 || exponent > EXPONENT_MAX)
        return false;
    for (; exponent > 0; exponent--)
        if (!fraction_multiply(power, a, &power))
            return false;
    *out = power;
    return true;
}

int
fraction_sign(struct fraction a)
{
    return (a.numerator > 0) - (a.numerator < 0);
}

double
fraction_double(struct fraction a)
{
    return (double)a.numerator / (double)a.denominator;
}

bool
fraction_whole(struct fraction a)
{
    return a.denominator == 1;
}

void
fraction_print(struct fraction a, char *text, size_t room)
{
    snprintf(text, room, fraction_whole(a) ? "%.0f" : "%.6g", fraction_double(a));
}
