/* compare: by kinds, from relations down to scalars. */
#include "kernels/answer/compare.h"

#include <math.h>

#include "kernels/answer/evaluate.h"
#include "kernels/answer/matrix.h"
#include "kernels/answer/parse.h"
#include "kernels/answer/region.h"
#include "kernels/answer/scalar.h"
#include "kernels/answer/value.h"

#define ABOUT_SHARE 0.05 /* how far the sides of \approx may be apart, of the larger */

static bool
is_items(const struct expression *e)
{
    return e->kind == EXPRESSION_list || e->kind == EXPRESSION_set ||
           e->kind == EXPRESSION_tuple || e->kind == EXPRESSION_matrix;
}

static bool
is_scalar(const struct expression *e)
{
    return !is_items(e) && !region_is(e) && e->kind != EXPRESSION_relation;
}

/* A name that "x = 5" gives a value to: a symbol, f(x), and what is made of them as a product (AB),
 * a ratio, a tuple or a length (|AB|). */
static bool
is_name(const struct expression *e)
{
    if (e->kind == EXPRESSION_symbol || e->kind == EXPRESSION_apply)
        return true;
    if (e->kind != EXPRESSION_multiply && e->kind != EXPRESSION_divide &&
        (e->kind != EXPRESSION_tuple || (e->op && e->op != PARSE_RATIO)) &&
        (e->kind != EXPRESSION_call || e->op != FUNCTION_abs))
        return false;
    for (const struct expression *item = e->first; item; item = item->next)
        if (!is_name(item))
            return false;
    return true;
}

/* x = 5, x = 10/2 = 5, x \approx 5, x \in S. */
static bool
is_assignment(const struct expression *e)
{
    return e->kind == EXPRESSION_relation && is_name(e->first) &&
           ((e->op & ~(RELATION_equal | RELATION_about)) == 0 || e->op == RELATION_in);
}

/* An item on its own, its `next` cut off. */
static struct expression *
alone(struct expressions *all, const struct expression *item, int sign)
{
    struct expression *e = expression_signed(all, item, sign);

    if (e)
        e->relation = 0;
    return e;
}

/* Appends an item, twice where it holds a plus-or-minus. */
static bool
add_spread(struct expressions *all, struct expression *into, const struct expression *item)
{
    bool both = expression_has(item, EXPRESSION_plus_minus);

    for (int sign = 1; sign >= (both ? -1 : 1); sign -= 2) {
        struct expression *one = alone(all, item, sign);

        if (!one)
            return false;
        expression_add(into, one);
    }
    return true;
}

/* The same answer with \pm written out, and "x = 1 or x = 2", "x = 1, 2" as the list of values. */
static const struct expression *
spread(struct expressions *all, const struct expression *e)
{
    const struct expression *lead = e->first ? e->first : e;
    bool listed = e->kind == EXPRESSION_list || e->kind == EXPRESSION_set, named;
    struct expression *out;

    if (!listed && !expression_has(e, EXPRESSION_plus_minus))
        return e;
    out = expression_new(all, listed ? e->kind : EXPRESSION_list, 0);
    if (!out)
        return NULL;
    if (!listed) {
        if (is_assignment(e)) /* x = 1 \pm 2: the values; the name is given up */
            return add_spread(all, out, e->last) ? out : NULL;
        return add_spread(all, out, e) ? out : NULL;
    }
    named = e->count > 0 && is_assignment(lead) && lead->op != RELATION_in;
    for (const struct expression *item = lead->next; named && e->count > 1 && item;
         item = item->next)
        named = item->kind == EXPRESSION_relation
                    ? is_assignment(item) && expression_alike(item->first, lead->first)
                    : is_scalar(item);
    named = named && e->count > 1;
    for (const struct expression *item = e->first; item; item = item->next) {
        const struct expression *value =
            named && item->kind == EXPRESSION_relation ? item->last : item;

        if (!add_spread(all, out, value))
            return NULL;
    }
    return out;
}

static bool same(struct expressions *all, const struct expression *gold,
                 const struct expression *answer);

/* Every item of one with an item of its own of the other. With `merge`, an item may be met again:
 * {1, 1, 2} is {1, 2}. */
static bool
same_unordered(struct expressions *all, const struct expression *gold,
               const struct expression *answer, bool merge)
{
    bool used[COMPARE_ITEMS_MAX] = {false};

    if (gold->count > COMPARE_ITEMS_MAX || answer->count > COMPARE_ITEMS_MAX ||
        (!merge && gold->count != answer->count))
        return false;
    for (const struct expression *a = answer->first; a; a = a->next) {
        const struct expression *g = gold->first;
        int i = 0;

        while (g && ((!merge && used[i]) || !same(all, g, a)))
            g = g->next, i++;
        if (!g)
            return false;
        used[i] = true;
    }
    for (int i = 0; i < gold->count; i++) {
        const struct expression *g = gold->first;
        bool met = used[i];

        for (int k = 0; k < i; k++)
            g = g->next;
        for (const struct expression *a = answer->first; a && !met; a = a->next)
            met = same(all, g, a);
        if (!met)
            return false;
    }
    return true;
}

/* Item by item; `values`: "x = 1" counts as 1. */
static bool
same_ordered(struct expressions *all, const struct expression *gold,
             const struct expression *answer, bool values)
{
    const struct expression *a = answer->first;

    if (gold->count != answer->count)
        return false;
    for (const struct expression *g = gold->first; g; g = g->next, a = a->next) {
        const struct expression *x = values && is_assignment(g) ? g->last : g;
        const struct expression *y = values && is_assignment(a) ? a->last : a;

        if (!same(all, x, y))
            return false;
    }
    return true;
}

static bool
same_items(struct expressions *all, const struct expression *gold, const struct expression *answer)
{
    bool tuples = gold->kind == EXPRESSION_tuple && answer->kind == EXPRESSION_tuple;
    bool ratio = gold->op == PARSE_RATIO && gold->kind == EXPRESSION_tuple;

    if (gold->kind == EXPRESSION_matrix || answer->kind == EXPRESSION_matrix) {
        const struct expression *m = gold->kind == EXPRESSION_matrix ? gold : answer;
        bool line = m->op == 1 || m->op == m->count;

        if (gold->kind == answer->kind ? gold->op != answer->op
                                       : !line || (gold->kind != EXPRESSION_tuple &&
                                                   answer->kind != EXPRESSION_tuple))
            return false;
        return same_ordered(all, gold, answer, false);
    }
    if (tuples) {
        if (ratio != (answer->op == PARSE_RATIO) || (gold->count == 2 && gold->op != answer->op))
            return false;
        return same_ordered(all, gold, answer, false);
    }
    if (gold->kind == EXPRESSION_tuple || answer->kind == EXPRESSION_tuple) {
        const struct expression *t = gold->kind == EXPRESSION_tuple ? gold : answer;
        const struct expression *other = t == gold ? answer : gold;

        return other->kind == EXPRESSION_list && t->op == 0 &&
               same_ordered(all, gold, answer, true);
    }
    return same_unordered(all, gold, answer, true);
}

/* left - right. */
static struct expression *
difference(struct expressions *all, const struct expression *left, const struct expression *right)
{
    struct expression *a = alone(all, left, 1), *b = a ? alone(all, right, 1) : NULL;
    struct expression *minus = b ? expression_of(all, EXPRESSION_negate, 0, b, NULL) : NULL;

    return minus ? expression_of(all, EXPRESSION_add, 0, a, minus) : NULL;
}

struct pair {
    const struct expression *left, *right;
    int relation;
};

/* The pairs of a chain, > and >= turned round; x = 1 + 1 = 2 is the pair x = 2. */
static int
pairs_of(const struct expression *e, struct pair *out, int room)
{
    int count = 0;

    if ((e->op & ~(RELATION_equal | RELATION_about)) == 0) {
        out[0] = (struct pair){e->first, e->last, RELATION_equal};
        return 1;
    }
    for (const struct expression *a = e->first; a->next; a = a->next) {
        int relation = a->next->relation;

        if (count == room)
            return -1;
        if (relation == RELATION_greater || relation == RELATION_greater_equal)
            out[count++] = (struct pair){a->next, a, relation == RELATION_greater
                                                         ? RELATION_less
                                                         : RELATION_less_equal};
        else
            out[count++] = (struct pair){a, a->next, relation};
    }
    return count;
}

static bool
same_pair(struct expressions *all, const struct pair *g, const struct pair *a)
{
    struct expression *x, *y;

    if (g->relation != a->relation)
        return false;
    if (expression_alike(g->left, a->left) || g->relation == RELATION_in) {
        if (same(all, g->left, a->left) && same(all, g->right, a->right))
            return true;
    }
    if (!is_scalar(g->left) || !is_scalar(g->right) || !is_scalar(a->left) ||
        !is_scalar(a->right) || g->relation == RELATION_in)
        return false;
    x = difference(all, g->left, g->right);
    y = difference(all, a->left, a->right);
    if (!x || !y)
        return false;
    if (!scalar_has_symbols(x) || !scalar_has_symbols(y))
        return scalar_same(all, g->left, a->left) && scalar_same(all, g->right, a->right);
    return scalar_proportional(all, x, y,
                               g->relation == RELATION_less || g->relation == RELATION_less_equal);
}

#define PAIRS_MAX 8

static bool
same_relations(struct expressions *all, const struct expression *gold,
               const struct expression *answer)
{
    struct pair g[PAIRS_MAX], a[PAIRS_MAX];
    int count = pairs_of(gold, g, PAIRS_MAX);
    bool used[PAIRS_MAX] = {false};

    if (count < 0 || pairs_of(answer, a, PAIRS_MAX) != count)
        return false;
    for (int i = 0; i < count; i++) {
        int k = 0;

        while (k < count && (used[k] || !same_pair(all, &g[i], &a[k])))
            k++;
        if (k == count)
            return false;
        used[k] = true;
    }
    return true;
}

/* Whether two sides that the answer calls about equal are: a rounding, not another number. */
static bool
about(struct expressions *all, const struct expression *a, const struct expression *b)
{
    struct evaluation v = {.all = all};
    struct value x, y;
    bool near;

    if (scalar_has_symbols(a) || scalar_has_symbols(b))
        return true;
    value_init(&x);
    value_init(&y);
    near = evaluate(&v, a, &x) && evaluate(&v, b, &y) && value_near(&x, &y, ABOUT_SHARE, INFINITY);
    value_fini(&x);
    value_fini(&y);
    return near;
}

/* An answer "a = b = c" to a gold that is no relation: the last side, where the sides agree. */
static bool
same_claim(struct expressions *all, const struct expression *gold, const struct expression *answer)
{
    const struct expression *exact = NULL;

    if (answer->op == RELATION_in)
        return is_name(answer->first) && same(all, gold, answer->last);
    if (answer->op & ~(RELATION_equal | RELATION_about))
        return false;
    for (const struct expression *a = answer->first; a->next; a = a->next) {
        bool rounds = a->next->relation == RELATION_about;

        if (rounds && !exact)
            exact = a;
        if (!is_scalar(a) || !is_scalar(a->next)) {
            if (a != answer->first || !is_name(a))
                return false;
        } else if (!scalar_has_symbols(a) && !scalar_has_symbols(a->next) &&
                   !(rounds ? about(all, a, a->next) : scalar_same(all, a, a->next))) {
            return false;
        }
    }
    return same(all, gold, answer->last) ||
           (exact && !(exact == answer->first && is_name(exact)) && same(all, gold, exact));
}

static bool
has_relation(const struct expression *e)
{
    return e->kind == EXPRESSION_relation ||
           (e->kind == EXPRESSION_list && e->first && e->first->kind == EXPRESSION_relation);
}

static bool
same_region(struct expressions *all, const struct expression *gold,
            const struct expression *answer)
{
    struct region g, a;

    return region_of(all, gold, &g) && region_of(all, answer, &a) && region_same(all, &g, &a);
}

/* Whether two relations are about one symbol, the same: then their solutions may be compared. */
static bool
same_unknown(const struct expression *gold, const struct expression *answer)
{
    if (gold->op & ~answer->op & RELATION_in)
        return false; /* asked for a set */
    for (const struct expression *item = gold->first; item; item = item->next)
        if (item->kind == EXPRESSION_symbol)
            return expression_has_symbol(answer, item->name);
    return false;
}

/* Unions whose ends have no order: the same parts in any order. */
static bool
same_parts(struct expressions *all, const struct expression *gold, const struct expression *answer)
{
    struct expression *g, *a;

    if (gold->kind != answer->kind || !region_is(gold) || gold->count != 2)
        return false;
    g = alone(all, gold, 1);
    a = alone(all, answer, 1);
    return g && a &&
           (same_ordered(all, g, a, false) ||
            (gold->kind != EXPRESSION_without && same_unordered(all, g, a, false)));
}

/* A ratio of two and the fraction it is. */
static bool
same_ratio(struct expressions *all, const struct expression *ratio, const struct expression *other)
{
    struct expression *a, *b, *fraction;

    if (ratio->kind != EXPRESSION_tuple || ratio->op != PARSE_RATIO || ratio->count != 2 ||
        !is_scalar(other))
        return false;
    a = alone(all, ratio->first, 1);
    b = alone(all, ratio->last, 1);
    fraction = a && b ? expression_of(all, EXPRESSION_divide, 0, a, b) : NULL;
    return fraction && scalar_same(all, fraction, other);
}

static bool
is_plain_set(const struct expression *e)
{
    return (e->kind == EXPRESSION_set || e->kind == EXPRESSION_list) && e->count > 0;
}

/* One thing on one side, on the other a set or list of nothing else: {5}, "3/4 or 0.75". */
static bool
same_single(struct expressions *all, const struct expression *gold,
            const struct expression *answer)
{
    const struct expression *many = is_plain_set(gold) ? gold : answer;

    for (const struct expression *item = many->first; item; item = item->next)
        if (!(many == gold ? same(all, item, answer) : same(all, gold, item)))
            return false;
    return true;
}

static bool
same_sets(struct expressions *all, const struct expression *gold, const struct expression *answer)
{
    if (is_plain_set(gold) != is_plain_set(answer) && same_single(all, gold, answer))
        return true;
    if (region_is(gold) || region_is(answer))
        return same_region(all, gold, answer) || same_parts(all, gold, answer);
    if (is_items(gold) && is_items(answer))
        return same_items(all, gold, answer);
    return is_items(gold) ? same_ratio(all, gold, answer) : same_ratio(all, answer, gold);
}

static bool
same(struct expressions *all, const struct expression *gold, const struct expression *answer)
{
    if (!expression_spend(all, 1))
        return false;
    if (gold->kind == EXPRESSION_relation && answer->kind == EXPRESSION_relation)
        return same_relations(all, gold, answer) ||
               (same_unknown(gold, answer) && same_region(all, gold, answer));
    if (answer->kind == EXPRESSION_relation)
        return !has_relation(gold) && same_claim(all, gold, answer);
    if (is_assignment(gold))
        return same(all, gold->last, answer);
    if (has_relation(gold) && !has_relation(answer) && (is_items(answer) || region_is(answer))) {
        if (same_region(all, gold, answer))
            return true;
    }
    if (gold->kind == EXPRESSION_relation)
        return false;
    if (is_scalar(gold) && is_scalar(answer))
        return scalar_same(all, gold, answer);
    return same_sets(all, gold, answer);
}

bool
compare_answers(struct expressions *all, const struct expression *gold,
                const struct expression *answer)
{
    const struct expression *g = matrix_written_out(all, gold);
    const struct expression *a = matrix_written_out(all, answer);

    g = g && a ? spread(all, g) : NULL;
    a = g ? spread(all, a) : NULL;
    return a && same(all, g, a) && expression_spend(all, 0);
}
