/* decoder: the transformer between token ids and hidden states, over packed batches, forward and
 * backward.
 *
 * x = embed[id]; per layer x += o(attention(rope(q, k), v)) of rmsnorm(x), x += down(silu(gate) *
 * up) of rmsnorm(x); then the final rmsnorm (the families of model_family.def as in transformers'
 * modeling_*.py; RoPE in the half-split layout, positions from 0 in each sequence; grouped-query
 * attention, causal, scale 1/sqrt(head_dim); where the family norms q and k, per head and before
 * RoPE). Of a head of two layers the first is the last step here: relu(score.0 x + b), so that
 * "hidden state" means the input of the head's last product for every model.
 *
 * A batch is sequences laid end to end without padding. Nothing crosses a sequence: a token's
 * hidden bits are a function of the weights and the tokens before it in its own sequence. They do
 * not depend on the batch, on the place in it, or on whether decoder_forward or the key-value
 * cache computed them. */
#ifndef KERNELS_DECODER_H
#define KERNELS_DECODER_H

#include <stdint.h>

#include "kernels/model.h"

struct batch {
    int64_t        tokens;
    const int32_t *ids;         /* (tokens), each in [0, vocab_size) */
    int64_t        sequences;
    const int64_t *starts;      /* (sequences + 1): 0 .. tokens, not falling */
    const int64_t *from;        /* (sequences): in each, the first token whose hidden state is
                                   read, 0 .. its length; NULL: all are */
};

/* What decoder_forward needs to be true; the first fault found. For batches built from outside
 * data. */
int batch_check(const struct batch *b, const struct model *m, int64_t tokens_max, struct error *e);

struct decoder;
struct threads;

/* Room for batches of up to tokens_max tokens (its own scratch grows with the first calls).
 * With `backward` the activations are kept: tokens_max * layers * (2 hidden + 2 q + 2 kv + 2
 * intermediate + 2 heads + 2) floats, q and kv being heads times head_dim, and where q and k are
 * normed q + kv + heads + kv heads more. */
struct decoder *decoder_new(const struct model *m, int64_t tokens_max, int backward);
void            decoder_free(struct decoder *d);

/* Lets these threads (threads.h; borrowed) share the work from now on; NULL: the caller alone, as at
 * first. The bits are the same. Each further thread takes scratch for one sequence's attention. */
void decoder_threads(struct decoder *d, struct threads *t);

/* (tokens, hidden) of hidden states; the decoder's own, until the next call. The model must
 * have the config the decoder was made for. Of rows before batch.from no hidden state is computed,
 * which spares them most of the last layer; what stands there says nothing. */
const float *decoder_forward(struct decoder *d, const struct model *m, const struct batch *b);

/* After decoder_forward of the same batch and weights: dhidden (tokens, hidden) is dL/d(its
 * result), zeros in rows before batch.from; grads (model's count, laid out like params) is added to, token after token: the bits of
 * a sum over several batches are those of one batch of all their sequences in the same order. (Not
 * so for a tied embedding, to which head_backward adds in turn.) */
void decoder_backward(struct decoder *d, const struct model *m, const float *dhidden, float *grads);

/* Key-value cache: rows are sequences that grow by a token at a time. */
struct decoder_cache;

/* rows_max sequences of up to length_max tokens. The model stays alive as long as the cache; its
 * products' weights are packed here as they are now. After changing weights call cache_load, which
 * empties all rows. */
struct decoder_cache *cache_new(const struct model *m, int64_t rows_max, int64_t length_max);
void                  cache_free(struct decoder_cache *c);
void                  cache_load(struct decoder_cache *c, const struct model *m);

/* Appends ids[i] to sequence rows[i] (all different, each shorter than length_max) and writes its
 * hidden state to hidden (count, hidden_size). */
void cache_append(struct decoder_cache *c, int64_t count, const int64_t *rows, const int32_t *ids,
                  float *hidden);
void cache_reset(struct decoder_cache *c, int64_t row);             /* an empty sequence again */
void cache_copy(struct decoder_cache *c, int64_t to, int64_t from); /* to becomes a copy of from */
int64_t cache_length(const struct decoder_cache *c, int64_t row);       /* tokens held */

/* logits (count, head_rows) of hidden states through the model's head (the packed copy). */
void cache_logits(struct decoder_cache *c, int64_t count, const float *hidden, float *logits);

#endif
