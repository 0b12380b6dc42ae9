/* Options: every kind of value is read or refused in words, defaults go through the same reader,
 * and the tables of all registered kinds are sound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>

#include "graph/node.h"
#include "graph/node_options.h"
#include "graph/option.h"

static const char *const modes[] = {"skip", "fail", NULL};

struct sample_options {
    int64_t      window;
    double       beta;
    bool         loud;
    const char  *title;
    const char  *model;
    int          mode;
    double       wait;
    int64_t      room;
    struct texts words;
    const char  *rule;
    double       pull;
};

static const struct option table[] = {
    OPT_INT(struct sample_options, window, FIXED, "100", 1, 1e9, "samples in one report"),
    OPT_FLOAT(struct sample_options, beta, FIXED, "0.5", 0, 1, "a weight"),
    OPT_BOOL(struct sample_options, loud, LIVE, "no", "say it twice"),
    OPT_TEXT(struct sample_options, title, LIVE, "", "a title"),
    OPT_PATH(struct sample_options, model, FIXED, NULL, "a model"),
    OPT_CHOICE(struct sample_options, mode, FIXED, "skip", modes, "what to do"),
    OPT_TIME(struct sample_options, wait, LIVE, "30s", 0.001, 3600, "silence worth a warning"),
    OPT_SIZE(struct sample_options, room, LIVE, "1MiB", 1024, 1LL << 40, "bytes"),
    OPT_TEXTS(struct sample_options, words, FIXED, "wait", "words"),
    OPT_RULE(struct sample_options, rule, FIXED, "mean>=0.5", "a rule"),
    OPT_FLOAT(struct sample_options, pull, FIXED, "auto", 0, 10, "a number that may be left open"),
    OPT_END,
};
/* The same fields under headings, one of them known by other names too. */
static const struct option grouped[] = {
    OPT_GROUP("what is read"),
    OPT_INT(struct sample_options, window, FIXED, "100", 1, 1e9, "samples in one report"),
    OPT_ALIAS("report_every", "window"),
    OPT_ALIAS("logging_steps", "window"),
    OPT_GROUP("what is said"),
    OPT_TEXT(struct sample_options, title, LIVE, "", "a title"),
    OPT_END,
};

static struct sample_options o;
static struct error          e;

static int
set(const char *name, const char *value)
{
    e.text[0] = 0;
    return options_set(table, &o, name, value, &e);
}

static void
refused(const char *name, const char *value, const char *words)
{
    assert_int_equal(set(name, value), ERROR_topology);
    assert_string_equal(e.text, words);
}

static int
begin(void **state)
{
    (void)state;
    return options_init(table, &o, &e);
}

static int
end(void **state)
{
    (void)state;
    options_fini(table, &o);
    return 0;
}

static void
auto_is_a_number_left_open(void **state)
{
    struct sample_options a = {.pull = NAN}, b = {.pull = NAN};
    const struct option *row = option_find(table, "pull");
    struct buffer schema = {0};

    (void)state;
    assert_true(isnan(o.pull));
    assert_int_equal(set("pull", "2"), 0);
    assert_true(o.pull == 2);
    assert_int_equal(set("pull", "auto"), 0);
    assert_true(isnan(o.pull));
    refused("pull", "11", "option 'pull': 11 is above 10");
    refused("pull", "nan", "option 'pull': 'nan' is not a number or auto");
    refused("beta", "auto", "option 'beta': 'auto' is not a number");
    assert_true(option_same(row, &a, &b));
    b.pull = 2;
    assert_false(option_same(row, &a, &b));
    options_schema(table, &schema);
    buffer_add(&schema, "", 1);
    assert_non_null(strstr(schema.at, "[kMG]?$|^auto$|[$][{]"));
    buffer_free(&schema);
}

/* What FUNCTION prints of the grouped table. */
static char *
page(void (*function)(const struct option *, FILE *))
{
    char  *text = NULL;
    size_t length;
    FILE  *out = open_memstream(&text, &length);

    assert_non_null(out);
    function(grouped, out);
    fclose(out);
    return text;
}

static void
headings_and_aliases_are_shown_and_hold_no_value(void **state)
{
    struct sample_options a = {0}, b = {0};
    struct buffer         schema = {0};
    char                 *help = page(options_help), *manual = page(options_manual);
    unsigned char         given[8] = {0};

    (void)state;
    assert_string_equal(help, " what is read\n"
                              "  window  int    default 100, 1..1000000000\n"
                              "          samples in one report (elsewhere: report_every, logging_steps)\n"
                              "\n what is said\n"
                              "  title   text   unset, live\n"
                              "          a title\n");
    assert_non_null(strstr(manual, "**what is read**\n\n| option |"));
    assert_non_null(strstr(manual, "\n\n**what is said**\n\n| option |"));
    assert_non_null(strstr(manual, "samples in one report (elsewhere: report_every, logging_steps) |"));
    options_schema(grouped, &schema);
    buffer_add(&schema, "", 1);
    assert_null(strstr(schema.at, "what is"));
    assert_null(strstr(schema.at, "report_every"));
    assert_int_equal(options_init(grouped, &a, &e), 0);
    assert_int_equal(options_init(grouped, &b, &e), 0);
    assert_int_equal(options_complete(grouped, given, &e), 0);
    assert_int_equal(options_set(grouped, &a, "logging_steps", "5", &e), ERROR_topology);
    assert_string_equal(e.text, "option 'logging_steps' is unknown; did you mean 'window'?");
    assert_int_equal(options_set(grouped, &a, "", "5", &e), ERROR_topology);
    assert_string_equal(e.text, "option '' is unknown");
    for (const struct option *row = grouped; row->kind != OPTION_end; row++)
        assert_true(option_same(row, &a, &b));
    options_fini(grouped, &a);
    options_fini(grouped, &b);
    buffer_free(&schema);
    free(help);
    free(manual);
}

static void
defaults_are_read_as_a_user_writes_them(void **state)
{
    (void)state;
    assert_int_equal(o.window, 100);
    assert_true(o.beta == 0.5 && !o.loud && o.mode == 0 && o.wait == 30 && o.room == 1048576);
    assert_string_equal(o.title, "");
    assert_null(o.model);
    assert_string_equal(o.rule, "mean>=0.5");
    assert_int_equal(o.words.count, 1);
    assert_string_equal(o.words.at[0], "wait");
}

static void
values_are_read_with_their_units(void **state)
{
    (void)state;
    assert_int_equal(set("window", "1e6"), 0);
    assert_int_equal(o.window, 1000000);
    assert_int_equal(set("window", "10k"), 0);
    assert_int_equal(o.window, 10000);
    assert_int_equal(set("window", "999999999"), 0);
    assert_int_equal(o.window, 999999999);
    assert_int_equal(set("beta", "2.5e-1"), 0);
    assert_true(o.beta == 0.25);
    assert_int_equal(set("loud", "yes"), 0);
    assert_true(o.loud);
    assert_int_equal(set("mode", "fail"), 0);
    assert_int_equal(o.mode, 1);
    assert_int_equal(set("wait", "200ms"), 0);
    assert_true(o.wait == 0.2);
    assert_int_equal(set("wait", "5 m"), 0);
    assert_true(o.wait == 300);
    assert_int_equal(set("room", "64KiB"), 0);
    assert_int_equal(o.room, 65536);
    assert_int_equal(set("room", "2MB"), 0);
    assert_int_equal(o.room, 2000000);
    assert_int_equal(set("room", "1.5GiB"), 0);
    assert_int_equal(o.room, 1610612736);
    assert_int_equal(set("room", "4096"), 0);
    assert_int_equal(o.room, 4096);
}

static void
the_first_element_replaces_the_default_list(void **state)
{
    (void)state;
    assert_int_equal(set("words", "no,"), 0);
    assert_int_equal(set("words", ""), 0);
    assert_int_equal(o.words.count, 2);
    assert_string_equal(o.words.at[0], "no,");
    assert_string_equal(o.words.at[1], "");
}

static void
bad_values_are_refused_in_words(void **state)
{
    (void)state;
    refused("window", "0", "option 'window': 0 is below 1");
    refused("window", "12x", "option 'window': '12x' is not a whole number");
    refused("window", "", "option 'window': '' is not a whole number");
    refused("window", " 5", "option 'window': ' 5' is not a whole number");
    refused("window", "1.5", "option 'window': '1.5' is not a whole number");
    refused("window", "0x10", "option 'window': '0x10' is not a whole number");
    refused("window", "99999999999999999999",
            "option 'window': '99999999999999999999' is not a whole number");
    refused("beta", "nan", "option 'beta': 'nan' is not a number");
    refused("beta", "inf", "option 'beta': 'inf' is not a number");
    refused("beta", "1e999", "option 'beta': '1e999' is not a number");
    refused("beta", "1.01", "option 'beta': 1.01 is above 1");
    refused("loud", "maybe", "option 'loud': 'maybe' is not true, false, yes or no");
    refused("mode", "fial", "option 'mode': 'fial' is not one of skip, fail; did you mean 'fail'?");
    refused("mode", "explode", "option 'mode': 'explode' is not one of skip, fail");
    refused("wait", "30",
            "option 'wait': '30' is not a time; write a number and one of us ms s m h d");
    refused("wait", "2h", "option 'wait': 2h is above 1h");
    refused("wait", "1us", "option 'wait': 1us is below 1ms");
    refused("room", "1 KQ", "option 'room': '1 KQ' is not a size; write a number and one of "
                            "B KB MB GB TB KiB MiB GiB TiB");
    refused("room", "3", "option 'room': 3 is below 1KiB");
    refused("windwo", "3", "option 'windwo' is unknown; did you mean 'window'?");
    refused("zzzzzz", "3", "option 'zzzzzz' is unknown");
    assert_int_equal(o.window, 100);
    assert_true(o.wait == 30);
}

static void
a_required_option_is_missed_by_name(void **state)
{
    unsigned char given[sizeof(table) / sizeof(table[0])] = {0};

    (void)state;
    assert_int_equal(options_complete(table, given, &e), ERROR_topology);
    assert_string_equal(e.text, "option 'model' is missing: a model");
    given[4] = 1;
    assert_int_equal(options_complete(table, given, &e), 0);
}

static void
lists_are_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < OPTION_TEXTS_MAX; i++)
        assert_int_equal(set("words", "x"), 0);
    refused("words", "x", "option 'words': more than 1024 elements");
}

static void
the_nearest_word_is_near_or_nothing(void **state)
{
    static const char *const words[] = {"in_flight", "budget", "model", "url", NULL};

    (void)state;
    assert_string_equal(nearest("in_flihgt", words), "in_flight");
    assert_string_equal(nearest("bugdet", words), "budget");
    assert_string_equal(nearest("ulr", words), "url");
    assert_string_equal(nearest("modle", words), "model");
    assert_null(nearest("xyz", words));
    assert_null(nearest("", words));
    assert_null(
        nearest("a_word_that_is_far_longer_than_any_option_name_can_be_in_this_program", words));
}

/* A row without a value: a heading has rows under it; an alias stands right below the row it means,
 * and is the name of no row. */
static void
check_mark(const char *owner, const struct option *rows, const struct option *r)
{
    const struct option *above = r;

    if (!r->help || !*r->help)
        fail_msg("%s: row %d is not complete", owner, (int)(r - rows));
    if (r->kind == OPTION_group && (r[1].kind == OPTION_end || !option_valued(r + 1)))
        fail_msg("%s: nothing stands under '%s'", owner, r->help);
    while (above > rows && above->kind == OPTION_alias)
        above--;
    if (r->kind == OPTION_alias && (strcmp(above->name, r->help) != 0 || option_find(rows, r->name)))
        fail_msg("%s: alias '%s' is not below '%s', or hides a row", owner, r->name, r->help);
}

/* Every default of every registered kind is accepted by its own row, every row is complete and no
 * name is said twice, also not by an option common to all nodes. */
static void
check_table(const char *owner, const struct option *rows, size_t size)
{
    void *options = xalloc(size);

    if (options_init(rows, options, &e) != 0)
        fail_msg("%s: %s", owner, e.text);
    for (int i = 0; i < option_count(rows); i++) {
        const struct option *r = &rows[i];

        if (!option_valued(r)) {
            check_mark(owner, rows, r);
            continue;
        }
        if (!r->name || !r->help || !*r->help || (r->kind == OPTION_choice && !r->choices))
            fail_msg("%s: row %d is not complete", owner, i);
        if (r->min > r->max)
            fail_msg("%s.%s: min > max", owner, r->name);
        if (option_find(rows, r->name) != r)
            fail_msg("%s.%s is there twice", owner, r->name);
        if (rows != node_common_options && option_find(node_common_options, r->name))
            fail_msg("%s.%s hides an option common to all nodes", owner, r->name);
        if (r->standard && (*r->standard || r->kind == OPTION_text || r->kind == OPTION_path) &&
            !option_listed(r) && options_set(rows, options, r->name, r->standard, &e) != 0)
            fail_msg("%s: %s", owner, e.text);
    }
    options_fini(rows, options);
    free(options);
}

static void
every_default_of_every_kind_is_accepted(void **state)
{
    (void)state;
    check_table("every node", node_common_options, sizeof(struct node_common));
    for (int i = 0; node_kind_at(i); i++) {
        const struct node_kind *k = node_kind_at(i);

        check_table(k->name, k->options, k->options_size);
        assert_true(k->name && k->summary && k->ports);
        assert_ptr_equal(node_kind_find(k->name), k);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_are_read_as_a_user_writes_them, begin, end),
        cmocka_unit_test_setup_teardown(auto_is_a_number_left_open, begin, end),
        cmocka_unit_test(headings_and_aliases_are_shown_and_hold_no_value),
        cmocka_unit_test_setup_teardown(values_are_read_with_their_units, begin, end),
        cmocka_unit_test_setup_teardown(the_first_element_replaces_the_default_list, begin, end),
        cmocka_unit_test_setup_teardown(bad_values_are_refused_in_words, begin, end),
        cmocka_unit_test_setup_teardown(a_required_option_is_missed_by_name, begin, end),
        cmocka_unit_test_setup_teardown(lists_are_bounded, begin, end),
        cmocka_unit_test(the_nearest_word_is_near_or_nothing),
        cmocka_unit_test(every_default_of_every_kind_is_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
