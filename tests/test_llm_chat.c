/* llm_judge's chat: requests byte for byte, and the words of completions good and bad. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/llm_judge/chat.h"

static void
requests_say_what_was_asked(void **state)
{
    struct prompt_messages m = {.count = 2};
    struct chat_request r = {.model = "m",
                             .messages = &m,
                             .temperature = 0.7,
                             .max_tokens = 64,
                             .limit = CHAT_max_completion_tokens,
                             .seed = 5};
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
    r = (struct chat_request){.model = "m",
                              .messages = &m,
                              .temperature = -1,
                              .seed = -1,
                              .format = CHAT_schema,
                              .form = FORM_steps,
                              .count = 2};
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

static char *
written(const struct chat_request *r)
{
    struct buffer out = {0};
    struct error e;

    assert_int_equal(chat_write(r, &out, &e), 0);
    buffer_add(&out, "", 1);
    return out.at;
}

static void
servers_are_asked_in_their_dialects(void **state)
{
    struct prompt_messages m = {.count = 2};
    struct chat_request r = {.model = "m",
                             .messages = &m,
                             .temperature = -1,
                             .seed = -1,
                             .top_logprobs = 20,
                             .goes_on = true};
    char *text;

    (void)state;
    m.at[0].role = PROMPT_user;
    m.at[1].role = PROMPT_assistant;
    buffer_text(&m.at[1].text, "So the overall score is ");
    text = written(&r);
    assert_non_null(strstr(text,
                           "\"logprobs\":true,\"top_logprobs\":20,"
                           "\"continue_final_message\":true,\"add_generation_prompt\":false}"));
    assert_null(strstr(text, "response_format"));
    free(text);
    r = (struct chat_request){.model = "m",
                              .messages = &m,
                              .temperature = -1,
                              .seed = -1,
                              .format = CHAT_object_schema,
                              .form = FORM_first_error,
                              .first = 3,
                              .count = 2};
    text = written(&r);
    assert_non_null(strstr(
        text, "\"response_format\":{\"type\":\"json_object\",\"schema\":{\"type\":\"object\","
              "\"properties\":{\"analysis\":{\"type\":\"string\"},\"first_error\":{\"type\":"
              "\"integer\",\"enum\":[-1,3,4]}},\"required\":[\"analysis\",\"first_error\"],"
              "\"additionalProperties\":false}}"));
    assert_null(strstr(text, "logprobs"));
    assert_null(strstr(text, "continue_final"));
    free(text);
    prompt_messages_free(&m);
}

/* Every object of a schema closed, and all of its properties required: OpenAI's strict mode. */
static int
check_strict(const json_t *schema)
{
    const json_t *properties = json_object_get(schema, "properties"), *value;
    const char *name;
    int objects = 0;

    if (properties) {
        objects = 1;
        assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
        assert_int_equal(json_array_size(json_object_get(schema, "required")),
                         json_object_size(properties));
        json_object_foreach((json_t *)properties, name, value) objects += check_strict(value);
    }
    if (json_object_get(schema, "items"))
        objects += check_strict(json_object_get(schema, "items"));
    return objects;
}

static void
schemas_are_strict_and_say_how_many_steps(void **state)
{
    static const int objects[] = {2, 1, 2, 1, 2};

    (void)state;
    for (int form = 0; form < FORM_rank; form++) {
        json_t *schema = chat_schema((enum prompt_form)form, 10, 3);
        assert_int_equal(check_strict(schema), objects[form]);
        json_decref(schema);
    }
    json_t *schema = chat_schema(FORM_steps, 10, 3);
    const json_t *steps = json_object_get(json_object_get(schema, "properties"), "steps");
    const json_t *entry = json_object_get(json_object_get(steps, "items"), "properties");
    assert_int_equal(json_integer_value(json_object_get(steps, "minItems")), 3);
    assert_int_equal(json_integer_value(json_object_get(steps, "maxItems")), 3);
    assert_int_equal(json_object_size(entry), 2);
    json_decref(schema);
    schema = chat_schema(FORM_all_errors, 10, 1000);
    steps = json_object_get(json_object_get(schema, "properties"), "errors");
    entry = json_object_get(json_object_get(steps, "items"), "properties");
    entry = json_object_get(entry, "section");
    assert_int_equal(json_integer_value(json_object_get(entry, "minimum")), 11);
    assert_int_equal(json_integer_value(json_object_get(entry, "maximum")), 1010);
    json_decref(schema);
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
        bool cut;
        int rc = chat_read(json, &content, &cut, &e);

        assert_non_null(json);
        assert_int_equal(rc, rows[i].why ? ERROR_input : 0);
        assert_int_equal(cut, strstr(rows[i].json, "length") != NULL);
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
        cmocka_unit_test(servers_are_asked_in_their_dialects),
        cmocka_unit_test(schemas_are_strict_and_say_how_many_steps),
        cmocka_unit_test(answers_give_their_words_or_why_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
