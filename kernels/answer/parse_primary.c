/* parse_primary: numbers, names, functions and whatever stands in brackets. */
#include <stdlib.h>
#include <string.h>

#include "kernels/answer/parser.h"

#define DIGITS_MAX   19000 /* of a number: EXPRESSION_BITS_MAX of them */
#define EXPONENT_MAX 18000
#define COLUMNS_MAX  64

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The digits of a text, points and separators left out; *AFTER: how many stand behind the point. */
static char *
digits_of(struct span text, bool points, int *after)
{
    char *digits = xalloc(text.length + 2), *to = digits;
    bool behind = false;

    *after = 0;
    for (size_t i = 0; i < text.length; i++) {
        behind |= points && text.at[i] == '.';
        if (!is_digit(text.at[i]))
            continue;
        *to++ = text.at[i];
        *after += behind;
    }
    if (to == digits)
        *to = '0';
    return digits;
}

static int
points_in(struct span text)
{
    int points = 0;

    for (size_t i = 0; i < text.length; i++)
        points += text.at[i] == '.';
    return points;
}

static void
power_of_ten(mpz_t z, long exponent)
{
    mpz_ui_pow_ui(z, 10, (unsigned long)exponent);
}

/* Adds what recurs: R / (10^after (10^r - 1)), r digits. */
static void
add_recurring(mpq_t value, struct span repeat, int after)
{
    int none;
    char *digits = digits_of(repeat, false, &none);
    mpq_t part;
    mpz_t nines;

    mpq_init(part);
    mpz_init(nines);
    mpz_set_str(mpq_numref(part), digits, 10);
    power_of_ten(nines, (long)strlen(digits));
    mpz_sub_ui(nines, nines, 1);
    power_of_ten(mpq_denref(part), after);
    mpz_mul(mpq_denref(part), mpq_denref(part), nines);
    mpq_canonicalize(part);
    mpq_add(value, value, part);
    mpq_clear(part);
    mpz_clear(nines);
    free(digits);
}

struct expression *
parse_number(struct expressions *all, const struct token *t)
{
    struct expression *e;
    int after, points = points_in(t->text);
    char *digits;
    mpz_t scale;

    if (t->text.length + t->repeat.length > DIGITS_MAX || t->exponent > EXPONENT_MAX ||
        t->exponent < -EXPONENT_MAX || !(e = expression_new(all, EXPRESSION_number, 0)))
        return NULL;
    digits = digits_of(t->text, points == 1, &after);
    mpz_set_str(mpq_numref(e->value), digits, 10);
    free(digits);
    mpz_init(scale);
    power_of_ten(scale, after);
    mpz_set(mpq_denref(e->value), scale);
    if (t->over)
        mpz_set_si(mpq_denref(e->value), t->over);
    power_of_ten(scale, t->exponent < 0 ? -t->exponent : t->exponent);
    if (t->exponent < 0)
        mpz_mul(mpq_denref(e->value), mpq_denref(e->value), scale);
    else
        mpz_mul(mpq_numref(e->value), mpq_numref(e->value), scale);
    mpz_clear(scale);
    mpq_canonicalize(e->value);
    if (t->repeat.at)
        add_recurring(e->value, t->repeat, after);
    e->decimal = points == 1 && !t->repeat.at;
    e->plain = points == 0 && !t->over && !t->exponent;
    return expression_spend(all, (int64_t)t->text.length / 512) ? e : NULL;
}

bool
parser_product(struct span word)
{
    static const char *const words[] = {"is", "of", "to", "in", "it", "as", "at", "by", "no",
                                        "so", "we", "an", "on", "he", "if", "be", "my", "up",
                                        "do", "go", "me", "us", "am"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (word.length == 2 && memcmp(word.at, words[i], 2) == 0)
            return false;
    for (size_t i = 0; i < word.length && word.length > 2; i++)
        if (memchr("eiouEIOU", word.at[i], 8) ||
            (word.at[i] == 'a' && i > 0 && (i + 1 == word.length || word.at[i + 1] != 'b')))
            return false;
    return word.length <= 4;
}

static bool
plain_token(const struct token *t)
{
    return t->kind == TOKEN_number && !t->over && !t->exponent && !t->repeat.at &&
           points_in(t->text) == 0;
}

/* a/b written as two whole tokens with a < b, so that it can be the fraction of a mixed number. */
static struct expression *
proper_fraction(struct parser *p, const struct token *a, const struct token *b)
{
    struct expression *over, *under;

    if (!plain_token(a) || !plain_token(b))
        return NULL;
    over = parse_number(p->all, a);
    under = parse_number(p->all, b);
    if (!over || !under || mpq_cmp(over->value, under->value) >= 0)
        return NULL;
    return expression_of(p->all, EXPRESSION_divide, 0, over, under);
}

/* What follows a whole number and makes it a mixed one; NULL: nothing does. */
static struct expression *
mixed_part(struct parser *p)
{
    const struct token *t = parser_token(p);
    struct expression *e = NULL;

    if (t->kind == TOKEN_number && t->over) {
        p->at++;
        return parse_number(p->all, t);
    }
    if (t->kind == TOKEN_frac && t[1].kind == '{' && t[3].kind == '}' && t[4].kind == '{' &&
        t[5].kind != TOKEN_end && t[6].kind == '}') {
        e = proper_fraction(p, &t[2], &t[5]);
        p->at += e ? 7 : 0;
    } else if (t->kind == TOKEN_frac && t[1].kind == TOKEN_number && t[1].text.length == 2) {
        struct token a = t[1], b = t[1];

        a.text.length = 1;
        b.text = span_of(t[1].text.at + 1, 1);
        e = proper_fraction(p, &a, &b);
        p->at += e ? 2 : 0;
    } else if (t->kind == TOKEN_number && t->spaced && t[1].kind == '/' &&
               t[2].kind == TOKEN_number) {
        e = proper_fraction(p, t, &t[2]);
        p->at += e ? 3 : 0;
    }
    return e;
}

static struct expression *
number(struct parser *p)
{
    const struct token *t = parser_token(p);
    struct expression *e, *part;

    p->at++;
    e = parse_number(p->all, t);
    if (!e || !plain_token(t))
        return e;
    part = mixed_part(p);
    return part ? expression_of(p->all, EXPRESSION_add, 0, e, part) : e;
}

struct expression *
parse_argument(struct parser *p, bool digit)
{
    struct token *t = parser_token(p);
    struct expression *e;

    if (parser_takes(p, '{')) {
        int bars = p->bars;

        p->bars = 0;
        if (++p->depth > PARSE_DEPTH_MAX)
            return NULL;
        e = parse_list(p);
        p->depth--;
        p->bars = bars;
        return e && parser_takes(p, '}') ? e : NULL;
    }
    if (t->kind == TOKEN_number && digit && t->text.length > 1 && is_digit(t->text.at[0])) {
        struct token one = *t;

        one.text.length = 1;
        one.exponent = 0;
        one.repeat = (struct span){NULL, 0};
        t->text = span_of(t->text.at + 1, t->text.length - 1);
        return parse_number(p->all, &one);
    }
    if (t->kind == TOKEN_number) {
        p->at++;
        return parse_number(p->all, t);
    }
    if (++p->depth > PARSE_DEPTH_MAX)
        return NULL;
    e = parse_primary(p);
    p->depth--;
    return e;
}

static struct expression *
call(struct parser *p, enum function f, struct expression *a, struct expression *b)
{
    return expression_of(p->all, EXPRESSION_call, (int)f, a, b);
}

static struct expression *
fraction(struct parser *p)
{
    struct expression *over = parse_argument(p, true);
    struct expression *under = over ? parse_argument(p, true) : NULL;

    return under ? expression_of(p->all, EXPRESSION_divide, 0, over, under) : NULL;
}

static struct expression *
root(struct parser *p)
{
    struct expression *degree = NULL, *e;

    if (parser_takes(p, '[')) {
        degree = parse_sum(p);
        if (!degree || !parser_takes(p, ']'))
            return NULL;
    }
    e = parse_argument(p, false);
    if (!e)
        return NULL;
    return degree ? call(p, FUNCTION_root, e, degree) : call(p, FUNCTION_sqrt, e, NULL);
}

/* The arguments in (...) or {...} become those of the call. */
static struct expression *
arguments(struct expression *into, struct expression *list)
{
    if (!into || !list)
        return NULL;
    if (list->kind != EXPRESSION_list && list->kind != EXPRESSION_tuple &&
        list->kind != EXPRESSION_set) {
        expression_add(into, list);
    } else {
        for (struct expression *item = list->first, *next; item; item = next) {
            next = item->next;
            expression_add(into, item);
        }
    }
    return into->depth <= EXPRESSION_DEPTH_MAX ? into : NULL;
}

/* sin x, sin(x), sin 2x, sin^2 x, log_2 8. */
static struct expression *
function(struct parser *p, enum function f)
{
    struct expression *power = NULL, *base = NULL, *e, *argument;

    if (parser_takes(p, '_') && !(base = parse_argument(p, true)))
        return NULL;
    if (parser_takes(p, '^')) {
        power = parser_takes(p, '-') ? expression_of(p->all, EXPRESSION_negate, 0,
                                                     parse_argument(p, true), NULL)
                                     : parse_argument(p, true);
        if (!power)
            return NULL;
    }
    if (++p->depth > PARSE_DEPTH_MAX)
        return NULL;
    if (parser_sees(p, '(') || parser_sees(p, '{') || parser_sees(p, TOKEN_open_set)) {
        argument = parse_primary(p);
    } else {
        argument = parse_unary(p);
        while (argument && (parser_sees(p, TOKEN_letter) || parser_sees(p, TOKEN_constant) ||
                            parser_sees(p, TOKEN_frac)) && !parser_token(p)->spaced) {
            struct expression *more = parse_unary(p);

            argument = more ? expression_of(p->all, EXPRESSION_multiply, 0, argument, more) : NULL;
        }
    }
    p->depth--;
    e = arguments(expression_new(p->all, EXPRESSION_call, (int)f), argument);
    if (e && base)
        expression_add(e, base);
    if (!power || !e)
        return e;
    if (power->kind == EXPRESSION_negate && f <= FUNCTION_tan) {
        e->op = f == FUNCTION_sin ? FUNCTION_arcsin : f == FUNCTION_cos ? FUNCTION_arccos
                                                                       : FUNCTION_arctan;
        return e;
    }
    return expression_of(p->all, EXPRESSION_power, 0, e, power);
}

static struct expression *
any_function(struct parser *p)
{
    enum function f = (enum function)parser_token(p)->value;
    struct expression *a, *b;

    p->at++;
    switch (f) {
    case FUNCTION_sqrt: return root(p);
    case FUNCTION_binomial:
        a = parse_argument(p, true);
        b = a ? parse_argument(p, true) : NULL;
        return b ? call(p, f, a, b) : NULL;
    default: return function(p, f);
    }
}

static bool
closes(int kind, bool *closed)
{
    *closed = kind == ']';
    return kind == ']' || kind == ')' || kind == '[';
}

/* ( ... ) and its relatives: a group of one is itself, two or more are a tuple or an interval. */
static struct expression *
bracketed(struct parser *p, int open)
{
    int bars = p->bars;
    struct expression *list, *tuple;
    bool closed;
    int close;

    p->bars = 0;
    list = parse_list(p);
    p->bars = bars;
    if (!list)
        return NULL;
    close = parser_token(p)->kind;
    if (open == TOKEN_open_angle ? close != TOKEN_close_angle : !closes(close, &closed))
        return NULL;
    p->at++;
    if (open == TOKEN_open_angle || list->kind != EXPRESSION_list) {
        closed = false;
        if (list->kind != EXPRESSION_list)
            return open == ']' ? NULL : list;
    }
    tuple = expression_new(p->all, EXPRESSION_tuple,
                           (open == '[' ? BRACKET_closed_low : 0) |
                               (closed ? BRACKET_closed_high : 0));
    return arguments(tuple, list);
}

/* What meets a condition: the part of the reals that solves it. */
static struct expression *
such_that(struct parser *p)
{
    struct expression *condition = parse_list(p);
    struct expression *reals = expression_new(p->all, EXPRESSION_constant, CONSTANT_reals);

    return condition && reals ? expression_of(p->all, EXPRESSION_meet, 0, reals, condition) : NULL;
}

/* {1, 2}, {x | x > 1}, {}, and the brace before a system of equations. */
static struct expression *
set(struct parser *p)
{
    struct expression *e = expression_new(p->all, EXPRESSION_set, 0), *list;
    int bars = p->bars;

    if (parser_takes(p, TOKEN_close_set))
        return e;
    p->bars = 1; /* a | ends what stands before it */
    list = parse_list(p);
    p->bars = 0;
    if (list && (parser_takes(p, '|') || parser_takes(p, TOKEN_such) || parser_takes(p, ':')))
        e = such_that(p);
    else if (list && list->kind == EXPRESSION_list && list->op == PARSE_SYSTEM)
        return list;
    else if (list && list->kind == EXPRESSION_list)
        e = arguments(e, list);
    else if (list && e)
        expression_add(e, list);
    p->bars = bars;
    return list && e && parser_takes(p, TOKEN_close_set) ? e : NULL;
}

static struct expression *
enclosed(struct parser *p, enum function f, int close)
{
    struct expression *e;

    if (++p->depth > PARSE_DEPTH_MAX)
        return NULL;
    p->bars += close == '|';
    e = parse_sum(p);
    p->bars -= close == '|';
    p->depth--;
    return e && parser_takes(p, close) ? call(p, f, e, NULL) : NULL;
}

/* Past the columns of an array: {ccc}. */
static bool
skip_columns(struct parser *p)
{
    if (!parser_takes(p, '{'))
        return true;
    while (!parser_sees(p, '}') && !parser_sees(p, TOKEN_end))
        p->at++;
    return parser_takes(p, '}');
}

/* Rows of cells. One column of relations is a system: a list. */
static struct expression *
matrix(struct parser *p)
{
    static const char *const names[] = {"pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix",
                                        "array", "cases", "aligned"};
    struct span name = parser_token(p)->text;
    struct expression *e = expression_new(p->all, EXPRESSION_matrix, 0), *cell;
    int columns = 0, known = 0;

    p->at++;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        known |= span_is(name, names[i]);
    if (!e || !known || (span_is(name, "array") && !skip_columns(p)))
        return NULL;
    for (;;) {
        if (parser_takes(p, TOKEN_finish))
            break;
        cell = parse_relation(p);
        if (!cell || ++columns > COLUMNS_MAX)
            return NULL;
        expression_add(e, cell);
        if (parser_takes(p, '&'))
            continue;
        parser_takes(p, ',');
        if (!parser_takes(p, TOKEN_row) && !parser_sees(p, TOKEN_finish))
            return NULL;
        if (e->op && e->op != columns)
            return NULL;
        e->op = columns;
        columns = 0;
    }
    if (e->count == 0 || columns != 0 || e->op == 0)
        return NULL;
    if (e->op == 1 && e->first->kind == EXPRESSION_relation) {
        e->kind = EXPRESSION_list;
        e->op = PARSE_SYSTEM;
    }
    return e;
}

static struct expression *
name(struct parser *p)
{
    const struct token *t = parser_token(p);
    struct expression *e;
    bool apply = t->text.length == 1 && memchr("fghFGP", t->text.at[0], 6) && t[1].kind == '(' &&
                 !t[1].spaced;

    p->at++;
    if (apply)
        return arguments(e = expression_new(p->all, EXPRESSION_apply, 0), parse_primary(p))
                   ? (e->name = t->text, e)
                   : NULL;
    e = expression_new(p->all, EXPRESSION_symbol, 0);
    if (e)
        e->name = t->text;
    return e;
}

/* A run of letters, as symbols one after the other. */
static struct expression *
letters(struct parser *p)
{
    struct span word = parser_token(p)->text;
    struct expression *e = expression_new(p->all, EXPRESSION_multiply, 0);

    p->at++;
    for (size_t i = 0; e && i < word.length; i++) {
        char c = word.at[i];
        bool constant = c == 'e' || c == 'i';
        struct expression *one = expression_new(
            p->all, constant ? EXPRESSION_constant : EXPRESSION_symbol,
            c == 'e' ? CONSTANT_e : c == 'i' ? CONSTANT_i : 0);

        if (!one)
            return NULL;
        one->name = constant ? (struct span){NULL, 0} : span_of(word.at + i, 1);
        expression_add(e, one);
    }
    return e;
}

static struct expression *
money(struct parser *p)
{
    struct span sign = parser_token(p)->text;
    struct unit *u = arena_take(&p->all->arena, sizeof(*u));
    bool negative;
    struct expression *e;

    p->at++;
    unit_start(u);
    unit_read(u, span_text(span_is(sign, "euro") ? "euro" : span_is(sign, "$") ? "dollar" : "?"));
    negative = parser_takes(p, '-');
    if (!parser_sees(p, TOKEN_number) && !parser_sees(p, TOKEN_frac))
        return NULL;
    e = expression_of(p->all, EXPRESSION_quantity, 0, parse_primary(p), NULL);
    if (e)
        e->unit = u;
    return negative ? expression_of(p->all, EXPRESSION_negate, 0, e, NULL) : e;
}

struct expression *
parse_primary(struct parser *p)
{
    const struct token *t = parser_token(p);

    switch (t->kind) {
    case TOKEN_number:   return number(p);
    case TOKEN_letter:   return name(p);
    case TOKEN_word:     return parser_product(t->text) ? letters(p) : NULL;
    case TOKEN_constant: p->at++; return expression_new(p->all, EXPRESSION_constant, t->value);
    case TOKEN_function: return any_function(p);
    case TOKEN_frac:     p->at++; return fraction(p);
    case TOKEN_currency: return money(p);
    case TOKEN_empty:    p->at++; return expression_new(p->all, EXPRESSION_set, 0);
    case TOKEN_begin:    return matrix(p);
    case TOKEN_open_set: p->at++; return set(p);
    case TOKEN_open_floor:
        p->at++;
        return enclosed(p, FUNCTION_floor, TOKEN_close_floor);
    case TOKEN_open_ceil: p->at++; return enclosed(p, FUNCTION_ceil, TOKEN_close_ceil);
    case '|':             p->at++; return enclosed(p, FUNCTION_abs, '|');
    case '(':
    case '[':
    case ']':
    case TOKEN_open_angle: p->at++; return bracketed(p, t->kind);
    case '{':              return parse_argument(p, false);
    default:               return NULL;
    }
}
