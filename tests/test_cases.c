/* cases: labelled solutions in the shapes people have, and clear words about the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/cases.h"
#include "nodes/reader/line.h"

static struct cases
added(const char *text)
{
    struct cases c = {0};
    struct error e = {0};
    json_t *element = json_loads(text, 0, NULL);

    if (!element || cases_add(&c, element, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    json_decref(element);
    return c;
}

/* labels as digits: 0 incorrect, 1 correct, 2 unknown */
static void
expect(const char *text, const char *labels, int64_t first_error, const char *last_step)
{
    struct cases c = added(text);
    const struct labelled_case *one = c.at;

    assert_int_equal(c.count, 1);
    assert_int_equal(one->count, strlen(labels));
    for (int64_t i = 0; i < one->count; i++)
        if (one->labels[i] != labels[i] - '0')
            fail_msg("%s: label %lld is %d", text, (long long)i, one->labels[i]);
    assert_int_equal(one->first_error, first_error);
    assert_true(span_is(one->problem, "P"));
    assert_true(span_is(one->steps[one->count - 1], last_step));
    cases_free(&c);
}

static void
the_usual_shapes_are_understood(void **state)
{
    (void)state;
    expect("{\"problem\":\"P\",\"steps\":[\"a\",\"b\",\"c\"],\"label\":1}", "102", 1, "c");
    expect("{\"problem\":\"P\",\"steps\":[\"a\",\"b\"],\"label\":-1}", "11", CASE_NONE, "b");
    expect("{\"prompt\":\"P\",\"completions\":[\"a\",\"b\"],\"labels\":[true,false]}", "10", 1,
           "b");
    expect("{\"question\":\"P\",\"steps\":[\"a\",\"b\"],\"labels\":[1,null]}", "12", CASE_UNSET,
           "b");
    expect("{\"prompt\":\"P\",\"steps\":[\"a\",\"b\"],\"labels\":[2,0]}", "20", CASE_UNSET, "b");
    expect(
        "{\"rollout\":{\"prompt\":\"P\",\"response\":\"ab\\ncd\"},\"ends\":[3,5],\"labels\":[1,0]}",
        "10", 1, "cd");
    expect(
        "{\"question\":{\"problem\":\"P\"},\"label\":{\"finish_reason\":\"found_error\",\"steps\":["
        "{\"completions\":[{\"text\":\"x\",\"rating\":-1},{\"text\":\"a\",\"rating\":0}],"
        "\"chosen_completion\":1,\"human_completion\":null},"
        "{\"completions\":[{\"text\":\"y\",\"rating\":-1}],\"chosen_completion\":null,"
        "\"human_completion\":{\"text\":\"b\",\"rating\":null}},"
        "{\"completions\":[{\"text\":\"c\",\"rating\":-1}],\"chosen_completion\":null}]}}",
        "120", CASE_UNSET, "c");
}

static void
elements_that_say_nothing_are_left_out(void **state)
{
    struct cases c = added("{\"question\":{\"problem\":\"P\"},\"label\":{\"finish_reason\":"
                           "\"give_up\",\"steps\":[{\"completions\":[{\"text\":\"x\"}]}]}}");

    (void)state;
    assert_int_equal(c.count, 0);
    assert_int_equal(c.skipped, 1);
    cases_free(&c);
}

static void
bad_elements_are_refused_in_clear_words(void **state)
{
    static const char *const bad[][2] = {
        {"7", "no JSON object"},
        {"{\"problem\":\"P\"}", "no list of steps"},
        {"{\"steps\":[\"a\"],\"label\":-1}", "'problem'"},
        {"{\"problem\":\"P\",\"steps\":[],\"label\":-1}", "0 steps"},
        {"{\"problem\":\"P\",\"steps\":[\"a\",\"\"],\"label\":-1}", "step 1"},
        {"{\"problem\":\"P\",\"steps\":[\"a\",3],\"label\":-1}", "step 1"},
        {"{\"problem\":\"P\",\"steps\":[\"a\"],\"label\":1}", "'label' is not -1 or one of the 1"},
        {"{\"problem\":\"P\",\"steps\":[\"a\"],\"label\":-2}", "'label'"},
        {"{\"problem\":\"P\",\"steps\":[\"a\"]}", "'label'"},
        {"{\"problem\":\"P\",\"steps\":[\"a\"],\"labels\":[]}", "one for each step"},
        {"{\"problem\":\"P\",\"steps\":[\"a\"],\"labels\":[-1]}", "label 0"},
        {"{\"rollout\":{\"prompt\":\"P\",\"response\":\"ab\"},\"ends\":[1],\"labels\":[1]}",
         "'ends'"},
        {"{\"rollout\":{\"prompt\":\"P\",\"response\":\"ab\"},\"ends\":[2,1],\"labels\":[1,1]}",
         "'ends'"},
        {"{\"question\":{\"problem\":\"P\"},\"label\":{\"steps\":[{}]}}", "step 0 has no text"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cases c = {0};
        struct error e = {0};
        json_t *element = json_loads(bad[i][0], JSON_DECODE_ANY, NULL);
        if (cases_add(&c, element, &e) != ERROR_input || !strstr(e.text, bad[i][1]))
            fail_msg("%s: '%s' does not say '%s'", bad[i][0], e.text, bad[i][1]);
        json_decref(element);
        cases_free(&c);
    }
}

static char path[] = "/tmp/test_cases.XXXXXX";

static int
read_file(const char *text, struct cases *c, struct error *e)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return cases_read(c, path, e);
}

static void
arrays_and_lines_are_read(void **state)
{
    struct cases c;
    struct error e = {0};

    (void)state;
    assert_int_equal(read_file("\n [{\"problem\":\"P\",\"steps\":[\"a\"],\"label\":0},"
                               "{\"problem\":\"Q\",\"steps\":[\"a\"],\"label\":-1}]",
                               &c, &e),
                     0);
    assert_int_equal(c.count, 2);
    cases_free(&c);
    assert_int_equal(read_file("{\"problem\":\"P\",\"steps\":[\"a\"],\"label\":0}\n\n"
                               "{\"problem\":\"Q\",\"steps\":[\"a\"],\"label\":-1}\n",
                               &c, &e),
                     0);
    assert_int_equal(c.count, 2);
    cases_free(&c);
    assert_int_equal(read_file("{\"problem\":\"P\",\"steps\":[\"a\"],\"label\":0}\n{", &c, &e),
                     ERROR_input);
    assert_non_null(strstr(e.text, ":2: it is no JSON"));
    assert_int_equal(read_file("[{\"problem\":\"P\"}]", &c, &e), ERROR_input);
    assert_non_null(strstr(e.text, "element 0"));
    assert_int_equal(read_file("[", &c, &e), ERROR_input);
    assert_int_equal(read_file("", &c, &e), ERROR_input);
    assert_non_null(strstr(e.text, "no labelled solution"));
    assert_int_equal(cases_read(&c, "/tmp", &e), ERROR_file);
    assert_int_equal(cases_read(&c, "/nowhere.json", &e), ERROR_file);
}

/* What is written for the reader is read by it as the same steps. */
static void
a_written_case_is_read_by_the_reader(void **state)
{
    struct cases c =
        added("{\"problem\":\"P \\\"x\\\"\",\"answer\":\"4\",\"final_answer_correct\":true,"
              "\"steps\":[\"one\",\"two\\n\",\"\\u00e9\"],\"label\":-1}");
    struct buffer line = {0};
    struct arena arena = {0};
    struct line read;
    struct line_how how = {0};
    struct error e = {0};

    (void)state;
    case_write(c.at, 41, &line);
    if (line_read(&how, span_of(line.at, line.length - 1), span_text("f:0"), &arena, &read, &e) !=
        0)
        fail_msg("%s", e.text);
    const struct rollout *r = &read.items[0].rollout;
    assert_true(span_is(r->id, "41"));
    assert_true(span_is(r->prompt, "P \"x\""));
    assert_true(span_is(r->answer, "4"));
    assert_true(span_is(r->response, "one\n\ntwo\n\xc3\xa9"));
    assert_int_equal(r->given_ends.count, 3);
    assert_int_equal(r->given_ends.at[1], 9);
    assert_true(r->reward == 1);
    line_free(&read);
    arena_free(&arena);
    buffer_free(&line);
    cases_free(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usual_shapes_are_understood),
        cmocka_unit_test(elements_that_say_nothing_are_left_out),
        cmocka_unit_test(bad_elements_are_refused_in_clear_words),
        cmocka_unit_test(arrays_and_lines_are_read),
        cmocka_unit_test(a_written_case_is_read_by_the_reader),
    };
    int fd = mkstemp(path);

    if (fd >= 0)
        close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
