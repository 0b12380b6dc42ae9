/* value: MPFR numbers in pairs. `err` is computed in 32 bits, rounded up; the bounds are crude, the
 * precision is generous. */
#include "kernels/answer/value.h"

#define ROUND MPFR_RNDN
#define UP    MPFR_RNDU

void
value_init(struct value *v)
{
    mpfr_inits2(VALUE_BITS, v->re, v->im, (mpfr_ptr)0);
    mpfr_init2(v->err, VALUE_ERROR_BITS);
    mpfr_set_zero(v->re, 1);
    mpfr_set_zero(v->im, 1);
    mpfr_set_zero(v->err, 1);
    v->lossy = false;
}

void
value_fini(struct value *v)
{
    mpfr_clears(v->re, v->im, v->err, (mpfr_ptr)0);
}

void
value_set(struct value *r, const struct value *a)
{
    mpfr_set(r->re, a->re, ROUND);
    mpfr_set(r->im, a->im, ROUND);
    mpfr_set(r->err, a->err, UP);
    r->lossy = a->lossy;
}

bool
value_real(const struct value *a)
{
    return mpfr_zero_p(a->im);
}

/* At least |a|. */
static void
size_up(mpfr_t size, const struct value *a)
{
    mpfr_abs(size, a->re, UP);
    if (!value_real(a)) {
        mpfr_t im;

        mpfr_init2(im, VALUE_ERROR_BITS);
        mpfr_abs(im, a->im, UP);
        mpfr_add(size, size, im, UP);
        mpfr_clear(im);
    }
}

/* At most |a|. */
static void
size_down(mpfr_t size, const struct value *a)
{
    if (mpfr_cmpabs(a->re, a->im) >= 0)
        mpfr_abs(size, a->re, MPFR_RNDD);
    else
        mpfr_abs(size, a->im, MPFR_RNDD);
}

/* Adds what the rounding of the result itself may be off, several roundings deep. */
static bool
rounded(struct value *r)
{
    mpfr_t size;
    bool ok;

    mpfr_init2(size, VALUE_ERROR_BITS);
    size_up(size, r);
    mpfr_mul_2si(size, size, 5 - VALUE_BITS, UP);
    mpfr_add(r->err, r->err, size, UP);
    mpfr_clear(size);
    ok = mpfr_number_p(r->re) && mpfr_number_p(r->im) && mpfr_number_p(r->err);
    return ok;
}

void
value_set_exact(struct value *r, const mpq_t q)
{
    mpfr_set_q(r->re, q, ROUND);
    mpfr_set_zero(r->im, 1);
    mpfr_set_zero(r->err, 1);
    r->lossy = false;
    if (mpfr_cmp_q(r->re, q) != 0)
        rounded(r);
}

void
value_set_double(struct value *r, double x)
{
    mpfr_set_d(r->re, x, ROUND);
    mpfr_set_zero(r->im, 1);
    mpfr_set_zero(r->err, 1);
    r->lossy = false;
}

void
value_set_pi(struct value *r)
{
    value_set_double(r, 0);
    mpfr_const_pi(r->re, ROUND);
    rounded(r);
}

/* Whether `small` stands out of its error and yet vanished in `sum`. */
static bool
swallowed(const struct value *small, const struct value *sum)
{
    mpfr_t a, b;
    bool yes;

    mpfr_inits2(VALUE_ERROR_BITS, a, b, (mpfr_ptr)0);
    size_down(a, small);
    yes = mpfr_cmp(a, small->err) > 0;
    mpfr_mul_2si(a, a, VALUE_BITS - 40, UP);
    size_down(b, sum);
    yes = yes && mpfr_cmp(a, b) < 0;
    mpfr_clears(a, b, (mpfr_ptr)0);
    return yes;
}

bool
value_add(struct value *r, const struct value *a, const struct value *b)
{
    struct value sum;
    bool ok;

    value_init(&sum);
    mpfr_add(sum.re, a->re, b->re, ROUND);
    mpfr_add(sum.im, a->im, b->im, ROUND);
    mpfr_add(sum.err, a->err, b->err, UP);
    sum.lossy = a->lossy || b->lossy || swallowed(a, &sum) || swallowed(b, &sum);
    ok = rounded(&sum);
    value_set(r, &sum);
    value_fini(&sum);
    return ok;
}

void
value_negate(struct value *r, const struct value *a)
{
    value_set(r, a);
    mpfr_neg(r->re, r->re, ROUND);
    if (!value_real(r))
        mpfr_neg(r->im, r->im, ROUND);
}

bool
value_subtract(struct value *r, const struct value *a, const struct value *b)
{
    struct value minus;
    bool ok;

    value_init(&minus);
    value_negate(&minus, b);
    ok = value_add(r, a, &minus);
    value_fini(&minus);
    return ok;
}

/* re, im of a product, each a difference of products rounded once. */
static void
product(struct value *r, const struct value *a, const struct value *b)
{
    if (value_real(a) && value_real(b)) {
        mpfr_mul(r->re, a->re, b->re, ROUND);
        return;
    }
    mpfr_fmms(r->re, a->re, b->re, a->im, b->im, ROUND);
    mpfr_fmma(r->im, a->re, b->im, a->im, b->re, ROUND);
}

/* err = |a| eb + |b| ea + ea eb, and the rounding of |a||b|: parts of a product may cancel. */
static void
product_error(mpfr_t err, const struct value *a, const struct value *b)
{
    mpfr_t x, y, both;

    mpfr_inits2(VALUE_ERROR_BITS, x, y, both, (mpfr_ptr)0);
    size_up(x, a);
    size_up(y, b);
    mpfr_mul(both, x, y, UP);
    mpfr_mul_2si(both, both, 4 - VALUE_BITS, UP);
    if (value_real(a) && value_real(b))
        mpfr_set_zero(both, 1);
    mpfr_mul(x, x, b->err, UP);
    mpfr_add(y, y, a->err, UP);
    if (mpfr_zero_p(b->err))
        size_up(y, b);
    mpfr_mul(y, y, a->err, UP);
    mpfr_mul(err, a->err, b->err, UP);
    mpfr_add(err, err, x, UP);
    mpfr_add(err, err, y, UP);
    mpfr_add(err, err, both, UP);
    mpfr_clears(x, y, both, (mpfr_ptr)0);
}

bool
value_multiply(struct value *r, const struct value *a, const struct value *b)
{
    struct value p;
    bool ok;

    value_init(&p);
    product(&p, a, b);
    product_error(p.err, a, b);
    p.lossy = a->lossy || b->lossy;
    ok = rounded(&p);
    value_set(r, &p);
    value_fini(&p);
    return ok;
}

/* 1/b = conj(b) / |b|^2. */
static bool
reciprocal(struct value *r, const struct value *b)
{
    struct value p;
    mpfr_t low, norm;
    bool ok;

    value_init(&p);
    mpfr_init2(low, VALUE_ERROR_BITS);
    mpfr_init2(norm, VALUE_BITS);
    size_down(low, b);
    mpfr_sub(low, low, b->err, MPFR_RNDD);
    ok = mpfr_sgn(low) > 0;
    if (ok && value_real(b)) {
        mpfr_ui_div(p.re, 1, b->re, ROUND);
    } else if (ok) {
        mpfr_fmma(norm, b->re, b->re, b->im, b->im, ROUND);
        mpfr_div(p.re, b->re, norm, ROUND);
        mpfr_div(p.im, b->im, norm, ROUND);
        mpfr_neg(p.im, p.im, ROUND);
    }
    if (ok) {
        mpfr_sqr(low, low, MPFR_RNDD);
        mpfr_div(p.err, b->err, low, UP);
        mpfr_mul_ui(p.err, p.err, 2, UP);
        p.lossy = b->lossy;
        ok = rounded(&p);
        value_set(r, &p);
    }
    mpfr_clears(low, norm, (mpfr_ptr)0);
    value_fini(&p);
    return ok;
}

bool
value_divide(struct value *r, const struct value *a, const struct value *b)
{
    struct value over;
    bool ok;

    value_init(&over);
    ok = reciprocal(&over, b) && value_multiply(r, a, &over);
    value_fini(&over);
    return ok;
}

/* err *= 2 size; false where it is no small number any more. */
static bool
scale_error(struct value *r)
{
    mpfr_t size;
    bool ok = mpfr_cmp_d(r->err, 0.25) < 0;

    mpfr_init2(size, VALUE_ERROR_BITS);
    size_up(size, r);
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
    return !zero && scale_error(r) && rounded(r);
}

bool
value_log(struct value *r, const struct value *a)
{
    mpfr_t low, angle;
    bool ok;

    mpfr_init2(low, VALUE_ERROR_BITS);
    size_down(low, a);
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
        ok = rounded(r);
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
    size_down(low, a);
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
        ok = rounded(&half);
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
        ok = ok && reciprocal(&out, &out);
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
    rounded(&over);
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
    mpfr_sinh_cosh(sh, ch, r->im, ROUND);
    mpfr_mul(r->re, cosine ? c : s, ch, ROUND);
    mpfr_mul(r->im, cosine ? s : c, sh, ROUND);
    if (cosine && !mpfr_zero_p(r->im))
        mpfr_neg(r->im, r->im, ROUND);
    mpfr_mul(r->err, r->err, ch, UP);
    mpfr_mul_2si(r->err, r->err, 1, UP);
    ok = rounded(r);
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
    return rounded(r);
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
    return rounded(r);
}

bool
value_abs(struct value *r, const struct value *a)
{
    value_set(r, a);
    mpfr_hypot(r->re, r->re, r->im, ROUND);
    mpfr_set_zero(r->im, 1);
    return rounded(r);
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
    return scale_error(r) && rounded(r);
}

int
value_order(const struct value *a, const struct value *b)
{
    struct value gap;
    int order = 2;

    if (!value_real(a) || !value_real(b) || a->lossy || b->lossy)
        return 2;
    value_init(&gap);
    if (value_subtract(&gap, a, b))
        order = mpfr_cmpabs(gap.re, gap.err) <= 0 ? 0 : mpfr_sgn(gap.re) < 0 ? -1 : 1;
    value_fini(&gap);
    return order;
}

/* max(|a|, |b|) from above. */
static void
larger(mpfr_t size, const struct value *a, const struct value *b)
{
    mpfr_t other;

    mpfr_init2(other, VALUE_ERROR_BITS);
    size_up(size, a);
    size_up(other, b);
    mpfr_max(size, size, other, UP);
    mpfr_clear(other);
}

bool
value_same(const struct value *a, const struct value *b)
{
    struct value gap;
    mpfr_t size, limit;
    bool same;

    if (a->lossy || b->lossy)
        return false;
    value_init(&gap);
    mpfr_inits2(VALUE_ERROR_BITS, size, limit, (mpfr_ptr)0);
    mpfr_sub(gap.re, a->re, b->re, ROUND);
    mpfr_sub(gap.im, a->im, b->im, ROUND);
    mpfr_add(gap.err, a->err, b->err, UP);
    size_up(size, &gap);
    same = mpfr_cmp(size, gap.err) <= 0;
    larger(limit, a, b); /* bounds that say nothing make nothing equal */
    if (mpfr_cmp_ui(limit, 1) < 0)
        mpfr_set_ui(limit, 1, UP);
    mpfr_mul_2si(limit, limit, -VALUE_BITS / 4, UP);
    same = same && mpfr_cmp(gap.err, limit) <= 0;
    mpfr_clears(size, limit, (mpfr_ptr)0);
    value_fini(&gap);
    return same;
}

bool
value_near(const struct value *a, const struct value *b, double tolerance)
{
    struct value gap;
    mpfr_t size, limit;
    bool near;

    value_init(&gap);
    mpfr_inits2(VALUE_ERROR_BITS, size, limit, (mpfr_ptr)0);
    mpfr_sub(gap.re, a->re, b->re, ROUND);
    mpfr_sub(gap.im, a->im, b->im, ROUND);
    size_up(size, &gap);
    larger(limit, a, b);
    if (mpfr_cmp_ui(limit, 1) > 0)
        mpfr_set_ui(limit, 1, UP);
    mpfr_mul_d(limit, limit, tolerance, UP);
    near = mpfr_cmp(size, limit) <= 0;
    mpfr_clears(size, limit, (mpfr_ptr)0);
    value_fini(&gap);
    return near;
}
