/* token: white space and markup are passed over; then LaTeX, numbers, words and signs, by tables.
 */
#include "nodes/arithmetic/token.h"

#include <string.h>
#include <strings.h>

#include "nodes/arithmetic/characters.h"
#include "nodes/arithmetic/number.h"

struct sign {
    const char *text;
    enum token_kind kind;
    char sign;
};

/* The longer of two that begin alike stands first. */
static const struct sign signs[] = {
    {"->", TOKEN_stop, 0},       {"--", TOKEN_stop, 0},       {"=>", TOKEN_stop, 0},
    {"==", TOKEN_other, 0},      {"//", TOKEN_other, 0},      {"<<", TOKEN_stop, 0},
    {">>", TOKEN_stop, 0},       {"<=", TOKEN_relation, 'l'}, {">=", TOKEN_relation, 'g'},
    {"!=", TOKEN_relation, 'n'}, {"$$", TOKEN_math, 'd'},     {"=", TOKEN_relation, '='},
    {"<", TOKEN_relation, '<'},  {">", TOKEN_relation, '>'},  {"+", TOKEN_operator, '+'},
    {"-", TOKEN_operator, '-'},  {"*", TOKEN_operator, '*'},  {"/", TOKEN_operator, '/'},
    {"(", TOKEN_open, 0},        {"[", TOKEN_open, 0},        {"{", TOKEN_open, 0},
    {")", TOKEN_close, 0},       {"]", TOKEN_close, 0},       {"}", TOKEN_close, 0},
    {"^", TOKEN_power, 0},       {"%", TOKEN_percent, 0},     {"$", TOKEN_math, 0},
    {"\n", TOKEN_line, 0},       {",", TOKEN_stop, 0},        {";", TOKEN_stop, 0},
    {":", TOKEN_stop, 0},        {".", TOKEN_stop, 0},        {"?", TOKEN_stop, 0},
    {"!", TOKEN_stop, 0},        {"\"", TOKEN_stop, 0},       {"|", TOKEN_stop, 0},
    {"`", TOKEN_stop, 0},        {"−", TOKEN_operator, '-'},  {"–", TOKEN_operator, '-'},
    {"×", TOKEN_operator, '*'},  {"·", TOKEN_operator, '*'},  {"∗", TOKEN_operator, '*'},
    {"⋅", TOKEN_operator, '*'},  {"÷", TOKEN_operator, '/'},  {"≤", TOKEN_relation, 'l'},
    {"≥", TOKEN_relation, 'g'},  {"≠", TOKEN_relation, 'n'},  {"≈", TOKEN_relation, 'a'},
    {"≅", TOKEN_relation, 'a'},  {"→", TOKEN_stop, 0},        {"⇒", TOKEN_stop, 0},
    {"—", TOKEN_stop, 0},        {"…", TOKEN_stop, 0},        {"“", TOKEN_stop, 0},
    {"”", TOKEN_stop, 0},        {"•", TOKEN_stop, 0},        {"∴", TOKEN_stop, 0},
    {"°", TOKEN_degree, 0},      {"€", TOKEN_degree, 0},      {"£", TOKEN_degree, 0},
    {"¥", TOKEN_degree, 0},      {"¢", TOKEN_degree, 0},      {"²", TOKEN_other, 0},
    {"³", TOKEN_other, 0},       {"½", TOKEN_other, 0},       {"¼", TOKEN_other, 0},
    {"¾", TOKEN_other, 0},       {"±", TOKEN_other, 0},       {"√", TOKEN_other, 0},
};

/* LaTeX, without the backslash. */
static const struct sign commands[] = {
    {"(", TOKEN_math, 0},
    {")", TOKEN_math, 0},
    {"[", TOKEN_math, 'd'},
    {"]", TOKEN_math, 'd'},
    {"\\", TOKEN_line, 0},
    {"%", TOKEN_percent, 0},
    {"times", TOKEN_operator, '*'},
    {"cdot", TOKEN_operator, '*'},
    {"ast", TOKEN_operator, '*'},
    {"div", TOKEN_operator, '/'},
    {"le", TOKEN_relation, 'l'},
    {"leq", TOKEN_relation, 'l'},
    {"ge", TOKEN_relation, 'g'},
    {"geq", TOKEN_relation, 'g'},
    {"lt", TOKEN_relation, '<'},
    {"gt", TOKEN_relation, '>'},
    {"ne", TOKEN_relation, 'n'},
    {"neq", TOKEN_relation, 'n'},
    {"approx", TOKEN_relation, 'a'},
    {"simeq", TOKEN_relation, 'a'},
    {"sim", TOKEN_relation, 'a'},
    {"frac", TOKEN_fraction, 0},
    {"dfrac", TOKEN_fraction, 0},
    {"tfrac", TOKEN_fraction, 0},
    {"cfrac", TOKEN_fraction, 0},
    {"implies", TOKEN_stop, 0},
    {"Rightarrow", TOKEN_stop, 0},
    {"rightarrow", TOKEN_stop, 0},
    {"Longrightarrow", TOKEN_stop, 0},
    {"to", TOKEN_stop, 0},
    {"therefore", TOKEN_stop, 0},
    {"quad", TOKEN_stop, 0},
    {"qquad", TOKEN_stop, 0},
};

static const char *const groups[] = {"text",   "textbf",       "textit", "textrm",
                                     "mathrm", "mathbf",       "mathit", "mbox",
                                     "textsf", "operatorname", NULL};
static const char *const blanks[] = {",", ";", ":", "!", " ", "left", "right", "displaystyle",
                                     NULL};

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* Bytes of the white space at `at`; 0: none. */
static size_t
space_at(struct span text, size_t at)
{
    char c = byte(text, at);

    if (c == ' ' || c == '\t' || c == '\r')
        return at < text.length ? 1 : 0;
    if (starts(text, at, "\xc2\xa0"))
        return 2;
    return starts(text, at, "\xe2\x80\xaf") || starts(text, at, "\xe2\x80\x89") ? 3 : 0;
}

/* The length of the LaTeX command's name at `at`, which is behind the backslash: letters, or one
 * byte. */
static size_t
command_length(struct span text, size_t at)
{
    size_t n = 0;

    while (is_letter(byte(text, at + n)) && n < 32)
        n++;
    return n > 0 ? n : at < text.length;
}

static bool
is_command(struct span text, size_t at, size_t length, const char *name)
{
    return strlen(name) == length && memcmp(text.at + at, name, length) == 0;
}

/* Two stars are bold print, unless they stand between what is raised and its exponent. */
static bool
is_bold(struct span text, size_t at)
{
    char before = at > 0 ? text.at[at - 1] : 0, after = byte(text, at + 2);

    return starts(text, at, "**") &&
           !((is_digit(before) || before == ')') && (is_digit(after) || after == '('));
}

/* Bytes of markup at `at` that says nothing; 0: none. */
static size_t
markup_at(struct span text, size_t at)
{
    if (is_bold(text, at) || starts(text, at, "__"))
        return 2;
    if (byte(text, at) == '&')
        return 1;
    if (byte(text, at) != '\\')
        return 0;
    size_t n = command_length(text, at + 1);
    for (int k = 0; blanks[k]; k++)
        if (is_command(text, at + 1, n, blanks[k]))
            return n + 1;
    return 0;
}

/* \text{...}: what is in it, without the spaces at its ends. False: there is no such group. */
static bool
read_group(struct span text, size_t at, struct token *t)
{
    size_t open = at + 1 + command_length(text, at + 1), end = open + 1;
    bool plain = true, known = true;

    if (byte(text, open) != '{')
        return false;
    if (is_digit(byte(text, open + 1)) || byte(text, open + 1) == '$' ||
        starts(text, open + 1, "\\$")) { /* a number printed bold */
        t->kind = TOKEN_open;
        t->end = open + 1;
        return true;
    }
    while (end < text.length && text.at[end] != '}' && end - at < TOKEN_BYTES_MAX) {
        plain &= is_letter(text.at[end]) || strchr(" -'", text.at[end]) != NULL;
        known &= !is_digit(text.at[end]) && text.at[end] != '=' && text.at[end] != '{';
        end++;
    }
    if (byte(text, end) != '}')
        return false;
    t->end = end + 1;
    for (open++; open < end && text.at[open] == ' '; open++)
        ;
    while (end > open && text.at[end - 1] == ' ')
        end--;
    t->word = span_of(text.at + open, end - open);
    plain &= memchr(text.at + open, ' ', end - open) == NULL && end > open;
    t->kind = !known ? TOKEN_other : plain ? TOKEN_word : TOKEN_phrase;
    return true;
}

static void
read_command(struct span text, struct token *t)
{
    size_t at = t->start + 1, n = command_length(text, at);

    t->kind = TOKEN_other;
    t->end = at + n;
    for (int k = 0; groups[k]; k++)
        if (is_command(text, at, n, groups[k]) && read_group(text, t->start, t))
            return;
    if (is_command(text, at, n, "boxed") && byte(text, at + n) == '{') {
        t->kind = TOKEN_open;
        t->end++;
        return;
    }
    for (size_t k = 0; k < COUNT(commands); k++) {
        if (!is_command(text, at, n, commands[k].text))
            continue;
        t->kind = commands[k].kind;
        t->sign = commands[k].sign;
        return;
    }
}

/* An x that multiplies: something to multiply by stands right after it. */
static bool
is_times(struct span text, size_t at)
{
    char c = byte(text, at);
    size_t next = at + 1 + (byte(text, at + 1) == ' ');

    if (c != 'x' && c != 'X')
        return false;
    if (byte(text, next) == '$' || byte(text, next) == '.')
        return is_digit(byte(text, next + 1));
    return is_digit(byte(text, next)) || byte(text, next) == '(' || starts(text, next, "\\$") ||
           starts(text, next, "€") || starts(text, next, "£");
}

static const struct sign *
sign_at(struct span text, size_t at)
{
    char first = byte(text, at);

    if (is_letter(first) || is_digit(first) || first == ' ')
        return NULL;
    for (size_t k = 0; k < COUNT(signs); k++)
        if (signs[k].text[0] == first && starts(text, at, signs[k].text))
            return &signs[k];
    return NULL;
}

/* Letters, and what is no sign of ours among the bytes above ASCII; an apostrophe or hyphen joins
 * two of them. Digits or an underscore make it something else. */
static void
read_word(struct span text, struct token *t)
{
    size_t at = t->start;

    while (at < text.length && at - t->start < TOKEN_BYTES_MAX) {
        unsigned char c = (unsigned char)text.at[at];
        bool high = c >= 0x80 && !sign_at(text, at) && !space_at(text, at);
        size_t mark = c == '\'' || c == '-' ? 1 : starts(text, at, "’") ? 3 : 0;

        if (mark && at > t->start && is_letter(byte(text, at + mark)))
            at += mark;
        else if (is_letter((char)c) || high)
            at++;
        else
            break;
    }
    t->kind = TOKEN_word;
    if (is_digit(byte(text, at)) || byte(text, at) == '_') {
        t->kind = TOKEN_other;
        while (at < text.length && at - t->start < TOKEN_BYTES_MAX &&
               (is_letter(text.at[at]) || is_digit(text.at[at]) || text.at[at] == '_'))
            at++;
    }
    t->end = at > t->start ? at : t->start + 1;
    t->word = span_of(text.at + t->start, t->end - t->start);
}

static void
read_sign(struct span text, const struct sign *s, struct token *t)
{
    char before = t->start > 0 ? text.at[t->start - 1] : 0;

    t->kind = s->kind;
    t->sign = s->sign;
    t->end = t->start + strlen(s->text);
    if (s->text[0] == '!' && !s->text[1] && (is_digit(before) || before == ')'))
        t->kind = TOKEN_other;          /* 7! is a factorial */
    if (starts(text, t->start, "**")) { /* what is_bold() left */
        t->kind = TOKEN_power;
        t->end = t->start + 2;
    }
}

static bool
begins_line(struct span text, size_t at)
{
    while (at > 0 && (text.at[at - 1] == ' ' || text.at[at - 1] == '\t'))
        at--;
    return at == 0 || text.at[at - 1] == '\n';
}

void
token_read(struct span text, size_t at, struct token *t)
{
    size_t n;
    bool spaced = at == 0 || space_at(text, at - 1) || text.at[at - 1] == '\n';

    while (at < text.length) {
        if ((n = space_at(text, at)) > 0)
            spaced = true;
        else if ((n = markup_at(text, at)) == 0)
            break;
        at += n;
    }
    *t = (struct token){.kind = TOKEN_end, .spaced = spaced};
    t->start = t->end = at < text.length ? at : text.length;
    if (at >= text.length)
        return;
    enum number_found found = number_read(text, at, &t->number, &t->end);
    const struct sign *s = sign_at(text, at);
    if (found != NUMBER_none) {
        t->kind = found == NUMBER_read ? TOKEN_number : TOKEN_other;
    } else if (text.at[at] == '\\') {
        read_command(text, t);
    } else if (is_times(text, at)) {
        t->kind = TOKEN_operator;
        t->sign = '*';
        t->end = at + 1;
    } else if (s) {
        read_sign(text, s, t);
        t->first = t->kind == TOKEN_operator && begins_line(text, at);
    } else if (is_letter(text.at[at]) || (unsigned char)text.at[at] >= 0x80) {
        read_word(text, t);
    } else {
        t->kind = TOKEN_other;
        t->end = at + 1;
    }
}

bool
token_is(const struct token *t, const char *word)
{
    return t->kind == TOKEN_word && strlen(word) == t->word.length &&
           strncasecmp(t->word.at, word, t->word.length) == 0;
}

bool
token_among(const struct token *t, const char *const *words)
{
    for (int k = 0; words[k]; k++)
        if (token_is(t, words[k]))
            return true;
    return false;
}
