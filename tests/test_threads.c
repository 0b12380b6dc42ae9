/* The pool: every part exactly once, whatever the number of threads and parts; results seen after
 * the run; threads that were never needed, and their end. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/threads.h"

enum { PARTS = 1000 };

struct count {
    int  times[PARTS];          /* each written by its part alone */
    int  count;                 /* threads of the pool */
    int  strange;               /* a thread's number out of range */
    int  used[THREADS_MAX];     /* atomic: a thread's number is in use */
    int  twice;                 /* two parts at once under one number */
};

static void
count_part(void *context, int64_t part, int who)
{
    struct count *c = context;

    if (who < 0 || who >= c->count) {
        __atomic_store_n(&c->strange, 1, __ATOMIC_RELAXED);
        return;
    }
    if (__atomic_exchange_n(&c->used[who], 1, __ATOMIC_ACQ_REL))
        __atomic_store_n(&c->twice, 1, __ATOMIC_RELAXED);
    c->times[part]++;
    __atomic_store_n(&c->used[who], 0, __ATOMIC_RELEASE);
}

static void
run_counted(struct threads *t, int64_t parts)
{
    struct count c = {.count = threads_count(t)};

    threads_run(t, parts, count_part, &c);
    assert_int_equal(c.strange, 0);
    assert_int_equal(c.twice, 0);
    for (int64_t i = 0; i < PARTS; i++)
        assert_int_equal(c.times[i], i < parts);
}

static void
every_part_once(void **state)
{
    static const int     counts[] = {1, 2, 3, 7, 40};
    static const int64_t parts[] = {0, 1, 2, 5, 39, 999, PARTS};

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct threads *t = threads_new(counts[i]);

        assert_int_equal(threads_count(t), counts[i]);
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
            run_counted(t, parts[k]);
        threads_free(t);
    }
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        run_counted(NULL, parts[k]);
}

static void
many_runs(void **state)
{
    struct threads *t = threads_new(3);

    (void)state;
    for (int i = 0; i < 3000; i++)
        run_counted(t, 1 + i % 9);
    threads_free(t);
}

struct meeting {
    int present;                /* atomic */
    int64_t looks[2];
};

/* Stays until the other part has come too: only two threads at once can end it. */
static void
meet(void *context, int64_t part, int who)
{
    struct meeting *m = context;

    (void)who;
    __atomic_add_fetch(&m->present, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&m->present, __ATOMIC_ACQUIRE) < 2)
        m->looks[part]++;
}

static void
parts_run_at_once(void **state)
{
    struct threads *t = threads_new(2);

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct meeting m = {0};

        threads_run(t, 2, meet, &m);
        assert_int_equal(m.present, 2);
    }
    threads_free(t);
}

static void
blocked(void *context, int64_t part, int who)
{
    struct meeting *m = context;
    sigset_t mask;

    meet(m, part, who);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    m->looks[part] = who == 0 ? -1 : sigismember(&mask, SIGTERM);
}

static void
signals_stay_with_the_caller(void **state)
{
    struct threads *t = threads_new(2);
    struct meeting m = {0};
    sigset_t mask;

    (void)state;
    threads_run(t, 2, blocked, &m);
    assert_true((m.looks[0] == -1 && m.looks[1] == 1) || (m.looks[0] == 1 && m.looks[1] == -1));
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
    threads_free(t);
}

static void
counts_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(threads_count(NULL), 1);
    assert_int_equal(threads_wanted(5), 5);
    assert_int_equal(threads_wanted(-1), 1);
    assert_int_equal(threads_wanted(THREADS_MAX + 1), THREADS_MAX);
    assert_in_range(threads_wanted(0), 1, THREADS_MAX);
    for (int i = 0; i < 50; i++) {      /* never used; used once */
        struct threads *t = threads_new(4);

        if (i % 2)
            run_counted(t, 8);
        threads_free(t);
    }
    threads_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_once),
        cmocka_unit_test(many_runs),
        cmocka_unit_test(parts_run_at_once),
        cmocka_unit_test(signals_stay_with_the_caller),
        cmocka_unit_test(counts_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
