/* ask: one question to a process at a time, without waiting for the answer: what the supervisor's
 * loop needs where control_ask() would block it. A process that starts anew binds the same path; an
 * answer that is late belongs to nobody. */
#ifndef GRAPH_ASK_H
#define GRAPH_ASK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct ask {
    void  *socket;      /* NULL: nothing was asked yet */
    bool   waiting;
    double until;       /* when the answer is late */
};

/* `path` is the control socket. The request is borrowed. Replaces a question that still waits. ->
 * ERROR_remote */
int ask_send(struct ask *a, const char *path, const json_t *request, double now, double seconds,
             struct error *e);
/* 1: *reply is the answer (an object, ok or not; json_decref() it); 0: not yet; ERROR_remote: late;
 * ERROR_input. */
int  ask_take(struct ask *a, double now, json_t **reply, struct error *e);
void ask_drop(struct ask *a);   /* forget the question and close the socket */

#endif
