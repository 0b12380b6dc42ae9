/* The key-value cache: the decoder one token at a time for many sequences at once. Each product,
 * norm and softmax runs the same chains as decoder.c does, so the hidden states have the same
 * bits. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/attention.h"
#include "kernels/decoder.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"

struct cache_layer {
    struct matmul_weight qkv, o, gu, down;
};

struct decoder_cache {
    const struct model *model;
    int64_t  rows_max, length_max;
    int64_t  layers, hidden, q, kv, inner;
    int64_t  store;                 /* floats of one kv head of one row and layer */
    float   *stores;                /* (rows_max, layers, kv_heads, store) */
    int64_t *lengths;               /* (rows_max) */
    struct cache_layer  *packed;    /* (layers) */
    struct matmul_weight head, top; /* top: the first layer of a head that has two */
    float   *x, *normed, *qkv, *mixed, *part, *gu, *act, *factor;   /* (rows_max, ...) */
    struct rope      rope;
    struct attention attention;
};

static float *
floats(int64_t rows, int64_t columns)
{
    return xaligned((size_t)(rows * columns) * sizeof(float));
}

struct decoder_cache *
cache_new(const struct model *m, int64_t rows_max, int64_t length_max)
{
    const struct model_config *f = &m->config;
    struct decoder_cache *c = xalloc(sizeof *c);

    c->rows_max = rows_max;
    c->length_max = length_max;
    c->layers = f->num_hidden_layers;
    c->hidden = f->hidden_size;
    c->q = f->num_attention_heads * f->head_dim;
    c->kv = f->num_key_value_heads * f->head_dim;
    c->inner = f->intermediate_size;
    rope_init(&c->rope, length_max, f->head_dim, f->rope_theta, &f->rope_scaling);
    attention_init(&c->attention, f->num_attention_heads, f->num_key_value_heads, f->head_dim,
                   length_max, 0);
    c->store = attention_store_size(&c->attention);
    c->stores = floats(rows_max * c->layers * f->num_key_value_heads, c->store);
    c->lengths = xarray((size_t)rows_max, sizeof *c->lengths);
    c->packed = xarray((size_t)c->layers, sizeof *c->packed);
    c->x = floats(rows_max, c->hidden);
    c->normed = floats(rows_max, c->hidden);
    c->qkv = floats(rows_max, c->q + 2 * c->kv);
    c->mixed = floats(rows_max, c->q);
    c->part = floats(rows_max, c->hidden);
    c->gu = floats(rows_max, 2 * c->inner);
    c->act = floats(rows_max, c->inner);
    c->factor = floats(rows_max, 1 + f->num_attention_heads);
    cache_load(c, m);
    return c;
}

void
cache_free(struct decoder_cache *c)
{
    float **parts[] = {&c->stores, &c->x, &c->normed, &c->qkv, &c->mixed, &c->part, &c->gu, &c->act,
                       &c->factor};

    if (c == NULL)
        return;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(*parts[i]);
    for (int64_t i = 0; i < c->layers; i++) {
        matmul_weight_free(&c->packed[i].qkv);
        matmul_weight_free(&c->packed[i].o);
        matmul_weight_free(&c->packed[i].gu);
        matmul_weight_free(&c->packed[i].down);
    }
    matmul_weight_free(&c->head);
    matmul_weight_free(&c->top);
    rope_free(&c->rope);
    attention_free(&c->attention);
    free(c->packed);
    free(c->lengths);
    free(c);
}

void
cache_load(struct decoder_cache *c, const struct model *m)
{
    c->model = m;
    for (int64_t i = 0; i < c->layers; i++) {
        const struct model_layer *l = &m->layers[i];

        matmul_pack(&c->packed[i].qkv, c->q + 2 * c->kv, c->hidden, m->params + l->q);
        matmul_pack(&c->packed[i].o, c->hidden, c->q, m->params + l->o);
        matmul_pack(&c->packed[i].gu, 2 * c->inner, c->hidden, m->params + l->gate);
        matmul_pack(&c->packed[i].down, c->hidden, c->inner, m->params + l->down);
    }
    matmul_pack(&c->head, m->head_rows, c->hidden, m->params + m->head);
    if (m->inner >= 0)
        matmul_pack(&c->top, c->hidden, c->hidden, m->params + m->inner);
    memset(c->lengths, 0, (size_t)c->rows_max * sizeof *c->lengths);
}

void
cache_reset(struct decoder_cache *c, int64_t row)
{
    c->lengths[row] = 0;
}

static int64_t
row_size(const struct decoder_cache *c)
{
    return c->layers * c->attention.kv_heads * c->store;
}

void
cache_copy(struct decoder_cache *c, int64_t to, int64_t from)
{
    if (to == from)
        return;
    memcpy(c->stores + to * row_size(c), c->stores + from * row_size(c),
           (size_t)row_size(c) * sizeof *c->stores);
    c->lengths[to] = c->lengths[from];
}

int64_t
cache_length(const struct decoder_cache *c, int64_t row)
{
    return c->lengths[row];
}

static void
mix_row(struct decoder_cache *c, int64_t layer, int64_t row, float *qkv, float *out)
{
    struct attention *a = &c->attention;
    const struct model_layer *l = &c->model->layers[layer];
    const float *w = c->model->params;
    int64_t place = c->lengths[row], group = a->heads / a->kv_heads;
    float eps = (float)c->model->config.rms_norm_eps;

    if (l->q_norm >= 0) {
        isa_now()->norm(a->heads, a->dim, eps, qkv, w + l->q_norm, qkv, c->factor);
        isa_now()->norm(a->kv_heads, a->dim, eps, qkv + c->q, w + l->k_norm, qkv + c->q, c->factor);
    }
    rope_turn(&c->rope, place, a->heads + a->kv_heads, 0, qkv);
    for (int64_t g = 0; g < a->kv_heads; g++) {
        float *store = c->stores + row * row_size(c) + (layer * a->kv_heads + g) * c->store;

        attention_store(a, place, qkv + c->q + g * a->dim, qkv + c->q + c->kv + g * a->dim, store);
        attention_step(a, place + 1, group, qkv + g * group * a->dim, store,
                       out + g * group * a->dim);
    }
}

static void
append_layer(struct decoder_cache *c, int64_t layer, int64_t count, const int64_t *rows)
{
    const struct isa *isa = isa_now();
    const struct model_layer *l = &c->model->layers[layer];
    const struct cache_layer *p = &c->packed[layer];
    const float *w = c->model->params;
    float eps = (float)c->model->config.rms_norm_eps;

    isa->norm(count, c->hidden, eps, c->x, w + l->input_norm, c->normed, c->factor);
    matmul_packed(count, &p->qkv, c->normed, model_at(w, l->q_bias), c->qkv);
    for (int64_t i = 0; i < count; i++)
        mix_row(c, layer, rows[i], c->qkv + i * (c->q + 2 * c->kv), c->mixed + i * c->q);
    matmul_packed(count, &p->o, c->mixed, model_at(w, l->o_bias), c->part);
    isa->sum(count * c->hidden, c->x, c->part, c->x);
    isa->norm(count, c->hidden, eps, c->x, w + l->post_norm, c->normed, c->factor);
    matmul_packed(count, &p->gu, c->normed, model_at(w, l->gate_bias), c->gu);
    isa->swiglu(count, c->inner, c->gu, c->act);
    matmul_packed(count, &p->down, c->act, model_at(w, l->down_bias), c->part);
    isa->sum(count * c->hidden, c->x, c->part, c->x);
}

void
cache_append(struct decoder_cache *c, int64_t count, const int64_t *rows, const int32_t *ids,
             float *hidden)
{
    const struct model *m = c->model;

    for (int64_t i = 0; i < count; i++)
        memcpy(c->x + i * c->hidden, m->params + m->embed + ids[i] * c->hidden,
               (size_t)c->hidden * sizeof *c->x);
    for (int64_t i = 0; i < c->layers; i++)
        append_layer(c, i, count, rows);
    isa_now()->norm(count, c->hidden, (float)m->config.rms_norm_eps, c->x,
                    m->params + m->final_norm, m->inner < 0 ? hidden : c->normed, c->factor);
    if (m->inner >= 0)
        matmul_packed(count, &c->top, c->normed, m->params + m->inner_bias, hidden);
    for (int64_t i = 0; m->inner >= 0 && i < count * c->hidden; i++)
        hidden[i] = hidden[i] > 0.0f ? hidden[i] : 0.0f;
    for (int64_t i = 0; i < count; i++)
        c->lengths[rows[i]]++;
}

void
cache_logits(struct decoder_cache *c, int64_t count, const float *hidden, float *logits)
{
    const struct model *m = c->model;

    matmul_packed(count, &c->head, hidden, m->head_bias < 0 ? NULL : m->params + m->head_bias,
                  logits);
}
