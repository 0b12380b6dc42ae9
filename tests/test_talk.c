/* talk: the page for authors of programs says what the node says and understands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "nodes/exec/talk.h"

static const struct port ports[] = {
    {PORT_IN, "in", MESSAGE_steps, 0, ""},
    {PORT_OUT, "votes", MESSAGE_vote, 0, ""},
    {.direction = PORT_END},
};

static char *page;

static int
open_page(void **state)
{
    FILE *f = fopen("examples/exec/README.md", "r");

    (void)state;
    page = calloc(1, 1 << 20);
    if (!f || fread(page, 1, (1 << 20) - 1, f) == 0)
        return -1;
    return fclose(f);
}

static int
close_page(void **state)
{
    (void)state;
    free(page);
    return 0;
}

/* The n-th line of the page that begins so. */
static struct span
line(const char *start, int n)
{
    for (const char *at = page; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, start, strlen(start)) == 0 && n-- == 0)
            return span_of(at, strcspn(at, "\n"));
    fail_msg("the page has no line '%s'", start);
    return span_of(NULL, 0);
}

static bool
is_empty(const json_t *v)
{
    return json_is_string(v)  ? json_string_length(v) == 0
           : json_is_array(v) ? json_array_size(v) == 0
                              : json_is_number(v) && json_number_value(v) == 0;
}

/* Is all that is shown said alike, and is nothing said that is not shown, but for what is empty? */
static bool
agrees(const json_t *said, const json_t *shown)
{
    const char *key;
    json_t     *v;
    size_t      i;

    if (json_is_array(said)) {
        bool good = json_array_size(said) == json_array_size(shown);

        json_array_foreach(said, i, v) good = good && agrees(v, json_array_get(shown, i));
        return good;
    }
    if (!json_is_object(said))
        return json_is_number(said) && json_is_number(shown) ? json_number_value(said) == json_number_value(shown)
                                                             : json_equal(said, shown);
    json_object_foreach((json_t *)said, key, v) {
        const json_t *other = json_object_get(shown, key);

        if (other ? !agrees(v, other) : !is_empty(v))
            return false;
    }
    json_object_foreach((json_t *)shown, key, v) if (!json_object_get(said, key)) return false;
    return true;
}

static void
same(const struct buffer *made, struct span shown)
{
    json_t *a = json_loadb(made->at, made->length, 0, NULL), *b = json_loadb(shown.at, shown.length, 0, NULL);

    if (!a || !b || !agrees(a, b) || memchr(made->at, '\n', made->length))
        fail_msg("the page says\n%.*s\nthe node\n%.*s", (int)shown.length, shown.at, (int)made->length,
                 made->at);
    json_decref(a);
    json_decref(b);
}

static struct steps
example(uint64_t ends[2])
{
    struct steps s = {.ends = {2, ends}};

    s.rollout = (struct rollout){.id = span_text("q0/1"), .prompt = span_text("What is 3 * 4 + 1?"),
                                 .response = span_text("3 * 4 = <<3*4=12>>12\nSo <<12+1=14>>14."),
                                 .answer = span_text("13"), .group_mean = 0.5, .group_std = 0.5,
                                 .source = span_text("rollouts.jsonl:0")};
    ends[0] = 21;
    ends[1] = s.rollout.response.length;
    return s;
}

static void
the_page_shows_what_the_node_says(void **state)
{
    struct talk_self self = {"critic", 0, 4, 7, ports};
    uint64_t         ends[2];
    struct steps     s = example(ends);
    struct buffer    body = {0}, text = {0};
    struct arena     arena = {0};
    struct input     in = {.from = "steps"};
    struct unit      u = {.ordinal = 5, .first = 4, .size = 2, .input_count = 1, .inputs = &in};

    (void)state;
    talk_hello(TALK_json, &self, &text);
    same(&text, line("{\"hello\"", 0));
    message_write(MESSAGE_steps, &s, &body);
    in.body = buffer_span(&body);
    buffer_clear(&text);
    assert_int_equal(talk_ask(TALK_json, ports, &u, 1, 0, &arena, &text, NULL), 0);
    same(&text, line("{\"ask\":1,\"ordinal\"", 0));
    buffer_free(&body);
    buffer_free(&text);
    arena_free(&arena);
}

static void
the_node_understands_what_the_page_shows(void **state)
{
    struct talk_kept   kept = {0};
    struct talk_answer a;
    struct error       e = {0};
    uint64_t           ends[2];
    struct steps       s = example(ends);
    struct buffer      body = {0}, made = {0};
    struct arena       arena = {0};
    struct vote        v;
    struct input       in = {.from = "steps"};
    struct unit        u = {.ordinal = 5, .first = 4, .size = 2, .input_count = 1, .inputs = &in};

    (void)state;
    assert_int_equal(talk_answer(TALK_json, ports, line("{\"ready\"", 0), &kept, &a, &e), 0);
    assert_true(a.ready);
    assert_int_equal(talk_answer(TALK_json, ports, line("{\"ask\": 1, \"outputs\"", 0), &kept, &a, &e), 0);
    assert_true(a.ask == 1 && a.outputs[1].given && !a.dead.at);
    message_write(MESSAGE_steps, &s, &body);
    in.body = buffer_span(&body);
    assert_int_equal(talk_body(ports, 1, &u, "critic", a.outputs[1].body, &arena, &made, &v, &e), 0);
    assert_true(v.scores.count == 2 && v.scores.at[0] == 1 && v.scores.at[1] == 0 && v.said.at[1] == 1);
    assert_true(span_is(v.reasons.at[1], "12+1 is 13, not 14") && span_is(v.voter, "critic"));
    assert_int_equal(talk_answer(TALK_json, ports, line("{\"ask\": 2, \"close\"", 0), &kept, &a, &e), 0);
    assert_true(a.ask == 2 && !a.outputs[1].given && a.outputs[1].closed.at);
    assert_int_equal(talk_answer(TALK_json, ports, line("{\"ask\": 3, \"dead\"", 0), &kept, &a, &e), 0);
    assert_true(a.ask == 3 && a.dead.at);
    buffer_free(&kept.packed);
    buffer_free(&kept.bodies);
    buffer_free(&body);
    buffer_free(&made);
    arena_free(&arena);
}

static void
what_is_no_answer_is_refused(void **state)
{
    static const char *const bad[][2] = {
        {"", "not JSON"},
        {"[]", "not an object"},
        {"{}", "neither 'ask' nor 'ready'"},
        {"{\"ask\":-1}", "'ask' is not the number"},
        {"{\"ask\":1.5}", "'ask' is not the number"},
        {"{\"ready\":2}", "version 1"},
        {"{\"ask\":1,\"ask\":1}", "duplicate"},
        {"{\"ask\":1,\"outputs\":[]}", "'outputs' is not an object"},
        {"{\"ask\":1,\"outputs\":{\"votes\":1}}", "output 'votes' is not an object"},
        {"{\"ask\":1,\"outputs\":{\"in\":{}}}", "there is no output 'in'"},
        {"{\"ask\":1,\"outputs\":{\"votes\":{}},\"close\":{\"votes\":\"x\"}}", "there twice"},
        {"{\"ask\":1,\"close\":{\"votes\":1}}", "is not text"},
        {"{\"ask\":1,\"dead\":1}", "'dead' is not text"},
        {"{\"ask\":1,\"outputs\":{\"votes\":{\"a\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}}", "deeper"},
        {"{\"ask\":1,\"outputs\":{\"votes\":{\"reasons\":[\"\\ud800\"]}}}", "not JSON"},
    };
    struct talk_kept   kept = {0};
    struct talk_answer a;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};

        assert_int_equal(talk_answer(TALK_json, ports, span_text(bad[i][0]), &kept, &a, &e), ERROR_input);
        if (!strstr(e.text, bad[i][1]))
            fail_msg("%s: '%s' does not say '%s'", bad[i][0], e.text, bad[i][1]);
    }
    /* Every cut and every changed byte of an answer is read or refused, in both protocols. */
    struct span whole = line("{\"ask\": 1, \"outputs\"", 0);
    char       *copy = span_copy(whole);
    for (size_t n = 0; n < whole.length; n++) {
        assert_int_equal(talk_answer(TALK_json, ports, span_of(copy, n), &kept, &a, NULL), ERROR_input);
        for (int c = 1; c < 256; c += 37) {
            copy[n] = (char)(whole.at[n] ^ c);
            talk_answer(TALK_json, ports, span_of(copy, whole.length), &kept, &a, NULL);
            talk_answer(TALK_msgpack, ports, span_of(copy, whole.length), &kept, &a, NULL);
        }
        copy[n] = whole.at[n];
    }
    free(copy);
    buffer_free(&kept.packed);
    buffer_free(&kept.bodies);
}

/* Whatever a program writes is understood or refused: answers with bytes changed, in all types of body. */
static void
hostile_answers_do_no_harm(void **state)
{
    static const struct port all[] = {
        {PORT_IN, "in", MESSAGE_steps, 0, ""},         {PORT_OUT, "votes", MESSAGE_vote, 0, ""},
        {PORT_OUT, "re", MESSAGE_rollout, 0, ""},      {PORT_OUT, "cut", MESSAGE_steps, 0, ""},
        {PORT_OUT, "marked", MESSAGE_labelled, 0, ""}, {.direction = PORT_END},
    };
    static const char text[] =
        "{\"ask\":9,\"outputs\":{\"votes\":{\"scores\":[1,null],\"reasons\":[\"a\",\"b\"],\"usd\":0.5,\"response\":[0.5],"
        "\"embeddings\":[1,2,3,4]},\"re\":{\"reward\":1,\"logps\":[-1.5]},\"cut\":{\"ends\":[21,38],\"kinds\":[0,1]},"
        "\"marked\":{\"labels\":[1,2],\"ties\":[0,1]}}}";
    struct talk_kept   kept = {0};
    struct talk_answer a;
    uint64_t           ends[2], seed = 1;
    struct steps       s = example(ends);
    struct buffer      body = {0}, made = {0};
    struct arena       arena = {0};
    struct input       in = {.from = "steps"};
    struct unit        u = {.input_count = 1, .inputs = &in};
    int                good = 0;

    (void)state;
    message_write(MESSAGE_steps, &s, &body);
    in.body = buffer_span(&body);
    for (int round = 0; round < 20000; round++) {
        char copy[sizeof(text)];

        memcpy(copy, text, sizeof(text));
        for (int k = 0; k < round % 4; k++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            copy[(seed >> 33) % (sizeof(text) - 1)] = "09.-,[]{}\":ntf\\e"[(seed >> 13) % 17];
        }
        if (talk_answer(TALK_json, all, span_of(copy, sizeof(text) - 1), &kept, &a, NULL) != 0 || a.ask == UINT64_MAX)
            continue;
        for (int i = 1; i < 5; i++) {
            struct vote v;

            arena_clear(&arena);
            buffer_clear(&made);
            if (a.outputs[i].given &&
                talk_body(all, i, &u, "node", a.outputs[i].body, &arena, &made, &v, NULL) == 0) {
                void *back = arena_take(&arena, message_size(all[i].message));
                assert_int_equal(message_read(all[i].message, buffer_span(&made), back, &arena, NULL), 0);
                good++;
            }
        }
    }
    assert_true(good >= 20000);     /* a quarter of the rounds changes nothing */
    buffer_free(&kept.packed);
    buffer_free(&kept.bodies);
    buffer_free(&body);
    buffer_free(&made);
    arena_free(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_shows_what_the_node_says),
        cmocka_unit_test(the_node_understands_what_the_page_shows),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(hostile_answers_do_no_harm),
    };
    return cmocka_run_group_tests(tests, open_page, close_page);
}
