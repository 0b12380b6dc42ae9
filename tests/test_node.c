/* Tests of the life of a unit, on kinds made for the purpose: exactly once through crashes, parking, closings,
 * dead letters, END. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/core.h"
#include "tests/harness.h"

/* ---- echo: answers at once; "bad" is dead, "slow" is kept until told ---- */

struct echo {
    struct unit *slow;
    int64_t      taken;
    bool         forgive;
};

enum { ECHO_in, ECHO_out, ECHO_other };

static const struct port echo_ports[] = {
    [ECHO_in] = {PORT_IN, "in", MESSAGE_any, 0, "in"},
    [ECHO_out] = {PORT_OUT, "out", MESSAGE_any, 0, "out"},
    [ECHO_other] = {PORT_OUT, "other", MESSAGE_any, 0, "closed always"},
    {.direction = PORT_END},
};

static const struct option no_options[] = {OPT_END};
static bool forgive;

static int
echo_take(struct node *n, struct unit *u, struct error *e)
{
    struct echo *s = node_state(n);
    (void)e;
    s->taken++;
    if (span_is(u->inputs[0].body, "bad") && !forgive) {
        node_send(n, u, ECHO_out, span_text("half"));
        unit_dead(n, u, "cannot digest '%s'", "bad");
        return 0;
    }
    node_send(n, u, ECHO_out, u->inputs[0].body);
    node_close(n, u, ECHO_other, "routed");
    if (span_is(u->inputs[0].body, "slow"))
        s->slow = u;
    else
        unit_done(n, u);
    return 0;
}

static const struct node_kind echo = {
    .name = "echo", .state_size = sizeof(struct echo), .options_size = 1, .ports = echo_ports,
    .options = no_options, .take = echo_take,
};

static const char *const one_link[] = {"in", "up", NULL};

static struct harness *
echo_open(const char *const *options)
{
    struct error e = {0};
    return harness_open_kind(&echo, one_link, options, &e, true);
}

static void
give_text(struct harness *h, int link, uint64_t ordinal, const char *text)
{
    harness_give_bytes(h, link, ordinal, ordinal, 1, span_text(text));
}

static void
expect(struct harness *h, const char *port, uint64_t ordinal, const char *body, const char *reason)
{
    struct harness_message m;
    assert_true(harness_take(h, port, &m));
    assert_int_equal(m.ordinal, ordinal);
    assert_int_equal(m.closing, reason != NULL);
    if (reason)
        assert_string_equal(m.reason, reason);
    else if (!span_is(m.body, body))
        fail_msg("ordinal %d: '%.*s', not '%s'", (int)ordinal, (int)m.body.length, m.body.at, body);
}

static void
expect_none(struct harness *h, const char *port)
{
    struct harness_message m;
    assert_false(harness_take(h, port, &m));
}

static void
each_ordinal_once_on_each_port(void **state)
{
    (void)state;
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "a");
    harness_give_closing(h, 0, 1, 1, 1, "filtered");
    give_text(h, 0, 2, "");
    assert_int_equal(harness_run(h, 5, NULL), 0);
    expect(h, "out", 0, "a", NULL);
    expect(h, "out", 1, NULL, "filtered");
    expect(h, "out", 2, "", NULL);
    expect_none(h, "out");
    expect(h, "other", 0, NULL, "routed");
    expect(h, "other", 1, NULL, "filtered");
    assert_int_equal(((struct echo *)harness_state(h))->taken, 2);
    assert_int_equal(node_position(harness_node(h)), 3);
    harness_close(h);
}

static void
nothing_uncommitted_survives_and_nothing_is_lost(void **state)
{
    (void)state;
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "a");
    give_text(h, 0, 1, "slow");
    give_text(h, 0, 2, "c");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 0, "a", NULL);
    expect(h, "out", 2, "c", NULL);
    expect_none(h, "out");
    struct echo *s = harness_state(h);
    unit_done(harness_node(h), s->slow);
    harness_crash(h);                       /* done, but not committed */
    expect_none(h, "out");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    s = harness_state(h);
    assert_int_equal(s->taken, 1);          /* the slow one only */
    unit_done(harness_node(h), s->slow);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 1, "slow", NULL);
    harness_crash(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect_none(h, "out");
    harness_close(h);
}

static void
end_comes_after_the_last_work(void **state)
{
    (void)state;
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "slow");
    harness_end(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_false(harness_finished(h));
    harness_restart(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    unit_done(harness_node(h), ((struct echo *)harness_state(h))->slow);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_true(harness_finished(h));
    struct node *n = harness_node(h);
    assert_true(n->lanes[0].end);
    assert_false(n->finished);              /* the consumers have not acknowledged */
    for (int i = 0; i < n->lane_count; i++)
        lane_ended(n, &n->lanes[i]);
    assert_int_equal(node_flush(n, NULL), 0);
    assert_true(n->finished);
    harness_restart(h);
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
the_dead_are_kept_and_closed(void **state)
{
    (void)state;
    char text[200];
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "bad");
    give_text(h, 0, 1, "b");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 0, "half", NULL);      /* what was sent before it died stays sent */
    expect(h, "other", 0, NULL, "dead");
    expect(h, "out", 1, "b", NULL);
    assert_int_equal(harness_dead_count(h), 1);
    harness_dead_text(h, 0, text, sizeof(text));
    assert_string_equal(text, "cannot digest 'bad'");
    struct error e = {0};
    assert_int_equal(dead_retry(harness_node(h), 1, &e), ERROR_input);
    assert_non_null(strstr(e.text, "replay"));
    assert_int_equal(dead_drop(harness_node(h), 1, &e), 0);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

static void
held_letters_keep_their_place(void **state)
{
    (void)state;
    static const char *const hold[] = {"on_dead", "hold", NULL};
    struct error e = {0};
    struct harness *h = echo_open(hold);
    forgive = false;
    give_text(h, 0, 0, "bad");
    give_text(h, 0, 1, "b");
    give_text(h, 0, 2, "bad");
    harness_end(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 1, "b", NULL);
    expect_none(h, "out");
    assert_int_equal(node_position(harness_node(h)), 0);
    harness_restart(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(harness_node(h)->held, 2);
    assert_int_equal(dead_retry(harness_node(h), 1, &e), 0);    /* dies again, keeps its place and number */
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(harness_dead_count(h), 2);
    assert_false(harness_finished(h));
    forgive = true;
    assert_int_equal(dead_retry(harness_node(h), 1, &e), 0);
    assert_int_equal(dead_drop(harness_node(h), 2, &e), 0);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    forgive = false;
    assert_int_equal(harness_dead_count(h), 0);
    expect(h, "out", 2, NULL, "dead");
    expect(h, "out", 0, "bad", NULL);
    assert_int_equal(node_position(harness_node(h)), 3);
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
three_crashes_alone_in_hand_make_a_dead_letter(void **state)
{
    (void)state;
    char text[200];
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "slow");
    give_text(h, 0, 1, "b");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 1, "b", NULL);
    for (int i = 0; i < 4; i++) {           /* the first finds two in hand: it does not count */
        assert_int_equal(harness_dead_count(h), 0);
        harness_crash_own(h);
        assert_int_equal(harness_run(h, 1, NULL), 0);
    }
    assert_int_equal(harness_dead_count(h), 1);
    harness_dead_text(h, 0, text, sizeof(text));
    assert_string_equal(text, "crashed the node 3 times");
    expect(h, "out", 0, NULL, "dead");
    harness_close(h);
}

static bool
visit_any(void *own, const struct record *r)
{
    (void)r;
    ++*(int *)own;
    return true;
}

static void
a_committed_message_that_is_gone_ends_the_node(void **state)
{
    (void)state;
    struct error e = {0};
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "a");
    give_text(h, 0, 1, "b");
    assert_int_equal(harness_run(h, 5, &e), 0);
    struct node *n = harness_node(h);
    unsigned char key[8];
    int seen = 0;
    store_u64(key, 1);
    store_delete(n->store, TABLE_out + n->lanes[n->ports[ECHO_out].lanes[0]].port, span_of(key, 8));
    assert_int_equal(store_commit(n->store, &e), 0);
    lane_visit(n, &n->lanes[n->ports[ECHO_out].lanes[0]], 0, visit_any, &seen);
    assert_int_equal(seen, 1);
    store_settle(n->store);
    assert_int_equal(node_flush(n, &e), ERROR_store);
    assert_non_null(strstr(e.text, "damaged: message 1 to "));
    harness_close(h);
}

static void
an_ordinal_that_comes_twice_is_counted_and_handled_once(void **state)
{
    (void)state;
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "slow");
    give_text(h, 0, 0, "twice, both in hand");
    give_text(h, 0, 1, "b");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    unit_done(harness_node(h), ((struct echo *)harness_state(h))->slow);
    give_text(h, 0, 1, "twice, one after the other");
    harness_end(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 0, "twice, both in hand", NULL);
    expect(h, "out", 1, "b", NULL);
    expect_none(h, "out");
    assert_int_equal(store_number(harness_node(h)->store, "doubled", 0), 2);
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
kills_never_count(void **state)
{
    (void)state;
    struct harness *h = echo_open(NULL);
    give_text(h, 0, 0, "slow");
    for (int i = 0; i < 8; i++) {
        assert_int_equal(harness_run(h, 1, NULL), 0);
        if (i % 2)
            harness_crash_own(h);
        else
            harness_crash(h);
    }
    assert_int_equal(harness_dead_count(h), 0);
    harness_close(h);
}

/* ---- join: two links ---- */

enum { JOIN_left, JOIN_right, JOIN_out };

static const struct port join_ports[] = {
    [JOIN_left] = {PORT_IN, "left", MESSAGE_any, 0, "left"},
    [JOIN_right] = {PORT_IN, "right", MESSAGE_any, PORT_MANY, "right"},
    [JOIN_out] = {PORT_OUT, "out", MESSAGE_any, 0, "both"},
    {.direction = PORT_END},
};

static int
join_take(struct node *n, struct unit *u, struct error *e)
{
    struct buffer b = {0};
    (void)e;
    for (int k = 0; k < u->input_count; k++)
        buffer_print(&b, "%s%.*s", k ? "+" : "", u->inputs[k].closing ? (int)strlen(u->inputs[k].reason)
                     : (int)u->inputs[k].body.length, u->inputs[k].closing ? u->inputs[k].reason
                     : u->inputs[k].body.at);
    node_send(n, u, JOIN_out, buffer_span(&b));
    unit_done(n, u);
    buffer_free(&b);
    return 0;
}

static const struct node_kind join = {
    .name = "join", .state_size = 8, .options_size = 1, .ports = join_ports, .options = no_options,
    .take = join_take,
};

static const char *const three_links[] = {"left", "a", "right", "b", "right", "c", NULL};

static void
early_arrivals_wait_in_the_store(void **state)
{
    (void)state;
    struct error e = {0};
    struct harness *h = harness_open_kind(&join, three_links, NULL, &e, true);
    give_text(h, 0, 5, "l5");
    give_text(h, 1, 5, "r5");
    give_text(h, 2, 4, "x4");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect_none(h, "out");
    harness_crash(h);
    harness_give_closing(h, 2, 5, 5, 1, "filtered");
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 5, "l5+r5+filtered", NULL);
    harness_give_closing(h, 0, 4, 4, 1, "routed");
    harness_give_closing(h, 1, 4, 4, 1, "dead");
    for (int k = 0; k < 3; k++)
        harness_give_closing(h, k, 6, 6, 1, k ? "second" : "first");
    harness_end(h);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    expect(h, "out", 4, "routed+dead+x4", NULL);
    expect(h, "out", 6, NULL, "first");
    assert_true(harness_finished(h));
    assert_int_equal(harness_node(h)->parked, 0);
    harness_close(h);
}

static void
many_units_survive_crashes_at_every_stage(void **state)
{
    (void)state;
    static const char *const few[] = {"commit_count", "7", NULL};
    struct error e = {0};
    struct harness *h = harness_open_kind(&join, three_links, few, &e, true);
    unsigned char seen[300] = {0};
    uint64_t dice = 5;
    int given[3] = {0, 0, 0};
    struct harness_message m;
    int found = 0;
    while (found < 300) {
        dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
        int link = (int)((dice >> 40) % 3), some = (int)((dice >> 50) % 9);
        for (; some > 0 && given[link] < 300; some--) {
            uint64_t ordinal = (uint64_t)(given[link]++ * 7 % 300);     /* out of order */
            give_text(h, link, ordinal, "m");
        }
        for (int i = 0; i < 3; i++)
            assert_true(node_step(harness_node(h), false, (dice >> 20) % 2, &e) >= 0);
        if ((dice >> 30) % 11 == 0)
            harness_crash(h);
        if ((dice >> 35) % 5 == 0)
            assert_int_equal(harness_run(h, 1, NULL), 0);
        while (harness_take(h, "out", &m)) {
            assert_int_equal(seen[m.ordinal], 0);
            seen[m.ordinal] = 1;
            found++;
        }
    }
    assert_int_equal(node_position(harness_node(h)), 300);
    assert_int_equal(harness_node(h)->counts[METRIC_samples], 300);
    assert_int_equal(harness_node(h)->counts[METRIC_received], 900);
    harness_close(h);
}

/* ---- count: a source ---- */

enum { COUNT_out };
static const struct port count_ports[] = {
    [COUNT_out] = {PORT_OUT, "out", MESSAGE_any, 0, "numbers"},
    {.direction = PORT_END},
};

struct count {
    uint64_t next;
};

static int
count_start(struct node *n, struct error *e)
{
    struct count *s = node_state(n);
    struct span v;
    (void)e;
    if (node_get(n, span_text("next"), &v))
        s->next = store_read_u64(v.at);
    return 0;
}

static int
count_pump(struct node *n, struct error *e)
{
    struct count *s = node_state(n);
    unsigned char v[8];
    (void)e;
    if (s->next >= 40) {
        node_finish(n);
        return PUMP_IDLE;
    }
    if (!node_may_emit(n, s->next, 4))
        return PUMP_IDLE;
    for (uint64_t i = 0; i < 4; i++)
        node_emit(n, COUNT_out, s->next + i, s->next, 4, span_text("x"));
    s->next += 4;
    store_u64(v, s->next);
    node_put(n, span_text("next"), span_of(v, 8));
    return PUMP_AGAIN;
}

static const struct node_kind count = {
    .name = "count", .state_size = sizeof(struct count), .options_size = 1, .ports = count_ports,
    .options = no_options, .source = true, .start = count_start, .pump = count_pump,
};

static void
a_source_keeps_its_lead(void **state)
{
    (void)state;
    struct error e = {0};
    struct harness *h = harness_open_kind(&count, NULL, NULL, &e, true);
    struct node *n = harness_node(h);
    n->max_lead = 10;
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(n->emitted_end, 8);
    lane_position(n, &n->lanes[0], 7);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(n->emitted_end, 16);
    n->max_lead = 1;                        /* smaller than a group: one group at a time still goes */
    lane_position(n, &n->lanes[0], 15);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(n->emitted_end, 16);
    lane_position(n, &n->lanes[0], 16);
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_int_equal(n->emitted_end, 20);
    harness_restart(h);
    n = harness_node(h);
    assert_int_equal(n->lanes[0].position, 16);
    assert_int_equal(n->emitted_end, 20);
    n->max_lead = 1000;
    assert_int_equal(harness_run(h, 1, NULL), 0);
    assert_true(harness_finished(h));
    for (uint64_t i = 0; i < 40; i++)
        expect(h, "out", i, "x", NULL);
    expect_none(h, "out");
    harness_close(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_ordinal_once_on_each_port),
        cmocka_unit_test(nothing_uncommitted_survives_and_nothing_is_lost),
        cmocka_unit_test(end_comes_after_the_last_work),
        cmocka_unit_test(the_dead_are_kept_and_closed),
        cmocka_unit_test(held_letters_keep_their_place),
        cmocka_unit_test(three_crashes_alone_in_hand_make_a_dead_letter),
        cmocka_unit_test(a_committed_message_that_is_gone_ends_the_node),
        cmocka_unit_test(an_ordinal_that_comes_twice_is_counted_and_handled_once),
        cmocka_unit_test(kills_never_count),
        cmocka_unit_test(early_arrivals_wait_in_the_store),
        cmocka_unit_test(many_units_survive_crashes_at_every_stage),
        cmocka_unit_test(a_source_keeps_its_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
