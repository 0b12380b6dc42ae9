/* Oniguruma's words (Ruby's syntax) in PCRE2's; what would mean something else is refused. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "kernels/pattern.h"

#include "kernels/unicode.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A set of code points: those whose flags, masked, are one of the wanted categories or not zero. */
struct set {
    uint32_t categories; /* bits by enum unicode_category */
    uint16_t flag;
    int space;
};

static int
holds(const struct set *s, uint32_t c, uint16_t flags)
{
    return (s->categories >> (flags & UNICODE_category) & 1) || (flags & s->flag) ||
           (s->space && unicode_is_space(c));
}

/* The set as ranges, or (NEGATIVE) all that it lacks; with ONLY, but for characters without that
 * flag. Surrogates are left out: no text holds one. */
static void
add_ranges(struct buffer *out, const struct set *s, int negative, uint16_t only)
{
    const uint16_t *flags = unicode_flags();
    uint32_t first = UNICODE_END;

    for (uint32_t c = 0; c <= UNICODE_END; c++) {
        int in = c < UNICODE_END && (c < 0xd800 || c > 0xdfff) &&
                 holds(s, c, flags[c]) != negative && (!only || (flags[c] & only));

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

static uint32_t
categories_of(const char *name)
{
    uint32_t bits = 0;
    size_t length = strlen(name);

    for (int c = 0; c < UNICODE_CATEGORIES && length <= 2; c++)
        if (strncasecmp(unicode_category_name((enum unicode_category)c), name, length) == 0)
            bits |= 1u << c;
    return length ? bits : 0;
}

static void
add_set(struct buffer *out, const struct set *s, const char *native, int negative, int in_class)
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
    int negative = text[*at + 1] == 'P';
    const char *name = text + *at + 3, *close = text[*at + 2] == '{' ? strchr(name, '}') : NULL;
    char word[64];
    struct set set = {0};

    if (close && *name == '^')
        negative = !negative, name++;
    if (!close || close == name || (size_t)(close - name) >= sizeof(word))
        return error_set(e, ERROR_model, "'\\%c' in a pattern must have a name in braces",
                         text[*at + 1]);
    memcpy(word, name, (size_t)(close - name));
    word[close - name] = 0;
    *at = (size_t)(close - text) + 1;
    set.categories = categories_of(word);
    set.flag = strcasecmp(word, "Han") == 0 || strcasecmp(word, "Hani") == 0 ? UNICODE_han : 0;
    if (set.flag) {
        add_set(out, &set, NULL, negative, in_class);
        return 0;
    }
    if (!set.categories) {
        buffer_print(out, "\\%c{%s}", negative ? 'P' : 'p', word);
        return 0;
    }
    if (word[0] >= 'a')
        word[0] = (char)(word[0] - 'a' + 'A');
    if (word[1] >= 'A' && word[1] <= 'Z')
        word[1] = (char)(word[1] - 'A' + 'a');
    add_set(out, &set, is_native(word) ? word : NULL, negative, in_class);
    return 0;
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
    static const char refused[] = "bBvVRXKGCgkyYNO";
    char c = text[*at + 1], kind = (char)(c | 32);
    int negative = c >= 'A' && c <= 'Z';
    struct set set = {0};

    if (c && strchr(refused, c))
        return error_set(e, ERROR_model, "'\\%c' in a pattern is not understood", c);
    if (kind == 'p')
        return translate_property(text, at, in_class, out, e);
    if (c == 'u')
        return translate_u(text, at, out, e);
    *at += c ? 2 : 1;
    if (kind == 's') {
        set.space = 1;
        add_set(out, &set, NULL, negative, in_class);
    } else if (kind == 'w') {
        set.flag = in_class ? UNICODE_word_inside : UNICODE_word;
        add_set(out, &set, NULL, negative, in_class);
    } else if (kind == 'd') {
        set.categories = 1u << UNICODE_Nd;
        add_set(out, &set, "Nd", negative, in_class);
    } else if (c == 'h') {
        buffer_text(out, in_class ? "0-9a-fA-F" : "[0-9a-fA-F]");
    } else if (c == 'H') {
        buffer_text(out, in_class ? "\\x{0}-/:-@G-`g-\\x{10ffff}" : "[^0-9a-fA-F]");
    } else {
        buffer_print(out, "\\%c", c);
    }
    return 0;
}

/* Does a group that TEXT begins, after its "(", mean something else to PCRE2 or run code of its
 * own? Only groups of names, options i and x, looking around and atoms are the same. */
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
    text += strspn(text, "ix-");
    return *text != ':' && *text != ')';
}

/* What stands outside of brackets and is no escape, at TEXT[*at]. */
static int
translate_outside(const char *text, size_t *at, struct buffer *out, struct error *e)
{
    char c = text[*at];

    if (c == '(' && is_refused_group(text + *at + 1))
        return error_set(e, ERROR_model, "'(%.2s' in a pattern is not understood", text + *at + 1);
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
        } else if (in_class && (c == '[' || (c == '&' && text[i + 1] == '&'))) {
            rc = error_set(e, ERROR_model,
                           "nested brackets and '&&' in a pattern are not understood");
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
    }
    buffer_add(out, "", 1);
    return rc;
}
