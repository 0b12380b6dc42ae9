/* Barriers that count bytes, copies of boxes and products of warpgroups, as a device of compute
 * capability 9.0 has them (kernels/cuda/hopper.cuh; PTX ISA: mbarrier, cp.async.bulk.tensor,
 * wgmma.mma_async), and late, as there.
 *
 * A copy fills its box with NaN when it is asked for and brings the bytes at some later try of a
 * barrier, drawn by chance. A product reads shared memory at some moment between its issue and the
 * wait for its group; accumulators are NaN until then. So a stage that is read before it has come,
 * or given back before it was read, gives wrong sums. The process ends with a line where: a barrier
 * was not initialised or not fenced before a copy names it, is told of more arrivals than it waits
 * for or changes phase with bytes missing; a descriptor is not one of K-major rows with the
 * 128-byte swizzle; the threads of a warpgroup multiply different things; accumulators are touched
 * while products are under way; a block ends with products or copies under way.
 *
 * A fault on demand, as those of simt.h: SLUICE_SIMT_WGMMA=wrong, columns of products exchanged. */
#include "kernels/cuda/hopper.cuh"

#include <stdlib.h>
#include <string.h>

#include "simt.h"

#define SHARED_BASE  0x480          /* not a multiple of 1024: whoever needs one rounds up */
#define SHARED_MOST  (228 << 10)
#define LOADS_MAX    256
#define PRODUCTS_MAX 64             /* of a thread, not waited for */
#define FRESH_MAX    64             /* barriers initialised, not fenced */
#define THREADS_MAX  1024
#define HISTORY      256            /* products of a warpgroup that its threads compare */

/* Inner loops are quick in builds for sanitizers too: what they reach is checked here. */
#define HOT __attribute__((optimize("O3"), no_sanitize("address", "undefined")))

static uint64_t
chance(void)                        /* splitmix64 from the simulator's seed */
{
    static uint64_t state;
    static int seeded;

    if (!seeded) {
        const char *seed = getenv("SLUICE_SIMT_SEED");
        state = seed != NULL ? strtoull(seed, NULL, 10) : 1;
        seeded = 1;
    }
    state += 0x9e3779b97f4a7c15ull;
    uint64_t x = (state ^ state >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

uint32_t
shared_address(const void *at)
{
    return SHARED_BASE + (uint32_t)((const unsigned char *)at - simt_shared());
}

/* The byte at an address of the window. */
static unsigned char *
shared_at(uint32_t address)
{
    if (address < SHARED_BASE || address - SHARED_BASE >= SHARED_MOST)
        simt_die(NULL, 0, "address %#x lies outside of shared memory", address);
    return simt_shared() + (address - SHARED_BASE);
}

/* 128-byte swizzle: the place of 16 bytes in a row of 128 is XORed with the row's number in 8. */
HOT static inline uint32_t
swizzled(uint32_t address)
{
    uint32_t chunk = address / 16 % 8, row = address / 128 % 8;

    return address / 128 * 128 + (chunk ^ row) * 16 + address % 16;
}

/* ---- barriers ---- */

struct barrier {
    int expected, pending, bytes, phase;
};

static const uint64_t *fresh[FRESH_MAX];
static int fresh_count;

#define BYTES_BIAS (1 << 20)

static void
barrier_write(uint64_t *b, struct barrier v)
{
    *b = (uint64_t)v.phase << 63 | (uint64_t)v.expected << 42 | (uint64_t)v.pending << 22 |
         (uint64_t)(v.bytes + BYTES_BIAS);
}

/* Bit 62 is never set: fresh shared memory, all ones, is no barrier. */
static struct barrier
barrier_read(const uint64_t *b)
{
    struct barrier v;

    if ((uintptr_t)b % 8 != 0 || *b >> 62 & 1)
        simt_die(NULL, 0, "no barrier at shared address %#x", shared_address(b));
    v.phase = (int)(*b >> 63);
    v.expected = (int)(*b >> 42 & 0xfffff);
    v.pending = (int)(*b >> 22 & 0xfffff);
    v.bytes = (int)(*b & 0x3fffff) - BYTES_BIAS;
    return v;
}

/* The phase is over when all have arrived and all announced bytes have come. */
static void
barrier_settle(uint64_t *b, struct barrier v)
{
    if (v.bytes >= BYTES_BIAS || v.bytes <= -BYTES_BIAS)
        simt_die(NULL, 0, "a barrier counts to less than 2^20 bytes");
    if (v.pending == 0 && v.bytes == 0) {
        v.phase ^= 1;
        v.pending = v.expected;
    }
    barrier_write(b, v);
    simt_progress();
}

static void
arrive(uint64_t *b, int bytes)
{
    struct barrier v = barrier_read(b);

    if (v.pending == 0)
        simt_die(NULL, 0, "more arrivals than the barrier's %d", v.expected);
    v.bytes += bytes;
    v.pending--;
    barrier_settle(b, v);
}

void
barrier_arrive(uint64_t *b)
{
    arrive(b, 0);
}

void
barrier_expect(uint64_t *b, int bytes)
{
    arrive(b, bytes);
}

void
fence_barriers(void)
{
    fresh_count = 0;
}

/* ---- copies ---- */

struct load {
    struct simt_tensor map;
    unsigned char *to;
    uint64_t *b;
    unsigned  block;
    int       column, row;
};

static int wrong_products;
static struct load loads[LOADS_MAX];
static int load_count;

/* Of an earlier block: its memory is another's now. */
static void
forgotten(const struct load *l)
{
    simt_die(NULL, 0, "block %u ended with copies under way", l->block);
}

void
barrier_init(uint64_t *b, int arrivals)
{
    struct barrier v = {arrivals, arrivals, 0, 0};

    if (arrivals < 1 || arrivals >= 1 << 20 || fresh_count == FRESH_MAX)
        simt_die(NULL, 0, "a barrier of %d arrivals", arrivals);
    for (int i = 0; i < load_count; i++)
        if (loads[i].b == b)
            forgotten(&loads[i]);
    wrong_products = getenv("SLUICE_SIMT_WGMMA") != NULL;
    barrier_write(b, v);
    fresh[fresh_count++] = b;
}

int
tensor_map_make(tensor_map *map, const void *at, int64_t rows, int64_t columns, int64_t stride,
                int box_rows)
{
    int64_t pitch = 2 * stride;

    if (at == NULL || (uintptr_t)at % 16 != 0 || rows > 1ll << 32 || columns > 1ll << 32 ||
        pitch % 16 != 0 || pitch < 2 * columns || pitch >= 1ll << 40 || box_rows < 1 ||
        box_rows > 256 || columns < SWIZZLE_ROW / 2 || rows < box_rows)
        return 1;                   /* CUDA_ERROR_INVALID_VALUE */
    map->at = (const unsigned char *)at;
    map->rows = rows;
    map->columns = columns;
    map->pitch = pitch;
    map->box_rows = box_rows;
    return 0;
}

void
tensor_load(void *to, const tensor_map *map, uint64_t *b, int column, int row)
{
    struct load *l = &loads[load_count];

    for (int i = 0; i < fresh_count; i++)
        if (fresh[i] == b)
            simt_die(NULL, 0, "a copy names a barrier that no fence has shown it");
    barrier_read(b);
    if (load_count == LOADS_MAX || shared_address(to) % 128 != 0)
        simt_die(NULL, 0, "a copy to %#x, %d are under way", shared_address(to), load_count);
    memset(to, 0xff, (size_t)map->box_rows * SWIZZLE_ROW);
    l->map = *map;
    l->to = (unsigned char *)to;
    l->b = b;
    l->block = simt_self->block.x;
    l->column = column;
    l->row = row;
    load_count++;
}

/* Outside of the matrix: zeros, whose bytes count too. */
static void
bring_row(const struct load *l, int r, unsigned char *out)
{
    int64_t row = (int64_t)l->row + r, first = l->column, end = first + SWIZZLE_ROW / 2;

    memset(out, 0, SWIZZLE_ROW);
    if (row < 0 || row >= l->map.rows)
        return;
    first = first < 0 ? 0 : first;
    end = end > l->map.columns ? l->map.columns : end;
    if (first < end)
        memcpy(out + (first - l->column) * 2, l->map.at + row * l->map.pitch + first * 2,
               (size_t)(end - first) * 2);
}

static void
bring(const struct load *l)
{
    uint32_t base = shared_address(l->to);
    struct barrier v = barrier_read(l->b);
    unsigned char line[SWIZZLE_ROW];

    for (int r = 0; r < l->map.box_rows; r++) {
        bring_row(l, r, line);
        for (int at = 0; at < SWIZZLE_ROW; at += 16)
            memcpy(shared_at(swizzled(base + (uint32_t)(r * SWIZZLE_ROW + at))), line + at, 16);
    }
    v.bytes -= l->map.box_rows * SWIZZLE_ROW;
    barrier_settle(l->b, v);
}

/* Each time somebody looks at a barrier, each copy under way may come, in any order. */
static void
time_passes(void)
{
    if (load_count > 0)
        simt_progress();
    for (int i = 0; i < load_count;) {
        if (chance() % 4 != 0) {
            i++;
            continue;
        }
        if (loads[i].block != simt_self->block.x)
            forgotten(&loads[i]);
        bring(&loads[i]);
        loads[i] = loads[--load_count];
    }
}

int
barrier_try(uint64_t *b, int parity)
{
    time_passes();
    return barrier_read(b).phase != parity;
}

void
barrier_wait(uint64_t *b, int parity)
{
    while (!barrier_try(b, parity))
        simt_yield();               /* which ends a launch where nothing else happens */
}

/* ---- products ---- */

struct product {
    uint64_t a, b;
    int      add, columns, group;
};

struct products {                   /* of one thread */
    unsigned block;
    float   *d;                     /* NULL: nothing under way */
    float    sums[128];             /* what d will be */
    struct product list[PRODUCTS_MAX];
    int      count, committed, fenced;
    uint64_t ordinal;               /* products that it has begun */
};

struct history {                    /* what a warpgroup multiplied */
    uint64_t ordinal, a, b;
    int      add;
};

static struct products all_products[THREADS_MAX];
static struct history histories[THREADS_MAX / WARPGROUP][HISTORY];

static struct products *
products_of(void)
{
    struct products *p = &all_products[simt_self->index.x];

    if (p->block != simt_self->block.x) {
        if (p->d != NULL)
            simt_die(NULL, 0, "block %u ended with products under way", p->block);
        p->block = simt_self->block.x;
        p->count = p->committed = p->fenced = 0;
    }
    return p;
}

uint64_t
wgmma_descriptor(const void *at)
{
    uint64_t start = shared_address(at), leading = 16, stride = 1024, swizzle_128 = 1;

    return (start & 0x3ffff) >> 4 | (leading & 0x3ffff) >> 4 << 16 |
           (stride & 0x3ffff) >> 4 << 32 | swizzle_128 << 62;
}

/* A K-major matrix of rows of 128 bytes, as a descriptor says. The swizzle acts on the address's
 * bits, so the pattern must begin at a multiple of 1024 for a descriptor with base offset 0. */
struct operand {
    uint32_t start, stride;
    const unsigned char *shared;
};

static struct operand
operand_of(uint64_t descriptor, int rows)
{
    struct operand o = {(uint32_t)(descriptor & 0x3fff) << 4,
                        (uint32_t)(descriptor >> 32 & 0x3fff) << 4, simt_shared()};

    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0 || (o.start & 0x380) != 0)
        simt_die(NULL, 0, "descriptor %#llx is not of rows with the 128-byte swizzle that begin "
                 "at a multiple of 1024", (unsigned long long)descriptor);
    shared_at(o.start / 1024 * 1024);
    shared_at(o.start / 1024 * 1024 + (uint32_t)(rows / 8 - 1) * o.stride + 1023);
    return o;
}

/* 16 columns of a row. */
HOT static inline void
read_row(const struct operand *o, int row, float *out)
{
    for (uint32_t chunk = 0; chunk < 2; chunk++) {
        uint32_t group = o->start + (uint32_t)row / 8 * o->stride;
        uint32_t at = group + (uint32_t)row % 8 * 128 + chunk * 16;
        const uint16_t *words = (const uint16_t *)(o->shared + (swizzled(at) - SHARED_BASE));

        for (int i = 0; i < 8; i++)
            out[8 * chunk + i] = __builtin_bit_cast(float, (uint32_t)words[i] << 16);
    }
}

/* A thread's part: rows r and r + 8 of its warp's 16, two columns of every 8. */
HOT static void
compute(struct products *p, const struct product *m)
{
    int thread = (int)(simt_self->index.x % WARPGROUP);
    int row = thread / 32 * 16 + thread % 32 / 4, pair = thread % 4 * 2;
    struct operand left = operand_of(m->a, 64), right = operand_of(m->b, m->columns);
    float a[2][16], b[16];

    read_row(&left, row, a[0]);
    read_row(&left, row + 8, a[1]);
    for (int block = 0; block < m->columns / 8; block++)
        for (int c = 0; c < 2; c++) {
            read_row(&right, block * 8 + pair + (wrong_products ? 1 - c : c), b);
            for (int r = 0; r < 2; r++) {
                float *sum = &p->sums[block * 4 + r * 2 + c];
                float value = m->add ? *sum : 0.0f;

                for (int k = 0; k < 16; k++)
                    value = value + a[r][k] * b[k];     /* the product is exact */
                *sum = value;
            }
        }
}

/* The first ones, up to those of a group, in their order. */
static void
compute_until(struct products *p, int group)
{
    int done = 0;

    while (done < p->count && p->list[done].group <= group)
        compute(p, &p->list[done++]);
    memmove(p->list, p->list + done, (size_t)(p->count - done) * sizeof *p->list);
    p->count -= done;
}

static void
compare(struct products *p, uint64_t a, uint64_t b, int add)
{
    uint64_t ordinal = ++p->ordinal;
    struct history *h = &histories[simt_self->index.x / WARPGROUP][ordinal % HISTORY];

    if (h->ordinal < ordinal) {
        h->ordinal = ordinal;
        h->a = a;
        h->b = b;
        h->add = add;
    } else if (h->ordinal == ordinal && (h->a != a || h->b != b || h->add != add)) {
        simt_die(NULL, 0, "threads of a warpgroup multiply different matrices");
    }
}

void
wgmma_fence(const char *file, int line)
{
    simt_meet(SIMT_sync, 0xffffffffu, 0, 0, 32, file, line);
    products_of()->fenced = 1;
}

void
wgmma_commit(void)
{
    products_of()->committed++;
}

void
simt_wgmma(float *d, int columns, uint64_t a, uint64_t b, int add)
{
    struct products *p = products_of();
    static unsigned char under_way[sizeof p->sums];

    if (under_way[0] == 0)
        memset(under_way, 0xff, sizeof under_way);
    if (!p->fenced)
        simt_die(NULL, 0, "a product after its accumulators were touched, without wgmma_fence");
    if (p->d == NULL)
        memcpy(p->sums, d, sizeof p->sums);
    else if (p->d != d || memcmp(d, under_way, sizeof under_way) != 0)
        simt_die(NULL, 0, "accumulators were touched while products were under way");
    if (p->count == PRODUCTS_MAX)
        simt_die(NULL, 0, "%d products that nobody waits for", p->count);
    memcpy(d, under_way, sizeof under_way);
    p->d = d;
    compare(p, a, b, add);
    p->list[p->count++] = (struct product){a, b, add, columns, p->committed};
    if (chance() % 2 == 0)
        compute_until(p, p->committed);
}

void
simt_wgmma_wait(int pending, const char *file, int line)
{
    struct products *p = products_of();

    simt_meet(SIMT_sync, 0xffffffffu, 0, 0, 32, file, line);
    compute_until(p, p->committed - 1 - pending);
    if (pending > 0 || p->count > 0 || p->d == NULL)
        return;
    memcpy(p->d, p->sums, sizeof p->sums);
    p->d = NULL;
    p->fenced = 0;
}

/* Every warp of a warpgroup, whole. */
void
simt_registers(int count, const char *file, int line)
{
    simt_meet(SIMT_sync, 0xffffffffu, 0, 0, 32, file, line);
    if (count < 24 || count > 256 || count % 8 != 0)
        simt_die(file, line, "%d registers", count);
}

/* A matrix's rows go where eight threads of the warp say. Two tables, one after the other: nobody
 * writes a table again before all have met twice. */
void
simt_matrix_store(void *row, const uint32_t *word, const char *file, int line)
{
    static void *tables[2][THREADS_MAX];
    static uint8_t turns[THREADS_MAX];
    int thread = (int)simt_self->index.x, lane = simt_self->lane;
    void **rows = tables[turns[thread]++ % 2] + (thread - lane);

    if (shared_address(row) % 16 != 0)
        simt_die(file, line, "a matrix's row begins at no multiple of 16 bytes");
    rows[lane] = row;
    simt_meet(SIMT_sync, 0xffffffffu, 0, 0, 32, file, line);
    for (int m = 0; m < 4; m++)
        memcpy((unsigned char *)rows[m * 8 + lane / 4] + lane % 4 * 4, word + m, sizeof *word);
}
