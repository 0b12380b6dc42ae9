/* rows_trial: rows of logits for tests of kernels/cuda/rows.cuh, random and hard ones, with what
 * the definition in double makes of them. */
#ifndef TESTS_CUDA_ROWS_TRIAL_H
#define TESTS_CUDA_ROWS_TRIAL_H

#include "check.h"

#include "kernels/cuda/rows.cuh"

#define GARBAGE NAN                 /* in the columns behind the last class */

/* Rows as the definition has them. Row i is the row 2 i + 1 of the arrays. */
struct trial {
    int64_t  rows, vocab, stride;   /* stride: of float32 and of bfloat16 alike, a multiple of 8 */
    double  *z;                     /* (rows, vocab): what the form holds, the target's exact */
    float   *held;                  /* (rows, stride): what the form holds */
    float   *exact;                 /* (rows): z_y */
    int32_t *targets;               /* (2 rows) */
    int64_t *place;                 /* (rows) */
    float   *c, *e, *h;             /* (2 rows) */
    double  *logp, *lse, *entropy;  /* (rows) */
    struct objective_entry *entries;
    int64_t *entry_first;           /* (2 rows + 1) */
    int64_t  entry_count;
};

/* The same on the device. */
struct held {
    struct row_logits z;
    struct row_arrays a;
    int64_t          *place;
};

/* ---- the definition ---- */

static inline void
define(int64_t vocab, const double *z, int64_t y, double *logp, double *lse, double *entropy)
{
    double largest = -INFINITY, sum = 0;

    for (int64_t v = 0; v < vocab; v++)
        largest = z[v] > largest ? z[v] : largest;
    for (int64_t v = 0; v < vocab; v++)
        sum += exp(z[v] - largest);
    *lse = largest + log(sum);
    *logp = z[y] - largest - log(sum);
    *entropy = 0;
    for (int64_t v = 0; v < vocab; v++)
        if (z[v] > -INFINITY)
            *entropy -= exp(z[v] - *lse) * (z[v] - *lse);
}

/* dL/dz_v, as sluice_cuda.h has it. */
static inline double
define_slope(const struct trial *t, int64_t i, int64_t v)
{
    int64_t place = t->place[i];
    double lp = t->z[i * t->vocab + v] - t->lse[i], p = exp(lp);
    double slope = t->c[place] * ((v == t->targets[place]) - p) + t->e[place] * p;

    if (p > 0)
        slope += t->h[place] * -p * (lp + t->entropy[i]);
    for (int64_t j = t->entry_first[place]; j < t->entry_first[place + 1]; j++)
        if (t->entries[j].column == v)
            slope += t->entries[j].value;
    return slope;
}

/* ---- trials ---- */

/* Every third row is hard: logits of 16 to 32 and a runner-up as likely as the target; every fourth
 * has classes that cannot be. */
static inline void
trial_row(struct trial *t, int64_t i, int bfloat16, uint64_t *seed)
{
    int64_t y = check_below(seed, t->vocab), other = check_below(seed, t->vocab);
    double middle = i % 3 == 1 ? check_uniform(seed, 16, 32) : check_uniform(seed, -3, 3);
    float *held = t->held + i * t->stride;

    for (int64_t v = 0; v < t->stride; v++)
        held[v] = v < t->vocab ? (float)(2.5 * check_normal(seed)) : GARBAGE;
    if (i % 3 == 1) {
        held[y] = (float)middle;
        held[other] = (float)(middle + check_uniform(seed, -0.4, 0.4));
    }
    for (int64_t v = 0; v < t->vocab; v++)
        if (i % 4 == 2 && v % 5 == 3 && v != y)
            held[v] = -INFINITY;
    t->exact[i] = held[y];
    for (int64_t v = 0; v < t->vocab; v++) {
        if (bfloat16)
            held[v] = check_float(check_bf16(held[v]));
        t->z[i * t->vocab + v] = v == y ? t->exact[i] : held[v];
    }
    t->place[i] = 2 * i + 1;
    t->targets[2 * i] = -1;
    t->targets[2 * i + 1] = (int32_t)y;
    define(t->vocab, t->z + i * t->vocab, y, &t->logp[i], &t->lse[i], &t->entropy[i]);
}

static inline struct trial
trial_new(int64_t rows, int64_t vocab, int bfloat16, uint64_t seed)
{
    int64_t n = 2 * rows;
    struct trial t = {};

    t.rows = rows;
    t.vocab = vocab;
    t.stride = (vocab + 7) / 8 * 8 + 8 * (int64_t)(seed % 2);
    t.z = (double *)check_room(rows * vocab * 8);
    t.held = (float *)check_room(rows * t.stride * 4);
    t.exact = (float *)check_room(rows * 4);
    t.targets = (int32_t *)check_room(n * 4);
    t.place = (int64_t *)check_room(rows * 8);
    t.c = (float *)check_room(n * 4);
    t.e = (float *)check_room(n * 4);
    t.h = (float *)check_room(n * 4);
    t.logp = (double *)check_room(rows * 8);
    t.lse = (double *)check_room(rows * 8);
    t.entropy = (double *)check_room(rows * 8);
    t.entries = (struct objective_entry *)check_room(n * (int64_t)sizeof *t.entries);
    t.entry_first = (int64_t *)check_room((n + 1) * 8);
    for (int64_t i = 0; i < rows; i++)
        trial_row(&t, i, bfloat16, &seed);
    for (int64_t i = 0; i < n; i++) {
        t.c[i] = (float)check_uniform(&seed, -2, 2);
        t.e[i] = i % 3 ? (float)check_uniform(&seed, -1, 1) : 0.0f;
        t.h[i] = i % 4 > 1 ? (float)check_uniform(&seed, -1, 1) : 0.0f;
        t.entry_first[i] = t.entry_count;
        for (int k = 0; k < 2 && i % 4 == 3; k++)
            t.entries[t.entry_count++] = (struct objective_entry){
                i, (int32_t)check_below(&seed, vocab), (float)check_uniform(&seed, -1, 1)};
    }
    t.entry_first[n] = t.entry_count;
    return t;
}

static inline void
trial_free(struct trial *t)
{
    void *all[] = {t->z, t->held, t->exact, t->targets, t->place, t->c, t->e, t->h, t->logp, t->lse,
                   t->entropy, t->entries, t->entry_first};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* What a form holds: bfloat16 in the low halves' place, or float32. */
static inline void *
to_device(const float *values, int64_t count, enum row_form form)
{
    uint16_t *narrow;
    void *at;

    if (form == ROW_float32)
        return device(values, count * 4);
    narrow = (uint16_t *)check_room(count * 2);
    for (int64_t i = 0; i < count; i++)
        narrow[i] = check_bf16(values[i]);
    at = device(narrow, count * 2);
    free(narrow);
    return at;
}

static inline struct held
hold(const struct trial *t, enum row_form form, int64_t tile_columns, const float *tile_largest)
{
    int64_t n = 2 * t->rows, tiles = 0;
    struct held d = {};

    if (tile_columns > 0)
        tiles = (t->vocab + tile_columns - 1) / tile_columns;
    d.z.at = to_device(t->held, t->rows * t->stride, form);
    d.z.rows = t->rows;
    d.z.vocab = t->vocab;
    d.z.stride = t->stride;
    d.z.form = form;
    d.z.chosen = (const float *)device(t->exact, t->rows * 4);
    d.z.tile_columns = tile_columns;
    d.z.tiles = tiles;
    d.z.tile_largest = (const float *)device(tile_largest, t->rows * tiles * 4);
    d.a.targets = (const int32_t *)device(t->targets, n * 4);
    d.a.logp = (float *)device_room(n * 4);
    d.a.lse = (float *)device_room(n * 4);
    d.a.entropy = (float *)device_room(n * 4);
    d.a.c = (float *)device(t->c, n * 4);
    d.a.e = (float *)device(t->e, n * 4);
    d.a.h = (float *)device(t->h, n * 4);
    d.a.entries = (const struct objective_entry *)device(t->entries,
                                                         n * (int64_t)sizeof *t->entries);
    d.a.entry_first = (const int64_t *)device(t->entry_first, (n + 1) * 8);
    d.place = (int64_t *)device(t->place, t->rows * 8);
    MUST_OK(fault_reset(sluice()));
    return d;
}

static inline void
must_be_sound(void)
{
    enum fault what;
    int64_t row;

    MUST_OK(fault_read(sluice(), &what, &row));
    if (row >= 0)
        check_fail(__FILE__, __LINE__, "fault %d in row %lld", (int)what, (long long)row);
}

static inline void
must_fail_at(enum fault what, int64_t row)
{
    enum fault was;
    int64_t at;

    MUST_OK(fault_read(sluice(), &was, &at));
    MUST_EQUAL(at, row);
    MUST_EQUAL(was, what);
    MUST_OK(fault_reset(sluice()));
}

/* (2 rows) of the device, as it is. */
static inline float *
fetch(const struct trial *t, const float *from)
{
    float *to = (float *)check_room(2 * t->rows * 4);

    host(to, from, 2 * t->rows * 4);
    return to;
}

static inline void
must_be_statistics(const struct trial *t, const struct held *d)
{
    float *logp = fetch(t, d->a.logp), *lse = fetch(t, d->a.lse), *h = fetch(t, d->a.entropy);

    must_be_sound();
    for (int64_t i = 0; i < t->rows; i++) {
        double near = 1e-6, largest = 0;

        for (int64_t v = 0; v < t->vocab; v++)
            if (t->z[i * t->vocab + v] > -INFINITY)
                largest = fmax(largest, fabs(t->z[i * t->vocab + v]));
        near += 0x1p-23 * largest;
        MUST_NEAR(logp[2 * i + 1], t->logp[i], near);
        MUST_NEAR(lse[2 * i + 1], t->lse[i], near);
        MUST_NEAR(h[2 * i + 1], t->entropy[i], near + 4e-6 * (1 + t->entropy[i]));
        MUST(logp[2 * i + 1] <= 0);
        MUST(h[2 * i + 1] >= 0);
        MUST(isnan(logp[2 * i]));           /* rows that are nobody's: nothing is written */
    }
    free(logp);
    free(lse);
    free(h);
}

/* The slopes that lie where the logits did, stride in elements of bfloat16. rough: how far p may be
 * off, relatively, by the form's own rounding. */
static inline void
must_be_slopes(const struct trial *t, const void *at, int64_t stride, double rough)
{
    uint16_t *out = (uint16_t *)check_room(t->rows * stride * 2);

    must_be_sound();
    host(out, at, t->rows * stride * 2);
    for (int64_t i = 0; i < t->rows; i++) {
        double size = fabs(t->c[t->place[i]]) + fabs(t->e[t->place[i]])
                      + fabs(t->h[t->place[i]]) * (30 + t->entropy[i]);

        for (int64_t v = 0; v < (t->vocab + 7) / 8 * 8; v++) {
            double want = v < t->vocab ? define_slope(t, i, v) : 0;
            double p = v < t->vocab ? exp(t->z[i * t->vocab + v] - t->lse[i]) : 0;
            double near = 0x1p-8 * fabs(want) + (rough + 1e-5) * p * size + 1e-9;

            if (!(fabs(check_float(out[i * stride + v]) - want) <= near))
                check_fail(__FILE__, __LINE__, "slope of row %lld, class %lld of %lld (target %d) "
                           "is %g, not %g (within %g)", (long long)i, (long long)v,
                           (long long)t->vocab, t->targets[t->place[i]],
                           check_float(out[i * stride + v]), want, near);
        }
    }
    free(out);
}

/* Statistics that the definition gives, so that slopes are tested alone. */
static inline void
give_statistics(const struct trial *t, const struct held *d)
{
    float *logp = (float *)check_room(2 * t->rows * 4), *lse = (float *)check_room(2 * t->rows * 4);
    float *entropy = (float *)check_room(2 * t->rows * 4);

    for (int64_t i = 0; i < t->rows; i++) {
        logp[2 * i + 1] = (float)t->logp[i];
        lse[2 * i + 1] = (float)t->lse[i];
        entropy[2 * i + 1] = (float)t->entropy[i];
    }
    MUST_OK(sluice_cuda_upload(sluice(), d->a.logp, logp, 2 * t->rows * 4));
    MUST_OK(sluice_cuda_upload(sluice(), d->a.lse, lse, 2 * t->rows * 4));
    MUST_OK(sluice_cuda_upload(sluice(), d->a.entropy, entropy, 2 * t->rows * 4));
    MUST_OK(sluice_cuda_wait(sluice()));
    free(logp);
    free(lse);
    free(entropy);
}

/* Opens the context again on another device, where that can be chosen. */
static inline void
compute(const char *what)
{
    sluice_close();
    if (what == NULL)
        unsetenv("SLUICE_SIMT_COMPUTE");
    else
        setenv("SLUICE_SIMT_COMPUTE", what, 1);
}

#endif
