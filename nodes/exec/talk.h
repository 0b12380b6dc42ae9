/* talk: what an exec node and its program say to each other; examples/exec/README.md is the page for those who write one.
 *
 * The node greets, asks, and is answered; each is one message, a JSON object or a msgpack map of the same fields:
 *
 *   node     {"hello": 1, "node": "critic", "replica": 0, "seed": 7, "in_flight": 4, "in": {"in": "steps"}, "out": {"votes": "vote"}}
 *   program  {"ready": 1}
 *   node     {"ask": 17, "ordinal": 5, "first": 4, "size": 2, "attempt": 0,
 *             "inputs": [{"port": "in", "from": "steps", "message": "steps", "body": {...}}, {..., "closed": "routed"}]}
 *   program  {"ask": 17, "outputs": {"votes": {...}}}, perhaps with "close": {"port": "reason"}, or {"ask": 17, "dead": "why"}
 *
 * A linked output that an answer does not name is closed ("filtered"). What a body may leave out is filled in: see talk_body(). */
#ifndef NODES_EXEC_TALK_H
#define NODES_EXEC_TALK_H

#include "graph/node.h"

#define TALK_VERSION   1
#define TALK_PORTS_MAX 16           /* ports of one exec node, inputs and outputs */
#define TALK_WHY_MAX   600          /* bytes kept of a reason */

enum talk_format { TALK_json, TALK_msgpack };

struct talk_output {
    bool        given;              /* a body ... */
    size_t      at;                 /* ... which begins there in talk_kept.bodies ... */
    struct span body;               /* ... packed, as the program wrote it */
    struct span closed;             /* else the reason; at NULL: none given */
};

/* What the spans of an answer live in. Zero-initialise; free both. */
struct talk_kept {
    struct buffer packed, bodies;
};

struct talk_answer {
    bool        ready;              /* it is {"ready": 1} ... */
    uint64_t    ask;                /* ... else an answer to this */
    struct span dead;               /* why the message cannot be handled; at NULL: it was */
    struct talk_output outputs[TALK_PORTS_MAX];     /* by port */
};

/* Who greets. */
struct talk_self {
    const char        *node;
    int                replica, in_flight;
    uint64_t           seed;
    const struct port *ports;
};

/* Appends the greeting. */
void talk_hello(enum talk_format f, const struct talk_self *self, struct buffer *out);

/* Appends the question about a unit. -> ERROR_input, ERROR_version: an input is not what its port says. */
int talk_ask(enum talk_format f, const struct port *ports, const struct unit *u, uint64_t ask, int attempt,
             struct arena *arena, struct buffer *out, struct error *e);

/* Reads a message of the program; spans live in `kept`, which is cleared first. -> ERROR_input. Where it could be read
 * as far as its "ask", a->ask is that, else UINT64_MAX. */
int talk_answer(enum talk_format f, const struct port *ports, struct span message, struct talk_kept *kept,
                struct talk_answer *a, struct error *e);

/* Makes of a body what travels: fills in what was left out, checks that it fits the unit, and packs it.
 *   vote      voter is the node; said is 1 where a score is given and 0 where it is null; scores one for each step
 *   rollout   fields left out are those of the input rollout
 *   steps     rollout as in the input
 *   labelled  rollout and ends as in the input; agree, counted and means as if one voter had said the labels
 * And where an input has the type of the output, every field left out is the input's.
 * -> ERROR_input in words for the program's author. *vote is filled for a vote (arrays in the arena). */
int talk_body(const struct port *ports, int port, const struct unit *u, const char *node, struct span body,
              struct arena *arena, struct buffer *out, struct vote *vote, struct error *e);

#endif
