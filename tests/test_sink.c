/* sink: each message once in the file, whatever happens to the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <jansson.h>

#include "tests/harness.h"

static const char *const links[] = {"in", "rollouts", NULL};

static void
give(struct harness *h, uint64_t ordinal)
{
    char           id[32];
    struct rollout r = {
        .prompt = span_text("p \"q\""), .response = span_text("line\nfeed é"), .reward = 0.5};

    snprintf(id, sizeof(id), "r%llu", (unsigned long long)ordinal);
    r.id = span_text(id);
    harness_give(h, 0, ordinal, 0, 100, &r);
}

/* How often each ordinal below `count` is in the file; every line must be whole JSON. */
static int
lines_of(const char *path, int *seen, int count)
{
    FILE  *f = fopen(path, "r");
    char  *line = NULL;
    size_t room = 0;
    int    lines = 0;

    assert_non_null(f);
    for (ssize_t n; (n = getline(&line, &room, f)) > 0; lines++) {
        json_error_t e;
        json_t      *v = json_loadb(line, (size_t)n, 0, &e);
        if (!v)
            fail_msg("'%s': %s", line, e.text);
        json_int_t ordinal = json_integer_value(json_object_get(v, "ordinal"));
        assert_true(ordinal >= 0 && ordinal < count);
        seen[ordinal]++;
        assert_string_equal(json_string_value(json_object_get(v, "kind")), "rollout");
        assert_string_equal(json_string_value(json_object_get(v, "from")), "rollouts");
        assert_string_equal(json_string_value(json_object_get(v, "response")), "line\nfeed é");
        assert_int_equal(line[n - 1], '\n');
        json_decref(v);
    }
    free(line);
    fclose(f);
    return lines;
}

static void
every_message_is_written_once_through_crashes(void **state)
{
    static const char *const options[] = {"path", "out/lines.jsonl", NULL};
    struct harness          *h = harness_open("sink", links, options, NULL);
    char                     path[300];
    int                      seen[40] = {0};

    (void)state;
    snprintf(path, sizeof(path), "%s/out/lines.jsonl", harness_dir(h));
    for (uint64_t o = 0; o < 40; o++) {
        give(h, o);
        if (o % 7 == 3)
            harness_crash(h);
        if (o % 5 == 1)
            harness_run(h, 5, NULL);
        if (o == 20) {          /* what a crash between write and commit leaves behind */
            FILE *f = fopen(path, "a");
            fputs("{\"half a li", f);
            fclose(f);
            harness_crash(h);
        }
        if (o == 30)
            harness_restart(h);
    }
    harness_end(h);
    harness_run(h, 5, NULL);
    assert_true(harness_finished(h));
    assert_int_equal(lines_of(path, seen, 40), 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(seen[i], 1);
    harness_close(h);
}

static void
the_kinds_of_messages_are_told_apart(void **state)
{
    static const char *const two[] = {"in", "a", "in", "b", NULL};
    static const char *const options[] = {"closings", "true", NULL};
    struct harness          *h = harness_open("sink", two, options, NULL);
    struct labelled          l = {0};
    char                     path[300], text[2000];

    (void)state;
    l.rollout.id = span_text("x");
    harness_message(h, 0, MESSAGE_labelled);
    harness_message(h, 1, MESSAGE_vote);
    harness_give(h, 0, 0, 0, 2, &l);
    struct vote v = {.voter = span_text("judge")};
    harness_give(h, 1, 0, 0, 2, &v);
    harness_give(h, 0, 1, 0, 2, &l);
    harness_give_closing(h, 1, 1, 0, 2, "routed");
    harness_run(h, 5, NULL);
    snprintf(path, sizeof(path), "%s/node.jsonl", harness_dir(h));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = 0;
    fclose(f);
    assert_non_null(strstr(text, "\"from\":\"a\",\"kind\":\"labelled\""));
    assert_non_null(strstr(text, "\"from\":\"b\",\"kind\":\"vote\""));
    assert_non_null(strstr(
        text, "{\"ordinal\":1,\"first\":0,\"size\":2,\"from\":\"b\",\"closed\":\"routed\"}\n"));
    harness_close(h);
}

static void
what_is_no_message_is_a_dead_letter(void **state)
{
    struct harness *h = harness_open("sink", links, NULL, NULL);
    char            path[300];
    int             seen[4] = {0};

    (void)state;
    give(h, 0);
    harness_give_bytes(h, 0, 1, 0, 100, span_text("\x81\xa1x\x01"));
    harness_give_bytes(h, 0, 2, 0, 100, span_text("\xdf\xff\xff\xff\xff"));
    give(h, 3);
    harness_run(h, 5, NULL);
    assert_int_equal(harness_dead_count(h), 2);
    snprintf(path, sizeof(path), "%s/node.jsonl", harness_dir(h));
    assert_int_equal(lines_of(path, seen, 4), 2);
    harness_close(h);
}

static void
a_file_of_someone_else_is_not_touched(void **state)
{
    char         path[] = "/tmp/sluice-sink-XXXXXX", text[10] = "";
    int          fd = mkstemp(path);
    struct error e = {0};
    const char  *options[] = {"path", path, NULL};

    (void)state;
    assert_int_equal(write(fd, "mine", 4), 4);
    assert_null(harness_open("sink", links, options, &e));
    assert_non_null(strstr(e.text, "not of this run"));
    assert_int_equal(pread(fd, text, 9, 0), 4);
    assert_string_equal(text, "mine");
    close(fd);
    unlink(path);
}

static void
one_file_has_one_writer(void **state)
{
    char path[] = "/tmp/sluice-sink-XXXXXX";
    int fd = mkstemp(path);
    struct error e = {0};
    const char *options[] = {"path", path, NULL};

    (void)state;
    struct harness *first = harness_open("sink", links, options, NULL);
    assert_null(harness_open("sink", links, options, &e));
    assert_non_null(strstr(e.text, "another sink is writing it"));
    harness_close(first);
    close(fd);
    unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_written_once_through_crashes),
        cmocka_unit_test(one_file_has_one_writer),
        cmocka_unit_test(the_kinds_of_messages_are_told_apart),
        cmocka_unit_test(what_is_no_message_is_a_dead_letter),
        cmocka_unit_test(a_file_of_someone_else_is_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
