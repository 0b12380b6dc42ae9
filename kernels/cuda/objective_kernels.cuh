/* objective_kernels: what the files of the objective share: the view, and the steps of an objective
 * on the device, each queued; what one writes the next reads. objective.cu says when. */
#ifndef KERNELS_CUDA_OBJECTIVE_KERNELS_CUH
#define KERNELS_CUDA_OBJECTIVE_KERNELS_CUH

#include "kernels/cuda/objective.cuh"
#include "kernels/cuda/objective_device.cuh"

#define OBJECTIVE_SAMPLES_MAX INT64_C(0x7fffffff)       /* a block for each */

struct objective_view {
    struct objective_view_device  v;        /* as it is on the device ... */
    struct objective_view_device *device;   /* ... where it is */
    const struct objective_sample *sample;  /* the caller's */
    int64_t rows, samples, solved;          /* samples [0, solved) have their terms */
    unsigned char *staged;                  /* what was copied, as long as it may be read */
    struct objective_ready *ready;
};

/* Waits. */
int objective_download(struct sluice_cuda *s, void *to, const void *from, int64_t bytes);

/* What host code knows of the view it launches for. */
struct objective_launch {
    const struct objective_view_device *view;   /* on the device */
    int64_t first, samples;                     /* samples [first, first + samples) */
    int64_t row, rows;                          /* the rows from the first one's to the last one's */
    struct objective_ready *ready;              /* (all rows); NULL: not of scope token */
    enum objective_scope scope;
    int pairs, steps, surprise, named;
};

/* known.length, first_row, shares; row_sample; wanted. Then ready (scope token), entry_first. */
int objective_launch_known(struct sluice_cuda *s, const struct objective_launch *l);
/* sums and step_mean, of whole units of the scope. */
int objective_launch_sums(struct sluice_cuda *s, const struct objective_launch *l);
/* c, e, h, terms, entries, losses.named. */
int objective_launch_terms(struct sluice_cuda *s, const struct objective_launch *l);
/* Adds to the report, of all samples. */
int objective_launch_report(struct sluice_cuda *s, const struct objective_launch *l);

/* ---- for the kernels: chains ----
 *
 * A sum in row order is a chain: each addition waits for the one before. So that a chain waits for
 * nothing else, a block computes TILE_ROWS rows of what is summed into shared memory, side by side
 * for the quantities, and one lane for each quantity then adds its own. What has no part is -0.0,
 * which changes no sum. */
#define TILE_THREADS 128
#define TILE_ROWS    512
#define TILE_WIDTH   9              /* quantities; odd: no two lanes meet in a bank of memory */
#define TILE_BYTES   ((int64_t)TILE_ROWS * TILE_WIDTH * (int64_t)sizeof(double))
#define TILE_AHEAD   16             /* loads that are under way */

/* sum + column[0] + column[TILE_WIDTH] + ..., one after the other. */
static __device__ inline double
chain_add(const double *column, int64_t count, double sum)
{
    int64_t at = 0;

    for (; at + TILE_AHEAD <= count; at += TILE_AHEAD) {
        double ahead[TILE_AHEAD];

#pragma unroll
        for (int k = 0; k < TILE_AHEAD; k++)
            ahead[k] = column[(at + k) * TILE_WIDTH];
#pragma unroll
        for (int k = 0; k < TILE_AHEAD; k++)
            sum += ahead[k];
    }
    for (; at < count; at++)
        sum += column[at * TILE_WIDTH];
    return sum;
}

/* The largest of the threads' values, in every one; room: blockDim.x doubles of shared memory that
 * nobody uses. */
static __device__ inline double
block_largest(double value, double *room)
{
    __syncthreads();
    room[threadIdx.x] = value;
    __syncthreads();
    for (unsigned i = 0; i < blockDim.x; i++)
        value = fmax(value, room[i]);
    __syncthreads();
    return value;
}

static __device__ inline int64_t
rows_of_tile(int64_t at, int64_t count)
{
    return count - at < TILE_ROWS ? count - at : TILE_ROWS;
}

#endif
