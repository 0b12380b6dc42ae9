/* supervisor: keeps the processes of one run alive until all have finished, and is not missed while
 * it is dead.
 *
 * It starts processes in topological order, restarts what ends (with capped, doubling back-off),
 * counts only crashes of their own, asks finished ones to leave once everything above them has
 * finished, and carries out what `sluice restart, stop, drain, set` ask for over its control
 * socket. Nodes outlive it: the next supervisor adopts them by the locks of their stores, and reaps
 * first those that run another revision of the plan.
 *
 * One thread. Nothing it does waits for a node: questions are polled (graph/ask.h). */
#ifndef GRAPH_SUPERVISOR_H
#define GRAPH_SUPERVISOR_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/ask.h"
#include "graph/control.h"
#include "graph/log.h"
#include "graph/place.h"
#include "graph/plan.h"
#include "graph/process.h"
#include "graph/run.h"

#define SUPERVISOR_GRACE                                                                           \
    30.0 /* seconds a drain or a stop may take, unless --grace says otherwise */
#define SUPERVISOR_GRACE_STOP 10.0      /* seconds a process has to end in good order */
#define SUPERVISOR_ASK        5.0       /* seconds a node has to answer */
#define SUPERVISOR_LOOK       0.15      /* seconds between two status asks of one process */
#define SUPERVISOR_SETS_MAX   64        /* live options on their way to one process */

enum request {
    REQUEST_none,
    REQUEST_status,
    REQUEST_drain,
    REQUEST_leave,
    REQUEST_set,
    REQUEST_hold,
    REQUEST_resume,
    REQUEST_undrain,
};

/* One process and what is going on with it. */
struct worker {
    struct process process;
    struct ask     ask;
    enum request   asked;       /* what `ask` waits for */
    json_t        *status;      /* its last status answer, or NULL */
    double         status_at;   /* when that came */
    double         look_at;     /* when to ask for the next */
    bool           finished;    /* it recorded that it finished */
    bool           told_drain, told_leave;  /* this incarnation */
    bool           paused;      /* status or last exit says so */
    json_t        *sets;        /* array of {option, value, revision} it has to be told */
};

/* A change of `replicas`, one at a time: hold the reader, write the row, restart the neighbours,
 * resume. */
enum change_stage {
    CHANGE_none,
    CHANGE_hold,
    CHANGE_write,
    CHANGE_restart,
    CHANGE_done,
    CHANGE_failed
};
struct change {
    enum change_stage stage;
    uint64_t          number;   /* grows with every change this supervisor was asked for */
    int               node;     /* whose replicas */
    int               source;   /* the reader that holds */
    int               count;    /* replicas wanted */
    uint64_t          first;    /* where the reader holds */
    char              error[RUN_WHY_MAX];
};

struct supervisor {
    const char      *dir;           /* absolute */
    double           grace;
    bool             pause_exits;   /* --on-pause exit */
    struct plan      plan;
    struct place     place;
    struct log      *log;
    struct control  *control;
    struct run_state state;         /* phase, epoch; rows are made from the workers when written */
    int              count;
    struct worker   *workers;       /* plan order, then replica */
    struct change    change;
    bool             resume_due;    /* a reader may still hold from a change that was cut short */
    bool             dirty;         /* the state file is behind */
    double           dirty_since;
    int              signals;       /* SIGINT, SIGTERM seen */
    int              signal_first;  /* which came first; 0: none */
    enum run_phase   ending;        /* the phase to end in once nothing lives; RUN_running: go on */
    double           ending_at;     /* drain: when patience ends */
    bool             stopping;      /* processes have been told to stop */
    int              signal_fd;
    sigset_t         signals_before;
};

/* Take over the run: the plan, the sockets, the processes that live. The lock is held by the caller
 * (run_lock). */
int supervisor_open(struct supervisor *s, const char *dir, struct error *e);
/* One turn: waits at most `seconds` for something to happen. 1: go on; 0: nothing lives and
 * state.phase tells how it ended; or an error of our own. */
int supervisor_turn(struct supervisor *s, double seconds, struct error *e);
void supervisor_close(struct supervisor *s);

/* ---- parts, for supervisor_*.c and the progress display ---- */
double         supervisor_now(void);        /* monotonic seconds */
struct worker *supervisor_worker(struct supervisor *s, int node, int replica);     /* or NULL */
/* Make rows for replicas that the plan has and we do not. */
int  supervisor_grow(struct supervisor *s, struct error *e);
void supervisor_dirty(struct supervisor *s);
void supervisor_stop_all(struct supervisor *s, enum run_phase ending, double grace);
void supervisor_drain(struct supervisor *s);
/* Has every ordinal that was emitted been settled at every terminal, as far as the last answers
 * tell? */
bool supervisor_flowed_out(const struct supervisor *s);
bool supervisor_upstream_finished(const struct supervisor *s, int node);
/* {"id","replica","kind","pid","state","why","epoch","restarts","in","out","in_flight","dead"} of
 * one process. */
json_t *supervisor_row(const struct supervisor *s, const struct worker *w);
json_t *supervisor_status(const struct supervisor *s);      /* what the control socket answers */

/* supervisor_answer.c: the control socket. */
int supervisor_answer(void *own, const char *ask, json_t *request, json_t *reply, struct error *e);

/* supervisor_change.c */
/* Put a live option into a plan that is not running, checked; raises the revision. -> ERROR_usage,
 * ERROR_topology */
int change_option(struct plan *p, int node, const char *option, const char *value, struct error *e);
int change_set(struct supervisor *s, int node, const char *option, const char *value,
               struct error *e);
int  change_replicas(struct supervisor *s, int node, int count, struct error *e);
void change_held(struct supervisor *s, const json_t *reply);    /* the reader's answer to "hold" */
void change_turn(struct supervisor *s);                         /* carry it on */

/* supervisor_ask.c: what each process is asked next, and what its answers mean. */
void supervisor_asks(struct supervisor *s, double now);
void supervisor_forget(struct worker *w);       /* its incarnation ended */

#endif
