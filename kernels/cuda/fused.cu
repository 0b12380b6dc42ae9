/* The fused logits product. A block computes tiles of TILE_ROWS rows by TILE_CLASSES classes, one
 * after the other: one warp asks for the boxes of x and W, TILE_INNER columns at a time, into a
 * ring of STAGES in shared memory; two warpgroups multiply, 64 rows each, with the sums in their
 * registers, and take the statistics from there. While one is at its statistics the other
 * multiplies: they wait for each other only through the ring.
 *
 * Two barriers a stage. full: the boxes have come (one arrival and their bytes). empty: every warp
 * of both warpgroups is done with them. */
#include "kernels/cuda/fused.cuh"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/rows_device.cuh"

#define TILE_ROWS     128
#define TILE_CLASSES  256           /* two tiles of statistics */
#define TILE_INNER    64            /* columns of a box: 128 bytes */
#define STAGES        4
#define X_BYTES       (TILE_ROWS * SWIZZLE_ROW)
#define STAGE_BYTES   (X_BYTES + TILE_CLASSES * SWIZZLE_ROW)
#define MULTIPLIERS   2             /* warpgroups */
#define GROUP_ROWS    (TILE_ROWS / MULTIPLIERS)
#define THREADS       ((1 + MULTIPLIERS) * WARPGROUP)
#define WARP_BYTES    (16 * FUSED_COLUMNS * 2)  /* 16 rows of a tile of statistics, bfloat16 */
#define STAGING_BYTES (MULTIPLIERS * WARPGROUP / WARP * WARP_BYTES)
#define SHARED_BYTES  (SWIZZLE + STAGES * STAGE_BYTES + STAGING_BYTES + \
                       2 * STAGES * (int)sizeof(uint64_t))
#define SUMS          (GROUP_ROWS * TILE_CLASSES / WARPGROUP)   /* of a thread */
#define COMBINE_ROWS  4             /* warps of a block of combine() */

/* 65536 registers: 128 (40) + 256 (232) = 384 (168). */
#define REGISTERS_LOADER      40
#define REGISTERS_MULTIPLIER 232

/* The second warpgroup begins when this stage comes for the first time: it stays behind by about as
 * many steps, so that each one's statistics fall into the other's products. */
#define LEAD          2

/* Row tiles of a group: x of a group (12.6 MB at hidden 1536) stays in the L2 cache while W passes
 * once, and the blocks that run at a time share few tiles of W. */
#define GROUP_TILES   32

#define TILES_MOST    (1ll << 30)   /* of a call: its number is an int, with room to step over */

#define NOWHERE       -1000.0f      /* z - largest beyond the last class: exp2 of it is 0 */

struct fused_work {
    int64_t  count, vocab, hidden, tiles;   /* tiles: of statistics, to a row */
    uint32_t row_tiles, class_tiles, all;   /* all: their product, less than 2^31 */
    int      x_rows, w_rows;                /* of a box: less than a tile's where there are less */
    int32_t *target;                        /* (count) */
    __nv_bfloat16 *at;                      /* (count, stride) or NULL */
    int64_t        stride;
    float *largest, *sum, *moment;          /* (count, tiles) */
    float *chosen;                          /* (count): z_y */
};

/* ---- the ring ---- */

struct ring {
    unsigned char *stages, *staging;
    uint64_t      *full, *empty;            /* (STAGES) */
    int            stage, phase;            /* phase: parity of the stage's turn */
};

static __device__ inline struct ring
ring_of(unsigned char *shared)
{
    uint32_t past = shared_address(shared) % SWIZZLE;
    struct ring r;

    r.stages = shared + (past == 0 ? 0 : SWIZZLE - past);
    r.staging = r.stages + STAGES * STAGE_BYTES;
    r.full = (uint64_t *)(r.staging + STAGING_BYTES);
    r.empty = r.full + STAGES;
    r.stage = r.phase = 0;
    return r;
}

static __device__ inline void
ring_next(struct ring *r)
{
    r->stage++;
    if (r->stage == STAGES) {
        r->stage = 0;
        r->phase ^= 1;
    }
}

/* ---- tiles ---- */

struct tile {
    int64_t row, column;            /* the first ones */
};

/* Rows change first, then classes, then groups of rows. In 32 bits: divisions are long in 64. */
static __device__ inline struct tile
tile_at(const struct fused_work *k, uint32_t index)
{
    uint32_t first = index / (GROUP_TILES * k->class_tiles) * GROUP_TILES;
    uint32_t within = index - first * k->class_tiles;
    uint32_t rows = k->row_tiles - first < GROUP_TILES ? k->row_tiles - first : GROUP_TILES;
    uint32_t column = within / rows;
    struct tile t;

    t.row = (int64_t)(first + within - column * rows) * TILE_ROWS;
    t.column = (int64_t)column * TILE_CLASSES;
    return t;
}

/* One thread: all boxes of all tiles of the block, in the order in which they are used. */
static __device__ inline void
load(const struct fused_work *k, const tensor_map *x, const tensor_map *w, struct ring r)
{
    for (uint32_t i = blockIdx.x; i < k->all; i += gridDim.x) {
        struct tile t = tile_at(k, i);

        for (int64_t inner = 0; inner < k->hidden; inner += TILE_INNER) {
            unsigned char *stage = r.stages + r.stage * STAGE_BYTES;

            /* A new barrier says that the phase before its first one is over. */
            barrier_wait(&r.empty[r.stage], r.phase ^ 1);
            barrier_expect(&r.full[r.stage], (k->x_rows + k->w_rows) * SWIZZLE_ROW);
            tensor_load(stage, x, &r.full[r.stage], (int)inner, (int)t.row);
            tensor_load(stage + X_BYTES, w, &r.full[r.stage], (int)inner, (int)t.column);
            ring_next(&r);
        }
    }
}

static __device__ __forceinline__ void
release(uint64_t *empty)
{
    __syncwarp();
    if (threadIdx.x % WARP == 0)
        barrier_arrive(empty);
}

/* sums = the warpgroup's rows times the tile's classes. A stage is given back when the products of
 * the next one are on their way. */
static __device__ __forceinline__ void
multiply(int64_t hidden, struct ring *r, int group, float (&sums)[SUMS])
{
    int before = -1;

    for (int64_t inner = 0; inner < hidden; inner += TILE_INNER) {
        unsigned char *stage = r->stages + r->stage * STAGE_BYTES;
        uint64_t x = wgmma_descriptor(stage + group * GROUP_ROWS * SWIZZLE_ROW);
        uint64_t w = wgmma_descriptor(stage + X_BYTES);

        barrier_wait(&r->full[r->stage], r->phase);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < TILE_INNER / 16; i++)
            wgmma_m64n256k16(sums, x + i * DESCRIPTOR_K, w + i * DESCRIPTOR_K, inner != 0 || i > 0);
        wgmma_commit();
        wgmma_wait<1>();
        if (before >= 0)
            release(&r->empty[before]);
        before = r->stage;
        ring_next(r);
    }
    wgmma_wait<0>();
    release(&r->empty[before]);
}

/* ---- the epilogue ---- */

/* The two rows that a thread has a quarter of: row[1] = row[0] + 8. */
struct pair {
    int64_t first;                  /* of the warp's 16 */
    int64_t row[2];                 /* -1: beyond the last */
    int32_t target[2];              /* -1: the same */
};

static __device__ inline struct pair
pair_of(const struct fused_work *k, int64_t tile_row, int group)
{
    int thread = threadIdx.x % WARPGROUP;
    int64_t first = tile_row + group * GROUP_ROWS + thread / WARP * 16;
    int64_t row = first + thread % WARP / 4;
    struct pair p;

    p.first = first;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        p.row[i] = row + 8 * i < k->count ? row + 8 * i : -1;
        p.target[i] = p.row[i] < 0 ? -1 : k->target[p.row[i]];
    }
    return p;
}

/* Element e of a half: row e / 2 % 2 of the pair, class element_class(e) of the tile. */
#define HALF (SUMS / 2)

static __device__ __forceinline__ int
element_class(int e)
{
    return e / 4 * 8 + (int)(threadIdx.x % 4) * 2 + e % 2;
}

static __device__ __forceinline__ void
mask(float (&z)[SUMS], int half, int64_t limit, float value)
{
#pragma unroll
    for (int e = 0; e < HALF; e++)
        if (element_class(e) >= limit)
            z[half * HALF + e] = value;
}

/* z_y, where this thread has it. */
static __device__ __forceinline__ void
choose(const struct fused_work *k, const float (&z)[SUMS], int half, const struct pair *p,
       int64_t column, int64_t limit)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t within = p->target[i] - column;
        float chosen = 0.0f;

        if (p->target[i] < 0 || within < 0 || within >= limit ||
            within % 8 / 2 != threadIdx.x % 4)
            continue;
#pragma unroll
        for (int e = 2 * i; e < HALF; e += e % 2 == 0 ? 1 : 3)  /* the row's */
            chosen = element_class(e) == within ? z[half * HALF + e] : chosen;
        k->chosen[p->row[i]] = chosen;
    }
}

static __device__ __forceinline__ float
quad_largest(float value)           /* of the four threads that share a row */
{
    value = fmaxf(value, __shfl_xor_sync(FULL, value, 1));
    return fmaxf(value, __shfl_xor_sync(FULL, value, 2));
}

static __device__ __forceinline__ float
quad_sum(float value)
{
    value += __shfl_xor_sync(FULL, value, 1);
    return value + __shfl_xor_sync(FULL, value, 2);
}

/* Place of 8 classes of one of a warp's rows: what 8 threads write or read at a time lies in
 * different banks. */
static __device__ __forceinline__ int
staged(int row, int chunk)
{
    return row * FUSED_COLUMNS * 2 + ((chunk ^ row % 8) << 4);
}

/* z - largest of the warp's 16 rows, by way of shared memory: a thread then has 8 classes of a row,
 * half a warp the whole tile of it. A chunk of logits is more than the L2 cache: x and W stay. */
static __device__ __forceinline__ void
store(const struct fused_work *k, const float (&z)[SUMS], int half, unsigned char *staging,
      int64_t row, int64_t column)
{
    int lane = threadIdx.x % WARP, r = lane / 16;
    int64_t at = column + lane % 16 * 8, left = at < k->vocab ? k->count - row : 0;
    __nv_bfloat16 *to = k->at + (row + r) * k->stride + at;
    int rows = left < 16 ? (int)left : 16;

    __syncwarp();                   /* the half before has been read */
#pragma unroll
    for (int block = 0; block < FUSED_COLUMNS / 8; block += 2) {
        const int e = half * HALF + block * 4;

        matrix_store(staging + staged(lane % 16, block + lane / 16),
                     bfloat16_pair(z[e], z[e + 1]), bfloat16_pair(z[e + 2], z[e + 3]),
                     bfloat16_pair(z[e + 4], z[e + 5]), bfloat16_pair(z[e + 6], z[e + 7]));
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
        if (r + i < rows)
            __stcs((uint4 *)to, *(const uint4 *)(staging + staged(r + i, lane % 16)));
        to += 2 * k->stride;
    }
}

/* Three of the four threads write one number each. */
static __device__ __forceinline__ void
tell(const struct fused_work *k, int64_t row, int64_t tile, float largest, float sum, float moment)
{
    int thread = threadIdx.x % 4;
    float *to = thread == 0 ? k->largest : thread == 1 ? k->sum : k->moment;
    float value = thread == 0 ? largest : thread == 1 ? sum : moment;

    if (row >= 0 && thread < 3)
        to[row * k->tiles + tile] = value;
}

/* One tile of statistics: half of the sums. A logit that is NaN or infinite makes sum or moment
 * NaN: the largest is not subtracted from itself then, or 0 is multiplied by infinity. */
static __device__ __forceinline__ void
finish(const struct fused_work *k, float (&z)[SUMS], int half, unsigned char *staging,
       const struct pair *p, int64_t column)
{
    int64_t limit = k->vocab - column;
    float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f}, moment[2] = {0.0f, 0.0f};

    if (limit <= 0)
        return;
    choose(k, z, half, p, column, limit < FUSED_COLUMNS ? limit : FUSED_COLUMNS);
    if (limit < FUSED_COLUMNS)
        mask(z, half, limit, -INFINITY);
#pragma unroll
    for (int e = 0; e < HALF; e++)
        largest[e / 2 % 2] = fmaxf(largest[e / 2 % 2], z[half * HALF + e]);
    largest[0] = quad_largest(largest[0]);
    largest[1] = quad_largest(largest[1]);
#pragma unroll
    for (int e = 0; e < HALF; e++)
        z[half * HALF + e] -= largest[e / 2 % 2];
    if (limit < FUSED_COLUMNS)
        mask(z, half, limit, NOWHERE);
#pragma unroll
    for (int e = 0; e < HALF; e++) {
        float term = power_of_two(z[half * HALF + e] * LOG2E);

        sum[e / 2 % 2] += term;
        moment[e / 2 % 2] = fmaf(term, z[half * HALF + e], moment[e / 2 % 2]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
        tell(k, p->row[i], column / FUSED_COLUMNS, largest[i], quad_sum(sum[i]),
             quad_sum(moment[i]));
    if (k->at != NULL)
        store(k, z, half, staging, p->first, column);
}

static __device__ __forceinline__ void
multiply_all(const struct fused_work *k, struct ring r, int group)
{
    unsigned char *staging = r.staging + (group * WARPGROUP + threadIdx.x % WARPGROUP) / WARP *
                                             WARP_BYTES;

    if (group > 0)
        barrier_wait(&r.full[k->hidden > LEAD * TILE_INNER ? LEAD : 0], 0);
    for (uint32_t i = blockIdx.x; i < k->all; i += gridDim.x) {
        struct tile t = tile_at(k, i);
        struct pair p = pair_of(k, t.row, group);
        float sums[SUMS];

        multiply(k->hidden, &r, group, sums);
        finish(k, sums, 0, staging, &p, t.column);
        finish(k, sums, 1, staging, &p, t.column + FUSED_COLUMNS);
    }
}

/* The rows' targets, so that a tile's need one load: it goes on while the tile is computed. */
static __global__ void
fused_targets(const struct fused_work k, const int64_t *place, const int32_t *targets)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (row < k.count)
        k.target[row] = targets[place[row]];
}

static __global__ void
__launch_bounds__(THREADS, 1)
fused_product(const __grid_constant__ tensor_map x, const __grid_constant__ tensor_map w,
              const __grid_constant__ struct fused_work k)
{
    struct ring r = ring_of(shared_memory());
    int warpgroup = threadIdx.x / WARPGROUP;

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&r.full[i], 1);
            barrier_init(&r.empty[i], MULTIPLIERS * WARPGROUP / WARP);
        }
        fence_barriers();
    }
    __syncthreads();
    if (warpgroup == 0) {
        registers_fewer<REGISTERS_LOADER>();
        if (threadIdx.x == 0)
            load(&k, &x, &w, r);
    } else {
        registers_more<REGISTERS_MULTIPLIER>();
        multiply_all(&k, r, warpgroup - 1);
    }
}

/* ---- a row's tiles together ---- */

/* log p = (z_y - m) - log s; H = log s - sum exp(z - m) (z - m) / s. A warp has a row; each of its
 * threads adds every 32nd tile, then the warp's tree. */
static __global__ void
fused_combine(const struct fused_work k, const int64_t *places, const struct row_arrays a,
              unsigned long long *fault)
{
    int64_t row = (int64_t)blockIdx.x * COMBINE_ROWS + threadIdx.x / WARP, place;
    const float *largest = k.largest + row * k.tiles;
    float m = -INFINITY, s = 0.0f, moment = 0.0f, log_s;
    int lane = threadIdx.x % WARP;

    if (row >= k.count)
        return;
    for (int64_t t = lane; t < k.tiles; t += WARP)
        m = fmaxf(m, largest[t]);
    m = warp_largest(m);
    for (int64_t t = lane; t < k.tiles; t += WARP) {
        float below = largest[t] - m, scale = expf(below);
        float sum = k.sum[row * k.tiles + t];

        s = fmaf(sum, scale, s);
        /* sum exp(z - m) (z - m), where z - m = (z - largest) + below */
        moment = fmaf(fmaf(sum, below, k.moment[row * k.tiles + t]), scale, moment);
    }
    s = warp_sum(s);
    moment = warp_sum(moment);
    if (lane != 0)
        return;
    place = places[row];
    log_s = logf(s);
    if (!(fabsf(m) <= FLT_MAX) || !(s <= FLT_MAX) || !(fabsf(moment) <= FLT_MAX))
        fault_tell(fault, FAULT_logits, place);
    a.lse[place] = m + log_s;
    a.logp[place] = (k.chosen[row] - m) - log_s;
    if (a.entropy != NULL)
        a.entropy[place] = fmaxf(log_s - moment / s, 0.0f);
}

/* ---- the host's part ---- */

static int64_t
parts(int64_t all, int64_t one)
{
    return (all + one - 1) / one;
}

int64_t
fused_tiles_bytes(int64_t rows, int64_t vocab)
{
    return rows * (3 * parts(vocab, FUSED_COLUMNS) + 2) * (int64_t)sizeof(float);
}

static int
take_tiles(struct sluice_cuda *s, struct fused_work *k)
{
    void *tiles = NULL;
    int rc = scratch_take(s, SCRATCH_tiles, fused_tiles_bytes(k->count, k->vocab), &tiles);

    if (rc != 0)
        return rc;
    k->largest = (float *)tiles;
    k->sum = k->largest + k->count * k->tiles;
    k->moment = k->sum + k->count * k->tiles;
    k->chosen = k->moment + k->count * k->tiles;
    k->target = (int32_t *)(k->chosen + k->count);
    return 0;
}

/* A box is not larger than its matrix. What it then leaves of a stage is never written, and goes
 * into sums of rows and classes that are not there alone. */
static int
make_maps(const struct sluice_head *head, struct fused_work *k, const void *x, int64_t x_stride,
          tensor_map *x_map, tensor_map *w_map)
{
    int rc;

    k->x_rows = k->count < TILE_ROWS ? (int)k->count : TILE_ROWS;
    k->w_rows = k->vocab < TILE_CLASSES ? (int)k->vocab : TILE_CLASSES;
    rc = tensor_map_make(x_map, x, k->count, k->hidden, x_stride, k->x_rows);
    if (rc == 0)
        rc = tensor_map_make(w_map, head->weight, k->vocab, k->hidden, head->weight_stride,
                             k->w_rows);
    return rc == 0 ? 0 : fail(SLUICE_failed, "fused logits: the driver refuses a tensor's map, "
                              "error %d", rc);
}

static int
run(struct sluice_cuda *s, const struct fused_work *k, const tensor_map *x, const tensor_map *w,
    const int64_t *place, const struct row_arrays *a)
{
    int64_t all = k->all, most = s->multiprocessors;
    struct launch targets = {parts(k->count, THREADS), THREADS, 0, 0};
    struct launch product = {all < most ? all : most, THREADS, 0, SHARED_BYTES};
    struct launch combine = {parts(k->count, COMBINE_ROWS), COMBINE_ROWS * WARP, 0, 0};
    int rc = launch(s, "fused targets", targets, fused_targets, *k, place, a->targets);

    if (rc == 0)
        rc = launch(s, "fused logits", product, fused_product, *x, *w, *k);
    return rc == 0 ? launch(s, "fused statistics", combine, fused_combine, *k, place, *a, s->fault)
                   : rc;
}

int
fused_logits(struct sluice_cuda *s, const struct sluice_head *head, int64_t count,
             const int64_t *place, const void *x, int64_t x_stride, struct row_logits *z,
             const struct row_arrays *a)
{
    struct fused_work k = {};
    tensor_map x_map, w_map;
    int rc;

    k.count = count;
    k.vocab = head->vocab;
    k.hidden = head->hidden;
    k.tiles = parts(head->vocab, FUSED_COLUMNS);
    k.row_tiles = (uint32_t)parts(count, TILE_ROWS);
    k.class_tiles = (uint32_t)parts(head->vocab, TILE_CLASSES);
    k.all = k.row_tiles * k.class_tiles;
    k.at = (__nv_bfloat16 *)z->at;
    k.stride = z->stride;
    if (parts(count, TILE_ROWS) * k.class_tiles > TILES_MOST)
        return fail(SLUICE_argument, "fused logits: %lld rows are too many at a time",
                    (long long)count);
    if (x_stride % 8 != 0 || (uintptr_t)x % 16 != 0 ||
        (z->at != NULL && (z->stride % 8 != 0 || (uintptr_t)z->at % 16 != 0)))
        return fail(SLUICE_argument, "fused logits: rows must begin at multiples of 16 bytes");
    rc = take_tiles(s, &k);
    if (rc == 0 && count > 0)
        rc = make_maps(head, &k, x, x_stride, &x_map, &w_map);
    if (rc == 0 && count > 0)
        rc = run(s, &k, &x_map, &w_map, place, a);
    z->rows = count;
    z->vocab = head->vocab;
    z->form = ROW_shifted;
    z->chosen = k.chosen;
    z->tile_largest = k.largest;
    z->tile_columns = FUSED_COLUMNS;
    z->tiles = k.tiles;
    return rc;
}

/* ---- may it be used? ---- */

const char *
fused_why(const struct sluice_cuda *s)
{
    return s->fused_why;
}

static const char *
refusal(const struct sluice_cuda *s, const struct sluice_head *head)
{
    if (s->major != 9 || s->minor != 0)
        return "fused logits are for compute capability 9.0 alone";
    if (s->shared_most < SHARED_BYTES)
        return "fused logits: a block of this device may not have enough shared memory";
    if (head->bias != NULL)
        return "fused logits: the head has a bias";
    if ((uintptr_t)head->weight % 16 != 0 || head->weight_stride % 8 != 0)
        return "fused logits: rows of the head's weight do not begin at multiples of 16 bytes";
    if (head->hidden < TILE_INNER)
        return "fused logits: rows of fewer than 64 numbers";
    if (head->vocab > INT32_MAX || head->hidden > INT32_MAX)
        return "fused logits: the head is too large";
    return NULL;
}

int
fused_fits(struct sluice_cuda *s, const struct sluice_head *head)
{
    const char *why = refusal(s, head);

    if (s->fused_state < 0)
        return 0;
    s->fused_failed = 0;
    if (why == NULL && s->fused_state == 0) {
        int rc = fused_check(s);

        if (rc == SLUICE_lost || rc == SLUICE_memory)   /* which says nothing of the numbers */
            s->fused_failed = rc;
        else
            s->fused_state = rc == 0 ? 1 : -1;
        why = rc != 0 ? sluice_cuda_error() : NULL;
    }
    snprintf(s->fused_why, sizeof s->fused_why, "%s", why == NULL ? "" : why);
    fail_clear();
    return why == NULL;
}
