/* fused: the logits product with the statistics in its epilogue, for compute capability 9.0 (wgmma,
 * bulk tensor copies). From float32 accumulators it takes, for each row and tile of FUSED_COLUMNS
 * classes, the largest logit, sum exp(z - largest) and sum exp(z - largest) (z - largest), and z_y;
 * it stores bfloat16(z - largest of the tile) where logits are wanted at all.
 *
 * The bits of a row depend on x, W and the target of that row alone: the sum over the inner
 * dimension has one order, tiles of classes begin at multiples of FUSED_COLUMNS, and tiles are
 * combined in one order. log p = (z_y - m) - log s is never positive: the largest of the row has
 * the term exp(0) = 1 in s, so log s >= 0.
 *
 * SLUICE_logits_fused is asked for by name. It becomes what SLUICE_logits_automatic means on 9.0
 * once tests/cuda/test_fused.cu has passed on such a device and tools/bench_gpu shows it faster
 * there than the float32 path; until then automatic is float32. */
#ifndef KERNELS_CUDA_FUSED_CUH
#define KERNELS_CUDA_FUSED_CUH

#include "kernels/cuda/rows.cuh"

#define FUSED_COLUMNS 128           /* classes of a tile: 151936 = 2^7 1187 */

/* Can this context and shape take it? No bias, hidden at least 64, weight 16-byte aligned, its
 * stride a multiple of 8. The first time in a context, a small product is compared with cuBLASLt's
 * (gemm.cuh) on the device: where they differ the answer is no for good. Where the comparison
 * could not be made, for want of memory or as the device is lost, it is no for now and
 * s->fused_failed the status. Waits, the first time. */
int fused_fits(struct sluice_cuda *s, const struct sluice_head *head);

/* That comparison: 0, or a status and its words. A context of its own, on the stream of s; waits. */
int fused_check(struct sluice_cuda *s);

/* Why the last fused_fits() of the context said no, one line for the log; "" where it said yes. */
const char *fused_why(const struct sluice_cuda *s);

/* Bytes of SCRATCH_tiles for so many rows. */
int64_t fused_tiles_bytes(int64_t rows, int64_t vocab);

/* x (count, x_stride): gathered, 16-byte aligned, x_stride a multiple of 8. Before: z->at (NULL:
 * statistics alone) and z->stride, a multiple of 8, at least vocab. Writes z->at in ROW_shifted
 * form (columns from vocab to the next multiple of 8 get numbers that mean nothing), the tiles'
 * statistics and z_y (SCRATCH_tiles), then logp, lse and, unless NULL, entropy at place[i].
 * Fills in the rest of z. A row with a logit that is NaN or infinite is told to s->fault, by place.
 * fused_fits() has said yes. */
int fused_logits(struct sluice_cuda *s, const struct sluice_head *head, int64_t count,
                 const int64_t *place, const void *x, int64_t x_stride, struct row_logits *z,
                 const struct row_arrays *a);

#endif
