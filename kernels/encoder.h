/* encoder: a classifier of tokens of the XLM-RoBERTa family (XLMRobertaForTokenClassification, and
 * SubwordXLMForTokenClassification of the Segment-any-Text models), read from its Hugging Face
 * directory and run in this process.
 *
 * x = norm(word[id] + position[p] + type[0]), p counting from padding_idx + 1 over ids that are not
 * the padding; per layer x = norm(x + o(attention(q, k, v))), x = norm(x + down(gelu(up x))); logits
 * are classifier x (transformers, modeling_xlm_roberta.py). norm is the layer norm with weight and
 * bias, gelu the exact one, 0.5 x (1 + erf(x / sqrt 2)); erf by the polynomials of
 * Cephes, ndtrf.c, at most 2e-7 off of its value.
 *
 * With `lookahead` L of D layers (the first lookahead_split_layers, or all) a token sees L / D
 * tokens after its own in each of them, and none in later layers; without, the whole sequence
 * (wtpsplit, models.py).
 *
 * The bits of a token's logits depend on the weights and on its own sequence, not on the batch, the
 * place in it or the threads. The word embeddings stay in the mapped file: only the rows used are
 * read. */
#ifndef KERNELS_ENCODER_H
#define KERNELS_ENCODER_H

#include <stdint.h>

#include "base/error.h"
#include "kernels/decoder.h"

struct encoder_config {
    int64_t vocab_size, hidden_size, intermediate_size;
    int64_t layers, heads;
    int64_t positions;              /* rows of the position embedding */
    int64_t types;                  /* of the token type embedding; only the first is used */
    int64_t labels;
    int64_t pad;                    /* padding_idx */
    int64_t lookahead;              /* -1: none, the whole sequence */
    int64_t lookahead_layers;       /* -1: all */
    double  eps;
};

/* Sequences may have so many tokens. */
int64_t encoder_length_max(const struct encoder_config *c);

/* config.json, and whether every tensor is in the files with its shape; no weight is read. ERROR_model
 * names the key or the tensor. */
int encoder_check(const char *dir, struct encoder_config *config, struct error *e);

struct encoder;

struct encoder *encoder_open(const char *dir, struct error *e); /* NULL: the reason is in E */
void encoder_close(struct encoder *m);
const struct encoder_config *encoder_configuration(const struct encoder *m);

/* Lets these threads (threads.h; borrowed) share the work from now on; NULL: the caller alone. */
void encoder_threads(struct encoder *m, struct threads *t);

/* The first LABELS logits of every token, (tokens, labels), for a batch (decoder.h) of sequences of
 * at most encoder_length_max tokens. Ids lie below vocab_size. */
void encoder_run(struct encoder *m, const struct batch *b, int64_t labels, float *logits);

#endif
