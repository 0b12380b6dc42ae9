/* stages: selection before the objective, through a whole learner: what each leaves, and that kills
 * change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/learning.h"

static void
weights_of_steps_matter_and_one_is_nothing(void **state)
{
    static const char *const ones[] = {"beta", "1", "wrong_weight", "1", "correction_weight",
                                       "1",    NULL};
    static const char *const wrong[] = {"wrong_weight", "0.5", NULL};
    static const char *const gems[] = {"beta", "0.5", NULL};
    struct learning_bytes a = learning_trained("grpo", NULL, 16, NULL),
                          b = learning_trained("grpo", ones, 16, NULL),
                          c = learning_trained("grpo", wrong, 16, NULL),
                          d = learning_trained("grpo", gems, 16, NULL);

    (void)state;
    assert_true(learning_same(a, b));
    assert_false(learning_same(a, c));
    assert_false(learning_same(a, d));
    assert_false(learning_same(c, d));
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
    struct learning_bytes w = learning_trained("bcpg", options, 16, &h);
    char *path = xprint("%s/model.safetensors", learning_base);
    struct learning_bytes initial = {xalloc(w.length + 1), w.length};
    FILE *f = fopen(path, "rb");

    (void)state;
    assert_non_null(f);
    assert_int_equal(fread(initial.at, 1, w.length, f), w.length);
    fclose(f);
    assert_true(learning_metric(h, "tokens") == 0);
    assert_true(learning_same(w, initial));
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
    struct learning_bytes a, b;
    double most;

    (void)state;
    a = learning_trained("grpo", all, 16, &h);
    most = learning_metric(h, "tokens");
    harness_close(h);
    free(learning_trained("grpo", budget, 16, &h).at);
    assert_true(learning_metric(h, "tokens") == 17);
    harness_close(h);
    free(learning_trained("grpo", pruned, 16, &h).at);
    assert_true(learning_metric(h, "tokens") < most);
    harness_close(h);
    b = learning_trained("grpo", shaped, 16, NULL);
    assert_false(learning_same(a, b));
    free(a.at);
    free(b.at);
}

/* Crashes in the middle of a step with all stages on: the same bytes. */
static void
stages_survive_crashes(void **state)
{
    static const char *const options[] = {"epochs",
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
    struct learning_bytes plain = learning_trained("grpo", options, 32, NULL), killed;
    struct harness *h = learning_open(learning_both, "grpo", options, NULL);
    double seconds = 0.001;
    struct learning_made m;
    int crashes = 0;

    (void)state;
    for (uint64_t i = 0; i < 32; i++) {
        learning_make(&m, i);
        learning_give(h, &m, i, true);
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
    killed = learning_weights(h);
    assert_true(learning_same(plain, killed));
    harness_close(h);
    free(plain.at);
    free(killed.at);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_of_steps_matter_and_one_is_nothing),
        cmocka_unit_test(a_mask_of_everything_learns_nothing),
        cmocka_unit_test(stages_choose_tokens),
        cmocka_unit_test(stages_survive_crashes),
    };

    return cmocka_run_group_tests_name("stages", tests, learning_begin, learning_end);
}
