/* calls_inside: what calls.c, calls_answers.c and calls_tell.c share. */
#ifndef NODES_REMOTE_CALLS_INSIDE_H
#define NODES_REMOTE_CALLS_INSIDE_H

#include <xxhash.h>

#include "nodes/remote/calls.h"
#include "nodes/remote/endpoints.h"
#include "nodes/remote/purse.h"

#define ASKED_BUCKETS 1024
#define TRIES_ROOM    128 /* tries of one variation, in the Idempotency-Key */

enum call_state { CALL_idle, CALL_found, CALL_cleared, CALL_flying, CALL_held };

struct call {
    struct call *next, *before; /* in the list of its state */
    struct call *same, **link;  /* while it is busy: among the keys of its bucket */
    void *own;
    const char *path;
    struct buffer body, cache_key;
    struct buffer answer; /* of CALL_found, and of CALL_held while a cache is kept */
    struct cache_key key; /* of the body at hand */
    bool keyed, looked;   /* the key is made; the cache was asked */
    bool doubled;         /* an identical call is out: its answer is worth waiting for */
    bool cached;          /* the answer is the cache's */
    bool blamed;          /* the answer was no use */
    uint64_t ordinal;
    int variation;
    enum call_state state;
    int endpoint;      /* of CALL_flying; -1: one that is gone */
    int avoid;         /* the server that failed it last; -1: none */
    int hops;          /* servers it was sent on to without waiting */
    double not_before; /* of CALL_idle, on node_now()'s clock */
    double sent_at;
    int failures; /* transient ones in a row */
    int spoiled;  /* answers that were no use */
    uint64_t tokens_in_most, tokens_out_most;
    uint64_t tokens_in, tokens_out;
    double charged;  /* tokens, to the pace, for the try at hand */
    struct amount aside; /* of the budget, for the try at hand */
    int64_t money;       /* what all tries cost */
    json_t *json;        /* of CALL_held */
    char *why;           /* of CALL_held, given up */
};

struct call_list {
    struct call *first, *last;
    int count;
};

struct calls {
    struct node *node;
    const struct remote_options *options;
    struct http *http;
    struct endpoints endpoints;
    struct call_list idle, found, busy;
    struct call *asked[ASKED_BUCKETS]; /* the busy ones with a key, by it */
    json_t *fields;    /* of every request; NULL: none */
    XXH128_hash_t key; /* of the secret in use, to see whether the file holds another */
    struct rate requests, tokens;
    bool key_refused;
    struct purse *purse;
    bool paced;
    double paced_until;
    char why[REPLY_WHY_MAX]; /* the last trouble */
};

void call_list_remove(struct call_list *l, struct call *call);
void call_list_add(struct call_list *l, struct call *call, bool first);
void call_free(struct call_list *l, struct call *call);

/* The call leaves its list: it is in flight, or held by the node. */
void call_make_busy(struct calls *c, struct call_list *from, struct call *call);

/* The call may be made (again) from WHEN on, before those that came later. */
void call_make_idle(struct calls *c, struct call *call, double when);

/* The request, with the user's own fields. */
void calls_write_body(const struct calls *c, struct span body, struct buffer *out);

/* What status says of them all. */
void calls_tell(struct calls *c);

#endif
