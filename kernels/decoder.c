/* The decoder over packed batches. What backward needs of a layer is kept per layer (struct kept);
 * without backward all layers share one set. Normalised inputs are not kept but computed again
 * from the factor.
 *
 * In the last layer the rows that nobody reads (batch.from) end with attention, which needs their
 * keys and values only: the others move together, to the front of their chunk. */
#include "kernels/decoder_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/isa.h"
#include "kernels/threads.h"

#define DECODER_ROWS  64    /* of an operation on rows that one thread takes at a time */
#define DECODER_NEAR  96    /* that one thread alone takes through a feed-forward block: near, but
                               enough to share the way of the weights */

int
batch_check(const struct batch *b, const struct model *m, int64_t tokens_max, struct error *e)
{
    if (b->tokens < 0 || b->tokens > tokens_max)
        return error_set(e, ERROR_limit, "the batch has %lld tokens; there is room for %lld",
                         (long long)b->tokens, (long long)tokens_max);
    if (b->sequences < 0 || (b->sequences == 0 && b->tokens > 0))
        return error_set(e, ERROR_input, "the batch has %lld sequences", (long long)b->sequences);
    for (int64_t i = 0; i < b->sequences; i++)
        if ((i == 0 && b->starts[0] != 0) || b->starts[i + 1] < b->starts[i])
            return error_set(e, ERROR_input, "sequence %lld starts out of order", (long long)i);
        else if (b->starts[i + 1] - b->starts[i] > m->config.positions_usable)
            return error_set(e, ERROR_limit,
                             "sequence %lld has %lld tokens; the model has %lld positions%s",
                             (long long)i, (long long)(b->starts[i + 1] - b->starts[i]),
                             (long long)m->config.positions_usable,
                             m->config.sliding_window > 0 ? " before its attention slides" : "");
    if (b->sequences > 0 && b->starts[b->sequences] != b->tokens)
        return error_set(e, ERROR_input, "the sequences end at %lld of %lld tokens",
                         (long long)b->starts[b->sequences], (long long)b->tokens);
    for (int64_t i = 0; i < b->tokens; i++)
        if (b->ids[i] < 0 || b->ids[i] >= m->config.vocab_size)
            return error_set(e, ERROR_input, "token %lld: id %d is not in 0..%lld", (long long)i,
                             b->ids[i], (long long)m->config.vocab_size - 1);
    return 0;
}

static void
pack_layer(const struct decoder *d, const struct model *m, int64_t layer)
{
    const struct model_layer *l = &m->layers[layer];
    struct packed *p = &d->packed[layer];

    matmul_pack(&p->qkv, d->q + 2 * d->kv, d->hidden, m->params + l->q);
    matmul_pack(&p->o, d->hidden, d->q, m->params + l->o);
    matmul_pack(&p->gu, 2 * d->inner, d->hidden, m->params + l->gate);
    matmul_pack(&p->down, d->hidden, d->inner, m->params + l->down);
}

static void
pack_layer_backward(const struct decoder *d, const struct model *m, int64_t layer)
{
    const struct model_layer *l = &m->layers[layer];
    struct packed *p = &d->packed[layer];

    matmul_pack_backward(&p->qkv, d->q + 2 * d->kv, d->hidden, m->params + l->q);
    matmul_pack_backward(&p->o, d->hidden, d->q, m->params + l->o);
    matmul_pack_backward(&p->gu, 2 * d->inner, d->hidden, m->params + l->gate);
    matmul_pack_backward(&p->down, d->hidden, d->inner, m->params + l->down);
}

static void
keep_batch(struct decoder *d, const struct batch *b)
{
    if (b->sequences + 1 > d->starts_room) {
        d->starts_room = 2 * (b->sequences + 1);
        d->starts = xresize(d->starts, (size_t)d->starts_room * sizeof *d->starts);
        d->from = xresize(d->from, (size_t)d->starts_room * sizeof *d->from);
    }
    d->batch = *b;
    if (b->tokens > 0)
        memcpy(d->ids, b->ids, (size_t)b->tokens * sizeof *d->ids);
    if (b->sequences > 0)
        memcpy(d->starts, b->starts, (size_t)(b->sequences + 1) * sizeof *d->starts);
    if (b->sequences > 0 && b->from != NULL)
        memcpy(d->from, b->from, (size_t)b->sequences * sizeof *d->from);
    d->batch.ids = d->ids;
    d->batch.starts = d->starts;
    d->batch.from = b->from == NULL ? NULL : d->from;
}

/* The rows of the sequences [first, last) that are read, from their places to the front of `to`,
 * which may be the same memory; returns their number. */
static int64_t
gather_read(const struct decoder *d, int64_t first, int64_t last, int64_t width, const float *rows,
            float *to)
{
    const int64_t *starts = d->batch.starts;
    int64_t count = 0;

    for (int64_t s = first; s < last; s++) {
        int64_t at = starts[s] + d->batch.from[s], here = starts[s + 1] - at;

        memmove(to + count * width, rows + (at - starts[first]) * width,
                (size_t)(here * width) * sizeof *to);
        count += here;
    }
    return count;
}

static int64_t
read_rows(const struct decoder *d, int64_t first, int64_t last)
{
    int64_t count = d->batch.starts[last] - d->batch.starts[first];

    for (int64_t s = first; s < last; s++)
        count -= d->batch.from[s];
    return count;
}

/* And back to their places, from the last on; zeros in the rows that are not read. */
static void
spread_read(const struct decoder *d, int64_t first, int64_t last, int64_t count, int64_t width,
            float *rows)
{
    const int64_t *starts = d->batch.starts;

    for (int64_t s = last - 1; s >= first; s--) {
        int64_t before = d->batch.from[s], here = starts[s + 1] - starts[s] - before;
        float  *to = rows + (starts[s] - starts[first]) * width;

        count -= here;
        memmove(to + before * width, rows + count * width, (size_t)(here * width) * sizeof *to);
        memset(to, 0, (size_t)(before * width) * sizeof *to);
    }
}

/* Is this the layer in which rows that are not read end with attention? */
static int
is_gathered(const struct decoder *d, int64_t layer)
{
    return d->batch.from != NULL && layer == d->layers - 1;
}

/* What threads share of a layer: the sequences from `first` on, whose rows begin at `t`; or rows
 * from `near` on after t. */
struct shared {
    struct decoder    *d;
    const struct kept *k;
    int64_t first, t, near, rows;
    int     back;
    float  *qkv;                /* of the rows, to be turned */
};

/* q and k of one sequence, turned to (or back from) their positions. */
static void
turn_part(void *context, int64_t part, int who)
{
    const struct shared  *j = context;
    const struct decoder *d = j->d;
    const int64_t *starts = d->batch.starts + j->first + part;
    int64_t wide = d->q + 2 * d->kv, heads = (d->q + d->kv) / d->rope.dim;
    float  *qkv = j->qkv + (starts[0] - j->t) * wide;

    (void)who;
    for (int64_t i = 0; i < starts[1] - starts[0]; i++, qkv += wide)
        rope_turn(&d->rope, i, heads, j->back, qkv);
}

/* Attention of one key-value head in one sequence. */
static void
attend_part(void *context, int64_t part, int who)
{
    const struct shared  *j = context;
    const struct decoder *d = j->d;
    const struct kept    *k = j->k;
    const int64_t *starts = d->batch.starts + j->first + part / d->kv_heads;
    int64_t at = starts[0], length = starts[1] - at, group = part % d->kv_heads;
    int64_t wide = d->q + 2 * d->kv;

    if (j->back)
        attention_backward_group(&d->attention[who], group, length, k->qkv + at * wide,
                                 k->largest + at * d->heads, k->inverse + at * d->heads,
                                 d->dmixed + (at - j->t) * d->q, d->dqkv + (at - j->t) * wide);
    else
        attention_forward_group(&d->attention[who], group, length, k->qkv + at * wide,
                                k->mixed + at * d->q, k->largest + at * d->heads,
                                k->inverse + at * d->heads);
}

/* silu(gate) up of some rows, or its way back. */
static void
swiglu_part(void *context, int64_t part, int who)
{
    const struct shared  *j = context;
    const struct decoder *d = j->d;
    int64_t i = j->near + part * DECODER_ROWS, left = j->near + j->rows - i, width = d->inner;
    int64_t rows = left < DECODER_ROWS ? left : DECODER_ROWS;
    const float *gu = j->k->gu + (j->t + i) * 2 * width;

    (void)who;
    if (j->back)
        isa_now()->swiglu_back(rows, width, gu, d->dact + i * width, d->dgu + i * 2 * width,
                               d->act + i * width);
    else
        isa_now()->swiglu(rows, width, gu, d->act + i * width);
}

static int64_t
row_parts(int64_t rows)
{
    return (rows + DECODER_ROWS - 1) / DECODER_ROWS;
}

/* The norms of q and k over n rows at qkv; what they were before is kept at raw. */
static void
norm_heads(const struct decoder *d, const struct model_layer *l, const float *w, float eps,
           int64_t n, float *qkv, float *raw, float *factor)
{
    const struct isa *isa = isa_now();
    int64_t wide = d->q + 2 * d->kv, both = d->q + d->kv, dim = d->rope.dim;

    for (int64_t t = 0; t < n; t++, qkv += wide, raw += both, factor += d->heads + d->kv_heads) {
        memcpy(raw, qkv, (size_t)both * sizeof *raw);
        isa->norm(d->heads, dim, eps, raw, w + l->q_norm, qkv, factor);
        isa->norm(d->kv_heads, dim, eps, raw + d->q, w + l->k_norm, qkv + d->q, factor + d->heads);
    }
}

/* dqkv of n rows through those norms, in place. */
static void
norm_heads_back(const struct decoder *d, const struct model_layer *l, const float *w, int64_t n,
                const float *raw, const float *factor, float *dqkv, float *grads)
{
    const struct isa *isa = isa_now();
    int64_t wide = d->q + 2 * d->kv, both = d->q + d->kv, dim = d->rope.dim;

    for (int64_t t = 0; t < n; t++, dqkv += wide, raw += both, factor += d->heads + d->kv_heads) {
        memset(d->draw, 0, (size_t)both * sizeof *d->draw);
        isa->norm_back(d->heads, dim, raw, w + l->q_norm, factor, dqkv, d->draw, grads + l->q_norm);
        isa->norm_back(d->kv_heads, dim, raw + d->q, w + l->k_norm, factor + d->heads, dqkv + d->q,
                       d->draw + d->q, grads + l->k_norm);
        memcpy(dqkv, d->draw, (size_t)both * sizeof *dqkv);
    }
}

/* How many rows go through a feed-forward block before the next: many where threads share them. */
static int64_t
near_rows(const struct decoder *d, int64_t left)
{
    return threads_count(d->threads) > 1 || left < DECODER_NEAR ? left : DECODER_NEAR;
}

/* next = middle + the feed-forward block of its norm, over rows [t, t + n). */
static void
forward_inner(struct decoder *d, const struct model *m, int64_t layer, int64_t t, int64_t n,
              float *next)
{
    const struct isa *isa = isa_now();
    const struct model_layer *l = &m->layers[layer];
    const struct packed *p = &d->packed[layer];
    const struct kept *k = &d->kept[layer];
    const float *w = m->params;
    int64_t h = d->hidden;

    for (int64_t i = t, rows; i < t + n; i += rows) {
        struct shared share = {.d = d, .k = k, .t = i};

        share.rows = rows = near_rows(d, t + n - i);
        isa->norm(rows, h, (float)m->config.rms_norm_eps, k->middle + i * h, w + l->post_norm,
                  d->normed, k->factor2 + i);
        matmul_packed(rows, &p->gu, d->normed, model_at(w, l->gate_bias),
                      k->gu + i * 2 * d->inner);
        threads_run(d->threads, row_parts(rows), swiglu_part, &share);
        matmul_packed(rows, &p->down, d->act, model_at(w, l->down_bias), d->part);
        isa->sum(rows * h, k->middle + i * h, d->part, next + i * h);
    }
}

/* Layer `layer` over the sequences [first, last): their rows [t, t + n). */
static void
forward_layer(struct decoder *d, const struct model *m, int64_t layer, int64_t first, int64_t last,
              float *next)
{
    const struct isa *isa = isa_now();
    const struct model_layer *l = &m->layers[layer];
    const struct packed *p = &d->packed[layer];
    const struct kept *k = &d->kept[layer];
    const float *w = m->params, *x;
    int64_t t = d->batch.starts[first], n = d->batch.starts[last] - t;
    int64_t h = d->hidden, wide = d->q + 2 * d->kv;
    float eps = (float)m->config.rms_norm_eps;
    struct shared share = {.d = d, .k = k, .first = first, .t = t, .rows = n,
                           .qkv = k->qkv + t * wide};

    x = k->x + t * h;
    isa->norm(n, h, eps, x, w + l->input_norm, d->normed, k->factor + t);
    matmul_packed(n, &p->qkv, d->normed, model_at(w, l->q_bias), k->qkv + t * wide);
    if (d->qk_norm)
        norm_heads(d, l, w, eps, n, k->qkv + t * wide, k->raw + t * (d->q + d->kv),
                   k->factor_qk + t * (d->heads + d->kv_heads));
    threads_run(d->threads, last - first, turn_part, &share);
    threads_run(d->threads, (last - first) * d->kv_heads, attend_part, &share);
    if (is_gathered(d, layer)) {
        n = gather_read(d, first, last, d->q, k->mixed + t * d->q, k->mixed + t * d->q);
        gather_read(d, first, last, h, x, d->normed);
        x = d->normed;
    }
    matmul_packed(n, &p->o, k->mixed + t * d->q, model_at(w, l->o_bias), d->part);
    isa->sum(n * h, x, d->part, k->middle + t * h);
    forward_inner(d, m, layer, t, n, next);
}

static int64_t
chunk_end(const struct batch *b, int64_t first)
{
    int64_t last = first + 1;

    while (last < b->sequences && b->starts[last + 1] - b->starts[first] <= DECODER_CHUNK)
        last++;
    return last;
}

/* The first layer of a head that has two, over rows [t, t + n): top = relu(W out + b). */
static void
forward_top(struct decoder *d, const struct model *m, int64_t t, int64_t n)
{
    int64_t h = d->hidden;

    matmul_packed(n, &d->top_weight, d->out + t * h, m->params + m->inner_bias, d->top + t * h);
    for (int64_t i = t * h; i < (t + n) * h; i++)
        d->top[i] = d->top[i] > 0.0f ? d->top[i] : 0.0f;
}

/* dL/d(top) of rows [t, t + n) to dL/d(out). */
static const float *
backward_top(struct decoder *d, const struct model *m, int64_t t, int64_t n, const float *dtop,
             float *grads)
{
    int64_t h = d->hidden;

    for (int64_t i = 0; i < n * h; i++)
        d->dtop[i] = d->top[t * h + i] > 0.0f ? dtop[i] : 0.0f;
    matmul_backward_w(&d->matmul, n, h, h, d->dtop, d->out + t * h, grads + m->inner);
    matmul_backward_bias(n, h, d->dtop, grads + m->inner_bias);
    matmul_backward_x(&d->matmul, n, h, h, d->dtop, m->params + m->inner, 0, d->dout);
    return d->dout;
}

const float *
decoder_forward(struct decoder *d, const struct model *m, const struct batch *b)
{
    int64_t h = d->hidden;

    keep_batch(d, b);
    for (int64_t i = 0; i < d->layers; i++)
        pack_layer(d, m, i);
    if (m->inner >= 0)
        matmul_pack(&d->top_weight, h, h, m->params + m->inner);
    for (int64_t first = 0, last; first < b->sequences; first = last) {
        int64_t t = b->starts[first], n, read;

        last = chunk_end(b, first);
        n = b->starts[last] - t;
        read = b->from == NULL ? n : read_rows(d, first, last);
        for (int64_t i = t; i < t + n; i++)
            memcpy(d->kept[0].x + i * h, m->params + m->embed + b->ids[i] * h,
                   (size_t)h * sizeof(float));
        for (int64_t i = 0; i < d->layers; i++)
            forward_layer(d, m, i, first, last, i + 1 < d->layers ? d->kept[i + 1].x : d->last);
        isa_now()->norm(read, h, (float)m->config.rms_norm_eps, d->last + t * h,
                        m->params + m->final_norm, d->out + t * h, d->factor + t);
        if (b->from != NULL)
            spread_read(d, first, last, read, h, d->out + t * h);
        if (m->inner >= 0)
            forward_top(d, m, t, n);
    }
    return d->top;
}

/* d->dx from dL/d(output of the feed-forward block) to dL/d(its input), over rows [t, t + n). */
static void
backward_inner(struct decoder *d, const struct model *m, int64_t layer, int64_t t, int64_t n,
               float *grads)
{
    const struct isa *isa = isa_now();
    const struct model_layer *l = &m->layers[layer];
    const struct packed *p = &d->packed[layer];
    const struct kept *k = &d->kept[layer];
    const float *w = m->params;
    int64_t h = d->hidden, inner = d->inner;

    if (l->down_bias >= 0)
        matmul_backward_bias(n, h, d->dx, grads + l->down_bias);
    for (int64_t i = 0, rows; i < n; i += rows) {
        struct shared share = {.d = d, .k = k, .t = t, .near = i, .back = 1};

        share.rows = rows = near_rows(d, n - i);
        matmul_packed(rows, &p->down, d->dx + i * h, NULL, d->dact + i * inner);
        threads_run(d->threads, row_parts(rows), swiglu_part, &share);
        matmul_packed(rows, &p->gu, d->dgu + i * 2 * inner, NULL, d->dnormed + i * h);
    }
    matmul_backward_w(&d->matmul, n, h, inner, d->dx, d->act, grads + l->down);
    isa->norm_again(n, h, k->middle + t * h, w + l->post_norm, k->factor2 + t, d->normed);
    matmul_backward_w(&d->matmul, n, 2 * inner, h, d->dgu, d->normed, grads + l->gate);
    if (l->gate_bias >= 0)
        matmul_backward_bias(n, 2 * inner, d->dgu, grads + l->gate_bias);
    isa->norm_back(n, h, k->middle + t * h, w + l->post_norm, k->factor2 + t, d->dnormed, d->dx,
                   grads + l->post_norm);
}

/* The same for the attention block of the sequences [first, last), `read` rows of whose output are
 * in d->dx. */
static void
backward_attention(struct decoder *d, const struct model *m, int64_t layer, int64_t first,
                   int64_t last, int64_t read, float *grads)
{
    const struct isa *isa = isa_now();
    const struct model_layer *l = &m->layers[layer];
    const struct packed *p = &d->packed[layer];
    const struct kept *k = &d->kept[layer];
    const float *w = m->params;
    int64_t t = d->batch.starts[first], n = d->batch.starts[last] - t;
    int64_t h = d->hidden, wide = d->q + 2 * d->kv;
    struct shared share = {.d = d, .k = k, .first = first, .t = t, .rows = n, .back = 1,
                           .qkv = d->dqkv};

    if (l->o_bias >= 0)
        matmul_backward_bias(read, h, d->dx, grads + l->o_bias);
    matmul_packed(read, &p->o, d->dx, NULL, d->dmixed);
    matmul_backward_w(&d->matmul, read, h, d->q, d->dx, k->mixed + t * d->q, grads + l->o);
    if (is_gathered(d, layer)) {
        spread_read(d, first, last, read, d->q, d->dmixed);
        spread_read(d, first, last, read, h, d->dx);
    }
    threads_run(d->threads, (last - first) * d->kv_heads, attend_part, &share);
    threads_run(d->threads, last - first, turn_part, &share);
    if (d->qk_norm)
        norm_heads_back(d, l, w, n, k->raw + t * (d->q + d->kv),
                        k->factor_qk + t * (d->heads + d->kv_heads), d->dqkv, grads);
    isa->norm_again(n, h, k->x + t * h, w + l->input_norm, k->factor + t, d->normed);
    matmul_backward_w(&d->matmul, n, wide, h, d->dqkv, d->normed, grads + l->q);
    if (l->q_bias >= 0)
        matmul_backward_bias(n, wide, d->dqkv, grads + l->q_bias);
    matmul_packed(n, &p->qkv, d->dqkv, NULL, d->dnormed);
    isa->norm_back(n, h, k->x + t * h, w + l->input_norm, k->factor + t, d->dnormed, d->dx,
                   grads + l->input_norm);
}

/* The sequences [first, last) of decoder_backward. */
static void
backward_chunk(struct decoder *d, const struct model *m, int64_t first, int64_t last,
               const float *dout, float *grads)
{
    const struct batch *b = &d->batch;
    int64_t h = d->hidden, t = b->starts[first], n = b->starts[last] - t, read = n;

    if (m->inner >= 0)
        dout = backward_top(d, m, t, n, dout, grads);
    if (b->from != NULL) {
        read = gather_read(d, first, last, h, dout, d->dnormed);
        dout = d->dnormed;
    }
    memset(d->dx, 0, (size_t)(read * h) * sizeof *d->dx);
    isa_now()->norm_back(read, h, d->last + t * h, m->params + m->final_norm, d->factor + t, dout,
                         d->dx, grads + m->final_norm);
    for (int64_t i = d->layers - 1; i >= 0; i--, read = n) {
        backward_inner(d, m, i, t, read, grads);
        backward_attention(d, m, i, first, last, read, grads);
    }
    for (int64_t i = 0; i < n; i++)
        isa_now()->add(h, d->dx + i * h, grads + m->embed + b->ids[t + i] * h);
}

void
decoder_backward(struct decoder *d, const struct model *m, const float *dhidden, float *grads)
{
    const struct batch *b = &d->batch;

    for (int64_t i = 0; i < d->layers; i++)
        pack_layer_backward(d, m, i);
    for (int64_t first = 0, last; first < b->sequences; first = last) {
        last = chunk_end(b, first);
        backward_chunk(d, m, first, last, dhidden + b->starts[first] * d->hidden, grads);
    }
}
