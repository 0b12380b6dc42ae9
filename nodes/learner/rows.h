/* rows: the numbers of each row of a batch, or of a whole step, between head and objective. */
#ifndef NODES_LEARNER_ROWS_H
#define NODES_LEARNER_ROWS_H

#include "kernels/objective.h"

struct rows {
    float *logp, *lse, *entropy, *c, *e, *h; /* (room) */
    struct objective_entry *entries;         /* (entry_room) */
    int64_t room, entry_room;
    struct objective_output out; /* of the last run: what of it the objective wrote */
};

/* Room for so many rows and named logits; what was there is gone. */
void rows_reserve(struct rows *r, int64_t rows, int64_t entries);
void rows_free(struct rows *r);

#endif
