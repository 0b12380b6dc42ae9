/* process: one process of a run as its supervisor sees it: started or adopted, watched by pidfd,
 * and judged when it ends.
 *
 * A process outlives its supervisor on purpose. It is therefore known by the lock file of its store
 * (pid and start time), not by being a child. Only a crash it caused itself counts against it;
 * kills, out-of-memory and ends that nobody could read do not. */
#ifndef GRAPH_PROCESS_H
#define GRAPH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "graph/run.h"

#define PROCESS_DELAY_FIRST   0.05  /* seconds before the second start in a row; doubles ... */
#define PROCESS_DELAY_MAX     10.0  /* ... up to this */
#define PROCESS_PAUSE_FIRST   0.5   /* the same after exit 75 */
#define PROCESS_PAUSE_MAX     15.0
#define PROCESS_HEALTHY       10.0  /* seconds of life after which the back-off starts over */
#define PROCESS_CRASHES_MAX   20    /* crashes of its own within ... */
#define PROCESS_CRASH_WINDOW  600.0 /* ... so many seconds fail the run */
#define PROCESS_STILLBORN_MAX 5     /* crashes in a row before it ever answered fail the run */

enum process_phase {
    PROCESS_down,       /* to be started when its time has come */
    PROCESS_up,         /* started or adopted */
    PROCESS_stopping,   /* asked to end (SIGTERM, then SIGKILL at `kill_at`) */
    PROCESS_left,       /* finished, and no one needs it any more */
};

enum process_end {
    PROCESS_END_none,       /* it lives */
    PROCESS_END_good,       /* exit 0 */
    PROCESS_END_paused,     /* exit 75 */
    PROCESS_END_refused,    /* exit 78: what it was given cannot work; no restart mends it */
    PROCESS_END_crash,      /* SIGSEGV, SIGABRT, SIGBUS or another exit code: its own fault */
    PROCESS_END_killed,     /* any other signal */
    PROCESS_END_unread,     /* adopted: nobody could read how it ended */
};

struct process {
    int                index;       /* of its node in the plan */
    int                replica;
    char              *id;          /* of its node */
    char              *control;     /* path of its control socket */
    char              *lock;        /* path of its store's lock file */
    char              *log;         /* path of its log */
    char              *errors;      /* path of what it wrote to standard error */
    enum process_phase phase;
    pid_t              pid;         /* 0: none */
    uint64_t           start;       /* start time of pid */
    int                pidfd;       /* -1: none */
    bool               own;         /* a child of this supervisor */
    uint64_t           revision;    /* of the plan it was started with or told of */
    int64_t            restarts;
    bool               held;        /* stays down until restarted by hand */
    bool               crashed;     /* the last incarnation ended by a crash of its own */
    bool               again;       /* a stop asked for by us: start it again at once */
    bool               answered;    /* this incarnation has answered a status ask */
    double             since;       /* when it was started */
    double             next;        /* not started before this */
    double             delay;       /* current back-off, seconds */
    double             kill_at;     /* when stopping: SIGKILL then; 0: already sent */
    int                stillborn;   /* crashes in a row before an answer */
    int                crash_count; /* of `crashes`, a ring */
    double             crashes[PROCESS_CRASHES_MAX];
    char               why[RUN_WHY_MAX];    /* why it is down */
};

/* Start `sluice node RUN ID REPLICA` from this program's own binary, in a session of its own.
 * Sources keep standard input.
 * -> ERROR_file. */
int process_start(struct process *p, const char *run_dir, bool keep_input, double now,
                  struct error *e);

/* Take over a living process that was not started here. False: it is gone, or the pid is another's.
 */
bool process_adopt(struct process *p, pid_t pid, uint64_t start, double now);

/* How did it end? Reaps it; forgets pid and pidfd unless PROCESS_END_none. `*what` gets words for
 * the log. */
enum process_end process_ended(struct process *p, char *what, size_t room);

void process_signal(struct process *p, int number);     /* by pidfd, so never another process */
/* Ask it to end in good order within `grace` seconds. */
void process_stop(struct process *p, bool again, double grace, double now);

/* It ended by itself: sets the time of its next start. True: it has crashed too often. */
bool process_back_off(struct process *p, enum process_end end, double now);

/* The text of the last error in its log, else its last words on standard error; "" when there are
 * none. */
void process_last_words(const struct process *p, char *text, size_t room);

void process_fini(struct process *p);

#endif
