/* program: the child of an exec node while the node lives: started when it is needed, greeted, fed, read, and
 * started again with back-off after it ended. It moves whole messages and knows nothing of what is in them.
 *
 * A message is a line (json: a newline ends it) or four bytes with its length, most significant first, and so many bytes
 * (msgpack). What the child writes to standard error goes to the node's log, a bounded number of lines a
 * second. All is bounded: a message of the child, what waits to be written, a line of standard error. */
#ifndef NODES_EXEC_PROGRAM_H
#define NODES_EXEC_PROGRAM_H

#include "nodes/child.h"

#define PROGRAM_WORDS_MAX   400     /* bytes of what is said about an end */
#define PROGRAM_LOG_RATE    20      /* lines of standard error a second ... */
#define PROGRAM_LOG_BURST   100     /* ... and so many at once */
#define PROGRAM_LOG_BYTES   1000    /* kept of one line */
#define PROGRAM_DELAY_FIRST 0.1     /* seconds before it is started again; doubles ... */
#define PROGRAM_DELAY_MAX   30.0    /* ... up to this; an answer starts it over */

#define PROGRAM_SHUT_SECONDS 0.5    /* an end of its output is followed by its own in so long; how it ended says who is to blame */

enum program_phase {
    PROGRAM_down,       /* not started, or ended: started by program_want() when its time has come */
    PROGRAM_greeted,    /* started and told who it is; its first message says that it is ready */
    PROGRAM_up,         /* ready */
};

struct program_how {
    struct child_how child;
    bool             framed;        /* length and bytes, else lines */
    int64_t          message_bytes; /* of one message it writes */
    struct span      greeting;      /* borrowed for life: framed */
};

struct program {
    struct node       *n;
    struct program_how how;
    struct child       child;
    enum program_phase phase;
    int                poll;        /* epoll: what the node watches */
    bool               watches_input;
    struct buffer      out;         /* to be written; the first `written` bytes are */
    size_t             written;
    struct buffer      in;          /* read; the first `taken` bytes were handed out */
    size_t             taken;
    struct buffer      line;        /* of standard error, so far */
    char               last_line[PROGRAM_LOG_BYTES + 1];
    double             tokens, tokens_at;   /* lines that may be logged now */
    int64_t            left_out;    /* lines that were not */
    int64_t            starts;
    double             since;       /* when it was started */
    double             next, delay; /* when it may be started again */
    double             shut_at;         /* when it closed its output */
    bool               said;        /* it answered something in this life */
    bool               ended;       /* it failed: the story is in `why` */
    int                status;      /* how, where `reaped` */
    bool               reaped;
    bool               dry;         /* nothing is left in its output now */
    char               why[PROGRAM_WORDS_MAX];
};

int  program_init(struct program *p, struct node *n, const struct program_how *how, struct error *e);
void program_fini(struct program *p);

/* It is needed: starts it if it is down and its time has come. */
void program_want(struct program *p);

/* One message for it; `frame` is copied, framing is added. Only when it is up. */
void program_give(struct program *p, struct span message);

/* Write what is possible. */
void program_push(struct program *p);

/* Write and read what is possible, log what it said on standard error, see whether it ended. Never blocks. Take
 * what it read before waiting again: nothing will wake anyone for it. */
void program_pump(struct program *p);

/* The next whole message of the child, borrowed until the next call of anything here; false: none. */
bool program_take(struct program *p, struct span *message);

/* It is ready, and its time of waiting between starts begins anew with the next. */
void program_ready(struct program *p);
void program_answered(struct program *p);

/* Has it failed (ended, closed its output, wrote too much), and is all taken that it wrote before? Its story is then
 * in p->why, p->reaped and p->status. */
bool program_failed(struct program *p);

/* Ends it: after a failure, or because it must not live on (`why`, NULL keeps the story). */
void program_end(struct program *p, const char *why);

/* In good order: closes its input and gives it `seconds` to leave. */
void program_leave(struct program *p, double seconds);

#endif
