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
    int64_t row, rows;                          /* from the first one's rows to the last one's */
    struct objective_ready *ready;              /* (all rows); NULL: not of scope token */
    enum objective_scope scope;
    int64_t longest, largest;                   /* rows of a sample, samples of a group */
    int pairs, steps, surprise, named;
};

/* known.length, first_row, shares; row_sample, wanted, counts. Then ready (scope token), entry_first. */
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
 * nothing else, a block's first warp adds, one lane for each quantity, from shared memory, while
 * the others compute the next TILE_ROWS rows. What has no part is -0.0, which changes no sum. */
#define TILE_THREADS      128
#define TILE_THREADS_LONG 512       /* where there are more rows than one tile's */
#define TILE_ROWS  256
#define TILE_WIDTH 9                /* quantities; odd: no two lanes meet in a bank of memory */
#define TILE_BYTES ((int64_t)2 * TILE_ROWS * TILE_WIDTH * (int64_t)sizeof(double))
#define TILE_AHEAD 16               /* loads that may be under way */

static inline int
tile_threads(int64_t rows)
{
    return rows > TILE_ROWS ? TILE_THREADS_LONG : TILE_THREADS;
}

/* Writes the quantities of row `at` of what is summed for i (a sample, a group ...) to `to`; gives
 * what is looked for the largest of, or -INFINITY. */
typedef double tile_function(const struct objective_view_device *v, int64_t i, int64_t at,
                             double *to);

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

/* The tile that begins at row `at` of count, by `threads` threads, of which this is the t-th. */
template <tile_function row_of>
static __device__ inline void
tile_fill(const struct objective_view_device *v, int64_t i, int64_t at, int64_t count, int t,
          int threads, double *tile, double *largest)
{
    for (int64_t k = t; k < TILE_ROWS && at + k < count; k += threads)
        *largest = fmax(*largest, row_of(v, i, at + k, tile + k * TILE_WIDTH));
}

/* The chains of rows [0, count), for a whole block of more than a warp: thread k < quantities
 * begins with its `sum` and gets quantity k's. largest: of what this thread has seen. tiles:
 * TILE_BYTES of shared memory. */
template <tile_function row_of>
static __device__ inline double
chain_rows(const struct objective_view_device *v, int64_t i, int64_t count, int quantities,
           double *tiles, double sum, double *largest)
{
    int thread = (int)threadIdx.x, threads = (int)blockDim.x, turn = 0;

    tile_fill<row_of>(v, i, 0, count, thread, threads, tiles, largest);
    __syncthreads();
    for (int64_t at = 0; at < count; at += TILE_ROWS, turn ^= 1) {
        double *now = tiles + turn * TILE_ROWS * TILE_WIDTH;
        double *next = tiles + (turn ^ 1) * TILE_ROWS * TILE_WIDTH;

        if (thread >= WARP)
            tile_fill<row_of>(v, i, at + TILE_ROWS, count, thread - WARP, threads - WARP, next,
                              largest);
        else if (thread < quantities)
            sum = chain_add(now + thread, count - at < TILE_ROWS ? count - at : TILE_ROWS, sum);
        __syncthreads();
    }
    return sum;
}

/* Thread k < quantities gives its sum to all, in room[k]. */
static __device__ inline void
chain_share(double sum, int quantities, double *room)
{
    __syncthreads();
    if ((int)threadIdx.x < quantities)
        room[threadIdx.x] = sum;
    __syncthreads();
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

#endif
