/* parse: the grammar from a list down to a postfix; parse_primary.c holds the rest. */
#include "kernels/answer/parse.h"

#include <string.h>

#include "kernels/answer/parser.h"

#define SUBSCRIPT_MAX 7 /* tokens of a subscript; below LATEX_AHEAD */

/* A group deeper: false beyond the bound. */
static bool
deeper(struct parser *p)
{
    return ++p->depth <= PARSE_DEPTH_MAX;
}

static struct expression *
symbol(struct parser *p, struct span name)
{
    struct expression *e = expression_new(p->all, EXPRESSION_symbol, 0);

    if (e)
        e->name = name;
    return e;
}

/* "area = 5", "\text{total}: 5": words before an equals sign are a symbol. */
static struct expression *
parse_words(struct parser *p)
{
    int start = p->at, end = p->at;
    struct token *first = parser_token(p);

    while (p->l->at[end].kind == TOKEN_word || p->l->at[end].kind == TOKEN_text ||
           (end > start && p->l->at[end].kind == TOKEN_letter))
        end++;
    if (end == start || (p->l->at[end].kind != ':' && (p->l->at[end].kind != TOKEN_relation ||
                                                      p->l->at[end].value == RELATION_in)))
        return NULL;
    if (end == start + 1 && first->kind == TOKEN_word && parser_product(first->text))
        return NULL; /* AB = 5 */
    p->at = end;
    if (parser_sees(p, ':')) {
        parser_token(p)->kind = TOKEN_relation;
        parser_token(p)->value = RELATION_equal;
    }
    return symbol(p, first->text);
}

static bool
unit_word(const struct token *t, bool first)
{
    if (t->kind == TOKEN_text || t->kind == TOKEN_word)
        return true;
    if (t->kind == TOKEN_function)
        return span_is(t->text, "min") || span_is(t->text, "sec");
    return !first && t->kind == TOKEN_letter && t->text.length == 1;
}

/* A letter that is a unit where nothing follows it: "5 m", "5 m^2", "5 m/s". */
static bool
unit_letter(struct parser *p, const struct expression *before)
{
    const struct token *t = parser_token(p), *next = t + 1;

    if (t->kind != TOKEN_letter || !t->spaced || before->kind != EXPRESSION_number ||
        p->depth > p->brackets || !memchr("mgshlL", t->text.length == 1 ? t->text.at[0] : '?', 6))
        return false;
    if (next->kind == '/' && next[1].kind == TOKEN_letter)
        next += 2;
    if (next->kind == '^' && next[1].kind == TOKEN_number)
        next += 2;
    next += next->kind == TOKEN_raised;
    return next->kind == TOKEN_end || next->kind == ',' || next->kind == ')';
}

/* The power behind a unit: ^2, ^{2}, a superscript; 0: none. */
static int
unit_power(struct parser *p)
{
    const struct token *t = parser_token(p);
    int braced;

    if (t->kind == TOKEN_raised) {
        p->at++;
        return t->value;
    }
    if (t->kind != '^')
        return 0;
    braced = t[1].kind == '{';
    if (t[1 + braced].kind != TOKEN_number || t[1 + braced].text.length != 1 ||
        (braced && t[3].kind != '}'))
        return 0;
    p->at += 2 + 2 * braced;
    return t[1 + braced].text.at[0] - '0';
}

/* The words behind a number, if there are any: the number becomes a quantity. */
static struct expression *
parse_unit(struct parser *p, struct expression *value)
{
    struct unit *u;
    struct expression *e;
    int start = p->at, power;

    if (!value || (!unit_word(parser_token(p), true) && !unit_letter(p, value)))
        return value;
    u = arena_take(&p->all->arena, sizeof(*u));
    unit_start(u);
    for (;;) {
        const struct token *t = parser_token(p);

        if (unit_word(t, p->at == start && t->kind != TOKEN_letter)) {
            unit_read(u, t->text);
            p->at++;
        } else if (p->at > start && (power = unit_power(p)) > 0) {
            unit_raise(u, power);
        } else if (p->at > start && t->kind == '/' && unit_word(t + 1, false)) {
            unit_divide(u);
            p->at++;
        } else if (p->at > start && t->kind == '*' && unit_word(t + 1, false)) {
            p->at++;
        } else {
            break;
        }
    }
    e = expression_of(p->all, EXPRESSION_quantity, 0, value, NULL);
    if (e)
        e->unit = u;
    return e;
}

static struct expression *
parse_exponent(struct parser *p)
{
    if (parser_takes(p, '-'))
        return expression_of(p->all, EXPRESSION_negate, 0, parse_argument(p, false), NULL);
    parser_takes(p, '+');
    return parse_argument(p, false);
}

/* "^\circ" and "^{\circ}" are degrees, "^{\text{th}}" is nothing, "^" else a power. */
static struct expression *
parse_power(struct parser *p, struct expression *base)
{
    struct token *t = parser_token(p);
    int braced = t->kind == '{';
    int kind = t->kind == TOKEN_end ? TOKEN_end : t[braced].kind;
    struct expression *exponent;

    if ((kind == TOKEN_degree || kind == TOKEN_text || kind == '\'' ||
         (kind == TOKEN_word && !parser_product(t[braced].text))) &&
        (!braced || t[2].kind == '}')) {
        p->at += 1 + 2 * braced;
        return kind == TOKEN_degree ? expression_of(p->all, EXPRESSION_degree, 0, base, NULL)
                                    : base;
    }
    exponent = parse_exponent(p);
    return exponent ? expression_of(p->all, EXPRESSION_power, 0, base, exponent) : NULL;
}

/* x_1, x_{12}: a symbol of its own. 101_2, 101_{2}: a number in a base, which it must share. */
static struct expression *
parse_subscript(struct parser *p, struct expression *base)
{
    bool braced = parser_takes(p, '{');
    const struct token *t = parser_token(p);
    struct buffer name = {0};
    struct expression *e = NULL;
    char *kept;
    int count = 1;

    while (braced && count < SUBSCRIPT_MAX && t[count - 1].kind != TOKEN_end &&
           t[count].kind != '}')
        count++;
    if (t->kind == TOKEN_end || t[count - 1].kind == TOKEN_end || (braced && t[count].kind != '}'))
        return NULL;
    p->at += count + braced;
    if (base->kind == EXPRESSION_number) {
        struct unit *u = arena_take(&p->all->arena, sizeof(*u));

        if (count > 1)
            return NULL;
        unit_start(u);
        for (size_t i = 0; i < t->text.length && i < 4 && t->kind == TOKEN_number; i++)
            u->base = u->base * 10 + (t->text.at[i] - '0');
        e = expression_of(p->all, EXPRESSION_quantity, 0, base, NULL);
        if (e)
            e->unit = u;
        return e;
    }
    if (base->kind != EXPRESSION_symbol)
        return NULL;
    buffer_print(&name, "%.*s_", (int)base->name.length, base->name.at);
    for (int i = 0; i < count; i++)
        buffer_add(&name, t[i].text.at ? t[i].text.at : "?", t[i].text.at ? t[i].text.length : 1);
    kept = arena_take(&p->all->arena, name.length + 1);
    memcpy(kept, name.at, name.length);
    e = symbol(p, span_of(kept, name.length));
    buffer_free(&name);
    return e;
}

static struct expression *
parse_postfix(struct parser *p)
{
    struct expression *e = parse_primary(p);

    while (e) {
        const struct token *t = parser_token(p);

        if (parser_takes(p, '^')) {
            e = parse_power(p, e);
        } else if (parser_takes(p, TOKEN_raised)) {
            e = expression_of(p->all, EXPRESSION_power, 0, e,
                              expression_integer(p->all, t->value));
        } else if (parser_takes(p, '!')) {
            e = expression_of(p->all, EXPRESSION_factorial, 0, e, NULL);
        } else if (parser_takes(p, TOKEN_percent)) {
            e = expression_of(p->all, EXPRESSION_percent, 0, e, NULL);
        } else if (parser_takes(p, TOKEN_degree)) {
            e = expression_of(p->all, EXPRESSION_degree, 0, e, NULL);
        } else if (parser_takes(p, '_')) {
            e = parse_subscript(p, e);
        } else if (!parser_takes(p, '\'')) {
            return e;
        }
    }
    return NULL;
}

struct expression *
parse_unary(struct parser *p)
{
    struct expression *e = NULL;

    if (!deeper(p))
        return NULL;
    p->brackets++;
    if (parser_takes(p, '-')) {
        e = expression_of(p->all, EXPRESSION_negate, 0, parse_unary(p), NULL);
    } else if (parser_takes(p, '+')) {
        e = parse_unary(p);
    } else if (parser_sees(p, TOKEN_plus_minus)) {
        int sign = parser_token(p)->value;

        p->at++;
        e = expression_of(p->all, EXPRESSION_plus_minus, sign, parse_product(p), NULL);
    } else {
        e = parse_postfix(p);
    }
    p->depth--;
    p->brackets--;
    return e;
}

/* Whether a factor follows with no sign between. */
static bool
juxtaposed(struct parser *p, const struct expression *before)
{
    const struct token *t = parser_token(p);

    switch (t->kind) {
    case TOKEN_letter:
    case TOKEN_constant: return !unit_letter(p, before);
    case TOKEN_function:
        return t->value != FUNCTION_mod &&
               (t[1].kind == '(' || (!span_is(t->text, "min") && !span_is(t->text, "sec")));
    case TOKEN_frac:
    case TOKEN_open_floor:
    case TOKEN_open_ceil:
    case TOKEN_begin:
    case '{':
    case '(':            return true;
    case '|':            return p->bars == 0;
    case TOKEN_word:
        return parser_product(t->text) && !(before->kind == EXPRESSION_number && unit_is(t->text));
    case TOKEN_number:
        return before->kind != EXPRESSION_number && before->kind != EXPRESSION_quantity &&
               before->kind != EXPRESSION_percent && before->kind != EXPRESSION_tuple;
    default: return false;
    }
}

/* Puts a factor behind what is there: a product grows, so that its depth does not. */
static struct expression *
times(struct parser *p, struct expression *e, struct expression *factor)
{
    if (!factor)
        return NULL;
    if (e->kind == EXPRESSION_multiply && e->op == 1) {
        expression_add(e, factor);
        return e->depth <= EXPRESSION_DEPTH_MAX ? e : NULL;
    }
    return expression_of(p->all, EXPRESSION_multiply, 1, e, factor);
}

/* op 1 marks a product or sum that may still grow; a finished one has 0. */
static struct expression *
closed(struct expression *e)
{
    if (e && (e->kind == EXPRESSION_multiply || e->kind == EXPRESSION_add))
        e->op = 0;
    return e;
}

struct expression *
parse_product(struct parser *p)
{
    struct expression *e = parse_unary(p), *last = e;

    while (e) {
        int start = p->at;

        if (parser_takes(p, '*')) {
            last = parse_unary(p);
            e = times(p, e, last);
        } else if (parser_sees(p, '/') && !unit_word(parser_token(p) + 1, true)) {
            p->at++;
            last = parse_unary(p);
            e = last ? expression_of(p->all, EXPRESSION_divide, 0, closed(e), last) : NULL;
        } else if (parser_sees(p, TOKEN_function) &&
                   parser_token(p)->value == FUNCTION_mod) {
            p->at++;
            last = parse_unary(p);
            e = last ? expression_of(p->all, EXPRESSION_call, FUNCTION_mod, closed(e), last) : NULL;
        } else if (juxtaposed(p, last)) {
            last = parse_unary(p);
            e = times(p, e, last);
        } else {
            return closed(e);
        }
        if (!e || p->at == start)
            return NULL;
    }
    return NULL;
}

struct expression *
parse_sum(struct parser *p)
{
    struct expression *e = parse_product(p), *term;

    while (e) {
        int kind = parser_token(p)->kind, sign = parser_token(p)->value;

        if (kind != '+' && kind != '-' && kind != TOKEN_plus_minus)
            return parse_unit(p, closed(e));
        p->at++;
        term = parse_product(p);
        if (kind != '+')
            term = expression_of(p->all,
                                 kind == '-' ? EXPRESSION_negate : EXPRESSION_plus_minus, sign,
                                 term, NULL);
        if (!term)
            return NULL;
        if (e->kind == EXPRESSION_add && e->op == 1)
            expression_add(e, term);
        else
            e = expression_of(p->all, EXPRESSION_add, 1, e, term);
        if (e && e->depth > EXPRESSION_DEPTH_MAX)
            return NULL;
    }
    return NULL;
}

/* 3:4 and 1:2:3 are ratios. */
static struct expression *
parse_ratio(struct parser *p)
{
    struct expression *e = parse_sum(p);

    while (e && parser_sees(p, ':') && p->bars == 0) {
        struct parser before = *p;
        struct expression *part;

        p->at++;
        part = parse_sum(p);
        if (!part) {
            *p = before;
            return e;
        }
        if (e->kind == EXPRESSION_tuple && e->op == PARSE_RATIO)
            expression_add(e, part);
        else
            e = expression_of(p->all, EXPRESSION_tuple, PARSE_RATIO, e, part);
    }
    return e;
}

static struct expression *
parse_sets(struct parser *p)
{
    struct expression *e = parse_ratio(p);

    while (e) {
        int kind = parser_token(p)->kind;
        struct expression *other;

        if (kind != TOKEN_join && kind != TOKEN_meet && kind != TOKEN_without)
            return e;
        p->at++;
        other = parse_sum(p);
        e = other ? expression_of(p->all,
                                  kind == TOKEN_join   ? EXPRESSION_join
                                  : kind == TOKEN_meet ? EXPRESSION_meet
                                                       : EXPRESSION_without,
                                  0, e, other)
                  : NULL;
    }
    return NULL;
}

struct expression *
parse_relation(struct parser *p)
{
    struct expression *e = parse_words(p), *chain = NULL;

    if (!e)
        e = parse_sets(p);
    while (e && parser_sees(p, TOKEN_relation)) {
        struct parser before = *p;
        int relation = parser_token(p)->value;
        struct expression *next;

        p->at++;
        next = parse_sets(p);
        if (!next) {
            *p = before;
            break;
        }
        if (!chain && !(chain = expression_of(p->all, EXPRESSION_relation, 0, e, NULL)))
            return NULL;
        next->relation = relation;
        chain->op |= relation;
        expression_add(chain, next);
    }
    return chain ? chain : e;
}

/* "..." among items stands for itself. */
static struct expression *
parse_item(struct parser *p)
{
    return parser_takes(p, TOKEN_ellipsis) ? symbol(p, span_text("...")) : parse_relation(p);
}

struct expression *
parse_list(struct parser *p)
{
    struct expression *e, *list = NULL;

    if (!deeper(p)) {
        p->depth--;
        return NULL;
    }
    p->brackets++;
    e = parse_item(p);
    while (e && (parser_sees(p, ',') || parser_sees(p, ';') || parser_sees(p, TOKEN_and))) {
        struct parser before = *p;
        struct expression *next;
        int either = 0;

        for (; parser_sees(p, TOKEN_and) || parser_sees(p, ',') || parser_sees(p, ';'); p->at++)
            either |= parser_sees(p, TOKEN_and) && parser_token(p)->value;
        next = parse_item(p);
        if (!next) {
            *p = before;
            break;
        }
        if (!list && !(list = expression_of(p->all, EXPRESSION_list, 0, e, NULL)))
            e = NULL;
        else
            expression_add(list, next);
        if (list)
            list->op |= either;
    }
    p->depth--;
    p->brackets--;
    return e && list ? list : e;
}

struct expression *
parse_answer(struct expressions *all, struct latex *l, int *taken)
{
    struct parser p = {.all = all, .l = l};
    struct expression *e;

    if (parser_sees(&p, TOKEN_relation) && parser_token(&p)->value != RELATION_in)
        p.at++; /* "= 5" */
    e = parse_list(&p);
    while (e && (parser_sees(&p, ',') || parser_sees(&p, ';')) &&
           l->at[p.at + 1].kind == TOKEN_end)
        p.at++;
    *taken = p.at;
    return e && e->depth <= EXPRESSION_DEPTH_MAX ? e : NULL;
}
