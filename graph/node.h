/* node: all that the author of a node kind reads.
 *
 * A node is one process (or `replicas` of them) of one kind. The runtime owns the store, the links, the
 * exactly-once bookkeeping, closings, END and restarts. The kind owns what is done to a message.
 *
 * The life of a message. Everything that arrives for one ordinal is a *unit*: one input per link of the
 * node. The runtime keeps early arrivals in the store until the last one came, and then calls take() once.
 * A unit in which every input is a closing never reaches the kind: the runtime closes every output with
 * the reason it was given. A kind answers a unit by sending exactly one message (node_send) or closing
 * (node_close) on *every* linked output port, and then unit_done(); at once, or later when an answer came
 * from outside. All that was sent, what node_put() wrote meanwhile, and the fact that the unit is done
 * become durable in the same transaction. A unit not done when the process dies is given again.
 *
 * A kind that compares the rollouts of a group asks for whole groups (whole_groups()): then the runtime keeps what
 * arrives until nothing of the group is missing, and gives all its units at once (take_group()).
 *
 * One thread: no callback runs while another does, none needs a lock, none may block for long (use
 * node_watch/node_timer for what is slow outside, pump() for what is slow inside). A callback that returns
 * an error ends the process with that line in its log; the supervisor restarts it. Bad *data* is not an error
 * of the process: unit_dead().
 *
 * Determinism: what is sent for an ordinal may depend only on that ordinal's inputs, the options and the
 * seed (or on a recorded answer from outside); never on arrival order, replica, batch or clock. */
#ifndef GRAPH_NODE_H
#define GRAPH_NODE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "graph/option.h"
#include "graph/message.h"

struct node;    /* one running process */

enum port_direction { PORT_END, PORT_IN, PORT_OUT };
enum port_flags {
    PORT_MANY = 1,      /* an input that takes several links */
    PORT_OPTIONAL = 2,  /* an input that may stay unlinked */
};

struct port {
    enum port_direction direction;
    const char         *name;
    enum message        message;    /* MESSAGE_any: whatever is linked */
    unsigned            flags;
    const char         *help;
};

struct input {
    int         port;       /* index into the kind's ports */
    int         link;       /* index of the link within the node, in topology order */
    const char *from;       /* id of the node that sent it */
    bool        closing;    /* no data for this ordinal on this link ... */
    const char *reason;     /* ... and why: "filtered", "routed", "dead", ... */
    struct span body;       /* the packed message, until unit_done() */
};

struct unit {
    uint64_t            ordinal;
    uint64_t            first;      /* first ordinal of its group */
    uint32_t            size;       /* rollouts in its group, as emitted */
    int                 attempts;   /* crashes this unit alone has caused so far */
    int                 input_count;
    const struct input *inputs;     /* in topology order of the links; at least one brings data */
    void               *own;        /* the kind's, while the unit is in hand */
};

/* What a kind's check() sees: the options as read, and how the node is linked. Nothing runs yet. */
struct check {
    const char *node;               /* node id */
    const void *options;            /* the kind's options struct, paths resolved */
    uint64_t    seed;
    int         link_count;
    const struct input *links;      /* port and from; no bodies */
    bool        endless;            /* a source above follows its input (`follow: true`): END may never come */
    const char *option;             /* set by check_fail: which option is to blame, for file:line:column */
};

/* Blame an option (NULL: the node as a whole); returns ERROR_topology. */
int check_fail(struct check *c, const char *option, struct error *e, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

enum pump { PUMP_IDLE = 0, PUMP_AGAIN = 1 };    /* or a negative ERROR_* */

struct node_kind {
    const char          *name;
    const char          *summary;       /* one line for help */
    size_t               state_size;    /* the runtime allocates and zeroes it: node_state() */
    size_t               options_size;
    const struct port   *ports;         /* ends with PORT_END */
    const struct option *options;
    bool                 source;        /* has no inputs; gives ordinals */
    bool                 terminal;      /* has no outputs; one replica only */

    /* Static check of one node: files, models, combinations of options. May read files; opens no store,
     * starts nothing. Called by `sluice check`, by `run` before anything else, never by the process. May be NULL. */
    int (*check)(struct check *c, struct error *e);

    /* Does what the node will call outside answer? For `sluice check --online` alone: may take seconds, costs nothing,
     * starts nothing. Appends a line for each thing asked; returns the first error. May be NULL. */
    int (*probe)(const void *options, struct buffer *told, struct error *e);
    /* For kinds whose ports stand in their options: makes the ports of one node. *ports is one allocation with the
     * names in it, PORT_END last; the caller free()s it. `ports` is then what stands in the manual: those of a node
     * that declares nothing. A node without outputs is a terminal. Faults by check_fail(). May be NULL. */
    int (*declare)(struct check *c, struct port **ports, struct error *e);

    /* Options are filled, the store is open, no message was given yet. Load state with node_get(). */
    int (*start)(struct node *n, struct error *e);

    /* A unit arrived. Answer it now or later; at most `in_flight` (node_set_in_flight, default 256) units are in
     * hand at a time. NULL for sources. */
    int (*take)(struct node *n, struct unit *u, struct error *e);

    /* Does a node with these options want whole groups? Asked once, before start(). May be NULL: no. */
    bool (*whole_groups)(const void *options);

    /* Instead of take() where it does: the units of one group that bring data, at least one, in ordinal order; what
     * was closed or answered before is not among them. The array is the runtime's, until the call returns. `in_flight`
     * counts groups. Answer all units of a group in one callback: then no crash can part them
     * (a dead letter tried again comes alone). */
    int (*take_group)(struct node *n, struct unit *const *units, int count, struct error *e);

    /* Called when there is nothing to receive, again and again while it returns PUMP_AGAIN: a source reads
     * and emits, a learner trains. Keep each call under 100 ms where possible: signals, status and
     * heartbeats wait for it. May be NULL. */
    int (*pump)(struct node *n, struct error *e);

    /* An fd given to node_watch() is readable, or the time of node_timer() has come. May be NULL. */
    int (*ready)(struct node *n, struct error *e);

    /* Every input has ended and every unit is done. Called once per incarnation; then the kind calls node_finish() when its own
     * work is done too (a learner trains first). NULL: the runtime finishes by itself. */
    int (*ended)(struct node *n, struct error *e);

    /* A commit follows: fsync files whose length node_put() then records. May be NULL. */
    int (*flush)(struct node *n, struct error *e);

    /* A live option changed (already in the options struct). May be NULL. */
    int (*changed)(struct node *n, const char *option, struct error *e);

    /* The process ends in good order; nothing can be sent any more. Free memory. May be NULL. */
    void (*stop)(struct node *n);
};

/* ---- who am I ---- */
void       *node_state(struct node *n);
const void *node_options(struct node *n);
const char *node_id(struct node *n);
int         node_replica(struct node *n);
uint64_t    node_seed(struct node *n);          /* the topology's */
const char *node_run_dir(struct node *n);       /* absolute */
bool        node_linked(struct node *n, int port);          /* does anyone read this output port? */
int         node_link_count(struct node *n);                /* input links, topology order */
const struct input *node_link(struct node *n, int link);    /* its port and `from`; no body */
void        node_set_in_flight(struct node *n, int units);  /* how many units may be in hand; in start() or changed() */

/* ---- answering a unit ---- */
/* `body` is copied. Sending twice on one port for one ordinal is a broken promise and aborts. */
void node_send(struct node *n, struct unit *u, int port, struct span body);
void node_close(struct node *n, struct unit *u, int port, const char *reason);
/* Ends the unit; u is gone. Every linked output that got nothing is a broken promise and aborts. */
void unit_done(struct node *n, struct unit *u);
/* This unit cannot be handled: its inputs go to the dead letters with the reason, outputs that got nothing
 * are closed with reason "dead" (with `on_dead: hold` the unit keeps its place until retried or dropped). u is gone. */
void unit_dead(struct node *n, struct unit *u, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- sources ---- */
/* May the group [first, first + size) be emitted now (lead over the slowest terminal, room in the outbox, disk)?
 * False: return PUMP_IDLE, the runtime calls again when it changed. */
bool node_may_emit(struct node *n, uint64_t first, uint32_t size);
void node_emit(struct node *n, int port, uint64_t ordinal, uint64_t first, uint32_t size, struct span body);
void node_emit_close(struct node *n, int port, uint64_t ordinal, uint64_t first, uint32_t size, const char *reason);
/* Something that never became a message (a bad input line): kept as a dead letter, with its bytes (cut to dead_bytes_max). */
void node_dead(struct node *n, const char *where, struct span bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- durable state, one key space per process; part of the current transaction ---- */
void node_put(struct node *n, struct span key, struct span value);
bool node_get(struct node *n, struct span key, struct span *value);     /* valid until the next node_* call that writes */
void node_delete(struct node *n, struct span key);
/* Visit keys >= from that begin with prefix, in byte order, until visit returns false. visit may not write. */
void node_scan(struct node *n, struct span prefix, struct span from,
               bool (*visit)(void *own, struct span key, struct span value), void *own);
/* Commit now and only return when synced. Otherwise commits happen by count and time (commit_count, commit_interval). */
int  node_commit(struct node *n, struct error *e);
/* Something outside was paid for: commit within 50 ms. */
void node_urgent(struct node *n);
/* For terminals: the ordinal below which every unit is settled here (done, or closed on every input, also in
 * the transaction that is open). Only grows. Units of closings alone never reach the kind: this tells it. */
uint64_t node_position(struct node *n);
/* The kind's own work is done and committed with this; nothing is sent after it. */
void node_finish(struct node *n);
/* Has the user asked for the end of an endless input (`sluice end`)? For sources. */
bool node_end_asked(struct node *n);
/* Is the run draining (^C)? Sources stop reading; a learner stops between steps. */
bool node_draining(struct node *n);

/* ---- waiting ---- */
void node_watch(struct node *n, int fd);        /* call ready() when fd is readable; -1 removes; one fd (an epoll fd holds many) */
void node_timer(struct node *n, double seconds);/* call ready() after so long; < 0 removes; one timer */
void node_wake(struct node *n);                 /* call pump() again soon */
double node_now(struct node *n);                /* seconds, monotonic; tests turn it */

/* ---- telling ---- */
enum log_level { LOG_debug, LOG_info, LOG_warning, LOG_error };
void node_log(struct node *n, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Why nothing moves, for `sluice status`: "waiting for 12 judge calls", "computing epoch 2/3"; NULL: the runtime's own view. What
 * begins with "computing" or "over budget" is also the state shown: computing, paused. */
void node_why(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What else `sluice status` shows of this process, as one JSON object of at most NODE_TELL_MAX bytes (longer, or
 * no object: nothing is shown); each replaces the last. Durable, part of the transaction: the store of a process that
 * is down tells it too. */
#define NODE_TELL_MAX (64 << 10)
void node_tell(struct node *n, struct span json);
enum metric {
#define METRIC(name, unit, kind, meaning) METRIC_##name,
#include "schemas/metrics.def"
#undef METRIC
    METRIC_count
};
void node_count(struct node *n, enum metric m, int64_t by);     /* counters: part of the transaction */
void node_gauge(struct node *n, enum metric m, int64_t value);

/* ---- the registry: nodes/nodes.def ---- */
const struct node_kind *node_kind_find(const char *name);       /* NULL: none */
const struct node_kind *node_kind_at(int index);                /* NULL past the end; order of nodes.def */

#endif
