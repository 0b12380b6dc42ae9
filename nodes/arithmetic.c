/* arithmetic: fractions, a small parser of sides, and the rules about what stands around an
 * equation. */
#include "nodes/arithmetic.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef __int128 wide;

#define DIGITS_MEANT 14     /* a double holds 15 digits, and a sum loses some */

struct fraction {
    wide numerator, denominator;    /* lowest terms, denominator > 0 */
};

/* One side of an equation as read. */
struct side {
    struct fraction value, leading; /* the whole, and the number that begins it */
    int             operators;
    int decimals; /* written after the point by a side that is a lone number; else -1 */
    int             leading_decimals;
    bool            divides;
};

struct reader {
    struct span text;
    size_t      at;
    bool        overflow;
    bool        divides, spaced;    /* by a slash; with a space before the last one */
    int         operators;
    int         depth;
};

static wide
gcd(wide a, wide b)
{
    if (a < 0)
        a = -a;
    while (b) {
        wide t = a % b;
        a = b;
        b = t < 0 ? -t : t;
    }
    return a;
}

static struct fraction
reduce(struct reader *r, wide numerator, wide denominator)
{
    static const struct fraction zero = {0, 1};
    const wide                   max = ((wide)1 << 126);

    if (denominator == 0 || numerator > max || numerator < -max || denominator > max ||
        denominator < -max) {
        r->overflow = true;
        return zero;
    }
    wide g = gcd(numerator, denominator);
    if (denominator < 0)
        g = -g;
    return (struct fraction){numerator / g, denominator / g};
}

static struct fraction
add(struct reader *r, struct fraction a, struct fraction b, int sign)
{
    wide left, right, sum, denominator;
    bool bad = __builtin_mul_overflow(a.numerator, b.denominator, &left);

    bad |= __builtin_mul_overflow(b.numerator * sign, a.denominator, &right);
    bad |= __builtin_add_overflow(left, right, &sum);
    bad |= __builtin_mul_overflow(a.denominator, b.denominator, &denominator);
    return reduce(r, sum, bad ? 0 : denominator);
}

static struct fraction
multiply(struct reader *r, struct fraction a, struct fraction b)
{
    wide numerator, denominator;
    bool bad = __builtin_mul_overflow(a.numerator, b.numerator, &numerator);

    bad |= __builtin_mul_overflow(a.denominator, b.denominator, &denominator);
    return reduce(r, numerator, bad ? 0 : denominator);
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static char
look(const struct reader *r, size_t at)
{
    return at < r->text.length ? r->text.at[at] : 0;
}

static bool
starts(const struct reader *r, size_t at, const char *word)
{
    size_t n = strlen(word);
    return at <= r->text.length && r->text.length - at >= n &&
           memcmp(r->text.at + at, word, n) == 0;
}

static void
skip_spaces(struct reader *r)
{
    while (look(r, r->at) == ' ' || look(r, r->at) == '\t' || starts(r, r->at, "\xc2\xa0"))
        r->at += look(r, r->at) == '\xc2' ? 2 : 1;
}

static void
skip_currency(struct reader *r)
{
    static const char *const signs[] = {"\\$", "$", "€", "£", "¥"};

    for (size_t k = 0; k < sizeof(signs) / sizeof(signs[0]); k++) {
        if (starts(r, r->at, signs[k]) && (is_digit(look(r, r->at + strlen(signs[k]))) ||
                                           look(r, r->at + strlen(signs[k])) == '.')) {
            r->at += strlen(signs[k]);
            return;
        }
    }
}

/* Is the letter at `at` a multiplication sign: an x with something to multiply by right after it?
 */
static bool
is_times(const struct reader *r, size_t at)
{
    char next = look(r, at + 1);

    if (look(r, at) != 'x' && look(r, at) != 'X')
        return false;
    return is_digit(next) || next == '(' || next == '$' ||
           (next == ' ' && is_digit(look(r, at + 2)));
}

/* A decimal number at r->at, not signed. False: there is none, or it is part of something larger.
 */
static bool
read_number(struct reader *r, struct fraction *value, int *decimals)
{
    wide   mantissa = 0, scale = 1;
    size_t start;
    int    lead = 0;

    skip_currency(r);
    start = r->at;
    *decimals = 0;
    while (is_digit(look(r, r->at)) ||
           (look(r, r->at) == ',' && lead >= 1 && lead <= 3 && is_digit(look(r, r->at + 1)) &&
            is_digit(look(r, r->at + 2)) && is_digit(look(r, r->at + 3)) &&
            !is_digit(look(r, r->at + 4)))) {
        if (look(r, r->at) == ',') {
            lead = 0;
            r->at++;
            continue;
        }
        if (__builtin_mul_overflow(mantissa, (wide)10, &mantissa) || mantissa > ((wide)1 << 120))
            r->overflow = true;
        mantissa = r->overflow ? 0 : mantissa + (look(r, r->at) - '0');
        lead++;
        r->at++;
    }
    if (look(r, r->at) == '.' && is_digit(look(r, r->at + 1))) {
        for (r->at++; is_digit(look(r, r->at)); r->at++) {
            (*decimals)++;
            if (__builtin_mul_overflow(mantissa, (wide)10, &mantissa) ||
                mantissa > ((wide)1 << 120) || *decimals > 30)
                r->overflow = true;
            mantissa = r->overflow ? 0 : mantissa + (look(r, r->at) - '0');
            scale = r->overflow ? 1 : scale * 10;
        }
    }
    if (r->at == start || r->overflow)
        return false;
    if (look(r, start) == '0' && is_digit(look(r, start + 1)))      /* 0930 is a time or a code */
        return false;
    *value = reduce(r, mantissa, scale);
    if (look(r, r->at) == ' ' && is_digit(look(r, r->at + 1)))      /* 1 1/2, 80 000 */
        return false;

    char next = look(r, r->at), second = look(r, r->at + 1);
    bool glued = next == '%' || next == '^' || next == '\'' || (next == ':' && is_digit(second)) ||
                 (next == '.' && is_digit(second)) ||
                 (next == ',' && is_digit(second) && is_digit(look(r, r->at + 2)) &&
                  is_digit(look(r, r->at + 3))) ||
                 starts(r, r->at, "\\%") || starts(r, r->at, "°");
    if (is_letter(next))        /* 3x4 is a product, 3x and 7km are not numbers */
        glued = !is_times(r, r->at);
    return !glued;
}

/* The operator at r->at: '+', '-', '*', '/', or 0. *length is how many bytes it has. */
static char
operator_at(const struct reader *r, size_t at, size_t *length)
{
    static const struct {
        const char *text;
        char        is;
    } signs[] = {
        {"**", 0},  {"//", 0},        {"+", '+'},      {"-", '-'},     {"−", '-'}, {"–", '-'},
        {"*", '*'}, {"×", '*'},       {"·", '*'},      {"∗", '*'},     {"⋅", '*'}, {"/", '/'},
        {"÷", '/'}, {"\\times", '*'}, {"\\cdot", '*'}, {"\\div", '/'}, {"x", '*'}, {"X", '*'},
    };

    for (size_t k = 0; k < sizeof(signs) / sizeof(signs[0]); k++) {
        if (starts(r, at, signs[k].text)) {
            *length = strlen(signs[k].text);
            return signs[k].is;
        }
    }
    return 0;
}

static bool read_sum(struct reader *r, struct fraction *value);

/* A number, a signed number, or a sum in parentheses. */
static bool
read_factor(struct reader *r, struct fraction *value, int *decimals)
{
    size_t length;
    bool   negative = false;

    *decimals = -1;
    skip_spaces(r);
    if (operator_at(r, r->at, &length) == '-' &&
        (is_digit(look(r, r->at + length)) || look(r, r->at + length) == '(' ||
         look(r, r->at + length) == '$' || look(r, r->at + length) == '.')) {
        negative = true;
        r->at += length;
    }
    if (look(r, r->at) == '(') {
        if (++r->depth > ARITHMETIC_DEPTH_MAX)
            return false;
        r->at++;
        if (!read_sum(r, value))
            return false;
        skip_spaces(r);
        if (look(r, r->at) != ')')
            return false;
        r->at++;
        r->depth--;
        if (is_letter(look(r, r->at)) && !is_times(r, r->at))
            return false;
    } else if (!read_number(r, value, decimals)) {
        return false;
    }
    if (negative)
        value->numerator = -value->numerator;
    return true;
}

/* Take the operator that follows if something to compute with follows it. */
static char
take_operator(struct reader *r, const char *among)
{
    struct reader ahead = *r;
    size_t        length;
    char          sign;
    int           decimals;

    skip_spaces(&ahead);
    sign = operator_at(&ahead, ahead.at, &length);
    if (!sign || !strchr(among, sign))
        return 0;
    ahead.at += length;
    skip_spaces(&ahead);
    struct fraction ignored;
    if (look(&ahead, ahead.at) != '(' && !read_factor(&ahead, &ignored, &decimals))
        return 0;
    size_t before = r->at;
    skip_spaces(r);
    bool spaced = r->at > before || look(r, r->at + length) == ' ';
    r->at += length;
    r->operators++;
    if (sign == '/') {          /* 28 / 1/5: the second is a fraction, or is it? */
        r->overflow |= r->divides && r->spaced != spaced;
        r->divides = true;
        r->spaced = spaced;
    }
    return sign;
}

static bool
read_product(struct reader *r, struct fraction *value)
{
    struct fraction next;
    char            sign;
    int             decimals;

    if (!read_factor(r, value, &decimals))
        return false;
    while ((sign = take_operator(r, "*/")) != 0) {
        if (!read_factor(r, &next, &decimals))
            return false;
        if (sign == '/') {
            struct fraction turned = reduce(r, next.denominator, next.numerator);
            next = turned;
        }
        *value = multiply(r, *value, next);
        if (r->overflow)
            return false;
    }
    return true;
}

static bool
read_sum(struct reader *r, struct fraction *value)
{
    struct fraction next;
    char            sign;

    if (!read_product(r, value))
        return false;
    while ((sign = take_operator(r, "+-")) != 0) {
        if (!read_product(r, &next))
            return false;
        *value = add(r, *value, next, sign == '-' ? -1 : 1);
        if (r->overflow)
            return false;
    }
    return true;
}

static bool
read_side(struct reader *r, struct side *s)
{
    struct reader first = *r;

    *s = (struct side){.decimals = -1, .leading_decimals = -1};
    if (read_factor(&first, &s->leading, &s->leading_decimals) && s->leading_decimals < 0)
        s->leading_decimals = -1;
    r->operators = 0;
    r->divides = false;
    r->depth = 0;
    if (!read_sum(r, &s->value))
        return false;
    s->operators = r->operators;
    s->divides = r->divides;
    if (s->operators == 0)
        s->decimals = s->leading_decimals;
    return true;
}

/* Words that make the number after them part of a larger quantity. */
static bool
is_quantity_word(struct span text, size_t end)
{
    static const char *const words[] = {"of",    "times", "plus",   "minus",  "over",
                                        "twice", "half",  "double", "triple", "x"};
    size_t from = end;

    while (from > 0 && is_letter(text.at[from - 1]) && end - from < 10)
        from--;
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
        size_t n = strlen(words[k]);
        if (end - from == n && strncasecmp(text.at + from, words[k], n) == 0)
            return true;
    }
    return false;
}

static bool
blank_before(struct span text, size_t at)
{
    while (at > 0 && (text.at[at - 1] == ' ' || text.at[at - 1] == '\t'))
        at--;
    return at == 0 || text.at[at - 1] == '\n';
}

static bool
after_currency(struct span text, size_t at)
{
    static const char *const signs[] = {"$", "€", "£", "¥"};

    for (size_t k = 0; k < sizeof(signs) / sizeof(signs[0]); k++) {
        size_t n = strlen(signs[k]);
        if (at >= n && memcmp(text.at + at - n, signs[k], n) == 0)
            return true;
    }
    return false;
}

/* May an equation begin at `at`, or does what stands before it belong to it? */
static bool
may_begin(struct span text, size_t at)
{
    size_t        before = at;
    struct reader r = {.text = text};

    if (at > 0 && is_digit(text.at[at]) && after_currency(text, at))
        return false;           /* the sign was where it could have begun */
    if (at > 0 && text.at[at] == '$' && text.at[at - 1] == '\\')
        before = --at;
    if (at > 0 && (is_letter(text.at[at - 1]) || is_digit(text.at[at - 1]) ||
                   strchr(".,:/\\^%_#'{", text.at[at - 1])))
        return false;
    while (before > 0 && (text.at[before - 1] == ' ' || text.at[before - 1] == '\t'))
        before--;
    if (before == 0 || text.at[before - 1] == '\n')
        return true;
    if (before >= 2 && memcmp(text.at + before - 2, "**", 2) == 0) /* bold, unless it is a power */
        return before == 2 || !(is_letter(text.at[before - 3]) || is_digit(text.at[before - 3]) ||
                                text.at[before - 3] == ')');
    char   last = text.at[before - 1];
    size_t minus;
    if (operator_at(&r, at, &minus) == '-')         /* a sign, not what is left of "5 apples -3" */
        return last != 0 && strchr("=(:;[<>", last);
    if (last != 0 && strchr("+-*/^%\\", last))
        return strchr("+-*", last) && before < at && blank_before(text, before - 1); /* bullet */
    for (size_t n = 2; n <= 6 && n <= before; n++) {
        size_t length;
        r.at = before - n;
        if (text.at[before - n] != 'x' && text.at[before - n] != 'X' &&
            operator_at(&r, before - n, &length) && length == n)
            return false;
    }
    if (last == '(' || last == ')')
        return last == ')' ? before < at : true;
    if (is_digit(last))         /* 1 1/2 */
        return false;
    return !(is_letter(last) && is_quantity_word(text, before));
}

/* After the last side: nothing that would go on computing with it. */
static bool
may_end(const struct reader *r)
{
    struct reader ahead = *r;
    size_t        length;

    if (starts(&ahead, ahead.at, "**"))
        return !is_digit(look(&ahead, ahead.at + 2)) && look(&ahead, ahead.at + 2) != '(';
    skip_spaces(&ahead);
    if (look(&ahead, ahead.at) == '^')
        return false;
    if (look(&ahead, ahead.at) == '!')
        return ahead.at > r->at;        /* 7! is a factorial, "7 !" an exclamation */
    char sign = operator_at(&ahead, ahead.at, &length);
    if (!sign)
        return true;
    /* A dash with no operand ("= 9 - so she has 9") ends a clause; an operator before an operand
     * goes on. */
    ahead.at += length;
    if (sign == '*' && is_letter(look(&ahead, ahead.at)) && length == 1 &&
        is_letter(look(&ahead, ahead.at - 1)))
        return true;            /* a word that begins with x */
    bool spaced = look(&ahead, ahead.at) == ' ';
    skip_spaces(&ahead);
    char next = look(&ahead, ahead.at);
    if (sign == '-' && spaced)
        return !(is_digit(next) || next == '(' || next == '$') &&
               !(is_letter(next) && !is_letter(look(&ahead, ahead.at + 1)));
    return !(is_digit(next) || is_letter(next) || next == '(' || next == '$' || next == '\\');
}

/* Of the decimals of `c`, those that count: calculators write all digits of a double, the last of which are its rounding
 * (24 * .1 = 2.4000000000000004). */
static int
meant_decimals(struct fraction c, int decimals)
{
    wide whole = c.numerator / c.denominator;
    int  room = DIGITS_MEANT;

    for (; whole != 0; whole /= 10)
        room--;
    return decimals <= room ? decimals : room > 1 ? room : 1;
}

/* -1 not equal, 0 cannot tell, 1 equal: is `a` what `c`, written with `decimals` digits, says? */
static int
equal(struct fraction a, struct fraction c, int decimals, bool divides)
{
    struct reader   r = {0};
    struct fraction d = add(&r, a, c, -1);
    wide            scale = 2, left;

    if (r.overflow)
        return 0;
    if (d.numerator == 0)
        return 1;
    if (d.numerator < 0)
        d.numerator = -d.numerator;
    if (decimals == 0 && divides && a.denominator != 1 && d.numerator < d.denominator)
        return 0;
    if (decimals <= 0)
        return -1;
    decimals = meant_decimals(c, decimals);
    for (int i = 0; i < decimals; i++)
        scale *= 10;            /* at most 30 decimals were read */
    if (__builtin_mul_overflow(d.numerator, scale, &left))
        return 0;
    return left <= d.denominator ? 1 : -1;
}

static int
compare(const struct side *a, const struct side *c)
{
    bool divides = a->divides || c->divides;
    int whole = c->operators ? equal(a->value, c->value, -1, divides)
                             : equal(a->value, c->value, c->decimals, divides);

    if (whole < 0 && !a->operators && a->decimals > 0)      /* 0.33 = 1/3 */
        whole = equal(c->value, a->value, a->decimals, divides);
    if (whole < 0 && a->operators && c->operators && c->leading_decimals >= 0) {
        int running = equal(a->value, c->leading, c->leading_decimals, divides);
        if (running > whole)
            whole = running;
    }
    return whole;
}

static void
print_value(struct fraction v, char *text, size_t room)
{
    double value = (double)v.numerator / (double)v.denominator;
    snprintf(text, room, v.denominator == 1 ? "%.0f" : "%.6g", value);
}

static bool
follows_word(struct span text, size_t at)
{
    while (at > 0 && text.at[at - 1] == ' ')
        at--;
    return at > 0 && is_letter(text.at[at - 1]);
}

/* Read the equation that begins at r->at, count its comparisons, and return where to look next. */
static size_t
read_equation(struct reader *r, struct arithmetic *out)
{
    size_t          start = r->at;
    struct side     a, c;
    int             right = 0, wrong = 0;
    bool            ends;
    struct fraction value = {0, 1};

    if (!read_side(r, &a))
        return start + 1;
    size_t end = r->at;
    bool named =
        a.operators == 0 && follows_word(r->text, start); /* "Week 2 = 35 + 35": a name, not 2 */
    for (;;) {
        skip_spaces(r);
        if (look(r, r->at) != '=' || look(r, r->at + 1) == '=' || look(r, r->at + 1) == '>')
            break;
        r->at++;
        if (!read_side(r, &c)) {
            r->at = end;
            break;
        }
        struct reader tail = *r;
        skip_spaces(&tail);
        ends = look(&tail, tail.at) == '=' || may_end(r);
        if (ends && (a.operators || (c.operators && !named))) {
            int is = compare(&a, &c);
            right += is > 0;
            if (is < 0 && wrong++ == 0)
                value = a.value;
        }
        end = r->at;
        a = c;
        named = false;
        if (!ends)
            break;
    }
    if (wrong && out->wrong == 0) {
        out->first_wrong = span_of(r->text.at + start, end - start);
        print_value(value, out->value, sizeof(out->value));
    }
    out->right += right;
    out->wrong += wrong;
    return end;         /* what was read holds no other equation */
}

void
arithmetic_check(struct span text, struct arithmetic *out)
{
    size_t at = 0;

    *out = (struct arithmetic){0};
    while (at < text.length) {
        struct reader r = {.text = text, .at = at};
        size_t        length, sign;
        char          c = text.at[at];

        if (c != '-' && c != '(' && c != '$' && c != '.' && !is_digit(c) &&
            (unsigned char)c < 0x80) {
            at++;
            continue;
        }
        skip_currency(&r);
        sign = operator_at(&r, r.at, &length) == '-' ? length : 0;
        bool number = is_digit(look(&r, r.at + sign)) || look(&r, r.at + sign) == '(' ||
                      look(&r, r.at + sign) == '.' || look(&r, r.at + sign) == '$';
        r.at = at;
        size_t next = number && may_begin(text, at) ? read_equation(&r, out) : at + 1;
        /* A number that was passed over is passed over whole. */
        if (next == at + 1 && is_digit(c))
            while (next < text.length && is_digit(text.at[next]))
                next++;
        at = next;
    }
}
