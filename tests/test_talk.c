/* talk: the page for authors of programs says what the node says and understands, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

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

static void
same(const struct buffer *made, struct span shown)
{
    if (made->length != shown.length || memcmp(made->at, shown.at, shown.length) != 0)
        fail_msg("the page says\n%.*s\nthe node\n%.*s", (int)shown.length, shown.at, (int)made->length,
                 made->at);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_shows_what_the_node_says),
        cmocka_unit_test(the_node_understands_what_the_page_shows),
        cmocka_unit_test(what_is_no_answer_is_refused),
    };
    return cmocka_run_group_tests(tests, open_page, close_page);
}
