/* One piece of text to tokens: a cache of short pieces in front, a search for the lowest rank while
 * a piece is short, a heap of the merges that apply when it is not. */
#include "kernels/bpe.h"

#include "kernels/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_BITS   15 /* 2 MB, touched as used */
#define CACHE_BYTES  24 /* of a piece that is kept */
#define CACHE_TOKENS 6
#define SHORT        96 /* symbols of a word that is merged without a heap */

/* One cache line. The key is the piece: its length, and words that overlap where it is shorter. */
struct bpe_cached {
    uint64_t key[3];
    int32_t ids[CACHE_TOKENS];
    uint8_t starts[CACHE_TOKENS], ends[CACHE_TOKENS]; /* whole characters */
    uint8_t length, count;                            /* length 0: free */
    uint16_t dropped;
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

/* A character's token; in the middle of a word it has the prefix, at its end the suffix. *CHARACTER
 * becomes what was looked up (in ROOM, for byte_fallback). */
static int32_t
symbol(const struct bpe *b, struct span piece, size_t at, struct span *character,
       char room[2 * BPE_AFFIX_MAX + 4])
{
    size_t prefix = at ? strlen(b->prefix) : 0, length = character->length;
    size_t suffix = at + length == piece.length ? strlen(b->suffix) : 0;
    char mapped[2];

    if (b->byte_level && !prefix && !suffix && b->bytes[(unsigned char)piece.at[at]] >= 0)
        return b->bytes[(unsigned char)piece.at[at]];
    if (b->byte_level) {
        length = (size_t)bpe_byte_character((unsigned char)piece.at[at], mapped);
        *character = span_of(mapped, length);
    }
    memcpy(room, b->prefix, prefix);
    memcpy(room + prefix, character->at, length);
    memcpy(room + prefix + length, b->suffix, suffix);
    *character = span_of(room, prefix + length + suffix);
    return bpe_id(b, *character);
}

/* The piece as single characters' tokens, into OUT. */
static void
start_word(const struct bpe *b, struct span piece, struct bpe_word *out)
{
    size_t unknown_start = 0, unknown_end = 0, length;
    int unknown = 0;

    for (size_t at = 0; at < piece.length; at += length) {
        char room[2 * BPE_AFFIX_MAX + 4];
        struct span character;
        int32_t id;

        length = b->byte_level ? 1 : character_length(piece, at);
        character = span_of(piece.at + at, length);
        id = symbol(b, piece, at, &character, room);
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

/* Where the lowest rank stands, the leftmost of equal ones; COUNT > 0. */
static int
lowest(const uint32_t *ranks, int count)
{
    uint32_t low = ranks[0];
    int at = 0;

    for (int i = 1; i < count; i++)
        low = ranks[i] < low ? ranks[i] : low;
    while (ranks[at] != low)
        at++;
    return at;
}

/* The merge of symbols AT and AT + 1, into the arrays. */
static void
rank_pair(const struct bpe *b, const struct bpe_word *w, int at, uint32_t *ranks, int32_t *joined)
{
    const struct bpe_merge *m = bpe_find_merge(b, w->ids[at], w->ids[at + 1]);

    ranks[at] = m ? m->rank : UINT32_MAX;
    joined[at] = m ? m->id : -1;
}

/* A short word, in place: RANKS and JOINED hold the merge of every pair. */
static void
merge_short(const struct bpe *b, struct bpe_word *w, uint32_t *ranks, int32_t *joined)
{
    int count = (int)w->count;

    while (count > 1) {
        int at = lowest(ranks, count - 1);
        size_t after = (size_t)(count - at - 2);

        if (ranks[at] == UINT32_MAX)
            break;
        w->ids[at] = joined[at];
        w->ends[at] = w->ends[at + 1];
        memmove(w->ids + at + 1, w->ids + at + 2, after * sizeof(*w->ids));
        memmove(w->starts + at + 1, w->starts + at + 2, after * sizeof(*w->starts));
        memmove(w->ends + at + 1, w->ends + at + 2, after * sizeof(*w->ends));
        memmove(ranks + at, ranks + at + 1, after * sizeof(*ranks));
        memmove(joined + at, joined + at + 1, after * sizeof(*joined));
        count--;
        if (at > 0)
            rank_pair(b, w, at - 1, ranks, joined);
        if (at < count - 1)
            rank_pair(b, w, at, ranks, joined);
    }
    w->count = (size_t)count;
}

/* Applies merges to a word of any length in place. */
static void
merge_long(struct bpe *b, struct bpe_word *w)
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

/* The tokens of PIECE, which is not empty, into OUT, which is. */
static void
split(struct bpe *b, struct span piece, struct bpe_word *out)
{
    uint32_t ranks[SHORT];
    int32_t joined[SHORT];
    int32_t id = b->ignore_merges ? whole_piece(b, piece) : -1;
    const unsigned char *c = (const unsigned char *)piece.at;

    if (id >= 0) {
        emit(out, id, 0, piece.length);
        return;
    }
    start_word(b, piece, out);
    if (out->count < 2)
        return;
    if (out->count > SHORT) {
        merge_long(b, out);
        return;
    }
    for (size_t i = 0; i + 1 < out->count; i++) {
        if (b->pairs) {
            ranks[i] = b->pairs[c[i] << 8 | c[i + 1]].rank;
            joined[i] = b->pairs[c[i] << 8 | c[i + 1]].id;
        } else {
            rank_pair(b, out, (int)i, ranks, joined);
        }
    }
    merge_short(b, out, ranks, joined);
}

void
bpe_encode(struct bpe *b, struct span piece, struct bpe_word *out)
{
    out->count = out->dropped = 0;
    if (piece.length)
        split(b, piece, out);
}

/* Tokens that begin or end inside a character take all of it. */
static void
widen(struct span text, struct bpe_word *w)
{
    for (size_t i = 0; i < w->count; i++) {
        while (w->starts[i] && ((unsigned char)text.at[w->starts[i]] & 0xc0) == 0x80)
            w->starts[i]--;
        while (w->ends[i] < text.length && ((unsigned char)text.at[w->ends[i]] & 0xc0) == 0x80)
            w->ends[i]++;
    }
}

static inline uint64_t
load(const char *at, size_t bytes)
{
    uint64_t word = 0;

    memcpy(&word, at, bytes);
    return word;
}

/* A piece of 1 to CACHE_BYTES bytes as three words; with its length they are the piece. */
static inline void
key_of(struct span piece, uint64_t key[3])
{
    size_t n = piece.length;
    const char *c = piece.at;

    key[1] = key[2] = 0;
    if (n >= 8) {
        key[0] = load(c, 8);
        key[1] = load(c + n - 8, 8);
        if (n > 16)
            key[2] = load(c + 8, 8);
    } else if (n >= 4) {
        key[0] = load(c, 4) | load(c + n - 4, 4) << 32;
    } else {
        key[0] = (unsigned char)c[0] | (uint64_t)(unsigned char)c[n / 2] << 8 |
                 (uint64_t)(unsigned char)c[n - 1] << 16;
    }
}

static inline struct bpe_cached *
slot(struct bpe *b, const uint64_t key[3], size_t length)
{
    uint64_t h = (key[0] ^ length) * 0x9e3779b97f4a7c15u;

    h = ((h ^ h >> 32) + key[1]) * 0xc2b2ae3d27d4eb4fu;
    h = ((h ^ h >> 29) + key[2]) * 0x9e3779b97f4a7c15u;
    return &b->cache[h >> (64 - CACHE_BITS)];
}

static void
keep(struct bpe_cached *c, const uint64_t key[3], size_t length, const struct bpe_word *w)
{
    if (w->count > CACHE_TOKENS)
        return;
    memcpy(c->key, key, sizeof(c->key));
    c->length = (uint8_t)length;
    c->count = (uint8_t)w->count;
    c->dropped = (uint16_t)w->dropped;
    for (size_t i = 0; i < w->count; i++) {
        c->ids[i] = w->ids[i];
        c->starts[i] = (uint8_t)w->starts[i];
        c->ends[i] = (uint8_t)w->ends[i];
    }
}

static void
append_word(const struct bpe_word *w, int64_t at, struct tokens *out)
{
    tokens_reserve(out, (int64_t)w->count);
    for (size_t i = 0; i < w->count; i++) {
        out->ids[out->count] = w->ids[i];
        out->starts[out->count] = at + (int64_t)w->starts[i];
        out->ends[out->count++] = at + (int64_t)w->ends[i];
    }
    out->dropped += (int64_t)w->dropped;
}

void
bpe_append(struct bpe *b, struct span text, size_t start, size_t end, int64_t at,
           struct bpe_word *word, struct tokens *out)
{
    struct span piece = span_of(text.at + start, end - start);
    struct bpe_cached *c = NULL;
    uint64_t key[3];

    at += (int64_t)start;
    if (piece.length <= CACHE_BYTES) {
        if (!b->cache)
            b->cache = xaligned(sizeof(*b->cache) << CACHE_BITS);
        key_of(piece, key);
        c = slot(b, key, piece.length);
        if (c->length == piece.length && c->key[0] == key[0] && c->key[1] == key[1] &&
            c->key[2] == key[2]) {
            tokens_reserve(out, CACHE_TOKENS);
            for (int i = 0; i < c->count; i++) {
                out->ids[out->count] = c->ids[i];
                out->starts[out->count] = at + c->starts[i];
                out->ends[out->count++] = at + c->ends[i];
            }
            out->dropped += c->dropped;
            return;
        }
    }
    bpe_encode(b, piece, word);
    widen(piece, word);
    if (c)
        keep(c, key, piece.length, word);
    append_word(word, at, out);
}
