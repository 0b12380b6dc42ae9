/* sat_bounds: from the probability of a cut after each character to the pieces of a text; for sat.c.
 * All positions are characters. */
#ifndef NODES_SAT_BOUNDS_H
#define NODES_SAT_BOUNDS_H

#include "nodes/segmenter/sat.h"

/* A text, or a paragraph of one. */
struct sat_text {
    int64_t      count;     /* characters */
    const float *p;         /* (count): of a cut after it; 0 where no token ends */
    const bool  *space;     /* (count): white space */
};

/* Growing list of positions. Zero-initialise; free at. */
struct sat_ends {
    int64_t *at;
    int64_t  count, room;
};

void sat_ends_add(struct sat_ends *e, int64_t end);

/* Each function appends ends + BASE, ascending; the last is t->count + BASE where count > 0. */
void sat_bounds_over(const struct sat_text *t, float threshold, int64_t base, struct sat_ends *out);
void sat_bounds_within(const struct sat_text *t, const struct sat_options *o, int64_t base,
                       struct sat_ends *out);

#endif
