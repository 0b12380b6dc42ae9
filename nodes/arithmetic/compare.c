/* compare: exact first, then what rounding may have done, then what may not be held against it. */
#include "nodes/arithmetic/compare.h"

#define DIGITS_MEANT 14 /* a double holds 15 digits, and a sum loses some */

static struct fraction
absolute(struct fraction a)
{
    if (a.numerator < 0)
        a.numerator = -a.numerator;
    return a;
}

/* a < b; false too where it cannot be told. */
static bool
below(struct fraction a, struct fraction b)
{
    struct fraction d;
    return fraction_add(a, b, -1, &d) && fraction_sign(d) < 0;
}

/* Of the decimals of `c`, those that count: the last digits of a double are its rounding. */
static int
meant_decimals(struct fraction c, int decimals)
{
    wide whole = c.numerator / c.denominator;
    int room = DIGITS_MEANT;

    for (; whole != 0; whole /= 10)
        room--;
    return decimals <= room ? decimals : room > 1 ? room : 1;
}

/* One unit of the last of so many decimals. */
static struct fraction
unit_of(int decimals)
{
    struct fraction unit = {1, 1};

    for (int i = 0; i < decimals && i < 36; i++)
        unit.denominator *= 10;
    return unit;
}

/* Is `c`, written with so many decimals, what `a` is when it is rounded or cut off? off = |a - c|
 */
static enum compared
rounded(struct fraction a, struct fraction c, struct fraction off, int decimals)
{
    struct fraction unit, half, scaled;

    if (decimals <= 0)
        return COMPARED_wrong;
    unit = unit_of(meant_decimals(c, decimals));
    half = (struct fraction){1, unit.denominator * 2};
    if (!below(half, off))
        return COMPARED_right;
    if (!below(off, unit) || !fraction_divide(a, unit, &scaled) || fraction_whole(scaled) ||
        !below(absolute(c), absolute(a)))
        return COMPARED_wrong;
    return decimals >= 2 ? COMPARED_right : COMPARED_nothing;
}

/* Is `c`, a lone number or a side, what `a` is? `by`: which of the two was computed. */
static enum compared
equal(struct fraction a, struct fraction c, int decimals)
{
    struct fraction off;

    if (!fraction_add(a, c, -1, &off))
        return COMPARED_nothing;
    off = absolute(off);
    return off.numerator == 0 ? COMPARED_right : rounded(a, c, off, decimals);
}

/* Is one of them exactly 100, 1000 or a million times the other: cents, percent, thousands? */
static bool
is_scaled(struct fraction a, struct fraction c)
{
    struct fraction ratio;

    if (!fraction_divide(a, c, &ratio))
        return false;
    wide n = ratio.numerator * ratio.denominator;
    return (ratio.numerator == 1 || ratio.denominator == 1) &&
           (n == 100 || n == 1000 || n == 1000000);
}

/* Does a number that c rounds to a whole one say so: of a sum the nearest, else either side of it?
 */
static bool
is_rounded_whole(const struct side *a, const struct side *c, struct fraction off)
{
    bool fine =
        a->divides || c->divides || a->percent || c->percent || a->multiplies || c->multiplies;

    return c->decimals == 0 && !fraction_whole(a->value) &&
           (fine ? below(off, (struct fraction){1, 1}) : !below((struct fraction){1, 2}, off));
}

static bool
is_same(struct fraction a, struct fraction b)
{
    return a.numerator == b.numerator && a.denominator == b.denominator;
}

static struct fraction
negated(struct fraction a)
{
    a.numerator = -a.numerator;
    return a;
}

/* Can it be written with so many decimals, so that there is nothing to round? */
static bool
is_exact(struct fraction a, int decimals)
{
    struct fraction scaled;

    return decimals > 0 && fraction_divide(a, unit_of(decimals), &scaled) && fraction_whole(scaled);
}

/* May the difference be something that is not written here? */
static bool
excused(const struct side *a, const struct side *c, bool loose)
{
    struct fraction off, part, size = absolute(a->value);
    bool product = a->divides || c->divides || a->multiplies || c->multiplies;
    bool precise = (a->operators && a->precision >= 2) || (c->operators && c->precision >= 2);

    if (a->doubt || c->doubt || c->of || !fraction_add(a->value, c->value, -1, &off))
        return true;
    if (!a->operators && a->percent != c->percent) /* 48 = 100% + 20% = 120% of the number */
        return true;
    if (!a->divides && !a->percent && a->precision == 0 && c->decimals > 0 &&
        !fraction_whole(c->value)) /* 3 * 3 = 9.90: 3 was 3.30 */
        return true;
    if (is_same(a->in_order, c->value) || (a->operators && is_same(a->value, negated(c->value))))
        return true;
    off = absolute(off);
    if (is_rounded_whole(a, c, off) || is_scaled(a->value, c->value))
        return true;
    if (product && precise && fraction_multiply(size, (struct fraction){1, 200}, &part) &&
        below(off, part))
        return true;
    if (loose && !is_exact(a->value, c->decimals) &&
        fraction_multiply(size, (struct fraction){1, 10}, &part) &&
        (below(off, part) || below(off, (struct fraction){1, 1})))
        return true;
    struct units both = a->units;
    units_merge(&both, &c->units);
    return both.mixed;
}

static enum compared
compare_equal(const struct side *a, const struct side *c, bool loose)
{
    enum compared is = equal(a->value, c->value, c->operators ? -1 : c->decimals);

    if (is < 0 && !a->operators && a->decimals > 0) /* 0.33 = 1/3 */
        is = equal(c->value, a->value, a->decimals);
    if (is < 0 && a->operators && c->operators && c->leading_decimals >= 0) {
        enum compared running = equal(a->value, c->leading, c->leading_decimals);
        if (running > is)
            is = running;
    }
    return is < 0 && excused(a, c, loose) ? COMPARED_nothing : is;
}

/* 45 rounds to 50: less than one unit of the last digit that is not a zero. */
static enum compared
compare_rounding(const struct side *a, const struct side *c)
{
    struct fraction off, unit = {1, 1};
    wide whole = c->value.numerator;

    if (c->decimals < 0 || !fraction_add(a->value, c->value, -1, &off))
        return COMPARED_nothing;
    if (c->decimals > 0)
        unit = unit_of(c->decimals);
    else
        while (whole != 0 && whole % 10 == 0 && unit.numerator < 1000000) {
            whole /= 10;
            unit.numerator *= 10;
        }
    return below(absolute(off), unit) ? COMPARED_right
           : a->doubt || c->doubt     ? COMPARED_nothing
                                      : COMPARED_wrong;
}

/* About: within 1 % is right, beyond 10 % wrong. */
static enum compared
compare_near(const struct side *a, const struct side *c)
{
    struct fraction off, part, size = absolute(a->value);
    enum compared is = compare_equal(a, c, true);

    if (is > 0 || !fraction_add(a->value, c->value, -1, &off))
        return is;
    off = absolute(off);
    if (fraction_multiply(size, (struct fraction){1, 100}, &part) && !below(part, off))
        return COMPARED_right;
    return is; /* `loose` has excused what is within 10 % */
}

enum compared
compare(const struct side *a, char relation, const struct side *c, bool loose)
{
    struct fraction d;
    struct units both = a->units;
    int sign;
    bool holds;

    if (relation == '=')
        return compare_equal(a, c, loose);
    if (relation == 'a')
        return compare_near(a, c);
    if (relation == 'r')
        return compare_rounding(a, c);
    units_merge(&both, &c->units);
    if (a->doubt || c->doubt || both.mixed || a->percent != c->percent ||
        !fraction_add(a->value, c->value, -1, &d))
        return COMPARED_nothing;
    sign = fraction_sign(d);
    holds = relation == '<'   ? sign < 0
            : relation == '>' ? sign > 0
            : relation == 'l' ? sign <= 0
            : relation == 'g' ? sign >= 0
                              : sign != 0;
    return holds ? COMPARED_right : COMPARED_wrong;
}
