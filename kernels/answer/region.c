/* region: pieces are kept sorted by their low end and apart from each other. */
#include "kernels/answer/region.h"

#include "kernels/answer/scalar.h"

/* -1, 0, 1; 2: no order. Ends: infinite ones are NULL, told apart by `high`. */
static int
order_ends(struct expressions *all, const struct expression *a, bool a_high,
           const struct expression *b, bool b_high)
{
    int x = a ? 0 : a_high ? 1 : -1, y = b ? 0 : b_high ? 1 : -1;

    if (!a || !b)
        return x < y ? -1 : x > y;
    return scalar_order(all, a, b);
}

static bool
is_empty(struct expressions *all, const struct region_piece *p, bool *known)
{
    int order = order_ends(all, p->low, false, p->high, true);

    *known = order != 2;
    return order == 1 || (order == 0 && !(p->low_closed && p->high_closed));
}

/* Adds a piece: what touches it becomes one with it. */
static bool
add_piece(struct expressions *all, struct region *r, struct region_piece p)
{
    bool known, empty = is_empty(all, &p, &known);
    int to = 0;

    if (!known || empty)
        return known;
    for (int i = 0; i < r->count; i++) {
        struct region_piece q = r->at[i];
        int before = order_ends(all, q.high, true, p.low, false);
        int after = order_ends(all, p.high, true, q.low, false);
        int low, high;

        if (before == 2 || after == 2)
            return false;
        if (before < 0 || (before == 0 && !q.high_closed && !p.low_closed) || after < 0 ||
            (after == 0 && !p.high_closed && !q.low_closed)) {
            r->at[to++] = q;
            continue;
        }
        low = order_ends(all, q.low, false, p.low, false);
        high = order_ends(all, q.high, true, p.high, true);
        if (low == 2 || high == 2)
            return false;
        p.low_closed = low == 0 ? p.low_closed || q.low_closed
                       : low < 0 ? q.low_closed
                                 : p.low_closed;
        p.low = low < 0 ? q.low : p.low;
        p.high_closed = high == 0 ? p.high_closed || q.high_closed
                        : high > 0 ? q.high_closed
                                   : p.high_closed;
        p.high = high > 0 ? q.high : p.high;
    }
    if (to == REGION_PIECES_MAX)
        return false;
    r->count = to + 1;
    while (to > 0 && order_ends(all, p.low, false, r->at[to - 1].low, false) < 0) {
        r->at[to] = r->at[to - 1];
        to--;
    }
    r->at[to] = p;
    return true;
}

static bool
join(struct expressions *all, struct region *r, const struct region *with)
{
    for (int i = 0; i < with->count; i++)
        if (!add_piece(all, r, with->at[i]))
            return false;
    return true;
}

/* What lies in both pieces; false: no order. */
static bool
common(struct expressions *all, const struct region_piece *a, const struct region_piece *b,
       struct region_piece *out)
{
    int low = order_ends(all, a->low, false, b->low, false);
    int high = order_ends(all, a->high, true, b->high, true);

    *out = (struct region_piece){
        .low = low > 0 ? a->low : b->low,
        .high = high < 0 ? a->high : b->high,
        .low_closed = low == 0  ? a->low_closed && b->low_closed
                      : low > 0 ? a->low_closed
                                : b->low_closed,
        .high_closed = high == 0  ? a->high_closed && b->high_closed
                       : high < 0 ? a->high_closed
                                  : b->high_closed,
    };
    return low != 2 && high != 2;
}

static bool
meet(struct expressions *all, struct region *r, const struct region *with)
{
    struct region out = {.count = 0};

    for (int i = 0; i < r->count; i++)
        for (int k = 0; k < with->count; k++) {
            struct region_piece p;

            if (!common(all, &r->at[i], &with->at[k], &p) || !add_piece(all, &out, p))
                return false;
        }
    *r = out;
    return true;
}

/* The real line without the region. */
static bool
complement(struct expressions *all, struct region *r)
{
    struct region out = {.count = 0};
    struct region_piece gap = {NULL, NULL, false, false};

    for (int i = 0; i < r->count; i++) {
        gap.high = r->at[i].low;
        gap.high_closed = !r->at[i].low_closed;
        if (r->at[i].low && !add_piece(all, &out, gap))
            return false;
        gap.low = r->at[i].high;
        gap.low_closed = !r->at[i].high_closed;
        gap.high = NULL;
        gap.high_closed = false;
        if (!gap.low) {
            *r = out;
            return true;
        }
    }
    if (!add_piece(all, &out, gap))
        return false;
    *r = out;
    return true;
}

static const struct expression *
bounded(const struct expression *e)
{
    return scalar_infinity(e) ? NULL : e;
}

static bool
interval(struct expressions *all, const struct expression *e, struct region *r)
{
    const struct expression *low = e->first, *high = low->next;
    struct region_piece p = {
        .low = bounded(low),
        .high = bounded(high),
        .low_closed = (e->op & BRACKET_closed_low) && bounded(low),
        .high_closed = (e->op & BRACKET_closed_high) && bounded(high),
    };

    return scalar_infinity(low) <= 0 && scalar_infinity(high) >= 0 && add_piece(all, r, p);
}

static bool
points(struct expressions *all, const struct expression *e, struct region *r)
{
    for (const struct expression *item = e->first; item; item = item->next)
        if (!bounded(item) ||
            !add_piece(all, r, (struct region_piece){item, item, true, true}))
            return false;
    return true;
}

/* x R c for a symbol x and a number c: a half line, a point, or all but a point. */
static bool
half_line(struct expressions *all, int relation, const struct expression *c, struct region *r)
{
    struct region_piece p = {NULL, NULL, false, false};

    r->count = 0;
    if (!bounded(c))
        return add_piece(all, r, p);
    switch (relation) {
    case RELATION_less_equal:
    case RELATION_less:
        p.high = c;
        p.high_closed = relation == RELATION_less_equal;
        return add_piece(all, r, p);
    case RELATION_greater_equal:
    case RELATION_greater:
        p.low = c;
        p.low_closed = relation == RELATION_greater_equal;
        return add_piece(all, r, p);
    case RELATION_equal:
    case RELATION_unequal:
        if (!add_piece(all, r, (struct region_piece){c, c, true, true}))
            return false;
        return relation == RELATION_equal || complement(all, r);
    default: return false;
    }
}

static int
turned(int relation)
{
    return relation == RELATION_less            ? RELATION_greater
           : relation == RELATION_less_equal    ? RELATION_greater_equal
           : relation == RELATION_greater       ? RELATION_less
           : relation == RELATION_greater_equal ? RELATION_less_equal
                                                : relation;
}

static bool
solved(struct expressions *all, const struct expression *e, struct region *r)
{
    struct region one;
    const struct expression *unknown = NULL;

    r->count = 0;
    if (!add_piece(all, r, (struct region_piece){NULL, NULL, false, false}))
        return false;
    for (const struct expression *a = e->first; a->next; a = a->next) {
        const struct expression *b = a->next, *symbol = a;
        int relation = b->relation;

        if (b->kind == EXPRESSION_symbol || b->kind == EXPRESSION_apply) {
            symbol = b;
            b = a;
            relation = turned(relation);
        }
        if ((symbol->kind != EXPRESSION_symbol && symbol->kind != EXPRESSION_apply) ||
            scalar_has_symbols(b) ||
            (unknown && !expression_same_name(unknown->name, symbol->name)))
            return false;
        unknown = symbol;
        if (relation == RELATION_in ? !region_of(all, b, &one)
                                    : !half_line(all, relation, b, &one))
            return false;
        if (!meet(all, r, &one))
            return false;
    }
    return true;
}

/* Relations in a row: "or" joins them; else what meets them all, or where nothing does (x < 1,
 * x > 3) they are joined too. */
static bool
conditions(struct expressions *all, const struct expression *e, struct region *r)
{
    struct region other, both = {.count = 1};

    both.at[0] = (struct region_piece){NULL, NULL, false, false};
    for (const struct expression *item = e->first; item; item = item->next)
        if (item->kind != EXPRESSION_relation || !region_of(all, item, &other) ||
            !join(all, r, &other) || !meet(all, &both, &other))
            return false;
    if (e->op != 1 && both.count > 0)
        *r = both;
    return true;
}

bool
region_is(const struct expression *e)
{
    return e->kind == EXPRESSION_join || e->kind == EXPRESSION_meet ||
           e->kind == EXPRESSION_without ||
           (e->kind == EXPRESSION_constant && e->op == CONSTANT_reals);
}

bool
region_of(struct expressions *all, const struct expression *e, struct region *r)
{
    struct region other;

    r->count = 0;
    if (!expression_spend(all, 4))
        return false;
    switch (e->kind) {
    case EXPRESSION_constant:
        return e->op == CONSTANT_reals &&
               add_piece(all, r, (struct region_piece){NULL, NULL, false, false});
    case EXPRESSION_tuple: return e->count == 2 && e->op <= 3 && interval(all, e, r);
    case EXPRESSION_set:   return points(all, e, r);
    case EXPRESSION_relation: return solved(all, e, r);
    case EXPRESSION_list: return conditions(all, e, r);
    case EXPRESSION_join:
        return region_of(all, e->first, r) && region_of(all, e->first->next, &other) &&
               join(all, r, &other);
    case EXPRESSION_meet:
        return region_of(all, e->first, r) && region_of(all, e->first->next, &other) &&
               meet(all, r, &other);
    case EXPRESSION_without:
        return region_of(all, e->first, r) && region_of(all, e->first->next, &other) &&
               complement(all, &other) && meet(all, r, &other);
    default: return false;
    }
}

bool
region_same(struct expressions *all, const struct region *a, const struct region *b)
{
    if (a->count != b->count)
        return false;
    for (int i = 0; i < a->count; i++) {
        const struct region_piece *x = &a->at[i], *y = &b->at[i];

        if (!x->low != !y->low || !x->high != !y->high || x->low_closed != y->low_closed ||
            x->high_closed != y->high_closed || (x->low && !scalar_same(all, x->low, y->low)) ||
            (x->high && !scalar_same(all, x->high, y->high)))
            return false;
    }
    return true;
}
