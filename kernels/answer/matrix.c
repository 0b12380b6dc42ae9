/* matrix: each operation makes the trees of the result's items. */
#include "kernels/answer/matrix.h"

static bool
is_matrix(const struct expression *e)
{
    return e->kind == EXPRESSION_matrix;
}

static struct expression *
copy(struct expressions *all, const struct expression *e)
{
    return expression_signed(all, e, 1);
}

/* Items of m, each joined with `by` (before it) under the kind; by NULL: the kind alone. */
static struct expression *
each(struct expressions *all, const struct expression *m, enum expression_kind kind,
     const struct expression *by)
{
    struct expression *out = expression_new(all, EXPRESSION_matrix, m->op);

    for (const struct expression *item = m->first; out && item; item = item->next) {
        struct expression *a = copy(all, item), *b = by ? copy(all, by) : NULL;
        struct expression *one = NULL;

        if (a && by && b)
            one = expression_of(all, kind, 0, b, a);
        else if (a && !by)
            one = expression_of(all, kind, 0, a, NULL);
        if (!one)
            return NULL;
        expression_add(out, one);
    }
    return out;
}

static struct expression *
sum(struct expressions *all, const struct expression *a, const struct expression *b)
{
    struct expression *out = expression_new(all, EXPRESSION_matrix, a->op);
    const struct expression *y = b->first;

    if (!out || a->op != b->op || a->count != b->count)
        return NULL;
    for (const struct expression *x = a->first; x; x = x->next, y = y->next) {
        struct expression *l = copy(all, x), *r = copy(all, y);
        struct expression *one = l && r ? expression_of(all, EXPRESSION_add, 0, l, r) : NULL;

        if (!one)
            return NULL;
        expression_add(out, one);
    }
    return out;
}

static const struct expression *
item_at(const struct expression *m, int at)
{
    const struct expression *item = m->first;

    while (at-- > 0)
        item = item->next;
    return item;
}

/* One item of a product: a row of a with a column of b. */
static struct expression *
scalar_product(struct expressions *all, const struct expression *a, const struct expression *b,
               int row, int column)
{
    struct expression *total = expression_new(all, EXPRESSION_add, 0);

    for (int k = 0; total && k < a->op; k++) {
        struct expression *l = copy(all, item_at(a, row * a->op + k));
        struct expression *r = copy(all, item_at(b, k * b->op + column));
        struct expression *one = l && r ? expression_of(all, EXPRESSION_multiply, 0, l, r) : NULL;

        if (!one)
            return NULL;
        expression_add(total, one);
    }
    return total;
}

static struct expression *
product(struct expressions *all, const struct expression *a, const struct expression *b)
{
    struct expression *out;

    if (!is_matrix(a))
        return each(all, b, EXPRESSION_multiply, a);
    if (!is_matrix(b))
        return each(all, a, EXPRESSION_multiply, b);
    if (a->op * b->op != b->count || a->count > MATRIX_ITEMS_MAX || b->count > MATRIX_ITEMS_MAX)
        return NULL;
    out = expression_new(all, EXPRESSION_matrix, b->op);
    for (int row = 0; out && row < a->count / a->op; row++)
        for (int column = 0; column < b->op; column++) {
            struct expression *one = scalar_product(all, a, b, row, column);

            if (!one)
                return NULL;
            expression_add(out, one);
        }
    return out;
}

/* The items folded from the left, as soon as one of the two is a matrix. */
static const struct expression *
fold(struct expressions *all, const struct expression *e)
{
    const struct expression *out = matrix_written_out(all, e->first);

    for (const struct expression *item = e->first->next; out && item; item = item->next) {
        const struct expression *next = matrix_written_out(all, item);

        if (!next || (e->kind == EXPRESSION_add && (!is_matrix(out) || !is_matrix(next))))
            return NULL;
        if (is_matrix(out) || is_matrix(next)) {
            out = e->kind == EXPRESSION_add ? sum(all, out, next) : product(all, out, next);
        } else {
            struct expression *a = copy(all, out), *b = copy(all, next);

            out = a && b ? expression_of(all, e->kind, 0, a, b) : NULL;
        }
    }
    return out && out->depth <= EXPRESSION_DEPTH_MAX ? out : NULL;
}

const struct expression *
matrix_written_out(struct expressions *all, const struct expression *e)
{
    const struct expression *inner;

    if (is_matrix(e) || !expression_has(e, EXPRESSION_matrix))
        return e;
    switch (e->kind) {
    case EXPRESSION_add:
    case EXPRESSION_multiply: return fold(all, e);
    case EXPRESSION_negate:
        inner = matrix_written_out(all, e->first);
        return inner && is_matrix(inner) ? each(all, inner, EXPRESSION_negate, NULL) : NULL;
    default: return e;
    }
}
