/* interview: questions, windows, votes, rankings, what is shortened, and the votes that follow. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/llm_judge/interview.h"

#define STEPS_MAX 16
#define GROUP_MAX 32

struct bench {
    struct llm_options options;
    struct prompt *prompt;
    struct steps steps[GROUP_MAX];
    uint64_t ends[STEPS_MAX];
    char response[256], problem[2048], responses[GROUP_MAX][2048];
    struct arena arena;
    struct interview iv;
    struct prompt_messages messages;
    struct buffer body;
};

/* A response of `count` steps "s0;s1;...", and a template, shipped or as text. */
static void
bench_open(struct bench *b, const char *template, int64_t count)
{
    struct error e = {0};
    struct span text = prompt_shipped(template);
    size_t length = 0;

    memset(b, 0, sizeof(*b));
    b->options = (struct llm_options){.model = "m",
                                      .votes = 1,
                                      .window_context = 4,
                                      .threshold = 0.5,
                                      .seed = -1,
                                      .top_logprobs = 20,
                                      .max_tokens = 100};
    b->prompt = prompt_new(text.at ? text : span_text(template), PROMPT_all, &e);
    if (!b->prompt)
        fail_msg("%s", e.text);
    for (int64_t i = 0; i < count; i++) {
        length +=
            (size_t)snprintf(b->response + length, sizeof(b->response) - length, "s%d;", (int)i);
        b->ends[i] = length;
    }
    snprintf(b->problem, sizeof(b->problem), "why?");
    b->steps[0] = (struct steps){
        .rollout = {.prompt = span_text(b->problem), .response = span_text(b->response)},
        .ends = {count, b->ends}};
}

static void
begin(struct bench *b, int count)
{
    interview_begin(&b->iv, &b->options, b->prompt, (enum chat_format)b->options.format, b->steps,
                    count, &b->arena);
}

static void
bench_close(struct bench *b)
{
    arena_free(&b->arena);
    prompt_free(b->prompt);
    prompt_messages_free(&b->messages);
    buffer_free(&b->body);
}

/* The request of a question as text, until the next. */
static const char *
request(struct bench *b, const struct question *q)
{
    struct error e = {0};

    buffer_clear(&b->body);
    if (interview_write(&b->iv, q, &b->messages, &b->body, &e) != 0)
        fail_msg("%s", e.text);
    buffer_add(&b->body, "", 1);
    return b->body.at;
}

/* Answers with these words; -> as interview_answer(). */
static int
answer(struct bench *b, struct question *q, const char *words, struct error *e)
{
    json_t *json = json_pack("{s:[{s:{s:s}, s:s}]}", "choices", "message", "content", words,
                             "finish_reason", "stop");
    int rc = interview_answer(&b->iv, q, json, e);

    json_decref(json);
    return rc;
}

static void
must(struct bench *b, struct question *q, const char *words)
{
    struct error e = {0};

    if (!q)
        fail_msg("no question for %s", words);
    if (answer(b, q, words, &e) != 0)
        fail_msg("%s: %s", words, e.text);
}

/* The vote as "score/agreement reason;..." with "-" where nothing is said, and " =response". */
static void
expect(struct bench *b, int which, const char *wanted)
{
    struct vote v = {0};
    const char *why = "";
    struct buffer got = {0};

    assert_true(interview_done(&b->iv));
    assert_null(interview_next(&b->iv));
    if (!interview_vote(&b->iv, which, &v, &why)) {
        buffer_print(&got, "abstains: %s", why);
    } else {
        for (int64_t i = 0; i < v.said.count; i++) {
            buffer_print(&got, v.said.at[i] ? "%.3g" : "-", (double)v.scores.at[i]);
            if (v.said.at[i] && v.agreement.count)
                buffer_print(&got, "/%.3g", (double)v.agreement.at[i]);
            if (v.said.at[i] && v.outside.count)
                buffer_print(&got, "~%.3g", (double)v.outside.at[i]);
            if (v.reasons.at[i].length)
                buffer_print(&got, " %.*s", (int)v.reasons.at[i].length, v.reasons.at[i].at);
            buffer_text(&got, ";");
        }
        if (v.response.count)
            buffer_print(&got, " =%.3g", (double)v.response.at[0]);
    }
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, wanted);
    buffer_free(&got);
}

#define LABELS3(a, b, c)                                                                           \
    "{\"steps\":[{\"label\":" #a ",\"reason\":\"a" #a "\"},{\"label\":" #b ",\"reason\":\"b" #b    \
    "\"},{\"label\":" #c "}]}"

static void
one_question_for_all_steps(void **state)
{
    struct bench b;
    struct question *q;
    struct error e = {0};

    (void)state;
    bench_open(&b, "bcpg", 3);
    begin(&b, 1);
    q = interview_next(&b.iv);
    assert_null(interview_next(&b.iv));
    assert_non_null(strstr(request(&b, q), "<step_2>\\ns2;\\n</step_2>"));
    assert_null(strstr(b.body.at, "seed"));
    assert_true(answer(&b, q, "no idea", &e) < 0); /* the question stays open */
    assert_false(interview_done(&b.iv));
    must(&b, q, LABELS3(1, 0, 1));
    expect(&b, 0, "1 a1;0 b0;1;");
    bench_close(&b);
}

static void
k_votes_are_means_with_their_agreement(void **state)
{
    struct bench b;
    struct question *q[3];
    char *bodies[3];

    (void)state;
    bench_open(&b, "bcpg", 3);
    b.options.votes = 3;
    b.options.temperature = 1;
    begin(&b, 1);
    for (int i = 0; i < 3; i++) {
        q[i] = interview_next(&b.iv);
        assert_int_equal(q[i]->vote, i);
        bodies[i] = xtext(request(&b, q[i]));
    }
    assert_null(interview_next(&b.iv));
    assert_non_null(strstr(bodies[0], "\"seed\":0"));
    assert_non_null(strstr(bodies[2], "\"seed\":2"));
    must(&b, q[2], LABELS3(0, 1, 1)); /* whatever the order */
    must(&b, q[0], LABELS3(1, 0, 1));
    must(&b, q[1], LABELS3(0, 0, 1));
    expect(&b, 0, "0.333/0.667 a0;0.333/0.667 b0;1/1;");
    for (int i = 0; i < 3; i++)
        free(bodies[i]);
    bench_close(&b);
}

static void
a_vote_that_never_came_does_not_count(void **state)
{
    struct bench b;
    struct question *q[2];

    (void)state;
    bench_open(&b, "bcpg", 3);
    b.options.votes = 2;
    begin(&b, 1);
    q[0] = interview_next(&b.iv);
    q[1] = interview_next(&b.iv);
    interview_lose(&b.iv, q[0], "no\nuse");
    must(&b, q[1], LABELS3(1, 0, 1));
    expect(&b, 0, "1/1 a1;0/1 b0;1/1;");
    begin(&b, 1);
    interview_lose(&b.iv, interview_next(&b.iv), "first");
    interview_lose(&b.iv, interview_next(&b.iv), "second");
    expect(&b, 0, "abstains: first");
    bench_close(&b);
}

static void
windows_show_their_context(void **state)
{
    struct bench b;
    struct question *q[3];

    (void)state;
    bench_open(&b, "bcpg", 8);
    b.options.window_steps = 3;
    b.options.window_context = 2;
    begin(&b, 1);
    for (int i = 0; i < 3; i++)
        q[i] = interview_next(&b.iv);
    assert_null(interview_next(&b.iv));
    assert_null(strstr(request(&b, q[0]), "earlier_step"));
    assert_non_null(strstr(request(&b, q[1]), "<earlier_step_1>\\ns1;"));
    assert_null(strstr(b.body.at, "s0;"));
    assert_non_null(strstr(b.body.at, "<step_5>"));
    assert_null(strstr(b.body.at, "<step_6>"));
    assert_non_null(strstr(request(&b, q[2]), "exactly 2 entries"));
    must(&b, q[1],
         "{\"steps\":[{\"i\":3,\"label\":0},{\"i\":4,\"label\":1},{\"i\":5,\"label\":1}]}");
    interview_lose(&b.iv, q[0], "lost");
    must(&b, q[2], "{\"steps\":[{\"i\":7,\"label\":0},{\"i\":6,\"label\":1}]}");
    expect(&b, 0, "- lost;- lost;- lost;0;1;1;1;0;");
    bench_close(&b);
}

static void
the_first_error_of_all_windows(void **state)
{
    struct bench b;
    struct question *q[3];

    (void)state;
    bench_open(&b, "first_error", 6);
    b.options.window_steps = 2;
    begin(&b, 1);
    for (int i = 0; i < 3; i++)
        q[i] = interview_next(&b.iv);
    must(&b, q[2], "\\boxed{4}");
    must(&b, q[1], "\\boxed{3}");
    must(&b, q[0], "\\boxed{-1}");
    expect(&b, 0, "1;1;1;0;-;-;");
    bench_close(&b);
}

static void
k_votes_on_the_first_error(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b, "first_error", 5);
    b.options.votes = 3;
    begin(&b, 1);
    must(&b, interview_next(&b.iv), "\\boxed{1}");
    must(&b, interview_next(&b.iv), "\\boxed{3}");
    must(&b, interview_next(&b.iv), "\\boxed{1}");
    expect(&b, 0, "1/1;0.333/0.667;-;-;-;");
    begin(&b, 1);
    must(&b, interview_next(&b.iv), "\\boxed{1}");
    must(&b, interview_next(&b.iv), "\\boxed{3}");
    must(&b, interview_next(&b.iv), "\\boxed{-1}");
    expect(&b, 0, "1/1;0.667/0.667;1/1;0.5/0.5;1/1;");
    bench_close(&b);
}

static void
too_long_a_question_is_shortened_in_order(void **state)
{
    struct bench b;
    struct question *q, *rest;

    (void)state;
    bench_open(&b, "bcpg", 8);
    b.options.window_steps = 4;
    memset(b.problem, 'p', 2000);
    memcpy(b.problem + 1000, "\xc3\xa9", 2); /* a character that must not be cut */
    b.steps[0].rollout.prompt = span_of(b.problem, 2000);
    begin(&b, 1);
    interview_lose(&b.iv, interview_next(&b.iv), "x");
    q = interview_next(&b.iv); /* [4, 8) with four steps before it */
    assert_int_equal(q->shown, 0);
    assert_true(interview_shorten(&b.iv, q, "too long"));
    assert_int_equal(q->shown, 2);
    assert_true(interview_shorten(&b.iv, q, "too long"));
    assert_true(interview_shorten(&b.iv, q, "too long"));
    assert_int_equal(q->shown, 4);
    assert_true(interview_shorten(&b.iv, q, "too long"));
    rest = interview_next(&b.iv);
    assert_true(q->from == 4 && q->to == 6 && rest->from == 6 && rest->to == 8);
    assert_int_equal(rest->shown, 2);
    assert_true(interview_shorten(&b.iv, q, "too long"));
    must(&b, interview_next(&b.iv), "{\"steps\":[{\"label\":1}]}");
    assert_true(q->to == 5 && strlen(request(&b, q)) > 2000);
    assert_true(interview_shorten(&b.iv, q, "too long"));
    assert_true(strlen(request(&b, q)) < 3000 && strstr(b.body.at, "p [...] p"));
    while (interview_shorten(&b.iv, q, "too long"))
        assert_true(q->problem_max >= INTERVIEW_TEXT_MIN);
    assert_int_equal(q->problem_max, INTERVIEW_TEXT_MIN);
    interview_lose(&b.iv, q, "still too long");
    must(&b, rest, "{\"steps\":[{\"label\":0},{\"label\":1}]}");
    expect(&b, 0, "- x;- x;- x;- x;- still too long;1;0;1;");
    bench_close(&b);
}

static void
an_answer_gets_the_tokens_that_are_left(void **state)
{
    static const char some[] =
        "400: This model's maximum context length is 900 tokens. However, you "
        "requested 1000 tokens (600 in the messages, 400 in the completion).";
    static const char none[] =
        "400: 'max_tokens' is too large: 400. This model's maximum context length "
        "is 900 tokens and your request has 800 input tokens";
    struct bench b;
    struct question *q;

    (void)state;
    bench_open(&b, "bcpg", 2);
    b.options.max_tokens = 400;
    begin(&b, 1);
    q = interview_next(&b.iv);
    assert_non_null(strstr(request(&b, q), "\"max_tokens\":400"));
    assert_true(interview_shorten(&b.iv, q, some));
    assert_non_null(strstr(request(&b, q), "\"max_tokens\":300"));
    assert_int_equal(q->to, 2);
    assert_true(interview_shorten(&b.iv, q, none)); /* too few: fewer steps */
    assert_non_null(strstr(request(&b, q), "\"max_tokens\":300"));
    assert_int_equal(q->to, 1);
    bench_close(&b);
}

static void
a_server_without_schemas_is_asked_in_words(void **state)
{
    struct bench b;
    struct question *q, *other;

    (void)state;
    bench_open(&b, "first_error", 4);
    b.options.window_steps = 2;
    b.options.format = CHAT_schema;
    begin(&b, 1);
    q = interview_next(&b.iv);
    other = interview_next(&b.iv);
    assert_non_null(strstr(request(&b, q), "json_schema"));
    assert_non_null(strstr(b.body.at, "\\\"first_error\\\": INDEX"));
    assert_true(interview_simplify(&b.iv, q));
    assert_non_null(strstr(request(&b, q), "\"type\":\"json_object\",\"schema\""));
    assert_int_equal(b.iv.format, CHAT_object_schema);
    assert_true(interview_simplify(&b.iv, q));
    assert_null(strstr(request(&b, q), "response_format"));
    assert_non_null(strstr(b.body.at, "\\\\boxed{INDEX}"));
    assert_false(interview_simplify(&b.iv, q));
    assert_non_null(strstr(request(&b, other), "json_schema")); /* it asked before */
    must(&b, q, "\\boxed{-1}");
    must(&b, other, "{\"first_error\":-1}");
    expect(&b, 0, "1;1;1;1;");
    bench_close(&b);
}

/* A completion of these tokens; "x:A 0.5,B 0.25" is a token x with its candidates. */
static json_t *
completion(const char *const *tokens)
{
    json_t *content = json_array();

    for (; *tokens; tokens++) {
        const char *colon = strchr(*tokens, '|');
        size_t length = colon ? (size_t)(colon - *tokens) : strlen(*tokens);
        json_t *top = json_array();
        for (const char *at = colon; at; at = strchr(at + 1, ',')) {
            char text[8] = {at[1]};
            json_array_append_new(
                top, json_pack("{s:s, s:f}", "token", text, "logprob", log(strtod(at + 2, NULL))));
        }
        json_array_append_new(content, json_pack("{s:s%, s:f, s:o}", "token", *tokens, length,
                                                 "logprob", 0.0, "top_logprobs", top));
    }
    return json_pack("{s:[{s:{s:s}, s:{s:o}, s:s}]}", "choices", "message", "content", "x",
                     "logprobs", "content", content, "finish_reason", "stop");
}

static int
answer_tokens(struct bench *b, struct question *q, const char *const *tokens, struct error *e)
{
    json_t *json = completion(tokens);
    int rc = interview_answer(&b->iv, q, json, e);

    json_decref(json);
    return rc;
}

static void
expected_marks_say_what_lies_outside(void **state)
{
    static const char *const good[] = {"Score of step 0: ",
                                       "4|4 0.5,5 0.25,x 0.25",
                                       "\nScore of step 1: ",
                                       "1|1 1",
                                       "\nOverall score: ",
                                       "3|3 0.5,1 0.5",
                                       NULL};
    static const char *const bad[] = {"Score of step 0: ", "4|4 0.5", "\nScore of step 1:", NULL};
    struct bench b;
    struct question *q;
    struct error e = {0};

    (void)state;
    bench_open(&b, "score", 2);
    b.options.scoring = LLM_expected;
    begin(&b, 1);
    q = interview_next(&b.iv);
    assert_non_null(strstr(request(&b, q), "\"logprobs\":true,\"top_logprobs\":20"));
    assert_true(answer(&b, q, "Score of step 0: 4\nScore of step 1: 4", &e) < 0);
    assert_non_null(strstr(e.text, "no log-probabilities"));
    assert_true(answer_tokens(&b, q, bad, &e) < 0);
    assert_int_equal(answer_tokens(&b, q, good, &e), 0);
    expect(&b, 0, "0.562~0.25;0~0; =0.25");
    bench_close(&b);
}

static void
open_group(struct bench *b, int count)
{
    bench_open(b, "rank", 1);
    b->options.scoring = LLM_rank;
    for (int i = 0; i < count; i++) {
        snprintf(b->responses[i], sizeof(b->responses[i]), "response %d.", i);
        b->steps[i] = b->steps[0];
        b->steps[i].rollout.response = span_text(b->responses[i]);
    }
}

static void
a_group_is_ranked_in_both_directions(void **state)
{
    static const char *const first[] = {"B|B 0.6,A 0.3,C 0.1", NULL};
    static const char *const second[] = {"B|B 0.6,C 0.1,A 0.2", NULL};
    static const char *const nothing[] = {"None", NULL};
    struct bench b;
    struct question *q[2];
    struct error e = {0};

    (void)state;
    open_group(&b, 3);
    b.options.votes = 2;
    begin(&b, 3);
    q[0] = interview_next(&b.iv);
    q[1] = interview_next(&b.iv);
    assert_non_null(strstr(request(&b, q[0]), "[A]\\nresponse 0."));
    assert_non_null(strstr(b.body.at, "\"max_tokens\":4"));
    assert_non_null(strstr(request(&b, q[1]), "[A]\\nresponse 2."));
    assert_true(answer_tokens(&b, q[0], nothing, &e) < 0);
    assert_int_equal(answer_tokens(&b, q[0], first, &e), 0);  /* 1, 0, 2 */
    assert_int_equal(answer_tokens(&b, q[1], second, &e), 0); /* 1, 2, 0 */
    expect(&b, 0, "-; =0.25");
    expect(&b, 1, "-; =1");
    expect(&b, 2, "-; =0.25");
    bench_close(&b);
}

static void
a_large_group_is_ranked_in_windows_that_slide(void **state)
{
    static const char *const last_best[] = {"T|T 0.9", NULL};
    struct bench b;
    struct question *q;
    struct error e = {0};

    (void)state;
    open_group(&b, 25);
    begin(&b, 25);
    q = interview_next(&b.iv);
    assert_non_null(strstr(request(&b, q), "[A]\\nresponse 5."));
    assert_null(interview_next(&b.iv));
    assert_int_equal(answer_tokens(&b, q, last_best, &e), 0); /* 24 comes before 5 */
    q = interview_next(&b.iv);
    assert_non_null(strstr(request(&b, q), "[F]\\nresponse 24."));
    assert_non_null(strstr(b.body.at, "Here are 15 solutions"));
    assert_int_equal(answer_tokens(&b, q, (const char *const[]){"F|F 0.9", NULL}, &e), 0);
    expect(&b, 24, "-; =1");
    expect(&b, 0, "-; =0.958");
    bench_close(&b);
}

static void
rankings_that_cannot_be(void **state)
{
    struct bench b;
    struct question *q;

    (void)state;
    open_group(&b, 1);
    begin(&b, 1);
    expect(&b, 0, "-;"); /* alone: no call, no place */
    bench_close(&b);
    open_group(&b, 2);
    memset(b.responses[1], 'r', 2000);
    b.steps[1].rollout.response = span_of(b.responses[1], 2000);
    begin(&b, 2);
    q = interview_next(&b.iv);
    assert_true(strlen(request(&b, q)) > 2000);
    assert_true(interview_shorten(&b.iv, q, "too long"));
    assert_true(interview_shorten(&b.iv, q, "too long"));
    assert_true(strlen(request(&b, q)) < 1500);
    while (interview_shorten(&b.iv, q, "too long"))
        continue;
    interview_lose(&b.iv, q, "no room");
    expect(&b, 0, "abstains: no room");
    expect(&b, 1, "abstains: no room");
    bench_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_question_for_all_steps),
        cmocka_unit_test(k_votes_are_means_with_their_agreement),
        cmocka_unit_test(a_vote_that_never_came_does_not_count),
        cmocka_unit_test(windows_show_their_context),
        cmocka_unit_test(the_first_error_of_all_windows),
        cmocka_unit_test(k_votes_on_the_first_error),
        cmocka_unit_test(too_long_a_question_is_shortened_in_order),
        cmocka_unit_test(an_answer_gets_the_tokens_that_are_left),
        cmocka_unit_test(a_server_without_schemas_is_asked_in_words),
        cmocka_unit_test(expected_marks_say_what_lies_outside),
        cmocka_unit_test(a_group_is_ranked_in_both_directions),
        cmocka_unit_test(a_large_group_is_ranked_in_windows_that_slide),
        cmocka_unit_test(rankings_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
