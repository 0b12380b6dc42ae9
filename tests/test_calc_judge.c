/* calc_judge: one score per step, nothing said where there is no arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "tests/harness.h"

static const char *const links[] = {"in", "steps", NULL};

static void
each_step_is_judged_by_its_equations(void **state)
{
    struct harness        *h = harness_open("calc_judge", links, NULL, NULL);
    struct harness_message m;
    struct arena           arena = {0};
    struct vote            v;
    uint64_t               ends[] = {9, 19, 26};
    struct steps           s = {.ends = {3, ends}};

    (void)state;
    s.rollout.response = span_text("2 + 2 = 4\n3*3=10, ok no sums");
    ends[0] = 10, ends[1] = 21, ends[2] = s.rollout.response.length;
    harness_give(h, 0, 5, 4, 2, &s);
    harness_crash(h);
    harness_run(h, 5, NULL);
    assert_true(harness_take(h, "votes", &m));
    assert_int_equal(m.ordinal, 5);
    assert_int_equal(m.first, 4);
    assert_int_equal(message_read(MESSAGE_vote, m.body, &v, &arena, NULL), 0);
    assert_int_equal(v.scores.count, 3);
    assert_memory_equal(v.said.at, "\1\1\0", 3);
    assert_true(v.scores.at[0] == 1 && v.scores.at[1] == 0);
    assert_true(span_is(v.voter, "node"));
    assert_int_equal(v.abstain.length, 0);
    assert_true(span_is(v.reasons.at[1], "3*3=10: it is 9"));
    assert_int_equal(v.usd == 0, 1);
    assert_false(harness_take(h, "votes", &m));
    arena_free(&arena);
    harness_close(h);
}

static void
without_confirm_it_speaks_of_errors_only(void **state)
{
    static const char *const options[] = {"confirm", "false", "reasons", "false", NULL};
    struct harness          *h = harness_open("calc_judge", links, options, NULL);
    struct harness_message   m;
    struct arena             arena = {0};
    struct vote              v;
    uint64_t                 ends[] = {10, 21};
    struct steps             s = {.ends = {2, ends}};

    (void)state;
    s.rollout.response = span_text("2 + 2 = 4\n3*3=10, ok ");
    ends[1] = s.rollout.response.length;
    harness_give(h, 0, 0, 0, 1, &s);
    harness_run(h, 5, NULL);
    assert_true(harness_take(h, "votes", &m));
    assert_int_equal(message_read(MESSAGE_vote, m.body, &v, &arena, NULL), 0);
    assert_memory_equal(v.said.at, "\0\1", 2);
    assert_true(v.scores.at[0] == 0 && v.scores.at[1] == 0);
    assert_int_equal(v.reasons.count, 0);
    arena_free(&arena);
    harness_close(h);
}

static void
no_steps_give_an_empty_vote_and_bad_ones_a_dead_letter(void **state)
{
    struct harness        *h = harness_open("calc_judge", links, NULL, NULL);
    struct harness_message m;
    uint64_t               ends[] = {900};
    struct steps           none = {0}, beyond = {.ends = {1, ends}};

    (void)state;
    beyond.rollout.response = span_text("1+1=2");
    harness_give(h, 0, 0, 0, 2, &none);
    harness_give(h, 0, 1, 0, 2, &beyond);
    harness_run(h, 5, NULL);
    assert_true(harness_take(h, "votes", &m) && !m.closing);
    assert_true(harness_take(h, "votes", &m) && m.closing);
    assert_string_equal(m.reason, "dead");
    assert_int_equal(harness_dead_count(h), 1);
    harness_close(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_is_judged_by_its_equations),
        cmocka_unit_test(without_confirm_it_speaks_of_errors_only),
        cmocka_unit_test(no_steps_give_an_empty_vote_and_bad_ones_a_dead_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
