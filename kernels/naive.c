/* The definitions, in double. Slow and plain on purpose. */
#include "kernels/naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void
naive_norm(int64_t width, double eps, const double *x, const double *w, double *y)
{
    double squares = 0;

    for (int64_t i = 0; i < width; i++)
        squares += x[i] * x[i];
    for (int64_t i = 0; i < width; i++)
        y[i] = x[i] / sqrt(squares / (double)width + eps) * w[i];
}

void
naive_rotate(int64_t dim, int64_t position, double theta, double *x)
{
    for (int64_t j = 0; j < dim / 2; j++) {
        double angle = (double)position / pow(theta, 2.0 * (double)j / (double)dim);
        double a = x[j], b = x[j + dim / 2];

        x[j] = a * cos(angle) - b * sin(angle);
        x[j + dim / 2] = b * cos(angle) + a * sin(angle);
    }
}

void
naive_turn(int64_t dim, int64_t position, double theta, const struct rope_scaling *scaling,
           double *x)
{
    double grow = scaling->type == ROPE_yarn ? scaling->attention_factor : 1;

    for (int64_t j = 0; j < dim / 2; j++) {
        double angle = (double)position * rope_frequency(scaling, theta, dim, j);
        double a = x[j] * grow, b = x[j + dim / 2] * grow;

        x[j] = a * cos(angle) - b * sin(angle);
        x[j + dim / 2] = b * cos(angle) + a * sin(angle);
    }
}

void
naive_swiglu(int64_t width, const double *gu, double *y)
{
    for (int64_t i = 0; i < width; i++)
        y[i] = gu[i] / (1.0 + exp(-gu[i])) * gu[width + i];
}

void
naive_attention(int64_t length, int64_t heads, int64_t kv_heads, int64_t dim, const double *qkv,
                double *out)
{
    int64_t stride = (heads + 2 * kv_heads) * dim;
    double *p = xarray((size_t)length + 1, sizeof *p);

    for (int64_t h = 0; h < heads; h++)
        for (int64_t t = 0; t < length; t++) {
            const double *q = qkv + t * stride + h * dim;
            const double *k = qkv + (heads + h / (heads / kv_heads)) * dim, *v = k + kv_heads * dim;
            double sum = 0;

            for (int64_t j = 0; j <= t; j++) {
                double dot = 0;

                for (int64_t d = 0; d < dim; d++)
                    dot += q[d] * k[j * stride + d];
                p[j] = exp(dot / sqrt((double)dim));
                sum += p[j];
            }
            for (int64_t d = 0; d < dim; d++) {
                double mix = 0;

                for (int64_t j = 0; j <= t; j++)
                    mix += p[j] / sum * v[j * stride + d];
                out[(t * heads + h) * dim + d] = mix;
            }
        }
    free(p);
}

void
naive_softmax(int64_t classes, const double *z, int64_t target, double *logp, double *lse,
              double *entropy)
{
    double largest = z[0], sum = 0;

    for (int64_t v = 0; v < classes; v++)
        largest = z[v] > largest ? z[v] : largest;
    for (int64_t v = 0; v < classes; v++)
        sum += exp(z[v] - largest);
    *lse = largest + log(sum);
    *logp = z[target] - largest - log(sum);
    *entropy = 0;
    for (int64_t v = 0; v < classes; v++)
        *entropy -= exp(z[v] - *lse) * (z[v] - *lse);
}

/* y(m) += w(m,k) x(k) + bias */
static void
apply(int64_t m, int64_t k, const double *w, const double *bias, const double *x, double *y)
{
    for (int64_t i = 0; i < m; i++) {
        if (bias != NULL)
            y[i] += bias[i];
        for (int64_t j = 0; j < k; j++)
            y[i] += w[i * k + j] * x[j];
    }
}

struct scratch {
    double *normed, *qkv, *mixed, *gu, *act;
};

static const double *
at(const double *w, int64_t offset)
{
    return offset < 0 ? NULL : w + offset;
}

/* A head's q or k through its norm, where there is one, and to its position. */
static void
place_head(const struct model_config *c, const double *norm, int64_t position, double *x)
{
    if (norm != NULL)
        naive_norm(c->head_dim, c->rms_norm_eps, x, norm, x);
    naive_turn(c->head_dim, position, c->rope_theta, &c->rope_scaling, x);
}

/* x (length, hidden) through one layer, in place. */
static void
layer_of(const struct model *m, const struct model_layer *l, const double *w, int64_t length,
         double *x, struct scratch *s)
{
    const struct model_config *c = &m->config;
    int64_t h = c->hidden_size, d = c->head_dim, q = c->num_attention_heads * d;
    int64_t kv = c->num_key_value_heads * d, wide = q + 2 * kv, inner = c->intermediate_size;

    memset(s->qkv, 0, (size_t)(length * wide) * sizeof(double));
    for (int64_t t = 0; t < length; t++) {
        double *row = s->qkv + t * wide;

        naive_norm(h, c->rms_norm_eps, x + t * h, w + l->input_norm, s->normed);
        apply(q, h, w + l->q, at(w, l->q_bias), s->normed, row);
        apply(kv, h, w + l->k, at(w, l->k_bias), s->normed, row + q);
        apply(kv, h, w + l->v, at(w, l->v_bias), s->normed, row + q + kv);
        for (int64_t head = 0; head < q / d + kv / d; head++)
            place_head(c, at(w, head < q / d ? l->q_norm : l->k_norm), t, row + head * d);
    }
    naive_attention(length, q / d, kv / d, d, s->qkv, s->mixed);
    for (int64_t t = 0; t < length; t++) {
        apply(h, q, w + l->o, at(w, l->o_bias), s->mixed + t * q, x + t * h);
        naive_norm(h, c->rms_norm_eps, x + t * h, w + l->post_norm, s->normed);
        memset(s->gu, 0, (size_t)(2 * inner) * sizeof(double));
        apply(inner, h, w + l->gate, at(w, l->gate_bias), s->normed, s->gu);
        apply(inner, h, w + l->up, at(w, l->up_bias), s->normed, s->gu + inner);
        naive_swiglu(inner, s->gu, s->act);
        apply(h, inner, w + l->down, at(w, l->down_bias), s->act, x + t * h);
    }
}

void
naive_decoder(const struct model *m, const double *params, const struct batch *b, double *hidden)
{
    const struct model_config *c = &m->config;
    int64_t h = c->hidden_size, q = c->num_attention_heads * c->head_dim;
    int64_t kv = c->num_key_value_heads * c->head_dim;
    size_t  n = (size_t)b->tokens + 1;
    struct scratch s = {
        xarray((size_t)h, sizeof(double)),
        xarray(n * (size_t)(q + 2 * kv), sizeof(double)),
        xarray(n * (size_t)q, sizeof(double)),
        xarray((size_t)(2 * c->intermediate_size), sizeof(double)),
        xarray((size_t)c->intermediate_size, sizeof(double)),
    };

    for (int64_t t = 0; t < b->tokens; t++)
        memcpy(hidden + t * h, params + m->embed + b->ids[t] * h, (size_t)h * sizeof(double));
    for (int64_t i = 0; i < b->sequences; i++)
        for (int64_t l = 0; l < c->num_hidden_layers; l++)
            layer_of(m, &m->layers[l], params, b->starts[i + 1] - b->starts[i],
                     hidden + b->starts[i] * h, &s);
    for (int64_t t = 0; t < b->tokens; t++) {
        naive_norm(h, c->rms_norm_eps, hidden + t * h, params + m->final_norm, s.normed);
        memcpy(hidden + t * h, s.normed, (size_t)h * sizeof(double));
        if (m->inner < 0)
            continue;
        memset(hidden + t * h, 0, (size_t)h * sizeof(double));
        apply(h, h, params + m->inner, params + m->inner_bias, s.normed, hidden + t * h);
        for (int64_t i = t * h; i < (t + 1) * h; i++)
            hidden[i] = hidden[i] > 0 ? hidden[i] : 0;
    }
    free(s.normed);
    free(s.qkv);
    free(s.mixed);
    free(s.gu);
    free(s.act);
}
