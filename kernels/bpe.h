/* bpe: the vocabulary and the merges of a tokenizer.json, and the splitting of one piece of text by
 * them.
 *
 * As the reference (tokenizers, models/bpe): start from single characters (of the byte-level
 * alphabet, or of the text), apply the merge of the lowest rank, leftmost first, until none
 * applies. A character that the vocabulary lacks becomes <0xNN> tokens (byte_fallback), or
 * unk_token, or is dropped. */
#ifndef KERNELS_BPE_H
#define KERNELS_BPE_H

#include "base/error.h"
#include "base/memory.h"

#include <jansson.h>
#include <stdint.h>

#define BPE_AFFIX_MAX 64 /* bytes of continuing_subword_prefix and of end_of_word_suffix */

struct bpe_symbol;
struct bpe_candidate;
struct bpe_cached;
struct tokens;

struct bpe_merge {
    uint64_t key; /* left id << 32 | right id; all ones: free */
    uint32_t rank;
    int32_t id; /* of the joined token */
};

/* The merge of two single bytes, without a search. */
struct bpe_pair {
    uint32_t rank; /* UINT32_MAX: none */
    int32_t id;
};

struct bpe {
    struct span *tokens;        /* by id, as in the file; at NULL where no token has the id */
    int32_t size;               /* highest id + 1 */
    uint32_t *slots, slot_mask; /* id + 1 by hash of the token; 0 is free */
    struct bpe_merge *merges;
    uint32_t merge_mask;
    int byte_level; /* pieces are bytes, written in the byte-level alphabet */
    int byte_fallback, fuse_unk, ignore_merges;
    int32_t unknown;       /* id of unk_token, -1: none */
    int32_t bytes[256];    /* of the byte-level characters */
    int32_t fallback[256]; /* of <0xNN> */
    struct bpe_pair
        *pairs; /* [left byte * 256 + right byte]; NULL: not byte_level, or a byte lacks */
    char prefix[BPE_AFFIX_MAX + 1], suffix[BPE_AFFIX_MAX + 1]; /* of a word's characters */
    struct arena strings;
    struct bpe_cached *cache;
    struct bpe_symbol *symbols; /* scratch */
    struct bpe_candidate *heap;
    size_t symbol_room, heap_room;
};

/* One piece, encoded: token i is bytes [starts[i], ends[i]) of it. Reused; bpe_word_free() at the
 * end. */
struct bpe_word {
    int32_t *ids;
    size_t *starts, *ends;
    size_t count, room, dropped;
};

/* Reads the "model" object. BYTE_LEVEL: the pre-tokenizer ends in ByteLevel. */
int bpe_read(struct bpe *b, const json_t *model, int byte_level, struct error *e);
void bpe_free(struct bpe *b);
void bpe_word_free(struct bpe_word *w);

int32_t bpe_id(const struct bpe *b, struct span token); /* -1: not in the vocabulary */

/* The merge of two neighbours; NULL: there is none. */
const struct bpe_merge *bpe_find_merge(const struct bpe *b, int32_t left, int32_t right);

/* Room for tokens with ids below SIZE, in a vocabulary without tokens yet. */
void bpe_reserve(struct bpe *b, int32_t size);

/* Adds TOKEN under ID, which must be free. */
void bpe_add(struct bpe *b, struct span token, int32_t id);

void bpe_encode(struct bpe *b, struct span piece, struct bpe_word *out);

/* The same for the piece [start, end) of TEXT, valid UTF-8: its tokens are added to OUT with
 * offsets AT + their place in the text, whole characters. WORD is scratch. */
void bpe_append(struct bpe *b, struct span text, size_t start, size_t end, int64_t at,
                struct bpe_word *word, struct tokens *out);

/* The byte-level alphabet: the UTF-8 of a byte's character into OUT (its length is returned), and
 * back (the byte of a code point, -1 for one outside the alphabet). */
int bpe_byte_character(unsigned byte, char out[2]);
int bpe_character_byte(uint32_t character);

#endif
