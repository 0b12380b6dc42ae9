/* calls: many calls of one node to a server, each answered or given up for good.
 *
 * A node asks with a JSON body and gets a JSON object back, in any order. Between the two lie
 * everything that can go wrong outside and what it costs: at most `in_flight` calls fly, transient
 * trouble is tried again for ever, each call with its own back-off; what a person must mend holds
 * the whole stage, which then sends one call at a time to see; an answer that cannot be used is
 * asked for again, `tries` times in all. Money is set aside before a call and settled with its
 * answer (budget.h). Whatever the trouble, status says it.
 *
 *   take():     calls_ask(c, &ask); return calls_send(c, e);
 *   ready():    rc = calls_step(c, e);
 *               while (rc == 0 && calls_next(c, &answer))
 *                   ... calls_done(c, &answer) or calls_again(c, &answer, ...) ...
 *               return rc ? rc : calls_send(c, e);
 *
 * calls_open() lets the runtime have `in_flight` units in hand, one call each; a node with several
 * calls for a unit sets fewer (node_set_in_flight), since a kill repeats what was not committed. */
#ifndef NODES_REMOTE_CALLS_H
#define NODES_REMOTE_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "graph/node.h"

/* The options that every caller shares: a kind has them as member `remote` of its options, and
 * REMOTE_OPTIONS(struct kind_options) among its rows. */
struct remote_options {
    const char *url, *api_key_env;
    int64_t in_flight, tries, max_response_bytes;
    double timeout, connect_timeout, price_in, price_out, budget_usd;
};

#define REMOTE_ROW(K, S, F, T, CH, D, LO, HI, H)                                                   \
    {                                                                                              \
        OPTION_##K, CH, #F, offsetof(S, remote) + OPTION_FIELD(struct remote_options, F, T), D,    \
            LO, HI, NULL, H                                                                        \
    }

/* clang-format off */
#define REMOTE_OPTIONS(S)                                                                          \
    REMOTE_ROW(text, S, url, const char *, LIVE, "", 0, 0,                                         \
        "where the server is, e.g. http://localhost:8000/v1; the path of the call is added"),      \
    REMOTE_ROW(text, S, api_key_env, const char *, FIXED, "", 0, 0,                                \
        "name of the environment variable that holds the key; the key itself is never written"     \
        " down"),                                                                                  \
    REMOTE_ROW(int, S, in_flight, int64_t, LIVE, "16", 1, 4096,                                    \
        "calls in flight at once at most"),                                                        \
    REMOTE_ROW(time, S, timeout, double, LIVE, "10m", 0.01, 86400, "for one call in all"),         \
    REMOTE_ROW(time, S, connect_timeout, double, LIVE, "5s", 0.01, 600, "to reach the server"),    \
    REMOTE_ROW(int, S, tries, int64_t, FIXED, "3", 1, 100,                                         \
        "answers without a usable verdict before the judge abstains"),                             \
    REMOTE_ROW(size, S, max_response_bytes, int64_t, LIVE, "4MiB", 256, 268435456,                 \
        "a larger answer counts as one without a verdict"),                                        \
    REMOTE_ROW(float, S, price_in, double, LIVE, "0", 0, 1e6, "US dollars for 1e6 tokens read"),   \
    REMOTE_ROW(float, S, price_out, double, LIVE, "0", 0, 1e6,                                     \
        "US dollars for 1e6 tokens written"),                                                      \
    REMOTE_ROW(float, S, budget_usd, double, LIVE, "0", 0, 1e9,                                    \
        "US dollars that each replica may spend; then the stream pauses; 0: no bound")
/* clang-format on */

struct calls;

/* What is asked. Texts and bytes are copied. */
struct ask {
    const char *path;      /* added to the url unless it ends so: "/chat/completions", "/pooling" */
    struct span body;      /* JSON; the same bytes for the same question */
    struct span cache_key; /* names the question across runs; empty: its answer is not kept */
    uint64_t ordinal;      /* for logs and the Idempotency-Key ... */
    int variation;         /* ... with what tells the asks of one ordinal apart, 0 .. 999 */
    int64_t tokens_in;     /* the body holds at most so many; 0: as many as bytes */
    int64_t tokens_out;    /* an answer has at most so many; 0: unknown */
    void *own;
};

enum calls_end {
    CALLS_answered, /* json */
    CALLS_given_up, /* the tries are used up: why */
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

/* Is everything right with these options? As node_kind.check(). */
int calls_check(struct check *c, const struct remote_options *o, struct error *e);

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
 * that is done in the same callback. */
void calls_done(struct calls *c, struct calls_answer *a);

/* The answer was no use: asks again, with another body unless it is empty. False: the tries are
 * used up, and the answer is still there to be ended by calls_done(). */
bool calls_again(struct calls *c, struct calls_answer *a, struct span body, const char *why);

/* Live options changed: they hold from the next call on. */
int calls_changed(struct calls *c, struct error *e);

#endif
