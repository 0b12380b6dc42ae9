#include "kernels/scanner.h"

#include "kernels/unicode.h"

#include <string.h>

const char scanner_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

#define CHAT(digits)                                                                               \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

enum scanner
scanner_of(const char *pattern)
{
    if (strcmp(pattern, scanner_gpt2) == 0)
        return SCANNER_gpt2;
    if (strcmp(pattern, CHAT("\\p{N}{1,3}")) == 0)
        return SCANNER_llama3;
    if (strcmp(pattern, CHAT("\\p{N}")) == 0)
        return SCANNER_qwen2;
    return SCANNER_none;
}

/* What the patterns tell apart. */
enum kind { OTHER, LETTER, NUMBER, SPACE };

static const uint8_t kinds[UNICODE_CATEGORIES] = {
    [UNICODE_Ll] = LETTER, [UNICODE_Lm] = LETTER, [UNICODE_Lo] = LETTER, [UNICODE_Lt] = LETTER,
    [UNICODE_Lu] = LETTER, [UNICODE_Nd] = NUMBER, [UNICODE_Nl] = NUMBER, [UNICODE_No] = NUMBER,
    [UNICODE_Zl] = SPACE,  [UNICODE_Zp] = SPACE,  [UNICODE_Zs] = SPACE,
};

#define O OTHER
#define L LETTER
#define N NUMBER
#define S SPACE
static const uint8_t ascii[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef O
#undef L
#undef N
#undef S

struct text {
    const unsigned char *at;
    size_t end;
    const uint16_t *flags;
};

/* The kind of the character at AT, its bytes in *LENGTH. */
static inline enum kind
kind_at(const struct text *t, size_t at, size_t *length)
{
    const unsigned char *c = t->at + at;
    uint32_t point;

    if (c[0] < 0x80) {
        *length = 1;
        return (enum kind)ascii[c[0]];
    }
    if (c[0] < 0xe0) {
        *length = 2;
        point = (c[0] & 31u) << 6 | (c[1] & 63u);
        if (point == 0x85) /* the one control beyond ASCII that is a space */
            return SPACE;
    } else if (c[0] < 0xf0) {
        *length = 3;
        point = (c[0] & 15u) << 12 | (c[1] & 63u) << 6 | (c[2] & 63u);
    } else {
        *length = 4;
        point = (c[0] & 7u) << 18 | (c[1] & 63u) << 12 | (c[2] & 63u) << 6 | (c[3] & 63u);
    }
    return (enum kind)kinds[t->flags[point] & UNICODE_category];
}

/* Where a run of KIND from AT ends. */
static inline size_t
run(const struct text *t, size_t at, enum kind kind)
{
    size_t length;

    while (at < t->end && kind_at(t, at, &length) == kind)
        at += length;
    return at;
}

/* The end of 's 't 're 've 'm 'll 'd after the apostrophe at AT; 0: none. FOLD: of either case, the
 * long s too. */
static size_t
contraction(const struct text *t, size_t at, int fold)
{
    const unsigned char *c = t->at + at + 1;
    size_t left = t->end - at - 1;
    unsigned a, b;

    if (left == 0)
        return 0;
    if (fold && left >= 2 && c[0] == 0xc5 && c[1] == 0xbf)
        return at + 3;
    a = fold && c[0] < 0x80 ? c[0] | 32u : c[0];
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    if (left < 2)
        return 0;
    b = fold && c[1] < 0x80 ? c[1] | 32u : c[1];
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : 0;
}

/* White space from AT: \s+(?!\S)|\s+, the last one stays for the word after it. LINES: but
 * \s*[\r\n]+ first. */
static size_t
spaces(const struct text *t, size_t at, int lines)
{
    size_t last = at, after_line = 0, end = at, length;

    while (end < t->end && kind_at(t, end, &length) == SPACE) {
        last = end;
        end += length;
        if (t->at[last] == '\n' || t->at[last] == '\r')
            after_line = end;
    }
    if (lines && after_line)
        return after_line;
    return end == t->end || last == at ? end : last;
}

static size_t
next_gpt2(const struct text *t, size_t at)
{
    size_t length, end;
    enum kind kind = kind_at(t, at, &length);

    if (t->at[at] == '\'') {
        end = contraction(t, at, 0);
        if (end)
            return end;
    }
    if (kind != SPACE)
        return run(t, at + length, kind);
    if (t->at[at] == ' ' && at + 1 < t->end) {
        kind = kind_at(t, at + 1, &length);
        if (kind != SPACE)
            return run(t, at + 1 + length, kind);
    }
    return spaces(t, at, 0);
}

/* Signs, and the line ends after them. */
static size_t
signs(const struct text *t, size_t at)
{
    at = run(t, at, OTHER);
    while (at < t->end && (t->at[at] == '\n' || t->at[at] == '\r'))
        at++;
    return at;
}

static size_t
next_chat(const struct text *t, size_t at, int digits)
{
    size_t length, more, end;
    enum kind kind = kind_at(t, at, &length);

    if (kind == LETTER)
        return run(t, at + length, LETTER);
    if (t->at[at] == '\'') {
        end = contraction(t, at, 1);
        if (end)
            return end;
    }
    end = at + length;
    if (kind == NUMBER) {
        while (--digits && end < t->end && kind_at(t, end, &more) == NUMBER)
            end += more;
        return end;
    }
    if (end < t->end && t->at[at] != '\n' && t->at[at] != '\r') {
        enum kind next = kind_at(t, end, &more);

        if (next == LETTER)
            return run(t, end + more, LETTER);
        if (t->at[at] == ' ' && next == OTHER)
            return signs(t, end);
    }
    return kind == OTHER ? signs(t, at) : spaces(t, at, 1);
}

size_t
scanner_next(enum scanner s, const unsigned char *text, size_t at, size_t end,
             const uint16_t *flags)
{
    struct text t = {text, end, flags};

    if (s == SCANNER_gpt2)
        return next_gpt2(&t, at);
    return next_chat(&t, at, s == SCANNER_llama3 ? 3 : 1);
}
