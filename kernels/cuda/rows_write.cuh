/* rows_write: from logits in shared memory and what is known of their row to slopes, or to what is
 * kept, in device memory. */
#ifndef KERNELS_CUDA_ROWS_WRITE_CUH
#define KERNELS_CUDA_ROWS_WRITE_CUH

#include "kernels/cuda/rows_tile.cuh"

enum row_output {
    OUTPUT_slopes,
    OUTPUT_loss,                    /* slopes of rows without named logits */
    OUTPUT_kept,
};

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
    if (!is_finite(c) || !is_finite(e) || !is_finite(h))
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

/* v[at] = value, or += value, by indices that are known when compiling: v stays in registers. */
static __device__ inline void
unit_put(float *v, int64_t at, float value, int add)
{
#pragma unroll
    for (int k = 0; k < UNIT; k++)
        if (at == k)
            v[k] = add ? v[k] + value : value;
}

/* What differs from column to column: the target, named logits, and zeros behind the last class.
 * first: the class of v[0]. */
template <int OUTPUT>
static __device__ inline void
unit_marks(const struct row_work *w, const struct row_slope *r, int64_t first, float *v)
{
    unit_put(v, r->y - first, r->target, 0);
    if (OUTPUT == OUTPUT_slopes)
#pragma unroll 1
        for (int64_t j = r->entry; j < r->entry_end; j++)
            unit_put(v, w->a.entries[j].column - first, w->a.entries[j].value, 1);
#pragma unroll 1
    for (int64_t k = w->z.vocab - first; k < UNIT; k++)
        unit_put(v, k, 0.0f, 0);
}

/* The largest logit of the tile with the class `first`, less lse. */
template <int FORM>
static __device__ inline float
unit_shift(const struct row_work *w, const struct row_slope *r, int64_t row, int64_t first)
{
    if (FORM != ROW_shifted || first >= w->z.vocab)
        return 0;
    return __ldg(&w->z.tile_largest[row * w->z.tiles + (first >> w->tile_shift)]) - r->lse;
}

static __device__ inline void
unit_store(__nv_bfloat16 *out, const float *v)
{
    __stcs((uint4 *)out, make_uint4(pair_of(v[0], v[1]), pair_of(v[2], v[3]), pair_of(v[4], v[5]),
                                    pair_of(v[6], v[7])));
}

/* Writes the columns of a part, and fetches `next`. Columns from the last class up to a multiple of
 * eight are written too: zeros. Whole groups of rows without named logits are written as they come,
 * the target's slope behind them. */
template <int FORM, int OUTPUT>
static __device__ inline void
part_write(const struct row_work *w, unsigned char *tile, const struct row_slope *slope,
           const struct part *p, int64_t i, int segment, const struct part *next)
{
    const int SIZE = FORM == ROW_float32 ? 4 : 2;
    int64_t first = (int64_t)segment * w->segment;
    struct row_slope r = *slope;
    struct lanes n = lanes_of<SIZE>();
    int y = OUTPUT == OUTPUT_kept ? -1 : part_column(w, segment, r.y), column;
    int marked = OUTPUT == OUTPUT_slopes && r.entry < r.entry_end, more = next->columns > 0;
    int whole = pinned(marked ? 0 : whole_groups(p, next));
    __nv_bfloat16 *out = w->out + i * w->out_stride + first + n.unit;
    float v[UNIT], shift = unit_shift<FORM>(w, &r, i, first + n.first + n.unit);

    for (column = n.first; column < whole; column += n.step) {
        float later = unit_shift<FORM>(w, &r, i, first + column + n.step + n.unit);

        unit_read<SIZE>(tile, column * SIZE + n.read, v);
        if (more) {
            __syncwarp();
            group_fetch<SIZE>(tile, next, column, &n);
        }
        unit_slopes<FORM, OUTPUT>(&r, shift, v);
        unit_store(out + column, v);
        shift = later;
    }
    if ((unsigned)y < (unsigned)whole && y / GROUP * GROUP % n.step == n.first
        && (unsigned)(y % GROUP - n.unit) < UNIT)       /* behind this lane's own store */
        (out - n.unit)[y] = __float2bfloat16(r.target);
#pragma unroll 1
    for (; column < p->columns; column += n.step) {
        float later = unit_shift<FORM>(w, &r, i, first + column + n.step + n.unit);

        unit_read_if<SIZE>(column + n.unit < p->columns, tile, column * SIZE + n.read, v);
        if (column < next->columns) {
            __syncwarp();
            group_load<SIZE>(tile, next, column, &n);
        }
        unit_slopes<FORM, OUTPUT>(&r, shift, v);
        if (OUTPUT != OUTPUT_kept)
            unit_marks<OUTPUT>(w, &r, first + column + n.unit, v);
        if (column + n.unit < p->columns)
            unit_store(out + column, v);
        shift = later;
    }
#pragma unroll 1
    for (; column < next->columns; column += n.step)
        group_load<SIZE>(tile, next, column, &n);
    __pipeline_commit();
}

#endif
