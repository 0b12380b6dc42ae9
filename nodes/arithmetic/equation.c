/* equation: relations as signs and as words, and the chain they make. */
#include "nodes/arithmetic/equation.h"

#define LOOSE_TOKENS_MAX 8 /* behind a result, within its clause: (rounded to ...) */

struct relation {
    char sign;   /* 0: none */
    bool verbal; /* in words, which say less surely that a result follows */
    size_t end;
};

static struct token
token_at(struct span text, size_t at)
{
    struct token t;

    token_read(text, at, &t);
    return t;
}

/* "greater than", "equal to" ... at t; *end behind it. 0: none. */
static char
comparison_at(struct span text, const struct token *t, size_t *end)
{
    static const char *const greater[] = {"greater", "larger", "bigger", "higher", NULL};
    static const char *const less[] = {"less", "smaller", "lower", NULL};
    struct token second = token_at(text, t->end);
    char sign = token_among(t, greater) ? '>'
                : token_among(t, less)  ? '<'
                : token_is(t, "equal")  ? '='
                                        : 0;

    *end = second.end;
    return sign && token_is(&second, sign == '=' ? "to" : "than") ? sign : 0;
}

/* Words between a relation and its result: about, approximately. */
static void
skip_about(struct span text, struct relation *r)
{
    struct token t = token_at(text, r->end);

    for (int n = 0; n < 2 && words_about(&t); n++) {
        r->sign = r->sign == '=' ? 'a' : r->sign;
        r->end = t.end;
        t = token_at(text, r->end);
    }
}

static struct relation
relation_at(struct span text, size_t at)
{
    static const char *const makes[] = {"equals", "makes", "totals", NULL};
    static const char *const rounds[] = {"rounds", "rounded", NULL};
    struct token t = token_at(text, at), next;
    struct relation r = {.end = t.end};

    if (t.kind == TOKEN_relation) {
        r.sign = t.sign;
        skip_about(text, &r);
        return r;
    }
    if (t.kind != TOKEN_word)
        return r;
    r.verbal = true;
    next = token_at(text, t.end);
    if (token_is(&t, "is")) {
        size_t end;
        char sign = comparison_at(text, &next, &end);
        r.sign = sign ? sign : '=';
        r.end = sign ? end : t.end;
        if (!sign && token_is(&next, "not"))
            r.sign = 0;
        skip_about(text, &r);
    } else if (token_among(&t, makes)) {
        r.sign = '=';
        skip_about(text, &r);
    } else if (token_among(&t, rounds)) {
        if (token_is(&next, "up") || token_is(&next, "down"))
            next = token_at(text, next.end);
        r.sign = token_is(&next, "to") ? 'r' : 0;
        r.end = next.end;
    }
    return r;
}

/* 12 and a half, 12 and 1/2 */
static bool
is_half(struct span text, const struct token *t)
{
    struct token next = token_at(text, t->end);

    return token_is(t, "a") || token_is(t, "half") ||
           (t->kind == TOKEN_number && next.kind == TOKEN_operator && !next.spaced);
}

/* Something that is no word and stands behind a number: 18 000, 2 \sqrt{3}, 4_x, 2 π */
static bool
is_factor(struct span text, const struct token *t)
{
    unsigned char first = (unsigned char)(t->start < text.length ? text.at[t->start] : 0);

    if (t->kind == TOKEN_word)
        return words_letter(t) ? !token_is(t, "a") && !token_is(t, "i")
                               : !t->spaced && first >= 0x80;
    return t->kind == TOKEN_other &&
           (!t->spaced || first == '\\' || first >= 0x80 || (first >= '0' && first <= '9'));
}

/* Does what stands behind the last side leave it as it is? */
static bool
may_end(struct span text, const struct side *c, bool verbal)
{
    struct token t = token_at(text, c->end), next = token_at(text, t.end);

    if (t.kind == TOKEN_open && token_is(&next, "mod"))
        return false;
    t = token_at(text, c->next);
    if (t.kind == TOKEN_power || t.kind == TOKEN_fraction || is_factor(text, &t))
        return false;
    if (t.kind == TOKEN_number || t.kind == TOKEN_percent || (t.kind == TOKEN_open && !t.spaced))
        return false;
    next = token_at(text, t.end);
    if (words_more(&t)) /* 200 more guests; but 5 more than */
        return !verbal && !token_is(&next, "than");
    if (t.kind == TOKEN_word && words_goes_on(&t))
        return false;
    if (token_is(&t, "and"))
        return !is_half(text, &next);
    if (t.kind != TOKEN_operator)
        return true;
    /* A dash with no operand behind it ends a clause; an operator before an operand goes on. */
    if (t.sign == '-' && next.spaced && next.kind == TOKEN_word)
        return next.word.length > 1;
    if (t.sign == '-' && t.spaced && !next.spaced && next.kind == TOKEN_word)
        return true;
    return next.kind == TOKEN_line || next.kind == TOKEN_end || next.kind == TOKEN_stop ||
           next.kind == TOKEN_math || (t.sign == '*' && !t.spaced && next.spaced);
}

/* Does the clause go on to say that the result is rounded, with dots or with words? */
static bool
is_loose(struct span text, const struct side *c)
{
    struct token t = token_at(text, c->end);

    if (t.start == c->end && t.kind == TOKEN_stop && c->end + 1 < text.length &&
        (text.at[c->end] != '.' || text.at[c->end + 1] == '.'))
        return text.at[c->end] == '.' || (unsigned char)text.at[c->end] >= 0x80;
    for (int n = 0; n < LOOSE_TOKENS_MAX; n++) {
        struct token next = token_at(text, t.end);
        if (words_about(&t) || words_rounds(&t, &next))
            return true;
        if (t.kind == TOKEN_end || t.kind == TOKEN_line || t.kind == TOKEN_relation ||
            (t.kind == TOKEN_stop && text.at[t.start] == '.'))
            return false;
        t = next;
    }
    return false;
}

static bool
both_read(struct span text, size_t at, struct both *b)
{
    if (!side_read(text, at, SIDE_share, &b->as[SIDE_share]))
        return false;
    b->as[SIDE_points] = b->as[SIDE_share];
    return !b->as[SIDE_share].percent || (side_read(text, at, SIDE_points, &b->as[SIDE_points]) &&
                                          b->as[SIDE_points].next == b->as[SIDE_share].next);
}

/* Right under either reading is right. */
static enum compared
both_compare(const struct both *a, char relation, const struct both *c, bool loose)
{
    enum compared share = compare(&a->as[SIDE_share], relation, &c->as[SIDE_share], loose),
                  points = compare(&a->as[SIDE_points], relation, &c->as[SIDE_points], loose);
    return share > points ? share : points;
}

static void
count(struct span text, struct arithmetic *out, enum compared is, size_t start, size_t end,
      const struct both *a)
{
    if (is == COMPARED_right)
        out->right++;
    if (is != COMPARED_wrong)
        return;
    if (out->wrong++ == 0) {
        out->first_wrong = span_of(text.at + start, end - start);
        fraction_print(a->as[SIDE_share].value, out->value, sizeof(out->value));
    }
}

/* Is there anything to compute, and is the left side no name? */
static bool
is_worth(const struct both *a, const struct relation *r, const struct both *c, bool named)
{
    const struct side *left = &a->as[0], *right = &c->as[0];
    bool order = r->sign == '<' || r->sign == '>' || r->sign == 'l' || r->sign == 'g';

    if (r->verbal && r->sign == '=' && (!left->operators || right->operators))
        return false;
    if (r->sign == 'r' || order)
        return true;
    if (left->operators)
        return true;
    return right->operators && !named && !left->unit;
}

/* 4/7 is equal to $24; 1/4 container = 60/4 pints */
static bool
is_proportion(const struct both *a, const struct relation *r, const struct both *c)
{
    return a->as[0].share && (r->verbal || (a->as[0].unit && c->as[0].operators));
}

/* Follows the chain from side `a` as far as it goes. */
static size_t
follow(struct span text, struct both a, bool named, struct last *last, struct arithmetic *out)
{
    size_t end = a.as[0].end, start = a.as[0].start;
    struct relation r;
    struct both c;

    for (;;) {
        r = relation_at(text, a.as[0].next);
        if (!r.sign || !both_read(text, r.end, &c))
            break;
        struct relation next = relation_at(text, c.as[0].next);
        bool ends = (next.sign && !next.verbal) || may_end(text, &c.as[0], r.verbal);
        if (ends && is_worth(&a, &r, &c, named)) {
            enum compared is = both_compare(&a, r.sign, &c, is_loose(text, &c.as[0]));
            if (is == COMPARED_wrong && is_proportion(&a, &r, &c))
                is = COMPARED_nothing;
            count(text, out, is, start, c.as[0].end, &a);
        }
        end = c.as[0].end;
        last->there = ends && !r.verbal;
        a = c;
        named = false;
        if (!ends)
            break;
    }
    last->side = a;
    last->broken = false;
    if (!last->there)
        last->name = 0;
    return end;
}

/* The name was given a value before that was not worked out: is this what it comes to? A value with
 * operators of its own may be another case of the same name, unless it follows at once. */
static void
compare_named(struct span text, const struct last *last, const struct both *c,
              struct arithmetic *out)
{
    const struct side *was = &last->side.as[0], *now = &c->as[0];
    enum compared is;

    if (!was->operators || !may_end(text, now, false))
        return;
    is = both_compare(&last->side, '=', c, is_loose(text, now));
    if (is == COMPARED_wrong && now->operators && !last->close)
        return;
    count(text, out, is, was->start, now->end, &last->side);
}

size_t
equation_read(struct span text, size_t at, uint64_t name, bool follows, struct last *last,
              struct arithmetic *out)
{
    struct both a;
    bool named, again = name != 0 && name == last->name;

    if (!both_read(text, at, &a))
        return at;
    named = a.as[0].operators == 0 && follows;
    if (again)
        compare_named(text, last, &a, out);
    last->there = (name != 0 || a.as[0].operators) && may_end(text, &a.as[0], false);
    last->name = name;
    return follow(text, a, named, last, out);
}

size_t
equation_go_on(struct span text, size_t at, struct last *last, struct arithmetic *out)
{
    struct relation r = relation_at(text, at);
    struct both a = last->side, c;
    struct relation next;

    if (!r.sign || r.verbal || !both_read(text, r.end, &c))
        return at;
    next = relation_at(text, c.as[0].next);
    bool ends = (next.sign && !next.verbal) || may_end(text, &c.as[0], false);
    if (ends && is_worth(&a, &r, &c, false))
        count(text, out, both_compare(&a, r.sign, &c, is_loose(text, &c.as[0])), a.as[0].start,
              c.as[0].end, &a);
    last->there = ends;
    last->broken = false;
    last->side = c;
    return ends ? follow(text, c, false, last, out) : c.as[0].end;
}
