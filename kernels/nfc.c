#include "kernels/nfc.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define INERT_BELOW 0x300 /* characters below never change, nor join what stands before them */

int
nfc_is_utf8(struct span text)
{
    const unsigned char *at = (const unsigned char *)text.at, *end = at + text.length;

    while (at < end) {
        unsigned char c = *at++;
        int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;

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
nfc_character(struct span text, size_t at, size_t *length)
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

/* May C join what stands before it? Marks do, and the vowels and finals of Hangul. */
static int
joins_left(uint32_t c)
{
    utf8proc_category_t category;

    if (c < INERT_BELOW)
        return 0;
    if (c >= 0x1160 && c <= 0x11ff)
        return 1;
    category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           utf8proc_get_property((utf8proc_int32_t)c)->combining_class != 0;
}

/* Would C alone change? Hangul syllables decompose and compose to themselves. */
static int
decomposes(uint32_t c)
{
    return c >= INERT_BELOW &&
           utf8proc_get_property((utf8proc_int32_t)c)->decomp_seqindex != UINT16_MAX;
}

static void
add_edit(struct nfc *n, size_t start, size_t from, size_t to)
{
    if (n->edit_count == n->edit_room) {
        n->edit_room = n->edit_room ? 2 * n->edit_room : 16;
        n->edits = xresize(n->edits, n->edit_room * sizeof(*n->edits));
    }
    n->edits[n->edit_count++] = (struct nfc_edit){start, n->text.length, from, to};
}

static void
add_stretch(struct nfc *n, struct span text, size_t from, size_t to)
{
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t length =
        utf8proc_map((const utf8proc_uint8_t *)text.at + from, (utf8proc_ssize_t)(to - from),
                     &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    size_t start = n->text.length;

    if (length < 0 ||
        ((size_t)length == to - from && memcmp(composed, text.at + from, to - from) == 0)) {
        buffer_add(&n->text, text.at + from, to - from);
    } else {
        buffer_add(&n->text, composed, (size_t)length);
        add_edit(n, start, from, to);
    }
    free(composed);
}

void
nfc_normalise(struct nfc *n, struct span text)
{
    size_t at = 0, plain = 0;

    buffer_clear(&n->text);
    n->edit_count = 0;
    buffer_reserve(&n->text, text.length);
    while (at < text.length) {
        size_t length, end;
        uint32_t c = nfc_character(text, at, &length);
        int simple = !decomposes(c) && !joins_left(c);

        for (end = at + length; end < text.length; end += length) {
            if ((unsigned char)text.at[end] < 0xcc ||
                !joins_left(nfc_character(text, end, &length)))
                break;
            simple = 0;
        }
        if (!simple) {
            buffer_add(&n->text, text.at + plain, at - plain);
            add_stretch(n, text, at, end);
            plain = end;
        }
        at = end;
    }
    buffer_add(&n->text, text.at + plain, at - plain);
}

void
nfc_free(struct nfc *n)
{
    buffer_free(&n->text);
    free(n->edits);
    *n = (struct nfc){0};
}

/* The last edit that starts before AT (or at it, where AT_TOO); NULL: none. */
static const struct nfc_edit *
edit_before(const struct nfc *n, size_t at, int at_too)
{
    size_t low = 0, high = n->edit_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (n->edits[middle].start < at || (at_too && n->edits[middle].start == at))
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &n->edits[low - 1] : NULL;
}

size_t
nfc_start(const struct nfc *n, size_t at)
{
    const struct nfc_edit *edit = edit_before(n, at, 1);

    if (!edit)
        return at;
    return at < edit->end ? edit->from : edit->to + (at - edit->end);
}

size_t
nfc_end(const struct nfc *n, size_t at)
{
    const struct nfc_edit *edit = edit_before(n, at, 0);

    if (!edit)
        return at;
    return at <= edit->end ? edit->to : edit->to + (at - edit->end);
}
