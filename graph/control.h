/* control: questions to a running process and their answers, as JSON over a local socket.
 *
 * A request is one frame {"ask": "status", ...}; the reply is one frame {"ok": true, ...} or
 * {"ok": false, "error": "one line"}. The server is a ZeroMQ ROUTER, so a client that died blocks nobody;
 * the client is a DEALER of its own for every question. */
#ifndef GRAPH_CONTROL_H
#define GRAPH_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

#define CONTROL_BYTES_MAX (16LL << 20)  /* of a request or a reply */

/* The process's ZeroMQ context, made at first use (after fork, never shared over it). */
void *control_context(void);
/* Ends it, with every socket closed before; last answers go out. At the end of a process that answers. */
void control_context_end(void);

/* ---- client ---- */
/* `path` is the socket's path. Waits at most timeout_ms. `*reply` is new: json_decref() it. A reply with ok false is
 * an error with its text. -> ERROR_remote (nobody listens, no answer in time, refused), ERROR_input (malformed). */
int control_ask(const char *path, const json_t *request, int timeout_ms, json_t **reply, struct error *e);

struct control_call {
    const char  *path;
    json_t      *request;   /* borrowed */
    json_t      *reply;     /* new, or NULL */
    struct error error;     /* code 0 when the reply is there and ok */
};
/* Ask many at once: the slowest costs its own time only. */
void control_ask_all(struct control_call *calls, int count, int timeout_ms);

/* ---- server ---- */
struct control;

/* Answers one request: fills `reply` (an object; "ok" is added). An error becomes {"ok":false,"error":...}. */
typedef int control_answer(void *own, const char *ask, json_t *request, json_t *reply, struct error *e);

/* Binds at `path` (mode 0600). -> NULL with ERROR_wire. */
struct control *control_open(const char *path, control_answer *answer, void *own, struct error *e);
void            control_close(struct control *c);           /* NULL: nothing; removes the socket */
void           *control_socket(struct control *c);          /* for zmq_poll, ZMQ_POLLIN */
/* For poll and epoll: call control_poll() whenever it is readable, and once after control_open(). */
int             control_fd(struct control *c);
void            control_poll(struct control *c);            /* answers all that is there; never blocks */
#endif
