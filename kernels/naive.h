/* naive: the definitions of the row operations and of the decoder in double, one element at a
 * time. They share no code with the fast ones (isa.h, attention.h, decoder.h) and exist to be
 * compared with: values directly, gradients by finite differences of these. */
#ifndef KERNELS_NAIVE_H
#define KERNELS_NAIVE_H

#include <stdint.h>

#include "kernels/decoder.h"

/* y(width) = x / sqrt(mean(x^2) + eps) * w */
void naive_norm(int64_t width, double eps, const double *x, const double *w, double *y);

/* x (dim): element j and j + dim / 2 turned by position * theta^(-2j/dim) */
void naive_rotate(int64_t dim, int64_t position, double theta, double *x);

/* The same with scaled frequencies, which are those of rope.h: the golden values of transformers
 * stand behind them. */
void naive_turn(int64_t dim, int64_t position, double theta, const struct rope_scaling *scaling,
                double *x);

/* y(width) = silu(gu[i]) gu[width + i] */
void naive_swiglu(int64_t width, const double *gu, double *y);

/* As attention.h: qkv (length, (heads + 2 kv_heads) dim), out (length, heads dim). */
void naive_attention(int64_t length, int64_t heads, int64_t kv_heads, int64_t dim,
                     const double *qkv, double *out);

/* log p of target, logsumexp and entropy of logits z(classes). */
void naive_softmax(int64_t classes, const double *z, int64_t target, double *logp, double *lse,
                   double *entropy);

/* The decoder with weights `params` (laid out like m->params): hidden (tokens, hidden). */
void naive_decoder(const struct model *m, const double *params, const struct batch *b,
                   double *hidden);

#endif
