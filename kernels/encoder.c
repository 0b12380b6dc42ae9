/* The forward pass of an encoder: products over all rows of the batch, attention sequence by
 * sequence and head by head, everything else row by row. */
#include "kernels/encoder_parts.h"

#include "kernels/math.h"
#include "kernels/threads.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_OF_A_PART 16 /* of what threads share row by row */

void
encoder_threads(struct encoder *m, struct threads *t)
{
    m->threads = m->scratch.threads = t;
    for (int64_t i = 0; i < m->config.layers; i++)
        m->layers[i].qkv.threads = m->layers[i].out.threads = m->layers[i].up.threads =
            m->layers[i].down.threads = t;
}

static float *
floats(int64_t rows, int64_t columns)
{
    return xaligned((size_t)(rows * columns) * sizeof(float));
}

static void
make_room(struct encoder *m, int64_t tokens)
{
    const struct encoder_config *c = &m->config;
    int threads = threads_count(m->threads);

    if (m->attentions < threads) {
        m->attention = xresize(m->attention, (size_t)threads * sizeof(*m->attention));
        for (; m->attentions < threads; m->attentions++)
            attention_init(&m->attention[m->attentions], c->heads, c->heads,
                           c->hidden_size / c->heads, encoder_length_max(c), 0);
    }
    if (tokens <= m->room)
        return;
    free(m->x);
    free(m->qkv);
    free(m->mixed);
    free(m->inner);
    free(m->largest);
    free(m->inverse);
    m->room = tokens;
    m->x = floats(tokens, c->hidden_size);
    m->qkv = floats(tokens, 3 * c->hidden_size);
    m->mixed = floats(tokens, c->hidden_size);
    m->inner = floats(tokens, c->intermediate_size);
    m->largest = floats(tokens, c->heads);
    m->inverse = floats(tokens, c->heads);
}

/* x = norm(x + y); y NULL: norm(x). */
static void
norm_row(const struct encoder_norm *n, int64_t width, double eps, const float *y, float *x)
{
    lanes sum = {0}, square = {0};
    float mean, factor;

    for (int64_t i = 0; i < width; i += LANES) {
        lanes v = lanes_get(x, i, width, 0);

        if (y)
            v += lanes_get(y, i, width, 0);
        lanes_put(x, i, width, v);
        sum += v;
    }
    mean = lanes_sum(sum) / (float)width;
    for (int64_t i = 0; i < width; i += LANES) {
        lanes v = lanes_get(x, i, width, mean) - mean;

        square += v * v;
    }
    factor = 1.0f / sqrtf(lanes_sum(square) / (float)width + (float)eps);
    for (int64_t i = 0; i < width; i += LANES)
        lanes_put(x, i, width,
                  (lanes_get(x, i, width, 0) - mean) * factor * lanes_get(n->weight, i, width, 0) +
                      lanes_get(n->bias, i, width, 0));
}

/* The sum of n coefficients, highest power first. */
LANES_INLINE lanes
polynomial(lanes x, const float *c, int n)
{
    lanes y = lanes_all(c[0]);

    for (int i = 1; i < n; i++)
        y = y * x + c[i];
    return y;
}

/* erf(z) for 0 <= z <= 1, and erfc(z) = 1 - erf(z) above 1. */
LANES_INLINE lanes
erf_near(lanes z)
{
    static const float c[] = {7.853861353153693e-5f, -8.010193625184903e-4f, 5.188327685732524e-3f,
                              -2.685381193529856e-2f, 1.128358514861418e-1f,
                              -3.761262582423300e-1f, 1.128379165726710f};

    return z * polynomial(z * z, c, 7);
}

LANES_INLINE lanes
erfc_far(lanes z)
{
    static const float below_2[] = {2.326819970068386e-2f, -1.387039388740657e-1f,
                                    3.687424674597105e-1f, -5.824733027278666e-1f,
                                    6.210004621745983e-1f, -4.944515323274145e-1f,
                                    3.404879937665872e-1f, -2.741127028184656e-1f,
                                    5.638259427386472e-1f};
    static const float above_2[] = {-1.047766399936249e+1f, 1.297719955372516e+1f,
                                    -7.495518717768503f, 2.921019019210786f,
                                    -1.015265279202700f, 4.218463358204948e-1f,
                                    -2.820767439740514e-1f, 5.641895067754075e-1f};
    lanes q = 1.0f / z, y = q * q;
    lanes p = lanes_choose(z < 2.0f, polynomial(y, below_2, 9), polynomial(y, above_2, 8));

    return math_exp(-z * z) * q * p;
}

static void
gelu_row(int64_t width, float *x)
{
    for (int64_t i = 0; i < width; i += LANES) {
        lanes v = lanes_get(x, i, width, 0), z = v * 0.707106781186547524f;
        lanes_int negative = v < 0.0f, near;
        lanes erf, half = 0.5f * v;

        z = lanes_choose(negative, -z, z);
        near = z <= 1.0f;
        erf = lanes_choose(near, erf_near(lanes_choose(near, z, lanes_all(1))),
                           erfc_far(lanes_choose(near, lanes_all(1), z)));
        /* 1 + erf(-z) is erfc(z), which far from 0 is not taken from 1 */
        half *= lanes_choose(near, 1.0f + lanes_choose(negative, -erf, erf),
                             lanes_choose(negative, erf, 2.0f - erf));
        lanes_put(x, i, width, half);
    }
}

/* One pass over the rows of a batch. */
struct pass {
    struct encoder *m;
    const struct batch *b;
    const struct encoder_layer *layer;
    int64_t ahead;
    const int32_t *places;              /* of tokens: rows of the position embedding */
    const struct encoder_norm *norm;    /* x = norm(x + mixed) */
};

static void
rows_of(const struct pass *p, int64_t part, int64_t *from, int64_t *to)
{
    *from = part * ROWS_OF_A_PART;
    *to = *from + ROWS_OF_A_PART < p->b->tokens ? *from + ROWS_OF_A_PART : p->b->tokens;
}

static void
run_rows(struct pass *p, threads_function *function)
{
    threads_run(p->m->threads, (p->b->tokens + ROWS_OF_A_PART - 1) / ROWS_OF_A_PART, function, p);
}

static void
embed_part(void *context, int64_t part, int who)
{
    const struct pass *p = context;
    const struct encoder *m = p->m;
    int64_t width = m->config.hidden_size, from, to;
    size_t row_bytes = m->words->bytes / (size_t)m->config.vocab_size;

    (void)who;
    rows_of(p, part, &from, &to);
    for (int64_t t = from; t < to; t++) {
        struct safetensors_entry row = *m->words;
        const float *place = m->positions + p->places[t] * width;
        float *x = m->x + t * width;

        row.data += (size_t)p->b->ids[t] * row_bytes;
        row.bytes = row_bytes;
        row.elements = width;
        safetensors_floats(&row, x, NULL); /* its type was checked when it was opened */
        for (int64_t i = 0; i < width; i++)
            x[i] = (x[i] + m->type[i]) + place[i];
        norm_row(&m->norm, width, m->config.eps, NULL, x);
    }
}

static void
norm_part(void *context, int64_t part, int who)
{
    const struct pass *p = context;
    int64_t width = p->m->config.hidden_size, from, to;

    (void)who;
    rows_of(p, part, &from, &to);
    for (int64_t t = from; t < to; t++)
        norm_row(p->norm, width, p->m->config.eps, p->m->mixed + t * width, p->m->x + t * width);
}

static void
gelu_part(void *context, int64_t part, int who)
{
    const struct pass *p = context;
    int64_t width = p->m->config.intermediate_size, from, to;

    (void)who;
    rows_of(p, part, &from, &to);
    for (int64_t t = from; t < to; t++)
        gelu_row(width, p->m->inner + t * width);
}

static void
attention_part(void *context, int64_t part, int who)
{
    const struct pass *p = context;
    struct encoder *m = p->m;
    const struct encoder_config *c = &m->config;
    int64_t sequence = part / c->heads, head = part % c->heads;
    int64_t at = p->b->starts[sequence], length = p->b->starts[sequence + 1] - at;

    m->attention[who].ahead = p->ahead;
    attention_forward_group(&m->attention[who], head, length, m->qkv + at * 3 * c->hidden_size,
                            m->x + at * c->hidden_size, m->largest + at * c->heads,
                            m->inverse + at * c->heads);
}

/* How many later tokens a token sees in layer I. */
static int64_t
ahead_of(const struct encoder_config *c, int64_t i)
{
    if (c->lookahead_layers >= 0 && i >= c->lookahead_layers)
        return 0;
    if (c->lookahead < 0)
        return ATTENTION_ALL;
    return c->lookahead / (c->lookahead_layers >= 0 ? c->lookahead_layers : c->layers);
}

static void
run_layer(struct pass *p, int64_t i)
{
    struct encoder *m = p->m;
    const struct encoder_layer *l = &m->layers[i];
    int64_t n = p->b->tokens, width = m->config.hidden_size;

    p->ahead = ahead_of(&m->config, i);
    matmul_packed(n, &l->qkv, m->x, l->qkv_bias, m->qkv);
    /* attention writes where x was, which is kept in mixed until the sum */
    memcpy(m->mixed, m->x, (size_t)(n * width) * sizeof(float));
    threads_run(m->threads, p->b->sequences * m->config.heads, attention_part, p);
    matmul_packed(n, &l->out, m->x, l->out_bias, m->qkv);
    memcpy(m->x, m->qkv, (size_t)(n * width) * sizeof(float));
    p->norm = &l->attention_norm;
    run_rows(p, norm_part);
    matmul_packed(n, &l->up, m->x, l->up_bias, m->inner);
    run_rows(p, gelu_part);
    matmul_packed(n, &l->down, m->inner, l->down_bias, m->mixed);
    p->norm = &l->output_norm;
    run_rows(p, norm_part);
}

/* Rows of the position embedding, as create_position_ids_from_input_ids counts them. */
static int32_t *
places_of(const struct encoder *m, const struct batch *b)
{
    int32_t *places = xarray((size_t)b->tokens + 1, sizeof(*places));

    for (int64_t s = 0; s < b->sequences; s++) {
        int32_t count = 0;

        assert(b->starts[s + 1] - b->starts[s] <= encoder_length_max(&m->config));
        for (int64_t t = b->starts[s]; t < b->starts[s + 1]; t++) {
            int padding = b->ids[t] == m->config.pad;

            assert(b->ids[t] >= 0 && b->ids[t] < m->config.vocab_size);
            count += !padding;
            places[t] = (int32_t)m->config.pad + (padding ? 0 : count);
        }
    }
    return places;
}

void
encoder_run(struct encoder *m, const struct batch *b, int64_t labels, float *logits)
{
    int32_t *places = places_of(m, b);
    struct pass p = {.m = m, .b = b, .places = places};

    assert(labels <= m->config.labels);
    make_room(m, b->tokens);
    run_rows(&p, embed_part);
    for (int64_t i = 0; i < m->config.layers; i++)
        run_layer(&p, i);
    matmul_forward(&m->scratch, b->tokens, labels, m->config.hidden_size, m->x, m->classifier,
                   m->classifier_bias, logits);
    free(places);
}
