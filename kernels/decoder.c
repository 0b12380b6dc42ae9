/* The decoder over packed batches. What backward needs of a layer is kept per layer (struct kept);
 * without backward all layers share one set. Normalised inputs are not kept but computed again
 * from the factor. */
#include "kernels/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/attention.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"
#include "kernels/threads.h"

/* Whole sequences of about DECODER_CHUNK tokens go through all layers before the next ones begin:
 * what one operation writes is still near when the next reads it. Nothing crosses a sequence, so
 * no bit changes. */
#define DECODER_CHUNK 512
#define DECODER_ROWS  64    /* of an operation on rows that one thread takes at a time */

struct kept {
    float *x;                   /* (tokens, hidden): input of the layer */
    float *factor;              /* (tokens): of the first norm */
    float *raw;                 /* (tokens, q + kv): q and k before their norms, where there are */
    float *factor_qk;           /* (tokens, q and kv heads): of those norms */
    float *qkv;                 /* (tokens, q + 2 kv): rotated */
    float *largest, *inverse;   /* (tokens, heads): of the softmax */
    float *mixed;               /* (tokens, q): attention's output */
    float *middle;              /* (tokens, hidden): after attention */
    float *factor2;             /* (tokens): of the second norm */
    float *gu;                  /* (tokens, 2 inner): gate and up */
};

struct packed {     /* a layer's weights as forward products want them, or as backward ones do */
    struct matmul_weight qkv, o, gu, down;
};

struct decoder {
    int64_t          tokens_max, layers;
    int64_t          chunk_max; /* rows that go through the layers together */
    int64_t          hidden, q, kv, inner, heads, kv_heads;
    int              backward, qk_norm;
    struct matmul_weight top_weight;    /* of the head's first layer, where it has two */
    struct kept     *kept;      /* (layers) */
    struct packed   *packed;    /* (layers) */
    float           *slab;      /* all the floats of kept and of what follows */
    float           *last;      /* (tokens, hidden): before the final norm */
    float           *factor;    /* (tokens): of the final norm */
    float           *out;       /* (tokens, hidden): after it */
    float           *top;       /* (tokens, hidden): after the head's first layer; or out */
    float           *normed;    /* (chunk, hidden): a norm's output */
    float           *part;      /* (chunk, hidden): what is added to the stream */
    float           *act;       /* (chunk, inner): silu(gate) up */
    float           *dx, *dnormed, *dqkv, *dmixed, *dgu, *dact;     /* (chunk, ...) */
    float           *draw;      /* (q + kv): one token's */
    float           *dtop, *dout;   /* (chunk, hidden) */
    struct batch     batch;     /* of the last forward, with its own copies */
    int32_t         *ids;
    int64_t         *starts;
    int64_t          starts_room;
    struct rope      rope;
    struct threads  *threads;
    struct attention *attention;    /* (attentions): of each thread */
    int              attentions;
    struct matmul    matmul;
};

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

/* Gives out parts of the slab; the first pass, without one, only counts. */
struct cursor {
    float  *slab;
    int64_t used;
};

static float *
take(struct cursor *c, int64_t count)
{
    float *at = c->slab == NULL ? NULL : c->slab + c->used;

    c->used += (count + 15) / 16 * 16;
    return at;
}

static void
take_kept(struct decoder *d, struct cursor *c, struct kept *k)
{
    int64_t n = d->tokens_max;

    k->x = take(c, n * d->hidden);
    k->factor = take(c, n);
    k->raw = take(c, d->qk_norm ? n * (d->q + d->kv) : 0);
    k->factor_qk = take(c, d->qk_norm ? n * (d->heads + d->kv_heads) : 0);
    k->qkv = take(c, n * (d->q + 2 * d->kv));
    k->largest = take(c, n * d->heads);
    k->inverse = take(c, n * d->heads);
    k->mixed = take(c, n * d->q);
    k->middle = take(c, n * d->hidden);
    k->factor2 = take(c, n);
    k->gu = take(c, n * 2 * d->inner);
}

static void
take_all(struct decoder *d, struct cursor *c, int two_layers)
{
    int64_t n = d->tokens_max, near = d->chunk_max;

    for (int64_t i = 0; i < d->layers; i++)
        if (i == 0 || d->backward)
            take_kept(d, c, &d->kept[i]);
        else
            d->kept[i] = d->kept[0];
    d->last = d->backward ? take(c, n * d->hidden) : d->kept[0].x;
    d->factor = take(c, n);
    d->out = take(c, n * d->hidden);
    d->top = two_layers ? take(c, n * d->hidden) : d->out;
    d->normed = take(c, near * d->hidden);
    d->part = take(c, near * d->hidden);
    d->act = take(c, near * d->inner);
    if (!d->backward)
        return;
    d->dx = take(c, near * d->hidden);
    d->dnormed = d->part;
    d->dqkv = take(c, near * (d->q + 2 * d->kv));
    d->draw = take(c, d->q + d->kv);
    d->dtop = two_layers ? take(c, near * d->hidden) : NULL;
    d->dout = two_layers ? take(c, near * d->hidden) : NULL;
    d->dmixed = take(c, near * d->q);
    d->dgu = take(c, near * 2 * d->inner);
    d->dact = take(c, near * d->inner);
}

struct decoder *
decoder_new(const struct model *m, int64_t tokens_max, int backward)
{
    const struct model_config *c = &m->config;
    struct decoder *d = xalloc(sizeof *d);
    struct cursor   cursor = {0};
    int64_t         longest = tokens_max;

    if (longest > c->positions_usable)
        longest = c->positions_usable;
    d->tokens_max = tokens_max;
    d->chunk_max = longest > DECODER_CHUNK ? longest : DECODER_CHUNK;
    d->layers = c->num_hidden_layers;
    d->hidden = c->hidden_size;
    d->heads = c->num_attention_heads;
    d->kv_heads = c->num_key_value_heads;
    d->qk_norm = c->qk_norm;
    d->q = c->num_attention_heads * c->head_dim;
    d->kv = c->num_key_value_heads * c->head_dim;
    d->inner = c->intermediate_size;
    d->backward = backward;
    d->kept = xarray((size_t)d->layers, sizeof *d->kept);
    d->packed = xarray((size_t)d->layers, sizeof *d->packed);
    take_all(d, &cursor, m->inner >= 0);
    cursor.slab = d->slab = xaligned((size_t)cursor.used * sizeof(float));
    cursor.used = 0;
    take_all(d, &cursor, m->inner >= 0);
    d->ids = xarray((size_t)tokens_max, sizeof *d->ids);
    rope_init(&d->rope, longest, c->head_dim, c->rope_theta, &c->rope_scaling);
    d->attention = xalloc(sizeof *d->attention);
    d->attentions = 1;
    attention_init(d->attention, d->heads, c->num_key_value_heads, c->head_dim, longest, backward);
    return d;
}

void
decoder_free(struct decoder *d)
{
    if (d == NULL)
        return;
    for (int64_t i = 0; i < d->layers; i++) {
        matmul_weight_free(&d->packed[i].qkv);
        matmul_weight_free(&d->packed[i].o);
        matmul_weight_free(&d->packed[i].gu);
        matmul_weight_free(&d->packed[i].down);
    }
    matmul_weight_free(&d->top_weight);
    rope_free(&d->rope);
    for (int i = 0; i < d->attentions; i++)
        attention_free(&d->attention[i]);
    free(d->attention);
    matmul_free(&d->matmul);
    free(d->kept);
    free(d->packed);
    free(d->slab);
    free(d->ids);
    free(d->starts);
    free(d);
}

void
decoder_threads(struct decoder *d, struct threads *t)
{
    int count = threads_count(t);

    d->threads = d->matmul.threads = d->top_weight.threads = t;
    for (int64_t i = 0; i < d->layers; i++) {
        struct packed *p = &d->packed[i];

        p->qkv.threads = p->o.threads = p->gu.threads = p->down.threads = t;
    }
    if (count > d->attentions)
        d->attention = xresize(d->attention, (size_t)count * sizeof *d->attention);
    for (; d->attentions < count; d->attentions++)
        attention_init(&d->attention[d->attentions], d->heads, d->kv_heads, d->rope.dim,
                       d->attention->length_max, d->backward);
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
    }
    d->batch = *b;
    if (b->tokens > 0)
        memcpy(d->ids, b->ids, (size_t)b->tokens * sizeof *d->ids);
    if (b->sequences > 0)
        memcpy(d->starts, b->starts, (size_t)(b->sequences + 1) * sizeof *d->starts);
    d->batch.ids = d->ids;
    d->batch.starts = d->starts;
}

/* What threads share of a layer: the sequences from `first` on, whose rows begin at `t`. */
struct shared {
    struct decoder    *d;
    const struct kept *k;
    int64_t first, t, rows;
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
    int64_t i = part * DECODER_ROWS, left = j->rows - i, width = d->inner;
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

/* Layer `layer` over the sequences [first, last): their rows [t, t + n). */
static void
forward_layer(struct decoder *d, const struct model *m, int64_t layer, int64_t first, int64_t last,
              float *next)
{
    const struct isa *isa = isa_now();
    const struct model_layer *l = &m->layers[layer];
    const struct packed *p = &d->packed[layer];
    const struct kept *k = &d->kept[layer];
    const float *w = m->params;
    int64_t t = d->batch.starts[first], n = d->batch.starts[last] - t;
    int64_t h = d->hidden, wide = d->q + 2 * d->kv;
    float eps = (float)m->config.rms_norm_eps;
    struct shared share = {.d = d, .k = k, .first = first, .t = t, .rows = n,
                           .qkv = k->qkv + t * wide};

    isa->norm(n, h, eps, k->x + t * h, w + l->input_norm, d->normed, k->factor + t);
    matmul_packed(n, &p->qkv, d->normed, model_at(w, l->q_bias), k->qkv + t * wide);
    if (d->qk_norm)
        norm_heads(d, l, w, eps, n, k->qkv + t * wide, k->raw + t * (d->q + d->kv),
                   k->factor_qk + t * (d->heads + d->kv_heads));
    threads_run(d->threads, last - first, turn_part, &share);
    threads_run(d->threads, (last - first) * d->kv_heads, attend_part, &share);
    matmul_packed(n, &p->o, k->mixed + t * d->q, model_at(w, l->o_bias), d->part);
    isa->sum(n * h, k->x + t * h, d->part, k->middle + t * h);
    isa->norm(n, h, eps, k->middle + t * h, w + l->post_norm, d->normed, k->factor2 + t);
    matmul_packed(n, &p->gu, d->normed, model_at(w, l->gate_bias), k->gu + t * 2 * d->inner);
    threads_run(d->threads, row_parts(n), swiglu_part, &share);
    matmul_packed(n, &p->down, d->act, model_at(w, l->down_bias), d->part);
    isa->sum(n * h, k->middle + t * h, d->part, next + t * h);
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
        int64_t t = b->starts[first], n;

        last = chunk_end(b, first);
        n = b->starts[last] - t;
        for (int64_t i = t; i < t + n; i++)
            memcpy(d->kept[0].x + i * h, m->params + m->embed + b->ids[i] * h,
                   (size_t)h * sizeof(float));
        for (int64_t i = 0; i < d->layers; i++)
            forward_layer(d, m, i, first, last, i + 1 < d->layers ? d->kept[i + 1].x : d->last);
        isa_now()->norm(n, h, (float)m->config.rms_norm_eps, d->last + t * h,
                        m->params + m->final_norm, d->out + t * h, d->factor + t);
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
    struct shared share = {.d = d, .k = k, .t = t, .rows = n, .back = 1};

    if (l->down_bias >= 0)
        matmul_backward_bias(n, h, d->dx, grads + l->down_bias);
    matmul_packed(n, &p->down, d->dx, NULL, d->dact);
    threads_run(d->threads, row_parts(n), swiglu_part, &share);
    matmul_backward_w(&d->matmul, n, h, inner, d->dx, d->act, grads + l->down);
    isa->norm_again(n, h, k->middle + t * h, w + l->post_norm, k->factor2 + t, d->normed);
    matmul_backward_w(&d->matmul, n, 2 * inner, h, d->dgu, d->normed, grads + l->gate);
    if (l->gate_bias >= 0)
        matmul_backward_bias(n, 2 * inner, d->dgu, grads + l->gate_bias);
    matmul_packed(n, &p->gu, d->dgu, NULL, d->dnormed);
    isa->norm_back(n, h, k->middle + t * h, w + l->post_norm, k->factor2 + t, d->dnormed, d->dx,
                   grads + l->post_norm);
}

/* The same for the attention block of the sequences [first, last). */
static void
backward_attention(struct decoder *d, const struct model *m, int64_t layer, int64_t first,
                   int64_t last, float *grads)
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
        matmul_backward_bias(n, h, d->dx, grads + l->o_bias);
    matmul_packed(n, &p->o, d->dx, NULL, d->dmixed);
    matmul_backward_w(&d->matmul, n, h, d->q, d->dx, k->mixed + t * d->q, grads + l->o);
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

void
decoder_backward(struct decoder *d, const struct model *m, const float *dhidden, float *grads)
{
    const struct batch *b = &d->batch;
    int64_t h = d->hidden;

    for (int64_t i = 0; i < d->layers; i++)
        pack_layer_backward(d, m, i);
    for (int64_t first = 0, last; first < b->sequences; first = last) {
        int64_t t = b->starts[first], n;
        const float *dout = dhidden + t * h;

        last = chunk_end(b, first);
        n = b->starts[last] - t;
        if (m->inner >= 0)
            dout = backward_top(d, m, t, n, dout, grads);
        memset(d->dx, 0, (size_t)(n * h) * sizeof *d->dx);
        isa_now()->norm_back(n, h, d->last + t * h, m->params + m->final_norm, d->factor + t,
                             dout, d->dx, grads + m->final_norm);
        for (int64_t i = d->layers - 1; i >= 0; i--) {
            backward_inner(d, m, i, t, n, grads);
            backward_attention(d, m, i, first, last, grads);
        }
        for (int64_t i = 0; i < n; i++)
            isa_now()->add(h, d->dx + i * h, grads + m->embed + b->ids[t + i] * h);
    }
}
