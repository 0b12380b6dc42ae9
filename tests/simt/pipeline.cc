/* Copies of a thread that are on their way, in the order in which they were begun. */
#include "cuda_pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "fiber.h"

struct copy {
    void       *to;
    const void *from;
    size_t      bytes, batch;       /* batch: commits of the thread before it */
};

struct copies {
    struct copy *at;
    size_t       count, room, batch;
};

static struct copies threads[FIBERS_MAX];

static struct copies *
own(void)
{
    return &threads[simt_self->rank * simt_block_dim.x + simt_self->index.x];
}

void
simt_copy_begin(void *to, const void *from, size_t bytes, const char *file, int line)
{
    struct copies *c = own();

    if (bytes != 4 && bytes != 8 && bytes != 16)
        simt_die(file, line, "a copy of %zu bytes: 4, 8 or 16 can be", bytes);
    if ((uintptr_t)to % bytes != 0 || (uintptr_t)from % bytes != 0)
        simt_die(file, line, "a copy of %zu bytes: places are no multiples of it", bytes);
    if (c->count == c->room) {
        c->room = c->room == 0 ? 16 : 2 * c->room;
        c->at = (struct copy *)realloc(c->at, c->room * sizeof *c->at);
        if (c->at == NULL)
            simt_die(file, line, "out of memory");
    }
    c->at[c->count++] = (struct copy){to, from, bytes, c->batch};
    simt_touch(from, (unsigned)bytes, 0);
    simt_touch(to, (unsigned)bytes, 1);
    memset(to, 0xff, bytes);
}

void
simt_copy_commit(void)
{
    own()->batch++;
}

void
simt_copy_wait(size_t prior)
{
    struct copies *c = own();
    size_t done = 0;

    while (done < c->count && c->at[done].batch + prior < c->batch) {
        simt_touch(c->at[done].to, (unsigned)c->at[done].bytes, 1);
        memcpy(c->at[done].to, c->at[done].from, c->at[done].bytes);
        done++;
    }
    c->count -= done;
    if (done > 0 && c->count > 0)
        memmove(c->at, c->at + done, c->count * sizeof *c->at);
}
