/* attention: causal attention with grouped-query heads over one sequence, forward and backward.
 *
 * For query t of head h, with the keys and values of head h / (heads / kv_heads):
 *      s_j = (q_t . k_j) / sqrt(dim), j <= t;  p = softmax(s);  o_t = sum_j p_j v_j
 * (Vaswani et al. 2017; grouped queries: Ainslie et al. 2023). q . k is a chain of fma over dim,
 * the softmax sum runs in the lanes of lanes.h, o a chain of fma over j. Masked keys enter as
 * exact zeros, so the bits of o_t depend on tokens 0..t only.
 *
 * With `ahead` a query also sees so many keys after its own, j <= t + ahead: an encoder's limited
 * lookahead, or with ATTENTION_ALL the whole sequence. Forward only. */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include <stdint.h>

#define ATTENTION_ALL (INT64_C(1) << 40)

struct attention {
    int64_t heads, kv_heads, dim;   /* kv_heads divides heads */
    int64_t length_max;
    int64_t wide;                   /* dim rounded up to lanes */
    int64_t ahead;                  /* 0: causal */
    float   scale;                  /* 1 / sqrt(dim) */
    float  *keys, *key_rows;        /* panels (dim, length), rows (length, wide) */
    float  *values, *value_rows;    /* panels of the transposed values (backward), rows */
    float  *queries, *out;          /* rows (length, wide) of a head: q, and o or do */
    float  *dkeys, *dvalues;        /* (length, wide) */
    float  *scores, *slopes;        /* (ATTENTION_BLOCK, length): p and ds */
};

/* backward: room for attention_backward too. */
void attention_init(struct attention *a, int64_t heads, int64_t kv_heads, int64_t dim,
                    int64_t length_max, int backward);
void attention_free(struct attention *a);

/* qkv (length, (heads + 2 kv_heads) dim): q, k, v of a token next to each other, q and k rotated.
 * Writes out (length, heads dim) and the softmax's largest and 1/sum (length, heads). */
void attention_forward(struct attention *a, int64_t length, const float *qkv, float *out,
                       float *largest, float *inverse);

/* Writes dqkv from dout, with largest and inverse as attention_forward left them. */
void attention_backward(struct attention *a, int64_t length, const float *qkv, const float *largest,
                        const float *inverse, const float *dout, float *dqkv);

/* One key-value head of either, for threads: each with a struct attention of its own. Head `group`
 * writes the outputs of its queries' heads, and of dqkv those of its own key and value, alone. */
void attention_forward_group(struct attention *a, int64_t group, int64_t length, const float *qkv,
                             float *out, float *largest, float *inverse);
void attention_backward_group(struct attention *a, int64_t group, int64_t length,
                              const float *qkv, const float *largest, const float *inverse,
                              const float *dout, float *dqkv);

/* One query against a store of keys and values that grows (the key-value cache): same bits. */
int64_t attention_store_size(const struct attention *a); /* floats: one kv head, length_max tokens */
void attention_store(const struct attention *a, int64_t place, const float *k, const float *v,
                     float *store);                          /* one kv head's k and v (dim) */
void attention_step(struct attention *a, int64_t length, int64_t queries, const float *q,
                    const float *store, float *out); /* q, out (queries, dim), keys 0..length-1 */

#endif
