/* words: a copy with the wrappers left out. */
#include "kernels/answer/words.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 60 /* braces in braces that are looked at */

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Past a wrapper or spacing command at AT; AT: it is none. */
static size_t
skip_command(struct span text, size_t at)
{
    static const char *const names[] = {"\\text", "\\textbf", "\\textrm", "\\textit", "\\mathrm",
                                        "\\mathbf", "\\mbox", "\\left", "\\right", "\\displaystyle",
                                        "\\!", "\\,", "\\;", "\\:"};
    size_t best = at;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length, end;

        if (at + 1 < text.length && names[i][1] != text.at[at + 1])
            continue;
        length = strlen(names[i]);
        end = at + length;
        if (text.length - at < length || memcmp(text.at + at, names[i], length) != 0)
            continue;
        if (is_letter(names[i][length - 1]) && end < text.length && is_letter(text.at[end]))
            continue;
        best = end > best ? end : best;
    }
    return best;
}

/* The text without wrappers, case kept. */
static struct span
unwrapped(struct span text, struct arena *arena)
{
    char *to = arena_take(arena, text.length + 1);
    size_t length = 0;
    uint64_t wraps = 0; /* a bit for each open brace: it is a wrapper's and left out */
    int depth = 0;
    bool wrapper = false;

    for (size_t i = 0; i < text.length;) {
        size_t next = text.at[i] == '\\' ? skip_command(text, i) : i;
        char c = text.at[i];

        if (next > i) {
            wrapper = true;
            i = next;
            continue;
        }
        i++;
        if (c == '{' && depth < DEPTH_MAX) {
            wraps = wraps << 1 | wrapper;
            depth++;
        }
        if ((c == '{' && wrapper) || (c == '}' && depth && wraps & 1) || c == '$' || c == '"' ||
            c == '`' || (c == '*' && i < text.length && text.at[i] == '*') ||
            (c == '*' && i > 1 && text.at[i - 2] == '*')) {
            wrapper = false;
            if (c == '}')
                wraps >>= 1, depth--;
            continue;
        }
        wrapper = false;
        if (c == '}' && depth)
            wraps >>= 1, depth--;
        if (is_space(c) || c == '~' || (c == '\\' && i < text.length && is_space(text.at[i]))) {
            if (length && to[length - 1] != ' ')
                to[length++] = ' ';
            continue;
        }
        to[length++] = c;
    }
    while (length && (to[length - 1] == ' ' || to[length - 1] == '.'))
        length--;
    return span_of(to, length);
}

struct span
words_of(struct span text, struct arena *arena)
{
    struct span s = unwrapped(text, arena);
    char *at = (char *)s.at; /* our own copy */

    for (size_t i = 0; i < s.length; i++)
        if (at[i] >= 'A' && at[i] <= 'Z')
            at[i] = (char)(at[i] - 'A' + 'a');
    return s;
}

char
words_choice(struct span text, bool bare, struct arena *arena)
{
    struct span s = unwrapped(text, arena);
    bool bracket;
    char letter, after;

    if (!bare && s.length > 7 &&
        (strncasecmp(s.at, "option ", 7) == 0 || strncasecmp(s.at, "choice ", 7) == 0))
        s = span_of(s.at + 7, s.length - 7);
    bracket = s.length > 0 && s.at[0] == '(';
    s = span_of(s.at + bracket, s.length - bracket);
    if (s.length == 0)
        return 0;
    letter = s.at[0];
    after = s.length > 1 ? s.at[1] : '\0';
    if (letter >= 'a' && letter <= 'j' && !bare && (bracket || after == '\0'))
        letter = (char)(letter - 'a' + 'A');
    if (letter < 'A' || letter > 'J' || (bracket && after != ')'))
        return 0;
    if (s.length == 1 || (s.length == 2 && (after == ')' || after == '.' || after == ':')))
        return letter;
    return !bare && (after == ')' || after == '.' || after == ':') && s.at[2] == ' ' ? letter : 0;
}

char
words_last_choice(struct span text, struct arena *arena)
{
    size_t start;

    while (text.length && is_space(text.at[text.length - 1]))
        text.length--;
    start = text.length;
    while (start > 0 && text.at[start - 1] != '\n')
        start--;
    if (text.length - start < 256) {
        char c = words_choice(span_of(text.at + start, text.length - start), false, arena);

        if (c)
            return c;
    }
    for (size_t i = text.length; i-- > 2;)
        if (text.at[i] == ')' && text.at[i - 2] == '(' && text.at[i - 1] >= 'A' &&
            text.at[i - 1] <= 'J')
            return text.at[i - 1];
    return 0;
}
