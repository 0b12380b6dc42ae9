#include "kernels/unicode.h"

#include <pthread.h>
#include <string.h>

static uint16_t flags[UNICODE_END];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct {
    uint32_t first;
    uint16_t flags;
} ranges[] = {
#define R(first, flags) {first, flags},
#define L(first, last, step, delta)
#include "kernels/unicode.def"
#undef R
#undef L
};

static const struct {
    uint32_t first, last, step;
    int32_t delta;
} lower_runs[] = {
#define R(first, flags)
#define L(first, last, step, delta) {first, last, step, delta},
#include "kernels/unicode.def"
#undef R
#undef L
};

#define RANGES (sizeof(ranges) / sizeof(ranges[0]))
#define RUNS   (sizeof(lower_runs) / sizeof(lower_runs[0]))

static void
expand(void)
{
    for (size_t i = 0; i < RANGES; i++) {
        uint32_t end = i + 1 < RANGES ? ranges[i + 1].first : UNICODE_END;

        for (uint32_t c = ranges[i].first; c < end; c++)
            flags[c] = ranges[i].flags;
    }
}

const uint16_t *
unicode_flags(void)
{
    pthread_once(&once, expand);
    return flags;
}

const char *
unicode_category_name(enum unicode_category c)
{
    static const char names[UNICODE_CATEGORIES][3] = {
        "Cn", "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl",
        "No", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs",
    };

    return names[c];
}

int
unicode_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

int
unicode_lower(uint32_t c, uint32_t out[2])
{
    size_t low = 0, high = RUNS;

    out[0] = c;
    if (c == 0x130) { /* the only one that becomes two */
        out[0] = 'i', out[1] = 0x307;
        return 2;
    }
    while (low < high) { /* runs overlap at most in steps: the last that begins at or before C */
        size_t middle = (low + high) / 2;

        if (lower_runs[middle].first <= c)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i-- > 0 && low - i <= 2;)
        if (c <= lower_runs[i].last && (c - lower_runs[i].first) % lower_runs[i].step == 0) {
            out[0] = c + (uint32_t)lower_runs[i].delta;
            break;
        }
    return 1;
}

int
unicode_is_utf8(struct span text)
{
    const unsigned char *at = (const unsigned char *)text.at, *end = at + text.length;

    while (at < end) {
        unsigned char c = *at++;
        int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;
        uint64_t word;

        for (; c < 0x80 && end - at >= 8; at += 8) { /* most text is ASCII */
            memcpy(&word, at, 8);
            if (word & 0x8080808080808080u)
                break;
        }
        if (more < 0 || end - at < more)
            return 0;
        if (more && ((c == 0xe0 && *at < 0xa0) || (c == 0xed && *at > 0x9f) ||
                     (c == 0xf0 && *at < 0x90) || (c == 0xf4 && *at > 0x8f)))
            return 0;
        for (; more; more--)
            if ((*at++ & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

uint32_t
unicode_at(struct span text, size_t at, size_t *length)
{
    const unsigned char *c = (const unsigned char *)text.at + at;

    if (c[0] < 0x80) {
        *length = 1;
        return c[0];
    }
    if (c[0] < 0xe0) {
        *length = 2;
        return (c[0] & 31u) << 6 | (c[1] & 63u);
    }
    if (c[0] < 0xf0) {
        *length = 3;
        return (c[0] & 15u) << 12 | (c[1] & 63u) << 6 | (c[2] & 63u);
    }
    *length = 4;
    return (c[0] & 7u) << 18 | (c[1] & 63u) << 12 | (c[2] & 63u) << 6 | (c[3] & 63u);
}

uint32_t
unicode_before(struct span text, size_t end, size_t *start)
{
    size_t length;

    for (end--; end && ((unsigned char)text.at[end] & 0xc0) == 0x80; end--)
        ;
    *start = end;
    return unicode_at(text, end, &length);
}

void
unicode_add(struct buffer *out, uint32_t c)
{
    char b[4];
    size_t n = 0;

    if (c < 0x80) {
        b[n++] = (char)c;
    } else if (c < 0x800) {
        b[n++] = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        b[n++] = (char)(0xe0 | c >> 12);
        b[n++] = (char)(0x80 | (c >> 6 & 63));
    } else {
        b[n++] = (char)(0xf0 | c >> 18);
        b[n++] = (char)(0x80 | (c >> 12 & 63));
        b[n++] = (char)(0x80 | (c >> 6 & 63));
    }
    if (c >= 0x80)
        b[n++] = (char)(0x80 | (c & 63));
    buffer_add(out, b, n);
}
