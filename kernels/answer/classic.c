/* classic: replacements one after the other, each over the whole string, as the originals do. */
#include "kernels/answer/classic.h"

#include <string.h>

#define DAPO_TAIL 300 /* characters */

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

static bool
starts(struct span text, size_t at, const char *with)
{
    size_t length = strlen(with);

    return at <= text.length && text.length - at >= length &&
           memcmp(text.at + at, with, length) == 0;
}

static size_t
find(struct span text, size_t from, const char *word)
{
    for (size_t i = from; i < text.length; i++)
        if (starts(text, i, word))
            return i;
    return text.length;
}

static size_t
find_last(struct span text, const char *word)
{
    for (size_t i = text.length; i-- > 0;)
        if (starts(text, i, word))
            return i;
    return text.length;
}

static struct span
part(struct span text, size_t from, size_t to)
{
    return span_of(text.at + from, to - from);
}

/* Bytes of the character at AT; 0 at the end. */
static size_t
character(struct span text, size_t at)
{
    size_t length = at < text.length;

    while (length && at + length < text.length &&
           ((unsigned char)text.at[at + length] & 0xc0) == 0x80 && length < 4)
        length++;
    return length;
}

static void
add(struct buffer *b, struct span s)
{
    buffer_add(b, s.at, s.length);
}

/* b becomes what was made of it. */
static void
become(struct buffer *b, struct buffer *made)
{
    buffer_free(b);
    *b = *made;
}

static void
replace(struct buffer *b, const char *from, const char *to)
{
    struct span text = buffer_span(b);
    struct buffer made = {0};
    size_t length = strlen(from), start = 0, at;

    if (find(text, 0, from) == text.length)
        return;
    while ((at = find(text, start, from)) < text.length) {
        add(&made, part(text, start, at));
        buffer_text(&made, to);
        start = at + length;
    }
    add(&made, part(text, start, text.length));
    become(b, &made);
}

static void
keep(struct buffer *b, struct span s)
{
    struct buffer made = {0};

    add(&made, s);
    become(b, &made);
}

/* \sqrt3 becomes \sqrt{3}; false where nothing follows a \sqrt. */
static bool
brace_roots(struct buffer *b)
{
    struct span text = buffer_span(b);
    struct buffer made = {0};
    size_t start = 0, at;
    bool ok = true;

    while (ok && (at = find(text, start, "\\sqrt")) < text.length) {
        size_t length = character(text, at + 5);

        add(&made, part(text, start, at + 5));
        start = at + 5;
        ok = length > 0 && !starts(text, start, "\\sqrt");
        if (ok && text.at[start] != '{') {
            buffer_text(&made, "{");
            add(&made, part(text, start, start + length));
            buffer_text(&made, "}");
            start += length;
        }
    }
    add(&made, part(text, start, text.length));
    become(b, &made);
    return ok;
}

/* \frac12 becomes \frac{1}{2}, \frac1{2} likewise. What is too short leaves the whole text as it
 * was; false where nothing follows a \frac. */
static bool
brace_fractions(struct buffer *b)
{
    struct span text = buffer_span(b);
    struct buffer made = {0};
    size_t start = 0, at;

    while ((at = find(text, start, "\\frac")) < text.length) {
        size_t next = find(text, at + 5, "\\frac"), over = character(text, at + 5), under;

        add(&made, part(text, start, at + 5));
        start = at + 5;
        if (start == next) {
            buffer_free(&made);
            return false;
        }
        if (text.at[start] == '{')
            continue;
        under = start + over < next ? character(text, start + over) : 0;
        if (!under) {
            buffer_free(&made);
            return true;
        }
        buffer_text(&made, "{");
        add(&made, part(text, start, start + over));
        buffer_text(&made, "}");
        start += over;
        if (text.at[start] != '{') {
            buffer_text(&made, "{");
            add(&made, part(text, start, start + under));
            buffer_text(&made, "}");
            start += under;
        }
    }
    add(&made, part(text, start, text.length));
    become(b, &made);
    return true;
}

/* A whole number as it would be printed. */
static bool
is_integer(struct span s)
{
    bool minus = s.length && s.at[0] == '-';

    s = part(s, minus, s.length);
    if (s.length == 0 || (s.at[0] == '0' && (s.length > 1 || minus)))
        return false;
    for (size_t i = 0; i < s.length; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return true;
}

static void
slash_to_fraction(struct buffer *b)
{
    struct span text = buffer_span(b), over, under;
    size_t slash = find(text, 0, "/");
    struct buffer made = {0};

    if (slash == text.length)
        return;
    over = part(text, 0, slash);
    under = part(text, slash + 1, text.length);
    if (!is_integer(over) || !is_integer(under))
        return;
    buffer_print(&made, "\\frac{%.*s}{%.*s}", (int)over.length, over.at, (int)under.length,
                 under.at);
    become(b, &made);
}

static size_t
count(struct span text, const char *word)
{
    size_t found = 0, length = strlen(word);

    for (size_t at = find(text, 0, word); at < text.length; at = find(text, at + length, word))
        found++;
    return found;
}

/* "k = 5" is 5 where what stands before the only = has at most two characters. */
static void
drop_name(struct buffer *b)
{
    struct span text = buffer_span(b);
    size_t equals = find(text, 0, "="), at = 0, before = 0;

    if (count(text, "=") != 1)
        return;
    for (; at < equals; at += character(text, at))
        before++;
    if (before <= 2)
        keep(b, part(text, equals + 1, text.length));
}

/* false: the original fails on it, and compares the strings as they were. */
static bool
hendrycks_form(struct buffer *b)
{
    static const char *const gone[][2] = {
        {"\n", ""},      {"\\!", ""},        {"\\\\", "\\"},   {"tfrac", "frac"}, {"dfrac", "frac"},
        {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""},   {"\\$", ""},
    };
    size_t units;

    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        replace(b, gone[i][0], gone[i][1]);
    units = count(buffer_span(b), "\\text{ ");
    if (units > 1)
        return false;
    if (units)
        keep(b, part(buffer_span(b), 0, find(buffer_span(b), 0, "\\text{ ")));
    replace(b, "\\\\%", "");
    replace(b, "\\%", "");
    replace(b, " .", " 0.");
    replace(b, "{.", "{0.");
    if (b->length == 0)
        return true;
    if (b->at[0] == '.') {
        struct buffer made = {0};

        buffer_text(&made, "0");
        add(&made, buffer_span(b));
        become(b, &made);
    }
    drop_name(b);
    if (!brace_roots(b))
        return false;
    replace(b, " ", "");
    if (!brace_fractions(b))
        return false;
    if (span_is(buffer_span(b), "0.5"))
        keep(b, span_text("\\frac{1}{2}"));
    slash_to_fraction(b);
    return true;
}

/* What the last \boxed holds: behind "\boxed " to the next $, else in its braces. */
static bool
hendrycks_box(struct span text, struct span *content)
{
    size_t at = find_last(text, "\\boxed "), depth = 0;

    if (at < text.length) {
        *content = part(text, at + 7, find(text, at + 7, "$"));
        return true;
    }
    at = find_last(text, "\\boxed");
    if (at == text.length || !starts(text, at, "\\boxed{"))
        return false;
    for (size_t i = at + 6; i < text.length; i++) {
        depth += text.at[i] == '{';
        depth -= text.at[i] == '}';
        if (depth == 0) {
            *content = part(text, at + 7, i);
            return true;
        }
    }
    return false;
}

static bool
same(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

bool
classic_hendrycks(struct span response, struct span gold)
{
    struct buffer a = {0}, b = {0};
    struct span content;
    bool ok;

    if (!hendrycks_box(response, &content) || content.length > CLASSIC_BYTES_MAX ||
        gold.length > CLASSIC_BYTES_MAX)
        return false;
    add(&a, content);
    add(&b, gold);
    ok = hendrycks_form(&a) && hendrycks_form(&b) ? same(buffer_span(&a), buffer_span(&b))
                                                  : same(content, gold);
    buffer_free(&a);
    buffer_free(&b);
    return ok;
}

/* OPEN ... } without what encloses it, to the first } of the line, or to its last. */
static void
unwrap(struct buffer *b, const char *open, bool last)
{
    struct span text = buffer_span(b);
    struct buffer made = {0};
    size_t start = 0, at;

    while ((at = find(text, start, open)) < text.length) {
        size_t inside = at + strlen(open), close = text.length;

        for (size_t i = inside; i < text.length && text.at[i] != '\n'; i++)
            if (text.at[i] == '}') {
                close = i;
                if (!last)
                    break;
            }
        if (close == text.length) { /* no match here: go on behind its first byte */
            add(&made, part(text, start, at + 1));
            start = at + 1;
            continue;
        }
        add(&made, part(text, start, at));
        add(&made, part(text, inside, close));
        start = close + 1;
    }
    add(&made, part(text, start, text.length));
    become(b, &made);
}

/* A line with two dollars is what stands between the first two. */
static void
keep_dollars(struct buffer *b)
{
    struct span text = buffer_span(b);
    struct buffer made = {0};

    for (size_t at = 0; at < text.length;) {
        size_t end = find(text, at, "\n"), one = find(part(text, 0, end), at, "$");
        size_t two = one < end ? find(part(text, 0, end), one + 1, "$") : end;

        add(&made, two < end ? part(text, one, two + 1) : part(text, at, end));
        if (end < text.length)
            buffer_text(&made, "\n");
        at = end + 1;
    }
    become(b, &made);
}

/* frac12 becomes frac{1}{2}, sqrt3 sqrt{3}. */
static void
brace(struct buffer *b, const char *word, int arguments)
{
    struct span text = buffer_span(b);
    struct buffer made = {0};
    size_t start = 0, at, length = strlen(word);

    while ((at = find(text, start, word)) < text.length) {
        size_t one = at + length, two = one + character(text, one);
        size_t end = arguments == 2 ? two + character(text, two) : two;

        if (one == two || text.at[one] == '{' ||
            (arguments == 2 && (end == two || text.at[two] == '\n'))) {
            add(&made, part(text, start, at + 1));
            start = at + 1;
            continue;
        }
        add(&made, part(text, start, one));
        buffer_print(&made, "{%.*s}", (int)(two - one), text.at + one);
        if (arguments == 2)
            buffer_print(&made, "{%.*s}", (int)(end - two), text.at + two);
        start = end;
    }
    add(&made, part(text, start, text.length));
    become(b, &made);
}

static void
drop_commas(struct buffer *b)
{
    bool digits = false;

    for (size_t i = 0; i < b->length; i++) {
        bool digit = b->at[i] >= '0' && b->at[i] <= '9';

        if (!digit && b->at[i] != ',')
            return;
        digits |= digit;
    }
    if (digits)
        replace(b, ",", "");
}

static void
dapo_form(struct buffer *b)
{
    static const char *const changed[][2] = {
        {"an ", ""}, {"a ", ""},       {".$", "$"},           {"\\$", ""},        {"\\ ", ""},
        {" ", ""},   {"mbox", "text"}, {",\\text{and}", ","}, {"\\text{and}", ","},
        {"\\text{m}", "\\text{}"},
    };
    static const char *const gone[] = {
        "square",      "ways",        "integers", "dollars",     "mph",        "inches",
        "hours",       "km",          "units",    "\\ldots",     "sue",        "points",
        "feet",        "minutes",     "digits",   "cents",       "degrees",    "cm",
        "gm",          "pounds",      "meters",   "meals",       "edges",      "students",
        "childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2",
        "\\text{}^3",  "\\text{\n}",  "\\text{}", "\\mathrm{th}", "^\\circ",   "^{\\circ}",
        "\\;",         ",\\!",        "{,}",      "\"",          "\\dots",
    };
    struct span text = buffer_span(b);
    size_t equals = find_last(text, "=");

    if (equals < text.length)
        keep(b, part(text, equals + 1, text.length));
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++)
        replace(b, changed[i][0], changed[i][1]);
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        replace(b, gone[i], "");
    keep_dollars(b);
    unwrap(b, "\\text{", false);
    unwrap(b, "\\textbf{", false);
    unwrap(b, "\\overline{", false);
    unwrap(b, "\\boxed{", true);
    brace(b, "frac", 2);
    brace(b, "sqrt", 1);
    replace(b, "$", "");
    drop_commas(b);
    text = buffer_span(b);
    while (text.length && is_space(text.at[0]))
        text = part(text, 1, text.length);
    while (text.length && is_space(text.at[text.length - 1]))
        text.length--;
    keep(b, text);
}

/* "answer", white space, a colon at AT; *AFTER: behind the colon. */
static bool
announces(struct span text, size_t at, size_t *after)
{
    static const char word[] = "answer";

    for (size_t i = 0; i < 6; i++)
        if (at + i >= text.length || (text.at[at + i] | 32) != word[i])
            return false;
    at += 6;
    while (at < text.length && is_space(text.at[at]))
        at++;
    *after = at + 1;
    return at < text.length && text.at[at] == ':';
}

/* What the last match of "Answer : ..." holds, from the first character that is no space to the end
 * of its line. */
static bool
dapo_answer(struct span text, struct span *answer)
{
    bool found = false;

    for (size_t at = 0, from; at < text.length;) {
        size_t start;

        if (!announces(text, at, &from)) {
            at++;
            continue;
        }
        start = from;
        while (start < text.length && is_space(text.at[start]))
            start++;
        if (start == text.length) /* only space: its last one that ends no line */
            while (start > from && (start == text.length || text.at[start] == '\n'))
                start--;
        if (start >= text.length || text.at[start] == '\n' || start < from) {
            at++;
            continue;
        }
        at = find(text, start, "\n");
        *answer = part(text, start, at);
        found = true;
    }
    return found;
}

bool
classic_dapo(struct span response, struct span gold)
{
    struct buffer a = {0}, b = {0};
    struct span answer = {NULL, 0}, tail;
    size_t at = response.length;
    bool ok;

    for (int i = 0; i < DAPO_TAIL && at > 0; i++) {
        size_t end = at--;

        while (at > 0 && end - at < 4 && ((unsigned char)response.at[at] & 0xc0) == 0x80)
            at--;
    }
    tail = part(response, at, response.length);
    if (!dapo_answer(tail, &answer) || gold.length > CLASSIC_BYTES_MAX)
        return false;
    add(&a, answer);
    add(&b, gold);
    dapo_form(&a);
    dapo_form(&b);
    ok = same(buffer_span(&a), buffer_span(&b));
    buffer_free(&a);
    buffer_free(&b);
    return ok;
}
