/* guard: who may connect to a node that listens at tcp://: the ZAP handler (RFC 27) of the process.
 *
 * It lets in exactly the keys of the node's consumers in the plan and tells ZeroMQ the consumer's
 * id, which messages then carry as "User-Id": so no consumer speaks for another. It has a thread of
 * its own, because a handshake must not wait while a judge computes. */
#ifndef GRAPH_GUARD_H
#define GRAPH_GUARD_H

#include "graph/plan.h"

struct guard;

/* Before the data socket binds: without a guard ZeroMQ lets in whoever knows the public key. ->
 * NULL with ERROR_file (a key), ERROR_wire. */
struct guard *guard_open(const struct plan *p, int node, const char *run_dir, struct error *e);
void guard_close(struct guard *g); /* after the data socket; NULL: nothing */
/* How many were turned away since the last call, and from where the last of them came. */
int64_t guard_turned_away(struct guard *g, char *from, size_t room);
#endif
