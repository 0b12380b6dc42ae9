/* What a judge over HTTP pays for and what it need not: cache and ledger behind a whole kind,
 * through the harness, against the scripted server. (Several replicas: test_budget.sh. The ledger
 * and the cache alone: test_ledger, test_cache.) */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/core.h"
#include "nodes/remote/cache.h"
#include "nodes/remote/ledger.h"
#include "nodes/remote/price.h"
#include "nodes/remote/purse.h"
#include "tests/harness.h"
#include "tests/judge_server.h"

#define PLENTY (1LL << 30)

static const char *const links[] = {"in", "steps", NULL};

struct bench {
    struct judge_server *server;
    struct harness *h;
    char url[64], dir[64], cache[96];
    int votes;
    struct vote last;
    struct arena arena;
};

static void
bench_open(struct bench *b, const struct judge_server_options *o, const char *const *more)
{
    const char *options[40] = {"model", "m", "max_tokens", "200", "in_flight", "4", "url"};
    struct error e = {0};
    int n = 7;

    memset(b, 0, sizeof(*b));
    setenv("no_proxy", "*", 1);
    b->server = judge_server_start(o, &e);
    if (!b->server)
        fail_msg("%s", e.text);
    snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%d/v1", judge_server_port(b->server));
    strcpy(b->dir, "/tmp/sluice-purse-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->cache, sizeof(b->cache), "%s/kept", b->dir);
    options[n++] = b->url;
    options[n++] = "cache";
    options[n++] = b->cache;
    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    b->h = harness_open("llm_judge", links, options, NULL);
}

static void
bench_close(struct bench *b)
{
    char command[128];

    harness_close(b->h);
    judge_server_stop(b->server);
    arena_free(&b->arena);
    snprintf(command, sizeof(command), "rm -rf %s", b->dir);
    assert_int_equal(system(command), 0);
}

/* Ordinal `ordinal`, whose text is that of `question`. */
static void
give(struct bench *b, uint64_t ordinal, int question)
{
    char prompt[64], response[128];
    uint64_t ends[2];
    struct steps steps = {.ends = {2, ends}};

    snprintf(prompt, sizeof(prompt), "%d+1=?", question);
    ends[0] = (uint64_t)snprintf(response, sizeof(response), "%d+1=%d\n", question, question + 1);
    ends[1] = ends[0] + (uint64_t)snprintf(response + ends[0], 60, "so %d", question + 1);
    steps.rollout = (struct rollout){
        .id = span_text("x"), .prompt = span_text(prompt), .response = span_text(response)};
    harness_give(b->h, 0, ordinal, ordinal, 1, &steps);
}

static void
run_until(struct bench *b, int votes)
{
    struct harness_message m;
    struct error e = {0};

    for (int turns = 0; turns < 400 && b->votes < votes; turns++) {
        if (harness_run(b->h, 0.05, &e) != 0)
            fail_msg("%s", e.text);
        while (harness_take(b->h, "votes", &m)) {
            arena_clear(&b->arena);
            assert_int_equal(message_read(MESSAGE_vote, m.body, &b->last, &b->arena, &e), 0);
            b->votes++;
        }
        harness_clock(b->h, 0.5);
    }
    assert_int_equal(b->votes, votes);
}

static int64_t
metric(struct bench *b, enum metric m)
{
    return harness_node(b->h)->counts[m];
}

static void
an_identical_question_is_asked_once(void **state)
{
    struct bench b;
    struct judge_server_options o = {.latency_seconds = 0.05};

    (void)state;
    bench_open(&b, &o, (const char *const[]){"price_out", "10", NULL});
    for (uint64_t i = 0; i < 12; i++) /* some at the same time, some after an answer */
        give(&b, i, (int)(i % 3));
    run_until(&b, 12);
    assert_int_equal(judge_server_calls(b.server), 3);
    assert_int_equal(metric(&b, METRIC_calls), 3);
    assert_int_equal(metric(&b, METRIC_calls_cached), 9);
    assert_true(b.last.usd == 0 && b.last.tokens_in == 0 && b.last.scores.count == 2);
    give(&b, 12, 7);
    run_until(&b, 13);
    assert_true(b.last.usd > 0 && b.last.tokens_out > 0);
    bench_close(&b);
}

static void
what_was_paid_for_is_found_after_a_restart_and_a_crash(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};

    (void)state;
    bench_open(&b, &o, NULL);
    for (uint64_t i = 0; i < 5; i++)
        give(&b, i, (int)i);
    run_until(&b, 5);
    harness_restart(b.h);
    for (uint64_t i = 5; i < 10; i++)
        give(&b, i, (int)i - 5);
    run_until(&b, 10);
    harness_crash(b.h);
    for (uint64_t i = 10; i < 15; i++)
        give(&b, i, (int)i - 10);
    run_until(&b, 15);
    assert_int_equal(judge_server_calls(b.server), 5);
    bench_close(&b);
}

static bool
first_key(void *own, const struct cache_key *key, const struct cache_answer *a, int64_t bytes)
{
    (void)a;
    (void)bytes;
    *(struct cache_key *)own = *key;
    return false;
}

/* A row that holds something else than the answer it was: written by another program, or damaged. */
static void
replace_first(const char *folder, const char *body)
{
    struct cache_key key;
    struct error e = {0};
    struct cache *c = cache_open(folder, &e);
    struct cache_answer a = {.model = span_text("m"), .body = span_text(body), .time = 1};

    assert_non_null(c);
    assert_int_equal(cache_scan(c, first_key, &key, &e), 0);
    cache_forget(c, &key);
    cache_put(c, &key, &a);
    assert_int_equal(cache_flush(c, PLENTY, &e), 0);
    cache_close(c);
}

static void
a_kept_answer_of_no_use_is_asked_for_again_and_replaced(void **state)
{
    static const char *const bodies[] = {
        "{}", "[]", "not JSON", "{\"choices\":[{\"message\":{\"content\":\"I think so.\"}}]}"};
    struct judge_server_options o = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        struct bench b;
        bench_open(&b, &o, NULL);
        give(&b, 0, 1);
        run_until(&b, 1);
        harness_close(b.h);
        replace_first(b.cache, bodies[i]);
        b.h = harness_open("llm_judge", links,
                           (const char *const[]){"model", "m", "max_tokens", "200", "url", b.url,
                                                 "cache", b.cache, NULL},
                           NULL);
        give(&b, 0, 1);
        give(&b, 1, 1);
        run_until(&b, 3);
        assert_int_equal(b.last.abstain.length, 0);
        assert_int_equal(judge_server_calls(b.server), 2);
        bench_close(&b);
    }
}

static void
an_answer_without_a_verdict_is_not_kept(void **state)
{
    struct bench b;
    struct judge_server_options o = {.then = "prose"};

    (void)state;
    bench_open(&b, &o, NULL);
    give(&b, 0, 1);
    run_until(&b, 1);
    assert_true(b.last.abstain.length > 0);
    assert_int_equal(judge_server_calls(b.server), 3); /* its tries */
    judge_server_then(b.server, "ok");
    give(&b, 1, 1);
    run_until(&b, 2);
    assert_int_equal(b.last.abstain.length, 0);
    assert_int_equal(judge_server_calls(b.server), 4);
    bench_close(&b);
}

static void
without_a_cache_every_question_is_asked(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};

    (void)state;
    bench_open(&b, &o, (const char *const[]){"cache_bytes", "0", NULL});
    for (uint64_t i = 0; i < 6; i++)
        give(&b, i, 1);
    run_until(&b, 6);
    assert_int_equal(judge_server_calls(b.server), 6);
    assert_int_not_equal(access(b.cache, F_OK), 0);
    bench_close(&b);
}

static void
the_cache_may_be_changed_while_it_judges(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct error e = {0};
    char *other;

    (void)state;
    bench_open(&b, &o, NULL);
    other = xprint("%s/other", b.dir);
    give(&b, 0, 1);
    run_until(&b, 1);
    assert_int_equal(node_set_option(harness_node(b.h), "cache", other, &e), 0);
    give(&b, 1, 1);
    run_until(&b, 2);
    assert_int_equal(judge_server_calls(b.server), 2); /* nothing is known there yet */
    assert_int_equal(node_set_option(harness_node(b.h), "cache_bytes", "0", &e), 0);
    give(&b, 2, 1);
    run_until(&b, 3);
    assert_int_equal(judge_server_calls(b.server), 3);
    assert_int_equal(node_set_option(harness_node(b.h), "cache", "/nowhere/at/all", &e), 0);
    assert_int_equal(node_set_option(harness_node(b.h), "cache_bytes", "1MiB", &e), 0);
    give(&b, 3, 1);
    run_until(&b, 4);
    assert_int_equal(judge_server_calls(b.server), 4);
    assert_int_equal(node_set_option(harness_node(b.h), "cache", b.cache, &e), 0);
    give(&b, 4, 1);
    run_until(&b, 5);
    assert_int_equal(judge_server_calls(b.server), 4);
    free(other);
    bench_close(&b);
}

static struct ledger_sums
sums_of(struct bench *b)
{
    struct ledger_sums sums;
    struct error e = {0};
    char *folder = xprint("%s/sums", b->dir), *command;
    char *ledger = purse_ledger_folder(harness_dir(b->h), node_id(harness_node(b->h)));

    command = xprint("rm -rf %s && cp -r %s %s", folder, ledger, folder); /* it is open here */
    assert_int_equal(system(command), 0);
    assert_int_equal(ledger_read(folder, &sums, NULL, NULL, &e), 0);
    free(command);
    free(folder);
    free(ledger);
    return sums;
}

static void
answers_that_never_came_whole_are_paid_for(void **state)
{
    struct bench b;
    struct judge_server_options o = {.script = "half,nothing,500,429:0,400"};
    struct ledger_sums sums;
    struct error e = {0};

    (void)state;
    bench_open(&b, &o,
               (const char *const[]){"price_in", "1", "price_out", "1", "budget_usd", "1000",
                                     "in_flight", "1", NULL});
    give(&b, 0, 1);
    run_until(&b, 1);
    assert_int_equal(harness_run(b.h, 0.05, &e), 0);
    sums = sums_of(&b);
    assert_int_equal(judge_server_calls(b.server), 6);
    assert_int_equal(sums.calls, 1);
    assert_int_equal(sums.aside.money, 0);
    assert_true(sums.lost.tokens > 2 * 200); /* half and nothing; an error costs nothing */
    assert_true(sums.lost.tokens < 2 * (200 + 2000));
    assert_int_equal(sums.spent.tokens - sums.lost.tokens,
                     (int64_t)(b.last.tokens_in + b.last.tokens_out));
    bench_close(&b);
}

static void
a_server_that_is_not_there_costs_nothing(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct error e = {0};

    (void)state;
    bench_open(&b, &o,
               (const char *const[]){"price_in", "1", "price_out", "1", "budget_usd", "1000", NULL});
    judge_server_stop(b.server);
    give(&b, 0, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(harness_run(b.h, 0.02, &e), 0);
        harness_clock(b.h, 10);
    }
    assert_int_equal(sums_of(&b).lost.tokens, 0);
    b.server = judge_server_start(&o, &e);
    bench_close(&b);
}

static void
a_token_budget_pauses_too(void **state)
{
    struct bench b;
    struct judge_server_options o = {0};
    struct error e = {0};
    int calls;

    (void)state;
    bench_open(&b, &o, (const char *const[]){"budget_tokens", "4000", "in_flight", "2", NULL});
    for (uint64_t i = 0; i < 30; i++)
        give(&b, i, (int)i);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(harness_run(b.h, 0.02, &e), 0);
        harness_clock(b.h, 1);
    }
    calls = judge_server_calls(b.server);
    assert_in_range(calls, 2, 29);
    assert_non_null(strstr(harness_node(b.h)->why, "over budget: "));
    assert_non_null(strstr(harness_node(b.h)->why, " of 4000 tokens spent"));
    assert_string_equal(node_state_name(harness_node(b.h)), "paused");
    assert_int_equal(node_set_option(harness_node(b.h), "budget_tokens", "1000000", &e), 0);
    run_until(&b, 30);
    assert_int_equal(judge_server_calls(b.server), 30);
    bench_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identical_question_is_asked_once),
        cmocka_unit_test(what_was_paid_for_is_found_after_a_restart_and_a_crash),
        cmocka_unit_test(a_kept_answer_of_no_use_is_asked_for_again_and_replaced),
        cmocka_unit_test(an_answer_without_a_verdict_is_not_kept),
        cmocka_unit_test(without_a_cache_every_question_is_asked),
        cmocka_unit_test(the_cache_may_be_changed_while_it_judges),
        cmocka_unit_test(answers_that_never_came_whole_are_paid_for),
        cmocka_unit_test(a_server_that_is_not_there_costs_nothing),
        cmocka_unit_test(a_token_budget_pauses_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
