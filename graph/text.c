/* text: see text.h. One table-free UTF-8 step serves the check and the escaper. */
#include "graph/text.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the well-formed character at `p` with `left` bytes to go (at least 1), or 0. */
static size_t
step(const unsigned char *p, size_t left)
{
    uint32_t c = p[0], low;
    size_t   n;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    low = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
    if (left < n)
        return 0;
    c &= 0x7fu >> n;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < low || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    return n;
}

bool
text_is_utf8(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.at;

    for (size_t i = 0; i < s.length;) {
        uint64_t eight;
        size_t   n = 8;

        /* Most text is ASCII: eight bytes without a high bit need no closer look. */
        if (s.length - i >= sizeof(eight))
            memcpy(&eight, p + i, sizeof(eight));
        if (s.length - i < sizeof(eight) || (eight & 0x8080808080808080))
            n = step(p + i, s.length - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static const char *
escape(unsigned char c, char room[8])
{
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: break;
    }
    if (c >= ' ' && c != 0x7f)
        return NULL;
    snprintf(room, 8, "\\u%04x", c);
    return room;
}

void
text_json(struct buffer *out, struct span s)
{
    const unsigned char *p = (const unsigned char *)s.at;
    size_t               plain = 0;     /* start of the run that needs no change */
    char                 room[8];

    buffer_text(out, "\"");
    for (size_t i = 0; i < s.length;) {
        size_t      n = step(p + i, s.length - i);
        const char *other = n == 0 ? "\xef\xbf\xbd" : n == 1 ? escape(p[i], room) : NULL;

        if (other) {
            buffer_add(out, p + plain, i - plain);
            buffer_text(out, other);
            plain = i + (n ? n : 1);
        }
        i += n ? n : 1;
    }
    if (s.length > plain)
        buffer_add(out, p + plain, s.length - plain);
    buffer_text(out, "\"");
}

void
text_number(struct buffer *out, double value)
{
    char room[40];

    if (!isfinite(value)) {
        buffer_text(out, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(room, sizeof(room), "%.*g", digits, value);
        if (strtod(room, NULL) == value)
            break;
    }
    buffer_text(out, room);
}

void
text_float(struct buffer *out, float value)
{
    char room[40];

    if (!isfinite(value)) {
        buffer_text(out, "null");
        return;
    }
    for (int digits = 3; digits <= 9; digits++) {
        snprintf(room, sizeof(room), "%.*g", digits, (double)value);
        if (strtof(room, NULL) == value)
            break;
    }
    buffer_text(out, room);
}
