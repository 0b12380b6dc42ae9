#include "kernels/nfc.h"

#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Characters below never change, nor join what stands before them. */
static const uint32_t inert_below[] = {0x300, 0xc0, 0xa0, 0xa0};

static const utf8proc_option_t options[] = {
    UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

/* May C join what stands before it? Marks do, and the vowels and finals of Hangul. */
static int
joins_left(uint32_t c)
{
    const utf8proc_property_t *property;

    if (c < 0x300)
        return 0;
    if (c >= 0x1160 && c <= 0x11ff)
        return 1;
    property = utf8proc_get_property((utf8proc_int32_t)c);
    return property->category == UTF8PROC_CATEGORY_MN ||
           property->category == UTF8PROC_CATEGORY_MC || property->combining_class != 0;
}

/* May C alone change? */
static int
changes(enum nfc_form form, uint32_t c)
{
    if (c < inert_below[form])
        return 0;
    if (c >= 0xac00 && c <= 0xd7a3) /* a Hangul syllable composes to itself */
        return form == NFC_decomposed || form == NFC_compatible_decomposed;
    return utf8proc_get_property((utf8proc_int32_t)c)->decomp_seqindex != UINT16_MAX;
}

static void
add_stretch(struct rewrite *r, enum nfc_form form, struct span text, size_t from, size_t to)
{
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text.at + from,
                                           (utf8proc_ssize_t)(to - from), &made, options[form]);

    if (length < 0)
        rewrite_keep(r, span_of(text.at + from, to - from));
    else
        rewrite_edit(r, text, from, to, span_of(made, (size_t)length));
    free(made);
}

/* Eight ASCII bytes at a time: where the first other byte may stand. */
static size_t
skip_ascii(struct span text, size_t at)
{
    uint64_t word;

    for (; at + 8 < text.length; at += 8) {
        memcpy(&word, text.at + at, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    return at;
}

void
nfc_normalise(struct rewrite *r, enum nfc_form form, struct span text)
{
    const uint16_t *flags = unicode_flags();
    size_t at = 0, plain = 0;

    rewrite_clear(r);
    buffer_reserve(&r->text, text.length);
    while (at < text.length) {
        size_t length, end;
        uint32_t c = unicode_at(text, at, &length);
        int inert = flags[c] & UNICODE_inert;
        int simple = inert || (!changes(form, c) && !joins_left(c));

        for (end = at + length; end < text.length && !inert; end += length) {
            if ((unsigned char)text.at[end] < 0xcc)
                break;
            c = unicode_at(text, end, &length);
            if ((flags[c] & UNICODE_inert) || !joins_left(c))
                break;
            simple = 0;
        }
        if (!simple) {
            rewrite_keep(r, span_of(text.at + plain, at - plain));
            add_stretch(r, form, text, at, end);
            plain = end;
        }
        at = end;
        if (simple) {
            size_t next = skip_ascii(text, at);

            at = next > at ? next - 1 : at; /* the last one may be joined by what follows */
        }
    }
    rewrite_keep(r, span_of(text.at + plain, at - plain));
}
