/* evaluate: two walks over the tree, one exact and one in values. */
#include "kernels/answer/evaluate.h"

#include <stdlib.h>

#include "kernels/random.h"

#define EXACT_POWER_MAX     65536
#define EXACT_FACTORIAL_MAX 5000
#define EXACT_ROOT_MAX      64
#define POINT_SEED          7 /* any number: it only has to stay */

static size_t
bits_of(const mpq_t q)
{
    size_t over = mpz_sizeinbase(mpq_numref(q), 2), under = mpz_sizeinbase(mpq_denref(q), 2);

    return over > under ? over : under;
}

/* Whether the number may stay: within the bound, and paid for. */
static bool
kept(struct evaluation *v, const mpq_t q)
{
    size_t bits = bits_of(q);

    return bits <= EXPRESSION_BITS_MAX && expression_spend(v->all, (int64_t)(bits / 1024));
}

static bool
whole(const mpq_t q, long limit)
{
    return mpz_cmp_ui(mpq_denref(q), 1) == 0 && mpz_cmpabs_ui(mpq_numref(q), (unsigned long)limit) <= 0;
}

static bool
whole_power(struct evaluation *v, mpq_t out, const mpq_t base, long n)
{
    unsigned long size = (unsigned long)labs(n);

    if (mpq_sgn(base) == 0 && n <= 0)
        return false;
    if (bits_of(base) > 1 && (size > EXACT_POWER_MAX || bits_of(base) * size > EXPRESSION_BITS_MAX))
        return false;
    mpz_pow_ui(mpq_numref(out), mpq_numref(base), size);
    mpz_pow_ui(mpq_denref(out), mpq_denref(base), size);
    if (n < 0)
        mpq_inv(out, out);
    return kept(v, out);
}

/* Both parts have whole n-th roots. */
static bool
exact_root(mpq_t out, const mpq_t q, unsigned long n)
{
    if (n < 1 || n > EXACT_ROOT_MAX || (mpq_sgn(q) < 0 && n % 2 == 0))
        return false;
    return mpz_root(mpq_numref(out), mpq_numref(q), n) != 0 &&
           mpz_root(mpq_denref(out), mpq_denref(q), n) != 0;
}

static bool
exact_power(struct evaluation *v, mpq_t out, const mpq_t base, const mpq_t exponent)
{
    mpq_t root;
    bool ok;

    if (mpz_cmp_ui(mpq_denref(exponent), EXACT_ROOT_MAX) > 0 ||
        !mpz_fits_slong_p(mpq_numref(exponent)))
        return false;
    mpq_init(root);
    ok = exact_root(root, base, mpz_get_ui(mpq_denref(exponent))) &&
         whole_power(v, out, root, mpz_get_si(mpq_numref(exponent)));
    mpq_clear(root);
    return ok;
}

static void
exact_floor(mpq_t out, const mpq_t a, bool up)
{
    mpz_t z;

    mpz_init(z);
    if (up)
        mpz_cdiv_q(z, mpq_numref(a), mpq_denref(a));
    else
        mpz_fdiv_q(z, mpq_numref(a), mpq_denref(a));
    mpq_set_z(out, z);
    mpz_clear(z);
}

static bool
exact_binomial(struct evaluation *v, mpq_t out, const mpq_t n, const mpq_t k)
{
    if (!whole(n, EXACT_FACTORIAL_MAX) || !whole(k, EXACT_FACTORIAL_MAX) || mpq_sgn(n) < 0 ||
        mpq_sgn(k) < 0)
        return false;
    mpz_bin_ui(mpq_numref(out), mpq_numref(n), mpz_get_ui(mpq_numref(k)));
    mpz_set_ui(mpq_denref(out), 1);
    return kept(v, out);
}

static bool
exact_modulo(mpq_t out, const mpq_t a, const mpq_t b)
{
    mpq_t q;

    if (mpq_sgn(b) == 0)
        return false;
    mpq_init(q);
    mpq_div(q, a, b);
    exact_floor(q, q, false);
    mpq_mul(q, q, b);
    mpq_sub(out, a, q);
    mpq_clear(q);
    return true;
}

/* One step of gcd, lcm, max, min over their arguments. */
static bool
exact_fold(enum function f, mpq_t out, const mpq_t b)
{
    if (f == FUNCTION_max || f == FUNCTION_min) {
        if ((mpq_cmp(b, out) > 0) == (f == FUNCTION_max))
            mpq_set(out, b);
        return true;
    }
    if (mpz_cmp_ui(mpq_denref(out), 1) != 0 || mpz_cmp_ui(mpq_denref(b), 1) != 0)
        return false;
    if (f == FUNCTION_gcd)
        mpz_gcd(mpq_numref(out), mpq_numref(out), mpq_numref(b));
    else
        mpz_lcm(mpq_numref(out), mpq_numref(out), mpq_numref(b));
    return true;
}

static bool
exact_call(struct evaluation *v, const struct expression *e, mpq_t out)
{
    const struct expression *second = e->first->next;
    enum function f = (enum function)e->op;
    mpq_t b;
    bool ok = evaluate_exact(v, e->first, out);

    if (!ok)
        return false;
    if (e->count == 1) {
        switch (f) {
        case FUNCTION_sqrt:  return exact_root(out, out, 2);
        case FUNCTION_abs:   mpq_abs(out, out); return true;
        case FUNCTION_floor: exact_floor(out, out, false); return true;
        case FUNCTION_ceil:  exact_floor(out, out, true); return true;
        case FUNCTION_gcd:
        case FUNCTION_lcm:
        case FUNCTION_max:
        case FUNCTION_min:   return true;
        default:             return false;
        }
    }
    mpq_init(b);
    for (; ok && second; second = second->next) {
        ok = evaluate_exact(v, second, b);
        if (!ok)
            break;
        if (f == FUNCTION_gcd || f == FUNCTION_lcm || f == FUNCTION_max || f == FUNCTION_min)
            ok = exact_fold(f, out, b) && kept(v, out);
        else if (e->count > 2)
            ok = false;
        else if (f == FUNCTION_binomial)
            ok = exact_binomial(v, out, out, b);
        else if (f == FUNCTION_mod)
            ok = exact_modulo(out, out, b) && kept(v, out);
        else if (f == FUNCTION_root)
            ok = whole(b, EXACT_ROOT_MAX) && mpq_sgn(b) > 0 &&
                 exact_root(out, out, mpz_get_ui(mpq_numref(b)));
        else
            ok = false;
    }
    mpq_clear(b);
    return ok;
}

static bool
exact_items(struct evaluation *v, const struct expression *e, mpq_t out)
{
    bool ok = evaluate_exact(v, e->first, out);
    mpq_t b;

    mpq_init(b);
    for (const struct expression *item = e->first->next; ok && item; item = item->next) {
        ok = evaluate_exact(v, item, b);
        if (!ok)
            break;
        if (e->kind == EXPRESSION_add)
            mpq_add(out, out, b);
        else if (e->kind == EXPRESSION_multiply)
            mpq_mul(out, out, b);
        else if (e->kind == EXPRESSION_power)
            ok = exact_power(v, out, out, b);
        else if (mpq_sgn(b) == 0)
            ok = false;
        else
            mpq_div(out, out, b);
        ok = ok && kept(v, out);
    }
    mpq_clear(b);
    return ok;
}

bool
evaluate_exact(struct evaluation *v, const struct expression *e, mpq_t out)
{
    if (!expression_spend(v->all, 1))
        return false;
    switch (e->kind) {
    case EXPRESSION_number: mpq_set(out, e->value); return true;
    case EXPRESSION_negate:
        if (!evaluate_exact(v, e->first, out))
            return false;
        mpq_neg(out, out);
        return true;
    case EXPRESSION_percent:
        if (!evaluate_exact(v, e->first, out))
            return false;
        if (!v->percent_whole) {
            mpz_mul_ui(mpq_denref(out), mpq_denref(out), 100);
            mpq_canonicalize(out);
        }
        return true;
    case EXPRESSION_degree:   return !v->degrees_circular && evaluate_exact(v, e->first, out);
    case EXPRESSION_quantity: return evaluate_exact(v, e->first, out);
    case EXPRESSION_factorial:
        if (!evaluate_exact(v, e->first, out) || mpq_sgn(out) < 0 ||
            !whole(out, EXACT_FACTORIAL_MAX))
            return false;
        mpz_fac_ui(mpq_numref(out), mpz_get_ui(mpq_numref(out)));
        return kept(v, out);
    case EXPRESSION_add:
    case EXPRESSION_multiply:
    case EXPRESSION_divide:
    case EXPRESSION_power: return exact_items(v, e, out);
    case EXPRESSION_call:  return e->first && exact_call(v, e, out);
    default:               return false;
    }
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
            mpz_cmp_ui(mpq_denref(q), EXACT_ROOT_MAX) <= 0;
    value_init(&b);
    if (exact && whole(q, VALUE_POWER_MAX)) {
        ok = value_whole_power(out, out, mpz_get_si(mpq_numref(q)));
    } else if (exact && whole(q, LONG_MAX) == false &&
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

/* a / b of two values that a function gives of the same argument. */
static bool
quotient(struct value *out, const struct value *x, bool (*over)(struct value *, const struct value *),
         bool (*under)(struct value *, const struct value *))
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
        ok = e->count == 2 && evaluate_exact(v, second, n) && whole(n, EXACT_ROOT_MAX) &&
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
