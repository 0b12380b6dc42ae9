/* reply: what statuses, bodies and headers mean, in the shapes that servers write them. What a
 * server of the tests makes of it all is in test_http.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "nodes/remote/reply.h"

static const struct {
    int status, should_retry;
    const char *body;
    enum reply_outcome outcome;
    const char *why;
} rows[] = {
    /* OpenAI */
    {429, -1,
     "{\"error\":{\"message\":\"slow "
     "down\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}",
     REPLY_again, "429: slow down"},
    {429, 1, "{\"error\":{\"message\":\"no money\",\"code\":\"insufficient_quota\"}}",
     REPLY_refused, "429: no money"},
    {404, -1, "{\"error\":{\"message\":\"no such model\",\"code\":\"model_not_found\"}}",
     REPLY_refused, "404: no such model"},
    {400, -1, "{\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}",
     REPLY_too_long, "400: too long"},
    {400, -1,
     "{\"error\":{\"message\":\"Unsupported parameter: "
     "'max_tokens'\",\"code\":\"unsupported_parameter\"}}",
     REPLY_refused, "400: Unsupported parameter"},
    {400, -1, "{\"error\":{\"message\":\"bad image\"}}", REPLY_spoiled, "400: bad image"},
    /* vLLM: code is a number, or the error a text */
    {400, -1,
     "{\"error\":{\"message\":\"This model's maximum context length is 4096 tokens.\",\"type\":"
     "\"BadRequestError\",\"param\":null,\"code\":400}}",
     REPLY_too_long, "400: This model's maximum context"},
    {401, -1, "{\"error\":\"Unauthorized\"}", REPLY_refused, "401: Unauthorized"},
    {400, -1, "{\"object\":\"error\",\"message\":\"flat\",\"code\":400}", REPLY_spoiled,
     "400: flat"},
    /* llama.cpp */
    {503, -1,
     "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}",
     REPLY_again, "503: Loading model"},
    {400, -1,
     "{\"error\":{\"code\":400,\"message\":\"the request "
     "exceeds\",\"type\":\"exceed_context_size_error\"}}",
     REPLY_too_long, "400: the request exceeds"},
    /* SGLang, FastAPI, proxies */
    {400, -1,
     "{\"message\":\"The input (9 tokens) is longer than the model's context length (8 tokens).\"}",
     REPLY_too_long, "400: The input"},
    {422, -1, "{\"detail\":\"field required\"}", REPLY_spoiled, "422: field required"},
    {502, -1, "<html>Bad\nGateway</html>", REPLY_again, "502: <html>Bad Gateway</html>"},
    {407, -1, "", REPLY_refused, "407"},
    {999, -1, "", REPLY_again, "999"},
    {100, -1, "", REPLY_refused, "100"},
    /* an unknown response_format: OpenAI, FastAPI, llama.cpp, llama-cpp-python */
    {400, -1,
     "{\"error\":{\"message\":\"Invalid parameter: 'response_format' of type 'json_schema' is not "
     "supported with this model\",\"code\":\"unsupported_parameter\"}}",
     REPLY_unsupported, "400: Invalid parameter"},
    {422, -1, "{\"detail\":\"response_format.type: unexpected json_schema\"}", REPLY_unsupported,
     "422: response_format"},
    {400, -1, "{\"error\":{\"message\":\"failed to parse grammar\"}}", REPLY_unsupported, "400"},
    {500, -1,
     "{\"error\":{\"message\":\"1 validation error: {'loc': ('body', 'response_format', 'type')\"}}",
     REPLY_unsupported, "500: 1 validation"},
    {500, -1, "{\"error\":{\"message\":\"the grammar engine crashed\"}}", REPLY_again, "500"},
    {503, -1, "{\"error\":\"response_format\"}", REPLY_again, "503"},
    {400, -1,
     "{\"error\":{\"message\":\"'a grammar ...' is longer than the model's context length\"}}",
     REPLY_too_long, "400"},
    /* x-should-retry */
    {400, 1, "", REPLY_again, "400"},
    {500, 0, "", REPLY_refused, "500"},
    {429, 0, "", REPLY_refused, "429"},
    /* good */
    {200, -1, "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}", REPLY_json, ""},
    {201, 0, "{}", REPLY_json, ""},
    {200, 1, "[]", REPLY_spoiled, "not a JSON object"},
    {200, -1, "{} {}", REPLY_spoiled, "not a JSON object"},
    {200, -1, "{\"a\":\"\xff\"}", REPLY_spoiled, "not a JSON object"},
};

static void
every_answer_has_its_meaning(void **state)
{
    struct reply r;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_answer a = {.status = rows[i].status,
                                .should_retry = rows[i].should_retry,
                                .body = span_text(rows[i].body),
                                .retry_after = -1};
        reply_read(&a, &r);
        if (r.outcome != rows[i].outcome || strncmp(r.why, rows[i].why, strlen(rows[i].why)) != 0)
            if (!(rows[i].status < 300 && strstr(r.why, rows[i].why)))
                fail_msg("row %zu: outcome %d, '%s'", i, (int)r.outcome, r.why);
        assert_int_equal(r.outcome, rows[i].outcome);
        assert_true((r.json != NULL) == (r.outcome == REPLY_json));
        json_decref(r.json);
    }
}

static void
usage_is_read_and_never_believed_to_be_negative(void **state)
{
    struct reply r;

    (void)state;
    reply_body(span_text("{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}"), &r);
    assert_true(r.tokens_in == 7 && r.tokens_out == 2);
    json_decref(r.json);
    reply_body(span_text("{\"usage\":{\"prompt_tokens\":-7,\"completion_tokens\":\"2\"}}"), &r);
    assert_true(r.tokens_in == 0 && r.tokens_out == 0);
    json_decref(r.json);
    /* more than any model reads, or only half of it: as if it did not say, so all that was set
     * aside is spent, and no sum and no pace is spoiled by one answer */
    static const char *const unsaid[] = {
        "{\"usage\":{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":2}}",
        "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9223372036854775807}}",
        "{\"usage\":{\"prompt_tokens\":7}}",
        "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2.0}}",
        "{\"usage\":{\"prompt_tokens\":7,\"total_tokens\":3}}",
        "{\"usage\":{\"completion_tokens\":2}}",
    };
    for (size_t i = 0; i < sizeof(unsaid) / sizeof(unsaid[0]); i++) {
        reply_body(span_text(unsaid[i]), &r);
        assert_true(r.tokens_in == 0 && r.tokens_out == 0);
        json_decref(r.json);
    }
    reply_body(span_text("{\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}"), &r);
    assert_true(r.tokens_in == 7 && r.tokens_out == 0);
    json_decref(r.json);
    reply_body(span_text("{\"usage\":[1]}"), &r);
    assert_true(r.tokens_in == 0 && r.outcome == REPLY_json);
    json_decref(r.json);
}

static void
no_server_makes_us_wait_for_ever(void **state)
{
    struct http_answer a = {.status = 429, .retry_after = 1e9, .should_retry = -1};
    struct reply r;

    (void)state;
    reply_read(&a, &r);
    assert_true(r.wait_seconds == REPLY_ASKED_MAX && r.limited);
    a.retry_after = 0;
    reply_read(&a, &r);
    assert_true(r.wait_seconds == 0);
    a.retry_after = -1;
    reply_read(&a, &r);
    assert_true(r.wait_seconds < 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_its_meaning),
        cmocka_unit_test(usage_is_read_and_never_believed_to_be_negative),
        cmocka_unit_test(no_server_makes_us_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
