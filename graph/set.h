/* set: an interval set kept in the store as rows, so that a billion ordinals cost little. What is added waits in
 * memory until set_flush() merges it into the rows, once for each transaction. */
#ifndef GRAPH_SET_H
#define GRAPH_SET_H

#include "graph/interval.h"
#include "graph/store.h"

/* Ids of sets: kind << 16 | which. */
enum set_kind {
    SET_settled = 1,    /* ordinals settled at this node */
    SET_sent,           /* | port: ordinals committed to an output port */
    SET_received,       /* | link: ordinals handled on an input link */
    SET_mark,           /* | link << 8 | replica: sequence numbers handled of an input lane */
    SET_acked,          /* | lane: sequence numbers its consumer acknowledged */
};

struct set {
    struct store    *store;
    uint32_t         id;
    uint64_t         low;       /* first number not in the set, what waits included */
    uint64_t         top;       /* every number >= top is not in the set */
    struct intervals pending;
};

void set_open(struct set *s, struct store *store, enum set_kind kind, unsigned which);
void set_close(struct set *s);
bool set_has(struct set *s, uint64_t v);
/* Adding again what is in it changes nothing. */
void set_add(struct set *s, uint64_t start, uint64_t end);
void set_flush(struct set *s);      /* into the store's open transaction */

/* The rows of a set with end > from, as last flushed, until visit returns false. */
void set_rows(struct store *store, enum set_kind kind, unsigned which, uint64_t from,
              bool (*visit)(void *own, uint64_t start, uint64_t end), void *own);
/* Appends those rows to `out`, at most `most`; false: there are more. */
bool set_read(struct store *store, enum set_kind kind, unsigned which, uint64_t from, int64_t most,
              struct intervals *out);
#endif
