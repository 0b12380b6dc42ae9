/* latex: one pass over the text; every rule looks at the bytes before it and moves past them. */
#include "kernels/answer/latex.h"

#include <string.h>

#include "kernels/answer/latex_table.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

#define EXPONENT_MAX 20000 /* of ten, in 1e20000 */

static const char *const function_names[] = {
#define FUNCTION(name, text) text,
#include "kernels/answer/function.def"
#undef FUNCTION
};

struct reading {
    struct latex *l;
    struct span text;
    size_t at;
    int depth;    /* of open brackets: inside them a comma parts items */
    bool spaced;
    bool matrix;  /* \\ is a row, not a doubled backslash */
    bool dollars; /* a lone $ is a currency */
};

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
starts(struct span text, size_t at, const char *with)
{
    size_t length;

    if (at >= text.length || text.at[at] != with[0])
        return false;
    length = strlen(with);
    return text.length - at >= length && memcmp(text.at + at, with, length) == 0;
}

static char
byte_at(const struct reading *r, size_t at)
{
    return at < r->text.length ? r->text.at[at] : '\0';
}

static struct token *
give(struct reading *r, int kind, int value, struct span text)
{
    struct token *t = &r->l->at[r->l->count];

    if (r->l->count == r->l->room)
        return NULL;
    r->l->count++;
    *t = (struct token){.kind = kind, .value = value, .text = text, .spaced = r->spaced};
    r->spaced = false;
    return t;
}

/* Bytes of a separator of thousands at AT: "," outside brackets, {,} and the thin spaces anywhere;
 * 0 when exactly three digits do not follow. */
static size_t
separator(const struct reading *r, size_t at)
{
    static const char *const signs[] = {"{,}", ",\\!", ",\\! ", "\\,", "\\, ", "{\\,}", "\\ ",
                                        "{, }", " {, }", "\u202f", "\u2009"};
    size_t length = 0;

    for (size_t i = 0; i < COUNT(signs); i++)
        if (starts(r->text, at, signs[i]))
            length = strlen(signs[i]);
    if (!length && (byte_at(r, at) == ',' || byte_at(r, at) == ' ') && r->depth == 0)
        length = 1;
    for (size_t i = 0; length && i < 3; i++)
        if (!is_digit(byte_at(r, at + length + i)))
            return 0;
    return is_digit(byte_at(r, at + length + 3)) ? 0 : length;
}

/* Past the whole part that begins at AT. */
static size_t
whole_part(const struct reading *r, size_t at)
{
    size_t end = at, length;

    while (is_digit(byte_at(r, end)))
        end++;
    if (end - at < 1 || end - at > 3 || byte_at(r, at) == '0')
        return end;
    while ((length = separator(r, end)) > 0)
        end += length + 3;
    /* 1.234.567: two points at least, or it is a decimal */
    if (end - at <= 3 && byte_at(r, end) == '.') {
        size_t more = end;
        int groups = 0;

        while (byte_at(r, more) == '.' && is_digit(byte_at(r, more + 1)) &&
               is_digit(byte_at(r, more + 2)) && is_digit(byte_at(r, more + 3)) &&
               !is_digit(byte_at(r, more + 4)))
            more += 4, groups++;
        if (groups >= 2 && byte_at(r, more) != '.')
            return more;
    }
    return end;
}

/* Digits that recur: \overline{12}, \bar{3}, \dot{1}2\dot{3}, (45); moves past them. */
static struct span
recurring(struct reading *r)
{
    static const char *const opens[] = {"\\overline{", "\\bar{", "\\dot{", "("};
    struct span none = {NULL, 0};

    for (size_t i = 0; i < COUNT(opens); i++) {
        size_t start = r->at + strlen(opens[i]), end = start;
        char close = opens[i][0] == '(' ? ')' : '}';

        if (!starts(r->text, r->at, opens[i]))
            continue;
        while (is_digit(byte_at(r, end)))
            end++;
        if (end == start || byte_at(r, end) != close)
            return none;
        if (i == 2) { /* to the second dot, when there is one: its braces are no digits */
            size_t more = end + 1;

            while (is_digit(byte_at(r, more)))
                more++;
            if (starts(r->text, more, "\\dot{") && is_digit(byte_at(r, more + 5)) &&
                byte_at(r, more + 6) == '}')
                end = more + 6;
        }
        r->at = end + 1;
        return span_of(r->text.at + start, end - start);
    }
    return none;
}

static long
exponent_of(struct reading *r)
{
    size_t at = r->at + 1;
    bool negative = byte_at(r, at) == '-';
    long value = 0;

    if (byte_at(r, r->at) != 'e' && byte_at(r, r->at) != 'E')
        return 0;
    if (negative || byte_at(r, at) == '+')
        at++;
    if (!is_digit(byte_at(r, at)))
        return 0;
    for (; is_digit(byte_at(r, at)); at++)
        value = value > EXPONENT_MAX ? value : value * 10 + (byte_at(r, at) - '0');
    if (is_letter(byte_at(r, at)))
        return 0;
    r->at = at;
    return negative ? -value : value;
}

static bool
read_number(struct reading *r)
{
    size_t start = r->at;
    struct span repeat = {NULL, 0};
    struct token *t;

    r->at = whole_part(r, start);
    if (byte_at(r, r->at) == '.' && (is_digit(byte_at(r, r->at + 1)) || r->at > start)) {
        size_t point = r->at++;
        struct span text;

        while (is_digit(byte_at(r, r->at)))
            r->at++;
        text = span_of(r->text.at + start, r->at - start);
        repeat = recurring(r);
        if (!repeat.at && r->at == point + 1)
            r->at = point; /* a full stop */
        if (repeat.at) {
            t = give(r, TOKEN_number, 0, text);
            if (t)
                t->repeat = repeat;
            return t != NULL;
        }
    }
    t = give(r, TOKEN_number, 0, span_of(r->text.at + start, r->at - start));
    if (t)
        t->exponent = exponent_of(r);
    return t != NULL;
}

/* The content of a { } group at AT, moved past; AT stays when there is none. */
static struct span
group_at(struct reading *r)
{
    size_t at = r->at;
    int depth = 0;

    while (is_space(byte_at(r, at)))
        at++;
    for (size_t i = at; i < r->text.length && byte_at(r, at) == '{'; i++) {
        depth += r->text.at[i] == '{';
        depth -= r->text.at[i] == '}';
        if (depth == 0) {
            r->at = i + 1;
            return span_of(r->text.at + at + 1, i - at - 1);
        }
    }
    return (struct span){NULL, 0};
}

static struct span
trim(struct span s)
{
    while (s.length && is_space(s.at[0]))
        s.at++, s.length--;
    while (s.length && is_space(s.at[s.length - 1]))
        s.length--;
    return s;
}

static const struct latex_name *
row_of(const struct latex_name *rows, size_t count, struct span word)
{
    for (size_t i = 0; i < count; i++)
        if (word.length && rows[i].name[0] == word.at[0] && span_is(word, rows[i].name))
            return &rows[i];
    return NULL;
}

/* A word with a meaning of its own gives its token. */
static bool
known_word(struct reading *r, struct span word, bool *given)
{
    const struct latex_name *row = row_of(latex_words, COUNT(latex_words), word);
    struct span none = {NULL, 0};

    *given = true;
    if (row)
        return give(r, row->kind, row->value, none) != NULL;
    for (size_t i = 0; i < COUNT(function_names); i++)
        if (function_names[i][0] == word.at[0] && span_is(word, function_names[i]))
            return give(r, TOKEN_function, (int)i, word) != NULL;
    *given = false;
    return true;
}

static bool
give_letter(struct reading *r, struct span name)
{
    if (name.length == 1 && name.at[0] == 'e')
        return give(r, TOKEN_constant, CONSTANT_e, name) != NULL;
    if (name.length == 1 && name.at[0] == 'i')
        return give(r, TOKEN_constant, CONSTANT_i, name) != NULL;
    return give(r, TOKEN_letter, 0, name) != NULL;
}

/* \text{...}: digits and signs are read as they are, a letter is a symbol unless it stands behind a
 * number and may be a unit, the rest is words. */
static bool
read_content(struct reading *r)
{
    size_t before = r->at;
    struct span content = trim(group_at(r));
    bool given, digits = true;
    bool behind = r->l->count && r->l->at[r->l->count - 1].kind == TOKEN_number;

    if (!content.at || content.length == 0)
        return true;
    for (size_t i = 0; i < content.length; i++)
        digits &= strchr("0123456789.,/+-()%$\\{} ^", content.at[i]) != NULL;
    if (digits) {
        r->at = before; /* the group follows */
        return true;
    }
    if (content.length == 1 && is_letter(content.at[0]))
        return behind && strchr("mgshlL", content.at[0])
                   ? give(r, TOKEN_text, 0, content) != NULL
                   : give_letter(r, content);
    return known_word(r, content, &given) &&
           (given || give(r, TOKEN_text, 0, content) != NULL);
}

static bool
read_set(struct reading *r)
{
    struct span name = group_at(r);

    if (!name.at && is_letter(byte_at(r, r->at)))
        name = span_of(r->text.at + r->at++, 1);
    if (span_is(name, "R"))
        return give(r, TOKEN_constant, CONSTANT_reals, name) != NULL;
    return name.length == 0 || give(r, TOKEN_letter, 0, name) != NULL;
}

static bool
read_command_name(struct reading *r, struct span name)
{
    const struct latex_name *row = row_of(latex_commands, COUNT(latex_commands), name);
    bool given;

    if (span_is(name, "begin") || span_is(name, "end"))
        return give(r, name.at[0] == 'b' ? TOKEN_begin : TOKEN_finish, 0, group_at(r)) != NULL;
    if (!row) {
        if (!known_word(r, name, &given))
            return false;
        return given || give(r, TOKEN_letter, 0, name) != NULL;
    }
    switch (row->kind) {
    case LATEX_skip:
        if ((span_is(name, "left") || span_is(name, "right")) && byte_at(r, r->at) == '.')
            r->at++;
        r->spaced = true;
        return true;
    case LATEX_content:  return read_content(r);
    case LATEX_argument: (void)group_at(r); return true;
    case LATEX_set:      return read_set(r);
    default:             return give(r, row->kind, row->value, name) != NULL;
    }
}

static bool
read_command(struct reading *r)
{
    size_t start = r->at + 1, end = start;
    char sign = byte_at(r, start);

    if (sign == '\\' && !r->matrix && is_letter(byte_at(r, start + 1))) {
        r->at++; /* an escaped text: \\frac */
        return read_command(r);
    }
    while (is_letter(byte_at(r, end)))
        end++;
    if (end > start) {
        if (end - start > 4 && starts(r->text, start, "quad"))
            end = start + 4; /* \quadx: a slip for \quad x */
        r->at = end;
        return read_command_name(r, span_of(r->text.at + start, end - start));
    }
    r->at = start < r->text.length && !is_digit(sign) ? start + 1 : start; /* \15: a slip for 15 */
    switch (sign) {
    case '{':  r->depth++; return give(r, TOKEN_open_set, 0, span_text("{")) != NULL;
    case '}':  r->depth -= r->depth > 0; return give(r, TOKEN_close_set, 0, span_text("}")) != NULL;
    case '\\': return give(r, TOKEN_row, 0, span_text("\\\\")) != NULL;
    case '%':  return give(r, TOKEN_percent, 0, span_text("%")) != NULL;
    case '$':  return give(r, TOKEN_currency, 0, span_text("$")) != NULL;
    case '|':  return give(r, '|', 0, span_text("|")) != NULL;
    case '&':  return give(r, TOKEN_and, 0, span_text("&")) != NULL;
    default:   r->spaced = true; return true; /* \, \; \! \( \) \[ \] and the like */
    }
}

static bool
read_word(struct reading *r)
{
    size_t start = r->at;
    struct span word;
    bool given;

    while (is_letter(byte_at(r, r->at)))
        r->at++;
    word = span_of(r->text.at + start, r->at - start);
    if (word.length == 1)
        return give_letter(r, word);
    return known_word(r, word, &given) && (given || give(r, TOKEN_word, 0, word) != NULL);
}

static bool read_one(struct reading *r);

/* A sign beyond ASCII: a number, a superscript, or what the table says it means. */
static bool
read_sign(struct reading *r)
{
    for (size_t i = 0; i < COUNT(latex_raised); i++)
        if (starts(r->text, r->at, latex_raised[i])) {
            struct token *last = r->l->count ? &r->l->at[r->l->count - 1] : NULL;

            r->at += strlen(latex_raised[i]);
            if (last && last->kind == TOKEN_raised && !r->spaced && last->value < 10000) {
                last->value = last->value * 10 + (int)i;
                return true;
            }
            return give(r, TOKEN_raised, (int)i, span_text("")) != NULL;
        }
    for (size_t i = 0; i < COUNT(latex_parts); i++)
        if (starts(r->text, r->at, latex_parts[i].sign)) {
            struct token *t = give(r, TOKEN_number, 0, span_text(latex_parts[i].digits));

            r->at += strlen(latex_parts[i].sign);
            if (t)
                t->over = latex_parts[i].over;
            return t != NULL;
        }
    for (size_t i = 0; i < COUNT(latex_signs); i++)
        if (starts(r->text, r->at, latex_signs[i].sign)) {
            struct span text = r->text;
            size_t at = r->at + strlen(latex_signs[i].sign);
            bool ok;

            r->text = span_text(latex_signs[i].means);
            r->at = 0;
            ok = read_one(r);
            r->text = text;
            r->at = at;
            return ok;
        }
    if (starts(r->text, r->at, "\u00a0") || starts(r->text, r->at, "\u202f") ||
        starts(r->text, r->at, "\u2009")) {
        r->at += byte_at(r, r->at) == '\xc2' ? 2 : 3;
        r->spaced = true;
        return true;
    }
    r->at++;
    return give(r, TOKEN_unknown, 0, span_of(r->text.at + r->at - 1, 1)) != NULL;
}

static bool
read_character(struct reading *r, char c)
{
    struct span text = span_of(r->text.at + r->at, 1);
    int relation = 0;

    r->at++;
    switch (c) {
    case '(':
    case '[': r->depth++; return give(r, c, 0, text) != NULL;
    case ')':
    case ']': r->depth -= r->depth > 0; return give(r, c, 0, text) != NULL;
    case '%': return give(r, TOKEN_percent, 0, text) != NULL;
    case '$': return !r->dollars || give(r, TOKEN_currency, 0, text) != NULL;
    case '~': r->spaced = true; return true;
    case '"':
    case '`': return true;
    case '<': relation = RELATION_less; break;
    case '>': relation = RELATION_greater; break;
    case '=': relation = RELATION_equal; break;
    default:  break;
    }
    if (relation) {
        if (byte_at(r, r->at) == '=' && c != '=') {
            relation *= 2;
            r->at++;
        }
        return give(r, TOKEN_relation, relation, text) != NULL;
    }
    if (c == '!' && byte_at(r, r->at) == '=') {
        r->at++;
        return give(r, TOKEN_relation, RELATION_unequal, text) != NULL;
    }
    if (c == '*' && byte_at(r, r->at) == '*') {
        r->at++;
        return give(r, '^', 0, text) != NULL;
    }
    if (strchr("+-*/^_{},;:!&|'", c))
        return give(r, c, 0, text) != NULL;
    return give(r, TOKEN_unknown, 0, text) != NULL;
}

static bool
read_one(struct reading *r)
{
    char c = r->text.at[r->at];

    if (is_space(c) || c == '\0') {
        r->at++;
        r->spaced = true;
        return true;
    }
    if (starts(r->text, r->at, "...")) {
        r->at += 3;
        return give(r, TOKEN_ellipsis, 0, span_text("...")) != NULL;
    }
    if (is_digit(c) || (c == '.' && is_digit(byte_at(r, r->at + 1))))
        return read_number(r);
    if (c == '\\')
        return read_command(r);
    if (is_letter(c))
        return read_word(r);
    if ((unsigned char)c >= 0x80)
        return read_sign(r);
    return read_character(r, c);
}

bool
latex_read(struct latex *l, struct span text, struct arena *arena)
{
    struct reading r = {.l = l, .text = text};
    int dollars = 0;

    for (size_t i = 0; i < text.length; i++) {
        dollars += text.at[i] == '$' && (i == 0 || text.at[i - 1] != '\\');
        r.matrix |= starts(text, i, "\\begin");
    }
    r.dollars = dollars == 1;
    l->count = 0;
    l->room = text.length < LATEX_TOKENS_MAX ? (int)text.length : LATEX_TOKENS_MAX;
    l->at = arena_take(arena, sizeof(*l->at) * ((size_t)l->room + LATEX_AHEAD));
    while (r.at < text.length)
        if (!read_one(&r))
            return false;
    for (int i = 0; i < LATEX_AHEAD; i++) /* a token split in two leaves no end behind */
        l->at[l->count + i] = (struct token){.kind = TOKEN_end, .spaced = true};
    return true;
}
