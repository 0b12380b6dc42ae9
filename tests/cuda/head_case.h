/* head_case: a head, rows and what the head makes of them by the definition, in double. Shared by
 * the tests of the head and of the loss. */
#ifndef TESTS_CUDA_HEAD_CASE_H
#define TESTS_CUDA_HEAD_CASE_H

#include "tests/cuda/check.h"

struct head_case {
    int64_t  rows, hidden, vocab, x_stride, weight_stride;
    uint16_t *x, *weight;           /* bfloat16, host */
    float    *bias;                 /* or NULL */
    int32_t  *targets;
    struct sluice_head head;        /* the device's */
    struct sluice_rows in;
    /* By the definition; made by case_know(). */
    double   *z;                    /* (rows, vocab) */
    double   *logp, *lse, *entropy; /* (rows); zeros without a target */
    double   *room;                 /* (rows): error of a logit that float32 sums may have */
};

/* Gives back what the check has taken of the device's memory since buffer_count was `kept`. */
static inline void
case_forget(int kept)
{
    sluice_cuda_wait(sluice());
    while (checks.buffer_count > kept)
        sluice_cuda_free(sluice(), checks.buffers[--checks.buffer_count]);
}

static inline void
case_free(struct head_case *k)
{
    void *all[] = {k->x, k->weight, k->bias, k->targets, k->z,
                   k->logp, k->lse, k->entropy, k->room};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    memset(k, 0, sizeof *k);
    case_forget(0);
}

/* Copies the host's arrays to the device, again where a test has changed them. */
static inline void
case_upload(struct head_case *k)
{
    k->head.hidden = k->hidden;
    k->head.vocab = k->vocab;
    k->head.weight = device(k->weight, k->vocab * k->weight_stride * 2);
    k->head.weight_stride = k->weight_stride;
    k->head.bias = (const float *)device(k->bias, k->vocab * 4);
    k->in.rows = k->rows;
    k->in.x = device(k->x, k->rows * k->x_stride * 2);
    k->in.x_stride = k->x_stride;
    k->in.targets = (const int32_t *)device(k->targets, k->rows * 4);
}

/* Every `missing`th row has no target (0: all have one). pads: of the strides. */
static inline void
case_begin(struct head_case *k, int64_t rows, int64_t hidden, int64_t vocab, int with_bias,
           int missing, int64_t x_pad, int64_t weight_pad, double scale)
{
    uint64_t seed = 77;

    memset(k, 0, sizeof *k);
    k->rows = rows;
    k->hidden = hidden;
    k->vocab = vocab;
    k->x_stride = hidden + x_pad;
    k->weight_stride = hidden + weight_pad;
    k->x = (uint16_t *)check_room(rows * k->x_stride * 2);
    k->weight = (uint16_t *)check_room(vocab * k->weight_stride * 2);
    k->targets = (int32_t *)check_room(rows * 4);
    for (int64_t i = 0; i < rows * k->x_stride; i++)
        k->x[i] = check_bf16((float)(check_normal(&seed) * scale));
    for (int64_t i = 0; i < vocab * k->weight_stride; i++)
        k->weight[i] = check_bf16((float)check_normal(&seed));
    if (with_bias) {
        k->bias = (float *)check_room(vocab * 4);
        for (int64_t v = 0; v < vocab; v++)
            k->bias[v] = (float)check_normal(&seed);
    }
    for (int64_t i = 0; i < rows; i++)
        k->targets[i] = missing > 0 && i % missing == missing - 1
                            ? -1 : (int32_t)check_below(&seed, vocab);
    case_upload(k);
}

static inline double
case_x(const struct head_case *k, int64_t row, int64_t i)
{
    return (double)check_float(k->x[row * k->x_stride + i]);
}

static inline double
case_weight(const struct head_case *k, int64_t v, int64_t i)
{
    return (double)check_float(k->weight[v * k->weight_stride + i]);
}

/* log p(y), logsumexp and entropy of one row of logits. */
static inline void
case_softmax(const double *z, int64_t vocab, int64_t y, double *logp, double *lse, double *entropy)
{
    double largest = -INFINITY, sum = 0, mean = 0;

    for (int64_t v = 0; v < vocab; v++)
        largest = fmax(largest, z[v]);
    for (int64_t v = 0; v < vocab; v++) {
        sum += exp(z[v] - largest);
        mean += exp(z[v] - largest) * (z[v] - largest);
    }
    *lse = largest + log(sum);
    *logp = (z[y] - largest) - log(sum);
    *entropy = log(sum) - mean / sum;
}

static inline void
case_row(struct head_case *k, int64_t row)
{
    double *z = k->z + row * k->vocab, sizes = 0;

    for (int64_t v = 0; v < k->vocab; v++) {
        double size = k->bias == NULL ? 0 : fabs((double)k->bias[v]);

        z[v] = k->bias == NULL ? 0 : (double)k->bias[v];
        for (int64_t i = 0; i < k->hidden; i++) {
            double term = case_x(k, row, i) * case_weight(k, v, i);

            z[v] += term;
            size += fabs(term);
        }
        sizes = fmax(sizes, size);
    }
    k->room[row] = (double)(k->hidden + 2) * 0x1p-24 * sizes;
    if (k->targets[row] >= 0)
        case_softmax(z, k->vocab, k->targets[row], &k->logp[row], &k->lse[row], &k->entropy[row]);
}

static inline void
case_know(struct head_case *k)
{
    k->z = (double *)check_room(k->rows * k->vocab * 8);
    k->logp = (double *)check_room(k->rows * 8);
    k->lse = (double *)check_room(k->rows * 8);
    k->entropy = (double *)check_room(k->rows * 8);
    k->room = (double *)check_room(k->rows * 8);
    for (int64_t row = 0; row < k->rows; row++)
        case_row(k, row);
}

/* What a statistic of the row may be off by: its logits, and a few roundings of float32. */
static inline double
case_tolerance(const struct head_case *k, int64_t row)
{
    return 2 * k->room[row] + 8 * 0x1p-24 * (1 + fabs(k->lse[row]) + log((double)k->vocab));
}

/* ---- gradients by the definition ---- */

struct case_slopes {
    double *dx, *dweight, *dbias;       /* (rows, hidden), (vocab, hidden), (vocab) */
    double *dx_size, *dweight_size, *dbias_size;    /* sums of the sizes of the terms */
};

struct case_gradient {
    const float *c, *e, *h;             /* host, (rows); e, h NULL: zero */
    const struct objective_entry *entries;
    int64_t entry_count;
};

static inline void
case_slopes_free(struct case_slopes *s)
{
    void *all[] = {s->dx, s->dweight, s->dbias, s->dx_size, s->dweight_size, s->dbias_size};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

struct case_term {
    double slope, size;             /* of what it is summed from */
};

static inline struct case_term
case_slope(const struct head_case *k, const struct case_gradient *g, int64_t row, int64_t v)
{
    double logp = k->z[row * k->vocab + v] - k->lse[row], p = exp(logp), own = -expm1(logp);
    double c = (double)g->c[row], e = g->e == NULL ? 0 : (double)g->e[row];
    double h = g->h == NULL ? 0 : (double)g->h[row], apart = logp + k->entropy[row];
    struct case_term t;

    t.slope = (v == k->targets[row] ? c * own : -c * p) + e * p - h * p * apart;
    t.size = fabs(c) * (v == k->targets[row] ? own : p) + fabs(e) * p
             + fabs(h) * p * (fabs(apart) + 1);
    for (int64_t i = 0; i < g->entry_count; i++)
        if (g->entries[i].row == row && g->entries[i].column == v) {
            t.slope += (double)g->entries[i].value;
            t.size += fabs((double)g->entries[i].value);
        }
    return t;
}

static inline void
case_add(const struct head_case *k, struct case_slopes *s, int64_t row, int64_t v,
         struct case_term t)
{
    for (int64_t i = 0; i < k->hidden; i++) {
        double w = case_weight(k, v, i), x = case_x(k, row, i);

        s->dx[row * k->hidden + i] += t.slope * w;
        s->dx_size[row * k->hidden + i] += t.size * fabs(w);
        s->dweight[v * k->hidden + i] += t.slope * x;
        s->dweight_size[v * k->hidden + i] += t.size * fabs(x);
    }
    s->dbias[v] += t.slope;
    s->dbias_size[v] += t.size;
}

static inline void
case_back(const struct head_case *k, const float *c, const float *e, const float *h,
          const struct objective_entry *entries, int64_t entry_count, struct case_slopes *s)
{
    int64_t nx = k->rows * k->hidden, nw = k->vocab * k->hidden;
    struct case_gradient g = {c, e, h, entries, entry_count};

    s->dx = (double *)check_room(nx * 8);
    s->dx_size = (double *)check_room(nx * 8);
    s->dweight = (double *)check_room(nw * 8);
    s->dweight_size = (double *)check_room(nw * 8);
    s->dbias = (double *)check_room(k->vocab * 8);
    s->dbias_size = (double *)check_room(k->vocab * 8);
    for (int64_t row = 0; row < k->rows; row++)
        for (int64_t v = 0; v < k->vocab && k->targets[row] >= 0; v++)
            case_add(k, s, row, v, case_slope(k, &g, row, v));
}

/* ---- slopes of the device ---- */

struct case_out {
    int64_t dx_stride, dweight_stride;
    struct sluice_slopes slopes;        /* the device's */
    void   *dx;                         /* host, after case_fetch() */
    float  *dweight, *dbias;
    float  *before;                     /* (vocab, dweight_stride): dweight at first */
};

static inline void
case_out_begin(const struct head_case *k, struct case_out *o, enum sluice_type type, int64_t dx_pad,
               int64_t dweight_pad)
{
    int64_t size = type == SLUICE_float32 ? 4 : 2;
    uint64_t seed = 13;

    memset(o, 0, sizeof *o);
    o->dx_stride = k->hidden + dx_pad;
    o->dweight_stride = k->hidden + dweight_pad;
    o->before = (float *)check_room(k->vocab * o->dweight_stride * 4);
    for (int64_t i = 0; i < k->vocab * o->dweight_stride; i++)
        o->before[i] = (float)check_normal(&seed);
    o->dx = check_room(k->rows * o->dx_stride * size);
    o->dweight = (float *)check_room(k->vocab * o->dweight_stride * 4);
    o->dbias = (float *)check_room(k->vocab * 4);
    o->slopes.dx = device_room(k->rows * o->dx_stride * size);
    o->slopes.dx_stride = o->dx_stride;
    o->slopes.dx_type = type;
    o->slopes.dweight = (float *)device(o->before, k->vocab * o->dweight_stride * 4);
    o->slopes.dweight_stride = o->dweight_stride;
    o->slopes.dbias = (float *)device(o->dbias, k->vocab * 4);
}

static inline void
case_fetch(const struct head_case *k, struct case_out *o)
{
    int64_t size = o->slopes.dx_type == SLUICE_float32 ? 4 : 2;

    if (o->slopes.dx != NULL)
        host(o->dx, o->slopes.dx, k->rows * o->dx_stride * size);
    if (o->slopes.dweight != NULL)
        host(o->dweight, o->slopes.dweight, k->vocab * o->dweight_stride * 4);
    if (o->slopes.dbias != NULL)
        host(o->dbias, o->slopes.dbias, k->vocab * 4);
}

static inline void
case_out_free(struct case_out *o)
{
    free(o->dx);
    free(o->dweight);
    free(o->dbias);
    free(o->before);
}

static inline double
case_dx(const struct case_out *o, int64_t row, int64_t i)
{
    int64_t at = row * o->dx_stride + i;

    return o->slopes.dx_type == SLUICE_float32 ? (double)((float *)o->dx)[at]
                                               : (double)check_float(((uint16_t *)o->dx)[at]);
}

/* Slopes are rounded to bfloat16 (2^-8 of each term at most) before products are made of them;
 * `more` is what the form of the logits adds, of each term. A row without a part has dx = 0. */
static inline void
case_compare(const struct head_case *k, const struct case_out *o, const struct case_slopes *s,
             double more)
{
    double part = 0x1p-8 + more + 0x1p-20, floor = 1e-7;
    double last = o->slopes.dx_type == SLUICE_bfloat16 ? 0x1p-8 : 0;

    for (int64_t row = 0; row < k->rows && o->slopes.dx != NULL; row++)
        for (int64_t i = 0; i < k->hidden; i++) {
            int64_t at = row * k->hidden + i;

            MUST_NEAR(case_dx(o, row, i), s->dx[at],
                      part * s->dx_size[at] + last * fabs(s->dx[at])
                          + (s->dx_size[at] > 0 ? floor : 0));
        }
    for (int64_t v = 0; v < k->vocab && o->slopes.dweight != NULL; v++)
        for (int64_t i = 0; i < k->hidden; i++) {
            int64_t at = v * k->hidden + i, there = v * o->dweight_stride + i;

            MUST_NEAR(o->dweight[there], (double)o->before[there] + s->dweight[at],
                      part * s->dweight_size[at]
                          + 0x1p-22 * (fabs((double)o->before[there]) + s->dweight_size[at])
                          + floor);
        }
    for (int64_t v = 0; v < k->vocab && o->slopes.dbias != NULL; v++)
        MUST_NEAR(o->dbias[v], s->dbias[v], part * s->dbias_size[v] + floor);
}

#endif
