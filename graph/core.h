/* core: what a running process is inside: ports, lanes, feeds, units, all on one store. No sockets here: the
 * runner moves frames between lanes and feeds; the test harness does the same by hand.
 *
 *   feed   an input lane: one link, one replica of its producer. Its mark is the set of handled sequence numbers.
 *   work   a unit with what the runtime must know about it.
 *   lane   an output lane: one link of a consumer, one of its replicas. Sequence numbers are dense.
 *
 * Everything done since the last commit waits in the store's write transaction and in pending sets;
 * node_flush() brings all of it into the transaction and commits. A failed commit ends the process: memory is
 * then ahead of the store and must not be used again. */
#ifndef GRAPH_CORE_H
#define GRAPH_CORE_H

#include <jansson.h>

#include "graph/log.h"
#include "graph/node.h"
#include "graph/node_options.h"
#include "graph/plan.h"
#include "graph/set.h"
#include "graph/store.h"

#define REASON_MAX        63            /* bytes of a closing's reason; longer ones are cut */
#define ORDINAL_MAX       (1ULL << 62)  /* ordinals and sequence numbers lie below */
#define BODY_BYTES_MAX    ((size_t)MESSAGE_BYTES_MAX - 65536)   /* so that a frame with it passes message_check() */
#define WINDOW_RECORDS    4096          /* records in flight to one feed, not yet handled and committed */
#define COMMIT_BYTES_MAX  (32LL << 20)  /* of one transaction; one message may exceed it */
#define DEAD_BYTES_MAX    (64LL << 10)  /* kept of something that never became a message */
#define DEAD_ATTEMPTS_MAX 3             /* crashes one unit may cause */
#define DISK_RESERVE      (64LL << 20)  /* free bytes below which nothing new is taken */
#define LAZY_SECONDS      1.0           /* acknowledgements and positions may wait so long for a commit */
#define URGENT_SECONDS    0.04          /* what was paid for waits so long at most */

/* What travels beside a body, in stores and on the wire. */
struct record {
    uint64_t    seq;
    uint64_t    ordinal, first;
    uint32_t    size;
    struct span reason;     /* at NULL: data */
    struct span body;
};

/* Bytes shared by the records of one received frame. */
struct frame {
    int references;
    void (*release)(struct frame *f);
};
void frame_drop(struct frame *f);       /* NULL: nothing */

struct feed {
    int              link, replica;
    struct set       mark;
    struct intervals seen;          /* in the mark, in the queue, in hand or done */
    int64_t          unhandled;     /* arrived, mark not committed */
    int64_t          handled_now;   /* of those: in the open transaction */
    bool             end_known;
    uint64_t         last;          /* sequence numbers of the lane, once its END came */
    bool             ended;         /* all of them handled and committed */
    uint64_t         token;         /* of the producer's incarnation that sent last; durable with what it sent */
    bool             row_dirty;
    bool             moved;         /* the runner must acknowledge */
};

struct lane {
    uint16_t   number;
    int        port;
    int        node;                /* consumer: index in the plan */
    int        link;                /* of the consumer */
    int        replica;             /* of the consumer */
    uint64_t   generation;
    uint64_t   head;                /* records in it, the open transaction's included */
    uint64_t   committed;           /* ... and committed */
    uint64_t   opened;              /* ... and when this process opened its store */
    bool       end;                 /* END is committed: nothing follows */
    bool       ended;               /* the consumer committed the end */
    uint64_t   position;            /* of the consumer, as last heard; only grows */
    struct set acked;
    struct buffer chunk;            /* ordinals of the open transaction, u64 each */
    bool       row_dirty;
};

struct outport {
    bool        linked;
    struct set  sent;
    int         lane_count;
    int        *lanes;              /* indices */
};

struct answer {
    bool   given, closing;
    size_t at, length;              /* of the body, in bodies */
    char   reason[REASON_MAX + 1];
};

struct work {
    struct unit   unit;             /* first, so that a unit is its work */
    struct node  *node;
    struct work  *next, *previous;
    struct feed  *feed;             /* of a node with one link; NULL when parked or retried */
    uint64_t      seq;
    struct frame *frame;
    struct input *inputs;
    char        (*reasons)[REASON_MAX + 1];
    struct buffer copy;             /* bodies of parked inputs */
    struct answer *answers;         /* per port */
    struct buffer bodies;
    uint64_t      retry;            /* number of the dead letter it came from + 1 */
    bool          in_hand;
};

struct works {                      /* a doubly linked list */
    struct work *first, *last;
    int64_t      count;
};

struct tally {                      /* parked inputs of one ordinal */
    uint64_t ordinal;
    uint64_t links;                 /* bit per link that arrived; 0: free slot */
};

struct group {                      /* of a node that wants whole groups */
    uint64_t first;
    uint32_t size;                  /* 0: free slot */
    uint32_t here;                  /* ordinals of it that are complete in the park table, or were settled before */
};

#define CLOSED_REASONS_MAX 32       /* counted apart; further ones are "other" */
struct closed_count {
    char    reason[REASON_MAX + 1];
    int64_t count;
    bool    dirty;
};

struct node {
    const struct plan      *plan;
    const struct plan_node *self;
    const struct node_kind *kind;
    int                     index, replica;
    struct node_common      common;
    void                   *options, *state;
    char                   *run_dir;
    struct store           *store;
    struct log             *log;
    bool                    terminal, merging, started, have_options;
    bool                    whole;          /* the kind wants whole groups; parks like a merging node */
    int64_t                 disk_reserve;
    double                  clock;          /* seconds the tests turned it */
    uint64_t                token;          /* random, of this incarnation; never 0 */

    int            port_count;
    struct outport *ports;
    int            lane_count;
    struct lane   *lanes;
    int            link_count;
    struct input  *links;
    struct set    *received;
    int            feed_count;
    struct feed   *feeds;
    struct set     settled;

    struct works   queue;                   /* single link: arrived, not taken */
    struct works   hand;                    /* taken, not done */
    struct works   spare;
    uint64_t      *ready;                   /* merging: complete ordinals, or firsts of whole groups, a ring */
    int64_t        ready_first, ready_count, ready_room;
    struct tally  *tallies;                 /* merging: open hash table */
    int64_t        tally_count, tally_room;
    struct group  *groups;                  /* open hash table */
    int64_t        group_count, group_room;
    int64_t        parked;                  /* messages in the park table */
    int64_t        hand_bytes;              /* bodies of parked units in hand */
    bool           attempts;                /* some unit has crashed us before */
    int            in_flight;               /* units in hand at most */
    int64_t        held;                    /* dead letters that keep their place */

    bool     dirty, lazy, urgent;           /* something waits for a commit */
    double   dirty_since, lazy_since, urgent_since, committed_at;
    int      paid;                          /* units done with urgency, not yet committed: a kill repeats what they cost */
    int64_t  messages;                      /* handled in the open transaction */
    uint64_t commits;
    uint64_t settled_committed;             /* position of a terminal */
    uint64_t position_told;

    bool     crashed;                       /* one at a time until `careful` units went well */
    int64_t  careful;
    bool     pump_wanted;
    bool     ended_told, finishing, ended, finished;
    bool     end_asked, draining, upstream_finished, leave, stopping, inside;
    uint64_t emitted_end;                   /* first ordinal after the last emitted group */
    bool     hold;                          /* a change of replicas is under way: ... */
    uint64_t hold_at;                       /* ... emit nothing at or beyond it */
    uint64_t max_lead;
    bool     may_emit_refused;

    char     why[256], paused[256];
    int      fd;
    double   timer;                         /* when; < 0: none */
    int64_t  counts[METRIC_count];
    bool     count_dirty[METRIC_count];
    struct closed_count closed[CLOSED_REASONS_MAX];
    int      closed_count;
};

enum step { STEP_IDLE = 0, STEP_AGAIN = 1 };        /* or a negative ERROR_* */

/* ---- the process (node.c) ---- */
struct node_setup {
    const struct plan *plan;
    int                index, replica;
    const char        *run_dir;
    const char        *store, *lock;    /* paths */
    struct log        *log;             /* borrowed; may be NULL */
    bool               crashed;
};
/* Open the store, load what it says, start the kind. -> NULL with an error; the kind was stopped if it had started. */
struct node *node_open(const struct node_setup *setup, struct error *e);
/* stop() and free; nothing is committed. */
void         node_shut(struct node *n);
/* One round: take what arrived, ready() if the fd is readable or its time has come, pump, end, commit what is due.
 * `quiet`: nothing else waits, so what is open may be committed early. */
int          node_step(struct node *n, bool readable, bool quiet, struct error *e);
double       node_due(struct node *n);                  /* seconds until the next step is needed; < 0: never */
/* Write what waits into the store and commit; 0 also when nothing waits. */
int          node_flush(struct node *n, struct error *e);
void         node_touch(struct node *n);                /* something waits for a commit */
void         node_touch_lazily(struct node *n);
uint64_t     node_upstream_position(struct node *n);    /* committed; what consumers below have settled */
bool         node_takes(const struct node *n);          /* nothing pauses it */
void         node_check_disk(struct node *n);
const char  *node_state_name(struct node *n);           /* "running", "starved" ... for status */
struct outport *node_port(struct node *n, int port);
/* The options struct of the kind changed: tell it. */
int          node_set_option(struct node *n, const char *option, const char *value, struct error *e);

/* ---- units (unit.c) ---- */
int64_t unit_waiting(const struct node *n);             /* units that could be taken */
int     unit_take_next(struct node *n, struct error *e);/* 1 taken, 0 none may be taken now */
struct work *work_new(struct node *n);
void    work_free(struct node *n, struct work *w);      /* back to the spare ones */
void    works_add(struct works *list, struct work *w);
void    works_remove(struct works *list, struct work *w);
int     unit_give(struct node *n, struct work *w, struct error *e);     /* hand to the kind, or close it */
void    unit_settle(struct node *n, struct work *w);    /* everything about it into the transaction; frees it */
void    unit_settle_dead(struct node *n, struct work *w);       /* its outputs are closed with "dead" */
bool    unit_all_closing(const struct work *w);
void    unit_close(struct node *n, struct work *w);     /* a unit of closings alone: closes every output */
int     unit_attempts(struct node *n, uint64_t ordinal);        /* crashes it has caused alone */
int     unit_trying(struct node *n, uint64_t ordinal, struct error *e);     /* ... and if this one does, count it */
int     unit_recover(struct node *n, struct error *e);  /* crash rows, at start */
void    unit_free_all(struct node *n);
void    park_load(struct node *n);                      /* parked inputs, at start */
void    park_add(struct node *n, const struct record *r, int link);
struct work *park_take(struct node *n, uint64_t ordinal);       /* of a complete ordinal */
bool    parked(struct node *n, uint64_t ordinal);       /* is something of it in the park table? */
void    ready_push(struct node *n, uint64_t number);
uint64_t ready_pop(struct node *n);

/* ---- whole groups (group.c) ---- */
void    group_add(struct node *n, uint64_t first, uint32_t size);       /* one more of its ordinals is complete */
int64_t group_hand(const struct node *n);       /* groups in hand */
int     group_take_next(struct node *n, bool full, struct error *e);    /* as unit_take_next() */

/* ---- feeds (feed.c) ---- */
void feeds_open(struct node *n);
void feeds_close(struct node *n);
struct feed *feed_find(struct node *n, int link, int replica);
/* A record arrived; `f` gains a reference if the record is kept. -> 1 new, 0 duplicate, ERROR_wire when it cannot be. */
int  feed_arrive(struct node *n, struct feed *d, const struct record *r, struct frame *f, struct error *e);
int  feed_end(struct node *n, struct feed *d, uint64_t last, struct error *e);
/* Was this ordinal handled on this link before, under another number? Then it is counted and only its number marked. */
bool feed_doubled(struct node *n, struct feed *d, uint64_t seq, uint64_t ordinal);
void feed_mark(struct node *n, struct feed *d, uint64_t seq, uint64_t ordinal);
void feeds_flush(struct node *n);       /* rows into the transaction */
void feeds_committed(struct node *n);
bool feeds_ended(struct node *n);
/* Sequence numbers below this may be sent to us now. */
uint64_t feed_upto(const struct node *n, const struct feed *d);

/* ---- lanes (lane.c) ---- */
int  lanes_open(struct node *n, struct error *e);
void lanes_close(struct node *n);
void lanes_add(struct node *n, int port, uint64_t ordinal, uint64_t first);     /* the record lies in the out table */
void outbox_put(struct node *n, int port, const struct record *r);              /* out table, sent set, lanes */
void lanes_flush(struct node *n);
void lanes_committed(struct node *n);
/* Visit committed records from `seq` on until visit returns false. */
void lane_visit(struct node *n, struct lane *l, uint64_t seq,
                bool (*visit)(void *own, const struct record *r), void *own);
void lane_ack(struct node *n, struct lane *l, uint64_t start, uint64_t end);
void lane_position(struct node *n, struct lane *l, uint64_t position);
void lane_ended(struct node *n, struct lane *l);
struct lane *lane_find(struct node *n, const char *consumer, int link, int replica);
/* Serving a replay: put the next stored outputs into the lanes. -> STEP_*. */
int  lanes_serve(struct node *n, struct error *e);
/* Envelope and body in `out` and `park`. */
void *record_room(struct store *s, int table, struct span key, const struct record *r, bool *fresh);
bool record_read(struct span value, struct record *r);

/* ---- dead letters (dead.c) ---- */
void dead_add(struct node *n, struct work *w, const char *reason, bool hold);
void dead_add_bytes(struct node *n, const char *where, struct span bytes, const char *reason);
int  dead_retry(struct node *n, uint64_t number, struct error *e);
int  dead_drop(struct node *n, uint64_t number, struct error *e);
int64_t dead_held(struct node *n);
#endif
