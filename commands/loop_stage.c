/* loop_stage: the stages of a round as processes of their own. A stage dies with the loop (its
 * run's nodes do not: the next supervisor adopts them), and stands in a process group of its own,
 * so that ^C reaches it once, through us. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands/loop.h"

static volatile sig_atomic_t first_signal;
static volatile pid_t stage;
static sigset_t both;

static void
pass_on(int signal)
{
    int kept = errno;

    if (!first_signal)
        first_signal = signal;
    if (stage > 0)
        kill(stage, signal);
    errno = kept;
}

void
stage_signals(void)
{
    struct sigaction act = {.sa_handler = pass_on};

    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

int
stage_signal(void)
{
    return first_signal;
}

/* In the child: signals as they were, and no life without the loop. */
static void
child_begin(pid_t parent)
{
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &both, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

/* fork() with the pid known before a signal can ask for it. */
static pid_t
child_fork(struct error *e)
{
    pid_t parent = getpid(), pid;

    fflush(NULL);
    sigprocmask(SIG_BLOCK, &both, NULL);
    pid = first_signal ? 0 : fork();
    if (pid == 0 && getpid() == parent) { /* told to stop before it began */
        sigprocmask(SIG_UNBLOCK, &both, NULL);
        return error_set(e, ERROR_paused, "stopped");
    }
    if (pid == 0) {
        child_begin(parent);
        return 0;
    }
    if (pid > 0) {
        setpgid(pid, pid);
        stage = pid;
    }
    sigprocmask(SIG_UNBLOCK, &both, NULL);
    return pid > 0 ? pid : error_set(e, ERROR_internal, "fork: %s", strerror(errno));
}

static int
child_wait(pid_t pid)
{
    siginfo_t info;
    int status;

    /* Reaped only once no signal is sent to its number any more. */
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    stage = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int
stage_work(int (*work)(void *own, struct error *e), void *own, struct error *e)
{
    struct error told = {0};
    int ends[2], status;
    ssize_t n;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(e, ERROR_internal, "pipe: %s", strerror(errno));
    pid = child_fork(e);
    if (pid == 0) {
        int rc = work(own, &told);

        told.code = rc;
        n = rc ? write(ends[1], &told, sizeof(told)) : 0;
        _exit(rc || n < 0);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return pid;
    }
    do
        n = read(ends[0], &told, sizeof(told));
    while (n < 0 && errno == EINTR);
    close(ends[0]);
    status = child_wait(pid);
    if (n == (ssize_t)sizeof(told))
        return error_set(e, told.code, "%.*s", ERROR_TEXT_MAX - 1, told.text);
    if (status == 0)
        return 0;
    if (first_signal)
        return error_set(e, ERROR_paused, "stopped");
    if (WIFSIGNALED(status))
        return error_set(e, ERROR_internal, "its process was killed by signal %d",
                         WTERMSIG(status));
    return error_set(e, ERROR_internal, "its process ended with exit code %d", WEXITSTATUS(status));
}

int
stage_self(char *const *words, const char *log, struct error *e)
{
    pid_t pid = child_fork(e);
    int status;

    if (pid == 0) {
        int out = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;

        if (out >= 0)
            dup2(out, STDOUT_FILENO);
        execv("/proc/self/exe", words);
        fprintf(stderr, "sluice loop: cannot start itself: %s\n", strerror(errno));
        _exit(127);
    }
    if (pid < 0)
        return pid;
    status = child_wait(pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
