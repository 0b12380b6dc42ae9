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
    refuse("a\nb {{setp}}", PROMPT_all, "line 2: {{setp}} is unknown; did you mean {{step}}?");
    refuse("a\n{{problem", PROMPT_all, "line 2: {{ without }}");
    refuse("{{#steps}}\n\n{{step}}", PROMPT_all, "line 1: {{#steps}} is never closed");
    refuse("x\n{{/steps}}", PROMPT_all, "line 2: {{/steps}} closes nothing");
    refuse("{{#answer}}\n{{#steps}}{{/answer}}", PROMPT_all,
           "line 2: {{/answer}} closes the open section steps");
    refuse("{{#steps}}{{#steps}}{{/steps}}{{/steps}}", PROMPT_all, "loop inside a loop");
    refuse("{{step}}", PROMPT_all, "only inside {{#steps}}");
    refuse("{{#previous}}{{/previous}}", PROMPT_all, "needs one judged step");
    refuse("{{#problem}}{{/problem}}", PROMPT_all, "is a value");
    refuse("{{steps}}", PROMPT_all, "is a section");
    refuse("{{#user}}x{{/user}}", PROMPT_step, "a local model reads plain text");
    refuse("{{#user}}x{{/user}} y", PROMPT_all, "stands outside");
    refuse("{{#steps}}{{#user}}{{/user}}{{/steps}}", PROMPT_all, "cannot stand inside");
    refuse("{{}}", PROMPT_all, "is unknown");
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

static void
the_built_in_templates_are_sound(void **state)
{
    struct error e = {0};
    struct prompt *all = prompt_new(span_text(prompt_default_all), PROMPT_all, &e);
    struct prompt *step = prompt_new(span_text(prompt_default_step), PROMPT_step, &e);
    struct prompt_messages m = {0};
    struct prompt_values v = values(1, "5");

    (void)state;
    assert_non_null(all);
    assert_non_null(step);
    prompt_render(all, &v, &m);
    assert_int_equal(m.count, 2);
    buffer_add(&m.at[1].text, "", 1);
    assert_non_null(strstr(m.at[1].text.at, "<step_2>\nthree\n</step_2>"));
    assert_non_null(strstr(m.at[1].text.at, "<expected_answer>5</expected_answer>"));
    assert_non_null(strstr(m.at[1].text.at, "exactly 3 entries"));
    prompt_render(step, &v, &m);
    buffer_add(&m.at[0].text, "", 1);
    assert_non_null(strstr(m.at[0].text.at, "Solution so far:\none\n\nNext step:\ntwo\n"));
    prompt_messages_free(&m);
    prompt_free(all);
    prompt_free(step);
}

/* examples/prompts hold the built-in templates, for users to copy. */
static void
the_shipped_files_are_the_built_in_templates(void **state)
{
    static const struct {
        const char *path, *text, *tail;
    } files[] = {{"examples/prompts/all_steps.txt", prompt_default_all, ""},
                 {"examples/prompts/one_step.txt", prompt_default_step, "\n"}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char text[8192];
        FILE *f = fopen(files[i].path, "r");
        size_t length = strlen(files[i].text), got;
        assert_non_null(f);
        got = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[got] = 0;
        assert_memory_equal(text, files[i].text, length);
        assert_string_equal(text + length, files[i].tail);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_put_in_and_never_read_for_tags),
        cmocka_unit_test(loops_and_conditions),
        cmocka_unit_test(one_judged_step),
        cmocka_unit_test(chat_messages),
        cmocka_unit_test(broken_templates_name_their_line),
        cmocka_unit_test(a_zero_byte_and_a_huge_template_are_refused),
        cmocka_unit_test(files_are_read_and_blamed),
        cmocka_unit_test(the_built_in_templates_are_sound),
        cmocka_unit_test(the_shipped_files_are_the_built_in_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
