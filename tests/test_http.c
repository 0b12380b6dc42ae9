/* http and reply: many calls against the scripted server, and what each of its answers means. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/remote/reply.h"
#include "nodes/remote/url.h"
#include "tests/judge_server.h"

#define BODY "{\"messages\":[{\"role\":\"user\",\"content\":\"<step_0>\\n1+1=2\\n</step_0>\"}]}"

struct line {
    struct judge_server *server;
    struct http *http;
    char url[64];
};

static struct line
line_open(const char *script, double timeout, int64_t bytes_max)
{
    struct judge_server_options o = {.script = script};
    struct error e = {0};
    struct line line = {.server = judge_server_start(&o, &e)};
    struct http_settings s = {.secret = "sk-very-secret",
                              .timeout_seconds = timeout,
                              .connect_seconds = 2,
                              .answer_bytes_max = bytes_max,
                              .connections = 16};

    setenv("no_proxy", "*", 1);
    if (!line.server)
        fail_msg("%s", e.text);
    snprintf(line.url, sizeof(line.url), "http://127.0.0.1:%d/v1/chat/completions",
             judge_server_port(line.server));
    line.http = http_open(&s, &e);
    if (!line.http)
        fail_msg("%s", e.text);
    return line;
}

static void
line_close(struct line *line)
{
    http_close(line->http);
    judge_server_stop(line->server);
}

/* Waits for the next answer, through the descriptor alone. */
static void
next(struct line *line, struct http_answer *a)
{
    struct error e = {0};

    while (!http_next(line->http, a)) {
        struct pollfd fd = {.fd = http_fd(line->http), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 10000), 1);
        assert_int_equal(http_step(line->http, &e), 0);
    }
}

static void
post(struct line *line, void *own)
{
    struct error e = {0};

    assert_int_equal(http_post(line->http, line->url, span_text(BODY), "name-1", own, &e), 0);
}

static void
many_calls_fly_at_once_and_each_comes_back(void **state)
{
    struct line line = line_open(NULL, 20, 1 << 20);
    struct http_answer a;
    char owns[40], seen[40] = {0};

    (void)state;
    for (int i = 0; i < 40; i++)
        post(&line, &owns[i]);
    assert_int_equal(http_flying(line.http), 40);
    for (int i = 0; i < 40; i++) {
        next(&line, &a);
        assert_int_equal(a.status, 200);
        assert_string_equal(a.failure, "");
        seen[(char *)a.own - owns]++;
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(http_flying(line.http), 0);
    line_close(&line);
}

/* What each word of the server becomes. */
static const struct {
    const char *word;
    enum reply_outcome outcome;
    const char *why;
    double wait;
} cases[] = {
    {"ok", REPLY_json, "", -1},
    {"prose", REPLY_json, "", -1},
    {"401", REPLY_refused, "401: scripted", -1},
    {"403", REPLY_refused, "403: scripted", -1},
    {"404", REPLY_refused, "404: scripted", -1},
    {"quota", REPLY_refused, "429: You exceeded", -1},
    {"redirect", REPLY_refused, "302: the url redirects to 'http://127.0.0.1:1/elsewhere'", -1},
    {"400", REPLY_spoiled, "400: scripted", -1},
    {"context", REPLY_too_long, "400: This model's maximum context length", -1},
    {"413", REPLY_too_long, "413", -1},
    {"408", REPLY_again, "408", -1},
    {"409", REPLY_again, "409", -1},
    {"429", REPLY_again, "429", -1},
    {"429:1.5", REPLY_again, "429", 1.5},
    {"429:100000", REPLY_again, "429", REPLY_ASKED_MAX},
    {"503:2", REPLY_again, "503", 2},
    {"500", REPLY_again, "500", -1},
    {"garbage", REPLY_spoiled, "not a JSON object", -1},
    {"empty", REPLY_spoiled, "not a JSON object", -1},
    {"null", REPLY_json, "", -1},
    {"huge", REPLY_spoiled, "larger than max_response_bytes", -1},
    {"half", REPLY_again, "", -1},
    {"nothing", REPLY_again, "", -1},
};

static void
what_every_answer_means(void **state)
{
    struct reply out;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct line line = line_open(cases[i].word, 20, 1 << 20);
        struct http_answer a;
        post(&line, NULL);
        next(&line, &a);
        reply_read(&a, &out);
        if (out.outcome != cases[i].outcome || !strstr(out.why, cases[i].why))
            fail_msg("%s: outcome %d, '%s'", cases[i].word, (int)out.outcome, out.why);
        assert_true(out.wait_seconds == cases[i].wait);
        assert_true(out.limited ==
                    (strncmp(cases[i].word, "429", 3) == 0 || strcmp(cases[i].word, "quota") == 0));
        assert_true((out.outcome == REPLY_json) == (out.json != NULL));
        assert_true((out.why[0] != 0) == (out.outcome != REPLY_json));
        json_decref(out.json);
        line_close(&line);
    }
}

static void
a_server_that_hangs_and_one_that_is_not_there(void **state)
{
    struct line line = line_open("hang", 0.2, 1 << 20);
    struct http_answer a;
    struct reply out;

    (void)state;
    post(&line, NULL);
    next(&line, &a);
    reply_read(&a, &out);
    assert_int_equal(out.outcome, REPLY_again);
    assert_non_null(strstr(out.why, "timed out"));
    strcpy(line.url, "http://127.0.0.1:1/v1/chat/completions");
    post(&line, NULL);
    next(&line, &a);
    reply_read(&a, &out);
    assert_int_equal(out.outcome, REPLY_again);
    assert_non_null(strstr(out.why, "onnect"));
    strcpy(line.url, "gopher://127.0.0.1/");
    post(&line, NULL);
    next(&line, &a);
    reply_read(&a, &out);
    assert_int_equal(out.outcome, REPLY_refused);
    line_close(&line);
}

static void
the_key_goes_out_and_never_comes_back(void **state)
{
    struct line line = line_open("echo", 20, 1 << 20);
    struct http_answer a;
    struct reply out;

    (void)state;
    post(&line, NULL);
    next(&line, &a);
    reply_read(&a, &out);
    assert_int_equal(out.outcome, REPLY_refused);
    assert_non_null(strstr(out.why, "Incorrect API key provided: Bearer ****"));
    assert_null(strstr(out.why, "secret"));
    assert_null(memmem(a.body.at, a.body.length, "secret", 6));
    line_close(&line);
}

static void
closing_drops_what_is_in_flight(void **state)
{
    struct line line = line_open("hang,hang,hang", 20, 1 << 20);

    (void)state;
    for (int i = 0; i < 3; i++)
        post(&line, NULL);
    for (int i = 0; judge_server_calls(line.server) < 3; i++) {
        struct pollfd fd = {.fd = http_fd(line.http), .events = POLLIN};
        assert_true(i < 1000);
        poll(&fd, 1, 100);
        assert_int_equal(http_step(line.http, NULL), 0);
    }
    line_close(&line);
}

static void
urls_that_would_leak_or_mislead_are_refused(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(url_check("http://localhost:8000/v1", &e), 0);
    assert_int_equal(url_check("https://api.example.com", &e), 0);
    assert_int_equal(url_check("ftp://example.com/", &e), ERROR_topology);
    assert_int_equal(url_check("file:///etc/passwd", &e), ERROR_topology);
    assert_int_equal(url_check("http://me:secret@example.com/", &e), ERROR_topology);
    assert_null(strstr(e.text, "secret"));
    assert_int_equal(url_check("localhost", &e), ERROR_topology);
    assert_int_equal(url_check("http://", &e), ERROR_topology);
    assert_int_equal(url_check("", &e), ERROR_topology);
}

static void
back_off_grows_to_its_cap(void **state)
{
    (void)state;
    assert_true(reply_back_off(1, 0) == 0.5 && reply_back_off(2, 0) == 1 && reply_back_off(5, 0) == 8);
    assert_true(reply_back_off(1000000, 0) == REPLY_BACK_OFF_MAX);
    assert_true(reply_back_off(3, 0.999) > 1.5 && reply_back_off(3, 0.999) < 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_calls_fly_at_once_and_each_comes_back),
        cmocka_unit_test(what_every_answer_means),
        cmocka_unit_test(a_server_that_hangs_and_one_that_is_not_there),
        cmocka_unit_test(the_key_goes_out_and_never_comes_back),
        cmocka_unit_test(closing_drops_what_is_in_flight),
        cmocka_unit_test(urls_that_would_leak_or_mislead_are_refused),
        cmocka_unit_test(back_off_grows_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
