/* train: gradients of whole steps through decoder, head and objective against finite differences of
 * the loss; packing; and which samples make which step. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/random.h"
#include "nodes/learner/order.h"
#include "nodes/learner/select.h"
#include "nodes/learner/train.h"
#include "tests/steps.h"

static double
loss(struct trainer *t, const struct sample *samples)
{
    double value = steps_loss(t, samples, STEPS_SAMPLES, 4);

    if (t->broken)
        fail_msg("%s: %s", t->objective->name, t->fault.text);
    return value;
}

/* entropy, kl: of the bonus and of k3 in the loss; 0: none. */
static void
check_slope(const char *objective, double entropy, double kl)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];
    struct trainer t;
    float *grads;
    double norm;

    steps_samples(made, samples);
    steps_open(&t, objective, -0.5);
    t.settings.entropy_weight = entropy;
    if (kl > 0) {
        t.settings.kl = OBJECTIVE_k3;
        t.settings.kl_weight = kl;
    }
    loss(&t, samples);
    grads = xarray((size_t)t.model.count, sizeof(float));
    memcpy(grads, t.grads, (size_t)t.model.count * sizeof(float));
    norm = adamw_norm(grads, t.model.count);
    assert_true(norm > 1e-3);
    for (int i = 0; i < t.model.tensor_count; i++) { /* along the gradient of each tensor */
        const struct model_tensor *tensor = &t.model.tensors[i];
        float *p = t.model.params + tensor->offset, *g = grads + tensor->offset;
        float *kept = xarray((size_t)tensor->count, sizeof(float));
        double length = adamw_norm(g, tensor->count), slope, h = 4e-3;
        double value[2];

        memcpy(kept, p, (size_t)tensor->count * sizeof(float));
        for (int side = 0; side < 2 && length > 1e-4 * norm; side++) {
            for (int64_t j = 0; j < tensor->count; j++)
                p[j] = (float)(kept[j] + (side ? h : -h) * g[j] / length);
            value[side] = loss(&t, samples);
        }
        memcpy(p, kept, (size_t)tensor->count * sizeof(float));
        free(kept);
        if (length <= 1e-4 * norm)
            continue;
        slope = (value[1] - value[0]) / (2 * h);
        if (fabs(slope - length) > 0.01 * length + 2e-4)
            fail_msg("%s, %s: slope %.6g, gradient %.6g", objective, tensor->name, slope, length);
    }
    free(grads);
    trainer_free(&t);
}

static void
gradients_are_slopes(void **state)
{
    /* Those whose coefficients are the slope of what they report: no frozen weights. Through (c),
     * (c, e), (c, entries); of tokens, sequences, groups. */
    static const char *const objectives[] = {"sft",  "rft",  "reinforce", "kimi",  "bcpg", "bcpg_nsa",
                                             "tbrm", "copg", "gvpo",      "dpo",   "ipo",  "tract",
                                             "ranknet", "token_class"};

    (void)state;
    for (size_t i = 0; i < sizeof(objectives) / sizeof(objectives[0]); i++)
        check_slope(objectives[i], 0, 0);
    check_slope("reinforce", 0.3, 0); /* h */
    check_slope("reinforce", 0.3, 0.2);
    check_slope("dpo", 0.2, 0.1); /* the same through the statistics pass */
}

/* The step's loss and its gradient are those of its batches, whatever they are: to the bit, also
 * where samples are coupled and the batches come twice. */
static void
the_loss_does_not_depend_on_the_batches(void **state)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];

    (void)state;
    steps_samples(made, samples);
    for (int i = 0; objective_at(i); i++) {
        struct trainer t;
        float *grads;
        double whole, parts;

        steps_open(&t, objective_at(i)->name, 0.5);
        whole = steps_loss(&t, samples, STEPS_SAMPLES, STEPS_SAMPLES);
        assert_true(t.step.groups == 2 && !t.broken);
        grads = xarray((size_t)t.model.count, sizeof(float));
        memcpy(grads, t.grads, (size_t)t.model.count * sizeof(float));
        parts = steps_loss(&t, samples, STEPS_SAMPLES, 1);
        if (whole != parts || memcmp(grads, t.grads, (size_t)t.model.count * sizeof(float)) != 0)
            fail_msg("%s: %.17g in one batch, %.17g in many", t.objective->name, whole, parts);
        parts = steps_loss(&t, samples, STEPS_SAMPLES, 4);
        assert_true(whole == parts);
        free(grads);
        trainer_free(&t);
    }
}

/* Three steps with so many threads; one of them with another number half way. */
static void
threads_step(int count, struct trainer *t)
{
    static struct steps_made made[STEPS_SAMPLES];
    struct sample samples[STEPS_SAMPLES];

    steps_samples(made, samples);
    steps_open(t, "dpo", 0.5);
    t->settings.entropy_weight = 0.2;
    trainer_threads(t, count);
    for (int step = 1; step <= 3; step++) {
        loss(t, samples);
        if (step == 2)
            trainer_threads(t, 1 + count / 2);
        assert_true(trainer_end(t, step, 1e-2) > 0);
    }
}

static void
threads_change_nothing(void **state)
{
    static const int counts[] = {2, 3, 7};
    struct trainer one, many;

    (void)state;
    threads_step(1, &one);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        size_t bytes = (size_t)one.model.count * sizeof(float);

        threads_step(counts[i], &many);
        assert_true(one.report.loss == many.report.loss);
        assert_memory_equal(one.grads, many.grads, bytes);
        assert_memory_equal(one.model.params, many.model.params, bytes);
        trainer_free(&many);
    }
    trainer_free(&one);
}

/* A sample's log-probabilities are the same bits alone, and between any others in any order. */
static void
packing_changes_no_log_probability(void **state)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES], packed[STEPS_SAMPLES];
    float alone[STEPS_SAMPLES][STEPS_LENGTH], logp[STEPS_SAMPLES * STEPS_LENGTH];
    struct trainer t;

    (void)state;
    steps_samples(made, samples);
    steps_open(&t, "bcpg", 1);
    for (int i = 0; i < STEPS_SAMPLES; i++)
        trainer_reference(&t, &t.model, &samples[i], 1, alone[i]);
    for (uint64_t n = 0; n < 200; n++) {
        uint64_t order[STEPS_SAMPLES];
        int count = 1 + (int)(random_bits(8, RANDOM_test, n) % STEPS_SAMPLES);
        float *at = logp;

        random_permutation(9, RANDOM_test, n, STEPS_SAMPLES, order);
        for (int i = 0; i < count; i++)
            packed[i] = samples[order[i]];
        trainer_reference(&t, &t.model, packed, count, logp);
        for (int i = 0; i < count; i++) {
            size_t learnt = (size_t)(packed[i].count - packed[i].context);

            assert_memory_equal(at, alone[order[i]], learnt * sizeof(*at));
            at += learnt;
        }
    }
    trainer_free(&t);
}

/* The mean over many draws of the pruned gradient is the gradient of everything: what is left out
 * stays in what the loss is divided by. */
static void
pruning_keeps_the_gradient(void **state)
{
    const struct select_rules rules = {.prune_completions = 0.5};
    const int draws = 3000;

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct steps_made made[STEPS_SAMPLES] = {0};
        struct sample samples[STEPS_SAMPLES];
        double sizes[STEPS_SAMPLES] = {0.1, 0.4, 0.2, 0.5, 0.3, 0.6}, apart = 0;
        double *mean;
        float *whole;
        struct trainer t;

        steps_samples(made, samples);
        steps_open(&t, "reinforce", 1);
        t.settings.aggregation = k ? OBJECTIVE_token_mean : OBJECTIVE_sequence_mean;
        steps_loss(&t, samples, STEPS_SAMPLES, STEPS_SAMPLES);
        whole = xarray((size_t)t.model.count, sizeof(*whole));
        mean = xarray((size_t)t.model.count, sizeof(*mean));
        memcpy(whole, t.grads, (size_t)t.model.count * sizeof(*whole));
        for (int n = 0; n < draws; n++) {
            steps_samples(made, samples);
            select_prune(&rules, samples, sizes, STEPS_SAMPLES, false, 3, (uint64_t)n);
            steps_loss(&t, samples, STEPS_SAMPLES, STEPS_SAMPLES);
            for (int64_t j = 0; j < t.model.count; j++)
                mean[j] += (double)t.grads[j] / draws;
        }
        for (int64_t j = 0; j < t.model.count; j++)
            apart += (mean[j] - (double)whole[j]) * (mean[j] - (double)whole[j]);
        if (sqrt(apart) > 0.06 * adamw_norm(whole, t.model.count))
            fail_msg("%g of %g", sqrt(apart), adamw_norm(whole, t.model.count));
        free(whole);
        free(mean);
        trainer_free(&t);
    }
}

/* G is what the group emitted: the loss of two of four is half of what two of two give. */
static void
closed_rollouts_count_in_their_group(void **state)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];
    struct trainer t;
    double four, two;

    (void)state;
    steps_samples(made, samples);
    steps_open(&t, "bcpg", 1);
    four = steps_loss(&t, samples, 2, 2);
    samples[0].group_size = samples[1].group_size = 2;
    two = steps_loss(&t, samples, 2, 2);
    assert_true(fabs(two - 2 * four) < 1e-12 * fabs(two) + 1e-15);
    trainer_free(&t);
}

static void
a_broken_number_changes_nothing(void **state)
{
    struct steps_made made[STEPS_SAMPLES] = {0};
    struct sample samples[STEPS_SAMPLES];
    struct trainer t;
    float before;

    (void)state;
    steps_samples(made, samples);
    steps_open(&t, "sft", 1);
    t.model.params[t.model.final_norm] = NAN;
    before = t.model.params[0];
    steps_loss(&t, samples, STEPS_SAMPLES, STEPS_SAMPLES);
    assert_true(t.broken);
    assert_true(isnan(trainer_end(&t, 1, 0.1)));
    assert_true(t.model.params[0] == before);
    trainer_free(&t);
}

/* ---- order ---- */

static void
fill(struct entries *s, const uint64_t *ordinals, int count)
{
    for (int i = 0; i < count; i++)
        entries_add(s, &(struct entry){ordinals[i], ordinals[i] / 4 * 4, 4, 10});
}

static void
windows_take_whole_groups_below_what_is_settled(void **state)
{
    static const uint64_t ordinals[] = {9, 0, 1, 5, 3, 2, 4, 13, 12, 5};
    struct entries s = {0};
    uint64_t end = 0;

    (void)state;
    fill(&s, ordinals, 10);
    assert_int_equal(s.count, 9); /* 5 came twice */
    for (int i = 1; i < 9; i++)
        assert_true(s.at[i - 1].ordinal < s.at[i].ordinal);
    assert_int_equal(entries_window(&s, 5, 7, false, &end), 0); /* group 4..7 is not settled */
    assert_int_equal(entries_window(&s, 5, 8, false, &end), 6);
    assert_int_equal(end, 8);
    assert_int_equal(entries_window(&s, 4, 8, false, &end), 4);
    assert_int_equal(end, 4);
    assert_int_equal(entries_window(&s, 100, 16, false, &end), 0);
    assert_int_equal(entries_window(&s, 100, 16, true, &end), 9);
    assert_int_equal(end, 16);
    assert_int_equal(entries_windows(&s, 3, 16, 10), 2); /* 0-3; 4, 5, 9; 12, 13 is too short */
    assert_int_equal(entries_windows(&s, 3, 16, 1), 1);
    entries_drop(&s, 6);
    assert_int_equal(s.at[0].ordinal, 9);
    entries_free(&s);
}

static void
a_pass_takes_every_sample_once_in_whole_groups(void **state)
{
    struct entries s = {0};
    struct pass a = {0}, b = {0}, plain = {0};
    int seen[40] = {0};

    (void)state;
    for (uint64_t i = 0; i < 40; i++)
        if (i % 5 != 3)
            entries_add(&s, &(struct entry){i, i / 4 * 4, 4, 10});
    pass_make(&a, &s, s.count, 7, true, 1, 0);
    pass_make(&b, &s, s.count, 7, true, 1, 1);
    pass_make(&plain, &s, s.count, 7, false, 1, 0);
    assert_int_equal(a.starts[a.steps], s.count);
    for (int64_t i = 0; i < s.count; i++) {
        assert_int_equal(plain.order[i], i);
        seen[a.order[i]]++;
    }
    for (int64_t i = 0; i < s.count; i++)
        assert_int_equal(seen[i], 1);
    for (int64_t k = 0; k + 1 < a.steps; k++) {
        int64_t last = a.order[a.starts[k + 1] - 1], next = a.order[a.starts[k + 1]];

        assert_true(a.starts[k + 1] - a.starts[k] >= 7);
        assert_true(s.at[last].first != s.at[next].first);
    }
    assert_int_not_equal(memcmp(a.order, b.order, (size_t)s.count * sizeof(*a.order)), 0);
    pass_free(&a);
    pass_free(&b);
    pass_free(&plain);
    entries_free(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(the_loss_does_not_depend_on_the_batches),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(packing_changes_no_log_probability),
        cmocka_unit_test(pruning_keeps_the_gradient),
        cmocka_unit_test(closed_rollouts_count_in_their_group),
        cmocka_unit_test(a_broken_number_changes_nothing),
        cmocka_unit_test(windows_take_whole_groups_below_what_is_settled),
        cmocka_unit_test(a_pass_takes_every_sample_once_in_whole_groups),
    };

    return cmocka_run_group_tests_name("train", tests, NULL, NULL);
}
