/* The decoder's memory: what is kept of each layer, scratch, packed weights, threads' scratch. */
#include "kernels/decoder_parts.h"

#include <stdlib.h>

#include "base/memory.h"
#include "kernels/threads.h"

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
    free(d->from);
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
