/* account: the books of one process for `sluice audit`: which ordinals it sent on each port,
 * handled on each link, settled, and still keeps, as interval sets. Read at rest from its store or,
 * while it lives, from its answer to "audit". */
#ifndef GRAPH_ACCOUNT_H
#define GRAPH_ACCOUNT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "graph/interval.h"
#include "graph/place.h"
#include "graph/plan.h"
#include "graph/store.h"

#define ACCOUNT_INTERVALS_MAX 200000    /* of one set; more are an error, never a wrong answer */
#define ACCOUNT_REASONS_MAX   64

struct account_reason {
    char    text[64];
    int64_t count;
};

struct account {
    bool exists; /* it has a store: a process never started has nothing to say */
    int                   port_count, link_count;
    struct intervals     *sent;         /* per port of the kind */
    struct intervals     *received;     /* per link: handled, parked ones included */
    struct intervals *kept; /* per link: really found in the park table or a held dead letter */
    struct intervals      settled;
    int64_t               samples;
    int                   reason_count;
    struct account_reason reasons[ACCOUNT_REASONS_MAX];
    int64_t               doubled;      /* ordinals that arrived twice on one link */
};

/* From an open store. -> ERROR_limit */
int account_read(struct account *a, struct store *s, const struct plan *p, int node,
                 struct error *e);
/* As the answer to "audit", and back. New. */
json_t *account_json(const struct account *a);
int account_parse(struct account *a, const json_t *reply, const struct plan *p, int node,
                  struct error *e);
/* Ask the process, or open its store when it is down; tries again while it is just starting or
 * ending. */
int account_take(struct account *a, const struct place *place, const struct plan *p, int node,
                 int replica, struct error *e);
void account_free(struct account *a);

#endif
