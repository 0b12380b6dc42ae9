/* stages: selection before the objective, through a whole learner: what each leaves, and that kills
 * change nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lessons.h"

static void
weights_of_steps_matter_and_one_is_nothing(void **state)
{
    static const char *const ones[] = {"beta", "1", "wrong_weight", "1", "correction_weight",
                                       "1",    NULL};
    static const char *const wrong[] = {"wrong_weight", "0.5", NULL};
    static const char *const gems[] = {"beta", "0.5", NULL};
    struct lesson_bytes a = lesson_trained("grpo", NULL, 16, NULL),
                        b = lesson_trained("grpo", ones, 16, NULL),
                        c = lesson_trained("grpo", wrong, 16, NULL),
                        d = lesson_trained("grpo", gems, 16, NULL);

    (void)state;
    assert_true(lesson_same(a, b));
    assert_false(lesson_same(a, c));
    assert_false(lesson_same(a, d));
    assert_false(lesson_same(c, d));
    free(a.at);
    free(b.at);
    free(c.at);
    free(d.at);
}

static void
a_mask_of_everything_learns_nothing(void **state)
{
    static const char *const options[] = {"stm_threshold", "1e-9", NULL};
    struct harness *h;
    struct lesson_bytes w = lesson_trained("bcpg", options, 16, &h);
    char *path = xprint("%s/model.safetensors", lesson_base);
    struct lesson_bytes initial = {xalloc(w.length + 1), w.length};
    FILE *f = fopen(path, "rb");

    (void)state;
    assert_non_null(f);
    assert_int_equal(fread(initial.at, 1, w.length, f), w.length);
    fclose(f);
    assert_true(lesson_metric(h, "tokens") == 0);
    assert_true(lesson_metric(h, "tokens/masked_share") == 1);
    assert_false(lesson_measures(h, "samples/pruned_share"));
    assert_true(lesson_same(w, initial));
    harness_close(h);
    free(w.at);
    free(initial.at);
    free(path);
}

/* Tokens learnt in the first step, which has 8 answers of 5, 6 and 7 tokens and a stop token. */
static void
stages_choose_tokens(void **state)
{
    static const char *const all[] = {"shuffle", "false", NULL};
    static const char *const budget[] = {"shuffle", "false", "token_budget", "17", NULL};
    static const char *const pruned[] = {"shuffle", "false", "prune_completions", "0.5", NULL};
    static const char *const shaped[] = {
        "shuffle", "false", "overlong_length", "7", "overlong_buffer", "2", "rlr_base", "10", NULL};
    struct harness *h;
    struct lesson_bytes a, b;
    double most, share;

    (void)state;
    a = lesson_trained("grpo", all, 16, &h);
    most = lesson_metric(h, "tokens");
    assert_false(lesson_measures(h, "tokens/masked_share"));
    assert_false(lesson_measures(h, "samples/pruned_share"));
    harness_close(h);
    free(lesson_trained("grpo", budget, 16, &h).at);
    assert_true(lesson_metric(h, "tokens") == 17);
    assert_true(fabs(lesson_metric(h, "tokens/masked_share") - (most - 17) / most) < 1e-8);
    harness_close(h);
    free(lesson_trained("grpo", pruned, 16, &h).at);
    assert_true(lesson_metric(h, "tokens") < most);
    share = lesson_metric(h, "samples/pruned_share"); /* of eight */
    assert_true(share > 0 && share < 1 && share * 8 == floor(share * 8));
    assert_false(lesson_measures(h, "tokens/masked_share"));
    harness_close(h);
    b = lesson_trained("grpo", shaped, 16, NULL);
    assert_false(lesson_same(a, b));
    free(a.at);
    free(b.at);
}

static void
survives(const char *objective, const char *const *options)
{
    struct lesson_bytes plain = lesson_trained(objective, options, 32, NULL), killed;
    struct harness *h = lesson_open(lesson_both, objective, options, NULL);
    double seconds = 0.001;
    struct lesson_made m;
    int crashes = 0;

    for (uint64_t i = 0; i < 32; i++) {
        lesson_make(&m, i);
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    while (!harness_finished(h)) {
        struct error e = {0};

        if (harness_run(h, seconds, &e) < 0)
            fail_msg("%s", e.text);
        if (harness_finished(h))
            break;
        harness_crash(h);
        crashes++;
        seconds *= 1.2;
    }
    assert_true(crashes > 2);
    killed = lesson_weights(h);
    assert_true(lesson_same(plain, killed));
    harness_close(h);
    free(plain.at);
    free(killed.at);
}

/* S2R's process-level loss: once the policy has moved, a step's ratio is not the whole answer's. */
static void
steps_have_ratios_of_their_own(void **state)
{
    static const char *const steps[] = {
        "advantages", "process", "baseline_min", "100", "aggregation", "sequence_mean",
        "clip_low", "0.01", "clip_high", "0.01", "epochs", "3", "ratio", "step", NULL};
    static const char *const whole[] = {
        "advantages", "process", "baseline_min", "100", "aggregation", "sequence_mean",
        "clip_low", "0.01", "clip_high", "0.01", "epochs", "3", "ratio", "geometric", NULL};
    struct lesson_bytes a = lesson_trained("rloo", steps, 16, NULL),
                        b = lesson_trained("rloo", steps, 16, NULL),
                        c = lesson_trained("rloo", whole, 16, NULL);

    (void)state;
    assert_true(lesson_same(a, b));
    assert_false(lesson_same(a, c));
    free(a.at);
    free(b.at);
    free(c.at);
}

/* Crashes in the middle of a step: with all stages on, and between the two passes of an objective
 * that couples samples. The same bytes. */
static void
stages_survive_crashes(void **state)
{
    static const char *const stages[] = {"epochs",
                                         "4",
                                         "advantages",
                                         "process",
                                         "baseline_min",
                                         "1",
                                         "stm_threshold",
                                         "200",
                                         "token_budget",
                                         "40",
                                         "prune_completions",
                                         "0.3",
                                         "prune_prompts",
                                         "0.3",
                                         "pack_window",
                                         "8",
                                         "batch_tokens",
                                         "60",
                                         "checkpoint_steps",
                                         "1",
                                         NULL};
    static const char *const twice[] = {
        "epochs", "3", "batch_tokens", "30", "prune_prompts", "0.3", "checkpoint_steps", "1", NULL};

    (void)state;
    survives("grpo", stages);
    survives("kto", twice);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_of_steps_matter_and_one_is_nothing),
        cmocka_unit_test(a_mask_of_everything_learns_nothing),
        cmocka_unit_test(steps_have_ratios_of_their_own),
        cmocka_unit_test(stages_choose_tokens),
        cmocka_unit_test(stages_survive_crashes),
    };

    return cmocka_run_group_tests_name("stages", tests, lesson_begin, lesson_end);
}
