/* trace: what one process knows of one ordinal, for `sluice trace`: what it sent, what it still
 * keeps, its dead letters. */
#ifndef GRAPH_TRACE_H
#define GRAPH_TRACE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/plan.h"
#include "graph/store.h"

/* {"settled":bool,"sent":[{"port","message","first","size","closing"?,"body"?}],"kept":[{"from","port","closing"?,"body"?}],
 * "dead":[headers]}; new. Bodies are JSON objects of their messages. */
json_t *trace_read(struct store *s, const struct plan *p, int node, uint64_t ordinal);
/* The ordinal of the rollout with this id among what a source sent; false: none. Reads every body
 * once. */
bool trace_find(struct store *s, const struct plan *p, int node, const char *id, uint64_t *ordinal);
/* The answer to {"ask":"trace","ordinal":N} (as trace_read) or {"ask":"trace","id":"..."}
 * ({"ordinal":N} or {}). */
int trace_answer(struct store *s, const struct plan *p, int node, const json_t *request,
                 json_t *reply, struct error *e);

#endif
