/* side: a descent over tokens: sum, product, factor; and what may stand behind a factor. */
#include "nodes/arithmetic/side.h"

#define UNIT_WORDS_MAX  4
#define NOTE_TOKENS_MAX 24
#define NOTES_MAX       2 /* behind one operand */

struct parser {
    struct span text;
    struct token now;
    enum side_mode mode;
    int depth, left;
    bool led;       /* the leading number is known */
    char next_sign; /* what joins the next factor outside parentheses to those before */
    bool of;
    bool slash;       /* this product has a '/' ... */
    bool loose_slash; /* ... and the last one had spaces around it */
    struct side *s;
};

/* What is known of a factor or product. */
struct part {
    struct fraction value;
    int decimals; /* of a lone number; else -1 */
    bool percent; /* a lone percentage */
    bool share;   /* a part of something: a percentage, 1/2, half; "of" may follow */
    bool unit;    /* a unit stands behind it */
};

static void
advance(struct parser *p)
{
    token_read(p->text, p->now.end, &p->now);
    p->left--;
}

static struct token
after(const struct parser *p, const struct token *t)
{
    struct token next;

    token_read(p->text, t->end, &next);
    return next;
}

static bool read_sum(struct parser *p, struct part *out);

/* Can a factor begin with this token? */
static bool
is_operand(const struct parser *p, const struct token *t)
{
    struct token next = after(p, t);
    int n, d;
    bool two;

    if (t->kind == TOKEN_number || t->kind == TOKEN_open || t->kind == TOKEN_fraction)
        return true;
    if (t->kind == TOKEN_operator && t->sign == '-')
        return !next.spaced && (next.kind == TOKEN_number || next.kind == TOKEN_open);
    return words_fraction(t, &next, &n, &d, &two);
}

/* ---- what stands behind an operand ---- */

/* 10-minute; 60-Losses is a subtraction. */
static bool
is_hyphen(const struct parser *p, const struct token *t, const struct token *next)
{
    return t->kind == TOKEN_operator && t->sign == '-' && !t->spaced && !next->spaced &&
           next->kind == TOKEN_word && p->text.at[next->start] >= 'a' && next->word.length > 2;
}

/* Words that say what is counted: apples, dollars per hour, miles/hour, cups of flour. */
static void
skip_unit(struct parser *p, struct part *out)
{
    for (int words = 0; words < UNIT_WORDS_MAX && p->left > 0; words++) {
        struct token *t = &p->now, next = after(p, t);
        bool rate = (t->kind == TOKEN_operator && t->sign == '/') ||
                    (words > 0 && token_is(t, "of")) || is_hyphen(p, t, &next);

        if (rate && (next.kind == TOKEN_word || next.kind == TOKEN_phrase) &&
            !words_letter(&next) && !words_end_unit(&next)) {
            advance(p);
        } else if (t->kind == TOKEN_degree) {
            out->unit = true;
            advance(p);
            continue;
        } else if (t->kind != TOKEN_phrase && (t->kind != TOKEN_word || words_letter(t) ||
                                               words_end_unit(t) || words_rounds(t, &next))) {
            return;
        }
        units_add(&p->s->units, &p->now);
        p->s->doubt |= words_doubt(&p->now);
        out->unit = true;
        advance(p);
    }
}

/* Where the parenthesis that stands here closes, and whether words alone are in it. False: it does
 * not close nearby. */
static bool
look_into(const struct parser *p, size_t *end, bool *words)
{
    struct token t = p->now;
    int depth = 0;
    bool signs = false;

    *words = false;
    for (int n = 0; n < NOTE_TOKENS_MAX; n++) {
        depth += (t.kind == TOKEN_open) - (t.kind == TOKEN_close);
        *words |= (t.kind == TOKEN_word || t.kind == TOKEN_phrase) && t.word.length > 1;
        signs |= t.kind == TOKEN_operator;
        if (t.kind == TOKEN_end || t.kind == TOKEN_line)
            return false;
        *end = t.end;
        if (depth == 0) {
            *words &= !signs;
            return true;
        }
        t = after(p, &t);
    }
    return false;
}

/* A remark in parentheses: 30 (Ana). One with numbers alone or signs may be a factor, so it leaves
 * a doubt. */
static void
skip_note(struct parser *p)
{
    size_t end;
    bool words;

    for (int n = 0; n < NOTES_MAX && p->now.kind == TOKEN_open && p->now.spaced &&
                    p->text.at[p->now.start] != '{' && look_into(p, &end, &words);
         n++) {
        p->s->doubt |= !words;
        token_read(p->text, end, &p->now);
        p->left--;
    }
}

static bool
read_power(struct parser *p, struct part *out)
{
    struct token brace;
    bool braced;

    if (p->now.kind != TOKEN_power)
        return true;
    advance(p);
    brace = p->now;
    braced = brace.kind == TOKEN_open;
    if (braced)
        advance(p);
    if (p->now.kind != TOKEN_number || !fraction_whole(p->now.number.value) ||
        p->now.number.value.numerator > 64 || p->now.number.percent ||
        !fraction_power(out->value, (int)p->now.number.value.numerator, &out->value))
        return false;
    p->s->end = p->now.end;
    p->s->operators++;
    p->s->multiplies = true;
    out->decimals = -1;
    advance(p);
    if (braced && p->now.kind != TOKEN_close)
        return false;
    if (braced) {
        p->s->end = p->now.end;
        advance(p);
    }
    return p->now.kind != TOKEN_power;
}

/* 1 1/2: a whole number, then a proper fraction written without spaces. */
static void
read_mixed(struct parser *p, struct part *out)
{
    struct token slash = after(p, &p->now), below = after(p, &slash);
    struct fraction part;

    if (p->now.kind != TOKEN_number || !p->now.spaced || slash.spaced || below.spaced ||
        slash.kind != TOKEN_operator || slash.sign != '/' || below.kind != TOKEN_number ||
        out->decimals != 0 || p->now.number.decimals || below.number.decimals ||
        below.number.percent || !fraction_whole(out->value) ||
        p->now.number.value.numerator >= below.number.value.numerator ||
        !fraction_divide(p->now.number.value, below.number.value, &part) ||
        !fraction_add(out->value, part, 1, &out->value))
        return;
    out->decimals = -1;
    p->s->divides = true;
    p->s->end = below.end;
    token_read(p->text, below.end, &p->now);
    p->left -= 3;
}

static bool
read_number(struct parser *p, struct part *out)
{
    const struct number n = p->now.number;
    int64_t scale;

    out->value = n.value;
    out->decimals = n.decimals;
    out->percent = out->share = n.percent;
    if (n.currency)
        units_add_currency(&p->s->units);
    p->s->end = p->now.end;
    advance(p);
    if (p->now.kind == TOKEN_percent || token_is(&p->now, "percent")) {
        out->percent = out->share = true;
        p->s->end = p->now.end;
        advance(p);
    }
    if (out->percent) {
        p->s->percent = true;
        out->decimals += p->mode == SIDE_share ? 2 : 0;
        if (p->mode == SIDE_share &&
            !fraction_divide(out->value, (struct fraction){100, 1}, &out->value))
            return false;
    }
    scale = words_scale(&p->now);
    if (scale && !fraction_multiply(out->value, (struct fraction){scale, 1}, &out->value))
        return false;
    if (scale) {
        out->decimals = -1;
        p->s->doubt = true; /* 1.2 million is rarely all of it */
        p->s->end = p->now.end;
        advance(p);
    }
    if (n.decimals > p->s->precision)
        p->s->precision = n.decimals;
    read_mixed(p, out);
    return true;
}

/* What parentheses hold; *out is kept when it fails. */
static bool
read_group(struct parser *p, struct part *out)
{
    if (p->now.kind != TOKEN_open || ++p->depth > SIDE_DEPTH_MAX)
        return false;
    advance(p);
    if (!read_sum(p, out) || p->now.kind != TOKEN_close)
        return false;
    p->depth--;
    p->s->end = p->now.end;
    advance(p);
    return true;
}

/* \frac{a}{b}, and \frac12. */
static bool
read_fraction(struct parser *p, struct part *out)
{
    struct part below = {0};

    advance(p);
    if (p->now.kind != TOKEN_open || !read_group(p, out) || !read_group(p, &below) ||
        !fraction_divide(out->value, below.value, &out->value))
        return false;
    p->s->operators++;
    p->s->divides = true;
    out->decimals = -1;
    out->percent = false;
    out->share = true;
    return true;
}

static bool
read_words(struct parser *p, struct part *out)
{
    struct token next = after(p, &p->now);
    int numerator, denominator;
    bool two;

    if (!words_fraction(&p->now, &next, &numerator, &denominator, &two))
        return false;
    if (two)
        advance(p);
    p->s->end = p->now.end;
    advance(p);
    out->share = true;
    out->decimals = -1;
    return token_is(&p->now, "of") && fraction_make(numerator, denominator, &out->value);
}

/* A value that cannot be represented stays as it is, and then agrees with nothing but by chance. */
static void
take_in_order(struct parser *p, struct fraction value)
{
    struct fraction *all = &p->s->in_order;

    if (p->next_sign == 0)
        *all = value;
    else if (p->next_sign == '+' || p->next_sign == '-')
        fraction_add(*all, value, p->next_sign == '-' ? -1 : 1, all);
    else if (p->next_sign == '/')
        fraction_divide(*all, value, all);
    else
        fraction_multiply(*all, value, all);
}

static bool
read_factor(struct parser *p, struct part *out)
{
    bool negative = p->now.kind == TOKEN_operator && p->now.sign == '-', good;

    *out = (struct part){.decimals = -1};
    if (negative)
        advance(p);
    switch (p->now.kind) {
    case TOKEN_number:
        good = read_number(p, out);
        break;
    case TOKEN_open:
        good = read_group(p, out);
        break;
    case TOKEN_fraction:
        good = read_fraction(p, out);
        break;
    default:
        good = !negative && read_words(p, out);
        break;
    }
    if (!good || p->left <= 0)
        return false;
    if (!p->led) {
        p->led = true;
        p->s->leading = out->value;
        if (negative)
            p->s->leading.numerator = -p->s->leading.numerator;
        p->s->leading_decimals = out->decimals;
    }
    p->s->doubt |= negative && p->now.kind == TOKEN_power;
    if (!read_power(p, out))
        return false;
    if (p->now.kind == TOKEN_other && !p->now.spaced) /* (1/2)_x, 7! */
        return false;
    if (p->now.kind == TOKEN_word && p->now.start > 0 &&
        (p->text.at[p->now.start - 1] == ')' || p->text.at[p->now.start - 1] == '}'))
        return false; /* (1/2)X */
    skip_unit(p, out);
    skip_note(p);
    if (negative)
        out->value.numerator = -out->value.numerator;
    if (p->depth == 0)
        take_in_order(p, out->value);
    return true;
}

/* ---- products and sums ---- */

/* The sign that joins what was read to what follows, and with how many tokens; 0: nothing does. */
static char
joint(const struct parser *p, const struct part *left, int *tokens)
{
    static const char *const fillers[] = {"the", "her", "his", "their", "its", "those", NULL};
    struct token next = after(p, &p->now);
    bool two;
    char sign = words_operator(&p->now, &next, &two);

    *tokens = 1;
    if (p->now.kind == TOKEN_operator)
        return is_operand(p, &next) ? p->now.sign : 0;
    if (p->now.kind == TOKEN_open && !p->now.spaced && p->text.at[p->now.start] == '(') {
        *tokens = 0;
        return '*';
    }
    if (sign) {
        struct token third = two ? after(p, &next) : next;
        *tokens = two ? 2 : 1;
        return is_operand(p, &third) ? sign : 0;
    }
    bool of = token_is(&p->now, "of"), off = left->percent && token_is(&p->now, "off");
    if ((!of && !off) || !left->share || left->unit)
        return 0;
    if (off && token_is(&next, "of")) {
        next = after(p, &next);
        ++*tokens;
    }
    if (token_among(&next, fillers)) {
        next = after(p, &next);
        ++*tokens;
    }
    return is_operand(p, &next) ? off ? 'o' : 'f' : 0;
}

/* Spaces tell what belongs together: 12/4 * 3 against 12 / 4 * 3. Of two divisions nothing tells.
 */
static void
weigh_slash(struct parser *p, char sign)
{
    struct token next = after(p, &p->now);
    bool loose = p->now.spaced || next.spaced;

    if (p->now.kind != TOKEN_operator)
        return;
    if (p->slash && sign == '/')
        p->s->doubt = true;
    if (p->slash && sign == '*')
        p->s->doubt |= p->loose_slash && loose;
    if (sign == '/') {
        p->slash = true;
        p->loose_slash = loose;
    }
}

/* left (sign) right, into *left. 20% off 50: what is left, or what is taken away. */
static bool
apply(struct parser *p, char sign, struct part *left, const struct part *right)
{
    struct fraction rest = left->value;

    if (sign == '/')
        return fraction_divide(left->value, right->value, &left->value);
    if (sign == 'o' && p->mode == SIDE_share &&
        !fraction_add((struct fraction){1, 1}, left->value, -1, &rest))
        return false;
    if ((sign == 'o' || (sign == 'f' && left->percent)) && p->mode == SIDE_points &&
        !fraction_divide(left->value, (struct fraction){100, 1}, &rest))
        return false;
    return fraction_multiply(rest, right->value, &left->value);
}

static bool
read_product(struct parser *p, struct part *out)
{
    struct part right;
    char sign;
    int tokens;
    bool slash = p->slash; /* of the product around this one, if it stands in parentheses */

    p->slash = false;
    if (!read_factor(p, out))
        return false;
    while ((sign = joint(p, out, &tokens)) != 0 && sign != '+' && sign != '-') {
        weigh_slash(p, sign);
        for (; tokens > 0; tokens--)
            advance(p);
        p->next_sign = p->depth == 0 ? sign : p->next_sign;
        if (!read_factor(p, &right) || !apply(p, sign, out, &right))
            return false;
        p->s->operators++;
        p->s->divides |= sign == '/';
        p->s->multiplies |= sign != '/';
        p->of |= sign == 'f' || sign == 'o';
        out->decimals = -1;
        out->percent = false;
        out->share = sign == '/' && !right.unit;
        out->unit |= right.unit;
    }
    p->slash = slash;
    return true;
}

static bool
read_sum(struct parser *p, struct part *out)
{
    struct part right;
    bool whole, of = p->of;
    char sign;
    int tokens, terms = 1, percent;

    p->of = false;
    if (!read_product(p, out))
        return false;
    percent = out->percent;
    while ((sign = joint(p, out, &tokens)) == '+' || sign == '-') {
        for (; tokens > 0; tokens--)
            advance(p);
        p->next_sign = p->depth == 0 ? sign : p->next_sign;
        if (!read_product(p, &right) ||
            !fraction_add(out->value, right.value, sign == '-' ? -1 : 1, &out->value))
            return false;
        p->s->operators++;
        terms++;
        percent += right.percent;
        out->decimals = -1;
        out->percent = out->share = false;
        out->unit |= right.unit;
    }
    whole = percent == 0 || percent == terms;
    p->s->doubt |= (terms > 1 && p->of) || !whole;
    p->of |= of;
    return true;
}

bool
side_read(struct span text, size_t at, enum side_mode mode, struct side *s)
{
    struct parser p = {.text = text, .mode = mode, .left = SIDE_TOKENS_MAX, .s = s};
    struct part whole;

    *s = (struct side){.decimals = -1, .leading_decimals = -1};
    token_read(text, at, &p.now);
    s->start = p.now.start;
    if (!is_operand(&p, &p.now) || !read_sum(&p, &whole) || p.left <= 0)
        return false;
    s->value = whole.value;
    s->unit = whole.unit;
    s->of = p.of;
    s->share = s->operators == 1 && s->divides && s->value.numerator > 0 &&
               s->value.numerator < s->value.denominator;
    s->decimals = s->operators == 0 ? whole.decimals : -1;
    s->next = p.now.start;
    return true;
}
