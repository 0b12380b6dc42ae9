#include "kernels/unigram.h"

#include "kernels/tokenizer.h"
#include "kernels/unicode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0

/* A node of the trie. Its children are nodes [first, first + count), by rising byte. */
struct unigram_node {
    uint32_t first;
    int32_t id;      /* of the piece that ends here, -1: none */
    uint16_t count;
    uint8_t byte;    /* that leads here */
};

/* A place between two bytes: the best way to reach it. */
struct unigram_place {
    double score;
    int32_t id;
    uint32_t length; /* of the last piece, 0: not reached */
};

/* The sorted pieces that pass through a node. */
struct range {
    uint32_t low, high;
};

struct builder {
    const struct span *tokens;
    uint32_t *order; /* ids by their bytes */
    struct range *ranges;
    struct unigram_node *nodes;
    size_t count, room;
};

static int
compare(const void *a, const void *b, void *context)
{
    const struct span *tokens = context;
    struct span x = tokens[*(const uint32_t *)a], y = tokens[*(const uint32_t *)b];
    int order = memcmp(x.at, y.at, x.length < y.length ? x.length : y.length);

    return order ? order : (x.length > y.length) - (x.length < y.length);
}

static void
add_node(struct builder *b, struct unigram_node node, struct range range)
{
    if (b->count == b->room) {
        b->room = b->room ? 2 * b->room : 1024;
        b->nodes = xresize(b->nodes, b->room * sizeof(*b->nodes));
        b->ranges = xresize(b->ranges, b->room * sizeof(*b->ranges));
    }
    b->ranges[b->count] = range;
    b->nodes[b->count++] = node;
}

/* The children of node N, whose pieces agree in their first DEPTH bytes. */
static void
add_children(struct builder *b, size_t n, size_t depth)
{
    struct range r = b->ranges[n];
    uint32_t low = r.low;

    if (b->tokens[b->order[low]].length == depth)
        b->nodes[n].id = (int32_t)b->order[low++];
    b->nodes[n].first = (uint32_t)b->count;
    while (low < r.high) {
        uint8_t byte = (uint8_t)b->tokens[b->order[low]].at[depth];
        uint32_t high = low + 1;

        while (high < r.high && (uint8_t)b->tokens[b->order[high]].at[depth] == byte)
            high++;
        add_node(b, (struct unigram_node){.id = -1, .byte = byte}, (struct range){low, high});
        b->nodes[n].count++;
        low = high;
    }
}

/* Level by level, so that children lie together. */
static struct unigram_node *
build(const struct span *tokens, int32_t count)
{
    struct builder b = {.tokens = tokens, .order = xarray((size_t)count, sizeof(uint32_t))};
    size_t level = 0, end, depth = 0;

    for (int32_t i = 0; i < count; i++)
        b.order[i] = (uint32_t)i;
    qsort_r(b.order, (size_t)count, sizeof(*b.order), compare, (void *)(uintptr_t)tokens);
    add_node(&b, (struct unigram_node){.id = -1}, (struct range){0, (uint32_t)count});
    for (; level < b.count; depth++)
        for (end = b.count; level < end; level++)
            add_children(&b, level, depth);
    free(b.order);
    free(b.ranges);
    return b.nodes;
}

static int
read_piece(struct unigram *u, struct bpe *b, const json_t *pair, int32_t id, struct error *e)
{
    const json_t *piece = json_array_get(pair, 0), *score = json_array_get(pair, 1);
    size_t length = json_string_length(piece);

    if (!json_is_string(piece) || !json_is_number(score))
        return error_set(e, ERROR_model, "'vocab' %d must be a piece and its score", id);
    if (length > UNIGRAM_PIECE_MAX)
        return error_set(e, ERROR_limit, "piece %d has more than %d bytes", id, UNIGRAM_PIECE_MAX);
    if (bpe_id(b, span_of(json_string_value(piece), length)) >= 0)
        return error_set(e, ERROR_model, "piece '%.80s' is there twice", json_string_value(piece));
    u->scores[id] = json_number_value(score);
    if (!isfinite(u->scores[id]))
        return error_set(e, ERROR_model, "the score of piece %d is not a number", id);
    bpe_add(b, span_of(json_string_value(piece), length), id);
    return 0;
}

static int
read_pieces(struct unigram *u, struct bpe *b, const json_t *vocab, struct error *e)
{
    double lowest = INFINITY;
    json_t *pair;
    size_t i;

    if (json_array_size(vocab) < 1 || json_array_size(vocab) > TOKENIZER_VOCAB_MAX)
        return error_set(e, ERROR_model, "'vocab' must be a list of 1 to %d pieces",
                         TOKENIZER_VOCAB_MAX);
    u->pieces = (int32_t)json_array_size(vocab);
    u->scores = xarray((size_t)u->pieces, sizeof(*u->scores));
    bpe_reserve(b, u->pieces);
    json_array_foreach(vocab, i, pair)
    {
        if (read_piece(u, b, pair, (int32_t)i, e))
            return ERROR_model;
        lowest = u->scores[i] < lowest ? u->scores[i] : lowest;
    }
    u->unknown_score = lowest - UNKNOWN_PENALTY;
    return 0;
}

int
unigram_read(struct unigram *u, struct bpe *b, const json_t *model, struct error *e)
{
    const json_t *unknown = json_object_get(model, "unk_id");
    char text[8];

    *u = (struct unigram){.byte_fallback = json_is_true(json_object_get(model, "byte_fallback"))};
    *b = (struct bpe){.unknown = -1};
    if (read_pieces(u, b, json_object_get(model, "vocab"), e))
        goto fail;
    if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
        json_integer_value(unknown) >= u->pieces) {
        error_set(e, ERROR_model, "'unk_id' must be the number of a piece");
        goto fail;
    }
    b->unknown = u->unknown = (int32_t)json_integer_value(unknown);
    for (unsigned byte = 0; byte < 256; byte++) {
        b->bytes[byte] = -1;
        snprintf(text, sizeof(text), "<0x%02X>", byte);
        b->fallback[byte] = bpe_id(b, span_text(text));
    }
    u->nodes = build(b->tokens, u->pieces);
    return 0;

fail:
    unigram_free(u);
    bpe_free(b);
    return ERROR_model;
}

void
unigram_free(struct unigram *u)
{
    free(u->scores);
    free(u->nodes);
    free(u->places);
    free(u->path);
    *u = (struct unigram){0};
}

static void
emit(struct tokens *out, int32_t id, int64_t start, int64_t end)
{
    tokens_reserve(out, 1);
    out->ids[out->count] = id;
    out->starts[out->count] = start;
    out->ends[out->count++] = end;
}

static const struct unigram_node *
child(const struct unigram *u, const struct unigram_node *node, uint8_t byte)
{
    size_t low = node->first, high = low + node->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (u->nodes[middle].byte == byte)
            return &u->nodes[middle];
        if (u->nodes[middle].byte < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A way to PLACE: taken where there was none, or a worse one. */
static void
offer(struct unigram_place *place, double score, int32_t id, size_t length)
{
    if (place->length && !(score > place->score))
        return;
    *place = (struct unigram_place){score, id, (uint32_t)length};
}

/* All pieces that begin at AT of the word, and where none is its character alone, the unknown. */
static void
extend(const struct unigram *u, const unsigned char *special, struct span word, size_t at)
{
    const struct unigram_node *node = u->nodes;
    double score = u->places[at].score;
    size_t character;
    int single = 0;

    (void)unicode_at(word, at, &character);
    for (size_t length = 1; at + length <= word.length; length++) {
        node = child(u, node, (uint8_t)word.at[at + length - 1]);
        if (!node)
            break;
        if (node->id < 0 || (special && special[node->id]))
            continue;
        offer(&u->places[at + length], u->scores[node->id] + score, node->id, length);
        single |= length == character;
    }
    if (!single)
        offer(&u->places[at + character], u->unknown_score + score, u->unknown, character);
}

/* The best path as places, back from the word's end; returned is their number. */
static size_t
walk_back(struct unigram *u, struct span word)
{
    size_t count = 0;

    for (size_t at = word.length; at > 0; at -= u->places[at].length) {
        if (count == u->path_room) {
            u->path_room = u->path_room ? 2 * u->path_room : 256;
            u->path = xresize(u->path, u->path_room * sizeof(*u->path));
        }
        u->path[count++] = (int64_t)at;
    }
    return count;
}

/* Unknown characters side by side: a piece after all, bytes, or the unknown token. */
static void
emit_unknown(const struct unigram *u, const struct bpe *b, const unsigned char *special,
             struct span characters, int64_t at, struct tokens *out)
{
    int32_t id = bpe_id(b, characters);
    int64_t end = at + (int64_t)characters.length;
    int all = u->byte_fallback;

    if (id >= 0 && id < u->pieces && !(special && special[id])) {
        emit(out, id, at, end);
        return;
    }
    for (size_t i = 0; i < characters.length && all; i++)
        all = b->fallback[(unsigned char)characters.at[i]] >= 0;
    for (size_t i = 0; i < characters.length && all; i++)
        emit(out, b->fallback[(unsigned char)characters.at[i]], at, end);
    if (!all)
        emit(out, u->unknown, at, end);
}

void
unigram_append(struct unigram *u, const struct bpe *b, const unsigned char *special,
               struct span text, size_t start, size_t end, int64_t at, struct tokens *out)
{
    struct span word = span_of(text.at + start, end - start);
    size_t count, length;

    at += (int64_t)start;
    if (word.length + 1 > u->place_room) {
        u->place_room = 2 * (word.length + 1);
        u->places = xresize(u->places, u->place_room * sizeof(*u->places));
    }
    memset(u->places, 0, (word.length + 1) * sizeof(*u->places));
    for (size_t i = 0; i < word.length; i += length) {
        (void)unicode_at(word, i, &length);
        extend(u, special, word, i);
    }
    count = walk_back(u, word);
    for (size_t i = count; i-- > 0;) {
        int64_t to = u->path[i], from = i + 1 < count ? u->path[i + 1] : 0;

        if (u->places[to].id != u->unknown) {
            emit(out, u->places[to].id, at + from, at + to);
            continue;
        }
        while (i > 0 && u->places[u->path[i - 1]].id == u->unknown)
            to = u->path[--i];
        emit_unknown(u, b, special, span_of(word.at + from, (size_t)(to - from)), at + from, out);
    }
}
