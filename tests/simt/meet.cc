/* Who waits for whom: barriers of a block and of a cluster, functions of a warp. */
#include "grid.h"
#include "race.h"

/* ---- barriers ---- */

static void
barrier_open(struct block *b, int id)
{
    struct barrier *r = &b->barriers[id];

    r->arrived = 0;
    for (unsigned i = 0; i < b->count; i++) {
        struct thread *t = &b->threads[i];

        if (t->state == BARRIER && t->barrier == id) {
            t->value = r->sum;
            t->block_epoch += id == 0;
            release(t);
        }
    }
}

unsigned
simt_barrier(int id, unsigned threads, unsigned value, const char *file, int line)
{
    struct thread *me = self();
    struct block *b = me->warp->block;
    struct barrier *r = &b->barriers[id];

    if (id == 0)
        threads = b->count;
    else
        race_blind();
    if (id == 0 && b->alive < b->count)
        simt_die(file, line, "__syncthreads, but %u threads of the block have exited",
                 b->count - b->alive);
    if (r->arrived == 0) {
        r->threads = threads;
        r->sum = 0;
        r->file = file;
        r->line = line;
    }
    if (id == 0 && (r->line != line || r->file != file))
        simt_die(file, line, "__syncthreads, but other threads of the block are at that of %s:%d",
                 r->file, r->line);
    if (r->threads != threads)
        simt_die(file, line, "barrier %d of %u threads, but others said %u", id, threads,
                 r->threads);
    me->file = file;
    me->line = line;
    me->barrier = id;
    me->state = BARRIER;
    r->sum += value;
    grid.yields = 0;
    if (++r->arrived == threads)
        barrier_open(b, id);        /* this thread too: it need not be the first to go on */
    switch_away(me, me->warp);
    return (unsigned)me->value;
}

void
cluster_open(void)
{
    int phase = grid.cluster_phase++;

    grid.cluster_arrived = 0;
    for (unsigned i = 0; i < grid.count; i++) {
        if (grid.threads[i].state == CLUSTER && grid.threads[i].phase == phase)
            release(&grid.threads[i]);
    }
}

void
simt_cluster_arrive(const char *file, int line)
{
    struct thread *me = self();

    me->file = file;
    me->line = line;
    me->phase = grid.cluster_phase;
    me->arrivals++;
    grid.yields = 0;
    if (++grid.cluster_arrived == grid.alive)
        cluster_open();
}

void
simt_cluster_wait(const char *file, int line)
{
    struct thread *me = self();

    me->file = file;
    me->line = line;
    if (me->phase == grid.cluster_phase) {
        wait_as(me, CLUSTER);
    } else {
        make_ready(me->warp, bit(me));
        switch_away(me, me->warp);
    }
    me->waits++;
}

unsigned char *
simt_cluster_shared(const void *at, unsigned rank, const char *file, int line)
{
    size_t offset = (size_t)((const unsigned char *)at - simt_self->shared);

    if (offset >= grid.launch->shared)
        simt_die(file, line, "map_shared_rank of what is not the block's shared memory");
    if (rank >= simt_cluster_blocks)
        simt_die(file, line, "map_shared_rank: rank %u of a cluster of %u", rank,
                 simt_cluster_blocks);
    return grid.shared + rank * grid.slot + offset;
}

/* ---- what the lanes of a warp do together ---- */

/* PTX ISA, shfl.sync: which lane's value lane i gets. */
static int
source(enum simt_meeting kind, int i, int argument, int width)
{
    int segment = ~(width - 1) & (LANES - 1);
    int least = i & segment, most = least | (~segment & (LANES - 1));
    int from = i;

    switch (kind) {
    case SIMT_up:    from = i - argument; return from >= least ? from : i;
    case SIMT_down:  from = i + argument; return from <= most ? from : i;
    case SIMT_xor:   from = i ^ argument; return from <= most ? from : i;
    case SIMT_index: return least | (argument & ~segment & (LANES - 1));
    default:         return i;
    }
}

static void
shuffle(struct warp *w, uint32_t mask, const char *file, int line)
{
    uint64_t given[LANES];

    for (uint32_t m = mask; m != 0; m &= m - 1)
        given[__builtin_ctz(m)] = w->threads[__builtin_ctz(m)].value;
    for (uint32_t m = mask; m != 0; m &= m - 1) {
        int i = __builtin_ctz(m);
        struct thread *t = &w->threads[i];
        int from = source(t->kind, i, t->argument, t->width);

        if ((mask >> from & 1) == 0)
            simt_die(file, line, "shuffle: lane %d reads lane %d, which is not in the mask %08x",
                     i, from, mask);
        t->value = given[from];
    }
}

static void
vote(struct warp *w, uint32_t mask, enum simt_meeting kind)
{
    uint32_t ballot = 0, total = 0, least = UINT32_MAX, most = 0, either = 0, answer = 0;

    for (uint32_t m = mask; m != 0; m &= m - 1) {
        uint32_t v = (uint32_t)w->threads[__builtin_ctz(m)].value;

        ballot |= v != 0 ? m & -m : 0;
        total += v;
        least = v < least ? v : least;
        most = v > most ? v : most;
        either |= v;
    }
    switch (kind) {
    case SIMT_ballot:  answer = ballot; break;
    case SIMT_any:     answer = ballot != 0; break;
    case SIMT_all:     answer = ballot == mask; break;
    case SIMT_sum:     answer = total; break;
    case SIMT_least:   answer = least; break;
    case SIMT_largest: answer = most; break;
    default:           answer = either; break;
    }
    for (uint32_t m = mask; m != 0; m &= m - 1)
        w->threads[__builtin_ctz(m)].value = answer;
}

static void
match(struct warp *w, uint32_t mask)
{
    uint64_t given[LANES];

    for (uint32_t m = mask; m != 0; m &= m - 1)
        given[__builtin_ctz(m)] = w->threads[__builtin_ctz(m)].value;
    for (uint32_t m = mask; m != 0; m &= m - 1) {
        int i = __builtin_ctz(m);
        uint32_t same = 0;

        for (uint32_t o = mask; o != 0; o &= o - 1)
            same |= given[__builtin_ctz(o)] == given[i] ? o & -o : 0;
        w->threads[i].value = same;
    }
}

/* Lanes that have come for this one's meeting, itself too. One that waits for others, without it,
 * may still come; one that waits for it must have come for the same. */
static uint32_t
come(const struct thread *me)
{
    struct warp *w = me->warp;
    uint32_t lanes = bit(me);

    if (w->waiting == 0) {
        w->mixed = 0;
    } else if (!w->mixed) {         /* the usual case: one comparison for all */
        const struct thread *t = &w->threads[__builtin_ctz(w->waiting)];

        if (t->mask == me->mask && t->kind == me->kind && t->line == me->line &&
            t->file == me->file)
            return lanes | w->waiting;
        w->mixed = 1;
    }
    for (uint32_t m = w->waiting & me->mask; m != 0; m &= m - 1) {
        const struct thread *t = &w->threads[__builtin_ctz(m)];

        if ((t->mask & bit(me)) == 0)
            continue;
        if (t->mask != me->mask)
            simt_die(me->file, me->line, "mask %08x, but lane %d waits with %08x at %s:%d",
                     me->mask, t->seen.lane, t->mask, t->file, t->line);
        if (t->kind != me->kind ||
            (me->kind != SIMT_sync && (t->line != me->line || t->file != me->file)))
            simt_die(me->file, me->line, "lane %d of the mask %08x is at another function: %s:%d",
                     t->seen.lane, me->mask, t->file, t->line);
        lanes |= bit(t);
    }
    return lanes;
}

uint64_t
simt_meet(enum simt_meeting kind, unsigned mask, uint64_t value, int argument, int width,
          const char *file, int line)
{
    struct thread *me = self();
    struct warp *w = me->warp;

    me->kind = kind;
    me->mask = mask;
    me->argument = argument;
    me->width = width;
    me->value = value;
    me->file = file;
    me->line = line;
    if ((mask & bit(me)) == 0)
        simt_die(file, line, "lane %d calls with a mask without it: %08x", me->seen.lane, mask);
    if ((mask & ~w->alive) != 0)
        simt_die(file, line, "the mask %08x names lanes that have exited or do not exist: %08x",
                 mask, mask & ~w->alive);
    if (come(me) != mask) {
        w->waiting |= bit(me);
        wait_as(me, MEETING);
        return me->value;
    }
    w->waiting &= ~mask;
    if (kind == SIMT_match)
        match(w, mask);
    else if (kind >= SIMT_index && kind <= SIMT_xor)
        shuffle(w, mask, file, line);
    else if (kind != SIMT_sync)
        vote(w, mask, kind);
    race_met(w, mask);
    for (uint32_t m = mask & ~bit(me); m != 0; m &= m - 1)
        w->threads[__builtin_ctz(m)].state = READY;
    make_ready(w, mask);
    me->state = READY;
    grid.yields = 0;
    switch_away(me, w);
    return me->value;
}

unsigned
simt_active(void)
{
    return self()->warp->alive;
}

