/* prompt: what templates render to, and the line that a broken one is refused at. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nodes/llm_judge/prompt.h"

static const uint64_t ends[] = {4, 8, 13};

static struct prompt_values
values(int64_t step, const char *answer)
{
    return (struct prompt_values){.problem = span_text("2+3?"),
                                  .response = span_text("one\ntwo\nthree"),
                                  .answer = span_text(answer),
                                  .ends = ends,
                                  .count = 3,
                                  .step = step};
}

/* The template's messages, each as "role:text|". */
static void
expect(const char *template, enum prompt_scope scope, int64_t step, const char *answer,
       const char *wanted)
{
    struct error e = {0};
    struct prompt *p = prompt_new(span_text(template), scope, &e);
    struct prompt_messages m = {0};
    struct prompt_values v = values(step, answer);
    struct buffer got = {0};

    if (!p)
        fail_msg("%s", e.text);
    for (int again = 0; again < 2;
         again++) { /* the second rendering reuses the first one's buffers */
        buffer_clear(&got);
        prompt_render(p, &v, &m);
        for (int i = 0; i < m.count; i++)
            buffer_print(&got, "%s:%.*s|", prompt_role_name(m.at[i].role), (int)m.at[i].text.length,
                         m.at[i].text.at ? m.at[i].text.at : "");
        buffer_add(&got, "", 1);
        assert_string_equal(got.at, wanted);
    }
    prompt_messages_free(&m);
    prompt_free(p);
    buffer_free(&got);
}

static void
refuse(const char *template, enum prompt_scope scope, const char *words)
{
    struct error e = {0};
    struct prompt *p = prompt_new(span_text(template), scope, &e);

    if (p)
        fail_msg("not refused: %s", template);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
}

static void
values_are_put_in_and_never_read_for_tags(void **state)
{
    (void)state;
    expect("{{problem}} {{ count }}{{!note}} {{brace}}x}}", PROMPT_all, 0, "",
           "user:2+3? 3 {{x}}|");
    expect("[{{answer}}]", PROMPT_all, 0, "{{problem}}", "user:[{{problem}}]|");
    expect("{{response}}", PROMPT_all, 0, "", "user:one\ntwo\nthree|");
    expect("", PROMPT_all, 0, "", "user:|");
}

static void
loops_and_conditions(void **state)
{
    (void)state;
    expect("{{#steps}}\n<{{index}} {{number}}>{{step}}\n{{/steps}}\nend\n", PROMPT_all, 0, "",
           "user:<0 1>one\n\n<1 2>two\n\n<2 3>three\nend|");
    expect("{{#steps}}{{previous}};{{/steps}}", PROMPT_all, 0, "", "user:;one\n;one\ntwo\n;|");
    expect("a{{#answer}} ={{answer}}{{/answer}}b", PROMPT_all, 0, "5", "user:a =5b|");
    expect("a{{#answer}} ={{answer}}{{/answer}}b", PROMPT_all, 0, "", "user:ab|");
    expect("{{#steps}}{{#answer}}{{index}}{{/answer}}{{/steps}}", PROMPT_all, 0, "5", "user:012|");
}

static void
one_judged_step(void **state)
{
    (void)state;
    expect("{{problem}}{{previous}}{{step}}?\n", PROMPT_step, 0, "", "user:2+3?one\n?|");
    expect("{{problem}}{{previous}}{{step}}?\n", PROMPT_step, 2, "", "user:2+3?one\ntwo\nthree?|");
    expect("{{#previous}}({{number}}){{/previous}}{{number}}{{step}}", PROMPT_step, 2, "",
           "user:(1)(2)3three|");
    expect("{{#previous}}({{number}}){{/previous}}{{number}}{{step}}", PROMPT_step, 0, "",
           "user:1one\n|");
    expect("{{#steps}}{{index}}{{/steps}}-{{index}}", PROMPT_step, 1, "", "user:012-1|");
}

static void
expect_window(const char *template, int64_t shown, int64_t from, int64_t to, const char *wanted)
{
    struct error e = {0};
    struct prompt *p = prompt_new(span_text(template), PROMPT_all, &e);
    struct prompt_messages m = {0};
    struct prompt_values v = values(0, "");

    if (!p)
        fail_msg("%s", e.text);
    v.shown = shown;
    v.from = from;
    v.to = to;
    prompt_render(p, &v, &m);
    buffer_add(&m.at[0].text, "", 1);
    assert_string_equal(m.at[0].text.at, wanted);
    prompt_messages_free(&m);
    prompt_free(p);
}

static void
windows_show_what_stands_before(void **state)
{
    static const char template[] =
        "{{#omitted}}-{{omitted}}{{/omitted}}{{#context}}C{{/context}}{{^context}}N{{/context}}"
        "{{#previous}}<{{index}}:{{step}}>{{/previous}}{{count}}{{#steps}}[{{number}}:{{step}}]"
        "{{/steps}}{{previous}}";

    (void)state;
    expect_window(template, 0, 0, 0, "N3[1:one\n][2:two\n][3:three]");
    expect_window(template, 0, 1, 2, "C<0:one\n>1[2:two\n]one\n");
    expect_window(template, 1, 2, 3, "-1C<1:two\n>1[3:three]two\n");
    expect_window(template, 2, 2, 3, "-2N1[3:three]");
    expect_window("{{#steps}}{{previous}};{{/steps}}", 1, 1, 3, ";two\n;");
}

static void
responses_under_letters(void **state)
{
    static const char template[] =
        "{{@form rank}}\n{{problem}} {{count}}{{#responses}} {{letter}}={{response}}{{/responses}}";
    struct span responses[3] = {span_text("x"), span_text("{{y}}"), span_text("")};
    struct error e = {0};
    struct prompt *p = prompt_new(span_text(template), PROMPT_all, &e);
    struct prompt_messages m = {0};
    struct prompt_values v = {
        .problem = span_text("?"), .responses = responses, .response_count = 3};

    (void)state;
    assert_non_null(p);
    assert_int_equal(prompt_form(p), FORM_rank);
    assert_int_equal(prompt_scope(p), PROMPT_group);
    prompt_render(p, &v, &m);
    buffer_add(&m.at[0].text, "", 1);
    assert_string_equal(m.at[0].text.at, "? 3 A=x B={{y}} C=");
    prompt_messages_free(&m);
    prompt_free(p);
}

static void
json_is_a_condition(void **state)
{
    (void)state;
    expect("{{#json}}J{{/json}}{{^json}}T{{/json}}", PROMPT_all, 0, "", "user:T|");
    expect("{{^answer}}no{{/answer}}", PROMPT_all, 0, "", "user:no|");
    expect("{{^answer}}no{{/answer}}", PROMPT_all, 0, "5", "user:|");
}

static void
chat_messages(void **state)
{
    (void)state;
    expect("{{#system}}\nbe exact\n{{/system}}\n{{! say }}\n{{#user}}\n{{problem}}\n{{/user}}\n\n"
           "{{#assistant}}ok{{/assistant}}\n",
           PROMPT_all, 0, "", "system:be exact\n|user:2+3?\n|assistant:ok|");
}

static void
broken_templates_name_their_line(void **state)
{
    (void)state;
    refuse("a\nb {{setp}}", PROMPT_all,
           "line 2, column 3: {{setp}} is unknown; did you mean {{step}}?");
    refuse("a\n{{problem", PROMPT_all, "line 2, column 1: {{ without }}");
    refuse("{{#steps}}\n\n{{step}}", PROMPT_all, "line 1, column 1: {{#steps}} is never closed");
    refuse("x\n{{/steps}}", PROMPT_all, "line 2, column 1: {{/steps}} closes nothing");
    refuse("{{#answer}}\n{{#steps}}{{/answer}}", PROMPT_all,
           "line 2, column 11: {{/answer}} closes the open section steps");
    refuse("{{#steps}}{{#steps}}{{/steps}}{{/steps}}", PROMPT_all, "loop inside a loop");
    refuse("{{step}}", PROMPT_all, "only inside {{#steps}}");
    refuse("{{#problem}}{{/problem}}", PROMPT_all, "is a value");
    refuse("{{steps}}", PROMPT_all, "is a section");
    refuse("{{#user}}x{{/user}}", PROMPT_step, "a local model reads plain text");
    refuse("{{#user}}x{{/user}} y", PROMPT_all, "line 1, column 21: something stands outside");
    refuse("{{#steps}}{{#user}}{{/user}}{{/steps}}", PROMPT_all, "cannot stand inside");
    refuse("{{}}", PROMPT_all, "is unknown");
    refuse("\xc3\xa4\xc3\xb6 {{nope}}", PROMPT_all, "line 1, column 4: {{nope}}");
    refuse("{{^steps}}{{/steps}}", PROMPT_all, "is no condition");
    refuse("{{^answer}}", PROMPT_all, "{{^answer}} is never closed");
    refuse("{{@from score}}", PROMPT_all, "line 1, column 1: {{@from score}} is unknown");
    refuse("{{@form scroe}}", PROMPT_all, "did you mean 'score'?");
    refuse("x\n{{@form score}}", PROMPT_all, "line 2, column 1: {{@form score}} is not the first");
    refuse("{{@form score}}\n{{@form score}}", PROMPT_all, "is not the first");
    refuse("{{@form rank}}", PROMPT_step, "asks about several responses");
    refuse("{{#responses}}{{/responses}}", PROMPT_all, "needs {{@form rank}}");
    refuse("{{letter}}", PROMPT_step, "needs {{@form rank}}");
    refuse("{{@form rank}}\n{{#steps}}{{/steps}}", PROMPT_all,
           "line 2, column 1: {{#steps}} speaks");
    refuse("{{@form rank}}{{response}}", PROMPT_all, "only inside {{#responses}}");
}

static void
a_zero_byte_and_a_huge_template_are_refused(void **state)
{
    struct error e = {0};
    struct buffer big = {0};

    (void)state;
    assert_null(prompt_new(span_of("a\0b", 3), PROMPT_all, &e));
    assert_non_null(strstr(e.text, "zero byte"));
    while (big.length <= PROMPT_BYTES_MAX)
        buffer_text(&big, "0123456789abcdef");
    assert_null(prompt_new(buffer_span(&big), PROMPT_all, &e));
    assert_int_equal(e.code, ERROR_limit);
    buffer_clear(&big);
    for (int i = 0; i <= PROMPT_PARTS_MAX; i++)
        buffer_text(&big, "{{count}}");
    assert_null(prompt_new(buffer_span(&big), PROMPT_all, &e));
    assert_int_equal(e.code, ERROR_limit);
    buffer_free(&big);
}

static void
files_are_read_and_blamed(void **state)
{
    char path[] = "/tmp/sluice-prompt-XXXXXX";
    int fd = mkstemp(path);
    struct error e = {0};
    struct prompt *p;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{{problem}}\n{{nope}}\n", 21), 21);
    close(fd);
    assert_null(prompt_open(path, PROMPT_all, &e));
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "line 2"));
    unlink(path);
    p = prompt_open(path, PROMPT_all, &e);
    assert_null(p);
    assert_int_equal(e.code, ERROR_file);
    assert_null(prompt_open("/tmp", PROMPT_all, &e));
    assert_int_equal(e.code, ERROR_file);
}

/* Every shipped template on one window of one rollout (of three for rank), with and without an
 * expected answer, against files that a person has read: tests/golden/prompts/NAME.txt. With
 * SLUICE_GOLDEN_WRITE=1 in the environment they are written instead. */
static void
render_golden(const char *name, struct buffer *out)
{
    bool step = strstr(name, "_step") != NULL;
    struct span responses[3] = {span_text("2+3=5\nso 5"), span_text("two"), span_text("2+3=6")};
    struct error e = {0};
    struct prompt *p = prompt_new(prompt_shipped(name), step ? PROMPT_step : PROMPT_all, &e);
    struct prompt_messages m = {0};

    if (!p)
        fail_msg("%s: %s", name, e.text);
    for (int turn = 0; turn < 3; turn++) {
        struct prompt_values v = values(step ? turn : 0, turn ? "5" : "");
        v.json = turn == 1;
        v.from = turn == 2 && !step ? 2 : 0;
        v.shown = turn == 2 && !step;
        v.responses = responses;
        v.response_count = 3;
        prompt_render(p, &v, &m);
        for (int i = 0; i < m.count; i++)
            buffer_print(out, "=== %d %s\n%.*s\n", turn, prompt_role_name(m.at[i].role),
                         (int)m.at[i].text.length, m.at[i].text.at);
    }
    prompt_messages_free(&m);
    prompt_free(p);
}

static void
the_shipped_templates_render_as_they_were_read(void **state)
{
    (void)state;
    for (int i = 0; prompt_shipped_names[i]; i++) {
        char *path = xprint("tests/golden/prompts/%s.txt", prompt_shipped_names[i]);
        struct buffer got = {0}, want = {0};
        FILE *f = fopen(path, getenv("SLUICE_GOLDEN_WRITE") ? "w" : "r");

        if (!f)
            fail_msg("%s is missing", path);
        render_golden(prompt_shipped_names[i], &got);
        if (getenv("SLUICE_GOLDEN_WRITE"))
            assert_int_equal(fwrite(got.at, 1, got.length, f), got.length);
        buffer_reserve(&want, 65536);
        want.length = getenv("SLUICE_GOLDEN_WRITE") ? 0 : fread(want.at, 1, 65535, f);
        fclose(f);
        if (!getenv("SLUICE_GOLDEN_WRITE")) {
            buffer_add(&want, "", 1);
            buffer_add(&got, "", 1);
            assert_string_equal(got.at, want.at);
        }
        buffer_free(&got);
        buffer_free(&want);
        free(path);
    }
    assert_null(prompt_shipped("nope").at);
}

/* Any template at all: refused with a place, or rendered. Run under sanitizers. */
static void
mutated_templates_are_refused_or_rendered(void **state)
{
    static const char more[] = "{}#^/!@\n ";
    uint64_t x = 88172645463325252ULL;
    int good = 0, bad = 0;

    (void)state;
    for (int round = 0; round < 4000; round++) {
        struct span text = prompt_shipped(prompt_shipped_names[round % 7]);
        char *copy = span_copy(text);
        struct error e = {0};
        struct prompt_messages m = {0};
        struct span responses[2] = {span_text("a"), span_text("b")};
        struct prompt_values v = values(1, round % 2 ? "5" : "");
        for (int k = 0; k <= round % 3; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            copy[x % text.length] = (x >> 32) % 3 ? more[(x >> 40) % (sizeof(more) - 1)]
                                                  : text.at[(x >> 40) % text.length];
        }
        struct prompt *p =
            prompt_new(span_of(copy, text.length), round % 5 ? PROMPT_all : PROMPT_step, &e);
        v.responses = responses;
        v.response_count = 2;
        if (p) {
            prompt_render(p, &v, &m);
            assert_true(m.count >= 1);
            good++;
        } else {
            assert_memory_equal(e.text, "line ", 5);
            assert_non_null(strstr(e.text, ", column "));
            bad++;
        }
        prompt_messages_free(&m);
        prompt_free(p);
        free(copy);
    }
    assert_true(good > 500 && bad > 500);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_put_in_and_never_read_for_tags),
        cmocka_unit_test(loops_and_conditions),
        cmocka_unit_test(one_judged_step),
        cmocka_unit_test(windows_show_what_stands_before),
        cmocka_unit_test(responses_under_letters),
        cmocka_unit_test(json_is_a_condition),
        cmocka_unit_test(chat_messages),
        cmocka_unit_test(broken_templates_name_their_line),
        cmocka_unit_test(a_zero_byte_and_a_huge_template_are_refused),
        cmocka_unit_test(files_are_read_and_blamed),
        cmocka_unit_test(mutated_templates_are_refused_or_rendered),
        cmocka_unit_test(the_shipped_templates_render_as_they_were_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
