/* rows: statistics of rows of logits, and slopes where coefficients are known. One block takes a
 * row, segment by segment: while it works on one, the next is on its way into the same places of
 * shared memory. */
#include "kernels/cuda/rows_host.cuh"

/* ---- statistics: every logit is read once: 4 V bytes of float32, 2 V of bfloat16 a row ---- */

template <int FORM>
static __device__ inline void
statistics_body(const struct row_work *w)
{
    const int SIZE = FORM == ROW_float32 ? 4 : 2;
    unsigned char *tile = shared_memory();
    struct row_scratch *scratch = (struct row_scratch *)(tile + w->segment * SIZE);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, parity = 0;
    int64_t i = blockIdx.x;
    struct part part = part_of<SIZE>(w, i, 0), next = part;

    part_load<SIZE>(tile, &part);
    for (; i < w->z.rows; i += gridDim.x, parity ^= 1) {
        int64_t place = w->place[i], y = -1;
        struct moments sums = {-INFINITY, 0, 0};

        for (int segment = 0; segment < w->segments; segment++, part = next) {
            struct moments m;
            float largest;

            next = part_after<SIZE>(w, i, segment);
            part_wait();
            if (segment == 0)
                y = row_target(w, place);       /* used behind a barrier: it is on its way */
            largest = part_largest<SIZE>(tile, scratch, &part);
            m = part_sums<SIZE>(tile, scratch, &part, largest, w->a.entropy != NULL,
                                part_column(w, segment, y), &scratch->chosen[parity], &next);
            if (warp == 0 && segment % WARP == lane)
                sums = moments_fold(sums, m);
        }
        if (warp > 0)
            continue;
        sums = moments_merge(sums);
        if (lane == 0) {
            float exact = FORM == ROW_bfloat16 ? w->z.chosen[i] : 0.0f;
            struct row_statistics r = row_finish<FORM>(w, place, y, sums,
                                                       scratch->chosen[parity], exact);

            row_write(w, place, &r);
        }
    }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_statistics_float32(const __grid_constant__ struct row_work w)
{
    statistics_body<ROW_float32>(&w);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_statistics_bfloat16(const __grid_constant__ struct row_work w)
{
    statistics_body<ROW_bfloat16>(&w);
}

/* ---- slopes: one read, one write: 6 V bytes a row of float32, 4 V of bfloat16 ----
 *
 * In place. Of float32, segment r is the bytes [4 b, 4 e) of the row and its slopes the bytes
 * [2 b, 2 e). They are written behind a barrier that all of segments 0 to r have passed into shared
 * memory before, and 2 e <= 4 e: what lies there has been read. What is on its way meanwhile,
 * segment r + 1, begins at 4 e, or belongs to another row. */

static __device__ inline struct row_slope
slope_known(const struct row_work *w, int64_t i)
{
    int64_t place = w->place[i];
    struct row_statistics r = {w->a.logp[place], w->a.lse[place],
                               w->a.entropy == NULL ? 0.0f : w->a.entropy[place]};
    struct row_slope p = slope_of(w, place, row_target(w, place), &r,
                                  w->a.c == NULL ? 0.0f : w->a.c[place],
                                  w->a.e == NULL ? 0.0f : w->a.e[place],
                                  w->a.h == NULL ? 0.0f : w->a.h[place]);

    if (w->a.entries != NULL) {
        p.entry = w->a.entry_first[place];
        p.entry_end = w->a.entry_first[place + 1];
    }
#pragma unroll 1
    for (int64_t j = p.entry; j < p.entry_end; j++)
        if (!is_finite(w->a.entries[j].value))
            fault_tell(w->fault, FAULT_coefficient, place);
    return p;
}

template <int FORM, int OUTPUT>
static __device__ inline void
write_body(const struct row_work *w)
{
    const int SIZE = FORM == ROW_float32 ? 4 : 2;
    unsigned char *tile = shared_memory();
    struct row_scratch *scratch = (struct row_scratch *)(tile + w->segment * SIZE);
    int64_t i = blockIdx.x;
    struct part part = part_of<SIZE>(w, i, 0), next = part;
    int parity = 0;

    part_load<SIZE>(tile, &part);
    for (; i < w->z.rows; i += gridDim.x, parity ^= 1)
        for (int segment = 0; segment < w->segments; segment++, part = next) {
            next = part_after<SIZE>(w, i, segment);
            if (segment == 0 && threadIdx.x == 0)
                scratch->slope[parity] = slope_known(w, i);
            part_wait();
            __syncthreads();
            part_write<FORM, OUTPUT>(w, tile, &scratch->slope[parity], &part, i, segment, &next);
        }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_slopes_float32(const __grid_constant__ struct row_work w)
{
    write_body<ROW_float32, OUTPUT_slopes>(&w);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_slopes_bfloat16(const __grid_constant__ struct row_work w)
{
    write_body<ROW_bfloat16, OUTPUT_slopes>(&w);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_slopes_kept(const __grid_constant__ struct row_work w)
{
    write_body<ROW_kept, OUTPUT_slopes>(&w);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_slopes_shifted(const __grid_constant__ struct row_work w)
{
    write_body<ROW_shifted, OUTPUT_slopes>(&w);
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)
rows_kept_float32(const __grid_constant__ struct row_work w)
{
    write_body<ROW_float32, OUTPUT_kept>(&w);
}

/* ---- launches ---- */

/* Segments: as many as there must be of SEGMENT_BYTES; two to eight of them are made a power of two
 * and equal, so that a cluster may have them. Wider rows still go to eight blocks where these have
 * the memory, else to one block alone. */
static void
shape(const struct sluice_cuda *s, struct row_work *w)
{
    int64_t vocab = w->z.vocab, most = SEGMENT_BYTES / form_bytes(w->z.form);
    int64_t room = (s->shared_most - BESIDE_MOST) / form_bytes(w->z.form) - UNIT;
    int64_t segments = (vocab + most - 1) / most, even = 1;

    while (even < segments && even < CLUSTER_MAX)
        even *= 2;
    if (segments <= CLUSTER_MAX
        || (s->major >= 9 && vocab / CLUSTER_MAX < room))
        segments = even;
    w->segments = (int)segments;
    w->segment = (int)round_up((vocab + segments - 1) / segments, UNIT);
}

static int
refused(const struct row_work *w)
{
    int of_chunk = 16 / form_bytes(w->z.form);
    int64_t rounded = round_up(w->z.vocab, UNIT);

    if (w->z.rows < 0 || w->z.vocab < 1 || w->z.stride < w->z.vocab || w->z.stride % of_chunk != 0
        || (uintptr_t)w->z.at % 16 != 0)
        return fail(SLUICE_failed, "rows of logits: %lld rows of %lld classes, stride %lld: rows "
                    "must begin at multiples of 16 bytes", (long long)w->z.rows,
                    (long long)w->z.vocab, (long long)w->z.stride);
    if (w->out != NULL && (w->out_stride < rounded || w->out_stride % UNIT != 0
                           || (uintptr_t)w->out % 16 != 0))
        return fail(SLUICE_failed, "rows of slopes: stride %lld is not a multiple of 8, or less "
                    "than %lld", (long long)w->out_stride, (long long)rounded);
    if (w->z.form == ROW_shifted && (w->z.tile_columns < UNIT || (w->z.tile_columns
                                                                  & (w->z.tile_columns - 1)) != 0))
        return fail(SLUICE_failed, "rows of logits: tiles of %lld classes: a power of two of at "
                    "least 8 can be", (long long)w->z.tile_columns);
    return 0;
}

int
row_work_of(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
            const struct row_arrays *a, void *out, int64_t out_stride, struct row_work *w,
            struct launch *l)
{
    int64_t turns = (z->rows + ROW_TURNS - 1) / ROW_TURNS, slots, tile;
    int warps = 1;

    *w = (struct row_work){.z = *z, .row_bytes = z->stride * form_bytes(z->form), .place = place,
                           .a = *a, .out = (__nv_bfloat16 *)out, .out_stride = out_stride,
                           .fault = s->fault};
    if (refused(w) != 0)
        return SLUICE_failed;
    shape(s, w);
    while (w->z.form == ROW_shifted && w->z.tile_columns >> w->tile_shift > 1)
        w->tile_shift++;
    while (warps < WARPS_MAX && warps * GROUP < w->segment)
        warps *= 2;
    slots = (int64_t)s->multiprocessors * ROW_BLOCKS * (WARPS_MAX / warps);
    tile = (int64_t)w->segment * form_bytes(z->form);
    l->blocks = turns > slots ? turns : z->rows < slots ? z->rows : slots;
    l->threads = warps * WARP;
    l->cluster = 1;
    l->shared = tile + (int64_t)sizeof(struct row_scratch);
    return 0;
}

int
row_clusters(const struct sluice_cuda *s, const struct row_work *w, struct launch *l)
{
    int64_t turns = (w->z.rows + ROW_TURNS - 1) / ROW_TURNS, slots;

    if (s->major < 9 || w->segments > CLUSTER_MAX)
        return 0;
    slots = (int64_t)s->multiprocessors * ROW_BLOCKS / w->segments;
    slots = slots < 1 ? 1 : slots;
    l->cluster = w->segments;
    l->blocks = (turns > slots ? turns : w->z.rows < slots ? w->z.rows : slots) * w->segments;
    return 1;
}

int
rows_write_slopes(struct sluice_cuda *s, const struct row_work *w, struct launch l)
{
    static void (*const kernels[])(struct row_work) = {
        [ROW_float32] = rows_slopes_float32,
        [ROW_bfloat16] = rows_slopes_bfloat16,
        [ROW_kept] = rows_slopes_kept,
        [ROW_shifted] = rows_slopes_shifted,
    };

    return row_launch(s, "slopes of rows", l, kernels[w->z.form], *w);
}

int
rows_write_kept(struct sluice_cuda *s, const struct row_work *w, struct launch l)
{
    return row_launch(s, "keeping rows", l, rows_kept_float32, *w);
}

int
rows_statistics(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
                const struct row_arrays *a)
{
    struct row_work w;
    struct launch l;
    int rc = row_work_of(s, z, place, a, NULL, 0, &w, &l);

    if (rc != 0)
        return rc;
    if (z->form != ROW_float32 && z->form != ROW_bfloat16)
        return fail(SLUICE_failed, "statistics of rows: not of what is kept or shifted");
    return row_launch(s, "statistics of rows", l,
                      z->form == ROW_float32 ? rows_statistics_float32 : rows_statistics_bfloat16,
                      w);
}

int
rows_slopes(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
            const struct row_arrays *a)
{
    struct row_work w;
    struct launch l;
    int rc = row_work_of(s, z, place, a, z->at, z->stride * form_bytes(z->form) / 2, &w, &l);

    return rc == 0 ? rows_write_slopes(s, &w, l) : rc;
}
