/* samples: what a rollout carries from the input to the objective, through a whole learner:
 * recorded log-probabilities and ids, choices that do not fit, data that lacks what is needed, and
 * that batches change no bit. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/learner/learner.h"
#include "tests/lessons.h"

/* ---- recorded log-probabilities ---- */

/* What the initial model says, recorded by the sampler, is what the learner would compute: to the
 * bit the same training. */
static void
recorded_logps_stand_for_the_reference(void **state)
{
    static const char *const recorded[] = {"epochs", "3", "behaviour", "recorded", NULL};
    static const char *const initial[] = {"epochs", "3", NULL};
    struct harness *first, *h = lesson_open(lesson_both, "grpo", recorded, NULL);
    struct lesson_bytes a = lesson_trained("grpo", initial, 16, &first), b, c;
    struct lesson_made m;

    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        struct rollout *r = lesson_make(&m, i);
        char room[LEARNER_KEY_MAX];
        struct span value;

        assert_true(node_get(harness_node(first), learner_key(room, 'r', i), &value));
        assert_int_equal(value.length, (strlen(m.response) + 1) * sizeof(float));
        memcpy(m.logps, value.at, value.length);
        r->logps = (struct f32s){(int64_t)strlen(m.response) + 1, m.logps};
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    lesson_run(h);
    b = lesson_weights(h);
    assert_true(lesson_same(a, b));
    assert_true(lesson_metric(h, "ratio/max") == 1);
    harness_close(h);
    harness_close(first);

    h = lesson_open(lesson_both, "grpo", recorded,
                    NULL); /* other log-probabilities: another policy sampled */
    for (uint64_t i = 0; i < 16; i++) {
        struct rollout *r = lesson_make(&m, i);

        for (int k = 0; k < LESSON_LONGEST; k++)
            m.logps[k] = -1 - 0.1f * (float)k;
        r->logps = (struct f32s){(int64_t)strlen(m.response) + 1, m.logps};
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    lesson_run(h);
    c = lesson_weights(h);
    assert_false(lesson_same(a, c));
    assert_true(lesson_metric(h, "ratio/max") != 1);
    harness_close(h);
    free(a.at);
    free(b.at);
    free(c.at);
}

/* Answers put in from elsewhere have no log-probabilities of the sampler's; they stop nobody. */
static void
injected_answers_need_no_logps(void **state)
{
    static const char *const recorded[] = {"behaviour", "recorded", "epochs", "2", NULL};
    struct lesson_bytes w[2];

    (void)state;
    for (uint64_t k = 0; k < 2; k++) {
        struct harness *h = lesson_open(lesson_both, "grpo", recorded, NULL);
        struct lesson_made m;

        for (uint64_t i = 0; i < 16; i++) {
            struct rollout *r = lesson_make(&m, i);

            for (int t = 0; t < LESSON_LONGEST; t++)
                m.logps[t] = -2;
            r->injected = i % LESSON_GROUP == 0 ? k : 0;
            if (!r->injected)
                r->logps = (struct f32s){(int64_t)strlen(m.response) + 1, m.logps};
            lesson_give(h, &m, i, true);
        }
        harness_end(h);
        lesson_run(h);
        assert_int_equal(harness_dead_count(h), 0);
        w[k] = lesson_weights(h);
        harness_close(h);
    }
    assert_false(lesson_same(w[0], w[1]));
    free(w[0].at);
    free(w[1].at);
}

/* No later rollout has what the first lacks: an error that no restart mends, and nothing trained.
 */
static void
missing_logps_stop_the_learner(void **state)
{
    static const char *const options[] = {"behaviour", "recorded", NULL};
    struct harness *h = lesson_open(lesson_passed, "gspo", options, NULL);
    struct error e = {0};
    struct lesson_made m;

    (void)state;
    for (uint64_t i = 0; i < 4; i++) {
        lesson_make(&m, i);
        lesson_give(h, &m, i, false);
    }
    assert_int_equal(harness_run(h, LESSON_SECONDS, &e), ERROR_topology);
    assert_non_null(strstr(e.text, "'logps'"));
    assert_non_null(strstr(e.text, "logps_field"));
    assert_non_null(strstr(e.text, "gspo"));
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
recorded_values_that_do_not_fit_are_dead_letters(void **state)
{
    static const char *const options[] = {"behaviour", "recorded", NULL};
    struct harness *h = lesson_open(lesson_passed, "grpo", options, NULL);
    struct rollout *r;
    struct lesson_made m;
    int n = 0;

    (void)state;
    r = lesson_make(&m, 0);
    r->logps = (struct f32s){3, m.logps};
    lesson_give(h, &m, 0, false);
    lesson_run(h);
    lesson_dead(h, n++, "'logps' has 3 values, the response 5 tokens and a stop token");

    r = lesson_make(&m, 1); /* ids of something else */
    for (size_t k = 0; k < strlen(m.response); k++)
        m.ids[k] = 3;
    r->token_ids = (struct u32s){(int64_t)strlen(m.response), m.ids};
    r->logps = (struct f32s){(int64_t)strlen(m.response), m.logps};
    lesson_give(h, &m, 1, false);
    lesson_run(h);
    lesson_dead(h, n++, "'token_ids' does not decode to the response: they part at byte 0");

    r = lesson_make(&m, 2);
    m.ids[0] = 1000;
    r->token_ids = (struct u32s){1, m.ids};
    r->logps = (struct f32s){1, m.logps};
    lesson_give(h, &m, 2, false);
    lesson_run(h);
    lesson_dead(h, n++, "'token_ids': id 1000 lies outside the model's vocabulary of 25");

    r = lesson_make(&m, 3);
    r->weight = -1;
    lesson_give(h, &m, 3, false);
    lesson_run(h);
    lesson_dead(h, n++, "'weight' is -1");
    harness_close(h);
}

/* The stop token is learnt where the sampler ended by itself: ids may carry it, log-probabilities
 * may end before it, and an answer that was cut has none. */
static void
the_end_is_learnt_where_it_was_sampled(void **state)
{
    static const struct {
        int stop, logps, cut, learnt;
    } cases[] = {{0, 0, 0, 6}, {1, 6, 0, 6}, {1, 5, 0, 5},
                 {0, 5, 0, 5}, {0, 0, 1, 5}, {1, 6, 1, 6}};
    static const char *const recorded[] = {"behaviour", "recorded", NULL};
    static const char *const initial[] = {NULL};

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct harness *h =
            lesson_open(lesson_passed, "grpo", cases[c].logps ? recorded : initial, NULL);
        struct lesson_made m;
        struct rollout *r = lesson_make(&m, 0);

        assert_int_equal(r->response.length, 5);
        for (size_t k = 0; k < 5; k++)
            m.ids[k] = (uint32_t)(strchr(LESSON_CHARACTERS, m.response[k]) - LESSON_CHARACTERS) + 1;
        if (cases[c].stop || cases[c].logps)
            r->token_ids = (struct u32s){5 + cases[c].stop, m.ids};
        r->logps = (struct f32s){cases[c].logps, m.logps};
        r->finish = span_text(cases[c].cut ? "length" : "stop");
        lesson_give(h, &m, 0, false);
        harness_end(h);
        lesson_run(h);
        assert_int_equal(harness_dead_count(h), 0);
        assert_int_equal((int)lesson_metric(h, "tokens"), cases[c].learnt);
        harness_close(h);
    }
}

/* ---- what the data must have, and what fits ---- */

static void
preferences_need_a_pair(void **state)
{
    struct harness *h = lesson_open(lesson_passed, "dpo", NULL, NULL);
    struct error e = {0};
    struct lesson_made m;

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        if (i % LESSON_GROUP >= 2) {
            lesson_make(&m, i);
            lesson_give(h, &m, i, false);
        }
    harness_end(h);
    assert_int_equal(harness_run(h, LESSON_SECONDS, &e), ERROR_topology);
    assert_non_null(strstr(e.text, "'reward'"));
    assert_non_null(strstr(e.text, "no group has both"));
    harness_close(h);
}

static void
refused(const char *const *links, const char *objective, const char *name, const char *value,
        const char *words)
{
    const char *more[] = {name, value, NULL};
    struct error e = {0};

    assert_null(lesson_open(links, objective, more, &e));
    if (!strstr(e.text, words))
        fail_msg("%s, %s: '%s' does not say '%s'", objective, name, e.text, words);
}

static void
choices_that_do_not_belong_are_refused(void **state)
{
    (void)state;
    refused(lesson_both, "sft", "tau", "0.1", "sft has no tau");
    refused(lesson_both, "bcpg", "clip_low", "0.1", "bcpg has no clip_low");
    refused(lesson_both, "grpo", "soften_positive", "2", "grpo has no soften_positive");
    refused(lesson_both, "rft", "lambda", "1", "rft has no lambda");
    refused(lesson_both, "tbrm", "aggregation", "token_mean",
            "tbrm is not aggregated as token_mean");
    refused(lesson_both, "dpo", "advantages", "mean", "dpo has no advantages");
    refused(lesson_both, "grpo", "ratio", "sequence", "grpo has no choice of ratio");
    refused(lesson_both, "topr", "ratio", "step", "topr has no ratio of steps");
    refused(lesson_both, "ipo", "ratio", "token", "ipo compares whole answers");
    refused(lesson_passed, "rloo", "ratio", "step", "link labelled");
    refused(lesson_both, "grpo", "variant", "listnet",
            "listnet is a variant of ranknet, not of grpo");
    refused(lesson_both, "dpo", "beta", "0.5", "dpo weighs no tokens; is tau meant?");
    refused(lesson_both, "bcpg", "beta", "0.5", "bcpg takes every token alike");
    refused(lesson_passed, "grpo", "beta", "0.5", "link labelled, e.g. to a consensus; is kl_weight meant?");
    refused(lesson_passed, "grpo", "advantages", "process", "link labelled");
    refused(lesson_both, "bcpg", "behaviour", "recorded",
            "does not compare with the policy that sampled");
    refused(lesson_both, "grpo", "kl_weight", "0.1", "say which");
    refused(lesson_both, "grpo", "kl_in", "reward", "there is no KL");
    refused(lesson_both, "grpo", "constant_tokens", "100", "belongs to aggregation: constant");
    refused(lesson_both, "tbrm", "token_budget", "100", "tbrm cannot divide by a constant");
    refused(lesson_both, "gvpo", "prune_completions", "0.5", "compares the answers of a group");
    refused(lesson_both, "token_class", "mask", "s2r", "learns classes of steps");
    refused(lesson_both, "token_class", "entropy_weight", "0.1", "trains classes");
    refused(lesson_both, "grpo", "rlr_low", "-1", "belongs to rlr_base");
    refused(lesson_both, "grpo", "baseline", "ctx", "belongs to advantages: process");
    refused(lesson_both, "grpo", "overlong_length", "100", "above overlong_length");
    refused(lesson_both, "tract", "score_digits", "1Z",
            "the tokenizer does not make 'Z' one token");
    refused(lesson_both, "bcpg", "objective_file", "/nonexistent.so", "/nonexistent.so");
}

/* opmd's own baseline takes no other advantages: a choice of them would be without effect. */
static void
a_baseline_of_its_own_takes_no_advantages(void **state)
{
    static const char *const options[] = {"variant", "log_mean_exp", "advantages", "mean_std",
                                          NULL};
    struct error e = {0};

    (void)state;
    assert_null(lesson_open(lesson_both, "opmd", options, &e));
    assert_non_null(strstr(e.text, "log_mean_exp makes opmd's advantages"));
}

/* A KL between the policy that sampled and the initial model, where they are one. */
static void
a_kl_that_is_always_0_is_refused(void **state)
{
    static const char *const options[] = {"kl", "k1", "kl_in", "reward", NULL};
    struct error e = {0};

    (void)state;
    assert_null(lesson_open(lesson_both, "grpo", options, &e));
    assert_non_null(strstr(e.text, "always 0"));
}

/* ---- every objective ---- */

/* With the policy at the reference every importance ratio is exactly 1 and every S_i exactly 0. */
static void
the_first_step_is_exactly_at_the_policy_that_sampled(void **state)
{
    (void)state;
    for (int i = 0; objective_at(i); i++) {
        const struct objective *o = objective_at(i);
        struct harness *h;

        if (o->needs & (OBJECTIVE_needs_classes | OBJECTIVE_needs_named))
            continue;
        free(lesson_trained(o->name, NULL, 16, &h).at);
        if (o->needs & OBJECTIVE_needs_reference)
            assert_true(lesson_metric(h, "s/largest") == 0);
        if (o->needs & OBJECTIVE_needs_behaviour) {
            assert_true(lesson_metric(h, "ratio/max") == 1);
            assert_true(lesson_metric(h, "ratio/mean") == 1);
        }
        harness_close(h);
    }
}

/* A step in one batch, in many, and packed: the coefficients of every objective are the same bits,
 * and so are the weights. Objectives that couple samples go through the statistics pass. */
static void
batches_change_no_bit(void **state)
{
    static const char *const one[] = {"epochs", "2", "batch_tokens", "4096", NULL};
    static const char *const many[] = {"epochs", "2", "batch_tokens", "40", NULL};
    static const char *const packed[] = {"epochs", "2", "batch_tokens", "4096", "pack_window",
                                         "8",      NULL};

    (void)state;
    for (int i = 0; objective_at(i); i++) {
        const struct objective *o = objective_at(i);
        struct lesson_bytes a, b, c;

        if (o->needs & (OBJECTIVE_needs_classes | OBJECTIVE_needs_named))
            continue;
        a = lesson_trained(o->name, one, 16, NULL);
        b = lesson_trained(o->name, many, 16, NULL);
        c = lesson_trained(o->name, packed, 16, NULL);
        if (!lesson_same(a, b) || !lesson_same(a, c))
            fail_msg("%s: other weights with other batches", o->name);
        free(a.at);
        free(b.at);
        free(c.at);
    }
}

/* What a sample's tokens have under the initial model does not depend on what they share a batch
 * with. */
static void
references_have_the_same_bits_in_any_batch(void **state)
{
    static const char *const how[][7] = {{"batch_tokens", "4096", NULL},
                                         {"batch_tokens", "17", NULL},
                                         {"batch_tokens", "50", "pack_window", "16", NULL},
                                         {"batch_tokens", "90", "shuffle", "false", NULL}};
    struct harness *h[4];

    (void)state;
    for (int k = 0; k < 4; k++)
        free(lesson_trained("bcpg", how[k], 32, &h[k]).at);
    for (uint64_t i = 0; i < 32; i++) {
        char room[LEARNER_KEY_MAX], kept[256];
        struct span value;
        size_t length = 0;

        for (int k = 0; k < 4; k++) {
            assert_true(node_get(harness_node(h[k]), learner_key(room, 'r', i), &value));
            assert_true(value.length > 0 && value.length <= sizeof(kept));
            if (k == 0) {
                memcpy(kept, value.at, value.length);
                length = value.length;
            }
            assert_int_equal(value.length, length);
            assert_memory_equal(kept, value.at, length);
        }
    }
    for (int k = 0; k < 4; k++)
        harness_close(h[k]);
}

/* ---- named logits ---- */

/* Rollout i: prompt and response as given; reward is the gold score. */
static void
give_text(struct harness *h, uint64_t i, const char *prompt, const char *response, double reward)
{
    char id[24];

    snprintf(id, sizeof(id), "r%" PRIu64, i);
    harness_give(h, 0, i, i, 1,
                 &(struct rollout){.id = span_text(id),
                                   .prompt = span_text(prompt),
                                   .response = span_text(response),
                                   .reward = reward,
                                   .group_mean = reward});
}

static double
metric_last(struct harness *h, const char *name)
{
    size_t length;
    char *text = lesson_file(h, "../metrics.jsonl", &length), *key = xprint("\"%s\":", name);
    char *at = NULL;
    double value;

    for (char *next = text; (next = strstr(next, key)); next++)
        at = next;
    assert_non_null(at);
    value = atof(at + strlen(key));
    free(text);
    free(key);
    return value;
}

static void
tract_learns_scores(void **state)
{
    static const char *const options[] = {"epochs", "60", "lr", "1e-2", NULL};
    struct harness *h = lesson_open(lesson_passed, "tract", options, NULL);
    char prompt[16], response[16];

    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        int score = 1 + (int)(i % 5);

        snprintf(prompt, sizeof(prompt), "%d+%d=", (int)(i % 5), (int)(i % 5));
        snprintf(response, sizeof(response), "a+x\n%d", score);
        give_text(h, i, prompt, response, score);
    }
    give_text(h, 16, "1+1=", "2.", 3);
    lesson_run(h);
    lesson_dead(h, 0, "does not end with one of the scores");
    harness_end(h);
    lesson_run(h);
    assert_true(metric_last(h, "step") > 100);
    assert_true(lesson_metric(h, "loss") > 3); /* likelihood alone begins near log 25 */
    assert_true(metric_last(h, "loss") < 0.3);
    harness_close(h);
}

static void
ranknet_learns_orders(void **state)
{
    static const char *const options[] = {"epochs", "40", "lr", "1e-2", NULL};
    static const char *const orders[2][2] = {{"[A] > [B] > [C]", "[C] > [A] > [B]"},
                                             {"[B] > [A] > [C]", "[C] > [B] > [A]"}};
    struct lesson_bytes w[2];

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct harness *h = lesson_open(lesson_passed, "ranknet", options, NULL);

        for (uint64_t i = 0; i < 16; i++)
            give_text(h, i, i % 2 ? "1-1=" : "2+2=", orders[k][i % 2], 1);
        give_text(h, 16, "1+1=", "A = [B]", 1);
        lesson_run(h);
        lesson_dead(h, 0, "does not rank two identifiers");
        harness_end(h);
        lesson_run(h);
        assert_true(metric_last(h, "loss") < 0.2 * lesson_metric(h, "loss"));
        w[k] = lesson_weights(h);
        harness_close(h);
    }
    assert_false(lesson_same(w[0], w[1]));
    free(w[0].at);
    free(w[1].at);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_logps_stand_for_the_reference),
        cmocka_unit_test(injected_answers_need_no_logps),
        cmocka_unit_test(missing_logps_stop_the_learner),
        cmocka_unit_test(recorded_values_that_do_not_fit_are_dead_letters),
        cmocka_unit_test(the_end_is_learnt_where_it_was_sampled),
        cmocka_unit_test(preferences_need_a_pair),
        cmocka_unit_test(choices_that_do_not_belong_are_refused),
        cmocka_unit_test(a_baseline_of_its_own_takes_no_advantages),
        cmocka_unit_test(a_kl_that_is_always_0_is_refused),
        cmocka_unit_test(the_first_step_is_exactly_at_the_policy_that_sampled),
        cmocka_unit_test(batches_change_no_bit),
        cmocka_unit_test(references_have_the_same_bits_in_any_batch),
        cmocka_unit_test(tract_learns_scores),
        cmocka_unit_test(ranknet_learns_orders),
    };

    return cmocka_run_group_tests_name("samples", tests, lesson_begin, lesson_end);
}
