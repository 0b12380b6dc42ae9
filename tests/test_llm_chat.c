/* llm_judge's chat: requests byte for byte, and the words of completions good and bad. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/llm_judge/chat.h"

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
answers_give_their_words_or_why_there_are_none(void **state)
{
    static const struct {
        const char *json, *words, *why;
    } rows[] = {
        {"{\"choices\":[{\"message\":{\"content\":\"a\\u0000b\"}}]}", "a", NULL},
        {"{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"no\"}}]}", NULL, "refused"},
        {"{\"choices\":[{\"message\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}", NULL,
         "cut at max_tokens"},
        {"{\"choices\":[{\"message\":{},\"finish_reason\":\"content_filter\"}]}", NULL,
         "content filter"},
        {"{\"error\":{\"message\":\"upstream\\nfailed\"}}", NULL, "error: upstream failed"},
        {"{\"choices\":[{\"message\":{\"content\":null}}]}", NULL, "not a chat completion"},
        {"{\"choices\":{\"message\":7}}", NULL, "not a chat completion"},
        {"{}", NULL, "not a chat completion"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *json = json_loads(rows[i].json, JSON_ALLOW_NUL, NULL);
        struct buffer content = {0};
        struct error e = {0};
        int rc = chat_read(json, &content, &e);

        assert_non_null(json);
        assert_int_equal(rc, rows[i].why ? ERROR_input : 0);
        if (rows[i].why && !strstr(e.text, rows[i].why))
            fail_msg("%s: '%s'", rows[i].json, e.text);
        if (rows[i].words)
            assert_memory_equal(content.at, "a\0b", 3);
        assert_int_equal(content.length, rows[i].words ? 3 : 0);
        buffer_free(&content);
        json_decref(json);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_say_what_was_asked),
        cmocka_unit_test(answers_give_their_words_or_why_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
