/* lock: who owns a store or a run, for life: an flock(2) on a file that names the owner by pid and start
 * time. Taken before any socket is bound, close-on-exec; the kernel drops it however the owner dies. */
#ifndef GRAPH_LOCK_H
#define GRAPH_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct lock {
    int fd;             /* -1: not held */
};

struct lock_holder {
    pid_t    pid;
    uint64_t start;     /* clock ticks after boot, field 22 of /proc/<pid>/stat */
};

/* Take it, waiting at most `seconds` (a peek holds it for milliseconds). -> ERROR_locked naming the pid that has
 * it, ERROR_file. */
int  lock_take(struct lock *l, const char *path, double seconds, struct error *e);
/* Keep owners out while reading, without a wait and without becoming one: lock_held() does not see it, so nobody takes
 * the reader for the process that owns the store. The file need not be writable. -> as lock_take(). */
int  lock_share(struct lock *l, const char *path, struct error *e);
void lock_drop(struct lock *l);

/* Does someone hold the lock now? Then fills `h` (pid 0 when the file does not tell). */
bool lock_held(const char *path, struct lock_holder *h);

/* Start time of a live process, 0 when there is none. A pid alone may have been given to another. */
uint64_t lock_start_time(pid_t pid);
#endif
