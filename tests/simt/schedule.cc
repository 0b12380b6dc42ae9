/* A grid on fibers: who runs next, and a launch from its first block to its last. */
#include "grid.h"
#include "race.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define YIELDS_MAX 20000            /* and 100 for each thread: all of them only spin */

struct simt_thread *simt_self;
dim3        simt_block_dim, simt_grid_dim;
unsigned    simt_cluster_blocks;
struct grid grid;

static pthread_mutex_t one_grid = PTHREAD_MUTEX_INITIALIZER;

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

void
switch_away(struct thread *me, struct warp *current)
{
    struct thread *to = pick(current);

    if (to == me)
        return;
    grid.previous = &me->fiber;
    simt_self = &to->seen;
    fiber_switch(&me->fiber, &to->fiber);
}

int
simt_beside(void)
{
    return grid.beside;
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

    race_blind();
    if (++grid.yields > YIELDS_MAX + 100ull * grid.alive)
        simt_die(NULL, 0, "deadlock: nothing happens but waiting in loops");
    make_ready(me->warp, bit(me));
    switch_away(me, NULL);
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
    race_cluster_begin();
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
    const char *seed = getenv("SLUICE_SIMT_SEED"), *ulps = getenv("SLUICE_SIMT_ULPS");
    uint64_t clusters = (uint64_t)(l->grid.x / l->cluster) * l->grid.y * l->grid.z, step, first;

    pthread_mutex_lock(&one_grid);
    grid.launch = l;
    grid.beside = ulps != NULL && strcmp(ulps, "1") == 0;
    grid.random = mix(mix(seed != NULL ? strtoull(seed, NULL, 10) : 1) ^ grid.ordinal++) | 1;
    grid.stay = stays[draw() >> 62];
    grid.host.stack = NULL;
    simt_block_dim = l->block;
    simt_grid_dim = l->grid;
    simt_cluster_blocks = l->cluster;
    make_room(l);
    race_begin();
    first = (draw() >> 16) % clusters;
    for (step = (draw() >> 16) % clusters | 1; common_divisor(step, clusters) != 1; step += 2)
        ;
    for (uint64_t i = 0; i < clusters; i++)
        run_cluster((uint64_t)(((unsigned __int128)i * step + first) % clusters));
    pthread_mutex_unlock(&one_grid);
}
