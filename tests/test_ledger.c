/* The ledger: what replicas set aside, settle and lose, in processes of their own, and killed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "nodes/remote/ledger.h"
#include "nodes/remote/shared.h"

static const struct amount nothing, none = {LEDGER_NONE, LEDGER_NONE};

struct folder {
    char dir[64], ledger[96];
};

static int
setup(void **state)
{
    struct folder *f = xalloc(sizeof(*f));

    strcpy(f->dir, "/tmp/sluice-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->ledger, sizeof(f->ledger), "%s/stores/critic.ledger", f->dir);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct folder *f = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static struct ledger *
open_it(const struct folder *f, int replica)
{
    struct error e = {0};
    struct ledger *l = ledger_open(f->ledger, replica, &e);

    if (!l)
        fail_msg("%s", e.text);
    return l;
}

/* One transaction that sets `money` aside, or not. */
static bool
reserve(struct ledger *l, int64_t money, int64_t limit)
{
    struct amount most = {money, 0}, limits = {limit, LEDGER_NONE};
    struct error e = {0};
    bool may;

    if (ledger_begin(l, &e) != 0)
        fail_msg("%s", e.text);
    may = ledger_reserve(l, &most, &limits);
    if (ledger_commit(l, &e) != 0)
        fail_msg("%s", e.text);
    return may;
}

static struct ledger_sums
sums_of(const struct folder *f)
{
    struct ledger_sums sums;
    struct error e = {0};

    if (ledger_read(f->ledger, &sums, NULL, NULL, &e) != 0)
        fail_msg("%s", e.text);
    return sums;
}

static void
what_was_set_aside_becomes_what_it_cost(void **state)
{
    struct ledger *l = open_it(*state, 0);
    struct error e = {0};
    struct ledger_sums sums;

    assert_true(reserve(l, 70, 100));
    assert_false(reserve(l, 31, 100));
    assert_true(reserve(l, 30, 100));
    assert_int_equal(ledger_sums(l)->aside.money, 100);
    ledger_settle(l, &(struct amount){70, 0}, span_text("m"), 3, 4, 10);
    ledger_return(l, &(struct amount){30, 0});
    assert_int_equal(ledger_flush(l, &e), 0);
    assert_true(reserve(l, 90, 100));
    assert_false(reserve(l, 1, 100));
    ledger_lose(l, &(struct amount){90, 0});
    ledger_close(l);
    sums = sums_of(*state);
    assert_int_equal(sums.spent.money, 100);
    assert_int_equal(sums.spent.tokens, 7);
    assert_int_equal(sums.lost.money, 90);
    assert_int_equal(sums.aside.money, 0);
    assert_int_equal(sums.calls, 1);
}

static void
tokens_have_a_limit_of_their_own(void **state)
{
    struct ledger *l = open_it(*state, 0);
    struct amount most = {5, 60}, limit = {LEDGER_NONE, 100};
    struct error e = {0};

    assert_int_equal(ledger_begin(l, &e), 0);
    assert_true(ledger_reserve(l, &most, &limit));
    assert_false(ledger_reserve(l, &most, &limit));
    assert_true(ledger_reserve(l, &most, &none));
    assert_int_equal(ledger_commit(l, &e), 0);
    ledger_close(l);
}

static void
visit_model(void *own, struct span model, const struct ledger_row *row)
{
    int64_t *sum = own;

    assert_true(span_is(model, "a") || span_is(model, "b"));
    sum[span_is(model, "b")] += row->spent.money * 1000 + row->tokens_in * 100 +
                                row->tokens_out * 10 + row->calls;
}

static void
costs_are_kept_by_model(void **state)
{
    struct ledger *l = open_it(*state, 0);
    struct ledger_sums sums;
    struct error e = {0};
    int64_t sum[2] = {0};

    ledger_settle(l, &nothing, span_text("a"), 1, 2, 3);
    ledger_settle(l, &nothing, span_text("b"), 1, 1, 1);
    assert_int_equal(ledger_flush(l, &e), 0);
    ledger_settle(l, &nothing, span_text("a"), 1, 2, 3);
    ledger_close(l);
    assert_int_equal(ledger_read(((struct folder *)*state)->ledger, &sums, visit_model, sum, &e),
                     0);
    assert_int_equal(sum[0], 6000 + 200 + 40 + 2);
    assert_int_equal(sum[1], 1000 + 100 + 10 + 1);
}

/* In a process of its own, because LMDB's locks are the process's. */
static pid_t
child(const struct folder *f, int replica, void (*work)(struct ledger *l))
{
    pid_t pid = fork();

    if (pid == 0) {
        struct ledger *l = ledger_open(f->ledger, replica, NULL);
        if (!l)
            _exit(3);
        work(l);
        ledger_close(l);
        _exit(0);
    }
    return pid;
}

static int
status_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
dies_with_money_aside(struct ledger *l)
{
    if (!reserve(l, 40, 100))
        _exit(4);
    raise(SIGKILL);
}

static void
a_kill_between_reserve_and_answer_leaves_it_spent(void **state)
{
    struct folder *f = *state;
    struct ledger *l;

    assert_true(WIFSIGNALED(status_of(child(f, 0, dies_with_money_aside))));
    assert_int_equal(sums_of(f).aside.money, 40);
    l = open_it(f, 1); /* another replica has no say in it */
    assert_int_equal(ledger_sums(l)->aside.money, 40);
    ledger_close(l);
    l = open_it(f, 0); /* the same one, again */
    assert_int_equal(ledger_sums(l)->aside.money, 0);
    assert_int_equal(ledger_sums(l)->spent.money, 40);
    assert_int_equal(ledger_sums(l)->lost.money, 40);
    assert_true(reserve(l, 60, 100));
    assert_false(reserve(l, 1, 100));
    ledger_close(l);
}

static void
dies_while_it_writes(struct ledger *l)
{
    struct amount most = {40, 0};

    if (ledger_begin(l, NULL) != 0 || !ledger_reserve(l, &most, &none))
        _exit(4);
    raise(SIGKILL);
}

static void
a_writer_killed_in_its_transaction_stops_nobody(void **state)
{
    struct folder *f = *state;
    struct ledger *l = NULL;

    for (int i = 0; i < 5; i++) {
        assert_true(WIFSIGNALED(status_of(child(f, 0, dies_while_it_writes))));
        l = open_it(f, 1);
        assert_int_equal(ledger_sums(l)->aside.money, 0);
        assert_true(reserve(l, 10, 1000));
        ledger_settle(l, &(struct amount){10, 0}, span_text("m"), 1, 1, 10);
        ledger_close(l);
    }
    assert_int_equal(sums_of(f).spent.money, 50);
}

#define SPENDERS 4
#define LIMIT    3000

/* Spends in small sums until nothing is left; each answer costs less than was set aside. */
static void
spends_all(struct ledger *l)
{
    while (reserve(l, 17, LIMIT))
        ledger_settle(l, &(struct amount){17, 0}, span_text("m"), 5, 6, 11);
}

static void
replicas_that_spend_at_once_stay_within_one_budget(void **state)
{
    struct folder *f = *state;
    struct ledger_sums sums;
    pid_t pids[SPENDERS];

    for (int i = 0; i < SPENDERS; i++)
        pids[i] = child(f, i, spends_all);
    for (int i = 0; i < SPENDERS; i++)
        assert_int_equal(status_of(pids[i]), 0);
    sums = sums_of(f);
    assert_int_equal(sums.spent.money, sums.calls * 11);
    assert_int_equal(sums.aside.money, 0);
    assert_in_range(sums.spent.money, LIMIT - 17 - SPENDERS * 17, LIMIT);
}

static void
spends_until_killed(struct ledger *l)
{
    for (;;)
        if (reserve(l, 17, INT64_MAX))
            ledger_settle(l, &(struct amount){17, 0}, span_text("m"), 5, 6, 11);
}

static void
kills_at_any_instant_never_lose_what_was_spent(void **state)
{
    struct folder *f = *state;
    struct ledger_sums before = {0}, sums;

    for (int i = 0; i < 12; i++) {
        pid_t a = child(f, 0, spends_until_killed), b = child(f, 1, spends_until_killed);
        int64_t goal = before.calls + 20;
        do
            sums = sums_of(f);
        while (sums.calls < goal);
        kill(i % 2 ? a : b, SIGKILL);
        kill(i % 2 ? b : a, SIGKILL);
        status_of(a);
        status_of(b);
        ledger_close(open_it(f, 0));
        ledger_close(open_it(f, 1));
        sums = sums_of(f);
        assert_int_equal(sums.aside.money, 0);
        assert_int_equal(sums.spent.money, sums.calls * 11 + sums.lost.money);
        assert_in_range(sums.lost.money - before.lost.money, 0, 2 * 17);
        before = sums;
    }
}

/* A file that may not grow is a disk that is full: what cannot be set aside is not spent. */
static void
spends_on_a_full_disk(struct ledger *l)
{
    struct rlimit small = {1 << 17, 1 << 17};
    struct amount most = {17, 0};
    struct error e = {0};
    int rc = 0;

    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 1000 && rc == 0; i++) {
        char model[400];
        memset(model, 'm', sizeof(model));
        snprintf(model, sizeof(model), "%d", i);
        model[strlen(model)] = 'm'; /* a new row of many bytes each time, so that the file grows */
        rc = ledger_begin(l, &e);
        if (rc == 0 && !ledger_reserve(l, &most, &none))
            _exit(5);
        ledger_settle(l, &most, span_of(model, sizeof(model)), 1, 1, 11);
        rc = rc ? rc : ledger_commit(l, &e);
    }
    _exit(rc == ERROR_space ? 0 : 6);
}

static void
a_full_disk_is_said_and_nothing_is_lost(void **state)
{
    struct folder *f = *state;
    int status = status_of(child(f, 0, spends_on_a_full_disk));
    struct ledger_sums sums;
    struct ledger *l;

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    sums = sums_of(f);
    assert_true(sums.calls > 1);
    assert_int_equal(sums.spent.money, sums.calls * 11);
    l = open_it(f, 0); /* there is room again */
    assert_true(reserve(l, 1, INT64_MAX - 1));
    ledger_close(l);
}

static void
a_damaged_ledger_is_an_error_and_no_crash(void **state)
{
    struct folder *f = *state;
    char command[256];
    struct error e = {0};
    struct ledger *l = open_it(f, 0);

    assert_true(reserve(l, 1, 10));
    ledger_close(l);
    snprintf(command, sizeof(command), "head -c 9000 </dev/urandom >%s/data.mdb", f->ledger);
    assert_int_equal(system(command), 0);
    assert_null(ledger_open(f->ledger, 0, &e));
    assert_int_equal(e.code, ERROR_store);
    assert_non_null(strstr(e.text, "damaged"));
}

static void
sums_from_servers_never_overflow(void **state)
{
    struct ledger *l = open_it(*state, 0);
    struct error e = {0};

    for (int i = 0; i < 5; i++)
        ledger_settle(l, &nothing, span_text("m"), UINT64_MAX, UINT64_MAX, (int64_t)4e18);
    assert_int_equal(ledger_flush(l, &e), 0);
    assert_int_equal(ledger_sums(l)->spent.money, INT64_MAX);
    assert_false(reserve(l, 1, (int64_t)1e18));
    ledger_close(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_set_aside_becomes_what_it_cost, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_have_a_limit_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(costs_are_kept_by_model, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kill_between_reserve_and_answer_leaves_it_spent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_writer_killed_in_its_transaction_stops_nobody, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(replicas_that_spend_at_once_stay_within_one_budget, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(kills_at_any_instant_never_lose_what_was_spent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_said_and_nothing_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_ledger_is_an_error_and_no_crash, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sums_from_servers_never_overflow, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
