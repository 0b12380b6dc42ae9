/* unigram: the pieces of a tokenizer.json of type Unigram and the best path through a text.
 *
 * As the reference (tokenizers, models/unigram): every piece has a score; the text is cut into
 * pieces so that the sum of their scores is the largest, where a character that is no piece costs
 * the smallest score of all less 10; of equal paths the one found first stays. Neighbouring unknown
 * characters are one token: <0xNN> for each byte (byte_fallback, where all of them exist), else
 * unk_id. The tokens themselves are in a struct bpe, which is then a vocabulary without merges. */
#ifndef KERNELS_UNIGRAM_H
#define KERNELS_UNIGRAM_H

#include "base/error.h"
#include "base/memory.h"
#include "kernels/bpe.h"

#include <jansson.h>
#include <stdint.h>

#define UNIGRAM_PIECE_MAX 1024 /* bytes of a piece */

struct unigram_place;
struct unigram_node;

struct unigram {
    double *scores;             /* by id; of the ids that are pieces */
    int32_t pieces;             /* ids below it are pieces; 0: the model is no Unigram */
    struct unigram_node *nodes; /* the pieces as a trie; a node's children lie together */
    double unknown_score;
    int32_t unknown;            /* unk_id */
    int byte_fallback;
    struct unigram_place *places; /* scratch */
    size_t place_room;
    int64_t *path;
    size_t path_room;
};

/* Reads a "model" object of type Unigram; its tokens go into B, which is emptied. */
int unigram_read(struct unigram *u, struct bpe *b, const json_t *model, struct error *e);
void unigram_free(struct unigram *u);

/* The tokens of the piece [start, end) of TEXT, valid UTF-8, added to OUT with offsets AT + their
 * place in the text. SPECIAL (by id; NULL: none): pieces that the text may not become. */
void unigram_append(struct unigram *u, const struct bpe *b, const unsigned char *special,
                    struct span text, size_t start, size_t end, int64_t at, struct tokens *out);

#endif
