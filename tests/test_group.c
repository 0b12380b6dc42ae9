/* group: units that come by whole groups, whatever the order of arrival, closings, kills and
 * crashes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/core.h"
#include "tests/harness.h"

enum { ROLL_in, ROLL_out };

static const struct port roll_ports[] = {
    [ROLL_in] = {PORT_IN, "in", MESSAGE_any, 0, "any"},
    [ROLL_out] = {PORT_OUT, "out", MESSAGE_any, 0, "any"},
    {.direction = PORT_END},
};

static const struct option no_options[] = {OPT_END};

static bool
always(const void *options)
{
    (void)options;
    return true;
}

/* Each unit is answered with the bodies of all of its group; "poison" ends the process. */
static int
roll_group(struct node *n, struct unit *const *units, int count, struct error *e)
{
    struct buffer all = {0};

    for (int i = 0; i < count; i++) {
        struct span body = units[i]->inputs[0].body;
        if (span_is(body, "poison")) {
            buffer_free(&all);
            return error_set(e, ERROR_internal, "poison");
        }
        assert_true(i == 0 || units[i]->ordinal > units[i - 1]->ordinal);
        buffer_print(&all, "%s%.*s", i ? "," : "", (int)body.length, body.at);
    }
    for (int i = 0; i < count; i++) {
        node_send(n, units[i], ROLL_out, buffer_span(&all));
        unit_done(n, units[i]);
    }
    buffer_free(&all);
    return 0;
}

static const struct node_kind roll = {
    .name = "roll",
    .state_size = 1,
    .options_size = 1,
    .ports = roll_ports,
    .options = no_options,
    .whole_groups = always,
    .take_group = roll_group,
};

static const char *const one_link[] = {"in", "a", NULL};

static struct harness *
open_roll(const char *const *options)
{
    struct error e = {0};

    return harness_open_kind(&roll, one_link, options, &e, true);
}

static void
give(struct harness *h, uint64_t ordinal, uint64_t first, uint32_t size, const char *text)
{
    harness_give_bytes(h, 0, ordinal, first, size, span_text(text));
}

/* All that came out since, as "ordinal:body;" or "ordinal!reason;", in order of ordinals. */
static void
expect(struct harness *h, const char *wanted)
{
    struct buffer parts[64] = {{0}}, got = {0};
    struct harness_message m;
    struct error e = {0};

    if (harness_run(h, 1, &e) != 0)
        fail_msg("%s", e.text);
    while (harness_take(h, "out", &m)) {
        assert_true(m.ordinal < 64 && parts[m.ordinal].length == 0);
        buffer_print(&parts[m.ordinal], "%" PRIu64 "%c%.*s;", m.ordinal, m.closing ? '!' : ':',
                     m.closing ? (int)strlen(m.reason) : (int)m.body.length,
                     m.closing ? m.reason : m.body.at);
    }
    for (int i = 0; i < 64; i++) {
        buffer_add(&got, parts[i].at, parts[i].length);
        buffer_free(&parts[i]);
    }
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, wanted);
    buffer_free(&got);
}

static void
a_group_comes_when_it_is_whole(void **state)
{
    struct harness *h = open_roll(NULL);

    (void)state;
    give(h, 2, 0, 3, "c");
    give(h, 3, 3, 2, "d");
    expect(h, "");
    assert_int_equal(harness_node(h)->parked, 2);
    give(h, 0, 0, 3, "a");
    give(h, 4, 3, 2, "e");
    expect(h, "3:d,e;4:d,e;");
    give(h, 1, 0, 3, "b");
    give(h, 5, 5, 1, "f");
    expect(h, "0:a,b,c;1:a,b,c;2:a,b,c;5:f;");
    harness_end(h);
    expect(h, "");
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
closings_are_part_of_a_group(void **state)
{
    struct harness *h = open_roll(NULL);

    (void)state;
    harness_give_closing(h, 0, 1, 0, 4, "routed");
    give(h, 0, 0, 4, "a");
    give(h, 3, 0, 4, "d");
    expect(h, "");
    harness_give_closing(h, 0, 2, 0, 4, "filtered");
    expect(h, "0:a,d;1!routed;2!filtered;3:a,d;");
    for (uint64_t i = 4; i < 6; i++)
        harness_give_closing(h, 0, i, 4, 2, "routed");
    expect(h, "4!routed;5!routed;");
    harness_end(h);
    expect(h, "");
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
a_group_survives_kills_and_counts_as_one_in_flight(void **state)
{
    struct harness *h = open_roll(NULL);

    (void)state;
    node_set_in_flight(harness_node(h), 1);
    give(h, 0, 0, 5, "a");
    give(h, 4, 0, 5, "e");
    expect(h, "");
    harness_crash(h);
    node_set_in_flight(harness_node(h), 1);
    give(h, 1, 0, 5, "b");
    give(h, 2, 0, 5, "c");
    expect(h, "");
    harness_restart(h);
    give(h, 3, 0, 5, "d");
    expect(h, "0:a,b,c,d,e;1:a,b,c,d,e;2:a,b,c,d,e;3:a,b,c,d,e;4:a,b,c,d,e;");
    harness_end(h);
    expect(h, "");
    assert_true(harness_finished(h));
    harness_close(h);
}

/* A cut through a group (a replay's): its part comes when every input has ended. */
static void
at_the_end_a_part_is_the_group(void **state)
{
    struct harness *h = open_roll(NULL);

    (void)state;
    give(h, 7, 6, 4, "h");
    give(h, 0, 0, 3, "a");
    give(h, 1, 0, 3, "b");
    expect(h, "");
    harness_end(h);
    expect(h, "0:a,b;1:a,b;7:h;");
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
a_group_that_crashes_the_node_is_dead_and_others_are_not(void **state)
{
    struct harness *h = open_roll(NULL);
    struct error e = {0};

    (void)state;
    give(h, 0, 0, 2, "a");
    give(h, 1, 0, 2, "poison");
    give(h, 2, 2, 1, "c");
    for (int i = 0; i < DEAD_ATTEMPTS_MAX + 1; i++) {
        assert_true(harness_run(h, 1, &e) < 0);
        harness_crash_own(h);
    }
    expect(h, "0!dead;1!dead;2:c;");
    assert_int_equal(harness_dead_count(h), 2);
    harness_close(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_comes_when_it_is_whole),
        cmocka_unit_test(closings_are_part_of_a_group),
        cmocka_unit_test(a_group_survives_kills_and_counts_as_one_in_flight),
        cmocka_unit_test(at_the_end_a_part_is_the_group),
        cmocka_unit_test(a_group_that_crashes_the_node_is_dead_and_others_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
