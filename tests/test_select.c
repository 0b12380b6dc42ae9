/* select, baseline: the stages between stored samples and the objective, against figures counted by
 * hand and against their own promises: unbiased, within the budget, a function of the samples. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/learner/baseline.h"
#include "nodes/learner/select.h"

#define MOST   64
#define TOKENS 16

static int32_t ids[MOST][TOKENS];
static uint8_t marks[MOST][TOKENS];
static float reference[MOST][TOKENS];
static struct sample samples[MOST];
static struct arena arena;

/* `count` samples in groups of `group`, with two context tokens and `learnt` tokens each. */
static void
make(int count, int group, int learnt)
{
    memset(samples, 0, sizeof(samples));
    memset(marks, 0, sizeof(marks));
    for (int i = 0; i < count; i++) {
        for (int t = 0; t < TOKENS; t++) {
            ids[i][t] = t;
            reference[i][t] = -0.5f;
        }
        samples[i] = (struct sample){.ordinal = (uint64_t)i,
                                     .first = (uint64_t)(i / group * group),
                                     .group_size = (uint32_t)group,
                                     .reward = i % 2,
                                     .mean = 0.5,
                                     .std = 0.5,
                                     .weight = 1,
                                     .correct = i % 2,
                                     .count = learnt + 2,
                                     .context = 2,
                                     .named = -1,
                                     .ids = ids[i],
                                     .marks = marks[i],
                                     .reference = reference[i]};
    }
    arena_clear(&arena);
}

static void
nearly(double a, double b)
{
    if (fabs(a - b) > 1e-12)
        fail_msg("%.17g is not %.17g", a, b);
}

/* ---- rewards ---- */

static void
overlong_answers_lose_reward_in_the_buffer(void **state)
{
    const struct select_rules rules = {
        .overlong_length = 10, .overlong_buffer = 4, .overlong_factor = 2};

    (void)state;
    make(4, 4, 6);
    samples[1].count = 2 + 9; /* 3 of 4 into the buffer */
    samples[3].count = 2 + 12;
    select_shape(&rules, samples, 4);
    nearly(samples[0].reward, 0);
    nearly(samples[1].reward, 1 - 3.0 / 4 * 2);
    nearly(samples[3].reward, 1 - 2); /* beyond the length: the full penalty and no more */
    nearly(samples[0].mean, (0 - 0.5 + 0 - 1.0) / 4); /* the group's numbers are made anew */
    nearly(samples[2].std, samples[1].std);
    assert_true(samples[2].std > 0.4);
}

/* Of rewards 0 1 0 1 the last was dropped on the way; one that is here loses 1/2. G stays 4. */
static void
a_dropped_rollout_keeps_its_part_in_the_mean(void **state)
{
    const struct select_rules rules = {
        .overlong_length = 10, .overlong_buffer = 4, .overlong_factor = 1};
    const double rewards[] = {0, 0.5, 0, 1};
    double squares = 0;

    (void)state;
    make(4, 4, 6);
    samples[1].count = 2 + 8;
    select_shape(&rules, samples, 3);
    for (int i = 0; i < 4; i++)
        squares += (rewards[i] - 0.375) * (rewards[i] - 0.375);
    for (int i = 0; i < 3; i++) {
        nearly(samples[i].reward, rewards[i]);
        nearly(samples[i].mean, 0.375);
        nearly(samples[i].std, sqrt(squares / 4));
    }
    nearly(samples[3].mean, 0.5);
}

static void
shorter_correct_answers_gain(void **state)
{
    const struct select_rules rules = {
        .rlr_base = 4, .rlr_ratio = 0.5, .rlr_low = -0.5, .rlr_high = 0.25};

    (void)state;
    make(8, 4, 4);
    samples[1].count = 2 + 2; /* mean length of the correct two: 6 */
    samples[3].count = 2 + 10;
    samples[5].correct = 0; /* the second group: a quarter is correct */
    select_shape(&rules, samples, 8);
    nearly(samples[1].reward, 1 + 0.25);
    nearly(samples[3].reward, 1 - 0.5);
    nearly(samples[0].reward, 0);
    for (int i = 4; i < 8; i++)
        nearly(samples[i].mean, 0.5); /* untouched: as the reader wrote it */
    nearly(samples[0].mean, (1.25 + 0.5) / 4);
}

static void
wrong_answers_pay_for_repetition(void **state)
{
    const struct select_rules rules = {.repetition_penalty = -2, .repetition_ngram = 2};

    (void)state;
    make(2, 2, 5);
    for (int k = 0; k < 2; k++)
        for (int t = 0; t < 7; t++)
            ids[k][t] = t < 5 ? 7 : t;
    select_shape(&rules, samples, 2);
    nearly(samples[0].reward, -2 * (1 - 3.0 / 4)); /* 77 77 75 56 of tokens 7 7 7 5 6 */
    nearly(samples[1].reward, 1);                  /* correct ones do not */
}

/* ---- masks ---- */

static void
unlikely_tokens_are_masked(void **state)
{
    struct select_rules rules = {.stm_threshold = 2.5};

    (void)state;
    make(2, 2, 4);
    for (int i = 0; i < 2; i++) {
        reference[i][1] = (float)-log(2.4999);
        reference[i][2] = (float)-log(2.5001);
    }
    select_mask(&rules, samples, 2, &arena);
    for (int i = 0; i < 2; i++) {
        assert_non_null(samples[i].mask);
        assert_memory_equal(samples[i].mask, ((uint8_t[]){1, 1, 0, 1}), 4);
        assert_int_equal(select_rows(&samples[i]), 3);
    }
    rules.stm_positive_only = true;
    samples[0].mask = samples[1].mask = NULL;
    marks[0][3] = SAMPLE_masked; /* of the record, whatever the perplexity */
    select_mask(&rules, samples, 2, &arena);
    assert_memory_equal(samples[0].mask, ((uint8_t[]){1, 1, 1, 0}), 4);
    assert_memory_equal(samples[1].mask, ((uint8_t[]){1, 1, 0, 1}), 4);
    make(2, 2, 4);
    samples[0].truncated = 1;
    select_mask(&rules, samples, 2, &arena);
    assert_true(!samples[0].mask && !samples[1].mask);
    rules.mask_truncated = true;
    select_mask(&rules, samples, 2, &arena);
    assert_int_equal(select_rows(&samples[0]), 0);
    assert_null(samples[1].mask);
    make(1, 1, 4);
    samples[0].named = 2; /* a named token is not masked */
    samples[0].correct = 1;
    reference[0][2] = -9;
    select_mask(&rules, samples, 1, &arena);
    assert_null(samples[0].mask);
}

/* ---- pruning ---- */

static void
probabilities_fall_and_have_the_rate_as_mean(void **state)
{
    static const double rates[] = {0.1, 0.3, 0.5, 0.7};

    (void)state;
    for (int r = 0; r < 4; r++) {
        double sum = 0, last = 1;

        for (int k = 0; k < 8; k++) {
            double p = select_probability(rates[r], k, 8);

            assert_true(p >= 0 && p <= SELECT_PRUNE_MAX && p <= last);
            sum += p;
            last = p;
        }
        assert_true(fabs(sum / 8 - rates[r]) < 0.005);
    }
}

/* Mean over many epochs of the weighted sum of what was kept is the sum over everything; an equal
 * |A| has an equal probability. */
static void
pruning_is_unbiased(void **state)
{
    const struct select_rules rules = {.prune_prompts = 0.3, .prune_completions = 0.5};
    double advantages[8] = {0.1, -0.1, 0.5, 0.4, -0.9, 0.9, 0.3, 0.2};
    double mean[8] = {0}, kept = 0;
    int rounds = 20000;

    (void)state;
    for (int n = 0; n < rounds; n++) {
        make(8, 4, 3);
        select_prune(&rules, samples, advantages, 8, true, 11, (uint64_t)n);
        for (int i = 0; i < 8; i++) {
            mean[i] += samples[i].pruned ? 0 : samples[i].weight / rounds;
            kept += samples[i].pruned ? 0 : 1.0 / rounds / 8;
        }
        nearly(samples[0].weight, samples[1].weight);
    }
    for (int i = 0; i < 8; i++)
        assert_true(fabs(mean[i] - 1) < 0.06); /* 4 standard errors of weights up to 5 */
    assert_true(fabs(kept - 0.7 * 0.5) < 0.01);
}

static void
pruning_is_a_function_of_seed_epoch_and_ordinal(void **state)
{
    const struct select_rules rules = {.prune_completions = 0.5}, prompts = {.prune_prompts = 0.5};
    double advantages[32];
    bool out[32], other = false;
    int pruned = 0;

    (void)state;
    for (int i = 0; i < 32; i++)
        advantages[i] = (double)(i % 8);
    make(32, 8, 3);
    select_prune(&rules, samples, advantages, 32, false, 5, 2);
    for (int i = 0; i < 32; i++)
        out[i] = samples[i].pruned;
    make(32, 8, 3);
    for (int i = 24; i >= 0; i -= 8) /* group by group, backwards */
        select_prune(&rules, samples + i, advantages + i, 8, false, 5, 2);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(samples[i].pruned, out[i]);
        pruned += out[i];
    }
    assert_in_range(pruned, 6, 26);
    make(32, 8, 3);
    select_prune(&rules, samples, advantages, 32, false, 5, 3);
    for (int i = 0; i < 32; i++)
        other = other || samples[i].pruned != out[i];
    assert_true(other);
    make(32, 8, 3);
    select_prune(&prompts, samples, advantages, 32, false, 5, 0); /* no history: none goes */
    for (int i = 0; i < 32; i++)
        assert_true(!samples[i].pruned && samples[i].weight == 1);
    pruned = 0;
    for (int n = 0; n < 20; n++) {
        make(32, 8, 3);
        select_prune(&prompts, samples, advantages, 32, true, 5, (uint64_t)n);
        for (int i = 0; i < 32; i++) {
            assert_int_equal(samples[i].pruned, samples[i / 8 * 8].pruned); /* whole groups */
            pruned += samples[i].pruned;
        }
    }
    assert_in_range(pruned, 200, 440);
}

/* ---- budget ---- */

static void
a_budget_takes_the_first_tokens_and_cuts_the_last(void **state)
{
    const struct select_rules rules = {.token_budget = 11};

    (void)state;
    make(5, 5, 4);
    samples[1].pruned = true; /* costs nothing */
    samples[2].mask = (const uint8_t[]){1, 0, 1, 1};
    select_budget(&rules, samples, 5, &arena);
    assert_null(samples[0].mask);                  /* 4 */
    assert_int_equal(select_rows(&samples[2]), 3); /* 7 */
    assert_null(samples[3].mask);                  /* 11 */
    assert_int_equal(select_rows(&samples[4]), 0);
    make(5, 5, 4);
    select_budget(&rules, samples, 5, &arena);
    assert_null(samples[1].mask);
    assert_memory_equal(samples[2].mask, ((uint8_t[]){1, 1, 1, 0}), 4);
    assert_int_equal(select_rows(&samples[3]), 0);
    make(2, 2, 4);
    select_budget(&rules, samples, 2, &arena); /* fewer than the budget: all */
    assert_true(!samples[0].mask && !samples[1].mask);
}

/* ---- packing ---- */

static void
batches_take_what_fits(void **state)
{
    static const int64_t lengths[] = {5, 4, 9, 2, 30, 3, 3};
    int64_t order[7], starts[8];

    (void)state;
    assert_int_equal(select_pack(lengths, 7, 10, 0, order, starts), 5);
    assert_memory_equal(starts, ((int64_t[]){0, 2, 3, 4, 5, 7}), 6 * sizeof(int64_t));
    for (int i = 0; i < 7; i++)
        assert_int_equal(order[i], i);
    /* All seven in the window: 9 alone; 5 4 (none of 1 left); 3 3 2; 30 alone. */
    assert_int_equal(select_pack(lengths, 7, 10, 7, order, starts), 4);
    assert_memory_equal(order, ((int64_t[]){2, 0, 1, 3, 5, 6, 4}), sizeof(order));
    assert_memory_equal(starts, ((int64_t[]){0, 1, 3, 6, 7}), 5 * sizeof(int64_t));
    assert_int_equal(select_pack(lengths, 0, 10, 7, order, starts), 0);
    assert_int_equal(starts[0], 0);
}

static void
packing_places_every_sample_once(void **state)
{
    int64_t lengths[200], order[200], starts[201], seen[200] = {0};

    (void)state;
    for (int i = 0; i < 200; i++)
        lengths[i] = 1 + i * 37 % 60;
    for (int64_t window = 0; window <= 64; window += 16) {
        int64_t plain = select_pack(lengths, 200, 100, 0, order, starts);
        int64_t batches = select_pack(lengths, 200, 100, window, order, starts);

        assert_true(batches <= plain);
        memset(seen, 0, sizeof(seen));
        for (int64_t b = 0; b < batches; b++) {
            int64_t sum = 0;

            for (int64_t k = starts[b]; k < starts[b + 1]; k++) {
                sum += lengths[order[k]];
                seen[order[k]]++;
                assert_true(k == starts[b] || order[k] > order[k - 1]);
            }
            assert_true(sum <= 100 && sum > 0);
        }
        for (int i = 0; i < 200; i++)
            assert_int_equal(seen[i], 1);
    }
}

/* ---- baselines ---- */

/* Three steps of two tokens with labels a, b, c; the fourth pair is the end of the last. */
static void
label(int i, int a, int b, int c)
{
    const int labels[] = {a, b, c, 0};

    for (int t = 0; t < 8; t++)
        marks[i][t] = (uint8_t)(labels[t / 2] | (t % 2 == 0 && t < 6 ? SAMPLE_begins : 0));
}

static void
advantages(enum baseline_kind kind, int64_t least, float out[4][8])
{
    struct baselines b = {.rules = {.kind = kind, .bins = 4, .least = least}};

    make(4, 4, 8);
    label(0, SAMPLE_correct, SAMPLE_incorrect, SAMPLE_correct);
    label(2, SAMPLE_correct, SAMPLE_unknown, SAMPLE_incorrect);
    samples[0].correct = samples[2].correct = 0; /* 1 and 3: correct, without steps */
    for (int i = 0; i < 4; i++)
        baselines_add(&b, &samples[i], 0.5);
    for (int i = 0; i < 4; i++)
        baselines_advantages(&b, &samples[i], 0.5, out[i]);
    baselines_free(&b);
}

static void
steps_are_compared_with_steps_like_them(void **state)
{
    float out[4][8];

    (void)state;
    /* By place: first steps +1 +1 +1 +1 (mean 1), second -1 -1 (the unknown one is left out),
     * third +1. */
    advantages(BASELINE_acc_pos, 1, out);
    assert_true(out[0][0] == 0 && out[0][1] == 0);
    assert_true(out[0][2] == 0 && out[0][3] == 0);
    assert_true(out[0][4] == 0 && out[0][7] == 0);
    assert_true(out[1][0] == 0 && out[1][7] == 0);
    assert_true(out[2][2] == 0 && out[2][4] == 0);
    /* Too few: R itself; the unknown step has none. */
    advantages(BASELINE_acc_pos, 10, out);
    assert_true(out[0][0] == 1 && out[0][2] == -1 && out[0][4] == 1 && out[0][7] == 1);
    assert_true(out[1][0] == 1 && out[1][7] == 1);
    assert_true(out[2][0] == 1 && out[2][2] == 0 && out[2][3] == 0 && out[2][4] == -1);
    /* By the labels before: after one correct step -1 and -1; after correct, incorrect: +1. */
    advantages(BASELINE_ctx, 2, out);
    assert_true(out[0][0] == 0 && out[0][2] == 0 && out[0][4] == 1);
    assert_true(out[2][4] == 0);
    advantages(BASELINE_acc_ctx, 4, out);
    assert_true(out[0][0] == 0 && out[0][2] == -1 && out[2][4] == -1);
}

/* 2, 2 and 4 of 8 tokens: each step a third of the response, whatever its length. */
static void
steps_may_count_once(void **state)
{
    struct baselines b = {
        .rules = {.kind = BASELINE_acc_pos, .bins = 4, .least = 10, .once = true}};
    float out[8], sum[3] = {0};

    (void)state;
    make(1, 1, 8);
    samples[0].correct = 0;
    label(0, SAMPLE_correct, SAMPLE_incorrect, SAMPLE_correct);
    baselines_add(&b, &samples[0], 0);
    baselines_advantages(&b, &samples[0], 0, out);
    for (int t = 0; t < 8; t++)
        sum[t < 4 ? t / 2 : 2] += out[t];
    for (int k = 0; k < 3; k++)
        assert_true(fabs((double)sum[k] / 8 - (k == 1 ? -1 : 1) / 3.0) < 1e-6);
    label(0, SAMPLE_correct, SAMPLE_unknown, SAMPLE_correct); /* two have a label */
    baselines_advantages(&b, &samples[0], 0, out);
    assert_true(out[0] == 2 && out[2] == 0 && out[4] == 1);
    /* Masked: the first step and half of the last. Of 4 tokens 2 are of the one step with a label. */
    samples[0].mask = (const uint8_t[]){0, 0, 1, 1, 0, 0, 1, 1};
    baselines_advantages(&b, &samples[0], 0, out);
    assert_true(out[6] == 2 && out[7] == 2);
    baselines_free(&b);
}

/* A verify that is right to say that the step before it is wrong: +1 although it is labelled
 * incorrect; what is not known of it is left out. */
static void
verifies_have_rewards_of_their_own(void **state)
{
    struct baselines b = {.rules = {.kind = BASELINE_ctx, .bins = 4, .least = 10}};
    float out[8];

    (void)state;
    make(1, 1, 8);
    samples[0].correct = 0;
    label(0, SAMPLE_incorrect, SAMPLE_incorrect, SAMPLE_correct);
    baselines_advantages(&b, &samples[0], 0, out);
    assert_true(out[0] == -1 && out[2] == -1 && out[4] == 1);
    marks[0][2] |= SAMPLE_rewarded | SAMPLE_correct << SAMPLE_judged_shift;
    baselines_advantages(&b, &samples[0], 0, out);
    assert_true(out[0] == -1 && out[2] == 1 && out[3] == 1 && out[4] == 1);
    marks[0][2] |= SAMPLE_unknown << SAMPLE_judged_shift;
    baselines_advantages(&b, &samples[0], 0, out);
    assert_true(out[0] == -1 && out[2] == 0 && out[3] == 0 && out[4] == 1);
}

static void
accuracy_parts_the_baselines(void **state)
{
    struct baselines b = {.rules = {.kind = BASELINE_acc_pos, .bins = 4, .least = 1}};
    float out[8];

    (void)state;
    make(2, 1, 8);
    samples[0].correct = 0;
    samples[1].correct = 1;
    baselines_add(&b, &samples[0], 0.1);
    baselines_add(&b, &samples[1], 0.1);
    baselines_add(&b, &samples[1], 1); /* the last bin holds 1 */
    baselines_advantages(&b, &samples[1], 0.2, out);
    assert_true(out[0] == 1);
    baselines_advantages(&b, &samples[1], 0.9, out);
    assert_true(out[0] == 0);
    baselines_advantages(&b, &samples[1], 0.6, out); /* nothing was like it */
    assert_true(out[0] == 1);
    baselines_free(&b);
}

static int
finish(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlong_answers_lose_reward_in_the_buffer),
        cmocka_unit_test(a_dropped_rollout_keeps_its_part_in_the_mean),
        cmocka_unit_test(shorter_correct_answers_gain),
        cmocka_unit_test(wrong_answers_pay_for_repetition),
        cmocka_unit_test(unlikely_tokens_are_masked),
        cmocka_unit_test(probabilities_fall_and_have_the_rate_as_mean),
        cmocka_unit_test(pruning_is_unbiased),
        cmocka_unit_test(pruning_is_a_function_of_seed_epoch_and_ordinal),
        cmocka_unit_test(a_budget_takes_the_first_tokens_and_cuts_the_last),
        cmocka_unit_test(batches_take_what_fits),
        cmocka_unit_test(packing_places_every_sample_once),
        cmocka_unit_test(steps_are_compared_with_steps_like_them),
        cmocka_unit_test(steps_may_count_once),
        cmocka_unit_test(verifies_have_rewards_of_their_own),
        cmocka_unit_test(accuracy_parts_the_baselines),
    };

    return cmocka_run_group_tests_name("select", tests, NULL, finish);
}
