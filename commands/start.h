/* start: supervising a run that is made and locked: what `run` and `replay` share. */
#ifndef COMMANDS_START_H
#define COMMANDS_START_H

#include <stdbool.h>

#include "base/error.h"
#include "graph/lock.h"

struct start {
    double grace;           /* seconds a drain may take */
    bool   pause_exits;     /* --on-pause exit */
    bool   json, quiet;     /* of the progress */
    bool   detach;
    int    ready_fd;        /* -1, or: one byte is written once the supervisor stands */
};

/* What the judges of a plan would cost on its input, told on standard output: rollouts, steps,
 * calls, tokens, money (commands/estimate.c). `sample` 0: of the whole input. `run`: a run whose
 * judges' answers are known, or NULL. Returns the exit code, after a message. */
struct plan;
int estimate(const struct plan *plan, const char *run, long sample, bool json);

/* A new run id: 16 random bytes in hex, in place of what *id holds. */
int start_run_id(char **id, struct error *e);
/* Supervise until the end, here or detached; the lock is dropped. Returns the exit code, after a
 * message when it is not 0. */
int start_run(const char *dir, struct lock *lock, const struct start *how);
/* The same in this process, always. -> exit code, or a negative ERROR_* with its text in e. */
int start_supervise(const char *dir, struct lock *lock, const struct start *how, struct error *e);

#endif
