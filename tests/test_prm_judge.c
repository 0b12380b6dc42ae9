/* prm_judge over HTTP: the whole kind, through the harness, against the scripted server; and what
 * its answers mean, alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/random.h"
#include "nodes/prm_judge/prm_judge.h"
#include "tests/harness.h"
#include "tests/judge_server.h"
#include "tests/pooling_answer.h"

#define TOKENIZER "tests/golden/prm/qwen"

static const char *const links[] = {"in", "steps", NULL};
static const char response[] = "1 + 1 = 2\n\n\n\nso 2.\n\nIt is \\boxed{2}.";
static uint64_t ends[] = {11, 13, 20, sizeof(response) - 1};
static char *tokenizer; /* its folder, absolute */

struct bench {
    struct judge_server *server;
    struct harness *h;
    char url[64];
    struct arena arena;
};

static int
find_tokenizer(void **state)
{
    (void)state;
    tokenizer = realpath(TOKENIZER, NULL);
    setenv("no_proxy", "*", 1);
    return tokenizer ? 0 : -1;
}

static int
free_tokenizer(void **state)
{
    (void)state;
    free(tokenizer);
    return 0;
}

/* A server that answers `script`, later `then`, and a judge that calls it. */
static void
bench_open(struct bench *b, const char *script, const char *then, const char *path,
           const char *const *more)
{
    const char *options[40] = {"backend", "http", "model", "m", "response", "product", "url"};
    struct judge_server_options o = {.script = script, .then = then};
    struct error e = {0};
    int n = 7;

    memset(b, 0, sizeof(*b));
    b->server = judge_server_start(&o, &e);
    if (!b->server)
        fail_msg("%s", e.text);
    snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%d%s", judge_server_port(b->server), path);
    options[n++] = b->url;
    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    b->h = harness_open("prm_judge", links, options, NULL);
}

static void
bench_close(struct bench *b)
{
    harness_close(b->h);
    judge_server_stop(b->server);
    arena_free(&b->arena);
}

static struct steps
steps_of(const char *prompt)
{
    return (struct steps){
        .rollout = {.prompt = span_text(prompt), .response = span_text(response)},
        .ends = {4, ends}};
}

/* The vote on one response; the clock is turned while only time is missing. */
static struct vote
ask(struct bench *b, const struct steps *steps, uint64_t ordinal)
{
    struct harness_message m;
    struct vote v = {0};
    struct error e = {0};

    harness_give(b->h, 0, ordinal, ordinal, 1, steps);
    for (int turns = 0; turns < 400; turns++) {
        if (harness_run(b->h, 0.05, &e) != 0)
            fail_msg("%s", e.text);
        if (harness_take(b->h, "votes", &m)) {
            char *copy = arena_take(&b->arena, m.body.length);

            memcpy(copy, m.body.at, m.body.length);
            if (message_read(MESSAGE_vote, span_of(copy, m.body.length), &v, &b->arena, &e) != 0)
                fail_msg("%s", e.text);
            return v;
        }
        harness_clock(b->h, 0.5);
    }
    fail_msg("no vote after %d calls", judge_server_calls(b->server));
    return v;
}

/* Scores of steps 1, 3 and 4 (the second is white space alone) and their product. */
static void
expect_scores(const struct vote *v, const double wanted[3])
{
    static const int at[] = {0, 2, 3};
    double product = 1;

    assert_int_equal(v->abstain.length, 0);
    assert_int_equal(v->scores.count, 4);
    assert_int_equal(v->said.at[1], 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(v->said.at[at[i]], 1);
        if (!(fabs((double)v->scores.at[at[i]] - wanted[i]) < 1e-6))
            fail_msg("step %d: %g, not %g", at[i] + 1, (double)v->scores.at[at[i]], wanted[i]);
        product *= wanted[i];
    }
    assert_int_equal(v->response.count, 1);
    assert_true(fabs((double)v->response.at[0] - product) < 1e-6);
    assert_true(v->tokens_in % 77 == 0); /* of every answer; of a known one none */
    assert_true(span_is(v->model, "m"));
}

static void
text_scores(const char *const parts[3], double wanted[3])
{
    char text[1024] = "";

    for (int i = 0; i < 3; i++) {
        strcat(text, parts[i]);
        wanted[i] = pooling_score(text, strlen(text));
        strcat(text, strstr(parts[0], "Step 1") ? " ки" : "<extra_0>");
    }
}

static void
qwen_is_asked_as_a_chat(void **state)
{
    static const char *const options[] = {"convention", "qwen", "task", "token_classify", NULL};
    static const char *const parts[] = {"1 + 1 = 2", "so 2.", "It is \\boxed{2}."};
    struct steps steps = steps_of("1 + 1?");
    struct bench b;
    double wanted[3];
    char *request;

    (void)state;
    bench_open(&b, NULL, "ok", "", options);
    struct vote v = ask(&b, &steps, 0);
    text_scores(parts, wanted);
    expect_scores(&v, wanted);
    request = judge_server_last(b.server);
    assert_non_null(strstr(request, "\"system\",\"content\":\"Please reason step by step"));
    assert_non_null(strstr(request, "\"role\":\"user\",\"content\":\"1 + 1?\""));
    assert_non_null(strstr(request, "\"add_generation_prompt\":false"));
    assert_non_null(strstr(request, "\"task\":\"token_classify\""));
    free(request);
    assert_int_equal(judge_server_calls(b.server), 1);
    v = ask(&b, &steps, 1); /* what was asked before is known */
    expect_scores(&v, wanted);
    assert_int_equal(judge_server_calls(b.server), 1);
    bench_close(&b);
}

/* A list of messages is ChatML when it comes from the reader: it goes as the text it is. */
static void
a_prompt_that_is_a_chat_goes_as_text(void **state)
{
    static const char *const options[] = {"convention", "qwen", NULL};
    static const char prompt[] = "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n";
    static const char *const parts[] = {
        "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n1 + 1 = 2", "so 2.",
        "It is \\boxed{2}."};
    struct steps steps = steps_of(prompt);
    struct bench b;
    double wanted[3];
    char *request;

    (void)state;
    bench_open(&b, NULL, "ok", "", options);
    struct vote v = ask(&b, &steps, 0);
    text_scores(parts, wanted);
    expect_scores(&v, wanted);
    request = judge_server_last(b.server);
    assert_null(strstr(request, "messages"));
    assert_non_null(strstr(request, "\"add_special_tokens\":false"));
    assert_null(strstr(request, "task"));
    free(request);
    bench_close(&b);
}

static void
math_shepherd_is_asked_as_text(void **state)
{
    static const char *const options[] = {"convention", "math_shepherd", NULL};
    static const char *const parts[] = {"1 + 1? Step 1: 1 + 1 = 2", "\nStep 2: so 2.",
                                        "\nStep 3: It is \\boxed{2}."};
    struct steps steps = steps_of("1 + 1?");
    struct bench b;
    double wanted[3];

    (void)state;
    bench_open(&b, NULL, "ok", "", options);
    struct vote v = ask(&b, &steps, 0);
    text_scores(parts, wanted);
    expect_scores(&v, wanted);
    bench_close(&b);
}

/* The places of the tags in the ids that the last request sent, as scores. */
static void
id_scores(struct bench *b, double wanted[3])
{
    char *request = judge_server_last(b->server);
    json_t *json = json_loads(request, 0, NULL), *id;
    size_t i, found = 0;

    json_array_foreach(json_object_get(json, "input"), i, id)
        if (json_integer_value(id) == POOLING_TAG && found < 3)
            wanted[found++] = pooling_score(&i, sizeof(i));
    assert_int_equal(found, 3);
    json_decref(json);
    free(request);
}

/* A row for each tag, a row for each id, and a value for each id of an old server. */
static void
ids_are_answered_in_three_shapes(void **state)
{
    static const char *const words[] = {"ok", "tokens", "logits", "values"};
    struct steps steps = steps_of("Is <extra_0> 1 + 1?");

    (void)state;
    for (int i = 0; i < 4; i++) {
        const char *options[] = {"convention", "qwen", "tokenizer", tokenizer, "activation",
                                 i < 2 ? "probabilities" : "logits", "api",
                                 i < 3 ? "pooling" : "embeddings", NULL};
        struct bench b;
        double wanted[3];

        bench_open(&b, NULL, words[i], i < 3 ? "" : "/v1", options);
        struct vote v = ask(&b, &steps, 0);
        id_scores(&b, wanted);
        expect_scores(&v, wanted);
        assert_int_equal(judge_server_calls(b.server), 1);
        bench_close(&b);
    }
}

static void
an_answer_of_no_use_is_asked_for_again_and_then_abstained_on(void **state)
{
    static const char *const rows[][2] = {
        {"few", "scored 2 steps, 3 were asked"}, {"many", "scored 4 steps, 3 were asked"},
        {"nan", ""},
        {"null", "not one or two finite"},       {"wide", "not one or two finite"},
        {"scores", "no probabilities"},          {"encoded", "encoded text"},
        {"none", "no rows of scores"},           {"two", "2 items"},
        {"garbage", ""},                         {"empty", ""}};
    static const char *const options[] = {"convention", "qwen", "tries", "2", NULL};
    struct steps steps = steps_of("1 + 1?");
    struct bench b;
    double wanted[3];
    static const char *const parts[] = {"1 + 1 = 2", "so 2.", "It is \\boxed{2}."};

    (void)state;
    text_scores(parts, wanted);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *word = rows[i][0];
        char script[64];

        snprintf(script, sizeof(script), "%s,%s,%s,ok", word, word, word);
        bench_open(&b, script, "ok", "", options);
        struct vote v = ask(&b, &steps, 0);
        assert_true(v.abstain.length > 0 && v.scores.count == 0);
        if (!memmem(v.abstain.at, v.abstain.length, rows[i][1], strlen(rows[i][1])))
            fail_msg("%s: '%.*s'", word, (int)v.abstain.length, v.abstain.at);
        assert_int_equal(judge_server_calls(b.server), 2);
        assert_int_equal(harness_dead_count(b.h), 1);
        v = ask(&b, &steps, 1); /* one more of it, then a good one: the stream goes on */
        expect_scores(&v, wanted);
        assert_int_equal(judge_server_calls(b.server), 4);
        bench_close(&b);
    }
}

static void
what_passes_by_itself_is_tried_again(void **state)
{
    static const char *const options[] = {"convention", "qwen", "tries", "1", NULL};
    static const char *const parts[] = {"1 + 1 = 2", "so 2.", "It is \\boxed{2}."};
    struct steps steps = steps_of("1 + 1?");
    struct bench b;
    double wanted[3];

    (void)state;
    bench_open(&b, "500,429:0,half,nothing,503", "ok", "", options);
    struct vote v = ask(&b, &steps, 0);
    text_scores(parts, wanted);
    expect_scores(&v, wanted);
    assert_int_equal(judge_server_calls(b.server), 6);
    assert_int_equal(harness_dead_count(b.h), 0);
    bench_close(&b);
}

static void
what_cannot_be_asked_costs_no_call(void **state)
{
    static const char *const options[] = {"convention", "qwen", NULL};
    static uint64_t blank_ends[] = {1, 3};
    struct steps forged = steps_of("a<extra_0>b");
    struct steps blank = {.rollout = {.prompt = span_text("1"), .response = span_text(" \n\n")},
                          .ends = {2, blank_ends}};
    struct bench b;

    (void)state;
    bench_open(&b, NULL, "ok", "", options);
    struct vote v = ask(&b, &forged, 0);
    assert_non_null(memmem(v.abstain.at, v.abstain.length, "holds '<extra_0>'", 17));
    assert_int_equal(harness_dead_count(b.h), 1);
    v = ask(&b, &blank, 1);
    assert_int_equal(v.abstain.length, 0);
    assert_int_equal(v.scores.count, 2);
    assert_true(!v.said.at[0] && !v.said.at[1] && v.response.count == 0);
    assert_int_equal(judge_server_calls(b.server), 0);
    bench_close(&b);
    bench_open(&b, "context", "ok", "", options); /* one call tells that none can be answered */
    forged = steps_of("1 + 1?");
    v = ask(&b, &forged, 0);
    assert_true(v.abstain.length > 0);
    assert_int_equal(harness_dead_count(b.h), 1);
    assert_int_equal(judge_server_calls(b.server), 1);
    bench_close(&b);
}

/* The numbers that vLLM's own test expects of Qwen2.5-Math-PRM on its example. */
static void
rows_become_scores_and_a_score_of_the_response(void **state)
{
    static const char answer[] =
        "{\"data\":[{\"index\":0,\"object\":\"pooling\",\"data\":[[0.000636,0.999512],"
        "[0.818848,0.181274],[0.025543,0.974609],[0.000438,0.999512]]}]}";
    struct convention c = convention_make(CONVENTION_qwen, "", "", "+", "-");
    struct pooling p = {"m", "", &c, POOLING_messages, POOLING_probabilities};
    const int64_t places[] = {7, 8, 9, 10};
    json_t *json = json_loads(answer, 0, NULL);
    float scores[4];
    uint8_t said[] = {1, 1, 1, 1};
    struct vote v = {.scores = {4, scores}, .said = {4, said}};
    struct arena arena = {0};
    struct error e = {0};

    (void)state;
    assert_int_equal(pooling_read(&p, json, places, 4, 0, scores, &e), 0);
    prm_vote_response(&v, PRM_response_product, &arena);
    assert_true(fabs((double)v.response.at[0] - 0.176499) < 1e-6);
    prm_vote_response(&v, PRM_response_minimum, &arena);
    assert_true(v.response.at[0] == 0.181274f);
    prm_vote_response(&v, PRM_response_last, &arena);
    assert_true(v.response.at[0] == 0.999512f);
    said[3] = 0;
    prm_vote_response(&v, PRM_response_last, &arena);
    assert_true(v.response.at[0] == 0.974609f);
    json_decref(json);
    arena_free(&arena);
}

/* A JSON value of the kinds that answers are made of, nested at random. */
static json_t *
any_json(uint64_t *draw, int depth)
{
    static const char *const keys[] = {"data", "embedding", "index", "object"};
    uint64_t what = random_bits(7, RANDOM_test, (*draw)++) % (depth > 0 ? 9 : 5);
    json_t *value = what < 7 ? json_array() : json_object();
    uint64_t count = random_bits(7, RANDOM_test, (*draw)++) % 4;

    if (what < 5) {
        json_decref(value);
        return what == 0   ? json_real(random_unit(7, RANDOM_test, (*draw)++))
               : what == 1 ? json_integer((json_int_t)count - 2)
               : what == 2 ? json_real(1e308)
               : what == 3 ? json_null()
                           : json_string("AAA=");
    }
    for (uint64_t i = 0; i < count; i++) {
        json_t *inner = any_json(draw, depth - 1);

        if (what < 7)
            json_array_append_new(value, inner);
        else
            json_object_set_new(value, keys[random_bits(7, RANDOM_test, (*draw)++) % 4], inner);
    }
    return value;
}

/* Whatever comes, it is either scores in [0, 1] or a reason. */
static void
any_answer_is_scores_or_a_reason(void **state)
{
    const int64_t places[] = {0, -1, 2};
    uint64_t draw = 0;
    int used = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct convention c = convention_make(
            i % 2 ? CONVENTION_qwen : CONVENTION_math_shepherd, "", "", "+", "-");
        struct pooling p = {"m", "", &c, POOLING_ids, (enum pooling_activation)(i / 2 % 2)};
        json_t *rows = any_json(&draw, 4);
        const char *name = i % 5 ? "data" : "embedding";
        json_t *answer = i % 3 ? json_pack("{s:[{s:o}]}", "data", name, rows)
                               : json_pack("{s:o}", "data", rows);
        float scores[3] = {-1, -1, -1};
        struct error e = {0};

        if (pooling_read(&p, answer, places, 3, i % 4 ? 0 : 3, scores, &e) == 0) {
            used++;
            assert_true(scores[0] >= 0 && scores[0] <= 1 && scores[1] >= 0 && scores[1] <= 1);
        } else {
            assert_true(e.text[0] != 0);
        }
        json_decref(answer);
    }
    assert_true(used > 50);
}

/* `check --online`: the list of models lies under /v1, wherever the calls go. */
static void
a_probe_looks_where_the_models_are_listed(void **state)
{
    static const char *const paths[] = {"", "/", "/pooling", "/v1", "/v1/embeddings"};
    struct judge_server_options so = {0};
    struct judge_server *s = judge_server_start(&so, NULL);
    struct buffer told = {0};
    struct error e = {0};

    (void)state;
    assert_non_null(s);
    for (int i = 0; i < 5; i++) {
        char *url = xprint("http://127.0.0.1:%d%s", judge_server_port(s), paths[i]);
        const char *urls[] = {url};
        struct prm_options o = {.backend = PRM_http,
                                .api = i < 3 ? POOLING_pooling : POOLING_embeddings,
                                .model = "m",
                                .remote = {.url = {1, urls},
                                           .api_key_env = "",
                                           .api_key_file = "",
                                           .api_key_header = "Authorization",
                                           .body = "",
                                           .in_flight = 1,
                                           .max_response_bytes = 1 << 20,
                                           .timeout = 5,
                                           .connect_timeout = 5}};

        buffer_clear(&told);
        if (prm_server_probe(&o, &told, &e) != 0)
            fail_msg("%s", e.text);
        buffer_add(&told, "", 1);
        if (!strstr(told.at, "knows 'm'"))
            fail_msg("%s: %s", url, told.at);
        free(url);
    }
    buffer_free(&told);
    judge_server_stop(s);
}

static void
bad_options_are_refused(void **state)
{
    const struct {
        const char *options[12], *words;
    } rows[] = {
        {{"url", "http://h:1", "convention", "auto", NULL}, "cannot look into the model"},
        {{"url", "http://h:1/v1", "convention", "qwen", NULL}, "not lie under /v1"},
        {{"url", "http://h:1 http://h:2/v1/", "convention", "qwen", NULL}, "not lie under /v1"},
        {{"url", "http://h:1", "convention", "skywork", NULL}, "needs the folder"},
        {{"url", "http://h:1", "convention", "plain", NULL}, "needs the folder"},
        {{"url", "http://h:1", "convention", "qwen", "request", "ids", NULL}, "needed"},
        {{"url", "http://h:1", "convention", "math_shepherd", "request", "messages", NULL},
         "are convention qwen's"},
        {{"url", "http://h:1", "convention", "qwen", "tokenizer", "/nowhere", NULL}, "/nowhere"},
        {{"url", "http://h:1", "convention", "qwen", "embeddings", "true", NULL}, "backend: local"},
        {{"convention", "qwen", NULL}, "url"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *options[20] = {"backend", "http", "model", "m"};
        struct error e = {0};

        memcpy(options + 4, rows[i].options, sizeof(rows[i].options));
        if (harness_open("prm_judge", links, options, &e))
            fail_msg("row %zu was not refused", i);
        if (!strstr(e.text, rows[i].words))
            fail_msg("row %zu: '%s'", i, e.text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen_is_asked_as_a_chat),
        cmocka_unit_test(a_prompt_that_is_a_chat_goes_as_text),
        cmocka_unit_test(math_shepherd_is_asked_as_text),
        cmocka_unit_test(ids_are_answered_in_three_shapes),
        cmocka_unit_test(an_answer_of_no_use_is_asked_for_again_and_then_abstained_on),
        cmocka_unit_test(what_passes_by_itself_is_tried_again),
        cmocka_unit_test(what_cannot_be_asked_costs_no_call),
        cmocka_unit_test(rows_become_scores_and_a_score_of_the_response),
        cmocka_unit_test(any_answer_is_scores_or_a_reason),
        cmocka_unit_test(a_probe_looks_where_the_models_are_listed),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, find_tokenizer, free_tokenizer);
}
