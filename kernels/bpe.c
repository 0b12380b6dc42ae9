#include "kernels/bpe.h"

#include "kernels/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NO_KEY UINT64_MAX

int
bpe_byte_character(unsigned byte, char out[2])
{
    uint32_t c = byte;

    if (byte <= 0x20)
        c = 0x100 + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        c = 0x121 + byte - 0x7f;
    else if (byte == 0xad)
        c = 0x143;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 63));
    return 2;
}

int
bpe_character_byte(uint32_t c)
{
    if (c >= 0x100 && c <= 0x120)
        return (int)(c - 0x100);
    if (c >= 0x121 && c <= 0x142)
        return (int)(c - 0x121 + 0x7f);
    if (c == 0x143)
        return 0xad;
    if ((c > 0x20 && c < 0x7f) || (c > 0xa0 && c < 0x100 && c != 0xad))
        return (int)c;
    return -1;
}

static uint32_t
power_above(size_t count)
{
    uint32_t size = 64;

    while (size < 2 * count)
        size *= 2;
    return size;
}

int32_t
bpe_id(const struct bpe *b, struct span token)
{
    for (uint32_t at = (uint32_t)XXH3_64bits(token.at, token.length);; at++) {
        uint32_t slot = b->slots[at & b->slot_mask];

        if (!slot)
            return -1;
        if (b->tokens[slot - 1].length == token.length &&
            memcmp(b->tokens[slot - 1].at, token.at, token.length) == 0)
            return (int32_t)slot - 1;
    }
}

/* TOKEN's slot; the table has room. */
static void
insert(struct bpe *b, int32_t id)
{
    uint32_t at = (uint32_t)XXH3_64bits(b->tokens[id].at, b->tokens[id].length);

    while (b->slots[at & b->slot_mask])
        at++;
    b->slots[at & b->slot_mask] = (uint32_t)id + 1;
}

static void
rehash(struct bpe *b, size_t room)
{
    free(b->slots);
    b->slot_mask = power_above(room) - 1;
    b->slots = xarray((size_t)b->slot_mask + 1, sizeof(*b->slots));
    for (int32_t id = 0; id < b->size; id++)
        if (b->tokens[id].at)
            insert(b, id);
}

static void
place(struct bpe *b, struct span token, int32_t id)
{
    char *copy = arena_take(&b->strings, token.length + 1);

    memcpy(copy, token.at, token.length);
    b->tokens[id] = span_of(copy, token.length);
}

void
bpe_reserve(struct bpe *b, int32_t size)
{
    b->tokens = xarray((size_t)size + 1, sizeof(*b->tokens));
    b->size = size;
    rehash(b, (size_t)size);
}

void
bpe_add(struct bpe *b, struct span token, int32_t id)
{
    if (id >= b->size) {
        b->tokens = xresize(b->tokens, ((size_t)id + 1) * sizeof(*b->tokens));
        memset(b->tokens + b->size, 0, (size_t)(id + 1 - b->size) * sizeof(*b->tokens));
        b->size = id + 1;
    }
    place(b, token, id);
    if (2 * (size_t)b->size > b->slot_mask)
        rehash(b, (size_t)b->size * 2);
    else
        insert(b, id);
}

static struct bpe_merge *
merge_slot(const struct bpe *b, uint64_t key)
{
    uint64_t at = key * 0x9e3779b97f4a7c15u;

    for (at ^= at >> 32;; at++) {
        struct bpe_merge *m = &b->merges[at & b->merge_mask];

        if (m->key == key || m->key == NO_KEY)
            return m;
    }
}

static int
read_vocab(struct bpe *b, const json_t *vocab, struct error *e)
{
    const char *token;
    json_t *value;
    json_int_t highest = -1;

    if (!json_is_object(vocab))
        return error_set(e, ERROR_model, "'vocab' must be an object");
    json_object_foreach((json_t *)vocab, token, value)
    {
        json_int_t id = json_integer_value(value);

        if (!json_is_integer(value) || id < 0 || id >= TOKENIZER_VOCAB_MAX)
            return error_set(e, ERROR_model,
                             "token '%.80s': its id must be an integer from 0 to %d", token,
                             TOKENIZER_VOCAB_MAX - 1);
        highest = id > highest ? id : highest;
    }
    b->size = (int32_t)(highest + 1);
    b->tokens = xarray((size_t)b->size + 1, sizeof(*b->tokens));
    json_object_foreach((json_t *)vocab, token, value)
    {
        int32_t id = (int32_t)json_integer_value(value);

        if (b->tokens[id].at)
            return error_set(e, ERROR_model, "tokens '%.80s' and '%.80s' have the same id %d",
                             b->tokens[id].at, token, id);
        place(b, span_text(token), id);
    }
    rehash(b, (size_t)b->size);
    return 0;
}

/* A merge as "a b" (before tokenizers 0.20) or ["a", "b"]. 1: a comment line, nothing to do. */
static int
merge_parts(const json_t *merge, struct span *left, struct span *right)
{
    const char *text = json_string_value(merge), *space;

    if (text) {
        if (strncmp(text, "#version", 8) == 0)
            return 1;
        space = strchr(text, ' ');
        if (!space || strchr(space + 1, ' '))
            return -1;
        *left = span_of(text, (size_t)(space - text));
        *right = span_text(space + 1);
        return 0;
    }
    if (json_array_size(merge) != 2 || !json_is_string(json_array_get(merge, 0)) ||
        !json_is_string(json_array_get(merge, 1)))
        return -1;
    *left = span_text(json_string_value(json_array_get(merge, 0)));
    *right = span_text(json_string_value(json_array_get(merge, 1)));
    return 0;
}

static int
read_merge(struct bpe *b, const json_t *merge, uint32_t rank, struct buffer *joined,
           struct error *e)
{
    struct bpe_merge *m;
    struct span left, right;
    int32_t a, c, id;
    int rc = merge_parts(merge, &left, &right);
    uint64_t key;
    size_t skip;

    if (rc)
        return rc > 0 ? 0 : error_set(e, ERROR_model, "merge %u must be two tokens", rank);
    skip = strlen(b->prefix) < right.length ? strlen(b->prefix) : right.length;
    buffer_clear(joined);
    buffer_add(joined, left.at, left.length);
    buffer_add(joined, right.at + skip, right.length - skip);
    a = bpe_id(b, left), c = bpe_id(b, right), id = bpe_id(b, buffer_span(joined));
    if (a < 0 || c < 0 || id < 0)
        return error_set(e, ERROR_model, "merge %u: token '%.*s' is not in the vocabulary", rank,
                         (int)(joined->length > 80 ? 80 : joined->length), joined->at);
    key = (uint64_t)(uint32_t)a << 32 | (uint32_t)c;
    m = merge_slot(b, key);
    *m = (struct bpe_merge){key, rank, id};
    return 0;
}

static int
read_merges(struct bpe *b, const json_t *merges, struct error *e)
{
    struct buffer joined = {0};
    size_t i;
    json_t *merge;
    int rc = 0;

    if (!json_is_array(merges))
        return error_set(e, ERROR_model, "'merges' must be a list");
    b->merge_mask = power_above(json_array_size(merges)) - 1;
    b->merges = xarray((size_t)b->merge_mask + 1, sizeof(*b->merges));
    for (size_t k = 0; k <= b->merge_mask; k++)
        b->merges[k].key = NO_KEY;
    json_array_foreach(merges, i, merge)
    {
        rc = read_merge(b, merge, (uint32_t)i, &joined, e);
        if (rc)
            break;
    }
    buffer_free(&joined);
    return rc;
}

static int
read_options(struct bpe *b, const json_t *model, struct error *e)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = json_string_value(json_object_get(model, "type"));
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));

    if (!json_is_object(model))
        return error_set(e, ERROR_model, "must be an object");
    if (!type || strcmp(type, "BPE"))
        return error_set(e, ERROR_model, "type '%.60s' is not understood; BPE and Unigram are",
                         type ? type : "");
    for (int i = 0; i < 2; i++) {
        const char *affix = json_string_value(json_object_get(model, affixes[i]));

        if (affix && strlen(affix) > BPE_AFFIX_MAX)
            return error_set(e, ERROR_limit, "'%s' has more than %d bytes", affixes[i],
                             BPE_AFFIX_MAX);
        if (affix)
            strcpy(i ? b->suffix : b->prefix, affix);
    }
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        return error_set(e, ERROR_model, "'dropout' is not understood");
    b->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    b->fuse_unk = json_is_true(json_object_get(model, "fuse_unk"));
    b->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    b->unknown = -1;
    if (read_vocab(b, json_object_get(model, "vocab"), e))
        return ERROR_model;
    if (unknown) {
        b->unknown = bpe_id(b, span_text(unknown));
        if (b->unknown < 0)
            return error_set(e, ERROR_model, "unk_token '%.80s' is not in the vocabulary", unknown);
    }
    return 0;
}

/* The merges of single bytes, by the bytes. */
static void
make_pairs(struct bpe *b)
{
    for (int byte = 0; byte < 256; byte++)
        if (b->bytes[byte] < 0)
            return;
    if (!b->byte_level || *b->prefix || *b->suffix)
        return;
    b->pairs = xarray(65536, sizeof(*b->pairs));
    for (int i = 0; i < 65536; i++) {
        const struct bpe_merge *m = bpe_find_merge(b, b->bytes[i >> 8], b->bytes[i & 255]);

        b->pairs[i] = m ? (struct bpe_pair){m->rank, m->id} : (struct bpe_pair){UINT32_MAX, -1};
    }
}

int
bpe_read(struct bpe *b, const json_t *model, int byte_level, struct error *e)
{
    char text[8];
    int rc;

    *b = (struct bpe){.byte_level = byte_level};
    rc = read_options(b, model, e);
    if (rc == 0)
        rc = read_merges(b, json_object_get(model, "merges"), e);
    if (rc) {
        bpe_free(b);
        return rc;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        b->bytes[byte] = bpe_id(b, span_of(text, (size_t)bpe_byte_character(byte, text)));
        snprintf(text, sizeof(text), "<0x%02X>", byte);
        b->fallback[byte] = bpe_id(b, span_text(text));
    }
    make_pairs(b);
    return 0;
}

const struct bpe_merge *
bpe_find_merge(const struct bpe *b, int32_t left, int32_t right)
{
    const struct bpe_merge *m = merge_slot(b, (uint64_t)(uint32_t)left << 32 | (uint32_t)right);

    return m->key == NO_KEY ? NULL : m;
}

void
bpe_free(struct bpe *b)
{
    free(b->tokens);
    free(b->slots);
    free(b->merges);
    free(b->cache);
    free(b->pairs);
    free(b->symbols);
    free(b->heap);
    arena_free(&b->strings);
    *b = (struct bpe){0};
}

void
bpe_word_free(struct bpe_word *w)
{
    free(w->ids);
    free(w->starts);
    free(w->ends);
    *w = (struct bpe_word){0};
}
