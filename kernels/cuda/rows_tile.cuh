/* rows_tile: a row of logits in shared memory, and the one order in which its sums are taken.
 *
 * Order. A row is cut into segments (shape() of rows.cu: by the number of classes and the size of
 * an element, and above eight segments by whether the device has clusters; so cluster and block
 * kernels, and all functions of rows.cuh, add alike), a segment into groups of 256 classes. Lane l
 * of a warp owns the classes [8 l, 8 l + 8) of a group, warp w of a block the groups w,
 * w + warps, ...
 *      eight terms         ((0 1)(2 3))((4 5)(6 7)), then added to the lane's sum, group by group
 *      lanes, then warps   the butterfly of warp_sum()
 *      segments            relative to their own largest logit; segment r belongs to lane r mod 32
 *                          (folded in rising order there), then the butterfly again
 * Which block or rank has a segment, how many rows there are and which row it is change nothing.
 *
 * Error of log p, in float32 (u = 2^-24), x_v = z_v - m <= 0. A term e^x is 2^(x log2 e): x is
 * off by u |x|, the product by u |x| log2 e and the constant by 1.4e-8 of it, the instruction
 * ex2.approx by 2^-22 of the result at most; so the term by |x| 2.3 u + 2^-22. Weighted with p
 * that is 2.3 u E|x| + 2^-22 in log s, and E_p|x| <= log V <= 12. A sum of n terms by the tree
 * above is off by (3 + groups of a lane + 5 + 3 + 5) u at the very most, and by its root in
 * practice. z_y - m is off by u |z_y - m|. Together |error| < 1e-6 + 2^-23 max|z|. The
 * largest term is exactly 1, so s >= 1, and log p = (z_y - m) - log s is never positive. */
#ifndef KERNELS_CUDA_ROWS_TILE_CUH
#define KERNELS_CUDA_ROWS_TILE_CUH

#include <cuda_pipeline.h>
#include <math.h>

#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/rows_device.cuh"

#define UNIT          8             /* classes of a lane: 16 bytes of bfloat16 */
#define GROUP         (UNIT * WARP) /* classes of a warp's step */
#define WARPS_MAX     8             /* of a block */
#define SEGMENT_BYTES 76032         /* of logits in a block: with BESIDE_MOST and the driver's 1 KB
                                     * three blocks fit a multiprocessor of 228 KB */
#define BESIDE_MOST   768           /* bytes beside it: struct row_scratch and loss_scratch */
#define CLUSTER_MAX   8             /* blocks; the most that every device of 9.0 has */
#define LOG2E         1.44269504f
#define FAR           -1e4f         /* e^FAR is 0: stands for -inf where that would make a NaN */

struct row_work {                   /* what every kernel of rows gets, by value */
    struct row_logits z;
    int64_t row_bytes;              /* from one row of logits to the next */
    const int64_t *place;
    struct row_arrays a;
    __nv_bfloat16 *out;             /* NULL: statistics alone */
    int64_t out_stride;
    unsigned long long *fault;
    int segments;
    int segment;                    /* classes of a segment, a multiple of UNIT */
    int tile_shift;                 /* 2^tile_shift classes of a tile; ROW_shifted */
};

/* A segment of a row in global memory. */
struct part {
    const unsigned char *from;
    int columns;                    /* classes; 0: none */
};

/* Sums of a part, relative to its largest logit; s and t are 0 where largest is -inf. */
struct moments {
    float largest, s, t;            /* sum e^(z - largest), sum e^(z - largest) (z - largest) */
};

struct row_slope {                  /* what a row's slopes are made of */
    float shift;                    /* -lse log2 e */
    float lse, k, h, entropy;       /* k = e - c */
    float target;                   /* the slope of the target */
    int64_t y;                      /* its class; -1: none */
    int64_t entry, entry_end;       /* of a.entries */
};

struct row_scratch {                /* behind the tile in shared memory */
    float4 slot[2];                 /* largest, s, t, z_y of this block's segment; by parity */
    float  largest[WARPS_MAX], s[WARPS_MAX], t[WARPS_MAX];
    float  chosen[2];               /* z_y, by parity of the row */
    struct row_slope slope[2];
    int64_t  row;                   /* where rows_loss is: here so that it takes no registers */
    unsigned step;                  /* while an objective answers */
    int      rank, parity;
};

/* ---- numbers ---- */

static __device__ inline float
row_exp(float x)
{
    return power_of_two(x * LOG2E);
}

static __device__ inline int
is_finite(float x)
{
    return fabsf(x) <= 3.4028234e38f;
}

static __device__ inline float
low_float(unsigned pair)
{
    return __uint_as_float(pair << 16);
}

static __device__ inline float
high_float(unsigned pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

static __device__ inline unsigned
pair_of(float low, float high)      /* both rounded to nearest, ties to even */
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);

    return *(unsigned *)&pair;
}

/* ---- the tile: 16-byte chunks, a group after the other ----
 * Of float32 a lane's eight classes are two chunks. Chunk j of a group lies at j ^ (j / 8 mod 2):
 * eight neighbours in the order of loading (j, j + 1, ...) and in the order of reading (j, j + 2,
 * ...) both touch all banks once. */

static __device__ inline int
chunk_at(int chunk)
{
    return chunk ^ (chunk >> 3 & 1);
}

template <int SIZE>
static __device__ inline float
column_get(const unsigned char *tile, int column)
{
    int chunk = column % GROUP / 4;

    if (SIZE == 4)
        return ((const float *)tile)[column / GROUP * GROUP + 4 * chunk_at(chunk) + column % 4];
    return __bfloat162float(((const __nv_bfloat16 *)tile)[column]);
}

/* Where in a group this lane's unit lies, in bytes, and the chunk it fetches. */
template <int SIZE>
static __device__ inline int
unit_at(int lane)
{
    return 16 * (SIZE == 4 ? chunk_at(2 * lane) : lane);
}

template <int SIZE>
static __device__ inline int
fetch_at(int lane)
{
    return 16 * (SIZE == 4 ? chunk_at(lane) : lane);
}

/* at: bytes into the tile. Of float32 the other chunk is the neighbour of the first. */
template <int SIZE>
static __device__ inline void
unit_read(const unsigned char *tile, int at, float *v)
{
    if (SIZE == 4) {
        float4 a = *(const float4 *)(tile + at), b = *(const float4 *)(tile + (at ^ 16));

        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
        uint4 a = *(const uint4 *)(tile + at);

        v[0] = low_float(a.x), v[1] = high_float(a.x);
        v[2] = low_float(a.y), v[3] = high_float(a.y);
        v[4] = low_float(a.z), v[5] = high_float(a.z);
        v[6] = low_float(a.w), v[7] = high_float(a.w);
    }
}

/* Where the part may end: -inf in a unit that has no class. */
template <int SIZE>
static __device__ inline void
unit_read_if(int there, const unsigned char *tile, int at, float *v)
{
#pragma unroll
    for (int k = 0; k < UNIT; k++)
        v[k] = -INFINITY;
    if (there)
        unit_read<SIZE>(tile, at, v);
}

template <int SIZE>
static __device__ inline struct part
part_of(const struct row_work *w, int64_t row, int segment)
{
    int64_t first = (int64_t)segment * w->segment, left = w->z.vocab - first;
    struct part p;

    left = left < 0 ? 0 : left;
    p.columns = left < w->segment ? (int)left : w->segment;
    p.from = (const unsigned char *)w->z.at + row * w->row_bytes + first * SIZE;
    return p;
}

static __device__ inline struct part
part_none(void)
{
    return (struct part){NULL, 0};
}

/* What a block that goes from segment to segment, and then to the row that is gridDim.x further,
 * takes next. */
template <int SIZE>
static __device__ inline struct part
part_after(const struct row_work *w, int64_t row, int segment)
{
    if (segment + 1 < w->segments)
        return part_of<SIZE>(w, row, segment + 1);
    return row + gridDim.x < w->z.rows ? part_of<SIZE>(w, row + gridDim.x, 0) : part_none();
}

/* The class y as a column of the segment; -1: it lies in another. */
static __device__ inline int
part_column(const struct row_work *w, int segment, int64_t y)
{
    int64_t column = y - (int64_t)segment * w->segment;

    return y >= 0 && column >= 0 && column < w->segment ? (int)column : -1;
}

/* A chunk whose last classes are missing, -inf in their place: what lies there in memory may be
 * anything, or not be there at all. */
template <int SIZE>
static __device__ inline void
chunk_end(void *to, const unsigned char *from, int left)
{
#pragma unroll 1
    for (int k = 0; k < 16 / SIZE; k++) {
        if (SIZE == 4)
            ((float *)to)[k] = k < left ? ((const float *)from)[k] : -INFINITY;
        else
            ((uint16_t *)to)[k] = k < left ? ((const uint16_t *)from)[k] : 0xff80u;
    }
}

/* Begins to copy the chunk of a part that begins at a class, or ends it where some of its unit are
 * missing; behind the last unit the tile has no place. */
template <int SIZE>
static __device__ inline void
chunk_load(float4 *to, const unsigned char *from, int column, const struct part *p)
{
    if (column + 16 / SIZE <= p->columns)
        __pipeline_memcpy_async(to, from, 16);
    else if (column / UNIT * UNIT < p->columns)
        chunk_end<SIZE>(to, from, p->columns - column);
}

/* Which groups a warp has, in classes from the part's first, and where in each its lanes look. */
struct lanes {
    int first, step;
    int unit;                       /* this lane's first class in a group */
    int read;                       /* and its place, in bytes */
    int own, fetch;                 /* the same of the chunk it fetches */
};

template <int SIZE>
static __device__ inline struct lanes
lanes_of(void)
{
    int lane = threadIdx.x % WARP;
    struct lanes n;

    n.first = pinned(threadIdx.x / WARP * GROUP);
    n.step = pinned(blockDim.x / WARP * GROUP);
    n.unit = pinned(lane * UNIT);
    n.read = pinned(unit_at<SIZE>(lane));
    n.own = pinned(lane * (16 / SIZE));
    n.fetch = pinned(fetch_at<SIZE>(lane));
    return n;
}

/* Begins to copy the group of the classes from `column` on: of float32 a lane's chunk and the one
 * 32 further. All of its classes are there. */
template <int SIZE>
static __device__ inline void
group_fetch(unsigned char *tile, const struct part *p, int column, const struct lanes *n)
{
    float4 *to = (float4 *)(tile + column * SIZE + n->fetch);
    const unsigned char *from = p->from + (unsigned)((column + n->own) * SIZE);

    __pipeline_memcpy_async(to, from, 16);
    if (SIZE == 4)
        __pipeline_memcpy_async(to + WARP, from + 16 * WARP, 16);
}

/* The same where the part may end. */
template <int SIZE>
static __device__ inline void
group_load(unsigned char *tile, const struct part *p, int column, const struct lanes *n)
{
    float4 *to = (float4 *)(tile + column * SIZE + n->fetch);
    const unsigned char *from = p->from + (unsigned)((column + n->own) * SIZE);

    chunk_load<SIZE>(to, from, column + n->own, p);
    if (SIZE == 4)
        chunk_load<SIZE>(to + WARP, from + 16 * WARP, column + n->own + GROUP / 2, p);
}

/* Up to which class all is in whole groups, of p and of what is fetched in its place. */
static __device__ inline int
whole_groups(const struct part *p, const struct part *next)
{
    int least = next->columns > 0 && next->columns < p->columns ? next->columns : p->columns;

    return least / GROUP * GROUP;
}

template <int SIZE>
static __device__ inline void
part_load(unsigned char *tile, const struct part *p)
{
    struct lanes n = lanes_of<SIZE>();

    for (int column = n.first; column < p->columns; column += n.step)
        group_load<SIZE>(tile, p, column, &n);
    __pipeline_commit();
}

/* This warp's groups are there. */
static __device__ inline void
part_wait(void)
{
    __pipeline_wait_prior(0);
    __syncwarp();
}

/* ---- sums ---- */

/* The largest logit of a part, in every thread; NaNs are passed over. */
template <int SIZE>
static __device__ inline float
part_largest(unsigned char *tile, struct row_scratch *scratch, const struct part *p)
{
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    struct lanes n = lanes_of<SIZE>();
    float largest = -INFINITY, v[UNIT];

    for (int column = n.first; column < p->columns; column += n.step) {
        unit_read_if<SIZE>(column + n.unit < p->columns, tile, column * SIZE + n.read, v);
        largest = fmaxf(largest, fmaxf(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])),
                                       fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7]))));
    }
    largest = warp_largest(largest);
    if (lane == 0)
        scratch->largest[threadIdx.x / WARP] = largest;
    __syncthreads();
    return warp_largest(lane < warps ? scratch->largest[lane] : -INFINITY);
}

/* Adds a unit's terms. x is held above FAR, so that an -inf logit adds 0 and not NaN to t; a NaN
 * logit shows in s. */
static __device__ inline void
unit_sums(const float *v, float base, int entropy, float *s, float *t)
{
    float e[UNIT];

#pragma unroll
    for (int k = 0; k < UNIT; k++)
        e[k] = row_exp(v[k] - base);
    *s += ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    if (!entropy)
        return;
#pragma unroll
    for (int k = 0; k < UNIT; k++)
        *t = fmaf(e[k], fmaxf(v[k] - base, FAR), *t);
}

/* The block's sums, in its warp 0 alone. y: the target's column in the part, or -1; its logit goes
 * to *chosen, for warp 0. Groups of `next` are fetched as those of p are done: a warp reads and
 * fetches the same groups of the tile, so a barrier of the warp is enough. */
template <int SIZE>
static __device__ inline struct moments
part_sums(unsigned char *tile, struct row_scratch *scratch, const struct part *p, float largest,
          int entropy, int y, float *chosen, const struct part *next)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP, column;
    int whole = pinned(whole_groups(p, next)), more = next->columns > 0;
    float base = largest == -INFINITY ? 0.0f : largest, s = 0, t = 0, v[UNIT];
    struct lanes n = lanes_of<SIZE>();

    if (y >= 0 && y / GROUP % warps == warp && y % GROUP / UNIT == lane)
        *chosen = column_get<SIZE>(tile, y);
    for (column = n.first; column < whole; column += n.step) {
        unit_read<SIZE>(tile, column * SIZE + n.read, v);
        if (more) {
            __syncwarp();
            group_fetch<SIZE>(tile, next, column, &n);
        }
        unit_sums(v, base, entropy, &s, &t);
    }
#pragma unroll 1
    for (; column < p->columns; column += n.step) {
        unit_read_if<SIZE>(column + n.unit < p->columns, tile, column * SIZE + n.read, v);
        if (column < next->columns) {
            __syncwarp();
            group_load<SIZE>(tile, next, column, &n);
        }
        unit_sums(v, base, entropy, &s, &t);
    }
#pragma unroll 1
    for (; column < next->columns; column += n.step)
        group_load<SIZE>(tile, next, column, &n);
    __pipeline_commit();
    s = warp_sum(s);
    t = entropy ? warp_sum(t) : 0.0f;
    if (lane == 0) {
        scratch->s[warp] = s;
        scratch->t[warp] = t;
    }
    __syncthreads();
    if (warp == 0) {
        s = warp_sum(lane < warps ? scratch->s[lane] : 0.0f);
        t = entropy ? warp_sum(lane < warps ? scratch->t[lane] : 0.0f) : 0.0f;
    }
    return (struct moments){largest, s, t};
}

/* The same sums relative to a larger logit: e^(z - l') = e^(l - l') e^(z - l). A NaN stays one. */
static __device__ inline struct moments
moments_move(struct moments a, float largest)
{
    float apart = a.largest == -INFINITY ? FAR : fmaxf(a.largest - largest, FAR);
    float scale = row_exp(apart);

    return (struct moments){largest, scale * a.s, scale * fmaf(apart, a.s, a.t)};
}

static __device__ inline struct moments
moments_fold(struct moments a, struct moments b)
{
    float largest = fmaxf(a.largest, b.largest);

    if (a.largest == -INFINITY && a.s == 0)
        return b;
    a = moments_move(a, largest);
    b = moments_move(b, largest);
    return (struct moments){largest, a.s + b.s, a.t + b.t};
}

/* All lanes of a warp: one tree, the same bits in each. */
static __device__ inline struct moments
moments_merge(struct moments a)
{
    a = moments_move(a, warp_largest(a.largest));
    a.s = warp_sum(a.s);
    a.t = warp_sum(a.t);
    return a;
}

/* ---- a row's statistics ---- */

struct row_statistics {
    float logp, lse, entropy;
};

/* The rounded term of the target gives way to the true one: z_y in float32 in place of `rounded`.
 * What is left of s without it is at least 1 where another logit was the largest; where none was,
 * everything is put relative to z_y, whose term is then exactly 1. Either way s >= 1. */
static __device__ inline struct moments
moments_swap(struct moments a, float rounded, float chosen)
{
    float x = fmaxf(rounded - a.largest, FAR), term = row_exp(x);
    int was_largest = rounded == a.largest;
    struct moments rest = {a.largest, fmaxf(a.s - term, was_largest ? 0.0f : 1.0f),
                           fminf(fmaf(-term, x, a.t), 0.0f)};

    if (was_largest || chosen > a.largest) {
        float apart = a.largest - chosen, scale = row_exp(apart);

        return (struct moments){chosen, fmaf(scale, rest.s, 1.0f),
                                scale * fmaf(apart, rest.s, rest.t)};
    }
    x = fmaxf(chosen - a.largest, FAR);
    term = row_exp(x);
    return (struct moments){a.largest, rest.s + term, fmaf(term, x, rest.t)};
}

/* From the sums of a row, whose target y has the logit `chosen`, `exact` where the form rounds. One
 * thread; tells of a fault. */
template <int FORM>
static __device__ inline struct row_statistics
row_finish(const struct row_work *w, int64_t place, int64_t y, struct moments a, float chosen,
           float exact)
{
    struct row_statistics r;
    float rest;
    int bad = !is_finite(a.largest) || !is_finite(a.s);

    if (FORM == ROW_bfloat16) {
        bad |= !is_finite(chosen);
        a = moments_swap(a, chosen, exact);
        chosen = exact;
    }
    rest = logf(a.s);
    r.logp = (chosen - a.largest) - rest;
    r.lse = a.largest + rest;
    r.entropy = w->a.entropy == NULL ? 0.0f : fmaxf(rest - a.t / a.s, 0.0f);
    if (y < 0)
        fault_tell(w->fault, FAULT_target, place);
    else if (bad || !is_finite(r.logp))
        fault_tell(w->fault, FAULT_logits, place);
    return r;
}

static __device__ inline void
row_write(const struct row_work *w, int64_t place, const struct row_statistics *r)
{
    w->a.logp[place] = r->logp;
    w->a.lse[place] = r->lse;
    if (w->a.entropy != NULL)
        w->a.entropy[place] = r->entropy;
}

/* The target of a row; negative where it is no class. */
static __device__ inline int64_t
row_target(const struct row_work *w, int64_t place)
{
    int64_t y = w->a.targets[place];

    return y < w->z.vocab ? y : -1;
}

#endif
