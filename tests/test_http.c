/* http and chat: many calls against the scripted server, and what each of its answers means. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/llm_judge/chat.h"
#include "nodes/llm_judge/http.h"
#include "tests/judge_server.h"

#define BODY "{\"messages\":[{\"role\":\"user\",\"content\":\"<step_0>\\n1+1=2\\n</step_0>\"}]}"

struct line {
    struct judge_server *server;
    struct http *http;
};

static struct line
line_open(const char *script, double timeout, int64_t bytes_max)
{
    struct judge_server_options o = {.script = script};
    struct error e = {0};
    struct line line = {.server = judge_server_start(&o, &e)};
    char *url;
    struct http_settings s = {.secret = "sk-very-secret",
                              .timeout_seconds = timeout,
                              .connect_seconds = 2,
                              .answer_bytes_max = bytes_max,
                              .connections = 16};

    setenv("no_proxy", "*", 1);
    if (!line.server)
        fail_msg("%s", e.text);
    url = xprint("http://127.0.0.1:%d/v1/chat/completions", judge_server_port(line.server));
    s.url = url;
    line.http = http_open(&s, &e);
    if (!line.http)
        fail_msg("%s", e.text);
    free(url);
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

    assert_int_equal(http_post(line->http, span_text(BODY), "name-1", own, &e), 0);
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
    enum chat_outcome outcome;
    const char *why;
    double wait;
} cases[] = {
    {"ok", CHAT_content, "", -1},
    {"prose", CHAT_content, "", -1},
    {"401", CHAT_refused, "401: scripted", -1},
    {"403", CHAT_refused, "403: scripted", -1},
    {"404", CHAT_refused, "404: scripted", -1},
    {"quota", CHAT_refused, "429: You exceeded", -1},
    {"redirect", CHAT_refused, "302: the url redirects to 'http://127.0.0.1:1/elsewhere'", -1},
    {"400", CHAT_spoiled, "400: scripted", -1},
    {"context", CHAT_hopeless, "400: This model's maximum context length", -1},
    {"413", CHAT_hopeless, "413", -1},
    {"408", CHAT_again, "408", -1},
    {"409", CHAT_again, "409", -1},
    {"429", CHAT_again, "429", -1},
    {"429:1.5", CHAT_again, "429", 1.5},
    {"429:100000", CHAT_again, "429", CHAT_ASKED_MAX},
    {"503:2", CHAT_again, "503", 2},
    {"500", CHAT_again, "500", -1},
    {"garbage", CHAT_spoiled, "not a JSON object", -1},
    {"empty", CHAT_spoiled, "not a JSON object", -1},
    {"null", CHAT_spoiled, "not a chat completion", -1},
    {"huge", CHAT_spoiled, "larger than max_response_bytes", -1},
    {"half", CHAT_again, "", -1},
    {"nothing", CHAT_again, "", -1},
};

static void
what_every_answer_means(void **state)
{
    struct chat_answer out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct line line = line_open(cases[i].word, 20, 1 << 20);
        struct http_answer a;
        post(&line, NULL);
        next(&line, &a);
        chat_read(&a, &out);
        if (out.outcome != cases[i].outcome || !strstr(out.why, cases[i].why))
            fail_msg("%s: outcome %d, '%s'", cases[i].word, (int)out.outcome, out.why);
        assert_true(out.wait_seconds == cases[i].wait);
        assert_true(out.limited ==
                    (strncmp(cases[i].word, "429", 3) == 0 || strcmp(cases[i].word, "quota") == 0));
        assert_true((out.outcome == CHAT_content) == (out.content.length > 0));
        assert_true((out.why[0] != 0) == (out.outcome != CHAT_content));
        line_close(&line);
    }
    buffer_free(&out.content);
}

static void
a_server_that_hangs_and_one_that_is_not_there(void **state)
{
    struct line line = line_open("hang", 0.2, 1 << 20);
    struct http_answer a;
    struct chat_answer out = {0};
    struct http_settings gone = {.url = "http://127.0.0.1:1/v1/chat/completions",
                                 .timeout_seconds = 5,
                                 .connect_seconds = 5,
                                 .answer_bytes_max = 1000,
                                 .connections = 1};

    (void)state;
    post(&line, NULL);
    next(&line, &a);
    chat_read(&a, &out);
    assert_int_equal(out.outcome, CHAT_again);
    assert_non_null(strstr(out.why, "timed out"));
    http_settings_change(line.http, &gone);
    post(&line, NULL);
    next(&line, &a);
    chat_read(&a, &out);
    assert_int_equal(out.outcome, CHAT_again);
    assert_non_null(strstr(out.why, "onnect"));
    gone.url = "gopher://127.0.0.1/";
    http_settings_change(line.http, &gone);
    post(&line, NULL);
    next(&line, &a);
    chat_read(&a, &out);
    assert_int_equal(out.outcome, CHAT_refused);
    buffer_free(&out.content);
    line_close(&line);
}

static void
the_key_goes_out_and_never_comes_back(void **state)
{
    struct line line = line_open("echo", 20, 1 << 20);
    struct http_answer a;
    struct chat_answer out = {0};

    (void)state;
    post(&line, NULL);
    next(&line, &a);
    chat_read(&a, &out);
    assert_int_equal(out.outcome, CHAT_refused);
    assert_non_null(strstr(out.why, "Incorrect API key provided: Bearer ****"));
    assert_null(strstr(out.why, "secret"));
    assert_null(memmem(a.body.at, a.body.length, "secret", 6));
    buffer_free(&out.content);
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
    assert_int_equal(http_check("http://localhost:8000/v1", &e), 0);
    assert_int_equal(http_check("https://api.example.com", &e), 0);
    assert_int_equal(http_check("ftp://example.com/", &e), ERROR_topology);
    assert_int_equal(http_check("file:///etc/passwd", &e), ERROR_topology);
    assert_int_equal(http_check("http://me:secret@example.com/", &e), ERROR_topology);
    assert_null(strstr(e.text, "secret"));
    assert_int_equal(http_check("localhost", &e), ERROR_topology);
    assert_int_equal(http_check("http://", &e), ERROR_topology);
    assert_int_equal(http_check("", &e), ERROR_topology);
}

static void
requests_say_what_was_asked(void **state)
{
    struct prompt_messages m = {.count = 2};
    struct chat_request r = {"m", &m, 0.7, 64, CHAT_max_completion_tokens, 5, CHAT_text};
    struct buffer out = {0};
    struct error e;

    (void)state;
    buffer_text(&m.at[0].text, "be\nexact");
    m.at[1].role = PROMPT_user;
    buffer_text(&m.at[1].text, "caf\xc3\xa9 \"x\"");
    assert_int_equal(chat_write(&r, &out, &e), 0);
    buffer_add(&out, "", 1);
    assert_string_equal(
        out.at, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be\\nexact\"},"
                "{\"role\":\"user\",\"content\":\"caf\xc3\xa9 \\\"x\\\"\"}],\"temperature\":0.7,"
                "\"max_completion_tokens\":64,\"seed\":5}");
    buffer_clear(&out);
    r = (struct chat_request){"m", &m, -1, 0, CHAT_max_tokens, -1, CHAT_schema};
    assert_int_equal(chat_write(&r, &out, &e), 0);
    buffer_add(&out, "", 1);
    assert_non_null(strstr(
        out.at,
        "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"verdict\","
        "\"strict\":true,\"schema\":{\"type\":\"object\""));
    assert_null(strstr(out.at, "temperature"));
    buffer_add(&m.at[1].text, "\xc3", 1);
    assert_int_equal(chat_write(&r, &out, &e), ERROR_input);
    assert_non_null(strstr(e.text, "UTF-8"));
    buffer_free(&out);
    prompt_messages_free(&m);
}

static void
back_off_grows_to_its_cap(void **state)
{
    (void)state;
    assert_true(chat_back_off(1, 0) == 0.5 && chat_back_off(2, 0) == 1 && chat_back_off(5, 0) == 8);
    assert_true(chat_back_off(1000000, 0) == CHAT_BACK_OFF_MAX);
    assert_true(chat_back_off(3, 0.999) > 1.5 && chat_back_off(3, 0.999) < 2);
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
        cmocka_unit_test(requests_say_what_was_asked),
        cmocka_unit_test(back_off_grows_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
