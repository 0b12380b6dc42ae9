/* head_device: every objective's loss and gradients on a device against definitions in double, bits
 * that do not depend on company, another model's log probabilities, numbers that are not finite,
 * memory that is too small. On the simulated device (make simt), or the one that SLUICE_CUDA's
 * library finds; without any the tests are skipped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/cast.h"
#include "kernels/head_device_parts.h"
#include "kernels/naive.h"
#include "tests/naive_objective.h"
#include "tests/on_device.h"
#include "tests/sets.h"

#define HIDDEN 13       /* odd: no row begins at a multiple of 16 bytes but by its stride */
#define VOCAB  37
#define ROWS   NAIVE_ROWS

/* How logits are made, and the error of log p and of a slope, the latter relative: 2^-8 for its own
 * bfloat16, and where a logit of up to 12, or a log p, was kept in bfloat16, e^(12 2^-8) - 1. */
static const struct how {
    enum sluice_logits logits;
    int keep;
    double logp, slope;
} exact = {SLUICE_logits_float32, 0, 1e-5, 1.0 / 256};
static struct how how;

struct fixture {
    struct model model;
    struct head_device *device;
    float  *x;                      /* (ROWS, HIDDEN), as bfloat16 has it */
    int32_t targets[ROWS];
    double  z[ROWS][VOCAB], logp[ROWS], lse[ROWS], entropy[ROWS];
};

/* Weights of the head such that bfloat16 holds them. classes > 0: a class head with a bias. */
static void
make_model(struct model *m, int64_t vocab, int tied, int classes, uint64_t seed)
{
    struct model_config config = model_config_default();
    struct error e = {0};

    strcpy(config.family, "qwen2");
    config.vocab_size = vocab;
    config.hidden_size = HIDDEN;
    config.head_dim = 4;
    config.intermediate_size = 8;
    config.num_hidden_layers = 1;
    config.num_attention_heads = config.num_key_value_heads = 1;
    config.max_position_embeddings = 16;
    config.tie_word_embeddings = tied;
    config.num_labels = classes;
    if (model_init(m, &config, &e) < 0)
        fail_msg("%s", e.text);
    model_randomise(m, seed);
    for (int64_t i = 0; i < m->head_rows * HIDDEN; i++)
        m->params[m->head + i] = cast_back(cast_nearest(40 * m->params[m->head + i]));
    for (int64_t i = 0; m->head_bias >= 0 && i < m->head_rows; i++)
        m->params[m->head_bias + i] = 0.25f * (float)(i % 5) - 0.5f;
}

static void
naive_statistics(struct fixture *f, const struct model *m)
{
    for (int t = 0; t < ROWS; t++) {
        for (int64_t v = 0; v < m->head_rows; v++) {
            f->z[t][v] = m->head_bias < 0 ? 0 : (double)m->params[m->head_bias + v];
            for (int i = 0; i < HIDDEN; i++)
                f->z[t][v] += (double)f->x[t * HIDDEN + i]
                              * (double)m->params[m->head + v * HIDDEN + i];
        }
        f->logp[t] = f->lse[t] = f->entropy[t] = 0;
        if (f->targets[t] >= 0)
            naive_softmax(m->head_rows, f->z[t], f->targets[t], &f->logp[t], &f->lse[t],
                          &f->entropy[t]);
    }
}

static void
begin(struct fixture *f, const char *objective, const struct objective_settings *s, int tied)
{
    const struct objective *o = objective_find(objective);
    const int classes = o->needs & OBJECTIVE_needs_classes ? 3 : 0;
    struct head_device_options options = {.logits = how.logits,
                                          .keep = how.keep,
                                          .objective = o,
                                          .needs = objective_needs(o, s),
                                          .memory = 16 * VOCAB * 4,
                                          .rows = ROWS,
                                          .unit_rows = 9,
                                          .others = 1};
    struct error e = {0};

    memset(f, 0, sizeof(*f));
    make_model(&f->model, VOCAB, tied, classes, 3);
    f->x = sets_floats(ROWS * HIDDEN, 1, 1);
    for (int i = 0; i < ROWS * HIDDEN; i++)
        f->x[i] = cast_back(cast_nearest(f->x[i]));
    for (int t = 0; t < ROWS; t++)
        f->targets[t] = (int32_t)(t * 11 % f->model.head_rows);
    naive_statistics(f, &f->model);
    if (head_device_open(&f->device, "cuda:0", &options, &f->model, NULL, NULL, &e) < 0 ||
        head_device_begin(f->device, &e) < 0)
        fail_msg("%s", e.text);
    assert_non_null(f->device);
}

static void
end(struct fixture *f)
{
    head_device_close(f->device);
    model_free(&f->model);
    free(f->x);
}

static struct objective_settings
settings_of(const char *objective)
{
    struct objective_settings s = objective_settings_none();
    struct error e = {0};

    s.constant = 16;
    s.kl_weight = 0.1;
    if (objective_settings_fill(objective_find(objective), &s, &e) < 0)
        fail_msg("%s: %s", objective, e.text);
    return s;
}

/* ---- gradients ---- */

/* The slopes of the logits from coefficients, and what rounding each to bfloat16 may do. */
static void
check_slopes(struct fixture *f, const char *name, const struct objective_output *o,
             const float *dx, const float *dweight)
{
    const int64_t classes = f->model.head_rows;
    const float *w = f->model.params + f->model.head;
    double *s = xarray((size_t)(ROWS * classes), sizeof(*s));
    const double rounding = how.slope;

    for (int t = 0; t < ROWS; t++)
        for (int64_t v = 0; v < classes && f->targets[t] >= 0; v++) {
            double lp = f->z[t][v] - f->lse[t], p = exp(lp), c = (double)o->c[t];

            s[t * classes + v] = c * ((v == f->targets[t]) - p) +
                                 (o->e ? (double)o->e[t] * p : 0) -
                                 (o->h ? (double)o->h[t] * p * (lp + f->entropy[t]) : 0);
        }
    for (int64_t k = 0; k < o->entry_count; k++)
        s[o->entries[k].row * classes + o->entries[k].column] += (double)o->entries[k].value;
    for (int t = 0; t < ROWS; t++)
        for (int i = 0; i < HIDDEN; i++) {
            double sum = 0, size = 0;

            for (int64_t v = 0; v < classes; v++) {
                sum += s[t * classes + v] * (double)w[v * HIDDEN + i];
                size += fabs(s[t * classes + v] * (double)w[v * HIDDEN + i]);
            }
            if (!(fabs((double)dx[t * HIDDEN + i] - sum) <= rounding * size + 1e-6))
                fail_msg("%s: dx of row %d: %g, not %g", name, t, (double)dx[t * HIDDEN + i], sum);
        }
    for (int64_t v = 0; v < classes; v++)
        for (int i = 0; i < HIDDEN; i++) {
            double sum = 0, size = 0;

            for (int t = 0; t < ROWS; t++) {
                sum += s[t * classes + v] * (double)f->x[t * HIDDEN + i];
                size += fabs(s[t * classes + v] * (double)f->x[t * HIDDEN + i]);
            }
            if (!(fabs((double)dweight[v * HIDDEN + i] - sum) <= rounding * size + 1e-6))
                fail_msg("%s: dW of class %d: %g, not %g", name, (int)v,
                         (double)dweight[v * HIDDEN + i], sum);
        }
    free(s);
}

/* The head's gradient as it is on the device. */
static float *
head_gradient_of(struct fixture *f)
{
    int64_t count = f->model.head_rows * HIDDEN;
    float *out = xarray((size_t)count, sizeof(*out));
    struct sluice_slopes slopes = {0};
    struct error e = {0};

    adamw_device_slopes(f->device->adamw, &slopes);
    if (device_download(f->device->device, out, slopes.dweight, count * 4, &e) < 0)
        fail_msg("%s", e.text);
    return out;
}

/* One call of the device, and the definitions. */
static void
check_loss(const char *name, const struct objective_settings *s)
{
    const struct objective *o = objective_find(name);
    struct objective_step step = {0};
    struct objective_report wanted = {0}, report = {0};
    float c[ROWS], e_rows[ROWS], h[ROWS], dx[ROWS * HIDDEN], *dweight;
    struct objective_entry entries[NAIVE_SAMPLES * NAIVE_NAMES];
    struct objective_output out = {c, NULL, NULL, NULL, 0};
    unsigned needs = objective_needs(o, s);
    struct error e = {0};
    struct fixture f;
    struct naive n;

    begin(&f, name, s, 0);
    naive_make(&n, 0.3, 5);
    for (int t = 0; t < ROWS; t++) {
        n.logp[t] = f.logp[t];
        n.lse[t] = f.lse[t];
        n.entropy[t] = f.entropy[t];
        n.reference[t] = n.behaviour[t] = (double)(float)(f.logp[t] + 0.1 * sin(t));
    }
    for (int i = 0; i < NAIVE_SAMPLES; i++)
        for (int k = 0; k < NAIVE_NAMES && n.sample[i].named_row >= 0; k++)
            n.named[i][k] = f.z[n.sample[i].named_row][n.columns[k] % f.model.head_rows];
    naive_batch(&n);
    if (!(needs & OBJECTIVE_needs_named))
        n.batch.named = 0;
    objective_advantages(&n.batch, s, n.sample);
    objective_measure(o, &n.batch, s, &step);
    out.e = needs & (OBJECTIVE_needs_lse | OBJECTIVE_needs_named) ? e_rows : NULL;
    out.h = needs & OBJECTIVE_needs_entropy ? h : NULL;
    out.entries = n.batch.named > 0 ? entries : NULL;
    objective_run(o, &n.batch, s, &step, &out, &wanted);
    if (head_device_loss(f.device, &f.model, f.x, f.targets, o, s, &step, &n.batch, &report, dx,
                         &e) < 0)
        fail_msg("%s: %s", name, e.text);
    if (fabs(report.loss - wanted.loss) > how.logp * (1 + fabs(wanted.loss)) ||
        report.tokens != wanted.tokens || report.samples != wanted.samples)
        fail_msg("%s: loss %.9g of %g tokens, not %.9g of %g", name, report.loss, report.tokens,
                 wanted.loss, wanted.tokens);
    dweight = head_gradient_of(&f);
    check_slopes(&f, name, &out, dx, dweight);
    free(dweight);
    end(&f);
}

static void
every_objective_has_its_loss_and_gradients(void **state)
{
    (void)state;
    if (!on_device())
        return;
    for (int i = 0; objective_at(i); i++) {
        struct objective_settings s = settings_of(objective_at(i)->name);

        check_loss(objective_at(i)->name, &s);
    }
}

/* Kept logits and bfloat16 ones, for objectives of every scope. */
static void
other_ways_to_make_logits_are_near(void **state)
{
    static const char *const names[] = {"sft", "grpo", "bcpg_nsa", "opmd", "dpo", "kto", "tract",
                                        "token_class"};
    static const struct how ways[] = {{SLUICE_logits_float32, 1, 1e-5, 1.0 / 20},
                                      {SLUICE_logits_bfloat16, 0, 12.0 / 256, 1.0 / 20}};

    (void)state;
    if (!on_device())
        return;
    for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++)
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            struct objective_settings s = settings_of(names[i]);

            how = ways[k];
            check_loss(names[i], &s);
        }
    how = exact;
}

static void
terms_of_kl_and_entropy_are_added(void **state)
{
    static const char *const names[] = {"reinforce", "dpo", "bcpg_nsa"};

    (void)state;
    if (!on_device())
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct objective_settings s = settings_of(names[i]);

        s.entropy_weight = 0.2;
        s.kl = OBJECTIVE_k3;
        s.kl_weight = 0.3;
        check_loss(names[i], &s);
    }
}

/* The same in pieces: statistics, coefficients made here, and the way back with named logits. */
static void
coefficients_from_here_go_back_through_the_head(void **state)
{
    static const int32_t columns[] = {3, 0, 11};
    struct objective_settings s = settings_of("tract");
    float logp[ROWS], lse[ROWS], entropy[ROWS], dx[ROWS * HIDDEN], named[9], *dweight;
    float *c = sets_floats(ROWS, 5, 1), *e_rows = sets_floats(ROWS, 6, 1),
          *h = sets_floats(ROWS, 7, 1);
    struct objective_entry entries[] = {{2, 3, 0.5f}, {2, 11, -1.0f}, {9, 0, 0.25f}};
    struct head_gradient g = {c, e_rows, h, (struct head_entry *)(void *)entries, 3, 1};
    const int64_t rows[] = {2, -1, 9};
    struct error e = {0};
    struct fixture f;

    (void)state;
    if (!on_device())
        return;
    begin(&f, "tract", &s, 0);
    f.targets[7] = -1;
    c[7] = e_rows[7] = h[7] = 0;
    for (int t = 0; t < ROWS; t += 4)
        if (t != 2)
            c[t] = e_rows[t] = h[t] = 0;
    naive_statistics(&f, &f.model);
    if (head_device_statistics(f.device, &f.model, ROWS, f.x, f.targets, logp, lse, entropy,
                               &e) < 0 ||
        head_device_named(f.device, 3, rows, 3, columns, named, &e) < 0 ||
        head_device_backward(f.device, &f.model, ROWS, f.x, f.targets, lse, entropy, &g, dx,
                             &e) < 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            assert_true(fabs((double)named[3 * i + k] -
                             (rows[i] < 0 ? 0 : f.z[rows[i]][columns[k]])) < 1e-5);
    dweight = head_gradient_of(&f);
    check_slopes(&f, "pieces", &(struct objective_output){c, e_rows, h, entries, 3}, dx, dweight);
    free(dweight);
    free(c);
    free(e_rows);
    free(h);
    end(&f);
}

/* ---- statistics ---- */

static void
statistics(struct fixture *f, const struct model *m, int64_t rows, const float *x,
           const int32_t *targets, float *logp, float *lse, float *entropy)
{
    struct error e = {0};

    if (head_device_statistics(f->device, m, rows, x, targets, logp, lse, entropy, &e) < 0)
        fail_msg("%s", e.text);
}

static void
statistics_do_not_depend_on_company(void **state)
{
    struct objective_settings s = settings_of("bcpg");
    float logp[ROWS], lse[ROWS], entropy[ROWS], one[3];
    struct fixture f;

    (void)state;
    if (!on_device())
        return;
    begin(&f, "bcpg", &s, 1);
    f.targets[4] = f.targets[ROWS - 1] = -1;
    naive_statistics(&f, &f.model);
    statistics(&f, &f.model, ROWS, f.x, f.targets, logp, lse, entropy);
    sets_near("logp", ROWS, logp, f.logp, 1e-5);
    sets_near("lse", ROWS, lse, f.lse, 1e-5);
    sets_near("entropy", ROWS, entropy, f.entropy, 1e-4);
    for (int t = 0; t < ROWS; t += 7) {
        statistics(&f, &f.model, 1, f.x + t * HIDDEN, f.targets + t, one, one + 1, one + 2);
        assert_true(one[0] == logp[t] && one[1] == lse[t] && one[2] == entropy[t]);
    }
    statistics(&f, &f.model, 0, f.x, f.targets, logp, lse, entropy);
    end(&f);
}

/* A second model's head in place of the first and back; the same weights give the same bits. */
static void
another_model_can_be_asked(void **state)
{
    struct objective_settings s = settings_of("bcpg");
    float logp[ROWS], lse[ROWS], again[ROWS];
    struct model twin, other;
    struct fixture f;

    (void)state;
    if (!on_device())
        return;
    begin(&f, "bcpg", &s, 1);
    model_copy(&twin, &f.model);
    make_model(&other, VOCAB, 1, 0, 8);
    statistics(&f, &f.model, ROWS, f.x, f.targets, logp, lse, NULL);
    statistics(&f, &twin, ROWS, f.x, f.targets, again, lse, NULL);
    sets_same("a twin", ROWS, logp, again);
    naive_statistics(&f, &other);
    statistics(&f, &other, ROWS, f.x, f.targets, again, lse, NULL);
    sets_near("another model", ROWS, again, f.logp, 1e-5);
    statistics(&f, &f.model, ROWS, f.x, f.targets, again, lse, NULL);
    sets_same("the first again", ROWS, logp, again);
    model_free(&twin);
    model_free(&other);
    end(&f);
}

/* No rows, one row, rows without a part: right answers, and the head's gradient stays zero. */
static void
batches_of_nothing_and_of_one_row_are_right(void **state)
{
    const struct objective *o = objective_find("sft");
    struct objective_settings s = settings_of("sft");
    struct objective_step step = {.groups = 1, .tokens = 1, .samples = 1};
    struct objective_sample sample = {.count = 1, .group_size = 1, .weight = 1, .named_row = -1};
    uint8_t masked[ROWS] = {0};
    struct objective_batch b = {.mask = masked, .sample = &sample};
    struct objective_report report = {0};
    float dx[ROWS * HIDDEN], *dweight;
    int32_t none[ROWS];
    struct error e = {0};
    struct fixture f;

    (void)state;
    if (!on_device())
        return;
    begin(&f, "sft", &s, 0);
    memset(none, -1, sizeof(none));
    for (int64_t rows = 0; rows <= ROWS; rows += ROWS) { /* masked, then without a target */
        b.rows = sample.count = rows;
        b.samples = rows > 0;
        for (int k = 0; k < 2; k++) {
            memset(dx, 0xff, sizeof(dx));
            b.mask = k == 0 ? masked : NULL;
            if (head_device_loss(f.device, &f.model, f.x, k == 0 ? f.targets : none, o, &s, &step,
                                 &b, &report, dx, &e) < 0)
                fail_msg("%s", e.text);
            for (int64_t i = 0; i < rows * HIDDEN; i++)
                assert_true(dx[i] == 0);
        }
    }
    assert_true(report.loss == 0);
    dweight = head_gradient_of(&f);
    assert_true(adamw_norm(dweight, VOCAB * HIDDEN) == 0);
    free(dweight);
    b.rows = sample.count = b.samples = 1;
    report = (struct objective_report){0};
    if (head_device_loss(f.device, &f.model, f.x, f.targets, o, &s, &step, &b, &report, dx, &e) < 0)
        fail_msg("%s", e.text);
    assert_true(fabs(report.loss + f.logp[0]) < 1e-5 && report.tokens == 1);
    end(&f);
}

/* ---- bad input ---- */

static void
a_number_that_is_not_finite_is_named(void **state)
{
    struct objective_settings s = settings_of("sft");
    float logp[ROWS], lse[ROWS];
    struct error e = {0};
    struct fixture f;

    (void)state;
    if (!on_device())
        return;
    begin(&f, "sft", &s, 1);
    f.x[31 * HIDDEN + 2] = NAN;
    assert_int_equal(head_device_statistics(f.device, &f.model, ROWS, f.x, f.targets, logp, lse,
                                            NULL, &e),
                     ERROR_nonfinite);
    assert_int_equal(head_device_row(f.device), 31);
    assert_true(isnan(logp[31]));
    f.x[31 * HIDDEN + 2] = 0;
    statistics(&f, &f.model, ROWS, f.x, f.targets, logp, lse, NULL); /* it goes on */
    f.targets[3] = VOCAB;
    assert_int_equal(head_device_statistics(f.device, &f.model, ROWS, f.x, f.targets, logp, lse,
                                            NULL, &e),
                     ERROR_internal);
    end(&f);
}

static int64_t
memory_free(struct head_device *d)
{
    struct sluice_device now;

    assert_int_equal(d->call->sluice_cuda_describe(0, &now), 0);
    return now.memory_free;
}

/* log p of target 0 under a wide head, next to its definition. */
static void
check_wide(struct head_device *d, const struct model *m, const float *x)
{
    double *z = xarray((size_t)m->head_rows, sizeof(*z)), wanted[ROWS], lse, entropy;
    float logp[ROWS], lses[ROWS];
    int32_t targets[ROWS] = {0};
    struct error e = {0};

    if (head_device_statistics(d, m, ROWS, x, targets, logp, lses, NULL, &e) < 0)
        fail_msg("%s", e.text);
    for (int t = 0; t < ROWS; t++) {
        for (int64_t v = 0; v < m->head_rows; v++) {
            z[v] = 0;
            for (int i = 0; i < HIDDEN; i++)
                z[v] += (double)x[t * HIDDEN + i] * (double)m->params[m->head + v * HIDDEN + i];
        }
        naive_softmax(m->head_rows, z, 0, &wanted[t], &lse, &entropy);
    }
    sets_near("logp of a wide head", ROWS, logp, wanted, 1e-5);
    free(z);
}

/* Logits of a megabyte: the calls take no more than what the objective's samples need. */
static void
memory_is_taken_before_the_first_step(void **state)
{
    enum { MANY = 4099 };
    struct objective_settings s = settings_of("bcpg");
    struct objective_step step = {.groups = 1, .tokens = ROWS, .samples = 1};
    struct objective_sample sample = {.count = ROWS, .group_size = 2, .weight = 1, .named_row = -1};
    float reference[ROWS] = {0}, dx[ROWS * HIDDEN], *x = sets_floats(ROWS * HIDDEN, 1, 1);
    struct objective_batch b = {
        .rows = ROWS, .samples = 1, .sample = &sample, .reference = reference};
    struct head_device_options o = {.objective = objective_find("bcpg"), .rows = ROWS};
    struct objective_report report = {0};
    int32_t targets[ROWS] = {0};
    struct head_device *d;
    struct error e = {0};
    struct model m;
    int64_t before;

    (void)state;
    if (!on_fibers()) { /* a driver takes memory of its own when kernels first run */
        free(x);
        return;
    }
    for (int i = 0; i < ROWS * HIDDEN; i++)
        x[i] = cast_back(cast_nearest(x[i]));
    o.needs = objective_needs(o.objective, &s);
    make_model(&m, MANY, 1, 0, 3);
    if (head_device_open(&d, "cuda:0", &o, &m, NULL, NULL, &e) < 0)
        fail_msg("%s", e.text);
    before = memory_free(d);
    if (head_device_begin(d, &e) < 0 ||
        head_device_loss(d, &m, x, targets, o.objective, &s, &step, &b, &report, dx, &e) < 0)
        fail_msg("%s", e.text);
    assert_in_range(before - memory_free(d), 0, 64 << 10);
    check_wide(d, &m, x);
    head_device_close(d);
    model_free(&m);
    free(x);
}

static void
what_does_not_fit_is_said_before_the_first_step(void **state)
{
    struct objective_settings s = settings_of("sft");
    struct head_device_options o = {.objective = objective_find("sft"),
                                    .needs = objective_needs(objective_find("sft"), &s),
                                    .rows = 4096};
    static const char *const words[] = {"0.001 GB are free", "head_memory", "4096 rows",
                                        "batch_tokens", "keep_logits", "device: cpu"};
    struct head_device *device = NULL;
    struct error e = {0};
    struct model m;

    (void)state;
    if (!on_fibers())
        return;
    make_model(&m, VOCAB, 1, 0, 3);
    setenv("SLUICE_SIMT_MEMORY", "1000000", 1);
    assert_int_equal(head_device_open(&device, "cuda:0", &o, &m, NULL, NULL, &e), ERROR_topology);
    unsetenv("SLUICE_SIMT_MEMORY");
    assert_null(device);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strstr(e.text, words[i]))
            fail_msg("'%s' does not say '%s'", e.text, words[i]);
    assert_int_equal(head_device_open(&device, "cuda:0", &o, &m, NULL, NULL, &e), 0);
    head_device_close(device);
    model_free(&m);
}

static void
the_processor_is_no_device(void **state)
{
    struct objective_settings s = settings_of("sft");
    struct head_device_options o = {.objective = objective_find("sft"),
                                    .needs = objective_needs(objective_find("sft"), &s),
                                    .rows = 8};
    struct head_device *device = NULL;
    struct error e = {0};
    struct model m;

    (void)state;
    make_model(&m, VOCAB, 1, 0, 3);
    assert_int_equal(head_device_open(&device, "cpu", &o, &m, NULL, NULL, &e), 0);
    assert_null(device);
    model_free(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_objective_has_its_loss_and_gradients),
        cmocka_unit_test(other_ways_to_make_logits_are_near),
        cmocka_unit_test(terms_of_kl_and_entropy_are_added),
        cmocka_unit_test(coefficients_from_here_go_back_through_the_head),
        cmocka_unit_test(statistics_do_not_depend_on_company),
        cmocka_unit_test(another_model_can_be_asked),
        cmocka_unit_test(batches_of_nothing_and_of_one_row_are_right),
        cmocka_unit_test(a_number_that_is_not_finite_is_named),
        cmocka_unit_test(memory_is_taken_before_the_first_step),
        cmocka_unit_test(what_does_not_fit_is_said_before_the_first_step),
        cmocka_unit_test(the_processor_is_no_device),
    };

    on_device_begin();
    how = exact;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
