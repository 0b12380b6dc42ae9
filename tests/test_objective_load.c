/* A user's own objective: the example's against the slopes of its loss, and files that are none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/naive_objective.h"

#define FOLDER OBJECTIVE_FILES     /* where make puts them */

static const struct objective *
load(const char *name)
{
    const struct objective *o = NULL;
    struct error e;

    if (objective_load(name, &o, &e) < 0)
        fail_msg("%s", e.text);
    return o;
}

static void
refused(const char *path, const char *word)
{
    const struct objective *o = NULL;
    struct error e = {0};

    assert_int_equal(objective_load(path, &o, &e), ERROR_model);
    assert_null(o);
    if (strstr(e.text, word) == NULL || strstr(e.text, path) == NULL)
        fail_msg("'%s' does not say '%s' of '%s'", e.text, word, path);
}

static double
loss_of(const struct objective *o, struct naive *n, const struct objective_settings *s, float *c)
{
    struct objective_output out = {.c = c};
    struct objective_report report = {0};
    struct objective_step step = {0};
    struct error e;

    naive_batch(n);
    objective_advantages(&n->batch, s, n->sample);
    objective_measure(o, &n->batch, s, &step);
    if (objective_check(o, &n->batch, s, &e) < 0)
        fail_msg("%s", e.text);
    objective_run(o, &n->batch, s, &step, &out, &report);
    assert_true(report.tokens > 20 && fabs(report.loss) > 1e-3);
    return report.loss;
}

/* A step of 2^-7, which float32 log probabilities hold to 2^-22: slopes to a few parts in 1e4. The
 * KL is the caller's. */
static void
the_example_is_the_slope_of_its_loss(void **state)
{
    const struct objective *o = load(FOLDER "/clip_free.so");
    static struct naive n;
    float c[NAIVE_ROWS], beside[NAIVE_ROWS];
    struct objective_settings s = objective_settings_none();
    struct error e;
    int some = 0;

    (void)state;
    assert_string_equal(o->name, "clip_free");
    s.kl = OBJECTIVE_k2;
    s.kl_weight = 0.2;
    assert_int_equal(objective_settings_fill(o, &s, &e), 0);
    assert_true(s.clip_low == 0.2 && s.aggregation == OBJECTIVE_sequence_mean);
    naive_make(&n, 0.4, 11);
    loss_of(o, &n, &s, c);
    for (int t = 0; t < NAIVE_ROWS; t++) {
        double kept = n.logp[t], above, below, slope;

        n.logp[t] = kept + 1.0 / 128;
        above = loss_of(o, &n, &s, beside);
        n.logp[t] = kept - 1.0 / 128;
        below = loss_of(o, &n, &s, beside);
        n.logp[t] = kept;
        slope = (above - below) * 64;
        if (!(fabs(slope - (double)c[t]) <= 2e-3 * fabs(slope) + 1e-5))
            fail_msg("row %d: c %g, slope %g", t, (double)c[t], slope);
        some += c[t] != 0;
    }
    assert_true(some > 20);
}

static void
numbers_it_does_not_have_are_refused(void **state)
{
    const struct objective *o = load(FOLDER "/clip_free.so");
    struct objective_settings s = objective_settings_none();
    struct error e;

    (void)state;
    s.clip_high = 0.3;
    assert_int_equal(objective_settings_fill(o, &s, &e), ERROR_model);
    assert_non_null(strstr(e.text, "clip_high"));
    s = objective_settings_none();
    s.aggregation = OBJECTIVE_sequence_sum;
    assert_int_equal(objective_settings_fill(o, &s, &e), ERROR_model);
}

static void
other_files_are_refused(void **state)
{
    (void)state;
    refused("/nonexistent/objective.so", "no such file");
    refused("tests/objective/no_run.c", "not a shared object");
    refused("tests/objective", "not a shared object");
    refused(FOLDER "/no_symbol.so", OBJECTIVE_FILE_SYMBOL);
    refused(FOLDER "/wrong_abi.so", "ABI 3");
    refused(FOLDER "/no_run.so", "no run()");
    refused(FOLDER "/unresolved.so", "sluice_nowhere");
}

static struct objective_entry lies[NAIVE_SAMPLES * NAIVE_NAMES + 1];
static int64_t lie_count;

static void
lying(const struct objective_batch *b, const struct objective_settings *s,
      const struct objective_step *step, struct objective_output *out,
      struct objective_report *report)
{
    (void)b;
    (void)s;
    (void)step;
    (void)report;
    for (int64_t i = 0; out->entries != NULL && i < lie_count && i < NAIVE_SAMPLES * NAIVE_NAMES;
         i++)
        out->entries[i] = lies[i];
    out->entry_count = lie_count;
    out->c = NULL;
    out->e = (float *)8;
}

/* What a run that writes COUNT of the lies is told; out keeps the caller's arrays. */
static int
told(struct naive *n, struct objective_entry *room, int64_t count)
{
    struct objective o = *load(FOLDER "/clip_free.so");
    struct objective_settings s = objective_settings_none();
    struct objective_report report = {0};
    struct objective_step step = {0};
    float c[NAIVE_ROWS];
    struct objective_output out = {.c = c, .entries = room};
    struct error e;

    o.run = lying;
    lie_count = count;
    assert_int_equal(objective_settings_fill(&o, &s, &e), 0);
    objective_measure(&o, &n->batch, &s, &step);
    objective_run(&o, &n->batch, &s, &step, &out, &report);
    assert_ptr_equal(out.c, c);
    assert_null(out.e);
    return objective_check_entries(&o, &n->batch, &out, &e);
}

static void
a_lie_about_named_logits_is_found(void **state)
{
    static struct naive n;
    static struct objective_entry room[NAIVE_SAMPLES * NAIVE_NAMES + 1];
    int64_t row;

    (void)state;
    naive_make(&n, 0.4, 11);
    naive_batch(&n);
    n.batch.named = NAIVE_NAMES;
    row = n.batch.sample[1].first;
    for (int i = 0; i <= NAIVE_NAMES; i++)
        lies[i] = (struct objective_entry){row, i, 1};
    assert_int_equal(told(&n, room, 0), 0);
    assert_int_equal(told(&n, room, NAIVE_NAMES), 0);
    assert_int_equal(told(&n, NULL, 1), ERROR_model);               /* no room at all */
    assert_int_equal(told(&n, room, -1), ERROR_model);
    assert_int_equal(told(&n, room, NAIVE_NAMES + 1), ERROR_model); /* more than a sample's */
    assert_int_equal(told(&n, room, (int64_t)1 << 40), ERROR_model);
    lies[0].row = row + 1;                                          /* out of order */
    assert_int_equal(told(&n, room, 2), ERROR_model);
    lies[0].row = (int64_t)1 << 40;                                 /* in no sample */
    assert_int_equal(told(&n, room, 1), ERROR_model);
    lies[0].row = -1;
    assert_int_equal(told(&n, room, 1), ERROR_model);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_is_the_slope_of_its_loss),
        cmocka_unit_test(numbers_it_does_not_have_are_refused),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(a_lie_about_named_logits_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
