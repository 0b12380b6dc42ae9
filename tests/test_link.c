/* Tests of the durable link between real processes: killed at any instant, everything arrives exactly once. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/store.h"
#include "tests/linked.h"

static uint64_t seed = 11;

static uint64_t
dice(uint64_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (seed >> 33) % below;
}

static void
an_undisturbed_run_ends_by_itself(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 4000, 2);
    linked_start_all(&l);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

/* Kills one or several processes whenever the count of what tally settled passes a random point. */
static void
killed_at_any_instant_nothing_is_lost_or_doubled(void **state)
{
    struct linked l;
    int64_t next = 0;
    int kills = 0, all = 0;
    (void)state;
    linked_open(&l, 40000, 2);
    linked_start_all(&l);
    for (;;) {
        int64_t position = linked_status(&l, LINKED_tally, 0, "position");
        if (position >= l.total)
            break;
        if (position < next)
            continue;
        next = position + (int64_t)dice(1200);
        if (dice(8) == 0) {
            for (int i = 0; i < LINKED_nodes; i++)
                for (int r = 0; r < (i == LINKED_relay ? 2 : 1); r++, kills++)
                    linked_kill(&l, i, r);
            all++;
        } else {
            int i = (int)dice(LINKED_nodes);
            linked_kill(&l, i, i == LINKED_relay ? (int)dice(2) : 0);
            kills++;
        }
        linked_start_all(&l);
    }
    linked_finish(&l);
    linked_verify(&l);
    print_message("# %d kills, %d times all of them\n", kills, all);
    assert_true(kills >= 10);
    linked_close(&l);
}

static void
a_term_is_good_order(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 8000, 1);
    linked_start_all(&l);
    for (int round = 0; round < 6; round++) {
        int i = round % LINKED_nodes;
        int64_t before = linked_status(&l, LINKED_tally, 0, "position");
        while (before < l.total && linked_status(&l, LINKED_tally, 0, "position") == before)
            ;
        kill(l.pids[i][0], SIGTERM);
        assert_int_equal(linked_wait(&l, i, 0), 0);
        linked_start(&l, i, 0);
    }
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

/* A lead smaller than a group: each group waits until everything before it is settled, and none waits for ever. */
static void
the_smallest_lead_never_locks_up(void **state)
{
    struct linked l;
    (void)state;
    linked_open(&l, 200, 2);
    l.lead = 1;
    linked_start_all(&l);
    while (linked_status(&l, LINKED_tally, 0, "position") < 100)
        ;
    linked_kill(&l, LINKED_tally, 0);
    linked_start(&l, LINKED_tally, 0);
    linked_finish(&l);
    linked_verify(&l);
    linked_close(&l);
}

int
main(int argc, char **argv)
{
    int rc = linked_main(argc, argv);
    if (rc >= 0)
        return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undisturbed_run_ends_by_itself),
        cmocka_unit_test(killed_at_any_instant_nothing_is_lost_or_doubled),
        cmocka_unit_test(a_term_is_good_order),
        cmocka_unit_test(the_smallest_lead_never_locks_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
