/* fused: the logits product with the statistics in its epilogue, for compute capability 9.0 (wgmma,
 * bulk tensor copies). From float32 accumulators it takes, for each row and tile of FUSED_COLUMNS
 * classes, the largest logit, sum exp(z - largest) and sum exp(z - largest) (z - largest), and z_y;
 * it stores bfloat16(z - largest of the tile) where logits are wanted at all. */
#ifndef KERNELS_CUDA_FUSED_CUH
#define KERNELS_CUDA_FUSED_CUH

#include "kernels/cuda/rows.cuh"

#define FUSED_COLUMNS 128           /* classes of a tile: 151936 = 2^7 1187 */

/* Can this context and shape take it? hidden a multiple of 8, strides too, no bias. */
int fused_fits(const struct sluice_cuda *s, const struct sluice_head *head);

/* Bytes of SCRATCH_tiles for so many rows. */
int64_t fused_tiles_bytes(int64_t rows, int64_t vocab);

/* x (count, x_stride): gathered. Writes z->at (NULL: statistics alone) in ROW_shifted form, the
 * tiles' statistics, and then logp, lse and, unless NULL, entropy at place[i]. Fills in z. */
int fused_logits(struct sluice_cuda *s, const struct sluice_head *head, int64_t count,
                 const int64_t *place, const void *x, int64_t x_stride, struct row_logits *z,
                 const struct row_arrays *a);

#endif
