/* evaluate: the walk over the tree in values. */
#include "kernels/answer/evaluate.h"

#include "kernels/random.h"

#define DENOMINATOR_MAX 64 /* of an exponent that is taken as a root */
#define POINT_SEED      7  /* any number: it only has to stay */

/* Whether q is whole and not beyond +-limit. */
static bool
whole(const mpq_t q, unsigned long limit)
{
    return mpz_cmp_ui(mpq_denref(q), 1) == 0 && mpz_cmpabs_ui(mpq_numref(q), limit) <= 0;
}

static uint64_t
name_key(struct span name)
{
    uint64_t key = 1469598103934665603u; /* FNV-1a */

    for (size_t i = 0; i < name.length; i++)
        key = (key ^ (unsigned char)name.at[i]) * 1099511628211u;
    return key;
}

static double
symbol_value(const struct evaluation *v, struct span name, uint64_t nth)
{
    uint64_t key = name_key(name) + nth * 0x9e3779b97f4a7c15u + (uint64_t)v->point;
    uint64_t bits = random_bits(POINT_SEED, RANDOM_answer, key);
    double unit = (double)(bits >> 16) * 0x1p-48;
    double size = v->point % 2 ? 0.4 + 2.5 * unit : 0.1 + 0.85 * unit;

    return v->point >= EVALUATE_POINTS / 2 && bits & 1 ? -size : size;
}

/* An unknown function is some cubic of its arguments: f(2x) and 2 f(x) come out different. */
static bool
evaluate_apply(struct evaluation *v, const struct expression *e, struct value *out)
{
    struct value z, c;
    bool ok = true;
    uint64_t nth = 1;

    value_init(&z);
    value_init(&c);
    value_set_double(out, symbol_value(v, e->name, 0));
    for (const struct expression *item = e->first; ok && item; item = item->next) {
        ok = evaluate(v, item, &z);
        for (int k = 0; ok && k < 3; k++) {
            value_set_double(&c, symbol_value(v, e->name, nth++));
            ok = value_add(&c, &c, out) && value_multiply(out, &c, &z);
        }
    }
    value_set_double(&c, 1);
    ok = ok && value_add(out, out, &c);
    value_fini(&z);
    value_fini(&c);
    return ok;
}

static bool
evaluate_power(struct evaluation *v, const struct expression *e, struct value *out)
{
    const struct expression *exponent = e->first->next;
    struct value b;
    mpq_t q;
    bool exact, ok = evaluate(v, e->first, out);

    if (!ok)
        return false;
    mpq_init(q);
    exact = evaluate_exact(v, exponent, q) && mpz_fits_slong_p(mpq_numref(q)) &&
            mpz_cmp_ui(mpq_denref(q), DENOMINATOR_MAX) <= 0;
    value_init(&b);
    if (exact && whole(q, VALUE_POWER_MAX)) {
        ok = value_whole_power(out, out, mpz_get_si(mpq_numref(q)));
    } else if (exact && mpz_cmp_ui(mpq_denref(q), 1) != 0 &&
               mpz_cmpabs_ui(mpq_numref(q), VALUE_POWER_MAX) <= 0) {
        ok = value_root(out, out, mpz_get_si(mpq_denref(q))) &&
             value_whole_power(out, out, mpz_get_si(mpq_numref(q)));
    } else {
        ok = evaluate(v, exponent, &b) && value_power(out, out, &b);
    }
    value_fini(&b);
    mpq_clear(q);
    return ok;
}

static bool
evaluate_items(struct evaluation *v, const struct expression *e, struct value *out)
{
    struct value b;
    bool ok = evaluate(v, e->first, out);

    value_init(&b);
    for (const struct expression *item = e->first->next; ok && item; item = item->next) {
        ok = evaluate(v, item, &b);
        if (!ok)
            break;
        ok = e->kind == EXPRESSION_add        ? value_add(out, out, &b)
             : e->kind == EXPRESSION_multiply ? value_multiply(out, out, &b)
                                              : value_divide(out, out, &b);
    }
    value_fini(&b);
    return ok;
}

static bool
constant_value(const struct expression *e, struct value *out)
{
    struct value one;
    bool ok = true;

    switch (e->op) {
    case CONSTANT_pi: value_set_pi(out); return true;
    case CONSTANT_i:
        value_set_double(out, 0);
        mpfr_set_ui(out->im, 1, MPFR_RNDN);
        return true;
    case CONSTANT_e:
        value_init(&one);
        value_set_double(&one, 1);
        ok = value_exp(out, &one);
        value_fini(&one);
        return ok;
    default: return false;
    }
}

typedef bool value_function(struct value *, const struct value *);

/* over(x) / under(x); over NULL: 1. */
static bool
quotient(struct value *out, const struct value *x, value_function *over, value_function *under)
{
    struct value a, b;
    bool ok;

    value_init(&a);
    value_init(&b);
    value_set_double(&a, 1);
    ok = (!over || over(&a, x)) && under(&b, x) && value_divide(out, &a, &b);
    value_fini(&a);
    value_fini(&b);
    return ok;
}

/* (exp x -+ exp -x) / 2; tanh is their quotient. */
static bool
sinh_of(struct value *out, const struct value *x)
{
    struct value a, b;
    bool ok;

    value_init(&a);
    value_init(&b);
    value_negate(&b, x);
    ok = value_exp(&a, x) && value_exp(&b, &b) && value_subtract(out, &a, &b);
    value_set_double(&a, 2);
    ok = ok && value_divide(out, out, &a);
    value_fini(&a);
    value_fini(&b);
    return ok;
}

static bool
cosh_of(struct value *out, const struct value *x)
{
    struct value a, b;
    bool ok;

    value_init(&a);
    value_init(&b);
    value_negate(&b, x);
    ok = value_exp(&a, x) && value_exp(&b, &b) && value_add(out, &a, &b);
    value_set_double(&a, 2);
    ok = ok && value_divide(out, out, &a);
    value_fini(&a);
    value_fini(&b);
    return ok;
}

static bool
log_of(struct evaluation *v, const struct expression *base, struct value *out,
       const struct value *x)
{
    struct value b;
    bool ok;

    value_init(&b);
    value_set_double(&b, 10);
    ok = (!base || evaluate(v, base, &b)) && value_log(&b, &b) && value_log(out, x) &&
         value_divide(out, out, &b);
    value_fini(&b);
    return ok;
}

static bool
call_of_one(struct evaluation *v, const struct expression *e, struct value *out,
            const struct value *x)
{
    switch ((enum function)e->op) {
    case FUNCTION_sin:    return value_sin(out, x);
    case FUNCTION_cos:    return value_cos(out, x);
    case FUNCTION_tan:    return quotient(out, x, value_sin, value_cos);
    case FUNCTION_cot:    return quotient(out, x, value_cos, value_sin);
    case FUNCTION_sec:    return quotient(out, x, NULL, value_cos);
    case FUNCTION_csc:    return quotient(out, x, NULL, value_sin);
    case FUNCTION_arcsin: return value_arcsin(out, x);
    case FUNCTION_arccos: return value_arccos(out, x);
    case FUNCTION_arctan: return value_arctan(out, x);
    case FUNCTION_sinh:   return sinh_of(out, x);
    case FUNCTION_cosh:   return cosh_of(out, x);
    case FUNCTION_tanh:   return quotient(out, x, sinh_of, cosh_of);
    case FUNCTION_ln:     return value_log(out, x);
    case FUNCTION_log:
    case FUNCTION_lg:     return log_of(v, NULL, out, x);
    case FUNCTION_exp:    return value_exp(out, x);
    case FUNCTION_sqrt:   return value_sqrt(out, x);
    case FUNCTION_abs:    return value_abs(out, x);
    case FUNCTION_floor:  return value_floor(out, x);
    case FUNCTION_ceil:
        value_negate(out, x);
        if (!value_floor(out, out))
            return false;
        value_negate(out, out);
        return true;
    case FUNCTION_max:
    case FUNCTION_min: value_set(out, x); return true;
    default:           return false;
    }
}

/* n! / (k! (n - k)!) for what is not whole. */
static bool
binomial(struct value *out, const struct value *n, const struct value *k)
{
    struct value under, rest;
    bool ok;

    value_init(&under);
    value_init(&rest);
    ok = value_subtract(&rest, n, k) && value_factorial(&rest, &rest) &&
         value_factorial(&under, k) && value_multiply(&under, &under, &rest) &&
         value_factorial(out, n) && value_divide(out, out, &under);
    value_fini(&under);
    value_fini(&rest);
    return ok;
}

static bool
modulo(struct value *out, const struct value *a, const struct value *b)
{
    struct value q;
    bool ok;

    value_init(&q);
    ok = value_divide(&q, a, b) && value_floor(&q, &q) && value_multiply(&q, &q, b) &&
         value_subtract(out, a, &q);
    value_fini(&q);
    return ok;
}

static bool
call_of_two(struct evaluation *v, const struct expression *e, struct value *out,
            const struct value *x)
{
    const struct expression *second = e->first->next;
    struct value b;
    bool ok = true;
    mpq_t n;

    value_init(&b);
    mpq_init(n);
    switch ((enum function)e->op) {
    case FUNCTION_log: ok = e->count == 2 && log_of(v, second, out, x); break;
    case FUNCTION_root:
        ok = e->count == 2 && evaluate_exact(v, second, n) && whole(n, DENOMINATOR_MAX) &&
             mpq_sgn(n) > 0 && value_root(out, x, mpz_get_si(mpq_numref(n)));
        break;
    case FUNCTION_binomial:
        ok = e->count == 2 && evaluate(v, second, &b) && binomial(out, x, &b);
        break;
    case FUNCTION_mod: ok = e->count == 2 && evaluate(v, second, &b) && modulo(out, x, &b); break;
    case FUNCTION_max:
    case FUNCTION_min:
        value_set(out, x);
        for (; ok && second; second = second->next) {
            int order = evaluate(v, second, &b) ? value_order(&b, out) : 2;

            ok = order != 2;
            if (ok && order == (e->op == FUNCTION_max ? 1 : -1))
                value_set(out, &b);
        }
        break;
    default: ok = false; break;
    }
    mpq_clear(n);
    value_fini(&b);
    return ok;
}

static bool
evaluate_call(struct evaluation *v, const struct expression *e, struct value *out)
{
    bool circular = v->degrees_circular, ok;
    struct value x;

    if (!e->first || !expression_spend(v->all, 8))
        return false;
    v->degrees_circular |= e->op <= FUNCTION_csc;
    value_init(&x);
    ok = evaluate(v, e->first, &x);
    v->degrees_circular = circular;
    ok = ok && (e->count == 1 ? call_of_one(v, e, out, &x) : call_of_two(v, e, out, &x));
    value_fini(&x);
    return ok;
}

/* Percent and degree: the item times a constant. */
static bool
evaluate_scaled(struct evaluation *v, const struct expression *e, struct value *out)
{
    struct value by;
    bool ok = evaluate(v, e->first, out);

    if (!ok || (e->kind == EXPRESSION_percent ? v->percent_whole : !v->degrees_circular))
        return ok;
    value_init(&by);
    if (e->kind == EXPRESSION_degree) {
        value_set_pi(&by);
        ok = value_multiply(out, out, &by);
    }
    value_set_double(&by, e->kind == EXPRESSION_degree ? 180 : 100);
    ok = ok && value_divide(out, out, &by);
    value_fini(&by);
    return ok;
}

bool
evaluate(struct evaluation *v, const struct expression *e, struct value *out)
{
    if (!expression_spend(v->all, 1))
        return false;
    switch (e->kind) {
    case EXPRESSION_number:   value_set_exact(out, e->value); return true;
    case EXPRESSION_constant: return constant_value(e, out);
    case EXPRESSION_symbol:
        if (span_is(e->name, "..."))
            return false;
        value_set_double(out, symbol_value(v, e->name, 0));
        return true;
    case EXPRESSION_negate:
        if (!evaluate(v, e->first, out))
            return false;
        value_negate(out, out);
        return true;
    case EXPRESSION_percent:
    case EXPRESSION_degree:    return evaluate_scaled(v, e, out);
    case EXPRESSION_quantity:  return evaluate(v, e->first, out);
    case EXPRESSION_factorial: return evaluate(v, e->first, out) && value_factorial(out, out);
    case EXPRESSION_add:
    case EXPRESSION_multiply:
    case EXPRESSION_divide: return evaluate_items(v, e, out);
    case EXPRESSION_power:  return evaluate_power(v, e, out);
    case EXPRESSION_call:   return evaluate_call(v, e, out);
    case EXPRESSION_apply:  return evaluate_apply(v, e, out);
    default:                return false;
    }
}
