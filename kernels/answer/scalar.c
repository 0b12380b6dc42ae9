/* scalar: exact first, then values; units and the two readings of % and degrees around both. */
#include "kernels/answer/scalar.h"

#include "kernels/answer/evaluate.h"
#include "kernels/answer/unit.h"

bool
scalar_has_symbols(const struct expression *e)
{
    return expression_has(e, EXPRESSION_symbol) || expression_has(e, EXPRESSION_apply);
}

int
scalar_infinity(const struct expression *e)
{
    if (e->kind == EXPRESSION_constant && e->op == CONSTANT_infinity)
        return 1;
    if (e->kind == EXPRESSION_quantity)
        return scalar_infinity(e->first);
    return e->kind == EXPRESSION_negate ? -scalar_infinity(e->first) : 0;
}

/* Whether a decimal of few digits can be the number itself: its denominator is 2^a 5^b. */
static bool
terminates(const mpq_t q)
{
    mpz_t rest, factor;
    bool yes;

    mpz_init_set(rest, mpq_denref(q));
    mpz_init(factor);
    for (unsigned long p = 2; p <= 5; p += 3) {
        mpz_set_ui(factor, p);
        mpz_remove(rest, rest, factor);
    }
    yes = mpz_cmp_ui(rest, 1) == 0;
    mpz_clears(rest, factor, NULL);
    return yes;
}

static bool
values_near(const mpq_t a, const mpq_t b)
{
    struct value x, y;
    bool near;

    value_init(&x);
    value_init(&y);
    value_set_exact(&x, a);
    value_set_exact(&y, b);
    near = value_near(&x, &y, SCALAR_SHARE, SCALAR_TOLERANCE);
    value_fini(&x);
    value_fini(&y);
    return near;
}

/* Both rational: the verdict; -1: at least one is not. */
static int
exact_same(struct evaluation *v, const struct expression *a, const struct expression *b)
{
    struct evaluation vb = *v;
    bool decimal_a = expression_has_decimal(a), decimal_b = expression_has_decimal(b);
    mpq_t x, y;
    int same = -1;

    mpq_init(x);
    mpq_init(y);
    if (evaluate_exact(v, a, x) && evaluate_exact(&vb, b, y)) {
        same = mpq_equal(x, y);
        if (!same && ((decimal_a && (decimal_b || !terminates(y))) ||
                      (decimal_b && !terminates(x))))
            same = values_near(x, y);
    }
    mpq_clear(x);
    mpq_clear(y);
    return same;
}

/* 1, 0 at one point; -1: not both are defined there. */
static int
same_at(struct evaluation *v, const struct expression *a, const struct expression *b, bool decimal)
{
    struct value x, y;
    int same = -1;

    value_init(&x);
    value_init(&y);
    if (evaluate(v, a, &x) && evaluate(v, b, &y))
        same = value_same(&x, &y) ||
               (decimal && value_near(&x, &y, SCALAR_SHARE, SCALAR_TOLERANCE));
    value_fini(&x);
    value_fini(&y);
    return same;
}

static bool
number_same(struct evaluation *v, const struct expression *a, const struct expression *b)
{
    bool symbols = scalar_has_symbols(a) || scalar_has_symbols(b);
    bool decimal = expression_has_decimal(a) || expression_has_decimal(b);
    int same = symbols ? -1 : exact_same(v, a, b), defined = 0;

    if (same >= 0 || !expression_spend(v->all, 0))
        return same > 0;
    for (v->point = 0; v->point < (symbols ? EVALUATE_POINTS : 1); v->point++) {
        same = same_at(v, a, b, decimal);
        if (same == 0)
            return false;
        defined += same > 0;
    }
    return defined >= (symbols ? 2 : 1) && expression_spend(v->all, 0);
}

/* The first unit in the tree. */
static const struct unit *
unit_of(const struct expression *e)
{
    const struct unit *u = e->kind == EXPRESSION_quantity ? e->unit : NULL;

    for (const struct expression *item = e->first; item && !u; item = item->next)
        u = unit_of(item);
    return u;
}

/* e times the factor of its unit. */
static const struct expression *
scaled(struct expressions *all, const struct expression *e, const struct unit *u)
{
    struct expression *by = expression_new(all, EXPRESSION_number, 0);
    struct expression *copy = by ? expression_signed(all, e, 1) : NULL;

    if (!copy)
        return NULL;
    mpq_set_si(by->value, u->over, (unsigned long)u->under);
    mpq_canonicalize(by->value);
    return expression_of(all, EXPRESSION_multiply, 0, copy, by);
}

bool
scalar_same(struct expressions *all, const struct expression *a, const struct expression *b)
{
    const struct unit *ua = unit_of(a), *ub = unit_of(b);
    struct evaluation v = {.all = all};
    bool scale, percent_a, percent_b, degree_a, degree_b;

    if (!expression_spend(all, 1))
        return false;
    if (expression_alike(a, b))
        return true;
    if (scalar_infinity(a) || scalar_infinity(b))
        return scalar_infinity(a) == scalar_infinity(b);
    if (!unit_agree(ua, ub, &scale))
        return false;
    if (scale && (ua->over != ub->over || ua->under != ub->under)) {
        a = scaled(all, a, ua);
        b = scaled(all, b, ub);
        if (!a || !b)
            return false;
    }
    if (number_same(&v, a, b))
        return true;
    percent_a = expression_has(a, EXPRESSION_percent);
    percent_b = expression_has(b, EXPRESSION_percent);
    degree_a = expression_has(a, EXPRESSION_degree);
    degree_b = expression_has(b, EXPRESSION_degree);
    v = (struct evaluation){
        .all = all,
        .percent_whole = percent_a != percent_b,
        .degrees_circular = degree_a != degree_b && !ua && !ub,
    };
    return (v.percent_whole || v.degrees_circular) && number_same(&v, a, b);
}

bool
scalar_proportional(struct expressions *all, const struct expression *a,
                    const struct expression *b, bool positive)
{
    struct evaluation v = {.all = all};
    struct value x, y, ratio, first, zero;
    int defined = 0;
    bool ok = true;

    value_init(&x);
    value_init(&y);
    value_init(&ratio);
    value_init(&first);
    value_init(&zero);
    for (v.point = 0; ok && v.point < EVALUATE_POINTS; v.point++) {
        if (!evaluate(&v, a, &x) || !evaluate(&v, b, &y))
            continue;
        if (value_same(&y, &zero) || value_same(&x, &zero)) {
            ok = value_same(&y, &zero) && value_same(&x, &zero);
            continue;
        }
        ok = value_divide(&ratio, &x, &y) && mpfr_cmpabs(ratio.im, ratio.err) <= 0 &&
             (defined == 0 || value_same(&ratio, &first));
        if (defined++ == 0)
            value_set(&first, &ratio);
    }
    ok = ok && defined >= 2 && (!positive || mpfr_sgn(first.re) > 0) && expression_spend(all, 0);
    value_fini(&x);
    value_fini(&y);
    value_fini(&ratio);
    value_fini(&first);
    value_fini(&zero);
    return ok;
}

int
scalar_order(struct expressions *all, const struct expression *a, const struct expression *b)
{
    struct evaluation v = {.all = all};
    struct value x, y;
    mpq_t p, q;
    int order = 2;

    if (scalar_has_symbols(a) || scalar_has_symbols(b))
        return 2;
    mpq_init(p);
    mpq_init(q);
    if (evaluate_exact(&v, a, p) && evaluate_exact(&v, b, q)) {
        order = mpq_cmp(p, q);
        order = order < 0 ? -1 : order > 0;
    } else {
        value_init(&x);
        value_init(&y);
        if (evaluate(&v, a, &x) && evaluate(&v, b, &y))
            order = value_order(&x, &y);
        value_fini(&x);
        value_fini(&y);
    }
    mpq_clear(p);
    mpq_clear(q);
    return order;
}
