/* answer: what a node process says on its control socket. See graph/control.h for the protocol.
 *
 *   status                 {id, replica, kind, pid, state, why, epoch, in, out, in_flight, dead, held, position,
 *                           emitted, store_bytes, revision, ended, finished, upstream_finished, metrics}
 *   audit                  graph/account.h, as of a commit made for it
 *   trace {ordinal|id}     graph/trace.h
 *   dead {do: list|show|retry|drop, id}    graph/letter.h
 *   set {option, value}    a live option
 *   stop, leave            end the process in good order (leave: only once finished)
 *   drain                  sources stop reading; everything else goes on
 *   end                    the user's end of an endless input; answers after it is committed
 *   hold, resume           a source emits nothing at or beyond hold_at, durably
 *   copy {folder}          a compact copy of the store after a commit, with what was sent per port
 */
#ifndef GRAPH_ANSWER_H
#define GRAPH_ANSWER_H

#include "graph/core.h"
#include "graph/inlet.h"
#include "graph/outlet.h"

struct answer_to {
    struct node   *n;
    struct inlets *inlets;
    struct outlet *outlet;
    int            failed;      /* ERROR_* when an answer broke the process */
    struct error   error;
};

/* A control_answer for graph/control.h; `own` is a struct answer_to. */
int answer_control(void *own, const char *ask, json_t *request, json_t *reply, struct error *e);
#endif
