/* reply: what a server without the response_format that was asked for says, in all manners. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/remote/reply.h"

static enum reply_outcome
outcome(int status, const char *body)
{
    struct http_answer a = {.status = status, .body = span_text(body), .should_retry = -1};
    struct reply r;

    a.retry_after = -1;
    reply_read(&a, &r);
    json_decref(r.json);
    return r.outcome;
}

static void
an_unknown_response_format_is_no_fault_of_server_or_person(void **state)
{
    (void)state;
    /* llama-cpp-python's server 0.3 */
    assert_int_equal(outcome(500,
                             "{\"error\":{\"message\":\"1 validation error:\\n {'loc': ('body', "
                             "'response_format', 'type')\",\"type\":\"internal_server_error\"}}"),
                     REPLY_unsupported);
    assert_int_equal(outcome(422, "{\"detail\":\"response_format.type: unexpected json_schema\"}"),
                     REPLY_unsupported);
    assert_int_equal(
        outcome(400, "{\"error\":{\"message\":\"Invalid parameter: 'response_format' of type "
                     "'json_schema' is not supported with this model\",\"code\":"
                     "\"unsupported_parameter\"}}"),
        REPLY_unsupported);
    assert_int_equal(outcome(400, "{\"error\":{\"message\":\"failed to parse grammar\"}}"),
                     REPLY_unsupported);
    assert_int_equal(outcome(400, "{\"error\":{\"message\":\"bad temperature\"}}"), REPLY_spoiled);
    assert_int_equal(outcome(500, "{\"error\":{\"message\":\"out of memory\"}}"), REPLY_again);
    assert_int_equal(outcome(500, "{\"error\":{\"message\":\"the grammar engine crashed\"}}"),
                     REPLY_again);
    assert_int_equal(outcome(503, "{\"error\":\"response_format\"}"), REPLY_again);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_response_format_is_no_fault_of_server_or_person),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
