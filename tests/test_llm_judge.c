/* llm_judge over HTTP: the whole kind, through the harness, against the scripted server. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/core.h"
#include "nodes/llm_judge/llm_judge.h"
#include "tests/harness.h"
#include "tests/judge_server.h"

#define VOTES_MAX 64
#define KEY       "sk-a-key-that-nobody-may-see"

static const char *const links[] = {"in", "steps", NULL};

struct bench {
    struct judge_server *server;
    struct harness *h;
    char url[64];
    struct buffer votes[VOTES_MAX]; /* packed, by ordinal */
    int seen[VOTES_MAX];
    int count;
};

/* A server, and a judge that calls it; more options as name, value pairs. */
static void
bench_open(struct bench *b, const struct judge_server_options *o, const char *const *more)
{
    const char *options[40] = {"model", "m", "api_key_env", "JUDGE_TEST_KEY", "url"};
    struct error e = {0};
    int n = 5;

    memset(b, 0, sizeof(*b));
    setenv("no_proxy", "*", 1);
    setenv("JUDGE_TEST_KEY", KEY, 1);
    b->server = judge_server_start(o, &e);
    if (!b->server)
        fail_msg("%s", e.text);
    snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%d/v1", judge_server_port(b->server));
    options[n++] = b->url;
    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    b->h = harness_open("llm_judge", links, options, NULL);
}

static void
bench_close(struct bench *b)
{
    harness_close(b->h);
    judge_server_stop(b->server);
    for (int i = 0; i < VOTES_MAX; i++)
        buffer_free(&b->votes[i]);
}

/* Ordinal i: three lines of arithmetic, the second of them wrong where i is odd. */
static void
give(struct bench *b, uint64_t ordinal)
{
    char prompt[64], response[128];
    int i = (int)ordinal;
    uint64_t ends[3];
    struct steps steps = {.ends = {3, ends}};

    snprintf(prompt, sizeof(prompt), "%d+1-2=?", i);
    ends[0] = (uint64_t)snprintf(response, sizeof(response), "%d+1=%d\n", i, i + 1);
    ends[1] =
        ends[0] + (uint64_t)snprintf(response + ends[0], 60, "%d-2=%d\n", i + 1, i - 1 + i % 2);
    ends[2] = ends[1] + (uint64_t)snprintf(response + ends[1], 60, "so %d", i - 1 + i % 2);
    steps.rollout = (struct rollout){.id = span_text(prompt),
                                     .prompt = span_text(prompt),
                                     .response = span_text(response),
                                     .answer = span_text("7")};
    harness_give(b->h, 0, ordinal, ordinal, 1, &steps);
}

static void
collect(struct bench *b)
{
    struct harness_message m;

    while (harness_take(b->h, "votes", &m)) {
        assert_true(m.ordinal < VOTES_MAX && !m.closing);
        buffer_clear(&b->votes[m.ordinal]);
        buffer_add(&b->votes[m.ordinal], m.body.at, m.body.length);
        b->count += b->seen[m.ordinal]++ == 0;
    }
}

/* Runs until so many different ordinals have a vote, turning the clock where only time is missing.
 */
static void
run_until(struct bench *b, int votes)
{
    struct error e = {0};

    for (int turns = 0; turns < 400; turns++) {
        if (harness_run(b->h, 0.05, &e) != 0)
            fail_msg("%s", e.text);
        collect(b);
        if (b->count >= votes)
            return;
        harness_clock(b->h, 0.5);
    }
    fail_msg("%d votes of %d; %d calls", b->count, votes, judge_server_calls(b->server));
}

static struct vote
read_vote(struct bench *b, uint64_t ordinal, struct arena *arena)
{
    struct vote v;
    struct error e = {0};

    if (message_read(MESSAGE_vote, buffer_span(&b->votes[ordinal]), &v, arena, &e) != 0)
        fail_msg("%s", e.text);
    return v;
}

static void
steps_get_scores_and_the_vote_says_what_it_cost(void **state)
{
    struct bench b;
    struct judge_server_options o = {.key = KEY};
    struct arena arena = {0};
    int agreed = 0;
    char *request;

    (void)state;
    bench_open(&b, &o, NULL);
    for (uint64_t i = 0; i < 20; i++)
        give(&b, i);
    run_until(&b, 20);
    for (uint64_t i = 0; i < 20; i++) {
        struct vote v = read_vote(&b, i, &arena);
        assert_int_equal(v.abstain.length, 0);
        assert_int_equal(v.scores.count, 3);
        assert_int_equal(v.said.count, 3);
        assert_true(v.tokens_in > 0 && v.tokens_out > 0 && v.voter.length > 0 &&
                    span_is(v.model, "m"));
        assert_true(v.said.at[0] && v.said.at[1] && v.said.at[2]);
        agreed += (v.scores.at[1] >= 0.5f) == (i % 2 == 0);
    }
    assert_true(agreed >= 15 && agreed <= 20);
    assert_int_equal(judge_server_calls(b.server), 20);
    assert_int_equal(harness_dead_count(b.h), 0);
    request = judge_server_last(b.server);
    assert_non_null(strstr(request, "\"model\":\"m\""));
    assert_non_null(strstr(request, "<step_2>\\nso "));
    free(request);
    arena_free(&arena);
    bench_close(&b);
}

static void
what_passes_is_tried_again_until_it_passes(void **state)
{
    struct bench b;
    struct judge_server_options o = {.script = "500,429:0,503,408,409,half,nothing,hang,429:1,502"};
    struct arena arena = {0};
    struct vote v;

    (void)state;
    bench_open(&b, &o, (const char *const[]){"timeout", "200ms", NULL});
    give(&b, 3);
    run_until(&b, 1);
    v = read_vote(&b, 3, &arena);
    assert_int_equal(v.abstain.length, 0);
    assert_int_equal(judge_server_calls(b.server), 11);
    assert_int_equal(harness_dead_count(b.h), 0);
    arena_free(&arena);
    bench_close(&b);
}

/* Each of these makes the judge abstain, after so many calls, for a reason that says why. */
static const struct {
    const char *word, *why;
    int calls;
} spoilt[] = {
    {"prose", "no JSON verdict", 3},   {"few", "the verdict has 2 steps, not 3", 3},
    {"many", "has 4 steps, not 3", 3}, {"garbage", "not a JSON object", 3},
    {"empty", "not a JSON object", 3}, {"null", "not a chat completion", 3},
    {"400", "400: scripted", 3},       {"huge", "larger than max_response_bytes", 3},
    {"context", "maximum context", 8}, /* shortened until nothing is left to shorten */
};

static void
what_repeats_becomes_an_abstention_and_a_dead_letter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        struct bench b;
        struct judge_server_options o = {.then = spoilt[i].word};
        struct arena arena = {0};
        struct vote v;
        char text[300], reason[300];

        bench_open(&b, &o, (const char *const[]){"max_response_bytes", "64KiB", NULL});
        give(&b, 5);
        run_until(&b, 1);
        v = read_vote(&b, 5, &arena);
        snprintf(reason, sizeof(reason), "%.*s", (int)v.abstain.length, v.abstain.at);
        if (!strstr(reason, spoilt[i].why))
            fail_msg("%s: '%s'", spoilt[i].word, reason);
        assert_int_equal(v.scores.count, 0);
        assert_int_equal(judge_server_calls(b.server), spoilt[i].calls);
        assert_int_equal(harness_dead_count(b.h), 1);
        harness_dead_text(b.h, 0, text, sizeof(text));
        assert_non_null(strstr(text, spoilt[i].why));
        arena_free(&arena);
        bench_close(&b);
    }
}

static void
one_spoilt_answer_is_asked_again(void **state)
{
    struct bench b;
    struct judge_server_options o = {.script = "prose,few"};
    struct arena arena = {0};
    struct vote v;

    (void)state;
    bench_open(&b, &o, NULL);
    give(&b, 1);
    run_until(&b, 1);
    v = read_vote(&b, 1, &arena);
    assert_int_equal(v.abstain.length, 0);
    assert_int_equal(judge_server_calls(b.server), 3);
    assert_int_equal(harness_dead_count(b.h), 0);
    arena_free(&arena);
    bench_close(&b);
}

/* A refused key pauses the stage: few calls, no vote, no crash; and it goes on when that is mended.
 */
static void
a_refusal_pauses_until_it_is_mended(void **state)
{
    static const char *const words[] = {"401", "403", "404", "quota", "redirect"};
    struct error e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct bench b;
        struct judge_server_options o = {.then = words[i]};

        bench_open(&b, &o, NULL);
        for (uint64_t k = 0; k < 12; k++)
            give(&b, k);
        for (int turn = 0; turn < 20; turn++) {
            assert_int_equal(harness_run(b.h, 0.02, &e), 0);
            harness_clock(b.h, 0.5);
        }
        collect(&b);
        assert_int_equal(b.count, 0);
        assert_int_equal(harness_dead_count(b.h), 0);
        assert_in_range(judge_server_calls(b.server), 12, 12 + 6); /* after 1, 2, 4, 8 s */
        judge_server_then(b.server, "ok");
        harness_clock(b.h, 60);
        run_until(&b, 12);
        bench_close(&b);
    }
}

static void
a_server_that_asks_for_rest_gets_it_from_every_call(void **state)
{
    struct bench b;
    struct judge_server_options o = {.script = "429:30"};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o, NULL);
    give(&b, 0);
    assert_true(harness_run(b.h, 0.3, &e) == 0);
    assert_int_equal(judge_server_calls(b.server), 1);
    for (uint64_t i = 1; i < 6; i++)
        give(&b, i);
    assert_true(harness_run(b.h, 0.1, &e) == 0);
    harness_clock(b.h, 20);
    assert_true(harness_run(b.h, 0.1, &e) == 0);
    assert_int_equal(judge_server_calls(b.server), 1);
    harness_clock(b.h, 11);
    run_until(&b, 6);
    assert_int_equal(judge_server_calls(b.server), 7);
    bench_close(&b);
}

static void
no_more_calls_than_in_flight_are_out_at_once(void **state)
{
    struct bench b;
    struct judge_server_options o = {.latency_seconds = 0.02};

    (void)state;
    bench_open(&b, &o, (const char *const[]){"in_flight", "4", NULL});
    for (uint64_t i = 0; i < 30; i++)
        give(&b, i);
    run_until(&b, 30);
    assert_in_range(judge_server_most(b.server), 2, 4);
    assert_int_equal(judge_server_repeated(b.server), 0);
    bench_close(&b);
}

/* Votes depend on the request alone: not on latency, order, or how many fly. */
static void
votes_are_the_same_bytes_in_any_order(void **state)
{
    struct bench one, many;
    struct judge_server_options slow = {.latency_seconds = 0.03, .flaky_percent = 40}, fast = {0};

    (void)state;
    bench_open(&one, &fast, (const char *const[]){"in_flight", "1", NULL});
    bench_open(&many, &slow, (const char *const[]){"in_flight", "16", NULL});
    for (uint64_t i = 0; i < 24; i++) {
        give(&one, i);
        give(&many, 23 - i);
    }
    run_until(&one, 24);
    run_until(&many, 24);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(one.votes[i].length, many.votes[i].length);
        assert_memory_equal(one.votes[i].at, many.votes[i].at, one.votes[i].length);
        assert_int_equal(many.seen[i], 1);
    }
    assert_int_equal(harness_dead_count(many.h), 0);
    bench_close(&one);
    bench_close(&many);
}

static void
a_crash_repeats_no_more_than_what_was_in_flight(void **state)
{
    enum { UNITS = 40, IN_FLIGHT = 8, KILLS = 5 };
    struct bench b;
    struct judge_server_options o = {.latency_seconds = 0.01};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o, (const char *const[]){"in_flight", "8", NULL});
    for (uint64_t i = 0; i < UNITS; i++)
        give(&b, i);
    for (int kill = 1; kill <= KILLS; kill++) {
        for (int turn = 0; turn < 200 && judge_server_calls(b.server) < kill * 10; turn++)
            assert_int_equal(harness_run(b.h, 0.002, &e), 0);
        harness_crash(b.h);
    }
    run_until(&b, UNITS);
    for (int i = 0; i < UNITS; i++)
        assert_int_equal(b.seen[i], 1);
    assert_true(judge_server_repeated(b.server) <= KILLS * IN_FLIGHT);
    assert_int_equal(judge_server_calls(b.server) - judge_server_repeated(b.server), UNITS);
    bench_close(&b);
}

static void
an_answer_that_was_committed_is_never_bought_again(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o, NULL);
    for (uint64_t i = 0; i < 10; i++)
        give(&b, i);
    run_until(&b, 10);
    for (int i = 0; i < 3; i++) {
        harness_crash(b.h);
        assert_int_equal(harness_run(b.h, 0.05, &e), 0);
        harness_restart(b.h);
        assert_int_equal(harness_run(b.h, 0.05, &e), 0);
    }
    assert_int_equal(judge_server_calls(b.server), 10);
    bench_close(&b);
}

static void
a_malformed_message_is_a_dead_letter_and_an_abstention(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct arena arena = {0};
    uint64_t ends[] = {3, 99};
    struct steps steps = {.ends = {2, ends}, .rollout = {.response = span_text("abcdef")}};
    struct vote v;

    (void)state;
    bench_open(&b, &o, NULL);
    harness_give(b.h, 0, 1, 1, 1, &steps);
    steps.ends.at = (uint64_t[]){3, 6};
    steps.rollout.response = span_text("ab\xc3\xa9"
                                       "de");
    harness_give(b.h, 0, 2, 2, 1, &steps); /* a cut inside a character: the prompt is not UTF-8 */
    run_until(&b, 2);
    v = read_vote(&b, 1, &arena);
    assert_non_null(memmem(v.abstain.at, v.abstain.length, "end at byte 99", 14));
    v = read_vote(&b, 2, &arena);
    assert_non_null(memmem(v.abstain.at, v.abstain.length, "UTF-8", 5));
    assert_int_equal(harness_dead_count(b.h), 2);
    assert_int_equal(judge_server_calls(b.server), 0);
    arena_free(&arena);
    bench_close(&b);
}

static void
an_empty_response_costs_no_call(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct steps steps = {.rollout = {.prompt = span_text("1+1=?")}};
    struct arena arena = {0};
    struct vote v;

    (void)state;
    bench_open(&b, &o, NULL);
    harness_give(b.h, 0, 1, 1, 1, &steps);
    run_until(&b, 1);
    v = read_vote(&b, 1, &arena);
    assert_true(v.abstain.length == 0 && v.scores.count == 0);
    assert_int_equal(judge_server_calls(b.server), 0);
    arena_free(&arena);
    bench_close(&b);
}

/* Does any file below the run's folder hold the key? */
static int
key_is_on_disk(const char *folder)
{
    char *command = xprint("grep -rqF -e '%s' -- '%s'", KEY, folder);
    int rc = system(command);

    free(command);
    return rc == 0;
}

static void
the_key_is_nowhere_on_disk(void **state)
{
    struct bench b;
    struct judge_server_options o = {.script = "echo,echo"};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o, NULL);
    give(&b, 0);
    for (int turn = 0; turn < 8; turn++) {
        assert_int_equal(harness_run(b.h, 0.05, &e), 0);
        harness_clock(b.h, 4);
    }
    run_until(&b, 1);
    assert_true(judge_server_calls(b.server) >= 3);
    assert_false(key_is_on_disk(harness_dir(b.h)));
    bench_close(&b);
}

static void
a_judge_may_stop_while_calls_are_out(void **state)
{
    struct bench b;
    struct judge_server_options o = {.then = "hang"};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o, NULL);
    for (uint64_t i = 0; i < 5; i++)
        give(&b, i);
    for (int turn = 0; turn < 100 && judge_server_calls(b.server) < 5; turn++)
        assert_int_equal(harness_run(b.h, 0.02, &e), 0);
    assert_int_equal(judge_server_calls(b.server), 5);
    harness_restart(b.h);
    judge_server_then(b.server, "ok");
    run_until(&b, 5);
    assert_int_equal(judge_server_calls(b.server), 10);
    bench_close(&b);
}

/* An answer costs about 0.06 USD here and at most 0.1; the budget is 0.5. */
static void
a_spent_budget_pauses_and_more_money_goes_on(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct error e = {0};
    struct llm_options *options;
    int calls;

    (void)state;
    bench_open(&b, &o,
               (const char *const[]){"price_out", "1000", "max_tokens", "100", "budget_usd", "0.5",
                                     NULL});
    for (uint64_t i = 0; i < 20; i++)
        give(&b, i);
    for (int turn = 0; turn < 20; turn++) {
        assert_int_equal(harness_run(b.h, 0.02, &e), 0);
        harness_clock(b.h, 10);
    }
    collect(&b);
    calls = judge_server_calls(b.server);
    assert_in_range(calls, 5, 10);
    assert_int_equal(b.count, calls);
    assert_non_null(strstr(harness_node(b.h)->why, "over budget: 0.4"));
    for (int i = 0; i < 3; i++) { /* what was spent stays spent */
        harness_crash(b.h);
        assert_int_equal(harness_run(b.h, 0.05, &e), 0);
    }
    assert_int_equal(judge_server_calls(b.server), calls);
    assert_non_null(strstr(harness_node(b.h)->why, "over budget: 0.4"));
    options = (struct llm_options *)(uintptr_t)node_options(harness_node(b.h));
    options->remote.budget_usd = 100;
    assert_int_equal(node_kind_find("llm_judge")->changed(harness_node(b.h), "budget_usd", &e), 0);
    run_until(&b, 20);
    assert_int_equal(judge_server_calls(b.server), 20);
    bench_close(&b);
}

/* A kill with calls out leaves what they may have cost set aside: the sum of both lives stays in bounds. */
static void
a_killed_call_stays_paid_for(void **state)
{
    struct bench b;
    struct judge_server_options o = {.then = "hang"};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o,
               (const char *const[]){"price_out", "1000", "max_tokens", "100", "budget_usd", "0.5",
                                     "in_flight", "3", NULL});
    for (uint64_t i = 0; i < 10; i++)
        give(&b, i);
    for (int life = 0; life < 4; life++) {
        for (int turn = 0; turn < 10; turn++)
            assert_int_equal(harness_run(b.h, 0.02, &e), 0);
        harness_crash(b.h);
    }
    assert_int_equal(judge_server_calls(b.server), 5);
    bench_close(&b);
}

static void
status_says_what_it_waits_for(void **state)
{
    static const struct {
        const char *then, *why;
    } rows[] = {
        {"hang", "waiting for 2 judge calls"},
        {"500", "2 judge calls to be tried again (500: scripted by the test)"},
        {"429:50", "rate-limited for"},
        {"401", "the server refuses (401: scripted by the test)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench b;
        struct judge_server_options o = {.then = rows[i].then};
        struct error e = {0};

        bench_open(&b, &o, NULL);
        give(&b, 0);
        give(&b, 1);
        for (int turn = 0; turn < 200 && !strstr(harness_node(b.h)->why, rows[i].why); turn++)
            assert_int_equal(harness_run(b.h, 0.01, &e), 0);
        if (!strstr(harness_node(b.h)->why, rows[i].why))
            fail_msg("%s: '%s'", rows[i].then, harness_node(b.h)->why);
        bench_close(&b);
    }
}

/* What check() refuses, by option. */
static const struct {
    const char *options[12];
    const char *words;
} refused[] = {
    {{"model", "m"}, "url"},
    {{"model", "m", "url", "ftp://x/"}, "http"},
    {{"model", "m", "url", "http://me:pw@x/"}, "api_key_env"},
    {{"url", "http://x/v1"}, "model"},
    {{"model", "m", "url", "http://x/v1", "api_key_env", "sk-abc"}, "environment variable"},
    {{"model", "m", "url", "http://x/v1", "budget_usd", "5"}, "price_in"},
    {{"model", "m", "url", "http://x/v1", "prompt", "/nonexistent/prompt"}, "prompt"},
    {{"model", "/nonexistent", "backend", "local"}, "model"},
    {{"backend", "local"}, "folder"},
    {{"model", "m", "url", "http://x/v1", "prompt", "bcgp"}, "did you mean 'bcpg'?"},
    {{"model", "m", "url", "http://x/v1", "scoring", "expected", "prompt", "bcpg"}, "{{@form score}}"},
    {{"model", "m", "url", "http://x/v1", "scoring", "rank", "prompt", "score"}, "{{@form rank}}"},
    {{"model", "m", "url", "http://x/v1", "prompt", "rank"}, "needs scoring: rank"},
    {{"model", "m", "url", "http://x/v1", "scoring", "expected", "format", "schema"}, "must be text"},
    {{"model", "m", "url", "http://x/v1", "votes", "3"}, "set temperature"},
    {{"model", "m", "url", "http://x/v1", "scoring", "rank", "votes", "3"}, "set temperature"},
    {{"model", "m", "url", "http://x/v1", "scoring", "rank", "window_steps", "3"}, "whole responses"},
    {{"model", "x", "backend", "local", "votes", "2", "temperature", "1"}, "asked once"},
    {{"model", "x", "backend", "local", "scoring", "rank", "prompt", "one_step"}, "scoring"},
};

static void
bad_options_are_refused_before_anything_runs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct error e = {0};
        if (harness_open("llm_judge", links, refused[i].options, &e))
            fail_msg("row %zu was not refused", i);
        if (!strstr(e.text, refused[i].words))
            fail_msg("row %zu: '%s'", i, e.text);
    }
}

static void
a_run_keeps_the_template_it_began_with(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    uint64_t other = 7;
    struct error e = {0};

    (void)state;
    bench_open(&b, &o, NULL);
    harness_restart(b.h);
    node_put(harness_node(b.h), span_text("template"), span_of(&other, sizeof(other)));
    assert_true(harness_restart_try(b.h, &e) < 0);
    assert_non_null(strstr(e.text, "another template 'bcpg' than the run began with"));
    bench_close(&b);
}

/* A unit whose response is these words, each a step. */
static void
give_words(struct bench *b, uint64_t ordinal, uint64_t first, uint32_t size, const char *words)
{
    uint64_t ends[32];
    struct steps steps = {.rollout = {.id = span_text("w"),
                                      .prompt = span_text("why?"),
                                      .response = span_text(words)},
                          .ends = {0, ends}};

    for (uint64_t at = 0; words[at];) {
        at += strcspn(words + at, " ");
        at += words[at] == ' ';
        ends[steps.ends.count++] = at;
    }
    harness_give(b->h, 0, ordinal, first, size, &steps);
}

static void
expect_scores(struct bench *b, uint64_t ordinal, const char *wanted)
{
    struct arena arena = {0};
    struct vote v = read_vote(b, ordinal, &arena);
    struct buffer got = {0};

    for (int64_t i = 0; i < v.said.count; i++) {
        buffer_print(&got, v.said.at[i] ? "%.4g" : "-", (double)v.scores.at[i]);
        if (v.outside.count)
            buffer_print(&got, "~%.4g", (double)v.outside.at[i]);
        if (v.agreement.count)
            buffer_print(&got, "/%.4g", (double)v.agreement.at[i]);
        buffer_text(&got, ";");
    }
    if (v.response.count)
        buffer_print(&got, " =%.4g", (double)v.response.at[0]);
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, wanted);
    buffer_free(&got);
    arena_free(&arena);
}

static void
expected_marks_become_scores_and_outside(void **state)
{
    struct bench b;
    struct judge_server_options o = {.then = "marks"};

    (void)state;
    bench_open(&b, &o, (const char *const[]){"scoring", "expected", "window_steps", "2", NULL});
    give_words(&b, 0, 0, 1, "a bx c");
    run_until(&b, 1);
    assert_int_equal(judge_server_calls(b.server), 2);
    /* 5 * .75 + 4 * .125 = 4.25; 1 * .75 + 2 * .125 = 1 */
    expect_scores(&b, 0, "0.8125~0.125;0~0.125;0.8125~0.125; =0.2708");
    bench_close(&b);
}

static void
groups_are_ranked_when_they_are_whole(void **state)
{
    struct bench b;
    struct judge_server_options o = {.then = "letters"};

    (void)state;
    bench_open(&b, &o,
               (const char *const[]){"scoring", "rank", "votes", "2", "in_flight", "4", NULL});
    give_words(&b, 0, 0, 4, "x x");
    give_words(&b, 3, 0, 4, "x x x");
    give_words(&b, 4, 4, 1, "alone");
    run_until(&b, 1);
    assert_int_equal(judge_server_calls(b.server), 0); /* the one that is alone needs none */
    expect_scores(&b, 4, "-;");
    give_words(&b, 2, 0, 4, "good");
    harness_give_closing(b.h, 0, 1, 0, 4, "routed");
    for (int turns = 0; turns < 400 && b.count < 4; turns++) {
        struct harness_message m;
        struct error e = {0};
        assert_int_equal(harness_run(b.h, 0.05, &e), 0);
        while (harness_take(b.h, "votes", &m)) {
            assert_true(m.closing == (m.ordinal == 1));
            buffer_clear(&b.votes[m.ordinal]);
            if (!m.closing)
                buffer_add(&b.votes[m.ordinal], m.body.at, m.body.length);
            b.count++;
        }
    }
    assert_int_equal(judge_server_calls(b.server), 2);
    expect_scores(&b, 2, "-; =1");
    expect_scores(&b, 0, "-;-; =0.5");
    expect_scores(&b, 3, "-;-;-; =0");
    bench_close(&b);
}

static void
votes_of_one_judge_and_a_server_without_schemas(void **state)
{
    struct bench b;
    struct judge_server_options o = {.then = "format"};
    struct arena arena = {0};
    struct vote v;

    (void)state;
    bench_open(&b, &o,
               (const char *const[]){"format", "schema", "votes", "3", "temperature", "1",
                                     "in_flight", "1", NULL});
    give(&b, 1);
    give(&b, 3);
    run_until(&b, 2);
    /* two formats that it does not know, told once for each open question; then words */
    assert_true(judge_server_calls(b.server) >= 8 && judge_server_calls(b.server) <= 12);
    v = read_vote(&b, 3, &arena);
    assert_int_equal(v.said.count, 3);
    assert_int_equal(v.agreement.count, 3);
    assert_true(v.agreement.at[0] > 0.5f);
    arena_free(&arena);
    bench_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_get_scores_and_the_vote_says_what_it_cost),
        cmocka_unit_test(what_passes_is_tried_again_until_it_passes),
        cmocka_unit_test(what_repeats_becomes_an_abstention_and_a_dead_letter),
        cmocka_unit_test(one_spoilt_answer_is_asked_again),
        cmocka_unit_test(a_refusal_pauses_until_it_is_mended),
        cmocka_unit_test(a_server_that_asks_for_rest_gets_it_from_every_call),
        cmocka_unit_test(no_more_calls_than_in_flight_are_out_at_once),
        cmocka_unit_test(votes_are_the_same_bytes_in_any_order),
        cmocka_unit_test(a_crash_repeats_no_more_than_what_was_in_flight),
        cmocka_unit_test(an_answer_that_was_committed_is_never_bought_again),
        cmocka_unit_test(a_malformed_message_is_a_dead_letter_and_an_abstention),
        cmocka_unit_test(an_empty_response_costs_no_call),
        cmocka_unit_test(the_key_is_nowhere_on_disk),
        cmocka_unit_test(a_judge_may_stop_while_calls_are_out),
        cmocka_unit_test(a_spent_budget_pauses_and_more_money_goes_on),
        cmocka_unit_test(a_killed_call_stays_paid_for),
        cmocka_unit_test(status_says_what_it_waits_for),
        cmocka_unit_test(bad_options_are_refused_before_anything_runs),
        cmocka_unit_test(a_run_keeps_the_template_it_began_with),
        cmocka_unit_test(expected_marks_become_scores_and_outside),
        cmocka_unit_test(groups_are_ranked_when_they_are_whole),
        cmocka_unit_test(votes_of_one_judge_and_a_server_without_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
