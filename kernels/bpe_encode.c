/* One piece of text to tokens: a heap of the merges that apply, and a cache of short pieces in
 * front. */
#include "kernels/bpe.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CACHE_SLOTS  16384 /* 1.5 MB, touched as used */
#define CACHE_BYTES  24    /* of a piece that is kept */
#define CACHE_TOKENS 8

struct bpe_cached {
    char piece[CACHE_BYTES];
    int32_t ids[CACHE_TOKENS];
    uint8_t starts[CACHE_TOKENS], ends[CACHE_TOKENS];
    uint8_t length, count, dropped, used;
};

/* A linked list in an array: a symbol that was merged away has no bytes. */
struct bpe_symbol {
    int32_t id;
    int32_t before, after; /* -1: none */
    size_t start, end;
};

struct bpe_candidate {
    uint32_t rank;
    int32_t at; /* the left symbol */
    int32_t id; /* of the joined token when this was queued */
};

static void
emit(struct bpe_word *w, int32_t id, size_t start, size_t end)
{
    if (w->count == w->room) {
        w->room = w->room ? 2 * w->room : 64;
        w->ids = xresize(w->ids, w->room * sizeof(*w->ids));
        w->starts = xresize(w->starts, w->room * sizeof(*w->starts));
        w->ends = xresize(w->ends, w->room * sizeof(*w->ends));
    }
    w->ids[w->count] = id;
    w->starts[w->count] = start;
    w->ends[w->count++] = end;
}

static size_t
character_length(struct span piece, size_t at)
{
    unsigned char c = (unsigned char)piece.at[at];
    size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

    return length < piece.length - at ? length : piece.length - at;
}

/* The tokens <0xNN> of a character, all or none. */
static int
emit_fallback(const struct bpe *b, struct span character, size_t start, size_t end,
              struct bpe_word *out)
{
    for (size_t i = 0; i < character.length; i++)
        if (b->fallback[(unsigned char)character.at[i]] < 0)
            return 0;
    for (size_t i = 0; i < character.length; i++) {
        size_t from = start + i < end ? start + i : start;

        emit(out, b->fallback[(unsigned char)character.at[i]], from,
             from + 1 < end ? from + 1 : end);
    }
    return 1;
}

/* The piece as single characters' tokens, into OUT. */
static void
start_word(const struct bpe *b, struct span piece, struct bpe_word *out)
{
    size_t unknown_start = 0, unknown_end = 0, length;
    int unknown = 0;

    for (size_t at = 0; at < piece.length; at += length) {
        char mapped[2];
        struct span character;
        int32_t id;

        length = b->byte_level ? 1 : character_length(piece, at);
        character = span_of(piece.at + at, length);
        id = b->byte_level ? b->bytes[(unsigned char)piece.at[at]] : bpe_id(b, character);
        if (b->byte_level && id < 0)
            character =
                span_of(mapped, (size_t)bpe_byte_character((unsigned char)piece.at[at], mapped));
        if (id >= 0) {
            if (unknown)
                emit(out, b->unknown, unknown_start, unknown_end);
            unknown = 0;
            emit(out, id, at, at + length);
        } else if (b->byte_fallback && emit_fallback(b, character, at, at + length, out)) {
            continue;
        } else if (b->unknown < 0) {
            out->dropped++;
        } else {
            if (unknown && !b->fuse_unk)
                emit(out, b->unknown, unknown_start, unknown_end);
            if (!unknown || !b->fuse_unk)
                unknown_start = at;
            unknown_end = at + length;
            unknown = 1;
        }
    }
    if (unknown)
        emit(out, b->unknown, unknown_start, unknown_end);
}

static int
goes_before(const struct bpe_candidate *a, const struct bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void
push(struct bpe *b, size_t *count, struct bpe_candidate c)
{
    size_t i = (*count)++;

    if (*count > b->heap_room) {
        b->heap_room = b->heap_room ? 2 * b->heap_room : 256;
        b->heap = xresize(b->heap, b->heap_room * sizeof(*b->heap));
    }
    for (; i && goes_before(&c, &b->heap[(i - 1) / 2]); i = (i - 1) / 2)
        b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = c;
}

static struct bpe_candidate
pop(struct bpe *b, size_t *count)
{
    struct bpe_candidate top = b->heap[0], last = b->heap[--*count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < *count && goes_before(&b->heap[child + 1], &b->heap[child]))
            child++;
        if (child >= *count || !goes_before(&b->heap[child], &last))
            break;
        b->heap[i] = b->heap[child];
        i = child;
    }
    if (*count)
        b->heap[i] = last;
    return top;
}

static void
propose(struct bpe *b, size_t *count, int32_t left)
{
    const struct bpe_merge *m;
    int32_t right = left < 0 ? -1 : b->symbols[left].after;

    if (right < 0)
        return;
    m = bpe_find_merge(b, b->symbols[left].id, b->symbols[right].id);
    if (m)
        push(b, count, (struct bpe_candidate){m->rank, left, m->id});
}

/* Applies merges to the word in place. */
static void
merge_word(struct bpe *b, struct bpe_word *w)
{
    size_t heap = 0, kept = 0;
    int32_t n = (int32_t)w->count;

    if (w->count > b->symbol_room) {
        b->symbol_room = 2 * w->count;
        b->symbols = xresize(b->symbols, b->symbol_room * sizeof(*b->symbols));
    }
    for (int32_t i = 0; i < n; i++)
        b->symbols[i] =
            (struct bpe_symbol){w->ids[i], i - 1, i + 1 < n ? i + 1 : -1, w->starts[i], w->ends[i]};
    for (int32_t i = 0; i < n; i++)
        propose(b, &heap, i);
    while (heap) {
        struct bpe_candidate top = pop(b, &heap);
        struct bpe_symbol *left = &b->symbols[top.at], *right;
        const struct bpe_merge *m;

        if (left->id < 0 || left->after < 0)
            continue;
        right = &b->symbols[left->after];
        m = bpe_find_merge(b, left->id, right->id);
        if (!m || m->id != top.id)
            continue; /* stale: a neighbour has changed since */
        left->id = top.id;
        left->end = right->end;
        left->after = right->after;
        right->id = -1;
        if (left->after >= 0)
            b->symbols[left->after].before = top.at;
        propose(b, &heap, left->before);
        propose(b, &heap, top.at);
    }
    for (int32_t i = 0; i < n; i++)
        if (b->symbols[i].id >= 0) {
            w->ids[kept] = b->symbols[i].id;
            w->starts[kept] = b->symbols[i].start;
            w->ends[kept++] = b->symbols[i].end;
        }
    w->count = kept;
}

/* The token that is the whole piece, -1: none. */
static int32_t
whole_piece(const struct bpe *b, struct span piece)
{
    struct buffer mapped = {0};
    int32_t id;

    if (!b->byte_level)
        return bpe_id(b, piece);
    for (size_t i = 0; i < piece.length; i++) {
        char c[2];

        buffer_add(&mapped, c, (size_t)bpe_byte_character((unsigned char)piece.at[i], c));
    }
    id = bpe_id(b, buffer_span(&mapped));
    buffer_free(&mapped);
    return id;
}

static void
keep(struct bpe_cached *c, struct span piece, const struct bpe_word *w)
{
    if (w->count > CACHE_TOKENS || w->dropped > 255)
        return;
    *c = (struct bpe_cached){.length = (uint8_t)piece.length,
                             .count = (uint8_t)w->count,
                             .dropped = (uint8_t)w->dropped,
                             .used = 1};
    memcpy(c->piece, piece.at, piece.length);
    for (size_t i = 0; i < w->count; i++) {
        c->ids[i] = w->ids[i];
        c->starts[i] = (uint8_t)w->starts[i];
        c->ends[i] = (uint8_t)w->ends[i];
    }
}

void
bpe_encode(struct bpe *b, struct span piece, struct bpe_word *out)
{
    struct bpe_cached *cached = NULL;
    int32_t id;

    out->count = out->dropped = 0;
    if (piece.length == 0)
        return;
    if (piece.length <= CACHE_BYTES) {
        if (!b->cache)
            b->cache = xarray(CACHE_SLOTS, sizeof(*b->cache));
        cached = &b->cache[XXH3_64bits(piece.at, piece.length) % CACHE_SLOTS];
        if (cached->used && cached->length == piece.length &&
            memcmp(cached->piece, piece.at, piece.length) == 0) {
            for (size_t i = 0; i < cached->count; i++)
                emit(out, cached->ids[i], cached->starts[i], cached->ends[i]);
            out->dropped = cached->dropped;
            return;
        }
    }
    id = b->ignore_merges ? whole_piece(b, piece) : -1;
    if (id >= 0) {
        emit(out, id, 0, piece.length);
    } else {
        start_word(b, piece, out);
        if (out->count > 1)
            merge_word(b, out);
    }
    if (cached)
        keep(cached, piece, out);
}
