/* tokenizer_parts: what a tokenizer is made of; for tokenizer.c, tokenizer_read.c and chat.c alone.
 */
#ifndef KERNELS_TOKENIZER_PARTS_H
#define KERNELS_TOKENIZER_PARTS_H

#include "kernels/added_tokens.h"
#include "kernels/bpe.h"
#include "kernels/normalizer.h"
#include "kernels/pretokenizer.h"
#include "kernels/token_decoder.h"
#include "kernels/tokenizer.h"
#include "kernels/unigram.h"

#define TOKENIZER_TEMPLATE_MAX 64 /* tokens a template adds before, and after */

struct tokenizer {
    struct normalizer normalizer;
    struct bpe bpe;         /* the vocabulary, whatever the model */
    struct unigram unigram; /* pieces 0: the model is BPE */
    struct added_tokens added;
    struct pretokenizer pretokenizer;
    struct token_decoder decoder;
    unsigned char *special; /* by id */
    struct span *plain; /* what a token is to the decoder, by id: its bytes if that is ByteLevel */
    struct arena strings;
    int32_t before[TOKENIZER_TEMPLATE_MAX], after[TOKENIZER_TEMPLATE_MAX];
    int before_count, after_count;
    /* scratch of encode */
    struct added_stretches raw, inner;
    struct rewrite_chain normalised, written;
    struct pieces pieces;
    struct bpe_word word;
};

/* Reads a whole tokenizer.json into T, which is zero. */
int tokenizer_read(struct tokenizer *t, const json_t *json, struct error *e);

#endif
