/* child: fork, exec, watch, kill. Between fork and exec only calls that are safe there. */
#include "nodes/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodes/remote/redact.h"

#define REAP_MS 5000    /* a killed process that does not end in so long is left to init */

static const char *const usual_names[] = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"};

#define USUAL_COUNT (sizeof(usual_names) / sizeof(usual_names[0]))

/* All that the child needs, made before the fork: it may not allocate. */
struct start {
    const struct child_how *how;
    char  *program;
    char  *arguments[CHILD_WORDS_MAX + 1];
    char  *environment[CHILD_WORDS_MAX + USUAL_COUNT + 2];
    int    environment_count;
    char   map[64];                 /* of user and group in a namespace of its own */
    int    ends[3];                 /* the child's ends of the pipes */
    int    report;                  /* errno of what failed */
    pid_t  parent;
};

/* ---- what is started ---- */

static bool
is_program(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 && S_ISREG(s.st_mode) && access(path, X_OK) == 0;
}

/* The file that a command's first word names; NULL: there is none. */
static char *
find_program(const char *word, const char *folder)
{
    const char *path = getenv("PATH");
    char       *found = NULL;

    if (strchr(word, '/')) {
        found = word[0] == '/' ? xtext(word) : xprint("%s/%s", folder, word);
        if (!is_program(found)) {
            free(found);
            found = NULL;
        }
        return found;
    }
    for (path = path ? path : "/usr/local/bin:/usr/bin:/bin"; *path && !found;) {
        size_t length = strcspn(path, ":");

        found = xprint("%.*s/%s", (int)length, path, word);
        if (length == 0 || !is_program(found)) {
            free(found);
            found = NULL;
        }
        path += length + (path[length] == ':');
    }
    return found;
}

int
child_check(const struct child_how *how, struct error *e)
{
    if (how->command.count == 0 || !how->command.at[0][0])
        return error_set(e, ERROR_file, "no program is named");
    if (how->command.count > CHILD_WORDS_MAX || how->env.count > CHILD_WORDS_MAX)
        return error_set(e, ERROR_file, "more than %d words", CHILD_WORDS_MAX);
    char *program = find_program(how->command.at[0], how->folder);
    if (!program)
        return error_set(e, ERROR_file, "'%.200s' is no program here%s", how->command.at[0],
                         strchr(how->command.at[0], '/') ? "" : " (PATH was searched)");
    free(program);
    return 0;
}

static void
environment_add(struct start *s, const char *name, const char *value)
{
    if (value)
        s->environment[s->environment_count++] = xprint("%s=%s", name, value);
}

static void
environment_make(struct start *s)
{
    for (size_t i = 0; i < USUAL_COUNT; i++)
        environment_add(s, usual_names[i], getenv(usual_names[i]));
    environment_add(s, "PYTHONUNBUFFERED", "1");
    for (int i = 0; i < s->how->env.count; i++) {
        const char *name = s->how->env.at[i];

        if (strchr(name, '='))
            s->environment[s->environment_count++] = xtext(name);
        else
            environment_add(s, name, getenv(name));
    }
}

static void
start_free(struct start *s)
{
    for (int i = 0; i < s->environment_count; i++)
        free(s->environment[i]);
    free(s->program);
}

/* ---- in the child ---- */

/* `more`: how far the hard limit lies above the soft one. Limits that we have are never raised. */
static void
limit(int what, rlim_t value, rlim_t more)
{
    struct rlimit old, now = {value, value + more};

    if (value > 0 && getrlimit(what, &old) == 0) {
        if (old.rlim_max != RLIM_INFINITY && old.rlim_max < now.rlim_max)
            now.rlim_max = old.rlim_max;
        if (now.rlim_cur > now.rlim_max)
            now.rlim_cur = now.rlim_max;
        setrlimit(what, &now);
    }
}

static void
write_small(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    ssize_t n = write(fd, text, strlen(text));
    (void)n;
    close(fd);
}

/* A network namespace needs rights; a user namespace of its own gives them, with the same user inside. */
static bool
isolate(const char *map)
{
    if (unshare(CLONE_NEWNET) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    write_small("/proc/self/setgroups", "deny");
    write_small("/proc/self/uid_map", map);
    return true;
}

static void
limits_set(const struct child_how *how)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    limit(RLIMIT_AS, (rlim_t)how->memory, 0);
    limit(RLIMIT_FSIZE, (rlim_t)how->file_bytes, 0);
    limit(RLIMIT_NPROC, (rlim_t)how->processes, 0);
    /* At the soft limit comes SIGXCPU, which is its own fault; at the hard one SIGKILL, which could be anyone's. */
    if (how->cpu > 0)
        limit(RLIMIT_CPU, (rlim_t)how->cpu + ((double)(rlim_t)how->cpu < how->cpu), 1);
}

static void __attribute__((noreturn))
child_main(const struct start *s)
{
    sigset_t none;
    int      code = 0;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != s->parent)     /* it died before we asked */
        _exit(127);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Above the three, so that no dup2 closes an end that is still to be moved. */
    int report = fcntl(s->report, F_DUPFD_CLOEXEC, 16), ends[3];
    for (int i = 0; i < 3; i++)
        ends[i] = fcntl(s->ends[i], F_DUPFD_CLOEXEC, 16);
    for (int i = 0; i < 3; i++)
        dup2(ends[i], i);
    if (chdir(s->how->folder) != 0)
        code = errno;
    if (code == 0 && s->how->no_network && !isolate(s->map))
        code = errno;
    /* A change of credentials may clear it: once more, and once more the parent may have died before. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != s->parent)
        _exit(127);
    if (code == 0) {
        /* All descriptors of ours stay here, also those without the flag. */
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        limits_set(s->how);
        execve(s->program, s->arguments, s->environment);
        code = errno;
    }
    ssize_t n = write(report, &code, sizeof(code));
    (void)n;
    _exit(127);
}

/* ---- starting ---- */

static void
close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int
fork_child(struct child *c, struct start *s, int report[2], struct error *e)
{
    int code = 0;

    s->parent = getpid();
    c->pid = fork();
    if (c->pid == 0)
        child_main(s);
    close_one(&report[1]);
    if (c->pid < 0) {
        c->pid = 0;
        return error_set(e, ERROR_file, "fork: %s", strerror(errno));
    }
    setpgid(c->pid, c->pid);
    c->pidfd = pidfd_open(c->pid, 0);
    ssize_t n;
    do
        n = read(report[0], &code, sizeof(code));
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(code))
        return error_set(e, ERROR_file, "cannot start '%.200s' in '%.200s': %s", s->program,
                         s->how->folder, strerror(code));
    if (c->pidfd < 0)
        return error_set(e, ERROR_file, "cannot watch '%.200s': %s", s->program, strerror(errno));
    return 0;
}

static int
pipes_open(struct child *c, struct start *s, int report[2], struct error *e)
{
    int pipes[3][2];

    for (int i = 0; i < 3; i++)
        pipes[i][0] = pipes[i][1] = -1;
    bool made = pipe2(report, O_CLOEXEC) == 0;
    for (int i = 0; i < 3 && made; i++)
        made = pipe2(pipes[i], O_CLOEXEC) == 0;
    s->ends[0] = pipes[0][0];
    c->input = pipes[0][1];
    c->output = pipes[1][0];
    s->ends[1] = pipes[1][1];
    c->errors = pipes[2][0];
    s->ends[2] = pipes[2][1];
    s->report = report[1];
    if (!made)
        return error_set(e, ERROR_file, "pipe: %s", strerror(errno));
    fcntl(c->input, F_SETFL, O_NONBLOCK);
    fcntl(c->output, F_SETFL, O_NONBLOCK);
    fcntl(c->errors, F_SETFL, O_NONBLOCK);
    return 0;
}

int
child_open(struct child *c, const struct child_how *how, struct error *e)
{
    struct start s = {.how = how, .ends = {-1, -1, -1}};
    int          report[2] = {-1, -1};
    int          rc = child_check(how, e);

    *c = (struct child){.pidfd = -1, .input = -1, .output = -1, .errors = -1};
    if (rc != 0)
        return rc;
    s.program = find_program(how->command.at[0], how->folder);
    for (int i = 0; i < how->command.count; i++)
        s.arguments[i] = (char *)how->command.at[i];
    snprintf(s.map, sizeof(s.map), "%u %u 1\n", (unsigned)geteuid(), (unsigned)geteuid());
    environment_make(&s);
    rc = s.program ? pipes_open(c, &s, report, e) : error_set(e, ERROR_file, "it was removed");
    if (rc == 0)
        rc = fork_child(c, &s, report, e);
    for (int i = 0; i < 3; i++)
        close_one(&s.ends[i]);
    close_one(&report[0]);
    close_one(&report[1]);
    start_free(&s);
    if (rc != 0)
        child_close(c);
    return rc;
}

/* ---- ending ---- */

bool
child_ended(struct child *c, int *status)
{
    siginfo_t info = {0};

    if (c->pid == 0 || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0)
        return false;
    kill(-c->pid, SIGKILL);         /* before it is reaped: its number cannot be another's yet */
    while (waitpid(c->pid, status, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
    close_one(&c->pidfd);
    return true;
}

void
child_close(struct child *c)
{
    int           status;
    struct pollfd end = {.fd = c->pidfd, .events = POLLIN};

    if (c->pid > 0) {
        kill(-c->pid, SIGKILL);
        kill(c->pid, SIGKILL);
        if (c->pidfd < 0 || poll(&end, 1, REAP_MS) > 0)
            while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
                ;
        c->pid = 0;
    }
    close_one(&c->pidfd);
    close_one(&c->input);
    close_one(&c->output);
    close_one(&c->errors);
}

static bool
names_secret(const char *name)
{
    static const char *const parts[] = {"KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", NULL};

    for (const char *const *part = parts; *part; part++)
        if (strcasestr(name, *part))
            return true;
    return false;
}

void
child_redact(const struct child_how *how, char *text, size_t length)
{
    for (int i = 0; i < how->env.count; i++) {
        const char *name = how->env.at[i], *equals = strchr(name, '=');
        const char *value = equals ? equals + 1 : getenv(name);

        if (value && names_secret(name))
            redact(text, length, value);
    }
}

void
child_words(int status, char *text, size_t room)
{
    if (WIFSIGNALED(status))
        snprintf(text, room, "SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(text, room, "exit code %d", WEXITSTATUS(status));
}

bool
child_was_killed(int status)
{
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    return number == SIGKILL || number == SIGTERM || number == SIGINT || number == SIGHUP;
}

bool
child_can_isolate(void)
{
    static int known;       /* 0: not tried, 1: yes, 2: no */
    char       map[64];
    int        status = 0;

    if (known)
        return known == 1;
    snprintf(map, sizeof(map), "%u %u 1\n", (unsigned)geteuid(), (unsigned)geteuid());
    pid_t pid = fork();
    if (pid == 0)
        _exit(isolate(map) ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    known = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 2;
    return known == 1;
}
