/* probe: what `sluice check --online` says of servers that are well, and of those that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "nodes/remote/probe.h"
#include "tests/judge_server.h"
#include "tests/rude_server.h"

static int
probe(const char *url, const char *model, struct buffer *told, struct error *e)
{
    const char *urls[] = {url};
    struct remote_options o = {.url = {1, urls},
                               .api_key_env = "PROBE_TEST_KEY",
                               .api_key_file = "",
                               .api_key_header = "Authorization",
                               .body = "",
                               .ca_file = "",
                               .in_flight = 4,
                               .max_response_bytes = 1 << 20,
                               .timeout = 1,
                               .connect_timeout = 1};
    int rc;

    setenv("no_proxy", "*", 1);
    setenv("PROBE_TEST_KEY", "sk-planted-key", 1);
    buffer_clear(told);
    rc = remote_probe(&o, model, told, e);
    buffer_add(told, "", 1);
    return rc;
}

static void
a_server_that_knows_the_model_is_well(void **state)
{
    struct judge_server_options o = {.key = "sk-planted-key"};
    struct error e = {0};
    struct judge_server *s = judge_server_start(&o, &e);
    char *url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s));
    char *whole = xprint("%s/chat/completions/", url);
    char *server = xprint("http://127.0.0.1:%d/", judge_server_port(s));
    char *two = xprint("%s http://127.0.0.1:1/v1", url);
    struct buffer told = {0};

    (void)state;
    assert_int_equal(probe(url, "m", &told, &e), 0);
    assert_non_null(strstr(told.at, "knows 'm', 4096 tokens of context"));
    assert_int_equal(probe(whole, "m", &told, &e), 0);
    assert_int_equal(probe(server, "m", &told, &e), 0); /* as a judge of vLLM's /pooling has it */
    assert_non_null(strstr(told.at, "knows 'm'"));
    assert_int_equal(probe(url, "gpt", &told, &e), ERROR_remote);
    assert_non_null(strstr(e.text, "does not know the model 'gpt'; it has m"));
    assert_int_equal(probe(two, "m", &told, &e),
                     ERROR_remote); /* all are asked, the bad one told */
    assert_non_null(strstr(told.at, "knows 'm'"));
    assert_non_null(strstr(e.text, "http://127.0.0.1:1/v1: "));
    assert_int_equal(judge_server_calls(s), 0);
    judge_server_stop(s);
    o.key = "another-key";
    s = judge_server_start(&o, &e);
    free(url);
    url = xprint("http://127.0.0.1:%d/v1", judge_server_port(s));
    assert_int_equal(probe(url, "m", &told, &e), ERROR_remote);
    assert_non_null(strstr(e.text, "401: no such key"));
    assert_null(strstr(e.text, "planted"));
    free(url);
    url = xprint("http://127.0.0.1:%d/other", judge_server_port(s)); /* 404: it lists none */
    assert_int_equal(probe(url, "m", &told, &e), 0);
    assert_non_null(strstr(told.at, "lists no models"));
    judge_server_stop(s);
    free(url);
    free(whole);
    free(two);
    free(server);
    buffer_free(&told);
}

static void
bad_manners_end_within_the_time(void **state)
{
    static const struct {
        enum manner manner;
        int rc;
        const char *words;
    } rows[] = {{RUDE_drip, ERROR_remote, "timed out"},
                {RUDE_continue, ERROR_remote, "headers do not end"},
                {RUDE_flood, ERROR_remote, "larger"},
                {RUDE_reset, ERROR_remote, ""},
                {RUDE_redirect, ERROR_remote, "redirects to"},
                {RUDE_html, 0, "lists no models"}};
    struct buffer told = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rude_server *s = rude_server_start(rows[i].manner);
        char *url = xprint("http://127.0.0.1:%d/v1", rude_server_port(s));
        struct error e = {0};

        rude_server_redirect(s, "http://127.0.0.1:1/");
        if (probe(url, "m", &told, &e) != rows[i].rc ||
            !strstr(rows[i].rc ? e.text : told.at, rows[i].words))
            fail_msg("row %zu: '%s' '%s'", i, e.text, told.at);
        rude_server_stop(s);
        free(url);
    }
    buffer_free(&told);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_knows_the_model_is_well),
        cmocka_unit_test(bad_manners_end_within_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
