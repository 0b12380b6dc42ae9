/* message_check: walks raw msgpack with budgets and allocates nothing. Everything that came over a
 * socket, out of a file or from a child passes here first. */
#include <string.h>

#include "graph/message_table.h"

/* What the byte at the start of a value announces. */
struct head {
    size_t   length;    /* of the header itself */
    uint64_t body;      /* bytes that follow it: text, bin, ext, numbers */
    uint64_t children;  /* values that follow: elements, keys and values */
    int      container;
};

static uint64_t
big_endian(const unsigned char *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Types 0xc0..0xdf by row: bytes of a length field, fixed bytes, what it is. */
static const struct form {
    unsigned char width, fixed;
    char          what;     /* s scalar, b body, e ext (a byte more), a array, m map, - never */
} forms[32] = {
    {0, 0, 's'}, {0, 0, '-'}, {0, 0, 's'}, {0, 0, 's'},     /* nil, never used, false, true */
    {1, 0, 'b'}, {2, 0, 'b'}, {4, 0, 'b'},                  /* bin */
    {1, 0, 'e'}, {2, 0, 'e'}, {4, 0, 'e'},                  /* ext */
    {0, 4, 's'}, {0, 8, 's'},                               /* float */
    {0, 1, 's'}, {0, 2, 's'}, {0, 4, 's'}, {0, 8, 's'},     /* unsigned */
    {0, 1, 's'}, {0, 2, 's'}, {0, 4, 's'}, {0, 8, 's'},     /* signed */
    {0, 2, 's'}, {0, 3, 's'}, {0, 5, 's'}, {0, 9, 's'}, {0, 17, 's'},   /* fixext: type and body */
    {1, 0, 'b'}, {2, 0, 'b'}, {4, 0, 'b'},                  /* str */
    {2, 0, 'a'}, {4, 0, 'a'}, {2, 0, 'm'}, {4, 0, 'm'},
};

/* -> 0, or -1: truncated, -2: the byte that msgpack never uses. */
static int
head_read(const unsigned char *p, size_t left, struct head *h)
{
    const struct form *f;
    uint64_t           n;

    *h = (struct head){.length = 1};
    if (left == 0)
        return -1;
    if (p[0] < 0x80 || p[0] >= 0xe0)
        return 0;
    if (p[0] < 0xa0) {
        h->container = 1;
        h->children = (p[0] & 0x0fu) * (p[0] < 0x90 ? 2u : 1u);
        return 0;
    }
    if (p[0] < 0xc0) {
        h->body = p[0] & 0x1fu;
        return 0;
    }
    f = &forms[p[0] - 0xc0];
    if (f->what == '-')
        return -2;
    if (left < 1u + f->width)
        return -1;
    n = big_endian(p + 1, f->width);
    h->length = 1u + f->width;
    h->body = f->fixed;
    if (f->what == 'b' || f->what == 'e')
        h->body = n + (f->what == 'e');
    if (f->what == 'a' || f->what == 'm') {
        h->container = 1;
        h->children = n * (f->what == 'm' ? 2 : 1);
    }
    return 0;
}

int
message_check(struct span bytes, struct error *e)
{
    const unsigned char *p = (const unsigned char *)bytes.at;
    uint64_t             left[MESSAGE_DEPTH_MAX + 1];
    uint64_t             elements = 0;
    size_t               at = 0;
    int                  depth = 0;

    if (bytes.length > (size_t)MESSAGE_BYTES_MAX)
        return error_set(e, ERROR_input, "message of %zu bytes is above %lld", bytes.length,
                         (long long)MESSAGE_BYTES_MAX);
    left[0] = 1;
    while (depth >= 0) {
        struct head h;
        int         rc;

        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        rc = head_read(p + at, bytes.length - at, &h);
        if (rc == -2)
            return error_set(e, ERROR_input, "byte %zu: 0xc1 is not msgpack", at);
        if (rc != 0 || h.body > bytes.length - at - h.length)
            return error_set(e, ERROR_input, "message is cut off at byte %zu", bytes.length);
        at += h.length + (size_t)h.body;
        if (++elements + h.children > (uint64_t)MESSAGE_ELEMENTS_MAX)
            return error_set(e, ERROR_input, "message has more than %lld elements",
                             (long long)MESSAGE_ELEMENTS_MAX);
        if (h.children > bytes.length - at)     /* each is at least one byte */
            return error_set(e, ERROR_input, "message is cut off at byte %zu", bytes.length);
        if (!h.container)
            continue;
        if (depth == MESSAGE_DEPTH_MAX)
            return error_set(e, ERROR_input, "message is nested deeper than %d", MESSAGE_DEPTH_MAX);
        left[++depth] = h.children;
    }
    if (at != bytes.length)
        return error_set(e, ERROR_input, "%zu bytes after the end of the message",
                         bytes.length - at);
    return 0;
}

size_t
message_skip(struct span bytes, size_t at)
{
    struct head h;

    for (uint64_t pending = 1; pending > 0 && at < bytes.length; pending--) {
        if (head_read((const unsigned char *)bytes.at + at, bytes.length - at, &h) != 0)
            return bytes.length;
        at += h.length + (size_t)h.body;
        pending += h.children;
    }
    return at < bytes.length ? at : bytes.length;
}

size_t
message_header_length(struct span bytes)
{
    struct head h;

    return head_read((const unsigned char *)bytes.at, bytes.length, &h) == 0 ? h.length
                                                                             : bytes.length;
}
