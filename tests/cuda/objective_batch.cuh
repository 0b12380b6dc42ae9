/* objective_batch: batches of samples drawn at random, their way to the device, and what the host
 * makes of them, for the tests of objectives. */
#ifndef TESTS_CUDA_OBJECTIVE_BATCH_CUH
#define TESTS_CUDA_OBJECTIVE_BATCH_CUH

#include "tests/cuda/check.h"

#include "kernels/cuda/objective_kernels.cuh"

extern "C" {
#include "kernels/objective.h"
}

enum { NAMES = 6 };

/* What a batch is like. */
struct likeness {
    int64_t samples, group;         /* samples of a group */
    int64_t shortest, longest;      /* rows of a sample */
    int     masked;                 /* of 100 rows */
    int     weights, advantages, begins;    /* are there such arrays? */
};

struct batch {
    int64_t  rows;
    float   *logp, *lse, *entropy, *reference, *behaviour, *weight, *advantage, *named_logits;
    uint8_t *mask, *begins;
    int32_t  columns[NAMES];
    double   values[NAMES];
    struct objective_sample  *sample;
    struct objective_batch    b;    /* the host's */
    struct objective_settings settings;
    struct objective_step     step;
};

struct answer {
    float *c, *e, *h;
    struct objective_entry *entries;
    int64_t entry_count;
    struct objective_report report;
};

static inline float *
floats(int64_t count)
{
    return (float *)check_room(count * (int64_t)sizeof(float));
}

static inline void
draw_sample(struct objective_sample *s, const struct likeness *k, int64_t i, int64_t first,
            uint64_t *seed)
{
    s->first = first;
    s->count = k->shortest + check_below(seed, k->longest - k->shortest + 1);
    s->group = i / k->group;
    s->group_size = k->group + check_below(seed, 2);
    s->reward = check_below(seed, 3) == 0 ? check_uniform(seed, -1, 1)
                                          : (double)check_below(seed, 2);
    s->mean = check_uniform(seed, 0, 1);
    s->std = check_uniform(seed, 0.1, 0.5);
    s->advantage = check_below(seed, 8) == 0 ? 0.0 : check_uniform(seed, -2, 2);
    s->weight = check_below(seed, 4) == 0 ? check_uniform(seed, 0, 3) : 1.0;
    s->correct = (int)check_below(seed, 2);
    s->injected = check_below(seed, 6) == 0;
    s->named_row = -1;
    s->score = (double)check_below(seed, 5);
    if (s->count > 0 && check_below(seed, 5) != 0)
        s->named_row = first + check_below(seed, s->count);
}

/* Ranks of some of the names, ties among them. */
static inline void
draw_ranks(struct objective_sample *s, uint64_t *seed)
{
    int32_t listed = 0;

    for (int k = 0; k < NAMES; k++)
        listed += s->rank[k] = check_below(seed, 4) != 0;
    for (int k = 0; k < NAMES; k++)
        if (s->rank[k] != 0)
            s->rank[k] = 1 + (int32_t)check_below(seed, listed);
}

static inline void
draw_rows(struct batch *t, const struct likeness *k, uint64_t *seed)
{
    for (int64_t row = 0; row < t->rows; row++) {
        double apart = check_below(seed, 4) == 0 ? 0.8 : 0.1;

        t->logp[row] = -(float)fabs(check_normal(seed));
        t->reference[row] = t->logp[row] + (float)(apart * check_normal(seed));
        t->behaviour[row] = t->logp[row] + (float)(apart * check_normal(seed));
        if (check_below(seed, 8) == 0)
            t->reference[row] = t->behaviour[row] = t->logp[row];
        if (check_below(seed, 64) == 0)
            t->behaviour[row] -= 30.0f;
        t->lse[row] = (float)check_uniform(seed, 1, 12);
        t->entropy[row] = check_below(seed, 4) == 0 ? 0.5f : (float)check_uniform(seed, 0, 4);
        t->weight[row] = check_below(seed, 5) == 0 ? 0.0f : (float)check_uniform(seed, 0.1, 2);
        t->advantage[row] = check_below(seed, 9) == 0 ? 0.0f : (float)check_uniform(seed, -2, 2);
        t->mask[row] = check_below(seed, 100) >= k->masked;
        t->begins[row] = check_below(seed, 5) == 0;
    }
}

static inline void
batch_new(struct batch *t, const struct likeness *k, uint64_t *seed)
{
    int64_t first = 1;

    memset(t, 0, sizeof *t);
    t->sample = (struct objective_sample *)check_room(k->samples * (int64_t)sizeof *t->sample);
    for (int64_t i = 0; i < k->samples; i++) {
        draw_sample(&t->sample[i], k, i, first, seed);
        draw_ranks(&t->sample[i], seed);
        first += t->sample[i].count + check_below(seed, 3);
    }
    t->rows = first + check_below(seed, 3);
    t->logp = floats(t->rows);
    t->lse = floats(t->rows);
    t->entropy = floats(t->rows);
    t->reference = floats(t->rows);
    t->behaviour = floats(t->rows);
    t->weight = floats(t->rows);
    t->advantage = floats(t->rows);
    t->mask = (uint8_t *)check_room(t->rows);
    t->begins = (uint8_t *)check_room(t->rows);
    t->named_logits = floats(k->samples * NAMES);
    draw_rows(t, k, seed);
    for (int64_t i = 0; i < k->samples * NAMES; i++)
        t->named_logits[i] = (float)check_below(seed, 9) * 0.5f - 1.0f;
    for (int i = 0; i < NAMES; i++) {
        t->columns[i] = 10 * i + 3;
        t->values[i] = i;
    }
    t->b.rows = t->rows;
    t->b.logp = t->logp;
    t->b.lse = t->lse;
    t->b.entropy = t->entropy;
    t->b.reference = t->reference;
    t->b.behaviour = t->behaviour;
    t->b.weight = k->weights ? t->weight : NULL;
    t->b.advantage = k->advantages ? t->advantage : NULL;
    t->b.mask = k->masked > 0 ? t->mask : NULL;
    t->b.begins = k->begins ? t->begins : NULL;
    t->b.named = NAMES;
    t->b.named_logits = t->named_logits;
    t->b.named_columns = t->columns;
    t->b.named_values = t->values;
    t->b.samples = k->samples;
    t->b.sample = t->sample;
}

static inline void
batch_free(struct batch *t)
{
    void *all[] = {t->logp, t->lse, t->entropy, t->reference, t->behaviour, t->weight,
                   t->advantage, t->mask, t->begins, t->named_logits, t->sample};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Settings that the objective takes, out of many that it may not. */
static inline void
draw_settings(const struct objective *o, struct batch *t, uint64_t *seed)
{
    struct error e;

    do {
        t->settings = objective_settings_none();
        t->settings.constant = 37;
        if (check_below(seed, 2))
            t->settings.aggregation = (enum objective_aggregation)check_below(seed, 4);
        if (check_below(seed, 3) == 0)
            t->settings.ratio = (enum objective_ratio)check_below(seed, 4);
        if (check_below(seed, 2))
            t->settings.kl = (enum objective_kl)check_below(seed, 4);
        if (check_below(seed, 2))
            t->settings.variant = (int)check_below(seed, 4);
        if (check_below(seed, 3) == 0)
            t->settings.entropy_weight = 0.013;
        if (check_below(seed, 6) == 0)
            t->settings.budget = 91;
        if (check_below(seed, 5) == 0)
            t->settings.clip_dual = 1.7;
        if (check_below(seed, 5) == 0)
            t->settings.tau = 0.3;
        t->settings.kl_in_reward = check_below(seed, 4) == 0;
    } while (objective_settings_fill(o, &t->settings, &e) < 0);
}

static inline void
answer_new(struct answer *a, const struct batch *t)
{
    memset(a, 0, sizeof *a);
    a->c = floats(t->rows);
    a->e = floats(t->rows);
    a->h = floats(t->rows);
    a->entries = (struct objective_entry *)check_room(t->b.samples * NAMES
                                                      * (int64_t)sizeof *a->entries);
    a->report.policy = 0.1;         /* sums go on from what is there */
    a->report.kl = 1e-3;
    a->report.logp = -7.7;
    a->report.importance = 3.3;
    a->report.clipped = 2;
}

static inline void
answer_free(struct answer *a)
{
    free(a->c);
    free(a->e);
    free(a->h);
    free(a->entries);
}

/* The host's answer. */
static inline void
run_host(const struct objective *o, struct batch *t, struct answer *a)
{
    struct objective_output out = {};
    struct error e;

    objective_advantages(&t->b, &t->settings, t->sample);
    memset(&t->step, 0, sizeof t->step);
    objective_measure(o, &t->b, &t->settings, &t->step);
    if (objective_check(o, &t->b, &t->settings, &e) < 0)
        check_fail(__FILE__, __LINE__, "%s: %s", o->name, e.text);
    answer_new(a, t);
    out.c = a->c;
    out.e = a->e;
    out.h = a->h;
    out.entries = a->entries;
    objective_run(o, &t->b, &t->settings, &t->step, &out, &a->report);
    a->entry_count = out.entry_count;
}

/* The batch with its arrays of rows on the device. */
struct there {
    struct objective_batch  b;
    struct sluice_objective o;
    float *logp, *lse, *entropy, *named_logits, *c, *e, *h;
};

static inline void
send(const struct objective *o, const struct batch *t, struct there *d)
{
    int64_t bytes = t->rows * (int64_t)sizeof(float);

    d->b = t->b;
    d->b.reference = (const float *)device(t->b.reference, bytes);
    d->b.behaviour = (const float *)device(t->b.behaviour, bytes);
    d->b.weight = (const float *)device(t->b.weight, bytes);
    d->b.advantage = (const float *)device(t->b.advantage, bytes);
    d->b.mask = (const uint8_t *)device(t->b.mask, t->rows);
    d->b.begins = (const uint8_t *)device(t->b.begins, t->rows);
    d->logp = (float *)device(t->b.logp, bytes);
    d->lse = (float *)device(t->b.lse, bytes);
    d->entropy = (float *)device(t->b.entropy, bytes);
    d->named_logits = (float *)device(t->named_logits,
                                      t->b.samples * NAMES * (int64_t)sizeof(float));
    d->b.logp = d->b.lse = d->b.entropy = d->b.named_logits = NULL;     /* not read */
    d->c = (float *)device_room(bytes);
    d->e = (float *)device_room(bytes);
    d->h = (float *)device_room(bytes);
    d->o.name = o->name;
    d->o.settings = &t->settings;
    d->o.step = &t->step;
    d->o.batch = &d->b;
}

/* Frees what send() took: a check makes many batches. */
static inline void
forget(void)
{
    MUST_OK(sluice_cuda_wait(sluice()));
    for (int i = 0; i < checks.buffer_count; i++)
        sluice_cuda_free(sluice(), checks.buffers[i]);
    checks.buffer_count = 0;
}

static inline void
receive(const struct batch *t, const struct there *d, struct answer *a)
{
    int64_t bytes = t->rows * (int64_t)sizeof(float);

    host(a->c, d->c, bytes);
    host(a->e, d->e, bytes);
    host(a->h, d->h, bytes);
}

static inline void
same_report(const char *name, const struct objective_report *a, const struct objective_report *b)
{
    static const char *const fields[] = {
        "loss", "policy", "pull", "kl_loss", "entropy_loss", "samples", "tokens", "logp", "kl",
        "entropy", "clipped", "ratio", "ratio_largest", "importance", "importance_largest",
        "advantage",
    };
    const double *x = (const double *)a, *y = (const double *)b;

    static_assert(sizeof *a == sizeof fields / sizeof *fields * sizeof(double));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (memcmp(&x[i], &y[i], sizeof *x) != 0)
            check_fail(__FILE__, __LINE__, "%s: report.%s is %a, not %a", name, fields[i], x[i],
                       y[i]);
}

static inline void
same_floats(const char *name, const char *what, const float *a, const float *b, int64_t rows)
{
    for (int64_t row = 0; row < rows; row++)
        if (memcmp(&a[row], &b[row], sizeof *a) != 0)
            check_fail(__FILE__, __LINE__, "%s: %s of row %lld is %a, not %a", name, what,
                       (long long)row, (double)a[row], (double)b[row]);
}

static inline void
same_answer(const char *name, const struct batch *t, const struct answer *a,
            const struct answer *b)
{
    same_floats(name, "c", a->c, b->c, t->rows);
    same_floats(name, "e", a->e, b->e, t->rows);
    same_floats(name, "h", a->h, b->h, t->rows);
    MUST_EQUAL(a->entry_count, b->entry_count);
    MUST_SAME(a->entries, b->entries, b->entry_count);
    same_report(name, &a->report, &b->report);
}

/* ---- a row at a time, as row kernels do ---- */

static __global__ void
coefficients_kernel(const struct objective_view_device *v, int64_t count, const int64_t *order,
                    const float *logp, const float *lse, const float *entropy, float *c, float *e,
                    float *h)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (t < count)
        objective_coefficients(v, order[t], logp[order[t]], lse[order[t]], entropy[order[t]],
                               c + order[t], e + order[t], h + order[t]);
}

static inline int64_t *
shuffled(int64_t count, uint64_t *seed)
{
    int64_t *order = (int64_t *)check_room(count * (int64_t)sizeof *order);

    for (int64_t i = 0; i < count; i++) {
        int64_t j = check_below(seed, i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

#endif
