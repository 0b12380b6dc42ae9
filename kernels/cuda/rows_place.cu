/* rows_place: which rows have a part, and what moves or sums rows of x and of slopes. */
#include "kernels/cuda/rows_host.cuh"

#define PLACE_ROWS   1024           /* of a warp, when rows are counted */
#define PLACE_WARPS  8
#define MOVE_WARPS   8              /* of a block that moves rows, a row for each */
#define BIAS_PARTS   16             /* of the rows, summed apart and then in order */
#define BIAS_THREADS 128

static int64_t
blocks_of(int64_t count, int64_t each)
{
    return (count + each - 1) / each;
}

/* ---- the rows that have a part: counted by warps, numbered, written in order ---- */

struct place_work {
    int64_t rows, vocab;
    const int32_t *targets;
    const uint8_t *wanted;          /* NULL: all */
    unsigned long long *bad;        /* the first row whose target is not below vocab; then the count
                                     * of rows that have a part */
    int64_t *counts;                /* of each warp's rows; then where they begin */
    int64_t warps;
    int64_t *place;
};

static __device__ inline int
has_part(const struct place_work *w, int64_t row)
{
    int32_t target;

    if (row >= w->rows)
        return 0;
    target = w->targets[row];
    if (target >= w->vocab)
        atomicMin(w->bad, (unsigned long long)row);
    return target >= 0 && (w->wanted == NULL || w->wanted[row] != 0);
}

static __device__ inline int64_t
warp_index(void)
{
    return (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) / WARP;
}

extern "C" __global__ void __launch_bounds__(PLACE_WARPS * WARP)
rows_place_count(const __grid_constant__ struct place_work w)
{
    int64_t warp = warp_index(), count = 0;
    int lane = threadIdx.x % WARP;

    if (warp >= w.warps)
        return;
    for (int step = 0; step < PLACE_ROWS; step += WARP)
        count += __popc(__ballot_sync(FULL, has_part(&w, warp * PLACE_ROWS + step + lane)));
    if (lane == 0)
        w.counts[warp] = count;
}

/* One warp: counts become the places where they begin. */
extern "C" __global__ void __launch_bounds__(WARP)
rows_place_number(const __grid_constant__ struct place_work w)
{
    int lane = threadIdx.x;
    int64_t begin = 0;

    for (int64_t at = 0; at < w.warps; at += WARP) {
        int64_t own = at + lane < w.warps ? w.counts[at + lane] : 0, sum = own;

        for (int step = 1; step < WARP; step *= 2) {
            int64_t below = __shfl_up_sync(FULL, sum, (unsigned)step);

            sum += lane >= step ? below : 0;
        }
        if (at + lane < w.warps)
            w.counts[at + lane] = begin + sum - own;
        begin += __shfl_sync(FULL, sum, WARP - 1);
    }
    if (lane == 0)
        w.bad[1] = (unsigned long long)begin;
}

extern "C" __global__ void __launch_bounds__(PLACE_WARPS * WARP)
rows_place_write(const __grid_constant__ struct place_work w)
{
    int64_t warp = warp_index(), at;
    int lane = threadIdx.x % WARP;

    if (warp >= w.warps)
        return;
    at = w.counts[warp];
    for (int step = 0; step < PLACE_ROWS; step += WARP) {
        int64_t row = warp * PLACE_ROWS + step + lane;
        int own = has_part(&w, row);
        unsigned all = __ballot_sync(FULL, own);

        if (own)
            w.place[at + __popc(all & ((1u << lane) - 1))] = row;
        at += __popc(all);
    }
}

static int
place_target(struct sluice_cuda *s, const struct place_work *w, int64_t row)
{
    int32_t target = 0;
    int rc = fail_cuda(cudaMemcpyAsync(&target, w->targets + row, sizeof target,
                                       cudaMemcpyDeviceToHost, s->stream), "reading a target");

    if (rc == 0)
        rc = fail_cuda(cudaStreamSynchronize(s->stream), "reading a target");
    if (rc != 0)
        return rc;
    return fail_row(SLUICE_argument, row, "target %d of row %lld is not below the vocabulary of "
                    "%lld", target, (long long)row, (long long)w->vocab);
}

int
rows_place(struct sluice_cuda *s, int64_t rows, int64_t vocab, const int32_t *targets,
           const uint8_t *wanted, int64_t *place, int64_t *count)
{
    struct place_work w = {.rows = rows, .vocab = vocab, .targets = targets, .wanted = wanted,
                           .bad = NULL, .counts = NULL, .warps = blocks_of(rows, PLACE_ROWS),
                           .place = place};
    struct launch all = {.blocks = blocks_of(w.warps, PLACE_WARPS), .threads = PLACE_WARPS * WARP,
                         .cluster = 1, .shared = 0};
    struct launch one = {.blocks = 1, .threads = WARP, .cluster = 1, .shared = 0};
    unsigned long long answer[2] = {FAULT_none, 0};
    int rc;

    *count = 0;
    if (rows <= 0)
        return 0;
    rc = scratch_take(s, SCRATCH_scan, (w.warps + 2) * 8, (void **)&w.bad);
    w.counts = (int64_t *)w.bad + 2;
    if (rc == 0)
        rc = fail_cuda(cudaMemsetAsync(w.bad, 0xff, sizeof *w.bad, s->stream), "placing rows");
    if (rc == 0)
        rc = launch(s, "placing rows", all, rows_place_count, w);
    if (rc == 0)
        rc = launch(s, "placing rows", one, rows_place_number, w);
    if (rc == 0)
        rc = launch(s, "placing rows", all, rows_place_write, w);
    if (rc == 0)
        rc = fail_cuda(cudaMemcpyAsync(answer, w.bad, sizeof answer, cudaMemcpyDeviceToHost,
                                       s->stream), "placing rows");
    if (rc == 0)
        rc = fail_cuda(cudaStreamSynchronize(s->stream), "placing rows");
    if (rc == 0 && answer[0] != FAULT_none)
        return place_target(s, &w, (int64_t)answer[0]);
    *count = rc == 0 ? (int64_t)answer[1] : 0;
    return rc;
}

extern "C" __global__ void __launch_bounds__(PLACE_WARPS * WARP)
rows_wanted_write(int64_t rows, const __grid_constant__ struct row_arrays a, uint8_t *wanted)
{
    int64_t row = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;

    if (row >= rows)
        return;
    wanted[row] = (a.c != NULL && a.c[row] != 0) || (a.e != NULL && a.e[row] != 0)
                  || (a.h != NULL && a.h[row] != 0)
                  || (a.entries != NULL && a.entry_first[row] < a.entry_first[row + 1]);
}

int
rows_wanted(struct sluice_cuda *s, int64_t rows, const struct row_arrays *a, uint8_t *wanted)
{
    struct launch l = {.blocks = blocks_of(rows, PLACE_WARPS * WARP),
                       .threads = PLACE_WARPS * WARP, .cluster = 1, .shared = 0};

    return launch(s, "rows with a gradient", l, rows_wanted_write, rows, *a, wanted);
}

/* ---- rows of x ---- */

struct move_work {
    int64_t count, width;
    const int64_t *place;
    const void *from;
    int64_t from_stride;
    void *out;
    int64_t out_stride;
    int64_t rows;                   /* scatter: of out; 0: those of place alone */
    int vectors;                    /* rows begin at multiples of 16 bytes on both sides */
};

static int
aligned(const void *at, int64_t stride, int bytes)
{
    return (uintptr_t)at % 16 == 0 && stride * bytes % 16 == 0;
}

/* A warp a row: 4 width bytes. */
extern "C" __global__ void __launch_bounds__(MOVE_WARPS * WARP)
rows_gather_copy(const __grid_constant__ struct move_work w)
{
    int64_t i = warp_index(), whole = w.vectors ? w.width / UNIT : 0;
    int lane = threadIdx.x % WARP;
    const __nv_bfloat16 *from;
    __nv_bfloat16 *out;

    if (i >= w.count)
        return;
    from = (const __nv_bfloat16 *)w.from + w.place[i] * w.from_stride;
    out = (__nv_bfloat16 *)w.out + i * w.out_stride;
#pragma unroll 4
    for (int64_t k = lane; k < whole; k += WARP)
        ((uint4 *)out)[k] = __ldg((const uint4 *)from + k);
    for (int64_t k = whole * UNIT + lane; k < w.width; k += WARP)
        out[k] = from[k];
}

int
rows_gather(struct sluice_cuda *s, int64_t count, const int64_t *place, int64_t width,
            const void *x, int64_t x_stride, void *out, int64_t out_stride)
{
    struct move_work w = {.count = count, .width = width, .place = place, .from = x,
                          .from_stride = x_stride, .out = out, .out_stride = out_stride, .rows = 0,
                          .vectors = aligned(x, x_stride, 2) && aligned(out, out_stride, 2)};
    struct launch l = {.blocks = blocks_of(count, MOVE_WARPS), .threads = MOVE_WARPS * WARP,
                       .cluster = 1, .shared = 0};

    return launch(s, "gathering rows", l, rows_gather_copy, w);
}

/* Which of the places, which rise, is the row; -1: none. */
static __device__ inline int64_t
place_find(const int64_t *place, int64_t count, int64_t row)
{
    int64_t low = 0, high = count;

    while (low < high) {
        int64_t middle = (low + high) / 2;

        if (place[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && place[low] == row ? low : -1;
}

/* Four floats to their places. SIZE: of an element of out. */
template <int SIZE>
static __device__ inline void
four_store(void *out, int64_t k, float4 v)
{
    if (SIZE == 4)
        ((float4 *)out)[k] = v;
    else
        ((uint2 *)out)[k] = make_uint2(pair_of(v.x, v.y), pair_of(v.z, v.w));
}

template <int SIZE>
static __device__ inline void
scatter_body(const struct move_work *w)
{
    int64_t row = warp_index(), i = row, four = w->vectors ? w->width / 4 : 0;
    int lane = threadIdx.x % WARP;
    const float *from;
    unsigned char *out;

    if (row >= (w->rows > 0 ? w->rows : w->count))
        return;
    if (w->rows > 0)
        i = place_find(w->place, w->count, row);
    else
        row = w->place[i];
    from = i < 0 ? NULL : (const float *)w->from + i * w->from_stride;
    out = (unsigned char *)w->out + row * w->out_stride * SIZE;
#pragma unroll 4
    for (int64_t k = lane; k < four; k += WARP)
        four_store<SIZE>(out, k, i < 0 ? make_float4(0, 0, 0, 0) : __ldg((const float4 *)from + k));
    for (int64_t k = four * 4 + lane; k < w->width; k += WARP) {
        float v = i < 0 ? 0.0f : from[k];

        if (SIZE == 4)
            ((float *)out)[k] = v;
        else
            ((__nv_bfloat16 *)out)[k] = __float2bfloat16(v);
    }
}

extern "C" __global__ void __launch_bounds__(MOVE_WARPS * WARP)
rows_scatter_float32(const __grid_constant__ struct move_work w)
{
    scatter_body<4>(&w);
}

extern "C" __global__ void __launch_bounds__(MOVE_WARPS * WARP)
rows_scatter_bfloat16(const __grid_constant__ struct move_work w)
{
    scatter_body<2>(&w);
}

int
rows_scatter(struct sluice_cuda *s, int64_t count, const int64_t *place, int64_t width,
             const float *from, int64_t from_stride, int64_t rows, void *out, int64_t out_stride,
             enum sluice_type out_type)
{
    int bytes = out_type == SLUICE_float32 ? 4 : 2;
    struct move_work w = {.count = count, .width = width, .place = place, .from = from,
                          .from_stride = from_stride, .out = out, .out_stride = out_stride,
                          .rows = rows,
                          .vectors = aligned(from, from_stride, 4)
                                     && aligned(out, out_stride, bytes)};
    struct launch l = {.blocks = blocks_of(rows > 0 ? rows : count, MOVE_WARPS),
                       .threads = MOVE_WARPS * WARP, .cluster = 1, .shared = 0};

    return launch(s, "scattering rows", l,
                  out_type == SLUICE_float32 ? rows_scatter_float32 : rows_scatter_bfloat16, w);
}

/* ---- z_y in float32 ---- */

struct chosen_work {
    int64_t count, hidden, vocab;
    const int64_t *place;
    const __nv_bfloat16 *x, *weight;
    int64_t x_stride, weight_stride;
    const float *bias;
    const int32_t *targets;
    float *chosen;
    int vectors;
};

/* Eight products, added to sum one after the other. */
static __device__ inline float
unit_product(const uint4 a, const uint4 b, float sum)
{
    sum = fmaf(low_float(a.x), low_float(b.x), sum);
    sum = fmaf(high_float(a.x), high_float(b.x), sum);
    sum = fmaf(low_float(a.y), low_float(b.y), sum);
    sum = fmaf(high_float(a.y), high_float(b.y), sum);
    sum = fmaf(low_float(a.z), low_float(b.z), sum);
    sum = fmaf(high_float(a.z), high_float(b.z), sum);
    sum = fmaf(low_float(a.w), low_float(b.w), sum);
    return fmaf(high_float(a.w), high_float(b.w), sum);
}

/* A warp a row: 4 hidden bytes. Lane l takes the eights l, l + 32, ... whether they are loaded at
 * once or not, so the bits do not depend on how rows lie. */
extern "C" __global__ void __launch_bounds__(MOVE_WARPS * WARP)
rows_chosen_product(const __grid_constant__ struct chosen_work w)
{
    int64_t i = warp_index(), whole = w.vectors ? w.hidden / UNIT : 0, y;
    int lane = threadIdx.x % WARP;
    const __nv_bfloat16 *x, *weight;
    float sum = 0;

    if (i >= w.count)
        return;
    y = w.targets[w.place[i]];
    if (y < 0 || y >= w.vocab)
        y = 0;                              /* rows_statistics says so */
    x = w.x + i * w.x_stride;
    weight = w.weight + y * w.weight_stride;
#pragma unroll 4
    for (int64_t k = lane; k < whole; k += WARP)
        sum = unit_product(__ldg((const uint4 *)x + k), __ldg((const uint4 *)weight + k), sum);
    for (int64_t k = whole + (lane - whole % WARP + WARP) % WARP; k * UNIT < w.hidden; k += WARP)
        for (int64_t j = k * UNIT; j < (k + 1) * UNIT && j < w.hidden; j++)
            sum = fmaf(__bfloat162float(x[j]), __bfloat162float(weight[j]), sum);
    sum = warp_sum(sum);
    if (lane == 0)
        w.chosen[i] = w.bias == NULL ? sum : sum + w.bias[y];
}

int
rows_chosen(struct sluice_cuda *s, int64_t count, const int64_t *place, const void *x,
            int64_t x_stride, const struct sluice_head *head, const int32_t *targets,
            float *chosen)
{
    struct chosen_work w = {.count = count, .hidden = head->hidden, .vocab = head->vocab,
                            .place = place, .x = (const __nv_bfloat16 *)x,
                            .weight = (const __nv_bfloat16 *)head->weight, .x_stride = x_stride,
                            .weight_stride = head->weight_stride, .bias = head->bias,
                            .targets = targets, .chosen = chosen,
                            .vectors = aligned(x, x_stride, 2)
                                       && aligned(head->weight, head->weight_stride, 2)};
    struct launch l = {.blocks = blocks_of(count, MOVE_WARPS), .threads = MOVE_WARPS * WARP,
                       .cluster = 1, .shared = 0};

    return launch(s, "logits of targets", l, rows_chosen_product, w);
}

/* ---- the bias: columns of slopes, in up to BIAS_PARTS parts of the rows, then the parts ---- */

struct bias_work {
    int64_t count, vocab, stride;
    int64_t eights;                 /* of columns */
    int64_t part_rows, parts;
    const __nv_bfloat16 *slopes;
    float *sums;                    /* (parts, eights, 8) */
    float *dbias;
};

/* A thread eight columns of a part of the rows. */
extern "C" __global__ void __launch_bounds__(BIAS_THREADS)
rows_bias_part(const __grid_constant__ struct bias_work w)
{
    int64_t at = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, part = at / w.eights;
    int64_t eight = at % w.eights, first = part * w.part_rows;
    int64_t end = first + w.part_rows < w.count ? first + w.part_rows : w.count;
    float sum[UNIT] = {0};

    if (part >= w.parts)
        return;
#pragma unroll 4
    for (int64_t i = first; i < end; i++) {
        uint4 v = __ldg((const uint4 *)(w.slopes + i * w.stride) + eight);

        sum[0] += low_float(v.x), sum[1] += high_float(v.x);
        sum[2] += low_float(v.y), sum[3] += high_float(v.y);
        sum[4] += low_float(v.z), sum[5] += high_float(v.z);
        sum[6] += low_float(v.w), sum[7] += high_float(v.w);
    }
    ((float4 *)w.sums)[2 * at] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    ((float4 *)w.sums)[2 * at + 1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
}

extern "C" __global__ void __launch_bounds__(BIAS_THREADS)
rows_bias_add(const __grid_constant__ struct bias_work w)
{
    int64_t column = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    float sum;

    if (column >= w.vocab)
        return;
    sum = w.sums[column];
    for (int64_t part = 1; part < w.parts; part++)
        sum += w.sums[part * w.eights * UNIT + column];
    w.dbias[column] += sum;
}

int
rows_bias(struct sluice_cuda *s, int64_t count, int64_t vocab, const void *slopes, int64_t stride,
          float *dbias)
{
    struct bias_work w = {.count = count, .vocab = vocab, .stride = stride,
                          .eights = blocks_of(vocab, UNIT),
                          .part_rows = blocks_of(count, BIAS_PARTS), .parts = 0,
                          .slopes = (const __nv_bfloat16 *)slopes, .sums = NULL, .dbias = dbias};
    struct launch parts = {.blocks = 0, .threads = BIAS_THREADS, .cluster = 1, .shared = 0};
    struct launch add = {.blocks = blocks_of(vocab, BIAS_THREADS), .threads = BIAS_THREADS,
                         .cluster = 1, .shared = 0};
    int rc;

    if (count == 0)
        return 0;
    if (!aligned(slopes, stride, 2) || stride < w.eights * UNIT)
        return fail(SLUICE_failed, "the bias: rows of slopes, stride %lld, must begin at multiples "
                    "of 16 bytes", (long long)stride);
    w.parts = blocks_of(count, w.part_rows);
    parts.blocks = blocks_of(w.parts * w.eights, BIAS_THREADS);
    rc = scratch_take(s, SCRATCH_sums, w.parts * w.eights * UNIT * 4, (void **)&w.sums);
    if (rc == 0)
        rc = launch(s, "the bias", parts, rows_bias_part, w);
    return rc == 0 ? launch(s, "the bias", add, rows_bias_add, w) : rc;
}
