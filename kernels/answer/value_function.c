/* value_function: powers, exponentials, circles and the like of values; each bounds its error from
 * its slope. */
#include "kernels/answer/value_parts.h"

/* err *= 2 size; false where it is no small number any more. */
static bool
scale_error(struct value *r)
{
    mpfr_t size;
    bool ok = mpfr_cmp_d(r->err, 0.25) < 0;

    mpfr_init2(size, VALUE_ERROR_BITS);
    value_size_up(size, r);
    mpfr_mul(r->err, r->err, size, UP);
    mpfr_mul_2si(r->err, r->err, 1, UP);
    mpfr_clear(size);
    return ok;
}

static bool
small_angle(const mpfr_t x)
{
    return mpfr_zero_p(x) || mpfr_get_exp(x) <= VALUE_ANGLE_MAX;
}

bool
value_exp(struct value *r, const struct value *a)
{
    mpfr_t size, sine, cosine;
    bool zero;

    if (!small_angle(a->im))
        return false;
    value_set(r, a);
    mpfr_inits2(VALUE_BITS, size, sine, cosine, (mpfr_ptr)0);
    mpfr_exp(size, r->re, ROUND);
    if (value_real(r)) {
        mpfr_set(r->re, size, ROUND);
    } else {
        mpfr_sin_cos(sine, cosine, r->im, ROUND);
        mpfr_mul(r->re, size, cosine, ROUND);
        mpfr_mul(r->im, size, sine, ROUND);
    }
    zero = mpfr_zero_p(size); /* below MPFR's range: no zero, and no value either */
    mpfr_clears(size, sine, cosine, (mpfr_ptr)0);
    return !zero && scale_error(r) && value_rounded(r);
}

bool
value_log(struct value *r, const struct value *a)
{
    mpfr_t low, angle;
    bool ok;

    mpfr_init2(low, VALUE_ERROR_BITS);
    value_size_down(low, a);
    mpfr_sub(low, low, a->err, MPFR_RNDD);
    ok = mpfr_sgn(low) > 0;
    if (ok) {
        value_set(r, a);
        mpfr_init2(angle, VALUE_BITS);
        mpfr_atan2(angle, r->im, r->re, ROUND);
        mpfr_hypot(r->re, r->re, r->im, ROUND);
        mpfr_log(r->re, r->re, ROUND);
        mpfr_set(r->im, angle, ROUND);
        mpfr_div(r->err, r->err, low, UP);
        mpfr_mul_2si(r->err, r->err, 1, UP);
        if (!value_real(a)) /* hypot was rounded before its logarithm */
            mpfr_set_ui_2exp(low, 1, 4 - VALUE_BITS, UP), mpfr_add(r->err, r->err, low, UP);
        mpfr_clear(angle);
        ok = value_rounded(r);
    }
    mpfr_clear(low);
    return ok;
}

bool
value_sqrt(struct value *r, const struct value *a)
{
    mpfr_t low;
    struct value half;
    bool ok = true;

    mpfr_init2(low, VALUE_ERROR_BITS);
    value_size_down(low, a);
    value_init(&half);
    if (mpfr_cmp(low, a->err) <= 0) { /* zero, as far as one can tell */
        mpfr_sqrt(half.err, a->err, UP);
        mpfr_mul_2si(half.err, half.err, 1, UP);
        half.lossy = a->lossy;
    } else if (value_real(a)) {
        bool negative = mpfr_sgn(a->re) < 0;

        mpfr_abs(half.re, a->re, ROUND);
        mpfr_sqrt(half.re, half.re, ROUND);
        mpfr_set(low, half.re, MPFR_RNDD);
        mpfr_div(half.err, a->err, low, UP);
        half.lossy = a->lossy;
        ok = value_rounded(&half);
        if (negative)
            mpfr_swap(half.re, half.im);
    } else {
        ok = value_log(&half, a);
        mpfr_div_2ui(half.re, half.re, 1, ROUND);
        mpfr_div_2ui(half.im, half.im, 1, ROUND);
        ok = ok && value_exp(&half, &half);
    }
    value_set(r, &half);
    value_fini(&half);
    mpfr_clear(low);
    return ok;
}

bool
value_whole_power(struct value *r, const struct value *a, long n)
{
    struct value base, out;
    unsigned long left = n < 0 ? -(unsigned long)n : (unsigned long)n;
    bool ok = left <= VALUE_POWER_MAX && (n > 0 || !mpfr_zero_p(a->re) || !mpfr_zero_p(a->im));

    value_init(&base);
    value_init(&out);
    value_set(&base, a);
    value_set_double(&out, 1);
    for (; ok && left; left >>= 1) {
        if (left & 1)
            ok = value_multiply(&out, &out, &base);
        if (left > 1)
            ok = ok && value_multiply(&base, &base, &base);
    }
    if (n < 0)
        ok = ok && value_reciprocal(&out, &out);
    if (ok)
        value_set(r, &out);
    value_fini(&base);
    value_fini(&out);
    return ok;
}

bool
value_power(struct value *r, const struct value *a, const struct value *b)
{
    struct value log;
    bool ok;

    if (mpfr_zero_p(a->re) && mpfr_zero_p(a->im)) {
        if (mpfr_sgn(b->re) <= 0)
            return false;
        value_set(r, a);
        return true;
    }
    value_init(&log);
    ok = value_log(&log, a) && value_multiply(&log, &log, b) && value_exp(r, &log);
    value_fini(&log);
    return ok;
}

bool
value_root(struct value *r, const struct value *a, long n)
{
    struct value x, over;
    bool negative = value_real(a) && mpfr_sgn(a->re) < 0 && n % 2 == 1, ok;

    value_init(&x);
    value_init(&over);
    value_set(&x, a);
    if (negative)
        value_negate(&x, &x);
    mpfr_set_ui(over.re, 1, ROUND);
    mpfr_div_si(over.re, over.re, n, ROUND);
    value_rounded(&over);
    ok = n >= 1 && (n == 2 ? value_sqrt(&x, &x) : value_power(&x, &x, &over));
    if (ok && negative)
        value_negate(&x, &x);
    value_set(r, &x);
    value_fini(&x);
    value_fini(&over);
    return ok;
}

/* sin (x + iy) = sin x cosh y + i cos x sinh y, cos (x + iy) = cos x cosh y - i sin x sinh y. */
static bool
wave(struct value *r, const struct value *a, bool cosine)
{
    mpfr_t s, c, sh, ch;
    bool ok;

    if (!small_angle(a->re) || (!mpfr_zero_p(a->im) && mpfr_get_exp(a->im) > 16))
        return false;
    value_set(r, a);
    mpfr_inits2(VALUE_BITS, s, c, sh, ch, (mpfr_ptr)0);
    mpfr_sin_cos(s, c, r->re, ROUND);
    mpfr_sinh(sh, r->im, ROUND); /* not both in one: that is slow for tiny arguments */
    mpfr_cosh(ch, r->im, ROUND);
    mpfr_mul(r->re, cosine ? c : s, ch, ROUND);
    mpfr_mul(r->im, cosine ? s : c, sh, ROUND);
    if (cosine && !mpfr_zero_p(r->im))
        mpfr_neg(r->im, r->im, ROUND);
    mpfr_mul(r->err, r->err, ch, UP);
    mpfr_mul_2si(r->err, r->err, 1, UP);
    ok = value_rounded(r);
    mpfr_clears(s, c, sh, ch, (mpfr_ptr)0);
    return ok;
}

bool
value_sin(struct value *r, const struct value *a)
{
    return wave(r, a, false);
}

bool
value_cos(struct value *r, const struct value *a)
{
    return wave(r, a, true);
}

/* err / sqrt(1 - x^2) inside, sqrt(err) at the ends. */
static bool
arc(struct value *r, const struct value *a, bool cosine)
{
    mpfr_t room;
    bool ok = value_real(a) && mpfr_cmpabs_ui(a->re, 1) <= 0;

    if (!ok)
        return false;
    value_set(r, a);
    mpfr_init2(room, VALUE_ERROR_BITS);
    mpfr_sqr(room, r->re, UP);
    mpfr_ui_sub(room, 1, room, MPFR_RNDD);
    if (mpfr_sgn(room) <= 0 || mpfr_cmp(room, r->err) <= 0) {
        mpfr_sqrt(r->err, r->err, UP);
        mpfr_mul_2si(r->err, r->err, 2, UP);
    } else {
        mpfr_sqrt(room, room, MPFR_RNDD);
        mpfr_div(r->err, r->err, room, UP);
        mpfr_mul_2si(r->err, r->err, 1, UP);
    }
    mpfr_clear(room);
    if (cosine)
        mpfr_acos(r->re, r->re, ROUND);
    else
        mpfr_asin(r->re, r->re, ROUND);
    return value_rounded(r);
}

bool
value_arcsin(struct value *r, const struct value *a)
{
    return arc(r, a, false);
}

bool
value_arccos(struct value *r, const struct value *a)
{
    return arc(r, a, true);
}

bool
value_arctan(struct value *r, const struct value *a)
{
    if (!value_real(a))
        return false;
    value_set(r, a);
    mpfr_atan(r->re, r->re, ROUND);
    return value_rounded(r);
}

bool
value_abs(struct value *r, const struct value *a)
{
    value_set(r, a);
    mpfr_hypot(r->re, r->re, r->im, ROUND);
    mpfr_set_zero(r->im, 1);
    return value_rounded(r);
}

bool
value_floor(struct value *r, const struct value *a)
{
    mpfr_t whole, gap;

    if (!value_real(a) || mpfr_cmp_d(a->err, 0.125) >= 0)
        return false;
    value_set(r, a);
    mpfr_inits2(VALUE_BITS, whole, gap, (mpfr_ptr)0);
    mpfr_round(whole, r->re);
    mpfr_sub(gap, r->re, whole, ROUND);
    if (mpfr_cmpabs(gap, r->err) <= 0)
        mpfr_set(r->re, whole, ROUND);
    else
        mpfr_floor(r->re, r->re);
    mpfr_set_zero(r->err, 1);
    mpfr_clears(whole, gap, (mpfr_ptr)0);
    return true;
}

/* Gamma(a + 1); its relative slope is below log(a + 2) + 2 away from the poles. */
bool
value_factorial(struct value *r, const struct value *a)
{
    mpfr_t slope;

    if (!value_real(a) || mpfr_cmp_si(a->re, -1) <= 0 || mpfr_cmp_ui(a->re, VALUE_GAMMA_MAX) > 0)
        return false;
    value_set(r, a);
    mpfr_init2(slope, VALUE_ERROR_BITS);
    mpfr_add_ui(slope, r->re, 1, MPFR_RNDD);
    mpfr_ui_div(slope, 16, slope, UP);
    mpfr_add_ui(slope, slope, 16, UP);
    mpfr_mul(r->err, r->err, slope, UP);
    mpfr_clear(slope);
    mpfr_add_ui(r->re, r->re, 1, ROUND);
    mpfr_gamma(r->re, r->re, ROUND);
    return scale_error(r) && value_rounded(r);
}
