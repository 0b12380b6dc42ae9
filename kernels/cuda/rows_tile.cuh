/* rows_tile: a row of logits in shared memory, and the one order in which its sums are taken.
 *
 * Order. A row is cut into segments of whole groups of 256 classes (row_shape_of(): by the number
 * of classes and the size of an element alone, so that cluster and block kernels, and all
 * functions of rows.cuh, add alike). Lane l of a warp owns the classes [8 l, 8 l + 8) of a group,
 * warp w of a block the groups w, w + warps, ...
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
 * above is off by (3 + groups of a lane + 5 + 4 + 5) u at the very most, and by its root in
 * practice. z_y - m is off by u |z_y - m|. Together |error| < 1e-6 + 2^-23 max|z|. The
 * largest term is exactly 1, so s >= 1, and log p = (z_y - m) - log s is never positive. */
#ifndef KERNELS_CUDA_ROWS_TILE_CUH
#define KERNELS_CUDA_ROWS_TILE_CUH

#include <cooperative_groups.h>
#include <cuda_pipeline.h>
#include <math.h>

#include "kernels/cuda/rows.cuh"

#define UNIT          8             /* classes of a lane: 16 bytes of bfloat16 */
#define GROUP         (UNIT * WARP) /* classes of a warp's step */
#define WARPS_MAX     16            /* of a block */
#define SEGMENT_BYTES 76800         /* of logits in a block: two blocks fit a multiprocessor */
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
    int segment;                    /* groups of a segment */
};

/* A segment of a row in global memory. */
struct part {
    const unsigned char *from;
    int columns, groups;            /* classes, and groups they fill; 0: none */
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
    int64_t  row;                   /* where rows_loss is, and its steps: here so that they take no */
    unsigned step;                  /* registers while an objective answers */
    int      rank, parity;
};

/* ---- clusters: of one block where there are none ---- */

#if defined SLUICE_SIMT || !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900
#define HAS_CLUSTERS 1
#else
#define HAS_CLUSTERS 0              /* compute capability 8: such kernels are never launched */
#endif

template <int CLUSTERED>
static __device__ inline int
cluster_rank(void)
{
#if HAS_CLUSTERS
    if (CLUSTERED)
        return (int)cooperative_groups::this_cluster().block_rank();
#endif
    return 0;
}

template <int CLUSTERED>
static __device__ inline void
cluster_wait(void)
{
#if HAS_CLUSTERS
    if (CLUSTERED) {
        cooperative_groups::this_cluster().sync();
        return;
    }
#endif
    __syncthreads();
}

template <int CLUSTERED>
static __device__ inline float4
cluster_read(float4 *own, int rank)
{
#if HAS_CLUSTERS
    if (CLUSTERED)
        return *cooperative_groups::this_cluster().map_shared_rank(own, (unsigned)rank);
#endif
    (void)rank;
    return *own;
}

/* ---- numbers ---- */

static __device__ inline float
power_of_two(float y)               /* 2^y; results below 2^-126 are 0 */
{
#ifdef SLUICE_SIMT
    return exp2f(y);
#else
    float result;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(y));
    return result;
#endif
}

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
static __device__ inline void
column_set(unsigned char *tile, int column, float value)
{
    int chunk = column % GROUP / 4;

    if (SIZE == 4)
        ((float *)tile)[column / GROUP * GROUP + 4 * chunk_at(chunk) + column % 4] = value;
    else
        ((__nv_bfloat16 *)tile)[column] = __float2bfloat16(value);
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

template <int SIZE>
static __device__ inline void
unit_read(const unsigned char *tile, int group, int lane, float *v)
{
    if (SIZE == 4) {
        const float4 *at = (const float4 *)tile + group * (GROUP / 4);
        float4 a = at[chunk_at(2 * lane)], b = at[chunk_at(2 * lane + 1)];

        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
        uint4 a = ((const uint4 *)tile)[group * WARP + lane];

        v[0] = low_float(a.x), v[1] = high_float(a.x);
        v[2] = low_float(a.y), v[3] = high_float(a.y);
        v[4] = low_float(a.z), v[5] = high_float(a.z);
        v[6] = low_float(a.w), v[7] = high_float(a.w);
    }
}

template <int SIZE>
static __device__ inline struct part
part_of(const struct row_work *w, int64_t row, int segment)
{
    int64_t first = (int64_t)segment * w->segment * GROUP, left = w->z.vocab - first;
    struct part p;

    left = left < 0 ? 0 : left;
    p.columns = left < w->segment * GROUP ? (int)left : w->segment * GROUP;
    p.groups = (p.columns + GROUP - 1) / GROUP;
    p.from = (const unsigned char *)w->z.at + row * w->row_bytes + first * SIZE;
    return p;
}

static __device__ inline struct part
part_none(void)
{
    return (struct part){NULL, 0, 0};
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
    int64_t column = y - (int64_t)segment * w->segment * GROUP;

    return y >= 0 && column >= 0 && column < w->segment * GROUP ? (int)column : -1;
}

/* Begins to copy a group; chunks behind the last class become -inf. No chunk is read that holds no
 * class, for there may be no memory. */
template <int SIZE>
static __device__ inline void
group_load(unsigned char *tile, const struct part *p, int group, int lane)
{
    const int of_chunk = 16 / SIZE, chunks = GROUP / of_chunk;
    float nothing = -INFINITY;

#pragma unroll
    for (int j = lane; j < chunks; j += WARP) {
        int column = group * GROUP + j * of_chunk;
        float4 *to = (float4 *)tile + group * chunks + (SIZE == 4 ? chunk_at(j) : j);

        if (column < p->columns)
            __pipeline_memcpy_async(to, p->from + (int64_t)column * SIZE, 16);
        else if (SIZE == 4)
            *to = make_float4(nothing, nothing, nothing, nothing);
        else
            *(uint4 *)to = make_uint4(0xff80ff80u, 0xff80ff80u, 0xff80ff80u, 0xff80ff80u);
    }
}

template <int SIZE>
static __device__ inline void
part_load(unsigned char *tile, const struct part *p, int warp, int warps, int lane)
{
    for (int group = warp; group < p->groups; group += warps)
        group_load<SIZE>(tile, p, group, lane);
    __pipeline_commit();
}

/* This warp's groups are there. */
static __device__ inline void
part_wait(void)
{
    __pipeline_wait_prior(0);
    __syncwarp();
}

/* -inf in the columns of this lane's unit that are no classes: what the caller left there may be
 * anything. */
template <int SIZE>
static __device__ inline void
unit_end(unsigned char *tile, int at, int columns)
{
    for (int k = 0; k < UNIT; k++)
        if (at + k >= columns)
            column_set<SIZE>(tile, at + k, -INFINITY);
}

/* ---- sums ---- */

/* The largest logit of a part, in every thread; NaNs are passed over. y: the target's column in it,
 * or -1; its logit goes to *chosen, for whoever passes a later barrier. */
template <int SIZE>
static __device__ inline float
part_largest(unsigned char *tile, struct row_scratch *scratch, const struct part *p, int y,
             float *chosen)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    float largest = -INFINITY, v[UNIT];

    for (int group = warp; group < p->groups; group += warps) {
        int at = group * GROUP + lane * UNIT;

        if (at + UNIT > p->columns)
            unit_end<SIZE>(tile, at, p->columns);
        unit_read<SIZE>(tile, group, lane, v);
        largest = fmaxf(largest, fmaxf(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])),
                                       fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7]))));
        if (y >= at && y < at + UNIT)
            *chosen = column_get<SIZE>(tile, y);
    }
    largest = warp_largest(largest);
    if (lane == 0)
        scratch->largest[warp] = largest;
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

/* The block's sums, in its warp 0 alone. Groups of `next` are fetched as those of p are done: a
 * warp reads and fetches the same groups of the tile, so a barrier of the warp is enough. */
template <int SIZE>
static __device__ inline struct moments
part_sums(unsigned char *tile, struct row_scratch *scratch, const struct part *p, float largest,
          int entropy, const struct part *next)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    float base = largest == -INFINITY ? 0.0f : largest, s = 0, t = 0, v[UNIT];
    int groups = p->groups > next->groups ? p->groups : next->groups;

    for (int group = warp; group < groups; group += warps) {
        if (group < p->groups) {
            unit_read<SIZE>(tile, group, lane, v);
            unit_sums(v, base, entropy, &s, &t);
        }
        if (group < next->groups) {
            __syncwarp();
            group_load<SIZE>(tile, next, group, lane);
        }
    }
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

/* From the sums of row i, whose target y has the logit `chosen`. One thread; tells of a fault. */
template <int FORM>
static __device__ inline struct row_statistics
row_finish(const struct row_work *w, int64_t i, int64_t place, int64_t y, struct moments a,
           float chosen)
{
    struct row_statistics r;
    float rest;
    int bad = !is_finite(a.largest) || !is_finite(a.s);

    if (FORM == ROW_bfloat16) {
        float exact = w->z.chosen[i];

        bad |= !is_finite(chosen);
        a = moments_swap(a, chosen, exact);
        chosen = exact;
    }
    rest = logf(a.s);
    r.logp = (chosen - a.largest) - rest;
    r.lse = a.largest + rest;
    r.entropy = fmaxf(rest - a.t / a.s, 0.0f);
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

/* ---- slopes ---- */

enum row_output { OUTPUT_slopes, OUTPUT_kept };

/* One thread. The target's slope is made apart, from log p: c (1 - p) = -c expm1(log p) keeps its
 * digits where p is nearly 1. */
static __device__ inline struct row_slope
slope_of(const struct row_work *w, int64_t place, int64_t y, const struct row_statistics *r,
         float c, float e, float h)
{
    struct row_slope p;
    float own = expf(r->logp);

    p.lse = r->lse;
    p.shift = -r->lse * LOG2E;
    p.k = e - c;
    p.h = h;
    p.entropy = r->entropy;
    p.y = y;
    p.target = fmaf(-c, expm1f(r->logp), own * (e - h * (r->logp + r->entropy)));
    p.entry = p.entry_end = 0;
    if (w->a.entries != NULL) {
        p.entry = w->a.entry_first[place];
        p.entry_end = w->a.entry_first[place + 1];
    }
    if (!is_finite(c) || !is_finite(e) || !is_finite(h))
        fault_tell(w->fault, FAULT_coefficient, place);
    for (int64_t j = p.entry; j < p.entry_end; j++)
        if (!is_finite(w->a.entries[j].value))
            fault_tell(w->fault, FAULT_coefficient, place);
    return p;
}

/* Logits of a unit -> slopes or log p_v. shift: the tile's largest logit less lse. The slopes take
 * p = 2^(z log2 e - lse log2 e) in one rounding: off by 2^-23 max|z|, and rounded to 2^-9. */
template <int FORM, int OUTPUT>
static __device__ inline void
unit_slopes(const struct row_slope *r, float shift, float *v)
{
    float z = FORM == ROW_kept ? 0.0f : FORM == ROW_shifted ? shift : -r->lse;
    float y = FORM == ROW_kept ? 0.0f : FORM == ROW_shifted ? shift * LOG2E : r->shift;

    if (OUTPUT == OUTPUT_kept) {
#pragma unroll
        for (int k = 0; k < UNIT; k++)
            v[k] += z;
    } else if (r->h == 0) {
#pragma unroll
        for (int k = 0; k < UNIT; k++)
            v[k] = power_of_two(fmaf(v[k], LOG2E, y)) * r->k;
    } else {
#pragma unroll
        for (int k = 0; k < UNIT; k++)
            v[k] = power_of_two(fmaf(v[k], LOG2E, y))
                   * fmaf(-r->h, fmaxf(v[k] + z, FAR) + r->entropy, r->k);
    }
}

/* v[at] = value, or += value: an index that is known when compiling, so that v stays in registers. */
static __device__ inline void
unit_put(float *v, int64_t at, float value, int add)
{
#pragma unroll
    for (int k = 0; k < UNIT; k++)
        if (at == k)
            v[k] = add ? v[k] + value : value;
}

/* What differs from column to column: the target and named logits. first: the class of v[0]. */
static __device__ inline void
unit_marks(const struct row_work *w, const struct row_slope *r, int64_t first, float *v)
{
    if (r->y >= first && r->y < first + UNIT)
        unit_put(v, (int)(r->y - first), r->target, 0);
    for (int64_t j = r->entry; j < r->entry_end; j++)
        unit_put(v, w->a.entries[j].column - first, w->a.entries[j].value, 1);
}

/* The largest logit of the unit's tile, less lse. */
static __device__ inline float
unit_shift(const struct row_work *w, const struct row_slope *r, int64_t row, int64_t first)
{
    return w->z.tile_largest[row * w->z.tiles + first / w->z.tile_columns] - r->lse;
}

static __device__ inline void
unit_store(__nv_bfloat16 *out, const float *v)
{
    *(uint4 *)out = make_uint4(pair_of(v[0], v[1]), pair_of(v[2], v[3]), pair_of(v[4], v[5]),
                               pair_of(v[6], v[7]));
}

/* Writes the columns of a part, and fetches `next`. Columns from the last class up to a multiple of
 * eight are written too: zeros. */
template <int FORM, int OUTPUT>
static __device__ inline void
part_write(const struct row_work *w, unsigned char *tile, const struct row_slope *slope,
           const struct part *p, int64_t i, int segment, const struct part *next)
{
    const int SIZE = FORM == ROW_float32 ? 4 : 2;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    int groups = p->groups > next->groups ? p->groups : next->groups;
    int64_t first = (int64_t)segment * w->segment * GROUP;
    __nv_bfloat16 *out = w->out + i * w->out_stride + first;
    struct row_slope r = *slope;
    float v[UNIT], shift = 0;

    for (int group = warp; group < groups; group += warps) {
        int at = group * GROUP + lane * UNIT;

        if (group < p->groups)
            unit_read<SIZE>(tile, group, lane, v);
        if (group < next->groups) {
            __syncwarp();
            group_load<SIZE>(tile, next, group, lane);
        }
        if (at >= p->columns)
            continue;
        if (FORM == ROW_shifted)
            shift = unit_shift(w, &r, i, first + at);
        unit_slopes<FORM, OUTPUT>(&r, shift, v);
        if (OUTPUT == OUTPUT_slopes)
            unit_marks(w, &r, first + at, v);
        if (at + UNIT > p->columns)
            for (int k = p->columns - at; k < UNIT; k++)
                unit_put(v, k, 0.0f, 0);
        unit_store(out + at, v);
    }
    __pipeline_commit();
}

#endif
