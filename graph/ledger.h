/* ledger: what a store says about ordinals: for audit, trace and dead letters, of a live process (its own store)
 * or of one that is down (store_peek()). */
#ifndef GRAPH_LEDGER_H
#define GRAPH_LEDGER_H

#include <jansson.h>

#include "graph/plan.h"
#include "graph/store.h"

#define LEDGER_RANGES_MAX 100000    /* intervals of one set in one answer */

/* Fills `out`: {node, replica, terminal, serve, cut, ended, finished, epoch, doubled, parked,
 *  "sent": [{port, name, ranges: [[a,b]...], count, more}], "received": [{link, from, port, ranges, count, more}],
 *  "settled": {ranges, count, more}, "samples", "closed": {reason: n}, "counts": {metric: n}}.
 * Ranges are half-open, committed, with end > from. `more`: ask again from the last end. */
void ledger_audit(struct store *s, const struct plan *p, int node, int replica, uint64_t from, json_t *out);

/* Fills `out`: {ordinal, settled, "out": [{port, message, first, size, closing?, value?}], "parked": [link...], "dead": [...]}. */
int  ledger_trace(struct store *s, const struct plan *p, int node, uint64_t ordinal, json_t *out, struct error *e);
/* The ordinal of a rollout by its id, in the store of a reader. */
bool ledger_find(struct store *s, const char *id, uint64_t *ordinal);

/* Dead letters: headers from number `from` on, at most `most`; and one with its bodies as text. */
void ledger_dead(struct store *s, uint64_t from, int most, json_t *list);
int  ledger_dead_show(struct store *s, const struct plan *p, int node, uint64_t number, json_t *out, struct error *e);
#endif
