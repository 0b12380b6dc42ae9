/* calls: many calls of one node to servers, each answered or given up for good.
 *
 * A node asks with a JSON body and gets a JSON object back, in any order. Between the two lie
 * everything that can go wrong outside and what it costs: at most `in_flight` calls fly, transient
 * trouble is tried again for ever, each call with its own back-off; what a person must mend holds
 * the whole stage, which then sends one call at a time to see; an answer that cannot be used is
 * asked for again, `tries` times in all. Servers share the calls (endpoints.h), at the pace that the
 * user and they allow (limits.h). Money is set aside before a call and settled with its answer,
 * and what was asked before costs nothing (purse.h). Whatever the trouble, status says it.
 *
 *   take():     calls_ask(c, &ask); return calls_send(c, e);
 *   ready():    rc = calls_step(c, e);
 *               while (rc == 0 && calls_next(c, &answer))
 *                   ... calls_done(c, &answer) or calls_again(c, &answer, ...) ...
 *               return rc ? rc : calls_send(c, e);
 *   flush():    return calls_flush(c, e);
 *
 * calls_open() lets the runtime have `in_flight` units in hand, one call each; a node with several
 * calls for a unit sets fewer (node_set_in_flight), since a kill repeats what was not committed. */
#ifndef NODES_REMOTE_CALLS_H
#define NODES_REMOTE_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "graph/node.h"
#include "nodes/remote/remote_options.h"

struct calls;

/* What is asked. Texts and bytes are copied. */
struct ask {
    const char *path;      /* added to the url unless it ends so: "/chat/completions", "/pooling" */
    struct span body;      /* JSON; the same bytes for the same question */
    struct span cache_key; /* beside path, variation and body: what else names the question */
    uint64_t ordinal;      /* for logs and the Idempotency-Key ... */
    int variation;         /* ... with what tells the asks of one ordinal apart, 0 .. 999 */
    int64_t tokens_in;     /* the body holds at most so many; 0: as many as bytes */
    int64_t tokens_out;    /* an answer has at most so many; 0: unknown */
    void *own;
};

enum calls_end {
    CALLS_answered, /* json */
    CALLS_given_up, /* the tries are used up: why */
    CALLS_unsupported, /* the server does not know the question's response_format: why */
    CALLS_too_long, /* the question passes the model's context: a shorter one may do; why */
};

struct calls_answer {
    void *own;
    struct call *call; /* for calls_done() and calls_again() */
    enum calls_end end;
    const json_t *json;             /* an object until the call is done; NULL unless answered */
    const char *why;                /* one line, until the call is done; "" when answered */
    int spoiled;                    /* answers before this one that were no use */
    uint64_t tokens_in, tokens_out; /* of all tries */
    double usd;
};

/* `o` is part of node_options(n), `model` what prices go by; both stay while the calls are open.
 * -> NULL and ERROR_remote. Only one in a node: it takes the node's timer and descriptor. */
struct calls *calls_open(struct node *n, const struct remote_options *o, const char *model,
                         struct error *e);
void calls_close(struct calls *c); /* calls in flight are dropped, answers not done are gone */

/* Queues a call: calls_send() lets it go. */
void calls_ask(struct calls *c, const struct ask *a);

/* Sends what may go now, sets the node's timer for what may go later, and tells status. */
int calls_send(struct calls *c, struct error *e);

/* Moves what can be moved. */
int calls_step(struct calls *c, struct error *e);

/* The next call that ended; false: none. Several answers may be held at once; each must be ended by
 * one of the two below. */
bool calls_next(struct calls *c, struct calls_answer *a);

/* The answer was used (or its giving up taken note of): counted and committed soon, with the unit
 * that is done in the same callback. One that calls_again() never blamed is kept in the cache. */
void calls_done(struct calls *c, struct calls_answer *a);

/* The answer was no use: asks again, with another body unless it is empty. False: the tries are
 * used up, and the answer is still there to be ended by calls_done(). */
bool calls_again(struct calls *c, struct calls_answer *a, struct span body, const char *why);

/* Before the node's commit (node_kind.flush): the ledger and the cache are committed first. */
int calls_flush(struct calls *c, struct error *e);

/* Live options changed: they hold from the next call on. */
int calls_changed(struct calls *c, struct error *e);

#endif
