/* grid: what runs now, for schedule.cc (who runs next), meet.cc (who waits for whom) and words.cc
 * (what went wrong). One grid at a time, under a lock. */
#ifndef SIMT_GRID_H
#define SIMT_GRID_H

#include "simt.h"

#include "fiber.h"

#define LANES 32
#define BEYOND 1024                 /* bytes after a block's shared memory that nobody may write */
#define NAME_ROOM 256

enum state { READY, MEETING, BARRIER, CLUSTER, EXITED };

struct thread {
    struct simt_thread seen;        /* first: simt_self points at it */
    struct fiber fiber;
    struct warp *warp;
    enum state   state;
    int          barrier;           /* BARRIER: which */
    int          phase;             /* of the cluster's barrier: the last it arrived in, or -1 */
    enum simt_meeting kind;         /* MEETING: */
    uint32_t     mask;
    int          argument, width;
    uint64_t     value;             /* what it gives; when it goes on: what it gets */
    const char  *file;              /* where it waits */
    int          line;
    uint32_t     arrivals, waits, block_epoch;  /* race.cc: barriers so far; of its warp's lanes, */
    uint32_t     clocks[LANES];                 /* how much of what each did is before this one */
};

struct warp {
    struct block  *block;
    struct thread *threads;         /* lane 0 */
    uint32_t ready, alive, waiting; /* lanes; waiting: at a meeting */
    int      mixed;                 /* those who wait came for different things */
    int      listed;                /* place in the list of warps with ready lanes, or -1 */
};

struct barrier {
    unsigned    arrived, threads, sum;
    const char *file;
    int         line;
};

struct block {
    struct thread *threads;
    unsigned       alive, count;
    struct barrier barriers[SIMT_BARRIERS];
};

struct grid {
    const struct simt_launch *launch;
    uint64_t       ordinal, random;
    unsigned       stay;            /* of 256: how often the same warp goes on */
    struct thread *threads;         /* of the cluster */
    struct warp   *warps, **ready;
    struct block  *blocks;
    size_t         room_threads, room_warps, room_blocks;
    unsigned       count, alive, ready_count, warps_of_block;
    unsigned char *shared;          /* slot bytes for each block */
    size_t         slot, room_shared;
    unsigned       cluster_arrived;
    int            cluster_phase;
    int            beside;          /* SLUICE_SIMT_ULPS */
    uint64_t       yields;          /* since something else happened */
    struct fiber   host;
    struct fiber  *previous;        /* who switched last */
};

extern struct grid grid;

static inline struct thread *
self(void)
{
    return (struct thread *)simt_self;
}

static inline uint32_t
bit(const struct thread *t)
{
    return 1u << t->seen.lane;
}

/* Somebody else runs; returns when this thread's turn has come again. current: its warp, where that
 * may go on; NULL: any. */
void switch_away(struct thread *me, struct warp *current);
/* "rows_kernel" of the launch. */
void kernel_name(char out[NAME_ROOM]);
/* "function, file:line" of an instruction. */
void code_words(const void *code, char out[NAME_ROOM]);
void cluster_open(void);            /* all have come to the cluster's barrier */

static inline void
make_ready(struct warp *w, uint32_t lanes)
{
    if (w->ready == 0 && lanes != 0) {
        w->listed = (int)grid.ready_count;
        grid.ready[grid.ready_count++] = w;
    }
    w->ready |= lanes;
}

static inline void
wait_as(struct thread *me, enum state state)
{
    me->state = state;
    grid.yields = 0;
    switch_away(me, me->warp);
}

static inline void
release(struct thread *t)
{
    t->state = READY;
    make_ready(t->warp, bit(t));
}

#endif
