/* Objectives against torch in float64: tests/golden/objective.bin (tools/golden_objective.py, which
 * names the papers; golden_objective_trainers.py beside it names, for the cases trl_ and verl_, the
 * files and commits whose formulas they are and how their conventions are mapped). Values and
 * gradients to 1e-6. Then numbers worked out by hand elsewhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/objective.h"
#include "tests/golden.h"

#define ROWS    128
#define SAMPLES 16
#define NAMES   5
#define VOCAB   12
#define CLOSE   1e-6

static struct golden golden;

struct world {
    const char *name;
    int rows, samples;
    double groups;
    float logp[ROWS], lse[ROWS], entropy[ROWS], reference[ROWS], behaviour[ROWS], weight[ROWS];
    float advantage[ROWS], named[SAMPLES * NAMES], c[ROWS], e[ROWS], h[ROWS];
    uint8_t mask[ROWS], begins[ROWS];
    int32_t columns[NAMES];
    double values[NAMES], p[ROWS][VOCAB], given[SAMPLES];
    int32_t target[ROWS];
    int from_logits;
    struct objective_sample sample[SAMPLES];
    struct objective_entry entries[SAMPLES * NAMES];
    int64_t entry_count;
    struct objective_report report;
};

static const double *
values(const struct world *w, const char *key)
{
    return golden_find(&golden, "%s/%s", w->name, key)->values;
}

static const struct golden_part *
optional(const char *name)
{
    for (int i = 0; i < golden.count; i++)
        if (strcmp(golden.parts[i].name, name) == 0)
            return &golden.parts[i];
    return NULL;
}

static void
read_floats(const struct world *w, const char *key, float *out)
{
    const struct golden_part *p = golden_find(&golden, "%s/%s", w->name, key);

    for (int64_t i = 0; i < p->count; i++)
        out[i] = (float)p->values[i];
}

/* log p, logsumexp and entropy of the rows' logits; the named logits of each sample's row. */
static void
read_logits(struct world *w)
{
    const double *z = values(w, "z"), *target = values(w, "target");

    w->from_logits = 1;
    for (int t = 0; t < w->rows; t++) {
        double sum = 0, entropy = 0, lse;

        for (int v = 0; v < VOCAB; v++)
            sum += exp(z[t * VOCAB + v]);
        lse = log(sum);
        for (int v = 0; v < VOCAB; v++) {
            w->p[t][v] = exp(z[t * VOCAB + v] - lse);
            entropy -= w->p[t][v] * (z[t * VOCAB + v] - lse);
        }
        w->target[t] = (int32_t)target[t];
        w->logp[t] = (float)(z[t * VOCAB + w->target[t]] - lse);
        w->lse[t] = (float)lse;
        w->entropy[t] = (float)entropy;
    }
    for (int i = 0; i < w->samples; i++)
        for (int k = 0; k < NAMES && w->sample[i].named_row >= 0; k++)
            w->named[i * NAMES + k] = (float)z[w->sample[i].named_row * VOCAB + w->columns[k]];
}

static void
read_samples(struct world *w)
{
    int64_t row = 0;

    for (int i = 0; i < w->samples; i++) {
        struct objective_sample *s = &w->sample[i];

        *s = (struct objective_sample){
            .first = row, .count = (int64_t)values(w, "counts")[i],
            .group = (int64_t)values(w, "groups")[i], .group_size = (int64_t)values(w, "G")[i],
            .reward = values(w, "reward")[i], .mean = values(w, "mean")[i],
            .std = values(w, "std")[i], .weight = values(w, "v")[i],
            .correct = values(w, "correct")[i] != 0, .injected = values(w, "injected")[i] != 0,
            .named_row = -1, .score = values(w, "score")[i],
        };
        if (values(w, "named_row")[i] >= 0)
            s->named_row = row + (int64_t)values(w, "named_row")[i];
        for (int k = 0; k < NAMES; k++)
            s->rank[k] = (int32_t)values(w, "rank")[i * NAMES + k];
        w->given[i] = values(w, "given")[i];
        w->groups += i == 0 || s->group != s[-1].group;
        row += s->count;
    }
}

static void
world_begin(struct world *w, const char *name)
{
    float mask[ROWS];
    char part[64];

    memset(w, 0, sizeof *w);
    w->name = name;
    w->rows = (int)golden_find(&golden, "%s/ref", name)->count;
    w->samples = (int)golden_find(&golden, "%s/counts", name)->count;
    assert_true(w->rows <= ROWS && w->samples <= SAMPLES);
    read_samples(w);
    read_floats(w, "ref", w->reference);
    read_floats(w, "lo", w->behaviour);
    read_floats(w, "b", w->weight);
    read_floats(w, "row_advantage", w->advantage);
    read_floats(w, "mask", mask);
    for (int t = 0; t < w->rows; t++)
        w->mask[t] = mask[t] != 0;
    read_floats(w, "begins", mask);
    for (int t = 0; t < w->rows; t++)
        w->begins[t] = mask[t] != 0;
    for (int k = 0; k < NAMES; k++) {
        w->columns[k] = (int32_t)values(w, "columns")[k];
        w->values[k] = values(w, "values")[k];
    }
    snprintf(part, sizeof part, "%s/z", name);
    if (optional(part) != NULL) {
        read_logits(w);
        return;
    }
    read_floats(w, "lp", w->logp);
    read_floats(w, "lse", w->lse);
    read_floats(w, "H", w->entropy);
    read_floats(w, "named", w->named);
}

/* The order is the script's NAMES. */
static struct objective_settings
read_settings(const double *v, int *rows)
{
    struct objective_settings s = objective_settings_none();

    s.aggregation = (enum objective_aggregation)v[0];
    s.advantages = (enum objective_advantages)v[1];
    s.ratio = (enum objective_ratio)v[2];
    s.tau = v[3];
    s.clip_low = v[4];
    s.clip_high = v[5];
    s.clip_dual = v[6];
    s.soften_positive = v[7];
    s.soften_negative = v[8];
    s.lambda = v[9];
    s.kl = (enum objective_kl)v[10];
    s.kl_weight = v[11];
    s.kl_in_reward = v[12] != 0;
    s.entropy_weight = v[13];
    s.constant = v[14];
    s.budget = v[15];
    s.variant = (int)v[16];
    *rows = v[17] != 0;
    return s;
}

static void
run(struct world *w, const struct objective *o, struct objective_settings s, int rows)
{
    struct objective_output out = {.c = w->c, .e = w->e, .h = w->h, .entries = w->entries};
    struct objective_step step = {0};
    struct objective_batch b = {
        .rows = w->rows, .logp = w->logp, .lse = w->lse, .entropy = w->entropy,
        .reference = w->reference, .behaviour = w->behaviour, .weight = w->weight,
        .advantage = rows ? w->advantage : NULL, .mask = w->mask, .begins = w->begins,
        .named = NAMES,
        .named_logits = w->named, .named_columns = w->columns, .named_values = w->values,
        .samples = w->samples, .sample = w->sample,
    };
    struct error e;

    memset(&w->report, 0, sizeof w->report);
    if (objective_settings_fill(o, &s, &e) < 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < w->samples; i++)
        w->sample[i].advantage = w->given[i];
    objective_advantages(&b, &s, w->sample);
    if (objective_check(o, &b, &s, &e) < 0)
        fail_msg("%s", e.text);
    objective_measure(o, &b, &s, &step);
    step.groups = w->groups;
    objective_run(o, &b, &s, &step, &out, &w->report);
    w->entry_count = out.entry_count;
}

/* To 1e-6 of the number itself, or of a thousandth of the largest: coefficients are float32. */
static void
compare(const char *name, const char *key, const double *found, int64_t count, double close)
{
    char part[160];
    const struct golden_part *p;
    double largest = 0;

    snprintf(part, sizeof part, "%s/%s", name, key);
    p = optional(part);
    for (int64_t i = 0; p != NULL && i < count; i++)
        largest = fmax(largest, fabs(p->values[i]));
    if (p != NULL)
        assert_int_equal(p->count, count);
    for (int64_t i = 0; i < count; i++) {
        double wanted = p == NULL ? 0 : p->values[i];

        if (!(fabs(found[i] - wanted) <= close * fmax(fabs(wanted), 1e-3 * largest)))
            fail_msg("%s: %s %lld is %.9g, golden %.9g", name, key, (long long)i, found[i], wanted);
    }
}

static void
compare_leaves(const struct world *w, const char *name)
{
    const struct { const char *key; const float *values; } parts[] = {
        {"c", w->c}, {"e", w->e}, {"h", w->h},
    };
    double found[ROWS], g[SAMPLES * NAMES] = {0};

    for (int k = 0; k < 3; k++) {
        for (int t = 0; t < w->rows; t++)
            found[t] = (double)parts[k].values[t];
        compare(name, parts[k].key, found, w->rows, CLOSE);
    }
    for (int64_t j = 0; j < w->entry_count; j++)
        for (int i = 0; i < w->samples; i++)
            for (int k = 0; k < NAMES; k++)
                if (w->entries[j].row == w->sample[i].named_row
                    && w->entries[j].column == w->columns[k])
                    g[i * NAMES + k] += (double)w->entries[j].value;
    compare(name, "g", g, (int64_t)w->samples * NAMES, CLOSE);
}

/* The shape of head.h. Statistics are float32 here, which S_i sums up: a little less close. */
static void
compare_logits(const struct world *w, const char *name)
{
    static double found[ROWS * VOCAB];

    for (int t = 0; t < w->rows; t++)
        for (int v = 0; v < VOCAB; v++) {
            double p = w->p[t][v];

            found[t * VOCAB + v] = (double)w->c[t] * ((v == w->target[t]) - p)
                                   + (double)w->e[t] * p
                                   - (double)w->h[t] * p * (log(p) + (double)w->entropy[t]);
        }
    for (int64_t j = 0; j < w->entry_count; j++)
        found[w->entries[j].row * VOCAB + w->entries[j].column] += (double)w->entries[j].value;
    compare(name, "z", found, (int64_t)w->rows * VOCAB, 20 * CLOSE);
}

/* Every case of a world whose name begins with `begins`. Returns how many. */
static int
check_world(const char *name, const char *begins)
{
    static struct world w;
    int cases = 0;

    world_begin(&w, name);
    for (int i = 0; i < golden.count; i++) {
        char at[160], objective[40];
        char *slash;
        double loss, wanted;
        int rows;

        snprintf(at, sizeof at, "%s", golden.parts[i].name);
        slash = strstr(at, "/settings");
        if (slash == NULL || strncmp(at, name, strlen(name)) != 0 || at[strlen(name)] != '/')
            continue;
        *slash = 0;
        slash = strrchr(at, '/');
        if (strncmp(slash + 1, begins, strlen(begins)) != 0)
            continue;
        snprintf(objective, sizeof objective, "%.*s", (int)(slash - at - (int)strlen(name) - 1),
                 at + strlen(name) + 1);
        assert_non_null(objective_find(objective));
        struct objective_settings s = read_settings(golden.parts[i].values, &rows);
        run(&w, objective_find(objective), s, rows);
        loss = w.report.loss;
        wanted = golden_find(&golden, "%s/loss", at)->values[0];
        if (!(fabs(loss - wanted) <= CLOSE * fmax(fabs(wanted), 1e-3)))
            fail_msg("%s: loss %.12g, golden %.12g", at, loss, wanted);
        if (w.from_logits)
            compare_logits(&w, at);
        else
            compare_leaves(&w, at);
        cases++;
    }
    return cases;
}

static void
every_objective_is_its_paper(void **state)
{
    (void)state;
    for (int k = 0; objective_at(k) != NULL; k++)       /* without a word from the user */
        golden_find(&golden, "odd/%s/own/loss", objective_at(k)->name);
    assert_true(check_world("odd", "") > 300);
    assert_true(check_world("pairs", "own") == 1);
    assert_true(check_world("even", "own") == 4);
}

static void
gradients_reach_the_logits(void **state)
{
    (void)state;
    assert_true(check_world("logits", "") == 9);
}

static void
trl_is_the_same(void **state)
{
    (void)state;
    assert_true(check_world("even", "trl_") == 12);
    assert_true(check_world("pairs", "trl_") == 3);
}

static void
verl_is_the_same(void **state)
{
    (void)state;
    assert_true(check_world("even", "verl_") == 16);
}

/* ---- numbers from the reference documents ---- */

/* S2R (arXiv 2502.12853): R = (1, -1, 1, 1). */
static void
rloo_advantages_by_hand(void **state)
{
    static const double rewards[] = {1, -1, 1, 1}, wanted[] = {2 / 3.0, -2, 2 / 3.0, 2 / 3.0};
    struct objective_settings s = objective_settings_none();
    struct objective_sample sample[4] = {0};
    struct objective_batch b = {.samples = 4, .sample = sample};

    (void)state;
    for (int i = 0; i < 4; i++) {
        sample[i].reward = rewards[i];
        sample[i].mean = 0.5;
        sample[i].group_size = 4;
    }
    s.advantages = OBJECTIVE_leave_one_out;
    objective_advantages(&b, &s, sample);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(sample[i].advantage - wanted[i]) < 1e-12);
}

/* The same rewards: the softmax-norm baseline at tau 1 is 0.756442, which opmd's second variant
 * takes off; c = -(r - baseline) / (1 + tau). */
static void
soft_baseline_by_hand(void **state)
{
    static const double rewards[] = {1, -1, 1, 1};
    const struct objective *o = objective_find("opmd");
    struct objective_settings s = objective_settings_none();
    struct objective_sample sample[4] = {0};
    float logp[4] = {-1, -1, -1, -1}, c[4];
    struct objective_batch b = {.rows = 4, .logp = logp, .samples = 4, .sample = sample};
    struct objective_output out = {.c = c};
    struct objective_report report = {0};
    struct objective_step step = {.groups = 1, .tokens = 1, .samples = 4};
    struct error e;

    (void)state;
    for (int i = 0; i < 4; i++)
        sample[i] = (struct objective_sample){.first = i, .count = 1, .reward = rewards[i],
                                              .group_size = 4, .weight = 1};
    s.variant = 1;
    assert_int_equal(objective_settings_fill(o, &s, &e), 0);
    objective_run(o, &b, &s, &step, &out, &report);
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)c[i] + (rewards[i] - 0.756442) / 2) < 1e-6);
}

static double
named_loss(const char *name, int variant, const float *logits, int64_t count, float lse,
           const int32_t *rank, double score)
{
    static const int32_t columns[] = {1, 2, 3, 4, 5};
    static const double worth[] = {1, 2, 3, 4, 5};
    const struct objective *o = objective_find(name);
    struct objective_settings s = objective_settings_none();
    struct objective_sample sample = {.count = 1, .group_size = 1, .weight = 1, .score = score};
    float zero[1] = {0}, c[1], e[1];
    struct objective_entry entries[5];
    struct objective_batch b = {
        .rows = 1, .logp = zero, .lse = &lse, .named = count, .named_logits = logits,
        .named_columns = columns, .named_values = worth, .samples = 1, .sample = &sample,
    };
    struct objective_output out = {.c = c, .e = e, .entries = entries};
    struct objective_report report = {0};
    struct objective_step step = {0};
    struct error error;

    for (int64_t k = 0; rank != NULL && k < count; k++)
        sample.rank[k] = rank[k];
    s.lambda = 1;
    if (variant >= 0)
        s.variant = variant;
    assert_int_equal(objective_settings_fill(o, &s, &error), 0);
    assert_int_equal(objective_check(o, &b, &s, &error), 0);
    objective_measure(o, &b, &s, &step);
    objective_run(o, &b, &s, &step, &out, &report);
    return report.policy;
}

/* TRACT: p = (.02, .05, .13, .40, .30) gives 3.61, not renormalised, and 0.1521 against 4. */
static void
tract_by_hand(void **state)
{
    static const double p[] = {0.02, 0.05, 0.13, 0.40, 0.30};
    float z[5];

    (void)state;
    for (int k = 0; k < 5; k++)
        z[k] = (float)(log(p[k]) + 2);
    assert_true(fabs(named_loss("tract", -1, z, 5, 2, NULL, 4) - 0.1521) < 1e-6);
    assert_true(fabs(named_loss("tract", -1, z, 5, 2, NULL, 0) - 3.61 * 3.61) < 1e-5);
}

/* FIRST: scores (2, 1, 3, .5), true ranks 0, 2, 1, 3 from 0. */
static void
ranknet_by_hand(void **state)
{
    static const float z[] = {2, 1, 3, 0.5f};
    static const int32_t rank[] = {1, 3, 2, 4};
    static const double wanted[] = {0.1104351913, 0.4179718970, 1.3917539, 0.0742608};
    static const double close[] = {1e-10, 1e-10, 1e-7, 1e-7};

    (void)state;
    for (int variant = 0; variant < 4; variant++)
        assert_true(fabs(named_loss("ranknet", variant, z, 4, 0, rank, 0) - wanted[variant])
                    < close[variant]);
}

static int
begin(void **state)
{
    (void)state;
    golden_open(&golden, "tests/golden/objective.bin");
    return 0;
}

static int
end(void **state)
{
    (void)state;
    golden_close(&golden);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_objective_is_its_paper),
        cmocka_unit_test(gradients_reach_the_logits),
        cmocka_unit_test(trl_is_the_same),
        cmocka_unit_test(verl_is_the_same),
        cmocka_unit_test(rloo_advantages_by_hand),
        cmocka_unit_test(soft_baseline_by_hand),
        cmocka_unit_test(tract_by_hand),
        cmocka_unit_test(ranknet_by_hand),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
