/* value: MPFR numbers in pairs. `err` is computed in 32 bits, rounded up; the bounds are crude, the
 * precision is generous. */
#include "kernels/answer/value_parts.h"

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

void
value_size_up(mpfr_t size, const struct value *a)
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

void
value_size_down(mpfr_t size, const struct value *a)
{
    if (mpfr_cmpabs(a->re, a->im) >= 0)
        mpfr_abs(size, a->re, MPFR_RNDD);
    else
        mpfr_abs(size, a->im, MPFR_RNDD);
}

bool
value_rounded(struct value *r)
{
    mpfr_t size;
    bool ok;

    mpfr_init2(size, VALUE_ERROR_BITS);
    value_size_up(size, r);
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
        value_rounded(r);
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
    value_rounded(r);
}

/* Whether `small` stands out of its error and yet vanished in `sum`. */
static bool
swallowed(const struct value *small, const struct value *sum)
{
    mpfr_t a, b;
    bool yes;

    mpfr_inits2(VALUE_ERROR_BITS, a, b, (mpfr_ptr)0);
    value_size_down(a, small);
    yes = mpfr_cmp(a, small->err) > 0;
    mpfr_mul_2si(a, a, VALUE_BITS - 40, UP);
    value_size_down(b, sum);
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
    ok = value_rounded(&sum);
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
    value_size_up(x, a);
    value_size_up(y, b);
    mpfr_mul(both, x, y, UP);
    mpfr_mul_2si(both, both, 4 - VALUE_BITS, UP);
    if (value_real(a) && value_real(b))
        mpfr_set_zero(both, 1);
    mpfr_mul(x, x, b->err, UP);
    mpfr_add(y, y, a->err, UP);
    if (mpfr_zero_p(b->err))
        value_size_up(y, b);
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
    ok = value_rounded(&p);
    value_set(r, &p);
    value_fini(&p);
    return ok;
}

/* 1/b = conj(b) / |b|^2. */
bool
value_reciprocal(struct value *r, const struct value *b)
{
    struct value p;
    mpfr_t low, norm;
    bool ok;

    value_init(&p);
    mpfr_init2(low, VALUE_ERROR_BITS);
    mpfr_init2(norm, VALUE_BITS);
    value_size_down(low, b);
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
        ok = value_rounded(&p);
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
    ok = value_reciprocal(&over, b) && value_multiply(r, a, &over);
    value_fini(&over);
    return ok;
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
    value_size_up(size, a);
    value_size_up(other, b);
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
    value_size_up(size, &gap);
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
value_near(const struct value *a, const struct value *b, double share, double most)
{
    struct value gap;
    mpfr_t size, limit;
    bool near;

    value_init(&gap);
    mpfr_inits2(VALUE_ERROR_BITS, size, limit, (mpfr_ptr)0);
    mpfr_sub(gap.re, a->re, b->re, ROUND);
    mpfr_sub(gap.im, a->im, b->im, ROUND);
    value_size_up(size, &gap);
    larger(limit, a, b);
    mpfr_mul_d(limit, limit, share, UP);
    if (mpfr_cmp_d(limit, most) > 0)
        mpfr_set_d(limit, most, UP);
    near = mpfr_cmp(size, limit) <= 0;
    mpfr_clears(size, limit, (mpfr_ptr)0);
    value_fini(&gap);
    return near;
}
