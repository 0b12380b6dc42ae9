/* run: the directory of a run and the two small files in it that belong to the supervisor.
 *
 *   RUN/plan.json       what runs (graph/plan.h)         RUN/topology.yaml   a copy of what was
 * asked for RUN/given/plan.json the plan as the file last gave it, so that an edited file and a
 * `sluice set` can be told apart RUN/lock            flock of the living supervisor, with its pid
 * and start time RUN/state.json      what the supervisor last knew: phase, its epoch, and one row
 * per process RUN/supervisor.log, RUN/logs, RUN/stores, RUN/checkpoints
 *
 * A process is named by pid *and* start time (field 22 of /proc/PID/stat): a pid alone is reused.
 */
#ifndef GRAPH_RUN_H
#define GRAPH_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "graph/lock.h"
#include "graph/plan.h"

#define RUN_FOLDER        "runs"        /* where runs go when no --run is given */
#define RUN_STATE_VERSION 1
#define RUN_NUMBER_MAX    9999          /* runs of one name on one day */
#define RUN_LOCK_WAIT     0.2           /* seconds: `status` looks at the lock for an instant */
#define RUN_WHY_MAX       512

enum run_phase {
    RUN_running,
    RUN_draining,       /* sources stopped reading; what is in flight flows out */
    RUN_paused,         /* a process cannot go on: full disk, spent budget */
    RUN_stopped,        /* left in good order before its end; `sluice run` continues it */
    RUN_done,
    RUN_failed,
};

struct run_process {
    char    *id;
    int      replica;
    pid_t    pid;           /* 0: none */
    uint64_t start;         /* of that pid */
    uint64_t revision;      /* of the plan it was started with */
    int64_t  restarts;      /* since the run was made, whatever the cause */
    bool     held;          /* `sluice stop RUN NODE`: stays down until restarted */
    bool     crashed;       /* its last incarnation ended by a crash of its own */
};

struct run_state {
    enum run_phase      phase;
    char                why[RUN_WHY_MAX];
    pid_t               pid;        /* of the supervisor that wrote it */
    uint64_t            start;
    uint64_t            epoch;      /* grows with every supervisor of this run */
    int                 count;
    struct run_process *processes;  /* plan order, then replica */
};

const char *run_phase_name(enum run_phase phase);       /* "running" */

/* Make the directory itself (NULL: runs/<name>-<date>-<n>, the first n that is free) with its
 * folders. *dir is the caller's, absolute. -> ERROR_file, ERROR_usage when it holds a run already.
 */
int run_make(const char *name, const char *given, char **dir, struct error *e);
/* Put both plans and a copy of the topology into it; from then on it is a run. */
int run_begin(const char *dir, const struct plan *p, const char *topology, struct error *e);

/* The directory meant by a command: `given`, or the newest under runs/ when NULL. Absolute; the
 * caller's. -> ERROR_usage. */
int run_find(const char *given, char **dir, struct error *e);
bool run_exists(const char *dir);       /* does it hold a plan? */

/* Become the one supervisor of the run, until lock_drop() or death. -> ERROR_locked with the
 * owner's pid. */
int run_lock(const char *dir, struct lock *l, struct error *e);
/* After fork: the lock is held through the inherited descriptor; name this process as its owner. */
void run_lock_inherit(struct lock *l);
/* The pid of the living supervisor, or 0. */
pid_t run_supervisor(const char *dir);

/* A missing state file reads as zero. -> ERROR_file, ERROR_input. */
int  run_state_read(const char *dir, struct run_state *s, struct error *e);
int run_state_write(const char *dir, const struct run_state *s, struct error *e); /* atomically */
void run_state_free(struct run_state *s);
struct run_process *run_state_find(const struct run_state *s, const char *id,
                                   int replica); /* or NULL */

/* Write a file aside, sync it, rename it into place. -> ERROR_file, ERROR_space. */
int run_write_file(const char *path, struct span bytes, struct error *e);

#endif
