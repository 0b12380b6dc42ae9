/* A grid on fibers: who runs next, barriers, and what warps do together. */
#include "simt.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fiber.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define LANES 32
#define BEYOND 1024                 /* bytes after a block's shared memory that nobody may write */
#define NAME_ROOM 256
#define YIELDS_MAX 20000            /* and 100 for each thread: all of them only spin */

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

struct simt_thread *simt_self;
dim3     simt_block_dim, simt_grid_dim;
unsigned simt_cluster_blocks;

static pthread_mutex_t one_grid = PTHREAD_MUTEX_INITIALIZER;

static struct {
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
    uint64_t       yields;          /* since something else happened */
    struct fiber   host;
    struct fiber  *previous;        /* who switched last */
} grid;

static struct thread *
self(void)
{
    return (struct thread *)simt_self;
}

static uint32_t
bit(const struct thread *t)
{
    return 1u << t->seen.lane;
}

/* ---- words ---- */

/* The kernel's name: from the dynamic symbols, or, as kernels are static, from addr2line. */
static void
kernel_name(char out[NAME_ROOM])
{
    const unsigned char *at = (const unsigned char *)grid.launch->kernel;
    char command[600];
    Dl_info info;
    FILE *pipe;

    snprintf(out, NAME_ROOM, "at %p", (const void *)at);
    if (dladdr(at, &info) == 0)
        return;
    if (info.dli_sname != NULL && info.dli_saddr == at) {
        snprintf(out, NAME_ROOM, "%.200s", info.dli_sname);
        return;
    }
    snprintf(command, sizeof command, "addr2line -f -s -C -e '%s' 0x%zx 2>/dev/null",
             info.dli_fname, (size_t)(at - (const unsigned char *)info.dli_fbase));
    pipe = popen(command, "r");
    if (pipe == NULL)
        return;
    if (fgets(command, sizeof command, pipe) != NULL && command[0] != '?') {
        command[strcspn(command, "(\n")] = '\0';
        snprintf(out, NAME_ROOM, "%.200s", command);
    }
    pclose(pipe);
}

static void
tell_waiting(void)
{
    static const char *const words[] = { "could run", "at a function of its warp", "at a barrier",
                                         "at the cluster's barrier", "has exited" };
    int told = 0;

    for (unsigned i = 0; i < grid.count && told < 8; i++) {
        const struct thread *t = &grid.threads[i], *before = i > 0 ? t - 1 : NULL;

        if (t->state == EXITED || (before != NULL && before->state == t->state &&
                                   before->file == t->file && before->line == t->line))
            continue;
        fprintf(stderr, "simt:     block %u thread %u and on: %s", t->seen.block.x,
                t->seen.index.x, words[t->state]);
        fprintf(stderr, t->file != NULL ? ", %s:%d\n" : "\n", t->file, t->line);
        told++;
    }
}

void
simt_die(const char *file, int line, const char *format, ...)
{
    char name[NAME_ROOM];
    va_list list;

    fflush(stdout);
    if (simt_self != NULL) {
        const struct simt_thread *t = simt_self;

        kernel_name(name);
        fprintf(stderr, "simt: kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", name, t->block.x,
                t->block.y, t->block.z, t->index.x, t->index.y, t->index.z);
        fprintf(stderr, file != NULL ? ", %s:%d: " : ": ", file, line);
    } else {
        fprintf(stderr, "simt: ");
    }
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    if (simt_self != NULL)
        tell_waiting();
    abort();
}

/* ---- who runs next ---- */

static uint64_t
draw(void)                          /* xorshift64*: Vigna 2016, doi:10.1145/2845077 */
{
    uint64_t x = grid.random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    grid.random = x;
    return x * 0x2545f4914f6cdd1dull;
}

static uint64_t
mix(uint64_t x)                     /* splitmix64's finaliser */
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static inline void
make_ready(struct warp *w, uint32_t lanes)
{
    if (w->ready == 0 && lanes != 0) {
        w->listed = (int)grid.ready_count;
        grid.ready[grid.ready_count++] = w;
    }
    w->ready |= lanes;
}

static inline struct thread *
take(struct warp *w, unsigned turn)
{
    uint32_t turned = w->ready >> turn | (turn == 0 ? 0 : w->ready << (LANES - turn));
    unsigned lane = ((unsigned)__builtin_ctz(turned) + turn) & (LANES - 1);

    w->ready &= ~(1u << lane);
    if (w->ready == 0) {
        struct warp *last = grid.ready[--grid.ready_count];
        grid.ready[w->listed] = last;
        last->listed = w->listed;
    }
    return &w->threads[lane];
}

static struct thread *
pick(struct warp *current)
{
    uint64_t r = draw();
    struct warp *w = current;

    if (w == NULL || w->ready == 0 || (r >> 56) >= grid.stay) {
        if (grid.ready_count == 0) {
            const struct thread *t = self();
            simt_die(t->file, t->line, "deadlock: every thread of the %s waits",
                     simt_cluster_blocks > 1 ? "cluster" : "block");
        }
        w = grid.ready[((r >> 32 & 0xffffff) * grid.ready_count) >> 24];
    }
    return take(w, r & (LANES - 1));
}

/* Somebody else runs; returns when this thread's turn has come again. */
static inline void
switch_away(struct thread *me, struct warp *current)
{
    struct thread *to = pick(current);

    if (to == me)
        return;
    grid.previous = &me->fiber;
    simt_self = &to->seen;
    fiber_switch(&me->fiber, &to->fiber);
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

void
simt_progress(void)
{
    grid.yields = 0;
}

void
simt_yield(void)
{
    struct thread *me = self();

    if (++grid.yields > YIELDS_MAX + 100ull * grid.alive)
        simt_die(NULL, 0, "deadlock: nothing happens but waiting in loops");
    make_ready(me->warp, bit(me));
    switch_away(me, NULL);
}

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

static void
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
        return;
    }
    make_ready(me->warp, bit(me));
    switch_away(me, me->warp);
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

/* ---- a launch ---- */

static void
block_exited(struct block *b)
{
    if (grid.alive > 0)             /* the cluster goes on: nobody may read what was here */
        memset(b->threads->seen.shared, 0xff, grid.launch->shared);
}

[[noreturn]] static void
thread_exit(void)
{
    struct thread *me = self(), *to;
    struct warp *w = me->warp;
    struct block *b = w->block;

    me->state = EXITED;
    w->alive &= ~bit(me);
    grid.alive--;
    b->alive--;
    grid.yields = 0;
    for (uint32_t m = w->waiting; m != 0; m &= m - 1) {
        const struct thread *t = &w->threads[__builtin_ctz(m)];

        if ((t->mask & bit(me)) != 0)
            simt_die(t->file, t->line, "exits, but lane %d waits for it with the mask %08x",
                     t->seen.lane, t->mask);
    }
    if (b->barriers[0].arrived > 0)
        simt_die(b->barriers[0].file, b->barriers[0].line,
                 "exits, but others of its block wait for it at __syncthreads");
    if (me->phase == grid.cluster_phase)
        simt_die(me->file, me->line, "exits between the cluster's arrive and wait");
    if (b->alive == 0)
        block_exited(b);
    if (grid.alive == 0) {
        simt_self = NULL;
        fiber_leave(&me->fiber, &grid.host);
    }
    if (grid.cluster_arrived == grid.alive)
        cluster_open();
    to = pick(w);
    grid.previous = &me->fiber;
    simt_self = &to->seen;
    fiber_leave(&me->fiber, &to->fiber);
}

static void
entry(void)
{
    fiber_begin(grid.previous);
    grid.launch->call(grid.launch->body);
    thread_exit();
}

template <typename T>
static void
room(T **at, size_t *have, size_t wanted)
{
    if (*have >= wanted)
        return;
    *at = (T *)realloc((void *)*at, wanted * sizeof **at);
    if (*at == NULL)
        simt_die(NULL, 0, "out of memory");
    *have = wanted;
}

static void
make_room(const struct simt_launch *l)
{
    size_t threads = (size_t)l->block.x * l->block.y * l->block.z;
    size_t warps = (threads + LANES - 1) / LANES, listed = grid.room_warps;
    size_t slot = ((l->shared + 1023) & ~(size_t)1023) + BEYOND;

    room(&grid.threads, &grid.room_threads, threads * l->cluster);
    room(&grid.ready, &listed, warps * l->cluster);
    room(&grid.warps, &grid.room_warps, warps * l->cluster);
    room(&grid.blocks, &grid.room_blocks, l->cluster);
    grid.count = (unsigned)(threads * l->cluster);
    grid.warps_of_block = (unsigned)warps;
    grid.slot = slot;
    if (grid.room_shared < slot * l->cluster) {
        if (grid.shared != NULL)
            ASAN_UNPOISON_MEMORY_REGION(grid.shared, grid.room_shared);
        free(grid.shared);
        grid.room_shared = slot * l->cluster;
        grid.shared = (unsigned char *)aligned_alloc(1024, grid.room_shared);
        if (grid.shared == NULL)
            simt_die(NULL, 0, "out of memory");
    }
    ASAN_UNPOISON_MEMORY_REGION(grid.shared, grid.room_shared);
}

static void
block_begin(unsigned rank, uint3 index)
{
    const dim3 d = simt_block_dim;
    unsigned count = d.x * d.y * d.z;
    unsigned char *shared = grid.shared + rank * grid.slot;
    struct block *b = &grid.blocks[rank];
    struct warp *warps = &grid.warps[rank * grid.warps_of_block];

    memset(b, 0, sizeof *b);
    b->threads = &grid.threads[rank * count];
    b->alive = b->count = count;
    memset(shared, 0xff, grid.launch->shared);
    memset(shared + grid.launch->shared, 0xa5, BEYOND);
    ASAN_POISON_MEMORY_REGION(shared + grid.launch->shared, BEYOND);
    for (unsigned i = 0; i < count; i++) {
        struct thread *t = &b->threads[i];

        t->seen.index = { i % d.x, i / d.x % d.y, i / d.x / d.y };
        t->seen.block = index;
        t->seen.shared = shared;
        t->seen.lane = (int)(i % LANES);
        t->seen.rank = rank;
        t->warp = &warps[i / LANES];
        t->state = READY;
        t->phase = -1;
        t->file = NULL;
        fiber_make(&t->fiber, (int)(rank * count + i), entry);
    }
    for (unsigned i = 0; i < grid.warps_of_block; i++) {
        unsigned lanes = count - i * LANES < LANES ? count - i * LANES : LANES;

        warps[i] = { b, &b->threads[i * LANES], 0, (uint32_t)((1ull << lanes) - 1), 0, 0, -1 };
        make_ready(&warps[i], warps[i].alive);
    }
}

static void
check_beyond(unsigned rank, uint3 index)
{
    unsigned char *end = grid.shared + rank * grid.slot + grid.launch->shared;

    ASAN_UNPOISON_MEMORY_REGION(end, BEYOND);
    for (int i = 0; i < BEYOND; i++) {
        char name[NAME_ROOM];

        if (end[i] == 0xa5)
            continue;
        kernel_name(name);
        simt_die(NULL, 0, "kernel %s, block (%u,%u,%u): byte %zu of %zu of shared memory was "
                 "written", name, index.x, index.y, index.z, grid.launch->shared + (size_t)i,
                 grid.launch->shared);
    }
}

static void
run_cluster(uint64_t which)
{
    const struct simt_launch *l = grid.launch;
    uint64_t across = l->grid.x / l->cluster;
    uint3 index = { 0, (unsigned)(which / across % l->grid.y),
                    (unsigned)(which / across / l->grid.y) };
    unsigned first = (unsigned)(which % across) * l->cluster;
    struct thread *to;

    grid.alive = grid.count;
    grid.ready_count = 0;
    grid.cluster_arrived = 0;
    grid.cluster_phase = 0;
    grid.yields = 0;
    for (unsigned rank = 0; rank < l->cluster; rank++) {
        index.x = first + rank;
        block_begin(rank, index);
    }
    to = pick(NULL);
    grid.previous = &grid.host;
    simt_self = &to->seen;
    fiber_switch(&grid.host, &to->fiber);
    for (unsigned rank = 0; rank < l->cluster; rank++) {
        index.x = first + rank;
        check_beyond(rank, index);
    }
}

static uint64_t
common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void
simt_run(const struct simt_launch *l)
{
    static const unsigned stays[] = { 256, 250, 128, 0 };
    const char *seed = getenv("SLUICE_SIMT_SEED");
    uint64_t clusters = (uint64_t)(l->grid.x / l->cluster) * l->grid.y * l->grid.z, step, first;

    pthread_mutex_lock(&one_grid);
    grid.launch = l;
    grid.random = mix(mix(seed != NULL ? strtoull(seed, NULL, 10) : 1) ^ grid.ordinal++) | 1;
    grid.stay = stays[draw() >> 62];
    grid.host.stack = NULL;
    simt_block_dim = l->block;
    simt_grid_dim = l->grid;
    simt_cluster_blocks = l->cluster;
    make_room(l);
    first = (draw() >> 16) % clusters;
    for (step = (draw() >> 16) % clusters | 1; common_divisor(step, clusters) != 1; step += 2)
        ;
    for (uint64_t i = 0; i < clusters; i++)
        run_cluster((uint64_t)(((unsigned __int128)i * step + first) % clusters));
    pthread_mutex_unlock(&one_grid);
}
