/* Oniguruma's words (Ruby's syntax) in PCRE2's; what would mean something else is refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "kernels/pattern.h"

#include "kernels/pattern_set.h"
#include "kernels/unicode.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The set as ranges, or (NEGATIVE) all that it lacks; with ONLY, but for characters without that
 * flag. Surrogates are left out: no text holds one. */
static void
add_ranges(struct buffer *out, const struct pattern_set *s, int negative, uint16_t only)
{
    const uint16_t *flags = unicode_flags();
    uint32_t first = UNICODE_END;

    for (uint32_t c = 0; c <= UNICODE_END; c++) {
        int in = c < UNICODE_END && (c < 0xd800 || c > 0xdfff) &&
                 pattern_set_holds(s, c, flags[c]) != negative && (!only || (flags[c] & only));

        if (in && first == UNICODE_END)
            first = c;
        if (!in && first < UNICODE_END) {
            buffer_print(out, first == c - 1 ? "\\x{%x}" : "\\x{%x}-\\x{%x}", first, c - 1);
            first = UNICODE_END;
        }
    }
}

/* PCRE2's own property where that plus what is newer makes the same set: shorter and faster than
 * ranges. U+1171E went from Mn to Mc after Unicode 14, and C loses what is newer; a PCRE2 with a
 * later version than the reference's 16 would have too much. */
static int
is_native(const char *name)
{
    char version[64] = "";

    if (pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, NULL) > (int)sizeof(version) ||
        pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version) < 0 || atoi(version) > 16)
        return 0;
    return strcmp(name, "Mn") && strcmp(name, "Mc") && strcmp(name, "Cn") && strcmp(name, "C");
}

static void
add_set(struct buffer *out, const struct pattern_set *s, const char *native, int negative,
        int in_class)
{
    if (in_class && negative) {
        add_ranges(out, s, 1, 0);
        return;
    }
    if (!in_class)
        buffer_text(out, negative ? "[^" : "[");
    if (native)
        buffer_print(out, "\\p{%s}", native);
    add_ranges(out, s, 0, native ? UNICODE_newer : 0);
    if (!in_class)
        buffer_text(out, "]");
}

/* \p{Name} and \P{Name} at TEXT[*at]; what is no general category is passed on. */
static int
translate_property(const char *text, size_t *at, int in_class, struct buffer *out, struct error *e)
{
    char word[64];
    int negative, native;
    struct pattern_set set;

    if (pattern_property(text, at, word, &negative, e))
        return ERROR_model;
    if (!pattern_named(word, &set)) {
        buffer_print(out, "\\%c{%s}", negative ? 'P' : 'p', word);
        return 0;
    }
    if (word[0] >= 'a')
        word[0] = (char)(word[0] - 'a' + 'A');
    if (word[1] >= 'A' && word[1] <= 'Z')
        word[1] = (char)(word[1] - 'A' + 'a');
    native = set.categories && is_native(word);
    add_set(out, &set, native ? word : NULL, negative, in_class);
    return 0;
}

/* \b and \B with the reference's word characters. */
static void
translate_boundary(int negative, struct buffer *out)
{
    struct pattern_set word = {.flag = UNICODE_word};
    struct buffer class = {0};

    add_set(&class, &word, NULL, 0, 0);
    buffer_add(&class, "", 1);
    buffer_print(out,
                 negative ? "(?:(?<=%s)(?=%s)|(?<!%s)(?!%s))" : "(?:(?<=%s)(?!%s)|(?<!%s)(?=%s))",
                 class.at, class.at, class.at, class.at);
    buffer_free(&class);
}

/* \uHHHH, which PCRE2 writes otherwise. */
static int
translate_u(const char *text, size_t *at, struct buffer *out, struct error *e)
{
    if (strspn(text + *at + 2, "0123456789abcdefABCDEF") < 4)
        return error_set(e, ERROR_model, "'\\u' in a pattern must have four digits");
    buffer_print(out, "\\x{%.4s}", text + *at + 2);
    *at += 6;
    return 0;
}

/* An escape of the pattern at TEXT[*at] == '\\', inside a class or not. */
static int
translate_escape(const char *text, size_t *at, int in_class, struct buffer *out, struct error *e)
{
    const char *refused = in_class ? "bBvVRXKGCgkyYNO" : "vVRXKGCgkyYNO";
    char c = text[*at + 1];
    struct pattern_set set;
    int negative;

    if (c && strchr(refused, c))
        return error_set(e, ERROR_model, "'\\%c' in a pattern is not understood", c);
    if ((c | 32) == 'p')
        return translate_property(text, at, in_class, out, e);
    if (c == 'u')
        return translate_u(text, at, out, e);
    *at += c ? 2 : 1;
    if ((c | 32) == 'b')
        translate_boundary(c == 'B', out);
    else if (pattern_escape(c, in_class, &set, &negative))
        add_set(out, &set, set.categories && is_native("Nd") ? "Nd" : NULL, negative, in_class);
    else
        buffer_print(out, "\\%c", c);
    return 0;
}

/* Does a group that TEXT begins, after its "(", mean something else to PCRE2 or run code of its
 * own? Only groups of names, options, looking around and atoms are the same. */
static int
is_refused_group(const char *text)
{
    if (*text == '*')
        return 1;
    if (*text != '?' || strchr("=!:>", text[1]))
        return *text == '?' && !text[1];
    if (text[1] == '<')
        return 0;
    text++;
    text += strspn(text, "imx-");
    return *text != ':' && *text != ')';
}

/* What stands outside of brackets and is no escape, at TEXT[*at]. */
static int
translate_outside(const char *text, size_t *at, struct buffer *out, struct error *e)
{
    char c = text[*at];

    if (c == '(' && is_refused_group(text + *at + 1))
        return error_set(e, ERROR_model, "'(%.2s' in a pattern is not understood", text + *at + 1);
    if (c == '(' && text[*at + 1] == '?' && strspn(text + *at + 2, "imx-")) {
        buffer_text(out, "(?"); /* Ruby's m lets a dot match line ends: PCRE2's s */
        for (*at += 2; text[*at] && strchr("imx-", text[*at]); (*at)++)
            buffer_add(out, text[*at] == 'm' ? "s" : &text[*at], 1);
        return 0;
    }
    if (c == '}' && text[*at + 1] == '+')
        return error_set(e, ERROR_model, "'}+' in a pattern is not understood");
    if (c == '{' && text[*at + 1] == ',') { /* none or more, to PCRE2 the letters themselves */
        buffer_text(out, "{0");
        (*at)++;
        return 0;
    }
    buffer_add(out, &c, 1);
    (*at)++;
    return 0;
}

int
pattern_translate(const char *text, struct buffer *out, struct error *e)
{
    int in_class = 0, rc = 0;

    for (size_t i = 0; text[i] && rc == 0;) {
        char c = text[i];

        if (c == '\\') {
            rc = translate_escape(text, &i, in_class, out, e);
        } else if (!in_class && c != '[') {
            rc = translate_outside(text, &i, out, e);
        } else if (!in_class && pattern_class_nests(text, i)) {
            rc = pattern_class(text, &i, out, e);
        } else if (in_class) {
            in_class = c != ']';
            buffer_add(out, &text[i++], 1);
        } else {
            in_class = 1;
            buffer_add(out, &text[i++], 1);
            if (text[i] == '^')
                buffer_add(out, &text[i++], 1);
            if (text[i] == ']')
                rc = error_set(e, ERROR_model, "an empty class in a pattern is not understood");
        }
        if (rc == 0 && out->length > PATTERN_BYTES_MAX) /* "\b" alone is 50 KB of ranges */
            rc = error_set(e, ERROR_limit, "a pattern of more than %d bytes when written as ranges",
                           PATTERN_BYTES_MAX);
    }
    buffer_add(out, "", 1);
    return rc;
}
