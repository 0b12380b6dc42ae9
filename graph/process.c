/* process: start, adopt, stop and judge one process. When to do which is the supervisor's business.
 */
#include "graph/process.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_PAUSED    75
#define EXIT_REFUSED   78
#define TAIL_BYTES     (64 << 10)   /* of a log looked at for last words */
#define ERRORS_BYTES_MAX (4 << 20)  /* of a standard-error file before it starts over */

extern char **environ;

int
process_start(struct process *p, const char *run_dir, bool keep_input, double now, struct error *e)
{
    char replica[16];
    snprintf(replica, sizeof replica, "%d", p->replica);
    char *argv[] = {(char *)"sluice", (char *)"node", (char *)run_dir, p->id, replica,
                    p->crashed ? (char *)"--crashed" : NULL, NULL};
    struct stat st;
    int cut = stat(p->errors, &st) == 0 && st.st_size > ERRORS_BYTES_MAX ? O_TRUNC : 0;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    if (!keep_input)
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, p->errors, O_WRONLY | O_CREAT | O_APPEND | cut,
                                     0644);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setflags(&how,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid = 0;
    int rc = posix_spawn(&pid, "/proc/self/exe", &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    if (rc != 0)
        return error_set(e, ERROR_file, "cannot start '%s': %s", p->id, strerror(rc));
    p->pid = pid;
    p->start = lock_start_time(pid);
    p->pidfd = pidfd_open(pid, 0);
    p->own = true;
    p->phase = PROCESS_up;
    p->answered = false;
    p->since = now;
    p->why[0] = 0;
    if (p->pidfd >= 0)
        return 0;
    rc = errno;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    p->pid = 0;
    p->phase = PROCESS_down;
    return error_set(e, ERROR_file, "cannot watch '%s': %s", p->id, strerror(rc));
}

bool
process_adopt(struct process *p, pid_t pid, uint64_t start, double now)
{
    int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (fd < 0)
        return false;
    /* Read after the pidfd is held: only now can the pid not change its owner any more. */
    if (lock_start_time(pid) != start) {
        close(fd);
        return false;
    }
    p->pid = pid;
    p->start = start;
    p->pidfd = fd;
    p->own = false;
    p->phase = PROCESS_up;
    p->answered = false;
    p->since = now;
    p->why[0] = 0;
    return true;
}

static enum process_end
end_of_child(pid_t pid, char *what, size_t room)
{
    int status = 0;
    pid_t got;
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got != pid) {
        snprintf(what, room, "ended, nobody knows how");
        return PROCESS_END_unread;
    }
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        bool mine = number == SIGSEGV || number == SIGABRT || number == SIGBUS ||
                    number == SIGFPE || number == SIGILL || number == SIGSYS;
        snprintf(what, room, "%s by SIG%s", mine ? "crashed" : "was killed", sigabbrev_np(number));
        return mine ? PROCESS_END_crash : PROCESS_END_killed;
    }
    int code = WEXITSTATUS(status);
    if (code == EXIT_PAUSED)
        snprintf(what, room, "paused (exit %d)", code);
    else
        snprintf(what, room, "ended with exit code %d", code);
    return code == 0             ? PROCESS_END_good
           : code == EXIT_PAUSED ? PROCESS_END_paused
           : code == EXIT_REFUSED ? PROCESS_END_refused
                                 : PROCESS_END_crash;
}

enum process_end
process_ended(struct process *p, char *what, size_t room)
{
    if (p->pid == 0)
        return PROCESS_END_none;
    struct pollfd poll_one = {.fd = p->pidfd, .events = POLLIN};
    if (poll(&poll_one, 1, 0) <= 0)
        return PROCESS_END_none;
    enum process_end end = PROCESS_END_unread;
    if (p->own)
        end = end_of_child(p->pid, what, room);
    else
        snprintf(what, room, "ended (adopted, so nobody read how)");
    close(p->pidfd);
    p->pidfd = -1;
    p->pid = 0;
    p->start = 0;
    p->own = false;
    return end;
}

void
process_signal(struct process *p, int number)
{
    if (p->pidfd >= 0)
        pidfd_send_signal(p->pidfd, number, NULL, 0);
}

void
process_stop(struct process *p, bool again, double grace, double now)
{
    if (p->pid == 0)
        return;
    p->again = again;
    if (p->phase != PROCESS_stopping || now + grace < p->kill_at)
        p->kill_at = now + grace;
    p->phase = PROCESS_stopping;
    process_signal(p, SIGTERM);
}

bool
process_back_off(struct process *p, enum process_end end, double now)
{
    bool paused = end == PROCESS_END_paused;
    double first = paused ? PROCESS_PAUSE_FIRST : PROCESS_DELAY_FIRST;
    double most = paused ? PROCESS_PAUSE_MAX : PROCESS_DELAY_MAX;
    bool healthy = p->answered && now - p->since >= PROCESS_HEALTHY;
    /* The first end after a healthy time costs nothing: most are kills, and the stream waits for
     * us. */
    p->next = now + (paused && p->delay == 0 ? first : healthy ? 0 : p->delay);
    p->delay = healthy ? 0 : p->delay == 0 ? first : p->delay * 2 > most ? most : p->delay * 2;
    p->crashed = end == PROCESS_END_crash;
    if (end == PROCESS_END_refused)
        return true;
    if (end != PROCESS_END_crash)
        return false;
    p->stillborn = p->answered ? 0 : p->stillborn + 1;
    p->crashes[p->crash_count++ % PROCESS_CRASHES_MAX] = now;
    if (p->stillborn >= PROCESS_STILLBORN_MAX)
        return true;
    /* The oldest of the ring is the one written next. */
    return p->crash_count >= PROCESS_CRASHES_MAX &&
           now - p->crashes[p->crash_count % PROCESS_CRASHES_MAX] < PROCESS_CRASH_WINDOW;
}

/* The last TAIL_BYTES of a file, terminated; NULL when there is none. */
static char *
file_tail(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = xalloc(TAIL_BYTES + 1);
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t n =
        size <= 0 ? 0 : pread(fd, text, TAIL_BYTES, size > TAIL_BYTES ? size - TAIL_BYTES : 0);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* The last line of `text`, which is cut off there; NULL when nothing is left. */
static char *
line_last(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        text[--length] = 0;
    if (length == 0)
        return NULL;
    char *newline = strrchr(text, '\n');
    if (newline == NULL)
        return text;
    *newline = 0;
    return newline + 1;
}

void
process_last_words(const struct process *p, char *text, size_t room)
{
    text[0] = 0;
    char *tail = file_tail(p->log);
    for (char *line; tail != NULL && text[0] == 0 && (line = line_last(tail)) != NULL;) {
        json_t *row = json_loads(line, 0, NULL);
        const char *level = json_string_value(json_object_get(row, "level"));
        const char *said = json_string_value(json_object_get(row, "text"));
        if (level != NULL && said != NULL && strcmp(level, "error") == 0)
            snprintf(text, room, "%s", said);
        json_decref(row);
        if (line == tail)
            break;
    }
    free(tail);
    if (text[0] != 0)
        return;
    tail = file_tail(p->errors);
    char *line = tail ? line_last(tail) : NULL;
    snprintf(text, room, "%s", line ? line : "");
    free(tail);
}

void
process_fini(struct process *p)
{
    if (p->pidfd >= 0)
        close(p->pidfd);
    free(p->id);
    free(p->control);
    free(p->lock);
    free(p->log);
    free(p->errors);
    memset(p, 0, sizeof *p);
    p->pidfd = -1;
}
