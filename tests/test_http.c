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
#include <math.h>
#include <microhttpd.h>

#include "nodes/remote/reply.h"
#include "nodes/remote/url.h"
#include "tests/judge_server.h"
#include "tests/rude_server.h"

#define BODY "{\"messages\":[{\"role\":\"user\",\"content\":\"<step_0>\\n1+1=2\\n</step_0>\"}]}"

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_KIB_MAX 200000 /* freed memory is kept for a while, to see it used */
#else
#define MEMORY_KIB_MAX 20000
#endif

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
    assert_int_equal(http_begin(line->http, &e), 0);
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
    {"headers", REPLY_json, "", -1},
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

/* A request flies while its key is changed: its answer tells of the old one. */
static void
a_former_key_never_comes_back_either(void **state)
{
    struct line line = line_open("echo", 20, 1 << 20);
    struct http_settings s = {.secret = "sk-of-tomorrow",
                              .timeout_seconds = 20,
                              .connect_seconds = 2,
                              .answer_bytes_max = 1 << 20,
                              .connections = 4};
    struct http_answer a;

    (void)state;
    post(&line, NULL);
    http_settings_change(line.http, &s);
    next(&line, &a);
    assert_non_null(memmem(a.body.at, a.body.length, "Bearer ****", 11));
    assert_null(memmem(a.body.at, a.body.length, "secret", 6));
    line_close(&line);
}

/* ---- servers that misbehave ---- */

#define RUDE_BYTES_MAX 65536 /* of an answer, in these tests */

static const struct {
    enum manner manner;
    enum reply_outcome outcome;
    const char *why;
} manners[] = {
    {RUDE_drip, REPLY_again, "timed out"},
    {RUDE_body_drip, REPLY_again, "timed out"},
    {RUDE_flood, REPLY_spoiled, "larger than max_response_bytes"},
    {RUDE_length, REPLY_spoiled, "larger than max_response_bytes"},
    {RUDE_short, REPLY_again, ""},
    {RUDE_chunks, REPLY_again, ""},
    {RUDE_big_chunk, REPLY_again, ""},
    {RUDE_early, REPLY_again, ""},
    {RUDE_reset, REPLY_again, ""},
    {RUDE_continue, REPLY_again, "headers do not end"},
    {RUDE_headers, REPLY_again, "headers do not end"},
    {RUDE_header, REPLY_again, ""},
    {RUDE_binary, REPLY_again, ""},
    {RUDE_status, REPLY_again, ""},
    {RUDE_lengths, REPLY_spoiled, ""}, /* libcurl 8 and later: REPLY_again */
    {RUDE_html, REPLY_spoiled, "not a JSON object"},
    {RUDE_gzip, REPLY_spoiled, "not a JSON object"},
    {RUDE_no_content, REPLY_spoiled, "not a JSON object"},
    {RUDE_nest, REPLY_spoiled, ""},
    {RUDE_redirect, REPLY_refused, "307: the url redirects to 'http://127.0.0.1:1/'"},
};

static long
resident_peak_kib(void)
{
    char line[200];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    fclose(f);
    return kib;
}

/* A line to a rude server instead of the scripted one. */
static struct line
rude_line(struct rude_server *s, double timeout, int64_t bytes_max)
{
    struct line line = {0};
    struct error e = {0};
    struct http_settings o = {.secret = "sk-very-secret",
                              .timeout_seconds = timeout,
                              .connect_seconds = 2,
                              .answer_bytes_max = bytes_max,
                              .connections = 4};

    setenv("no_proxy", "*", 1);
    snprintf(line.url, sizeof(line.url), "http://127.0.0.1:%d/v1/x", rude_server_port(s));
    line.http = http_open(&o, &e);
    assert_non_null(line.http);
    return line;
}

/* Each manner costs one call: no crash, no hang, no memory, and a word for it. */
static void
every_bad_manner_is_one_failed_call(void **state)
{
    long before = resident_peak_kib();
    struct http_answer a;
    struct reply out;

    (void)state;
    for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++) {
        bool slow = manners[i].manner == RUDE_drip || manners[i].manner == RUDE_body_drip;
        struct rude_server *server = rude_server_start(manners[i].manner);
        struct line line = rude_line(server, slow ? 0.2 : 20,
                                     manners[i].manner == RUDE_nest ? 4 << 20 : RUDE_BYTES_MAX);
        rude_server_redirect(server, "http://127.0.0.1:1/");
        post(&line, NULL);
        next(&line, &a);
        reply_read(&a, &out);
        if (manners[i].manner == RUDE_lengths && out.outcome == REPLY_again)
            out.outcome = REPLY_spoiled;
        if (out.outcome != manners[i].outcome || !strstr(out.why, manners[i].why) || !out.why[0])
            fail_msg("manner %d: outcome %d, '%s'", (int)manners[i].manner, (int)out.outcome,
                     out.why);
        http_close(line.http);
        rude_server_stop(server);
    }
    assert_true(resident_peak_kib() - before < MEMORY_KIB_MAX);
}

/* A second answer that nobody asked for is not the answer to the next question. */
static void
an_answer_too_many_is_dropped(void **state)
{
    struct rude_server *server = rude_server_start(RUDE_two);
    struct line line = rude_line(server, 20, RUDE_BYTES_MAX);
    struct http_answer a;

    (void)state;
    for (int i = 1; i <= 3; i++) {
        post(&line, NULL);
        next(&line, &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(rude_server_connections(server), i);
    }
    http_close(line.http);
    rude_server_stop(server);
}

/* The place that a redirect names never hears of us: neither of the key nor of the question. */
static void
a_redirect_is_told_and_not_followed(void **state)
{
    struct rude_server *server = rude_server_start(RUDE_redirect);
    struct rude_server *there = rude_server_start(RUDE_html);
    struct line line = rude_line(server, 20, RUDE_BYTES_MAX);
    struct http_answer a;
    char url[100];

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/sk-very-secret", rude_server_port(there));
    rude_server_redirect(server, url);
    post(&line, NULL);
    next(&line, &a);
    assert_int_equal(a.status, 307);
    assert_non_null(strstr(a.location, "/****"));
    assert_null(strstr(a.location, "secret"));
    assert_int_equal(rude_server_connections(there), 0);
    http_close(line.http);
    rude_server_stop(there);
    rude_server_stop(server);
}

static enum MHD_Result
say_nothing(void *own, struct MHD_Connection *connection, const char *url, const char *method,
            const char *version, const char *data, size_t *length, void **of_call)
{
    (*(int *)own)++; /* a request came through: the certificate was believed */
    (void)connection, (void)url, (void)method, (void)version, (void)data, (void)length;
    (void)of_call;
    return MHD_NO;
}

static char *
read_pem(const char *name)
{
    char *path = xprint("tests/golden/tls/%s.pem", name), *text = xalloc(8192);
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    assert_true(fread(text, 1, 8191, f) > 0);
    fclose(f);
    free(path);
    return text;
}

/* A certificate that nobody vouches for: not a byte of the request goes out, and the stage waits
 * for a person. A server that does not speak TLS may do so later. */
static void
certificates_are_checked(void **state)
{
    char *key = read_pem("key"), *certificate = read_pem("certificate");
    int requests = 0;
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS, 0, NULL, NULL, say_nothing, &requests,
        MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_MEM_CERT, certificate, MHD_OPTION_END);
    struct rude_server *plain = rude_server_start(RUDE_binary);
    struct line line = rude_line(plain, 20, RUDE_BYTES_MAX);
    struct http_settings trusting = {
        .timeout_seconds = 20, .connect_seconds = 2, .answer_bytes_max = 1 << 16, .connections = 4};
    struct http_answer a;

    (void)state;
    assert_non_null(daemon);
    snprintf(line.url, sizeof(line.url), "https://127.0.0.1:%d/v1/x",
             MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    post(&line, NULL);
    next(&line, &a);
    assert_true(a.status == 0 && a.broken);
    assert_non_null(strstr(a.failure, "certificate"));
    assert_int_equal(requests, 0);
    trusting.ca_file = "tests/golden/tls/certificate.pem"; /* it vouches for itself */
    http_settings_change(line.http, &trusting);
    post(&line, NULL);
    next(&line, &a);
    assert_true(!a.broken);
    assert_true(requests > 0);
    snprintf(line.url, sizeof(line.url), "https://127.0.0.1:%d/v1/x", rude_server_port(plain));
    post(&line, NULL);
    next(&line, &a);
    assert_true(a.status == 0 && a.failure[0] && !a.broken);
    http_close(line.http);
    rude_server_stop(plain);
    MHD_stop_daemon(daemon);
    free(key);
    free(certificate);
}

/* ---- settings ---- */

static void
headers_are_sent_and_the_key_in_the_one_named(void **state)
{
    static const char *const more[] = {"X-Team: green", "X-Run: 7"};
    struct line line = line_open("headers", 20, 1 << 20);
    struct http_settings s = {.secret = "sk-very-secret",
                              .secret_header = "api-key",
                              .headers = more,
                              .header_count = 2,
                              .timeout_seconds = 20,
                              .connect_seconds = 2,
                              .answer_bytes_max = 1 << 20,
                              .connections = 4};
    struct http_answer a;

    (void)state;
    http_settings_change(line.http, &s);
    post(&line, NULL);
    next(&line, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(memmem(a.body.at, a.body.length, "x-team: green\\n", 14));
    assert_non_null(memmem(a.body.at, a.body.length, "x-run: 7\\n", 9));
    assert_non_null(memmem(a.body.at, a.body.length, "api-key: **************\\n", 24));
    assert_null(memmem(a.body.at, a.body.length, "authorization", 13));
    assert_non_null(memmem(a.body.at, a.body.length, "idempotency-key: name-1\\n", 24));
    line_close(&line);
}

static void
times_are_read_as_servers_write_them(void **state)
{
    static const struct {
        const char *text;
        double seconds;
    } rows[] = {{"20ms", 0.02},
                {"1s", 1},
                {"6m0s", 360},
                {"1m30.5s", 90.5},
                {"1h2m", 3720},
                {"12", 12},
                {"0.25", 0.25},
                {"1700000030", 30},
                {"1600000000", 0},
                {"1e300", 86400},
                {"99999h", 86400},
                {"", -1},
                {"soon", -1},
                {"1m soon", -1},
                {"-3", -1},
                {"nan", -1},
                {"5 s", -1},
                {"1d", -1},
                {"2024-01-01T00:00:00Z", -1}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (fabs(http_seconds(rows[i].text, 1700000000) - rows[i].seconds) > 1e-9)
            fail_msg("'%s': %g", rows[i].text, http_seconds(rows[i].text, 1700000000));
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
    assert_true(reply_back_off(1, 0) == 0.5 && reply_back_off(2, 0) == 1 &&
                reply_back_off(5, 0) == 8);
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
        cmocka_unit_test(a_former_key_never_comes_back_either),
        cmocka_unit_test(every_bad_manner_is_one_failed_call),
        cmocka_unit_test(an_answer_too_many_is_dropped),
        cmocka_unit_test(a_redirect_is_told_and_not_followed),
        cmocka_unit_test(certificates_are_checked),
        cmocka_unit_test(headers_are_sent_and_the_key_in_the_one_named),
        cmocka_unit_test(times_are_read_as_servers_write_them),
        cmocka_unit_test(closing_drops_what_is_in_flight),
        cmocka_unit_test(urls_that_would_leak_or_mislead_are_refused),
        cmocka_unit_test(back_off_grows_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
