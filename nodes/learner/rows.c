/* rows: see rows.h. */
#include "nodes/learner/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void
rows_free(struct rows *r)
{
    free(r->logp);
    free(r->lse);
    free(r->entropy);
    free(r->c);
    free(r->e);
    free(r->h);
    free(r->entries);
    memset(r, 0, sizeof(*r));
}

void
rows_reserve(struct rows *r, int64_t rows, int64_t entries)
{
    float **const arrays[] = {&r->logp, &r->lse, &r->entropy, &r->c, &r->e, &r->h};

    if (rows > r->room || !r->logp) {
        r->room = rows + rows / 8 + 1;
        for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
            free(*arrays[i]);
            *arrays[i] = xaligned((size_t)r->room * sizeof(float));
        }
    }
    if (entries > r->entry_room) {
        free(r->entries);
        r->entry_room = entries;
        r->entries = xarray((size_t)entries, sizeof(*r->entries));
    }
}
