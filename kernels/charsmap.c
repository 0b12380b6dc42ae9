#include "kernels/charsmap.h"

#include "kernels/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define CLUSTER_BYTES 6 /* clusters as long are taken apart */

static int
base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int
base64_decode(struct span text, struct buffer *out)
{
    uint32_t bits = 0;
    int held = 0;

    if (text.length % 4)
        return -1;
    for (size_t i = 0; i < 2 && text.length && text.at[text.length - 1] == '='; i++)
        text.length--;
    buffer_reserve(out, text.length / 4 * 3 + 3);
    for (size_t i = 0; i < text.length; i++) {
        int value = base64_value(text.at[i]);

        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            char byte = (char)(bits >> (held - 8) & 255);

            buffer_add(out, &byte, 1);
            held -= 8;
        }
    }
    return 0;
}

static uint32_t
little(const char *at)
{
    const unsigned char *c = (const unsigned char *)at;

    return (uint32_t)c[0] | (uint32_t)c[1] << 8 | (uint32_t)c[2] << 16 | (uint32_t)c[3] << 24;
}

int
charsmap_read(struct charsmap *m, struct span base64, struct error *e)
{
    uint32_t bytes;

    *m = (struct charsmap){0};
    if (base64.length > CHARSMAP_BYTES_MAX)
        return error_set(e, ERROR_limit, "a precompiled_charsmap of more than %d bytes",
                         CHARSMAP_BYTES_MAX);
    if (base64_decode(base64, &m->blob) != 0 || m->blob.length < 8) {
        charsmap_free(m);
        return error_set(e, ERROR_model, "precompiled_charsmap is not base64 of a charsmap");
    }
    bytes = little(m->blob.at);
    if (bytes < 4 || bytes % 4 || bytes > m->blob.length - 4) {
        charsmap_free(m);
        return error_set(e, ERROR_model, "precompiled_charsmap: an array of %u bytes does not fit",
                         bytes);
    }
    m->unit_count = bytes / 4;
    m->units = xarray(m->unit_count, sizeof(*m->units));
    for (uint32_t i = 0; i < m->unit_count; i++)
        m->units[i] = little(m->blob.at + 4 + (size_t)4 * i);
    m->replacements = span_of(m->blob.at + 4 + bytes, m->blob.length - 4 - bytes);
    for (int c = 1; c < 128; c++) {
        char text = (char)c;
        struct span becomes;

        m->changes[c] = (unsigned char)charsmap_find(m, span_of(&text, 1), &becomes);
    }
    return 0;
}

void
charsmap_free(struct charsmap *m)
{
    buffer_free(&m->blob);
    free(m->units);
    *m = (struct charsmap){0};
}

static uint32_t
offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 0x200) >> 6);
}

/* The array may be anyone's: a place outside it, or a replacement that is not UTF-8, is no match. */
int
charsmap_find(const struct charsmap *m, struct span text, struct span *becomes)
{
    uint32_t at = offset_of(m->units[0]);

    for (size_t i = 0; i < text.length && text.at[i]; i++) {
        unsigned char c = (unsigned char)text.at[i];
        uint32_t unit;

        at ^= c;
        unit = at < m->unit_count ? m->units[at] : 0;
        if ((unit & 0x800000ffu) != c)
            return 0;
        at ^= offset_of(unit);
        if (unit >> 8 & 1) {
            size_t from = at < m->unit_count ? m->units[at] & 0x7fffffffu : SIZE_MAX;
            const char *end;

            if (from > m->replacements.length)
                return 0;
            end = memchr(m->replacements.at + from, 0, m->replacements.length - from);
            *becomes = span_of(m->replacements.at + from,
                               end ? (size_t)(end - m->replacements.at) - from
                                   : m->replacements.length - from);
            return unicode_is_utf8(*becomes);
        }
    }
    return 0;
}

/* Characters as they are written, and the reference's way of aligning them: each with a change, 1
 * for one that is new, 0 for one that stands for the source's next, -n for one that takes n more of
 * them away. A character that became nothing lowers the change of the one before it, whatever that
 * was, and is not counted where there is none: what follows is then shifted. */
struct writer {
    struct span text;
    struct rewrite *r;
    size_t at;         /* in the source: the next character to be replaced */
    struct span last;  /* the character that waits for its change */
    int64_t change;
    int held;
};

static void
skip(struct writer *w)
{
    size_t length;

    if (w->at < w->text.length) {
        (void)unicode_at(w->text, w->at, &length);
        w->at += length;
    }
}

static void
flush(struct writer *w)
{
    size_t from = 0, to = w->at;

    if (!w->held)
        return;
    if (w->change <= 0) {
        from = w->at;
        skip(w);
        to = w->at;
    } else if (w->at > 0) {
        (void)unicode_before(w->text, w->at, &from);
    }
    rewrite_align(w->r, w->text, from, to, w->last);
    for (; w->change < 0; w->change++)
        skip(w);
    w->held = 0;
}

static void
put(struct writer *w, struct span character, int new)
{
    flush(w);
    w->last = character;
    w->change = new;
    w->held = 1;
}

static size_t
characters(struct span text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.at[i] & 0xc0) != 0x80;
    return count;
}

/* BECOMES is written for OLD characters of the source. */
static void
put_all(struct writer *w, size_t old, struct span becomes)
{
    size_t count = characters(becomes), length, i = 0;

    for (size_t at = 0; at < becomes.length; at += length) {
        (void)unicode_at(becomes, at, &length);
        put(w, span_of(becomes.at + at, length), i++ >= old);
    }
    if (count < old && w->held)
        w->change -= (int64_t)(old - count);
}

static void
run_cluster(const struct charsmap *m, struct span cluster, struct writer *w)
{
    struct span becomes;
    size_t length;

    if (cluster.length < CLUSTER_BYTES && charsmap_find(m, cluster, &becomes)) {
        put_all(w, characters(cluster), becomes);
        return;
    }
    for (size_t at = 0; at < cluster.length; at += length) {
        struct span one;

        (void)unicode_at(cluster, at, &length);
        one = span_of(cluster.at + at, length);
        if (charsmap_find(m, one, &becomes))
            put_all(w, 1, becomes);
        else
            put(w, one, 0);
    }
}

static size_t
cluster_end(struct span text, size_t at)
{
    size_t length;
    int32_t state = 0;
    uint32_t c = unicode_at(text, at, &length), next;

    for (at += length; at < text.length; at += length) {
        next = unicode_at(text, at, &length);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
        c = next;
    }
    return at;
}

/* A printable ASCII character before another is a cluster that nothing changes. */
static int
is_plain(const struct charsmap *m, struct span text, size_t at)
{
    unsigned char c = (unsigned char)text.at[at];
    unsigned char next = at + 1 < text.length ? (unsigned char)text.at[at + 1] : ' ';

    return c >= 0x20 && c < 0x7f && !m->changes[c] && next >= 0x20 && next < 0x7f;
}

/* Does nothing change? */
static int
is_unchanged(const struct charsmap *m, struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if (!is_plain(m, text, i))
            return 0;
    return 1;
}

void
charsmap_run(const struct charsmap *m, struct span text, struct rewrite *r)
{
    struct writer w = {.text = text, .r = r};
    size_t end;

    if (is_unchanged(m, text)) {
        rewrite_keep(r, text);
        return;
    }
    for (size_t at = 0; at < text.length; at = end) {
        end = at + 1;
        if (is_plain(m, text, at)) {
            put(&w, span_of(text.at + at, 1), 0);
            continue;
        }
        end = cluster_end(text, at);
        run_cluster(m, span_of(text.at + at, end - at), &w);
    }
    flush(&w);
    end = rewrite_next(r);
    if (end < text.length) /* what became nothing */
        rewrite_edit(r, text, end, text.length, span_of(text.at, 0));
}
