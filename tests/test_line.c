/* line: rollouts out of the shapes of JSON that people have, and clear words about the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/reader/line.h"
#include "nodes/reader/recorded.h"

static struct arena arena;

static int
read_one(const struct line_how *how, const char *text, struct line *line, struct error *e)
{
    arena_clear(&arena);
    return line_read(how, span_text(text), span_text("f.jsonl:7"), &arena, line, e);
}

static void
refused(const struct line_how *how, const char *text, const char *words)
{
    struct line  line;
    struct error e = {0};

    if (read_one(how, text, &line, &e) == 0)
        fail_msg("not refused: %s", text);
    if (!strstr(e.text, words))
        fail_msg("%s: '%s' does not say '%s'", text, e.text, words);
}

/* The shape `text` is one rollout with prompt "P", response "R" and reward 1. */
static void
understood(const struct line_how *how, const char *text)
{
    struct line  line;
    struct error e = {0};

    if (read_one(how, text, &line, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    assert_int_equal(line.count, 1);
    if (line.items[0].why)
        fail_msg("%s: %s", text, line.items[0].why);
    if (!span_is(line.items[0].rollout.prompt, "P") ||
        !span_is(line.items[0].rollout.response, "R") || line.items[0].rollout.reward != 1)
        fail_msg("%s: prompt '%.*s', response '%.*s', reward %g", text,
                 (int)line.items[0].rollout.prompt.length, line.items[0].rollout.prompt.at,
                 (int)line.items[0].rollout.response.length, line.items[0].rollout.response.at,
                 line.items[0].rollout.reward);
    line_free(&line);
}

static void
a_preference_pair_is_two_responses(void **state)
{
    static const char *const shapes[] = {
        "{\"prompt\": \"P\", \"chosen\": \"R\", \"rejected\": \"S\"}",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"P\"}],"
        " \"chosen\": [{\"role\": \"assistant\", \"content\": \"R\"}],"
        " \"rejected\": [{\"role\": \"assistant\", \"content\": \"S\"}]}",
    };
    struct line_how how = {0};
    struct line     line;
    struct error    e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (read_one(&how, shapes[i], &line, &e) != 0)
            fail_msg("%s", e.text);
        assert_int_equal(line.count, 2);
        assert_true(span_is(line.items[0].rollout.response, "R"));
        assert_true(span_is(line.items[1].rollout.response, "S"));
        assert_true(line.items[0].rollout.reward == 1 && line.items[1].rollout.reward == 0);
        line_free(&line);
    }
    understood(&how, "{\"prompt\": \"P\", \"chosen\": \"x\", \"rejected\": \"y\","
                     " \"response\": \"R\", \"reward\": 1}");
    refused(&how, "{\"prompt\": \"P\", \"chosen\": \"R\"}", "no response");
    refused(&how, "{\"prompt\": \"P\", \"chosen\": \"R\", \"rejected\": \"S\", \"score\": 1}",
            "one reward for 2 responses");
}

/* What a sampler recorded beside a response. */
static void
recorded_fields_are_read(void **state)
{
    static const char *const shapes[] = {
        "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"rollout_log_probs\":[-0.5,-2],"
        "\"token_ids\":[7,9],\"weight\":0.25,\"truncated\":true,\"injected\":true}",
        "{\"prompt\":\"P\",\"reward\":1,\"sample_weight\":0.25,\"injected\":1,\"choices\":[{"
        "\"text\":\"R\",\"finish_reason\":\"length\",\"token_ids\":[7,9],\"logprobs\":{\"content\":"
        "[{\"token\":\"a\",\"logprob\":-0.5},{\"token\":\"b\",\"logprob\":-2}]}}]}",
        "{\"prompt\":\"P\",\"responses\":[\"R\"],\"rewards\":[1],\"logprobs\":[[-0.5,-2]],"
        "\"response_ids\":[[7,9]],\"weight\":[0.25],\"finish_reason\":[\"length\"],"
        "\"injected\":[true]}",
    };
    const struct line_how how = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct line line;
        struct error e = {0};
        const struct rollout *r;

        if (read_one(&how, shapes[i], &line, &e) != 0)
            fail_msg("%s: %s", shapes[i], e.text);
        r = &line.items[0].rollout;
        assert_int_equal(r->logps.count, 2);
        assert_true(r->logps.at[0] == -0.5f && r->logps.at[1] == -2);
        assert_int_equal(r->token_ids.count, 2);
        assert_true(r->token_ids.at[0] == 7 && r->token_ids.at[1] == 9);
        assert_true(r->weight == 0.25 && r->injected == 1);
        assert_true(span_is(r->finish, "length"));
        line_free(&line);
    }
}

static void
recorded_fields_of_many_responses_are_told_apart(void **state)
{
    const struct line_how how = {.logps_field = "mu", .weight_field = "none"};
    struct line line;
    struct error e = {0};

    (void)state;
    assert_int_equal(read_one(&how,
                              "{\"prompt\":\"P\",\"responses\":[\"R\",\"S\",\"T\"],\"rewards\":[1,0,0],"
                              "\"mu\":[[-1],[-2,-3],[0.5]],\"weight\":[1,2,3],"
                              "\"finish_reason\":[\"stop\",null,\"length\"]}",
                              &line, &e),
                     0);
    assert_int_equal(line.items[0].rollout.logps.count, 1);
    assert_int_equal(line.items[1].rollout.logps.count, 2);
    assert_true(line.items[1].rollout.logps.at[1] == -3);
    assert_true(line.items[1].rollout.weight == 0 && line.items[1].rollout.finish.length == 0);
    assert_null(line.items[1].why);
    assert_non_null(strstr(line.items[2].why, "not above 0"));
    line_free(&line);
}

/* More than a message could carry: refused here, not by the reader's death at emission. */
static void
recorded_lists_have_a_limit(void)
{
    const struct line_how how = {0};
    struct buffer text = {0};

    buffer_text(&text, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"logprobs\":[0");
    for (int i = 0; i < RECORDED_TOKENS_MAX; i++)
        buffer_text(&text, ",-1");
    buffer_text(&text, "]}");
    buffer_add(&text, "", 1);
    refused(&how, text.at, "more log-probabilities than a response may have tokens");
    buffer_free(&text);
}

static void
recorded_fields_that_cannot_be_are_refused(void **state)
{
    const struct line_how how = {0}, named = {.logps_field = "mu", .token_ids_field = "ids"};

    (void)state;
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"logprobs\":[-1,1]}",
            "field 'logprobs': a log-probability is finite and not above 0");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"weight\":0}",
            "above 0; leave the rollout away");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"token_ids\":[1.5]}",
            "field 'token_ids': a token id is a whole number");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"token_ids\":[-1]}",
            "lies in 0 ..");
    refused(&named, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"mu\":\"high\"}",
            "field 'mu' is text; log-probabilities are a list of numbers");
    refused(&named,
            "{\"prompt\":\"P\",\"responses\":[\"R\",\"S\"],\"rewards\":[1,0],\"ids\":[[1]]}",
            "field 'ids' does not list one for each of 2 responses");
    recorded_lists_have_a_limit();
    /* A standard name that is something else is not the field. */
    understood(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"weight\":\"heavy\","
                     "\"logprobs\":true,\"token_ids\":{}}");
}

static void
the_usual_shapes_are_understood(void **state)
{
    const struct line_how how = {0};

    (void)state;
    understood(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1}");
    understood(&how, "{\"input\":\"P\",\"output\":\"R\",\"gts\":\"4\",\"score\":1.0,\"step\":3}");
    understood(&how, "{\"question\":\"P\",\"completion\":\"R\",\"acc\":true}");
    understood(&how, "{\"problem\":\"P\",\"generation\":\"R\",\"is_correct\":true}");
    understood(&how, "{\"prompt\":[{\"role\":\"user\",\"content\":\"P\"}],\"completion\":[{"
                     "\"role\":\"assistant\",\"content\":\"R\"}],\"reward\":1}");
    understood(&how,
               "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"P\"}]}"
               "],\"response\":{\"role\":\"assistant\",\"content\":\"R\"},\"reward\":1}");
    understood(&how, "{\"prompt\":\"P\",\"outputs\":[{\"index\":0,\"text\":\"R\"}],\"score\":1}");
    understood(&how, "{\"prompt\":\"P\",\"choices\":[{\"message\":{\"role\":\"assistant\","
                     "\"content\":\"R\"}}],\"reward\":[1]}");
    understood(&how, "{\"prompt\":\"P\",\"response\":{\"status_code\":200,\"body\":{\"choices\":[{"
                     "\"message\":{\"content\":\"R\"}}]}},\"reward\":1}");
    understood(
        &how,
        "{\"responses_create_params\":{\"input\":[{\"role\":\"user\",\"content\":\"P\"}]},"
        "\"response\":{\"object\":\"response\","
        "\"output\":[{\"type\":\"reasoning\",\"summary\":[]},{\"type\":\"message\",\"role\":"
        "\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"R\"}]}]},\"reward\":1.0}");
    understood(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"big\":"
                     "123456789012345678901234567890}");
}

static void
named_fields_win(void **state)
{
    const struct line_how how = {.prompt_field = "q.text",
                                 .response_field = "r",
                                 .reward_field = "ok",
                                 .answer_field = "gold.value",
                                 .id_field = "meta.id"};
    struct line  line;
    struct error e = {0};

    (void)state;
    understood(&how, "{\"prompt\":\"x\",\"q\":{\"text\":\"P\"},\"r\":\"R\",\"response\":\"x\","
                     "\"ok\":true,\"reward\":0}");
    understood(&how, "{\"q.text\":\"P\",\"r\":\"R\",\"ok\":1}");
    assert_int_equal(read_one(&how,
                              "{\"q\":{\"text\":\"P\"},\"r\":\"R\",\"ok\":1,\"gold\":{\"value\":42}"
                              ",\"meta\":{\"id\":9}}",
                              &line, &e),
                     0);
    assert_true(span_is(line.items[0].rollout.answer, "42"));
    assert_true(span_is(line.items[0].rollout.id, "9"));
    line_free(&line);
    refused(&how, "{\"prompt\":\"P\",\"r\":\"R\",\"ok\":1}", "'q.text' is missing");
    refused(&how, "{\"q\":{\"text\":\"P\"},\"r\":\"R\"}", "'ok' is missing");
    refused(&how, "{\"q\":{\"text\":\"P\"},\"r\":\"R\",\"ok\":1,\"gold\":{\"value\":[1,2]}}",
            "'gold.value' is a list");
    refused(&how, "{\"q\":{\"text\":\"P\"},\"r\":\"R\",\"ok\":1,\"meta\":{\"id\":true}}",
            "'meta.id' is true or false");
}

static void
many_responses_on_a_line(void **state)
{
    const struct line_how how = {0}, numeric = {.verify = LINE_verify_numeric};
    const struct line_how math = {.verify = LINE_verify_math};
    struct line           line;
    struct error          e = {0};

    (void)state;
    assert_int_equal(read_one(&how,
                              "{\"id\":\"p1\",\"prompt\":\"P\",\"responses\":[\"a\",\"b\",\"c\"],"
                              "\"rewards\":[0,1,0.5]}",
                              &line, &e),
                     0);
    assert_int_equal(line.count, 3);
    assert_true(span_is(line.items[2].rollout.response, "c"));
    assert_true(span_is(line.items[2].rollout.id, "p1/2"));
    assert_true(line.items[2].rollout.reward == 0.5);
    line_free(&line);

    assert_int_equal(
        read_one(&how, "{\"prompt\":\"P\",\"responses\":[\"a\",7,\"c\"],\"rewards\":[0,1,null]}",
                 &line, &e),
        0);
    assert_null(line.items[0].why);
    assert_non_null(strstr(line.items[1].why, "neither text nor messages"));
    assert_non_null(strstr(line.items[2].why, "neither a number"));
    line_free(&line);

    assert_int_equal(
        read_one(&how,
                 "{\"prompt\":\"P\",\"outputs\":[{\"text\":\"a\",\"score\":1},{\"text\":\"b\"}]}",
                 &line, &e),
        0);
    assert_null(line.items[0].why);
    assert_non_null(line.items[1].why);
    line_free(&line);

    assert_int_equal(read_one(&numeric,
                              "{\"prompt\":\"P\",\"responses\":[\"so #### 4\",\"so #### "
                              "5\"],\"answer\":\"x\\n#### 5\"}",
                              &line, &e),
                     0);
    assert_true(line.items[0].rollout.reward == 0 && line.items[1].rollout.reward == 1);
    line_free(&line);
    assert_int_equal(read_one(&math,
                              "{\"prompt\":\"P\",\"responses\":[\"\\\\boxed{0.75}\",\"\\\\boxed{75}\"],"
                              "\"answer\":\"\\\\frac{3}{4}\"}",
                              &line, &e),
                     0);
    assert_true(line.items[0].rollout.reward == 1 && line.items[1].rollout.reward == 0);
    line_free(&line);
    refused(&how, "{\"prompt\":\"P\",\"responses\":[\"a\",\"b\"],\"rewards\":[1]}",
            "1 rewards for 2 responses");
    refused(&how, "{\"prompt\":\"P\",\"responses\":[\"a\",\"b\"],\"reward\":1}",
            "one reward for 2 responses");
    refused(&how, "{\"prompt\":\"P\",\"responses\":[],\"rewards\":[]}", "0 responses");
}

static void
bad_lines_are_refused_in_clear_words(void **state)
{
    const struct line_how how = {0}, exact = {.verify = LINE_verify_exact};
    struct line           line;
    struct error          e = {0};

    (void)state;
    refused(&how, "{\"prompt\":\"P\",\"resp", "truncated JSON");
    refused(&how, "{\"prompt\":\"P\",}", "malformed JSON at byte");
    refused(&how, "not json", "malformed JSON");
    refused(&how, "[1,2]", "a list, not an object");
    refused(&how, "null", "null, not an object");
    refused(&how, "{\"prompt\":\"\xff\xfe\",\"response\":\"R\",\"reward\":1}", "not UTF-8");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":NaN}", "NaN");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1e999}", "malformed JSON");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":\"nan\"}",
            "'reward': the reward is neither a number");
    refused(&how, "{\"prompt\":7,\"response\":\"R\",\"reward\":1}", "'prompt' is a number");
    refused(&how, "{\"prompt\":[],\"response\":\"R\",\"reward\":1}", "'prompt' is an empty list");
    refused(&how, "{\"prompt\":[{\"role\":\"user\"}],\"response\":\"R\",\"reward\":1}",
            "message 0");
    refused(&how, "{\"prompt\":\"P\",\"response\":7,\"reward\":1}", "'response' is a number");
    refused(&how, "{\"prompt\":\"P\",\"response\":{\"a\":1},\"reward\":1}",
            "'response' is an object");
    refused(&how, "{\"prompt\":\"P\",\"reward\":1}", "no response");
    refused(&how, "{\"response\":\"R\",\"reward\":1}", "no prompt");
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"id\":\"\"}",
            "1 to 4096 bytes");
    assert_int_equal(read_one(&how, "{\"prompt\":\"P\",\"response\":\"R\"}", &line, &e), 0);
    assert_non_null(strstr(line.items[0].why, "no reward"));
    line_free(&line);
    assert_int_equal(read_one(&exact, "{\"prompt\":\"P\",\"response\":\"R\"}", &line, &e), 0);
    assert_non_null(strstr(line.items[0].why, "neither a reward nor an expected answer"));
    line_free(&line);
}

static void
a_given_reward_is_used_and_a_missing_one_verified(void **state)
{
    const struct line_how how = {.verify = LINE_verify_numeric};
    struct line           line;
    struct error          e = {0};

    (void)state;
    assert_int_equal(
        read_one(
            &how,
            "{\"prompt\":\"P\",\"response\":\"it is \\\\boxed{5}\",\"answer\":5,\"reward\":-0.25}",
            &line, &e),
        0);
    assert_true(line.items[0].rollout.reward == -0.25);
    line_free(&line);
    assert_int_equal(read_one(&how,
                              "{\"prompt\":\"P\",\"response\":\"it is "
                              "\\\\boxed{5}\",\"reward_model\":{\"ground_truth\":\"5.0\"}}",
                              &line, &e),
                     0);
    assert_null(line.items[0].why);
    assert_true(line.items[0].rollout.reward == 1);
    line_free(&line);
}

static void
keys_tell_groups_apart(void **state)
{
    struct line_how how = {.group = LINE_group_field, .group_field = "g"};
    struct line     a, b;
    struct error    e = {0};

    (void)state;
    assert_int_equal(
        read_one(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1,\"g\":{\"x\":1,\"y\":2}}",
                 &a, &e),
        0);
    assert_int_equal(
        read_one(&how, "{\"prompt\":\"Q\",\"response\":\"R\",\"reward\":1,\"g\":{\"y\":2,\"x\":1}}",
                 &b, &e),
        0);
    assert_true(a.key.a == b.key.a && a.key.b == b.key.b);
    line_free(&a);
    line_free(&b);
    refused(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1}",
            "'g', which makes the groups, is missing");
    how.group = LINE_group_prompt;
    assert_int_equal(read_one(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"reward\":1}", &a, &e),
                     0);
    assert_int_equal(read_one(&how, "{\"prompt\":\"P \",\"response\":\"R\",\"reward\":1}", &b, &e),
                     0);
    assert_false(a.key.a == b.key.a);
    assert_true(a.id_made && span_is(a.items[0].rollout.id, "f.jsonl:7"));
    line_free(&a);
    line_free(&b);
}

static void
conversations_become_chatml(void **state)
{
    const struct line_how how = {0};
    struct line           line;
    struct error          e = {0};

    (void)state;
    assert_int_equal(read_one(&how,
                              "{\"prompt\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":"
                              "\"user\",\"content\":\"U\"}],\"response\":\"R\",\"reward\":1}",
                              &line, &e),
                     0);
    assert_true(span_is(
        line.items[0].rollout.prompt,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"));
    line_free(&line);
}

static int
finish(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static void
steps_are_put_together_with_their_ends(void **state)
{
    static const char *const refuse[][2] = {
        {"{\"prompt\":\"P\",\"response\":\"x\",\"reward\":0,\"cut\":\"a\"}", "the steps are text"},
        {"{\"prompt\":\"P\",\"reward\":0,\"cut\":[]}", "a list of another length"},
        {"{\"prompt\":\"P\",\"reward\":0,\"cut\":[\"a\",7]}", "step 1 is a number"},
        {"{\"prompt\":\"P\",\"reward\":0,\"cut\":[\"a\",\"\"]}", "the last step is empty"},
    };
    const struct line_how how = {0}, named = {.steps_field = "cut"}, none = {.steps_field = "none"};
    struct line           line;
    struct error          e = {0};

    (void)state;
    assert_int_equal(read_one(&how,
                              "{\"problem\":\"P\",\"steps\":[\"one\",\"\",\"two\\n\",\"three \","
                              "\"four\"],\"reward\":0}",
                              &line, &e),
                     0);
    assert_true(span_is(line.items[0].rollout.response, "one\n\n\n\ntwo\nthree four"));
    const struct u64s *ends = &line.items[0].rollout.given_ends;
    const uint64_t     want[] = {5, 7, 11, 17, 21};
    assert_int_equal(ends->count, 5);
    assert_memory_equal(ends->at, want, sizeof(want));
    line_free(&line);

    /* A response is preferred to steps that nobody named. */
    assert_int_equal(read_one(&how, "{\"prompt\":\"P\",\"response\":\"R\",\"steps\":[\"x\"],"
                                    "\"reward\":1}",
                              &line, &e),
                     0);
    assert_true(span_is(line.items[0].rollout.response, "R"));
    assert_int_equal(line.items[0].rollout.given_ends.count, 0);
    line_free(&line);
    assert_int_equal(read_one(&named, "{\"prompt\":\"P\",\"response\":\"R\",\"cut\":[\"x\"],"
                                      "\"reward\":1}",
                              &line, &e),
                     0);
    assert_true(span_is(line.items[0].rollout.response, "x"));
    line_free(&line);
    refused(&none, "{\"prompt\":\"P\",\"steps\":[\"x\"],\"reward\":1}", "no response");
    for (size_t i = 0; i < sizeof(refuse) / sizeof(refuse[0]); i++)
        refused(&named, refuse[i][0], refuse[i][1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preference_pair_is_two_responses),
        cmocka_unit_test(the_usual_shapes_are_understood),
        cmocka_unit_test(recorded_fields_are_read),
        cmocka_unit_test(recorded_fields_of_many_responses_are_told_apart),
        cmocka_unit_test(recorded_fields_that_cannot_be_are_refused),
        cmocka_unit_test(named_fields_win),
        cmocka_unit_test(many_responses_on_a_line),
        cmocka_unit_test(bad_lines_are_refused_in_clear_words),
        cmocka_unit_test(a_given_reward_is_used_and_a_missing_one_verified),
        cmocka_unit_test(keys_tell_groups_apart),
        cmocka_unit_test(conversations_become_chatml),
        cmocka_unit_test(steps_are_put_together_with_their_ends),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
