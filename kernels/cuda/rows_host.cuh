/* rows_host: how calls of rows.cuh become launches: shapes, limits, the words of refusals. */
#ifndef KERNELS_CUDA_ROWS_HOST_CUH
#define KERNELS_CUDA_ROWS_HOST_CUH

#include "kernels/cuda/rows_write.cuh"

#define ROW_THREADS (WARPS_MAX * WARP)
#define ROW_BLOCKS  3               /* of a multiprocessor: 80 registers a thread */
#define ROW_TURNS   8               /* rows a block or cluster does one after the other, fetching
                                     * the next while it writes the last; more would leave some
                                     * idle at the end */

static inline int
form_bytes(enum row_form form)
{
    return form == ROW_float32 ? 4 : 2;
}

/* The kernels' argument and, in *l, the launch of blocks that go from segment to segment; refuses
 * what would be read or written in the wrong places. out NULL: statistics alone. */
int row_work_of(struct sluice_cuda *s, const struct row_logits *z, const int64_t *place,
                const struct row_arrays *a, void *out, int64_t out_stride, struct row_work *w,
                struct launch *l);
/* Clusters in place of blocks, a segment for each block. 0: the device or the row's size has none;
 * rows of one segment need none. */
int row_clusters(const struct sluice_cuda *s, const struct row_work *w, struct launch *l);

/* Launches with all of a multiprocessor's shared memory for its blocks. */
template <typename... Parameters, typename... Arguments>
int
row_launch(struct sluice_cuda *s, const char *name, struct launch l, void (*kernel)(Parameters...),
           Arguments... arguments)
{
    int rc = fail_cuda(cudaFuncSetAttribute((const void *)kernel,
                                            cudaFuncAttributePreferredSharedMemoryCarveout, 100),
                       name);

    return rc == 0 ? launch(s, name, l, kernel, arguments...) : rc;
}

/* Slopes or bfloat16(log p_v) of rows whose statistics are known. */
int rows_write_slopes(struct sluice_cuda *s, const struct row_work *w, struct launch l);
int rows_write_kept(struct sluice_cuda *s, const struct row_work *w, struct launch l);

#endif
