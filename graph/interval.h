/* interval: a set of numbers as sorted, disjoint, never touching half-open intervals, in memory. */
#ifndef GRAPH_INTERVAL_H
#define GRAPH_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>

struct interval {
    uint64_t start, end;        /* [start, end), start < end */
};

/* Zero-initialise; intervals_free() at the end. */
struct intervals {
    int64_t          count, room;
    struct interval *at;
};

/* Returns whether every number was new. An empty interval adds nothing. */
bool     intervals_add(struct intervals *s, uint64_t start, uint64_t end);
bool     intervals_has(const struct intervals *s, uint64_t v);
bool     intervals_covers(const struct intervals *s, uint64_t start, uint64_t end);
/* First number >= v that is not in the set. */
uint64_t intervals_gap(const struct intervals *s, uint64_t v);
uint64_t intervals_total(const struct intervals *s);        /* how many numbers */
uint64_t intervals_top(const struct intervals *s);          /* end of the last; 0 when empty */
void     intervals_clear(struct intervals *s);
void     intervals_free(struct intervals *s);
#endif
