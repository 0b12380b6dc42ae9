/* Tests of process and run: which ends count, how starts back off, who owns a run, and its state
 * file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/process.h"

static int
setup(void **state)
{
    char *dir = xtext("/tmp/sluice-process-XXXXXX");
    assert_non_null(mkdtemp(dir));
    *state = dir;
    return 0;
}

static int
teardown(void **state)
{
    char *command = xprint("rm -rf %s", (char *)*state);
    assert_int_equal(system(command), 0);
    free(command);
    free(*state);
    return 0;
}

/* ---- back-off ---- */

static void
a_kill_never_counts(void **state)
{
    struct process p = {.pidfd = -1, .answered = true};
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_false(process_back_off(&p, PROCESS_END_killed, i * 0.1));
    assert_int_equal(p.crash_count, 0);
    assert_false(p.crashed);
    assert_true(p.next <= 99.9 + PROCESS_DELAY_MAX);
}

static void
an_unread_end_never_counts(void **state)
{
    struct process p = {.pidfd = -1, .answered = true};
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_false(process_back_off(&p, PROCESS_END_unread, i * 0.1));
    assert_false(p.crashed);
}

static void
the_first_start_after_an_end_is_at_once(void **state)
{
    struct process p = {.pidfd = -1, .answered = true, .since = 0};
    (void)state;
    process_back_off(&p, PROCESS_END_killed, 1);
    assert_true(p.next == 1);
    p.since = 1;
    process_back_off(&p, PROCESS_END_killed, 1.1);
    assert_true(p.next == 1.1 + PROCESS_DELAY_FIRST);
    p.since = 2;
    process_back_off(&p, PROCESS_END_killed,
                     2 + PROCESS_HEALTHY); /* it was well: the back-off starts over */
    assert_true(p.next == 2 + PROCESS_HEALTHY);
    assert_true(p.delay == 0);
}

static void
crashes_before_an_answer_fail_soon(void **state)
{
    struct process p = {.pidfd = -1};
    int n = 1;
    (void)state;
    while (!process_back_off(&p, PROCESS_END_crash, n * 0.01))
        n++;
    assert_int_equal(n, PROCESS_STILLBORN_MAX);
    assert_true(p.crashed);
}

/* What was refused once is refused again: the run fails at once, and no message is to blame. */
static void
a_refusal_fails_at_once(void **state)
{
    struct process p = {.answered = true};

    (void)state;
    assert_true(process_back_off(&p, PROCESS_END_refused, 1.0));
    assert_false(p.crashed);
    assert_int_equal(p.crash_count, 0);
}

static void
crashes_within_the_window_fail(void **state)
{
    struct process p = {.pidfd = -1, .answered = true};
    int n = 1;
    (void)state;
    while (n < 1000 && !process_back_off(&p, PROCESS_END_crash, n * 1.0))
        n++;
    assert_int_equal(n, PROCESS_CRASHES_MAX);
}

static void
crashes_far_apart_do_not_fail(void **state)
{
    struct process p = {.pidfd = -1, .answered = true};
    (void)state;
    for (int i = 0; i < 200; i++)
        assert_false(process_back_off(&p, PROCESS_END_crash, i * PROCESS_CRASH_WINDOW / 10));
}

static void
a_pause_waits_and_does_not_count(void **state)
{
    struct process p = {.pidfd = -1, .answered = true};
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_false(process_back_off(&p, PROCESS_END_paused, 100));
        assert_true(p.next >= 100 + PROCESS_PAUSE_FIRST && p.next <= 100 + PROCESS_PAUSE_MAX);
    }
    assert_false(p.crashed);
}

/* ---- ends ---- */

static enum process_end
end_of(void (*how)(void))
{
    char what[128];
    struct process p = {.pidfd = -1, .own = true};
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        how();
        _exit(0);
    }
    p.pidfd = pidfd_open(p.pid, 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)p.pid, &info, WEXITED | WNOWAIT), 0);
    enum process_end end = process_ended(&p, what, sizeof what);
    assert_int_equal(p.pid, 0);
    assert_int_equal(p.pidfd, -1);
    return end;
}

static void die_well(void) { _exit(0); }
static void die_paused(void) { _exit(75); }
static void die_wrong(void) { _exit(1); }
static void die_refusing(void) { _exit(78); }
static void die_segv(void) { signal(SIGSEGV, SIG_DFL); kill(getpid(), SIGSEGV); }
static void die_abrt(void) { signal(SIGABRT, SIG_DFL); kill(getpid(), SIGABRT); }
static void die_fpe(void) { signal(SIGFPE, SIG_DFL); kill(getpid(), SIGFPE); }
static void die_ill(void) { signal(SIGILL, SIG_DFL); kill(getpid(), SIGILL); }
static void die_kill(void) { kill(getpid(), SIGKILL); }
static void die_term(void) { kill(getpid(), SIGTERM); }

static void
ends_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(end_of(die_well), PROCESS_END_good);
    assert_int_equal(end_of(die_paused), PROCESS_END_paused);
    assert_int_equal(end_of(die_wrong), PROCESS_END_crash);
    assert_int_equal(end_of(die_refusing), PROCESS_END_refused);
    assert_int_equal(end_of(die_segv), PROCESS_END_crash);
    assert_int_equal(end_of(die_abrt), PROCESS_END_crash);
    assert_int_equal(end_of(die_fpe), PROCESS_END_crash); /* of a user's objective, say */
    assert_int_equal(end_of(die_ill), PROCESS_END_crash);
    assert_int_equal(end_of(die_kill), PROCESS_END_killed);
    assert_int_equal(end_of(die_term), PROCESS_END_killed);
}

static void
a_pid_with_another_start_time_is_not_adopted(void **state)
{
    struct process p = {.pidfd = -1};
    uint64_t start = lock_start_time(getpid());
    (void)state;
    assert_false(process_adopt(&p, getpid(), start + 1, 0));
    assert_int_equal(p.pid, 0);
    assert_true(process_adopt(&p, getpid(), start, 0));
    assert_int_equal(p.pid, getpid());
    close(p.pidfd);
}

static void
last_words_are_the_last_error(void **state)
{
    struct process p = {.pidfd = -1};
    char text[RUN_WHY_MAX];
    p.log = xprint("%s/x.log", (char *)*state);
    p.errors = xprint("%s/x.err", (char *)*state);
    process_last_words(&p, text, sizeof text);
    assert_string_equal(text, "");
    FILE *f = fopen(p.errors, "w");
    fputs("first\nwords on standard error\n", f);
    fclose(f);
    process_last_words(&p, text, sizeof text);
    assert_string_equal(text, "words on standard error");
    f = fopen(p.log, "w");
    fputs("{\"level\":\"error\",\"text\":\"the "
          "reason\"}\n{\"level\":\"info\",\"text\":\"bye\"}\nnot json\n",
          f);
    fclose(f);
    process_last_words(&p, text, sizeof text);
    assert_string_equal(text, "the reason");
    free(p.log);
    free(p.errors);
}

/* ---- the run directory ---- */

static void
a_state_file_comes_back(void **state)
{
    struct error e = {0};
    struct run_process rows[2] = {{(char *)"critic", 1, 4711, 99, 3, 5, true, true},
                                  {(char *)"out", 0, 0, 0, 0, 0, false, false}};
    struct run_state s = {RUN_paused, "disk: 12 MB free", 17, 18, 19, 2, rows}, back;
    assert_int_equal(run_state_read(*state, &back, &e), 0);    /* none yet */
    assert_int_equal(back.epoch, 0);
    assert_int_equal(run_state_write(*state, &s, &e), 0);
    assert_int_equal(run_state_read(*state, &back, &e), 0);
    assert_int_equal(back.phase, RUN_paused);
    assert_string_equal(back.why, "disk: 12 MB free");
    assert_int_equal(back.epoch, 19);
    struct run_process *p = run_state_find(&back, "critic", 1);
    assert_non_null(p);
    assert_true(p->pid == 4711 && p->start == 99 && p->revision == 3 && p->restarts == 5 &&
                p->held && p->crashed);
    assert_null(run_state_find(&back, "critic", 0));
    run_state_free(&back);
}

static void
a_bad_state_file_is_an_error_and_no_crash(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"version\":2}",
        "{\"version\":1,\"state\":\"done\",\"why\":\"\",\"supervisor\":{\"pid\":1,\"start\":1,"
        "\"epoch\":1},\"processes\":[{}]}",
        "{\"version\":9,\"state\":\"done\",\"why\":\"\",\"supervisor\":{\"pid\":1,\"start\":1,"
        "\"epoch\":1},\"processes\":[]}"};
    char *path = xprint("%s/state.json", (char *)*state);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        struct run_state s;
        FILE *f = fopen(path, "w");
        fputs(bad[i], f);
        fclose(f);
        assert_true(run_state_read(*state, &s, &e) < 0);
        assert_true(strstr(e.text, "state.json") != NULL);
    }
    free(path);
}

static void
a_run_has_one_supervisor(void **state)
{
    struct error e = {0};
    struct lock a, b;
    assert_int_equal(run_supervisor(*state), 0);
    assert_int_equal(run_lock(*state, &a, &e), 0);
    assert_int_equal(run_supervisor(*state), getpid());
    assert_int_equal(run_lock(*state, &b, &e), ERROR_locked);
    char *pid = xprint("pid %ld", (long)getpid());
    assert_non_null(strstr(e.text, pid));
    free(pid);
    lock_drop(&a);
    assert_int_equal(run_supervisor(*state), 0);
    assert_int_equal(run_lock(*state, &b, &e), 0);
    lock_drop(&b);
}

static void
the_newest_run_is_found(void **state)
{
    struct error e = {0};
    char *dir = NULL, *first = NULL, *second = NULL, here[4096];
    struct plan p = {.name = (char *)"flow",
                     .run_id = (char *)"x",
                     .file = (char *)"flow.yaml",
                     .folder = (char *)"/"};
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(run_find(NULL, &dir, &e), ERROR_usage);
    FILE *f = fopen("flow.yaml", "w");
    fputs("name: flow\n", f);
    fclose(f);
    assert_int_equal(run_make("flow", NULL, &first, &e), 0);
    assert_false(run_exists(first));        /* without a plan it is no run */
    assert_int_equal(run_find(NULL, &dir, &e), ERROR_usage);
    assert_int_equal(run_begin(first, &p, "flow.yaml", &e), 0);
    assert_int_equal(run_make("flow", NULL, &second, &e), 0);
    assert_string_not_equal(first, second);
    assert_int_equal(run_begin(second, &p, "flow.yaml", &e), 0);
    assert_int_equal(run_find(NULL, &dir, &e), 0);
    assert_string_equal(dir, second);
    free(dir);
    assert_int_equal(run_find("nowhere", &dir, &e), ERROR_usage);
    assert_int_equal(run_make("flow", second, &dir, &e), ERROR_usage);
    assert_int_equal(chdir(here), 0);
    free(first);
    free(second);
}

int
main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_never_counts),
        cmocka_unit_test(an_unread_end_never_counts),
        cmocka_unit_test(the_first_start_after_an_end_is_at_once),
        cmocka_unit_test(crashes_before_an_answer_fail_soon),
        cmocka_unit_test(a_refusal_fails_at_once),
        cmocka_unit_test(crashes_within_the_window_fail),
        cmocka_unit_test(crashes_far_apart_do_not_fail),
        cmocka_unit_test(a_pause_waits_and_does_not_count),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(a_pid_with_another_start_time_is_not_adopted),
        WITH(last_words_are_the_last_error),
        WITH(a_state_file_comes_back),
        WITH(a_bad_state_file_is_an_error_and_no_crash),
        WITH(a_run_has_one_supervisor),
        WITH(the_newest_run_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
