/* lock: flock with the owner's pid and start time inside the file. */
#include "graph/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_RETRY_MS 5

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t
lock_start_time(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *at = strrchr(text, ')');      /* the command name may hold spaces and brackets */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    unsigned long long start = 0;
    if (!at || sscanf(at + 1, "%llu", &start) != 1)
        return 0;
    return start;
}

static void
holder_read(int fd, struct lock_holder *h)
{
    char text[64] = "";
    long pid = 0;
    unsigned long long start = 0;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n > 0 && sscanf(text, "%ld %llu", &pid, &start) == 2) {
        h->pid = (pid_t)pid;
        h->start = start;
    }
}

int
lock_take(struct lock *l, const char *path, double seconds, struct error *e)
{
    double until = now() + seconds;
    l->fd = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(e, ERROR_file, "lock file '%s': %s", path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            int code = errno;
            close(fd);
            return error_set(e, ERROR_file, "lock file '%s': %s", path, strerror(code));
        }
        if (now() >= until) {
            struct lock_holder h = {0, 0};
            holder_read(fd, &h);
            close(fd);
            return error_set(e, ERROR_locked, "'%s' is held by process %ld", path, (long)h.pid);
        }
        poll(NULL, 0, LOCK_RETRY_MS);   /* there is no flock with a time limit */
    }
    char text[64];
    int length = snprintf(text, sizeof(text), "%ld %llu\n", (long)getpid(),
                          (unsigned long long)lock_start_time(getpid()));
    /* Who we are is a courtesy: the lock holds even where a full disk keeps the text out. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
        (void)length;
    l->fd = fd;
    return 0;
}

int
lock_share(struct lock *l, const char *path, struct error *e)
{
    l->fd = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(e, ERROR_file, "lock file '%s': %s", path, strerror(errno));
    if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
        int code = errno;
        struct lock_holder h = {0, 0};
        holder_read(fd, &h);
        close(fd);
        if (code == EWOULDBLOCK)
            return error_set(e, ERROR_locked, "'%s' is held by process %ld", path, (long)h.pid);
        return error_set(e, ERROR_file, "lock file '%s': %s", path, strerror(code));
    }
    l->fd = fd;
    return 0;
}

void
lock_drop(struct lock *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

bool
lock_held(const char *path, struct lock_holder *h)
{
    *h = (struct lock_holder){0, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (held)
        holder_read(fd, h);
    close(fd);
    return held;
}
