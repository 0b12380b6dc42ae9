/* evaluate_exact: the walk over the tree in rationals. */
#include "kernels/answer/evaluate.h"

#include <stdlib.h>

#define EXACT_POWER_MAX     65536
#define EXACT_FACTORIAL_MAX 5000
#define EXACT_ROOT_MAX      64

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
whole(const mpq_t q, unsigned long limit)
{
    return mpz_cmp_ui(mpq_denref(q), 1) == 0 && mpz_cmpabs_ui(mpq_numref(q), limit) <= 0;
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
