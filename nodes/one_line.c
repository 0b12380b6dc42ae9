/* one_line: characters by the table of well-formed UTF-8 (Unicode, table 3-7). */
#include "nodes/one_line.h"

#include <string.h>

/* Length of the valid UTF-8 character at `at`, 0 where it is none. */
static size_t
character(const unsigned char *at, size_t left)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    unsigned second_min = 0x80, second_max = 0xbf;

    if (at[0] > 0xf4 || length > left)
        return 0;
    if (at[0] == 0xe0)
        second_min = 0xa0;
    else if (at[0] == 0xed)
        second_max = 0x9f;
    else if (at[0] == 0xf0)
        second_min = 0x90;
    else if (at[0] == 0xf4)
        second_max = 0x8f;
    for (size_t i = 1; i < length; i++)
        if (i == 1 ? at[1] < second_min || at[1] > second_max : at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return length;
}

struct span
one_line(struct span text, size_t most, struct arena *arena)
{
    const unsigned char *at = (const unsigned char *)text.at;
    char *out = arena_take(arena, most + 1);
    size_t length = 0;

    for (size_t i = 0; i < text.length;) {
        size_t n = character(at + i, text.length - i);
        if (length + (n ? n : 1) > most)
            break;
        if (n == 0) {
            out[length++] = '?';
        } else if (n == 1 && (at[i] < 0x20 || at[i] == 0x7f)) {
            out[length++] = ' ';
        } else {
            memcpy(out + length, at + i, n);
            length += n;
        }
        i += n ? n : 1;
    }
    while (length && out[length - 1] == ' ')
        length--;
    return span_of(out, length);
}

/* How many bytes from `at` on stand for themselves in a JSON string: printable ASCII but two. */
static size_t
plain_run(const unsigned char *at, size_t left)
{
    size_t n = 0;

    while (n < left && at[n] >= 0x20 && at[n] < 0x80 && at[n] != '"' && at[n] != '\\')
        n++;
    return n;
}

static void
add_escape(unsigned char c, struct buffer *out)
{
    static const char letters[32] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    char escape[] = {'\\', (char)c};

    if (c >= 0x20) {
        buffer_add(out, escape, 2);
    } else if (letters[c]) {
        escape[1] = letters[c];
        buffer_add(out, escape, 2);
    } else {
        buffer_print(out, "\\u%04X", c);
    }
}

bool
json_string_write(struct span text, struct buffer *out)
{
    const unsigned char *at = (const unsigned char *)text.at;
    size_t before = out->length;

    buffer_reserve(out, text.length + text.length / 8 + 3);
    buffer_add(out, "\"", 1);
    for (size_t i = 0; i < text.length;) {
        size_t n = plain_run(at + i, text.length - i);
        if (n == 0 && at[i] < 0x80) {
            add_escape(at[i++], out);
            continue;
        }
        n = n ? n : character(at + i, text.length - i);
        if (n == 0) {
            out->length = before;
            return false;
        }
        buffer_add(out, at + i, n);
        i += n;
    }
    buffer_add(out, "\"", 1);
    return true;
}
