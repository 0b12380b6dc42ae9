/* race: every load and store of a kernel, looked at. Kernels compiled with -fsanitize=thread call
 * the functions below (the sanitizer's own library is not linked); the other builds never do.
 *
 * Two accesses of one byte race when one of them writes, they are not both atomic, and nothing
 * orders the threads between them: the same thread, a __syncthreads of the block, a barrier of the
 * cluster, or meetings of the warp (by clocks of its lanes). Blocks that share no cluster are never
 * ordered within a launch. This finds what the order of fibers cannot show: two blocks that write
 * one place, a warp that reads before another has to have written. Each 4 bytes remember up to 4
 * accesses. Once a kernel spins or meets at a barrier of its own, what orders its threads is not
 * known here, and the launch is looked at no further for races.
 *      Also every address: it must lie in an allocation of the device, in shared memory of the
 * block's own cluster, on the thread's stack or among the program's constants. */
#include "race.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime.h"

#define PAGE 4096
#define CELLS 4
#define WORDS (PAGE / 4)
#define EPOCHS_MAX 65535

enum { WRITE = 1, ATOMIC = 2 };

struct cell {                       /* an access; thread is 0 where there is none */
    uint32_t thread;                /* 1 + block * 1024 + thread of it */
    int32_t  code;                  /* of the instruction, from anchor() */
    uint16_t block_epoch, cluster_epoch;
    uint32_t clock : 24, bytes : 4, kind : 4;
};

struct page {
    uint64_t    stamp;              /* the launch, or cluster, that the cells are of */
    struct cell cells[WORDS][CELLS];
};

struct pages {                      /* shadows of a range of addresses, made when touched */
    struct page **at;
    size_t        count;
};

int race_on;

static int      atomic;             /* the accesses of now are an atomic's */
static int      blind;              /* this launch orders its threads in a way not known here */
static uint64_t stamp, cluster_stamp;
static struct pages of_device, of_shared;

static void
anchor(void)
{
}

extern "C" void
__tsan_init(void)
{
    race_on = 1;
}

void
simt_atomic(int on)
{
    atomic = on;
}

/* ---- what orders threads ---- */

void
race_begin(void)
{
    stamp++;
    blind = 0;
}

void
race_cluster_begin(void)
{
    cluster_stamp++;
    for (unsigned i = 0; race_on && i < grid.count; i++) {
        struct thread *t = &grid.threads[i];

        t->arrivals = t->waits = t->block_epoch = 0;
        memset(t->clocks, 0, sizeof t->clocks);
        t->clocks[t->seen.lane] = 1;
    }
}

void
race_blind(void)
{
    blind = 1;
}

void
race_met(struct warp *w, uint32_t mask)
{
    uint32_t joined[LANES] = {};

    if (!race_on)
        return;
    for (uint32_t m = mask; m != 0; m &= m - 1)
        for (int i = 0; i < LANES; i++) {
            uint32_t clock = w->threads[__builtin_ctz(m)].clocks[i];

            joined[i] = clock > joined[i] ? clock : joined[i];
        }
    for (uint32_t m = mask; m != 0; m &= m - 1) {
        int lane = __builtin_ctz(m);

        memcpy(w->threads[lane].clocks, joined, sizeof joined);
        w->threads[lane].clocks[lane]++;
    }
}

/* Is the access before what this thread does now, in every order of threads? */
static int
ordered(const struct cell *c, const struct thread *me, uint32_t id)
{
    unsigned mine = (id - 1) / 1024, its = (c->thread - 1) / 1024;
    unsigned lane = (c->thread - 1) % LANES;

    if (c->thread == id)
        return 1;
    if (mine != its && (simt_cluster_blocks == 1 ||
                        mine / simt_cluster_blocks != its / simt_cluster_blocks))
        return 0;
    if (me->waits > c->cluster_epoch)
        return 1;
    if (mine != its)
        return 0;
    if (me->block_epoch > c->block_epoch)
        return 1;
    return (id - 1) / LANES == (c->thread - 1) / LANES && me->clocks[lane] >= c->clock;
}

/* ---- what is told ---- */

[[noreturn]] static void
tell_race(const struct cell *before, const struct cell *now, const void *at)
{
    static const char *const kinds[] = { "reads", "writes", "reads atomically",
                                         "writes atomically" };
    const unsigned char *base = (const unsigned char *)anchor;
    char here[NAME_ROOM], there[NAME_ROOM], where[NAME_ROOM];
    unsigned block = (before->thread - 1) / 1024, thread = (before->thread - 1) % 1024;
    dim3 g = simt_grid_dim;

    code_words(base + now->code, here);
    code_words(base + before->code, there);
    if (!simt_memory_words(at, where, sizeof where))
        memcpy(where, "shared memory", sizeof "shared memory");
    simt_die(NULL, 0, "race: %s (%s) at %s what block (%u,%u,%u), linear thread %u, %s at %s, and "
             "nothing orders them", kinds[now->kind], where, here, block % g.x, block / g.x % g.y,
             block / g.x / g.y, thread, kinds[before->kind], there);
}

[[noreturn]] static void
tell_stray(const void *at, unsigned bytes, int write, const void *code)
{
    char here[NAME_ROOM], where[NAME_ROOM];

    code_words(code, here);
    if ((size_t)((const unsigned char *)at - grid.shared) < grid.slot * simt_cluster_blocks)
        snprintf(where, sizeof where, "shared memory of a block that has exited");
    else
        simt_memory_words(at, where, sizeof where);
    simt_die(NULL, 0, "%s %u bytes at %p, which is %s, at %s", write ? "writes" : "reads", bytes,
             at, where, here);
}

/* ---- shadows ---- */

static struct page *
page_of(struct pages *p, size_t index, uint64_t wanted)
{
    struct page *page;

    if (p->at == NULL) {
        void *at = mmap(NULL, p->count * sizeof *p->at, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            simt_die(NULL, 0, "race: no memory");
        p->at = (struct page **)at;
    }
    page = p->at[index];
    if (page == NULL) {
        page = p->at[index] = (struct page *)calloc(1, sizeof *page);
        if (page == NULL)
            simt_die(NULL, 0, "race: no memory");
    }
    if (page->stamp != wanted) {
        memset(page->cells, 0, sizeof page->cells);
        page->stamp = wanted;
    }
    return page;
}

/* Compares the access with those of the word and remembers it. */
static void
look(struct cell cells[CELLS], const struct cell *now, const struct thread *me, const void *at)
{
    static unsigned turn;
    int place = -1;

    for (int i = 0; i < CELLS; i++) {
        struct cell *c = &cells[i];
        int covers = (c->bytes & ~now->bytes) == 0 &&
                     (now->kind & WRITE) >= (c->kind & WRITE);

        if (c->thread == 0) {
            place = place < 0 ? i : place;
            continue;
        }
        if ((c->bytes & now->bytes) == 0)
            continue;
        if (((c->kind | now->kind) & WRITE) == 0) {
            if (c->thread == now->thread && covers)
                place = i;
            continue;
        }
        if (ordered(c, me, now->thread)) {
            place = covers ? i : place;
            continue;
        }
        if ((c->kind & now->kind & ATOMIC) == 0)
            tell_race(c, now, at);
    }
    cells[place >= 0 ? place : (int)(turn++ % CELLS)] = *now;
}

static void
look_all(struct pages *p, size_t offset, uint64_t wanted, const void *at, unsigned bytes, int kind,
         const void *code)
{
    const struct thread *me = self();
    const uint3 b = me->seen.block;
    uint32_t block = (b.z * simt_grid_dim.y + b.y) * simt_grid_dim.x + b.x;
    struct cell now = {};

    now.thread = 1 + block * 1024 + (uint32_t)(me - me->warp->block->threads);
    now.code = (int32_t)((const unsigned char *)code - (const unsigned char *)anchor);
    now.block_epoch = (uint16_t)me->block_epoch;
    now.cluster_epoch = (uint16_t)me->arrivals;
    now.clock = me->clocks[me->seen.lane] & 0xffffff;
    now.kind = (unsigned)kind & 15;
    if (me->block_epoch > EPOCHS_MAX || me->arrivals > EPOCHS_MAX)
        simt_die(NULL, 0, "race: more than %d barriers", EPOCHS_MAX);
    for (size_t from = offset; from < offset + bytes;) {
        size_t end = (from | 3) + 1;
        struct page *page = page_of(p, from / PAGE, wanted);

        end = end < offset + bytes ? end : offset + bytes;
        now.bytes = ((1u << (end - from)) - 1) << (from & 3) & 15;
        look(page->cells[from % PAGE / 4], &now, me, at);
        from = end;
    }
}

static int
find_image(struct dl_phdr_info *object, size_t, void *out)
{
    uintptr_t *image = (uintptr_t *)out, least = UINTPTR_MAX, most = 0;
    uintptr_t here = (uintptr_t)anchor;

    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &object->dlpi_phdr[i];

        uintptr_t from = object->dlpi_addr + h->p_vaddr, to = from + h->p_memsz;

        if (h->p_type != PT_LOAD)
            continue;
        if (from < least)
            least = from;
        if (to > most)
            most = to;
    }
    if (here < least || here >= most)
        return 0;
    image[0] = least;
    image[1] = most;
    return 1;
}

/* Of the program or library itself, or one of its variables; threadIdx and its like. */
static int
is_constant(const void *at)
{
    static uintptr_t image[2];

    if (image[1] == 0)
        dl_iterate_phdr(find_image, image);
    if ((size_t)((const unsigned char *)at - (const unsigned char *)grid.threads) <
        grid.count * sizeof *grid.threads)
        return 1;
    return (uintptr_t)at >= image[0] && (uintptr_t)at < image[1];
}

static void
access(const void *at, unsigned bytes, int write, const void *code)
{
    int kind = (write ? WRITE : 0) | (atomic ? ATOMIC : 0);
    size_t offset;

    if (simt_self == NULL || fiber_stack_has(at))
        return;
    offset = (size_t)((const unsigned char *)at - grid.shared);
    if (offset < grid.slot * simt_cluster_blocks) {
        if (offset % grid.slot + bytes > grid.launch->shared)
            simt_die(NULL, 0, "byte %zu of %zu of shared memory was %s", offset % grid.slot,
                     grid.launch->shared, write ? "written" : "read");
        if (grid.blocks[offset / grid.slot].alive == 0)
            tell_stray(at, bytes, write, code);
        of_shared.count = ((size_t)16 << 20) / PAGE;
        if (!blind)
            look_all(&of_shared, offset, cluster_stamp, at, bytes, kind, code);
    } else if (simt_memory_offset(at, &offset)) {
        if (!simt_on_device(at, bytes))
            tell_stray(at, bytes, write, code);
        of_device.count = SIMT_MEMORY_SPAN / PAGE;
        if (!blind)
            look_all(&of_device, offset, stamp, at, bytes, kind, code);
    } else if (write || !is_constant(at)) {
        tell_stray(at, bytes, write, code);
    }
}

/* What is of a type so wide: a device faults at other addresses. */
static inline void
aligned(const void *at, unsigned bytes, int write, const void *code)
{
    char here[NAME_ROOM];

    if (simt_self != NULL && (uintptr_t)at % bytes != 0) {
        code_words(code, here);
        simt_die(NULL, 0, "%s %u bytes at %p, no multiple of %u, at %s",
                 write ? "writes" : "reads", bytes, at, bytes, here);
    }
    access(at, bytes, write, code);
}

#define HERE __builtin_return_address(0)

void
simt_touch(const void *at, unsigned bytes, int write)
{
    if (race_on)
        access(at, bytes, write, HERE);
}

/* ---- what compiled kernels call ---- */

#define HOOKS(BYTES)                                                                            \
    extern "C" void __tsan_read##BYTES(void *at) { aligned(at, BYTES, 0, HERE); }               \
    extern "C" void __tsan_write##BYTES(void *at) { aligned(at, BYTES, 1, HERE); }              \
    extern "C" void __tsan_unaligned_read##BYTES(void *at) { access(at, BYTES, 0, HERE); }      \
    extern "C" void __tsan_unaligned_write##BYTES(void *at) { access(at, BYTES, 1, HERE); }     \
    extern "C" void __tsan_volatile_read##BYTES(void *at) { access(at, BYTES, 0, HERE); }       \
    extern "C" void __tsan_volatile_write##BYTES(void *at) { access(at, BYTES, 1, HERE); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

extern "C" void
__tsan_read_range(void *at, long bytes)
{
    access(at, (unsigned)bytes, 0, HERE);
}

extern "C" void
__tsan_write_range(void *at, long bytes)
{
    access(at, (unsigned)bytes, 1, HERE);
}

extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit(void *) {}
extern "C" void __tsan_vptr_update(void *, void *) {}
