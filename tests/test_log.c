/* Logs: lines are JSON, files rotate and are bounded, and what cannot be written is counted and
 * told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "graph/log.h"
#include "graph/text.h"

static char  folder[] = "/tmp/sluice-log-XXXXXX";
static char *path;

static int
begin(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    path = xprint("%s/node.log", folder);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        char *old = i ? xprint("%s.%d", path, i) : xtext(path);

        unlink(old);
        free(old);
    }
    rmdir(folder);
    free(path);
    return 0;
}

/* Lines of a file, each of which must be JSON; the last one is kept. */
static int
lines(const char *file, json_t **last)
{
    FILE  *f = fopen(file, "r");
    char  *line = NULL;
    size_t room = 0;
    int    n = 0;

    if (!f)
        return -1;
    for (; getline(&line, &room, f) > 0; n++) {
        json_decref(*last);
        *last = json_loads(line, 0, NULL);
        assert_non_null(*last);
    }
    free(line);
    fclose(f);
    return n;
}

static void
a_line_is_json_whatever_the_text(void **state)
{
    struct log *l = log_open(path, "critic", 3, LOG_info, 0, 0, NULL);
    json_t     *j = NULL;

    (void)state;
    assert_non_null(l);
    log_event(l, LOG_debug, "start", "below the floor");
    log_event(l, LOG_warning, "refused", "a \"quote\", a\nline, \x01 and no UTF-8: %s", "\xff");
    assert_int_equal(lines(path, &j), 1);
    assert_string_equal(json_string_value(json_object_get(j, "text")),
                        "a \"quote\", a\nline, \x01 and no UTF-8: \xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(j, "level")), "warning");
    assert_string_equal(json_string_value(json_object_get(j, "event")), "refused");
    assert_string_equal(json_string_value(json_object_get(j, "node")), "critic");
    assert_int_equal(json_integer_value(json_object_get(j, "replica")), 3);
    assert_int_equal(json_integer_value(json_object_get(j, "pid")), getpid());
    assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), 27);
    log_set_floor(l, LOG_debug);
    log_event(l, LOG_debug, "start", "%0*d", LOG_TEXT_MAX * 2, 1);      /* cut, not lost */
    assert_int_equal(lines(path, &j), 2);
    json_decref(j);
    log_close(l);
    log_event(NULL, LOG_error, "none", "nobody listens");
}

static void
files_rotate_and_are_bounded(void **state)
{
    struct log *l = log_open(path, "n", 0, LOG_info, 4096, 3, NULL);
    json_t     *j = NULL;
    int         kept = 0;

    (void)state;
    for (int i = 0; i < 500; i++)
        log_event(l, LOG_info, "count", "%d", i);
    log_close(l);
    for (int i = 0; i < 6; i++) {
        char       *file = i ? xprint("%s.%d", path, i) : xtext(path);
        struct stat s;

        if (stat(file, &s) == 0) {
            assert_in_range(s.st_size, 1, 4096);
            assert_true(lines(file, &j) > 0);
            kept++;
            if (i == 0)
                assert_string_equal(json_string_value(json_object_get(j, "text")), "499");
        }
        free(file);
    }
    assert_int_equal(kept, 4);      /* the file and three old ones */
    json_decref(j);
}

/* The folder vanishes and comes back: nothing stops, and the gap is told. */
static void
lost_lines_are_counted(void **state)
{
    char       *inner = xprint("%s/inner", folder), *file = xprint("%s/inner/x.log", folder);
    char       *old = xprint("%s.1", file);
    struct log *l;
    json_t     *j = NULL;
    FILE       *f;
    char        text[400] = "";

    (void)state;
    assert_int_equal(mkdir(inner, 0700), 0);
    l = log_open(file, "n", 0, LOG_info, 200, 1, NULL);
    assert_non_null(l);
    log_event(l, LOG_info, "one", "%0100d", 1);
    unlink(file);
    assert_int_equal(rmdir(inner), 0);
    log_event(l, LOG_info, "two", "%0100d", 2);     /* rotation cannot reopen */
    log_event(l, LOG_info, "three", "%0100d", 3);
    assert_int_equal(mkdir(inner, 0700), 0);
    log_event(l, LOG_info, "four", "4");
    log_close(l);
    f = fopen(old, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "2 lines could not be written"));
    assert_int_equal(lines(file, &j), 1);
    json_decref(j);
    unlink(file);
    unlink(old);
    rmdir(inner);
    free(old);
    free(file);
    free(inner);
}

static void
utf8_is_strict(void **state)
{
    static const char *const good[] = {
        "", "a", "é", "日本", "\xf0\x9f\x92\x8e", "\xf4\x8f\xbf\xbf", "\x7f",
        "eight by eight, é and more"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "a\xff",
                                      "\xc3",
        "1234567\xff", "12345678\xff", "1234567\xc3"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(text_is_utf8(span_text(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(text_is_utf8(span_text(bad[i])));
}

static void
numbers_are_short_and_come_back(void **state)
{
    struct buffer b = {0};

    (void)state;
    text_number(&b, 0.1);
    buffer_text(&b, " ");
    text_number(&b, 1.0 / 3);
    buffer_text(&b, " ");
    text_number(&b, -0.0 / 0.0);
    buffer_text(&b, " ");
    text_float(&b, 0.1f);
    buffer_text(&b, " ");
    text_float(&b, 1.0f / 3);
    buffer_add(&b, "", 1);
    assert_string_equal(b.at, "0.1 0.3333333333333333 null 0.1 0.33333334");
    buffer_free(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_json_whatever_the_text),
        cmocka_unit_test(files_rotate_and_are_bounded),
        cmocka_unit_test(lost_lines_are_counted),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(numbers_are_short_and_come_back),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
