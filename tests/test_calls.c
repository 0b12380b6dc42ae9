/* calls: llm_judge, through the harness, before several servers, at a pace, with keys and fields of
 * the user's. What one server does is in test_llm_judge.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "graph/core.h"
#include "nodes/llm_judge/llm_judge.h"
#include "tests/harness.h"
#include "tests/judge_server.h"
#include "tests/rude_server.h"

#define UNITS_MAX 512

static const char *const links[] = {"in", "steps", NULL};

static struct judge_server *
serve(const char *then, const char *key)
{
    struct judge_server_options o = {.then = then, .key = key};
    struct error e = {0};
    struct judge_server *s = judge_server_start(&o, &e);

    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static struct harness *
judge(const char *url, const char *const *more)
{
    const char *options[40] = {"model", "m", "url", url, "cache_bytes", "0"};
    int n = 6;

    setenv("no_proxy", "*", 1);
    for (int i = 0; more && more[i]; i++)
        options[n++] = more[i];
    options[n] = NULL;
    return harness_open("llm_judge", links, options, NULL);
}

static void
give(struct harness *h, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        char text[40];
        uint64_t end = (uint64_t)snprintf(text, sizeof(text), "%d+1=%d", (int)i, (int)i + 1);
        struct steps steps = {.ends = {1, &end},
                              .rollout = {.prompt = span_text("?"), .response = span_text(text)}};
        harness_give(h, 0, i, i, 1, &steps);
    }
}

/* Runs, turning the clock by `turn` each time, until so many votes have come; how many turns. */
static int
run_until(struct harness *h, int votes, double turn)
{
    struct harness_message m;
    struct error e = {0};
    int count = 0;

    for (int turns = 0; turns < 4000; turns++) {
        if (harness_run(h, 0.05, &e) != 0)
            fail_msg("%s", e.text);
        while (harness_take(h, "votes", &m))
            count++;
        if (count >= votes)
            return turns;
        harness_clock(h, turn);
    }
    fail_msg("%d votes of %d", count, votes);
    return 0;
}

static char *
url_of(struct judge_server *a, struct judge_server *b)
{
    return xprint("http://127.0.0.1:%d/v1 http://127.0.0.1:%d/v1", a ? judge_server_port(a) : 1,
                  judge_server_port(b));
}

static void
two_servers_share_the_calls(void **state)
{
    struct judge_server *a = serve("ok", NULL), *b = serve("ok", NULL);
    char *url = url_of(a, b);
    struct harness *h = judge(url, NULL);

    (void)state;
    give(h, 0, 100);
    run_until(h, 100, 0.1);
    assert_int_equal(judge_server_calls(a) + judge_server_calls(b), 100);
    assert_true(judge_server_calls(a) >= 20 && judge_server_calls(b) >= 20);
    harness_close(h);
    judge_server_stop(a);
    judge_server_stop(b);
    free(url);
}

/* With one of two gone, or saying 500, 401 or 429 to everything, all goes on at once through the
 * other: the clock does not move. */
static void
what_one_server_cannot_do_the_other_does(void **state)
{
    static const char *const words[] = {NULL, "500", "401", "429:60", "nothing"};

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct judge_server *a = words[i] ? serve(words[i], NULL) : NULL, *b = serve("ok", NULL);
        char *url = url_of(a, b);
        struct harness *h = judge(url, NULL);

        give(h, 0, 60);
        run_until(h, 60, 0);
        assert_true(judge_server_calls(b) == 60);
        assert_true(!a || judge_server_calls(a) <= 16); /* those that flew before it was known */
        assert_int_equal(harness_dead_count(h), 0);
        harness_close(h);
        if (a)
            judge_server_stop(a);
        judge_server_stop(b);
        free(url);
    }
}

static void
a_server_that_comes_back_gets_calls_again(void **state)
{
    struct judge_server *a = serve("500", NULL), *b = serve("ok", NULL);
    char *url = url_of(a, b);
    struct harness *h = judge(url, NULL);

    (void)state;
    give(h, 0, 40);
    run_until(h, 40, 0);
    assert_null(strstr(harness_node(h)->why, "left alone")); /* nothing waits: nothing to tell */
    judge_server_then(a, "ok");
    harness_clock(h, 31);
    int before = judge_server_calls(a);
    give(h, 40, 80);
    run_until(h, 40, 0);
    assert_true(judge_server_calls(a) > before + 5);
    harness_close(h);
    judge_server_stop(a);
    judge_server_stop(b);
    free(url);
}

static void
servers_may_change_while_it_runs(void **state)
{
    struct judge_server *a = serve("500", NULL), *b = serve("ok", NULL);
    char *first = xprint("http://127.0.0.1:%d/v1", judge_server_port(a));
    char *second = xprint("http://127.0.0.1:%d/v1/", judge_server_port(b));
    struct harness *h = judge(first, NULL);
    struct error e = {0};

    (void)state;
    give(h, 0, 20);
    assert_int_equal(harness_run(h, 0.1, &e), 0);
    assert_int_equal(node_set_option(harness_node(h), "url", "http://me:pw@x/", &e), 0);
    assert_int_equal(node_set_option(harness_node(h), "url", second, &e), 0);
    run_until(h, 20, 1);
    assert_int_equal(judge_server_calls(b), 20);
    harness_close(h);
    judge_server_stop(a);
    judge_server_stop(b);
    free(first);
    free(second);
}

static void
no_more_calls_a_minute_than_allowed(void **state)
{
    static const char *const options[] = {"rpm", "120", NULL};
    struct judge_server *s = serve("ok", NULL);
    char *url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s));
    struct harness *h = judge(url, options);
    struct error e = {0};
    int turns;

    (void)state;
    give(h, 0, 40);
    assert_int_equal(harness_run(h, 0.1, &e), 0);
    assert_in_range(judge_server_calls(s), 1, 4); /* a second's worth at once */
    assert_non_null(strstr(harness_node(h)->why, "rpm or tpm"));
    turns = run_until(h, 40, 0.5);
    assert_in_range(turns, 34, 42); /* two calls a second */
    harness_close(h);
    judge_server_stop(s);
    free(url);
}

/* A call is charged with what it may take, some 2200 tokens, until its answer says that it was
 * less. */
static void
no_more_tokens_a_minute_than_allowed(void **state)
{
    static const char *const options[] = {"tpm", "60000", "max_tokens", "2000", NULL};
    struct judge_server *s = serve("hang", NULL);
    char *url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s));
    struct harness *h = judge(url, options);
    struct error e = {0};

    (void)state;
    give(h, 0, 10);
    for (int calls = 1; calls <= 3; calls++) {
        assert_int_equal(harness_run(h, 0.05, &e), 0);
        assert_int_equal(judge_server_wait(s, calls, 10), 1);
        assert_int_equal(judge_server_calls(s), calls);
        harness_clock(h, 2.5);
    }
    harness_close(h);
    judge_server_then(s, "ok");
    h = judge(url, options);
    give(h, 0, 40);
    assert_in_range(run_until(h, 40, 0.5), 1, 40); /* not the 170 turns of 40 times 2200 tokens */
    harness_close(h);
    judge_server_stop(s);
    free(url);
}

/* No 429 is needed where headers say in time that nothing is left. */
static void
a_server_that_allows_no_more_is_left_in_peace(void **state)
{
    struct judge_server *s = serve("rested", NULL);
    char *url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s));
    struct harness *h = judge(url, NULL);
    struct error e = {0};

    (void)state;
    give(h, 0, 1);
    run_until(h, 1, 0);
    judge_server_then(s, "ok");
    give(h, 1, 6);
    for (int turn = 0; turn < 5; turn++) {
        assert_int_equal(harness_run(h, 0.02, &e), 0);
        harness_clock(h, 5);
    }
    assert_int_equal(judge_server_calls(s), 1);
    assert_non_null(strstr(harness_node(h)->why, "rate-limited for"));
    harness_clock(h, 6);
    run_until(h, 5, 0);
    assert_int_equal(judge_server_calls(s), 6);
    harness_close(h);
    judge_server_stop(s);
    free(url);
}

static void
fields_and_headers_of_the_users_go_along(void **state)
{
    static const char *const options[] = {"body", "{\"top_k\": 1, \"temperature\": 0.5}", "headers",
                                          "X-Team: green", NULL};
    struct judge_server *s = serve("ok", NULL);
    char *url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s)), *last;
    struct harness *h = judge(url, options);

    (void)state;
    give(h, 0, 1);
    run_until(h, 1, 0.1);
    last = judge_server_last(s);
    assert_non_null(strstr(last, "\"top_k\":1"));
    assert_non_null(strstr(last, "\"temperature\":0.5"));
    assert_null(strstr(last, "\"temperature\":0,"));
    assert_non_null(strstr(last, "\"messages\":[{"));
    free(last);
    harness_close(h);
    judge_server_stop(s);
    free(url);
}

static void
write_key(const char *path, const char *key)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(key, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

/* The server refuses the old key; who puts the new one into the file need not touch the run. */
static void
a_key_file_is_read_again_where_the_key_is_refused(void **state)
{
    char path[] = "/tmp/sluice-key.XXXXXX";
    int fd = mkstemp(path);
    const char *options[] = {"api_key_file", path, NULL};
    struct judge_server *s = serve("ok", "sk-the-new-key");
    char *url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s));
    struct harness *h;
    struct error e = {0};

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    write_key(path, "sk-the-old-key\n");
    h = judge(url, options);
    give(h, 0, 5);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(harness_run(h, 0.02, &e), 0);
        harness_clock(h, 1);
    }
    assert_non_null(strstr(harness_node(h)->why, "the server refuses (401"));
    write_key(path, "sk-the-new-key\n");
    run_until(h, 5, 5);
    harness_close(h);
    judge_server_stop(s);
    unlink(path);
    free(url);
}

/* Every call ends, whatever the server does: with a vote, or tried again for ever. */
static void
bad_manners_cost_the_stage_nothing(void **state)
{
    static const enum manner again[] = {RUDE_reset, RUDE_early, RUDE_binary, RUDE_continue};
    static const enum manner useless[] = {RUDE_html, RUDE_length, RUDE_gzip, RUDE_nest};
    struct error e = {0};

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        bool is_again = i < 4;
        struct rude_server *s = rude_server_start(is_again ? again[i] : useless[i - 4]);
        char *url = xprint("http://127.0.0.1:%d/v1", rude_server_port(s));
        struct harness *h = judge(url, (const char *const[]){"max_response_bytes", "64KiB", NULL});

        give(h, 0, 2);
        if (is_again) {
            for (int turn = 0; turn < 6; turn++) {
                assert_int_equal(harness_run(h, 0.02, &e), 0);
                harness_clock(h, 8);
            }
            assert_int_equal(harness_dead_count(h), 0);
            assert_true(rude_server_connections(s) > 4);
        } else {
            run_until(h, 2, 1);
            assert_int_equal(harness_dead_count(h), 2);
            assert_int_equal(rude_server_connections(s), 6);
        }
        harness_close(h);
        rude_server_stop(s);
        free(url);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_servers_share_the_calls),
        cmocka_unit_test(what_one_server_cannot_do_the_other_does),
        cmocka_unit_test(a_server_that_comes_back_gets_calls_again),
        cmocka_unit_test(servers_may_change_while_it_runs),
        cmocka_unit_test(no_more_calls_a_minute_than_allowed),
        cmocka_unit_test(no_more_tokens_a_minute_than_allowed),
        cmocka_unit_test(a_server_that_allows_no_more_is_left_in_peace),
        cmocka_unit_test(fields_and_headers_of_the_users_go_along),
        cmocka_unit_test(a_key_file_is_read_again_where_the_key_is_refused),
        cmocka_unit_test(bad_manners_cost_the_stage_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
