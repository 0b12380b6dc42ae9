/* rows_loss: statistics and what is made of them with one read and one write: 6 V bytes a row of
 * float32, 4 V of bfloat16. A cluster holds a row in the shared memory of its blocks, a segment
 * each; they exchange four numbers each, and every block works out the rest for itself. A row of
 * one segment is one block's. Where there are no clusters, statistics, coefficients and slopes are
 * three launches (10 V or 6 V bytes a row).
 *
 * V = 151936, float32: eight blocks of 76 KB, 0.91 MB a row, 0.21 us of an H200's memory; sixteen
 * instructions a class, or 0.11 us of its multiprocessors. 49 rows are on their way at a time, so a
 * row may take 10 us from its first byte to its last; what it waits for besides memory is two
 * barriers of the block, one of the cluster and one evaluation of the objective. */
#include "kernels/cuda/objective.cuh"
#include "kernels/cuda/objective_device.cuh"
#include "kernels/cuda/rows_host.cuh"

#define READY_CHUNKS ((int)sizeof(struct objective_ready) / 16)

/* Behind row_scratch in shared memory: what thread 0 of every block asks the objective. */
struct loss_scratch {
    struct objective_ready ready;
    struct row_statistics statistics;
    float exact;                    /* z_y of ROW_bfloat16 */
    float c, e, h;
    int64_t place, y;
};

static_assert(sizeof(struct row_scratch) + sizeof(struct loss_scratch) <= BESIDE_MOST);

template <int CLUSTERED>
static __device__ inline void
meet(void)
{
    if (CLUSTERED)
        cluster_meet();
    else
        __syncthreads();
}

/* The sums of all segments, in every lane of warp 0, and the logit of the target. */
template <int CLUSTERED>
static __device__ inline struct moments
cluster_merge(const struct row_work *w, float4 *slot, int64_t y, float *chosen)
{
    int lane = threadIdx.x, owner = 0;
    float4 word = make_float4(-INFINITY, 0, 0, 0);

    if (lane < w->segments)
        word = CLUSTERED ? cluster_read(slot, lane) : *slot;
    if (CLUSTERED && y >= 0)
        owner = (int)(y / w->segment);
    *chosen = __shfl_sync(FULL, word.w, owner);
    return moments_merge((struct moments){word.x, word.y, word.z});
}

/* From l->statistics, place and y. */
static __device__ inline struct row_slope
loss_slope(const struct row_work *w, struct loss_scratch *l,
           const struct objective_view_device *view, int writes)
{
    objective_coefficients_of(view, &l->ready, l->place, l->statistics.logp, l->statistics.entropy,
                              &l->c, &l->e, &l->h);
    if (writes) {
        w->a.c[l->place] = l->c;
        if (w->a.e != NULL)
            w->a.e[l->place] = l->e;
        if (w->a.h != NULL)
            w->a.h[l->place] = l->h;
    }
    return slope_of(w, l->place, l->y, &l->statistics, l->c, l->e, l->h);
}

/* Warp 0: from this segment's slot to what the row's slopes or kept logarithms are made of. Every
 * block of a cluster comes to the same bits; rank 0 writes them. */
template <int FORM, int OUTPUT, int CLUSTERED>
static __device__ inline void
row_solve(const struct row_work *w, struct row_scratch *scratch, struct loss_scratch *l,
          const struct objective_view_device *view, int64_t place, int64_t y, int parity, int rank)
{
    float chosen;
    struct moments sums = cluster_merge<CLUSTERED>(w, &scratch->slot[parity], y, &chosen);
    struct row_statistics r;

    if (OUTPUT == OUTPUT_loss) {
        __pipeline_wait_prior(0);               /* the row's objective_ready */
        __syncwarp();
    }
    if (threadIdx.x != 0)
        return;
    r = row_finish<FORM>(w, place, y, sums, chosen, FORM == ROW_bfloat16 ? l->exact : 0.0f);
    if (rank == 0)
        row_write(w, place, &r);
    if (OUTPUT == OUTPUT_loss) {
        l->statistics = r;
        l->place = place;
        l->y = y;
        scratch->slope[0] = loss_slope(w, l, view, rank == 0);
    } else {
        scratch->slope[0].lse = r.lse;
    }
}

/* Begins to fetch what is known of a row before its statistics. */
template <int FORM>
static __device__ inline void
ready_load(const struct row_work *w, struct loss_scratch *l,
           const struct objective_view_device *view, int64_t i, int64_t place)
{
    int k = threadIdx.x;

    if (k < READY_CHUNKS)
        __pipeline_memcpy_async((uint4 *)&l->ready + k, (const uint4 *)&view->ready[place] + k, 16);
    else if (FORM == ROW_bfloat16 && k == READY_CHUNKS)
        __pipeline_memcpy_async(&l->exact, &w->z.chosen[i], sizeof l->exact);
    __pipeline_commit();
}

/* One row after the other. Within one: (1) the segment is there; the largest logit; (2) the sums,
 * and the block's slot; (3) all blocks have read all of the row into shared memory and given their
 * slots: what is written from here on, over the logits, no block still reads; (4) warp 0 works out
 * the coefficients; (5) all write, and fetch the next row into the places they are done with.
 *      A slot is written again two rows later, behind the barrier (3) of the row between, which
 * its readers reach after they have read. */
template <int FORM, int OUTPUT, int CLUSTERED>
static __device__ inline void
loss_body(const struct row_work *w, const struct objective_view_device *view)
{
    const int SIZE = FORM == ROW_float32 ? 4 : 2;
    unsigned char *tile = shared_memory();
    struct row_scratch *scratch = (struct row_scratch *)(tile + w->segment * SIZE);
    struct loss_scratch *l = (struct loss_scratch *)(scratch + 1);
    int warp = threadIdx.x / WARP, parity = 0, rank = CLUSTERED ? cluster_rank() : 0;
    unsigned blocks = CLUSTERED ? (unsigned)w->segments : 1, step = gridDim.x / blocks;
    int64_t i = blockIdx.x / blocks;
    struct part part = part_of<SIZE>(w, i, rank), none = part_none(), next;

    part_load<SIZE>(tile, &part);
    for (; i < w->z.rows; i += step, parity ^= 1) {
        int64_t place = w->place[i], y;
        struct moments m;

        part_wait();
        y = row_target(w, place);               /* used behind a barrier: it is on its way */
        if (OUTPUT == OUTPUT_loss && warp == 0)
            ready_load<FORM>(w, l, view, i, place);
        m.largest = part_largest<SIZE>(tile, scratch, &part);
        m = part_sums<SIZE>(tile, scratch, &part, m.largest, w->a.entropy != NULL,
                            part_column(w, rank, y), &scratch->chosen[parity], &none);
        if (threadIdx.x == 0) {
            scratch->slot[parity] = make_float4(m.largest, m.s, m.t, scratch->chosen[parity]);
            scratch->row = i;
            scratch->step = step;
            scratch->rank = rank;
            scratch->parity = parity;
            if (CLUSTERED)
                cluster_publish();
        }
        meet<CLUSTERED>();
        if (warp == 0)
            row_solve<FORM, OUTPUT, CLUSTERED>(w, scratch, l, view, place, y, parity, rank);
        __syncthreads();
        i = scratch->row;
        step = scratch->step;
        rank = scratch->rank;
        parity = scratch->parity;
        part = part_of<SIZE>(w, i, rank);
        next = i + step < w->z.rows ? part_of<SIZE>(w, i + step, rank) : none;
        part_write<FORM, OUTPUT>(w, tile, &scratch->slope[0], &part, i, rank, &next);
    }
    meet<CLUSTERED>();                      /* nobody leaves while another may read its slot */
}

#define KERNEL(name, form, output, clustered)                                                      \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS, ROW_BLOCKS)                          \
    name(const __grid_constant__ struct row_work w, const struct objective_view_device *view)      \
    {                                                                                              \
        loss_body<form, output, clustered>(&w, view);                                              \
    }

KERNEL(rows_loss_float32, ROW_float32, OUTPUT_loss, 0)
KERNEL(rows_loss_bfloat16, ROW_bfloat16, OUTPUT_loss, 0)
KERNEL(rows_keep_float32, ROW_float32, OUTPUT_kept, 0)
KERNEL(rows_loss_cluster_float32, ROW_float32, OUTPUT_loss, 1)
KERNEL(rows_loss_cluster_bfloat16, ROW_bfloat16, OUTPUT_loss, 1)
KERNEL(rows_keep_cluster_float32, ROW_float32, OUTPUT_kept, 1)

/* ---- three launches ---- */

/* A thread a row. */
extern "C" __global__ void __launch_bounds__(WARP)
rows_coefficients(const __grid_constant__ struct row_work w,
                  const struct objective_view_device *view)
{
    int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, place;

    if (i >= w.z.rows)
        return;
    place = w.place[i];
    objective_coefficients(view, place, w.a.logp[place], w.a.lse[place],
                           w.a.entropy == NULL ? 0.0f : w.a.entropy[place], &w.a.c[place],
                           w.a.e == NULL ? NULL : &w.a.e[place],
                           w.a.h == NULL ? NULL : &w.a.h[place]);
}

static int
coefficients(struct sluice_cuda *s, const struct row_work *w,
             const struct objective_view_device *view)
{
    struct launch l = {.blocks = (w->z.rows + WARP - 1) / WARP, .threads = WARP, .cluster = 1,
                       .shared = 0};

    return launch(s, "coefficients of rows", l, rows_coefficients, *w, view);
}

int
rows_keep(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
          const struct row_arrays *a, void *out, int64_t out_stride)
{
    const struct objective_view_device *view = NULL;
    struct row_work w;
    struct launch l;
    int rc = row_work_of(s, z, place, a, out, out_stride, &w, &l);

    if (rc != 0)
        return rc;
    if (z->form != ROW_float32)
        return fail(SLUICE_failed, "keeping rows: of float32 alone");
    if (w.segments == 1)
        return row_launch(s, "keeping rows", l, rows_keep_float32, w, view);
    if (row_clusters(s, &w, &l))
        return row_launch(s, "keeping rows", l, rows_keep_cluster_float32, w, view);
    rc = rows_statistics(s, z, place, a);
    return rc == 0 ? rows_write_kept(s, &w, l) : rc;
}

int
rows_loss(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
          const struct row_arrays *a, const struct objective_view *objective)
{
    const struct objective_view_device *view = objective_view_on_device(objective);
    int bfloat16 = z->form == ROW_bfloat16;
    struct row_work w;
    struct launch l;
    int rc = row_work_of(s, z, place, a, z->at, z->stride * form_bytes(z->form) / 2, &w, &l);

    if (rc != 0)
        return rc;
    if (z->form == ROW_kept)
        return fail(SLUICE_failed, "loss of rows: not of what is kept");
    if (z->form == ROW_shifted) {       /* from fused.cu, which has written the statistics */
        rc = coefficients(s, &w, view);
        return rc == 0 ? rows_write_slopes(s, &w, l) : rc;
    }
    l.shared += (int64_t)sizeof(struct loss_scratch);
    if (w.segments == 1)
        return row_launch(s, "loss of rows", l,
                          bfloat16 ? rows_loss_bfloat16 : rows_loss_float32, w, view);
    if (row_clusters(s, &w, &l))
        return row_launch(s, "loss of rows", l,
                          bfloat16 ? rows_loss_cluster_bfloat16 : rows_loss_cluster_float32, w,
                          view);
    l.shared -= (int64_t)sizeof(struct loss_scratch);
    rc = rows_statistics(s, z, place, a);
    if (rc == 0)
        rc = coefficients(s, &w, view);
    return rc == 0 ? rows_write_slopes(s, &w, l) : rc;
}
