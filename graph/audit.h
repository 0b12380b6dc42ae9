/* audit: is every ordinal that the reader emitted found exactly once at every node: settled there
 * as a sample or a closing, or on its way to it (P1)?
 *
 * The books of the processes (graph/account.h) are read from the terminals up to the reader, so
 * that what a consumer has received was read before what its producer has sent, and a running graph
 * is never wrong. On a link, in flight is what was sent and not received, as a set, plus what the
 * consumer really keeps (parked, or a held dead letter); never a difference of totals. */
#ifndef GRAPH_AUDIT_H
#define GRAPH_AUDIT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "graph/place.h"
#include "graph/plan.h"

#define AUDIT_PROBLEMS_MAX 100

/* `*report`:
 * {"ok","read","nodes":{id:{"samples","closed":{reason:n},"in_flight"}},"problems":[lines]}; new.
 * The first missing or doubled ordinal of each link or node is named in a problem. -> errors of
 * reading; problems are not errors. */
int audit_run(const struct place *place, const struct plan *p, json_t **report, struct error *e);

#endif
