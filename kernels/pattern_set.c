/* Oniguruma's classes hold classes and intersections, PCRE2's do not: such a class is computed here
 * as a set of code points. */
#include "kernels/pattern_set.h"

#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS (UNICODE_END / 64)

int
pattern_set_holds(const struct pattern_set *s, uint32_t c, uint16_t flags)
{
    return (s->categories >> (flags & UNICODE_category) & 1) || (flags & s->flag) ||
           (s->space && unicode_is_space(c)) ||
           (s->hex && c < 128 && strchr("0123456789abcdefABCDEF", (int)c) && c);
}

uint32_t
pattern_categories(const char *name)
{
    uint32_t bits = 0;
    size_t length = strlen(name);

    for (int c = 0; c < UNICODE_CATEGORIES && length <= 2; c++)
        if (strncasecmp(unicode_category_name((enum unicode_category)c), name, length) == 0)
            bits |= 1u << c;
    return length ? bits : 0;
}

int
pattern_escape(char letter, int in_class, struct pattern_set *s, int *negative)
{
    *s = (struct pattern_set){0};
    *negative = letter >= 'A' && letter <= 'Z';
    switch (letter | 32) {
    case 's':
        s->space = 1;
        return 1;
    case 'w':
        s->flag = in_class ? UNICODE_word_inside : UNICODE_word;
        return 1;
    case 'd':
        s->categories = 1u << UNICODE_Nd;
        return 1;
    case 'h':
        s->hex = 1;
        return 1;
    default:
        return 0;
    }
}

int
pattern_property(const char *text, size_t *at, char word[64], int *negative, struct error *e)
{
    const char *name = text + *at + 3, *close = text[*at + 2] == '{' ? strchr(name, '}') : NULL;

    *negative = text[*at + 1] == 'P';
    if (close && *name == '^')
        *negative = !*negative, name++;
    if (!close || close == name || close - name >= 64)
        return error_set(e, ERROR_model, "'\\%c' in a pattern must have a name in braces",
                         text[*at + 1]);
    memcpy(word, name, (size_t)(close - name));
    word[close - name] = 0;
    *at = (size_t)(close - text) + 1;
    return 0;
}

int
pattern_named(const char *word, struct pattern_set *s)
{
    *s = (struct pattern_set){.categories = pattern_categories(word)};
    if (strcasecmp(word, "Han") == 0 || strcasecmp(word, "Hani") == 0)
        s->flag = UNICODE_han;
    return s->categories || s->flag;
}

int
pattern_class_nests(const char *text, size_t at)
{
    for (at++; text[at] && text[at] != ']'; at++) {
        if (text[at] == '[' || (text[at] == '&' && text[at + 1] == '&'))
            return 1;
        if (text[at] == '\\' && text[at + 1])
            at++;
    }
    return 0;
}

static void
add_set(uint64_t *bits, const struct pattern_set *s, int negative)
{
    const uint16_t *flags = unicode_flags();

    for (uint32_t c = 0; c < UNICODE_END; c++)
        if (pattern_set_holds(s, c, flags[c]) != negative)
            bits[c / 64] |= 1ull << (c % 64);
}

/* One character of a class, escaped or not, into *C. */
static int
read_character(const char *text, size_t *at, uint32_t *c, struct error *e)
{
    static const char letters[] = "ntrfae", meant[] = "\n\t\r\f\a\x1b";
    const char *found;
    size_t length;
    char *end;

    if (text[*at] != '\\') {
        *c = unicode_at(span_text(text), *at, &length);
        *at += length;
        return 0;
    }
    found = text[*at + 1] ? strchr(letters, text[*at + 1]) : NULL;
    if (found) {
        *c = (uint32_t)meant[found - letters];
        *at += 2;
    } else if (text[*at + 1] == 'x' || text[*at + 1] == 'u') {
        int braces = text[*at + 2] == '{';
        char digits[9] = "";

        memcpy(digits, text + *at + 2 + braces,
               strnlen(text + *at + 2 + braces, braces                 ? 8
                                                : text[*at + 1] == 'x' ? 2
                                                                       : 4));
        *c = (uint32_t)strtoul(digits, &end, 16);
        *at += 2 + (size_t)(end - digits) + 2 * (size_t)braces;
        if (end == digits || *c >= UNICODE_END || (braces && text[*at - 1] != '}'))
            return error_set(e, ERROR_model, "a code point in a pattern is not understood");
    } else if (text[*at + 1] && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ", text[*at + 1])) {
        *c = (unsigned char)text[*at + 1];
        *at += 2;
    } else {
        return error_set(e, ERROR_model, "'\\%c' inside nested brackets is not understood",
                         text[*at + 1]);
    }
    return 0;
}

/* One character, range or escape of a class. */
static int
read_item(const char *text, size_t *at, uint64_t *bits, struct error *e)
{
    struct pattern_set set;
    uint32_t low, high;
    char word[64];
    int negative;

    if (text[*at] == '\\' && (text[*at + 1] | 32) == 'p') {
        if (pattern_property(text, at, word, &negative, e))
            return ERROR_model;
        if (!pattern_named(word, &set))
            return error_set(e, ERROR_model, "'\\p{%s}' inside nested brackets is not understood",
                             word);
        add_set(bits, &set, negative);
        return 0;
    }
    if (text[*at] == '\\' && pattern_escape(text[*at + 1], 1, &set, &negative)) {
        *at += 2;
        add_set(bits, &set, negative);
        return 0;
    }
    if (read_character(text, at, &low, e))
        return ERROR_model;
    high = low;
    if (text[*at] == '-' && text[*at + 1] && !strchr("]&[", text[*at + 1])) {
        (*at)++;
        if (read_character(text, at, &high, e))
            return ERROR_model;
    }
    if (high < low)
        return error_set(e, ERROR_model, "a range in a pattern ends before it begins");
    for (uint32_t c = low; c <= high; c++)
        bits[c / 64] |= 1ull << (c % 64);
    return 0;
}

/* The class from behind its '[' on, into BITS. */
static int
read_class(const char *text, size_t *at, uint64_t *bits, int depth, struct error *e)
{
    uint64_t *both = xarray(WORDS, 8), *inner = xarray(WORDS, 8);
    int negative = text[*at] == '^', rc = 0;

    memset(both, 0xff, WORDS * 8);
    *at += (size_t)negative;
    if (text[*at] == ']' || depth > PATTERN_CLASS_DEPTH)
        rc = error_set(e, ERROR_model, "an empty or too deep class in a pattern is not understood");
    while (rc == 0 && text[*at] != ']') {
        if (!text[*at]) {
            rc = error_set(e, ERROR_model, "pattern: a class is not closed");
        } else if (text[*at] == '[' && text[*at + 1] == ':') {
            rc = error_set(e, ERROR_model, "'[:' in a pattern is not understood");
        } else if (text[*at] == '[') {
            (*at)++;
            memset(inner, 0, WORDS * 8);
            rc = read_class(text, at, inner, depth + 1, e);
            for (size_t i = 0; i < WORDS; i++)
                bits[i] |= inner[i];
        } else if (text[*at] == '&' && text[*at + 1] == '&') {
            *at += 2;
            for (size_t i = 0; i < WORDS; i++)
                both[i] &= bits[i], bits[i] = 0;
        } else {
            rc = read_item(text, at, bits, e);
        }
    }
    *at += rc == 0;
    for (size_t i = 0; i < WORDS; i++)
        bits[i] = negative ? ~(bits[i] & both[i]) : bits[i] & both[i];
    free(both);
    free(inner);
    return rc;
}

int
pattern_class(const char *text, size_t *at, struct buffer *out, struct error *e)
{
    uint64_t *bits = xarray(WORDS, 8);
    uint32_t first = UNICODE_END;
    int rc, empty = 1;

    (*at)++;
    rc = read_class(text, at, bits, 1, e);
    buffer_text(out, "[");
    for (uint32_t c = 0; c <= UNICODE_END && rc == 0; c++) {
        int in = c < UNICODE_END && (c < 0xd800 || c > 0xdfff) && (bits[c / 64] >> (c % 64) & 1);

        if (in && first == UNICODE_END)
            first = c;
        if (!in && first < UNICODE_END) {
            buffer_print(out, first == c - 1 ? "\\x{%x}" : "\\x{%x}-\\x{%x}", first, c - 1);
            first = UNICODE_END;
            empty = 0;
        }
    }
    buffer_text(out, empty ? "^\\x{0}-\\x{10ffff}]" : "]");
    free(bits);
    return rc;
}
