/* expression: nodes from an arena, with a list of the numbers that GMP must clear. */
#include "kernels/answer/expression.h"

#include <string.h>

struct expression *
expression_new(struct expressions *all, enum expression_kind kind, int op)
{
    struct expression *e;

    if (all->nodes == EXPRESSION_NODES_MAX)
        return NULL;
    all->nodes++;
    e = arena_take(&all->arena, sizeof(*e));
    e->kind = kind;
    e->op = op;
    if (kind == EXPRESSION_number) {
        mpq_init(e->value);
        e->number = all->numbers;
        all->numbers = e;
    }
    return e;
}

void
expression_add(struct expression *e, struct expression *item)
{
    if (e->last)
        e->last->next = item;
    else
        e->first = item;
    e->last = item;
    item->next = NULL;
    e->count++;
    if (e->depth <= item->depth)
        e->depth = item->depth + 1;
}

struct expression *
expression_of(struct expressions *all, enum expression_kind kind, int op, struct expression *a,
              struct expression *b)
{
    struct expression *e = a ? expression_new(all, kind, op) : NULL;

    if (!e)
        return NULL;
    expression_add(e, a);
    if (b)
        expression_add(e, b);
    return e->depth <= EXPRESSION_DEPTH_MAX ? e : NULL;
}

struct expression *
expression_integer(struct expressions *all, long value)
{
    struct expression *e = expression_new(all, EXPRESSION_number, 0);

    if (e)
        mpq_set_si(e->value, value, 1);
    return e;
}

struct expression *
expression_signed(struct expressions *all, const struct expression *e, int sign)
{
    struct expression *copy = expression_new(all, e->kind, e->op);

    if (!copy)
        return NULL;
    copy->decimal = e->decimal;
    copy->plain = e->plain;
    copy->name = e->name;
    copy->unit = e->unit;
    copy->relation = e->relation;
    if (e->kind == EXPRESSION_number)
        mpq_set(copy->value, e->value);
    for (const struct expression *item = e->first; item; item = item->next) {
        struct expression *one = expression_signed(all, item, sign);

        if (!one)
            return NULL;
        expression_add(copy, one);
    }
    if (e->kind != EXPRESSION_plus_minus)
        return copy;
    return e->op * sign > 0 ? copy->first
                            : expression_of(all, EXPRESSION_negate, 0, copy->first, NULL);
}

bool
expression_has(const struct expression *e, enum expression_kind kind)
{
    if (e->kind == kind)
        return true;
    for (const struct expression *item = e->first; item; item = item->next)
        if (expression_has(item, kind))
            return true;
    return false;
}

bool
expression_same_name(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

bool
expression_has_symbol(const struct expression *e, struct span name)
{
    if (e->kind == EXPRESSION_symbol && expression_same_name(e->name, name))
        return true;
    for (const struct expression *item = e->first; item; item = item->next)
        if (expression_has_symbol(item, name))
            return true;
    return false;
}

bool
expression_has_decimal(const struct expression *e)
{
    if (e->kind == EXPRESSION_number && e->decimal)
        return true;
    for (const struct expression *item = e->first; item; item = item->next)
        if (expression_has_decimal(item))
            return true;
    return false;
}

bool
expression_alike(const struct expression *a, const struct expression *b)
{
    const struct expression *x = a->first, *y = b->first;

    if (a->kind != b->kind || a->op != b->op || a->count != b->count || a->unit != b->unit ||
        a->relation != b->relation || !expression_same_name(a->name, b->name))
        return false;
    if (a->kind == EXPRESSION_number)
        return mpq_equal(a->value, b->value);
    for (; x; x = x->next, y = y->next)
        if (!expression_alike(x, y))
            return false;
    return true;
}

bool
expression_spend(struct expressions *all, int64_t work)
{
    all->work += work;
    return all->work <= EXPRESSION_WORK_MAX;
}

void
expressions_free(struct expressions *all)
{
    for (struct expression *e = all->numbers; e; e = e->number)
        mpq_clear(e->value);
    arena_free(&all->arena);
    *all = (struct expressions){0};
}
