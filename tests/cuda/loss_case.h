/* loss_case: a batch of samples over head_case's rows, a call of sluice_head_loss on it, and what it
 * is compared with: statistics, objective_run() on the host, slopes by the definition. */
#ifndef TESTS_CUDA_LOSS_CASE_H
#define TESTS_CUDA_LOSS_CASE_H

#include "tests/cuda/head_case.h"

extern "C" {
#include "kernels/objective.h"
}

enum { SAMPLES = 9, NAMED = 4, ROWS = 48, HIDDEN = 64, VOCAB = 60 };

struct loss_case {
    struct head_case k;
    const struct objective *objective;
    struct objective_settings settings;
    struct objective_step step;
    struct objective_sample sample[SAMPLES];
    float   reference[ROWS], behaviour[ROWS], weight[ROWS];
    uint8_t mask[ROWS], begins[ROWS];
    int32_t columns[NAMED];
    double  values[NAMED];
    struct objective_batch host, device;
    struct sluice_objective call;
};

/* Three groups of samples, one of them a single rollout, prompts between them, one empty response,
 * one of a row alone, a long one of 14. dense: no prompts, two long ones. */
static inline void
make_samples(struct loss_case *l, int dense)
{
    static const int64_t sparse[SAMPLES] = {4, 0, 5, 14, 1, 3, 4, 2, 6};
    static const int64_t all[SAMPLES] = {4, 0, 5, 14, 1, 3, 4, 2, 15};
    const int64_t *counts = dense ? all : sparse;
    static const int64_t groups[SAMPLES] = {0, 0, 0, 1, 1, 1, 1, 2, 2};
    static const double  rewards[SAMPLES] = {1, -1, -1, 1, 0.5, -1, 1, 1, -1};
    int64_t at = dense ? 0 : 1;

    for (int i = 0; i < SAMPLES; i++) {
        struct objective_sample *s = &l->sample[i];

        memset(s, 0, sizeof *s);
        s->first = at;
        s->count = counts[i];
        s->group = groups[i];
        s->group_size = groups[i] == 0 ? 3 : groups[i] == 1 ? 4 : 2;
        s->reward = rewards[i];
        s->mean = groups[i] == 0 ? -1.0 / 3 : groups[i] == 1 ? 0.375 : 0;
        s->std = 0.9;
        s->weight = i == 5 ? 1.5 : 1;
        s->correct = rewards[i] > 0;
        s->injected = i == 6;
        s->named_row = counts[i] > 1 && i != 2 ? at + 1 : -1;
        s->score = 3;
        for (int n = 0; n < NAMED; n++)
            s->rank[n] = n + 1;
        at += counts[i] + (dense ? 0 : i % 2);
    }
    MUST(dense ? at == ROWS : at <= ROWS);
}

static inline void
make_rows(struct loss_case *l, int masked)
{
    uint64_t seed = 31;

    for (int64_t row = 0; row < ROWS; row++) {
        double near = l->k.targets[row] < 0 ? -2 : l->k.logp[row];

        l->reference[row] = (float)(near + 0.3 * check_normal(&seed));
        l->behaviour[row] = (float)(near + 0.2 * check_normal(&seed));
        l->weight[row] = (float)check_uniform(&seed, 0.2, 1);
        l->mask[row] = masked <= 0 || check_below(&seed, 4) >= masked;
        l->begins[row] = row % 3 == 0;
    }
    for (int n = 0; n < NAMED; n++) {
        l->columns[n] = 5 + 7 * n;
        l->values[n] = n + 1;
    }
}

static inline void
make_batches(struct loss_case *l)
{
    struct objective_batch *b = &l->host;

    memset(b, 0, sizeof *b);
    b->rows = ROWS;
    b->reference = l->reference;
    b->behaviour = l->behaviour;
    b->weight = l->weight;
    b->mask = l->mask;
    b->begins = l->begins;
    b->named = l->objective->needs & OBJECTIVE_needs_named ? NAMED : 0;
    b->named_columns = l->columns;
    b->named_values = l->values;
    b->samples = SAMPLES;
    b->sample = l->sample;
    l->device = *b;
    l->device.reference = (const float *)device(l->reference, sizeof l->reference);
    l->device.behaviour = (const float *)device(l->behaviour, sizeof l->behaviour);
    l->device.weight = (const float *)device(l->weight, sizeof l->weight);
    l->device.mask = (const uint8_t *)device(l->mask, sizeof l->mask);
    l->device.begins = (const uint8_t *)device(l->begins, sizeof l->begins);
}

/* masked: quarters of the rows; DENSE: every row is in a response and has a target. */
#define DENSE (-1)
static inline void
loss_begin(struct loss_case *l, const char *name, int masked, double kl, double entropy)
{
    struct error e = {};

    memset(l, 0, sizeof *l);
    case_begin(&l->k, ROWS, HIDDEN, VOCAB, 0, masked == DENSE ? 0 : 11, 0, 0, 0.3);
    case_know(&l->k);
    l->objective = objective_find(name);
    MUST(l->objective != NULL);
    make_samples(l, masked == DENSE);
    make_rows(l, masked);
    make_batches(l);
    l->settings = objective_settings_none();
    if (l->objective->standard.aggregation == OBJECTIVE_constant)
        l->settings.constant = 8;
    if (kl != 0) {
        l->settings.kl = OBJECTIVE_k3;
        l->settings.kl_weight = kl;
    }
    if (entropy != 0)
        l->settings.entropy_weight = entropy;
    if (objective_settings_fill(l->objective, &l->settings, &e) != 0)
        check_fail(__FILE__, __LINE__, "%s: %s", name, e.text);
    objective_advantages(&l->host, &l->settings, l->sample);
    objective_measure(l->objective, &l->host, &l->settings, &l->step);
    l->call.name = name;
    l->call.settings = &l->settings;
    l->call.step = &l->step;
    l->call.batch = &l->device;
}

static inline void
loss_end(struct loss_case *l)
{
    case_free(&l->k);
}

/* ---- one call ---- */

struct answer {
    float logp[ROWS], lse[ROWS], entropy[ROWS], c[ROWS], e[ROWS], h[ROWS];
    struct objective_report report;
    struct case_out out;
};

static inline void
run(const struct loss_case *l, const struct sluice_options *o, enum sluice_type type,
    struct answer *a)
{
    struct sluice_outcome d = {};
    int kept = checks.buffer_count;
    float *arrays[6], *const to[6] = {a->logp, a->lse, a->entropy, a->c, a->e, a->h};

    memset(a, 0, sizeof *a);
    case_out_begin(&l->k, &a->out, type, 0, 0);
    for (int i = 0; i < 6; i++)
        arrays[i] = (float *)device_room(ROWS * 4);
    d.logp = arrays[0];
    d.lse = arrays[1];
    d.entropy = arrays[2];
    d.c = arrays[3];
    d.e = arrays[4];
    d.h = arrays[5];
    d.report = &a->report;
    MUST_OK(sluice_head_loss(sluice(), &l->k.head, &l->k.in, o, &l->call, &d, &a->out.slopes));
    for (int i = 0; i < 6; i++)
        host(to[i], arrays[i], ROWS * 4);
    case_fetch(&l->k, &a->out);
    case_forget(kept);
}

static inline void
answer_free(struct answer *a)
{
    case_out_free(&a->out);
}

/* What the host makes of the device's statistics. */
struct told {
    float c[ROWS], e[ROWS], h[ROWS], named[SAMPLES * NAMED];
    struct objective_entry entries[SAMPLES * NAMED];
    int64_t entry_count;
    struct objective_report report;
};

static inline void
tell(const struct loss_case *l, const struct answer *a, struct told *t)
{
    unsigned needs = objective_needs(l->objective, &l->settings);
    struct objective_output out = {t->c, t->e, t->h, t->entries, 0};
    struct objective_batch b = l->host;

    memset(t, 0, sizeof *t);
    if (needs & OBJECTIVE_needs_named) {
        int     kept = checks.buffer_count;
        float  *named = (float *)device_room(sizeof t->named);
        int64_t rows[SAMPLES];

        for (int i = 0; i < SAMPLES; i++)
            rows[i] = l->sample[i].named_row;
        MUST_OK(sluice_head_named(sluice(), &l->k.head, &l->k.in, SAMPLES, rows, NAMED, l->columns,
                                  named));
        host(t->named, named, sizeof t->named);
        case_forget(kept);
        b.named_logits = t->named;
    }
    b.logp = a->logp;
    b.lse = a->lse;
    b.entropy = needs & OBJECTIVE_needs_entropy ? a->entropy : NULL;
    objective_run(l->objective, &b, &l->settings, &l->step, &out, &t->report);
    t->entry_count = out.entry_count;
}

enum bits { SAME, CLOSE, ROUNDED };     /* log p next to sluice_head_statistics' */

static inline int
is_named(const struct loss_case *l, int64_t row)
{
    for (int i = 0; i < SAMPLES && l->host.named > 0; i++)
        if (l->sample[i].named_row == row)
            return 1;
    return 0;
}

/* Rows without a part are never computed. */
static inline void
compare_statistics(const struct loss_case *l, const struct answer *a, enum bits bits)
{
    float *logp = (float *)device_room(ROWS * 4), *lse = (float *)device_room(ROWS * 4);
    float all[ROWS], sums[ROWS];
    const struct sluice_options plain = {};
    int kept = checks.buffer_count;
    int64_t found = 0;

    MUST_OK(sluice_head_statistics(sluice(), &l->k.head, &l->k.in, &plain, logp, lse, NULL));
    host(all, logp, sizeof all);
    host(sums, lse, sizeof sums);
    for (int64_t row = 0; row < ROWS; row++) {
        MUST(a->logp[row] <= 0);
        if (a->lse[row] == 0)       /* left out */
            continue;
        found++;
        MUST(l->k.targets[row] >= 0 && (l->mask[row] || is_named(l, row)));
        MUST_NEAR(a->logp[row], all[row], bits == ROUNDED ? 0.05 : 1e-5);
        if (bits != SAME)
            continue;
        MUST_SAME(a->logp + row, all + row, 1);
        MUST_SAME(a->lse + row, sums + row, 1);
    }
    case_forget(kept);
    MUST(found > 0);
}

static inline void
compare(const struct loss_case *l, const struct answer *a, enum bits bits, double more)
{
    struct case_slopes s;
    struct told t;

    compare_statistics(l, a, bits);
    tell(l, a, &t);
    MUST_SAME(a->c, t.c, ROWS);
    MUST_SAME(a->e, t.e, ROWS);
    MUST_SAME(a->h, t.h, ROWS);
    MUST_SAME((const double *)&a->report, (const double *)&t.report,
              sizeof t.report / sizeof(double));
    case_back(&l->k, a->c, a->e, a->h, t.entries, t.entry_count, &s);
    case_compare(&l->k, &a->out, &s, more);
    case_slopes_free(&s);
}

/* Rounded logits: p_v off by 2^-8 max|z| each, kept ones by 2^-8 |log p_v|. */
static inline double
rounded(const struct loss_case *l)
{
    double most = 1;

    for (int64_t i = 0; i < ROWS * VOCAB; i++)
        most = fmax(most, fabs(l->k.z[i]));
    return 4 * 0x1p-8 * most;
}

#endif
