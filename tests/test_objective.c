/* Objectives: coefficients against finite differences of their losses, batches of a step against
 * the whole, the first step of a policy that is its own reference, edges, refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/objective.h"
#include "kernels/random.h"

#define ROWS    60
#define SAMPLES 6

/* Those of this file's fixture; test_objective_slopes.c has all. */
static const struct objective *
plain_at(int n)
{
    static const char *const names[] = {"sft", "rft", "bcpg", "bcpg_nsa", "token_class"};

    return n < 5 ? objective_find(names[n]) : NULL;
}

static struct objective_settings
settings_of(const struct objective *o, double tau)
{
    struct objective_settings s = objective_settings_none();
    struct error e;

    if (!isnan(o->standard.tau))
        s.tau = tau;
    if (objective_settings_fill(o, &s, &e) < 0)
        fail_msg("%s", e.text);
    return s;
}

struct fixture {
    float logp[ROWS], reference[ROWS], weight[ROWS];
    struct objective_sample sample[SAMPLES];
    struct objective_batch batch;
};

/* Two groups of G = 4 of which one sample each was dropped; an empty response; gaps between the
 * samples. */
static void
fixture_begin(struct fixture *f)
{
    static const int64_t counts[SAMPLES] = {9, 1, 12, 0, 7, 17};
    int64_t row = 3;

    for (uint64_t i = 0; i < ROWS; i++) {
        f->logp[i] = -3 * (float)random_unit(1, RANDOM_test, i);
        f->reference[i] = -3 * (float)random_unit(2, RANDOM_test, i);
        f->weight[i] = random_unit(3, RANDOM_test, i) < 0.4 ? -0.5f : 1.0f;
    }
    for (int i = 0; i < SAMPLES; i++) {
        f->sample[i] = (struct objective_sample){
            .first = row, .count = counts[i], .reward = i % 2, .mean = i < 3 ? 0.25 : 0.75,
            .group_size = 4, .correct = i % 2, .group = i / 3, .weight = 1, .named_row = -1,
        };
        row += counts[i] + 1;
    }
    f->batch = (struct objective_batch){.rows = ROWS, .logp = f->logp, .reference = f->reference,
                                        .weight = f->weight, .samples = SAMPLES,
                                        .sample = f->sample};
}

static struct objective_report
run_all(const struct objective *o, struct fixture *f, float *c)
{
    struct objective_settings s = settings_of(o, 0.03);
    struct objective_report report = {0};
    struct objective_step step = {0};
    float e[ROWS], h[ROWS];
    struct objective_output out = {.c = c, .e = e, .h = h};

    objective_advantages(&f->batch, &s, f->sample);
    objective_measure(o, &f->batch, &s, &step);
    objective_run(o, &f->batch, &s, &step, &out, &report);
    for (int i = 0; i < ROWS; i++)
        assert_true(e[i] == 0.0f && h[i] == 0.0f);
    return report;
}

/* The losses are at most quadratic in log p: a central difference of step 1/8, which float32 log
 * probabilities near 1 hold exactly to 2^-22, is their slope but for rounding. */
static void
coefficients_are_slopes(void **state)
{
    (void)state;
    for (int n = 0; plain_at(n) != NULL; n++) {
        const struct objective *o = plain_at(n);
        struct fixture f;
        float c[ROWS], beside[ROWS];
        int some = 0;

        fixture_begin(&f);
        run_all(o, &f, c);
        for (int i = 0; i < ROWS; i++) {
            float kept = f.logp[i];
            double above, below;

            f.logp[i] = kept + 0.125f;
            above = run_all(o, &f, beside).loss;
            double run = (double)f.logp[i];
            f.logp[i] = kept - 0.125f;
            below = run_all(o, &f, beside).loss;
            run -= (double)f.logp[i];
            f.logp[i] = kept;
            if (!(fabs((above - below) / run - (double)c[i]) < 1e-6))
                fail_msg("%s: row %d: c %.9g, slope %.9g", o->name, i, (double)c[i],
                         (above - below) / run);
            some += c[i] != 0.0f;
        }
        assert_true(some > 10);
    }
}

/* Formulas by hand on a group of two. */
static void
bcpg_by_hand(void **state)
{
    float logp[3] = {-1, -2, -0.5f}, reference[3] = {-1.5f, -2, -1}, weight[3] = {0.5f, 1, 1}, c[3];
    struct objective_sample sample[2] = {
        {.first = 0, .count = 2, .reward = 0, .mean = 0.5, .group_size = 2, .weight = 1},
        {.first = 2, .count = 1, .reward = 1, .mean = 0.5, .group_size = 2, .weight = 1},
    };
    struct objective_batch b = {.rows = 3, .logp = logp, .reference = reference, .weight = weight,
                                .samples = 2, .sample = sample};
    struct objective_output out = {.c = c};
    struct objective_report report = {0};
    struct objective_step step = {0};
    const struct objective *o = objective_find("bcpg_nsa");
    struct objective_settings s = settings_of(o, 0.03);

    (void)state;
    objective_advantages(&b, &s, sample);
    objective_measure(o, &b, &s, &step);
    assert_true(step.groups == 1.0);
    objective_run(o, &b, &s, &step, &out, &report);
    /* S_1 = 0.5, S_2 = 0.5; c = -(1/(G |y|)) (b (r - mean) - tau S) */
    assert_true(fabs((double)c[0] - -0.25 * (0.5 * -0.5 - 0.03 * 0.5)) < 1e-8);
    assert_true(fabs((double)c[1] - -0.25 * (1.0 * -0.5 - 0.03 * 0.5)) < 1e-8);
    assert_true(fabs((double)c[2] - -0.5 * (1.0 * 0.5 - 0.03 * 0.5)) < 1e-8);
    assert_true(fabs(report.policy - (-0.25 * (-0.25 * -1 + -0.5 * -2) - 0.5 * (0.5 * -0.5))) <
                1e-12);
    assert_true(fabs(report.pull - 0.015 * (0.25 * 0.25 + 0.5 * 0.25)) < 1e-12);
    assert_true(report.samples == 2 && report.tokens == 3 && report.ratio == 1.0);
    b.weight = NULL;
    objective_run(objective_find("bcpg"), &b, &s, &step, &out, &report);
    assert_true(fabs((double)c[0] - -0.25 * (-0.5 - 0.03 * 0.5)) < 1e-8);
}

/* At step 0 the policy is the reference: S is exactly 0 and c the plain policy gradient's, to the
 * bit. */
static void
first_step_has_no_pull(void **state)
{
    const struct objective *o = objective_find("bcpg_nsa");
    struct objective_settings none = settings_of(o, 0);
    struct objective_report report;
    struct objective_step step = {0};
    struct fixture f;
    float c[ROWS], plain[ROWS];
    struct objective_output out = {.c = plain};

    (void)state;
    fixture_begin(&f);
    memcpy(f.reference, f.logp, sizeof f.logp);
    report = run_all(o, &f, c);
    assert_true(report.ratio == 0.0 && report.ratio_largest == 0.0 && report.pull == 0.0);
    objective_measure(o, &f.batch, &none, &step);
    objective_run(o, &f.batch, &none, &step, &out, &report);
    assert_memory_equal(c, plain, sizeof c);
}

/* A step in batches of one sample: the same coefficients to the bit, losses that add up. */
static void
batches_add_up(void **state)
{
    (void)state;
    for (int n = 0; plain_at(n) != NULL; n++) {
        const struct objective *o = plain_at(n);
        struct objective_report whole, parts = {0};
        struct objective_step step = {0}, again = {0};
        struct fixture f;
        float c[ROWS], one[ROWS], sum[ROWS] = {0};
        struct objective_output out = {.c = one};
        struct objective_settings s = settings_of(o, 0.03);

        fixture_begin(&f);
        whole = run_all(o, &f, c);
        objective_measure(o, &f.batch, &s, &step);
        for (int i = 0; i < SAMPLES; i++) {
            struct objective_batch b = f.batch;

            b.samples = 1;
            b.sample = &f.sample[i];
            objective_measure(o, &b, &s, &again);
            objective_run(o, &b, &s, &step, &out, &parts);
            for (int row = 0; row < ROWS; row++)
                sum[row] += one[row];
        }
        assert_memory_equal(sum, c, sizeof c);
        assert_true(fabs(again.groups - step.groups) < 1e-12 &&
                    fabs(again.tokens - step.tokens) < 1e-12);
        assert_true(fabs(parts.loss - whole.loss) < 1e-12);
        assert_true(parts.samples == whole.samples && parts.tokens == whole.tokens);
    }
}

static void
rft_leaves_wrong_ones_out(void **state)
{
    struct objective_report report;
    struct fixture f;
    float c[ROWS];
    double sum = 0;

    (void)state;
    fixture_begin(&f);
    f.batch.weight = NULL;
    report = run_all(objective_find("rft"), &f, c);
    for (int i = 0; i < SAMPLES; i++)
        for (int64_t row = f.sample[i].first; row < f.sample[i].first + f.sample[i].count; row++) {
            assert_true((c[row] < 0) == f.sample[i].correct);
            sum += (double)c[row];
        }
    assert_true(fabs(sum + 1) < 1e-6);
    assert_true(report.tokens == 18 && report.samples == 2);       /* 1 + 0 + 17 */
}

static void
nothing_to_learn(void **state)
{
    (void)state;
    for (int n = 0; plain_at(n) != NULL; n++) {
        struct fixture f;
        float c[ROWS];

        fixture_begin(&f);
        f.batch.samples = 0;
        assert_true(run_all(plain_at(n), &f, c).loss == 0.0);
        for (int i = 0; i < ROWS; i++)
            assert_true(c[i] == 0.0f);
        f.batch.samples = 1;
        f.batch.sample = &f.sample[3];      /* an empty response */
        f.sample[3].correct = 1;
        assert_true(run_all(plain_at(n), &f, c).loss == 0.0);
        for (int i = 0; i < ROWS; i++)
            assert_true(c[i] == 0.0f);
    }
}

static void
bad_batches_are_refused(void **state)
{
    const struct objective *o = objective_find("bcpg_nsa");
    struct objective_settings s = settings_of(o, 0.03), sft = settings_of(objective_find("sft"), 0);
    struct fixture f;
    struct error e;

    (void)state;
    fixture_begin(&f);
    assert_int_equal(objective_check(o, &f.batch, &s, &e), 0);
    f.batch.reference = NULL;
    assert_int_equal(objective_check(o, &f.batch, &s, &e), ERROR_input);
    assert_int_equal(objective_check(objective_find("sft"), &f.batch, &sft, &e), 0);
    fixture_begin(&f);
    f.sample[2].first = f.sample[1].first;
    assert_int_equal(objective_check(o, &f.batch, &s, &e), ERROR_input);
    fixture_begin(&f);
    f.sample[5].count = INT64_MAX;
    assert_int_equal(objective_check(o, &f.batch, &s, &e), ERROR_input);
    fixture_begin(&f);
    f.sample[0].group_size = 0;
    assert_int_equal(objective_check(o, &f.batch, &s, &e), ERROR_input);
    fixture_begin(&f);
    f.sample[0].reward = NAN;
    assert_int_equal(objective_check(o, &f.batch, &s, &e), ERROR_input);
    fixture_begin(&f);
    f.reference[5] = -INFINITY;
    assert_int_equal(objective_check(o, &f.batch, &s, &e), ERROR_input);
    assert_null(objective_find("ppo"));
    assert_null(objective_at(-1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coefficients_are_slopes),
        cmocka_unit_test(bcpg_by_hand),
        cmocka_unit_test(first_step_has_no_pull),
        cmocka_unit_test(batches_add_up),
        cmocka_unit_test(rft_leaves_wrong_ones_out),
        cmocka_unit_test(nothing_to_learn),
        cmocka_unit_test(bad_batches_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
