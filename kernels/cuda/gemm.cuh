/* gemm: products by cuBLASLt, which is found with dlopen at the first one, with one algorithm for
 * each kind of product, chosen once and never split over the inner dimension. Row-major as in C.
 *
 * A kind is all of a product but how many rows of tokens it has: its form, its other two sizes, its
 * types and the alignment that the rows of each matrix have (strides count as far as they tell of
 * alignment alone). Whoever asks first, the same algorithm is chosen, as the library is asked with
 * a fixed number of rows. An algorithm is a tile of the output and a way to walk the inner
 * dimension, so an element's bits depend on its row and column alone, not on how many rows are
 * asked for or where among them it stands. */
#ifndef KERNELS_CUDA_GEMM_CUH
#define KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/context.cuh"

struct gemm;

#define GEMM_ROWS      4096         /* that the library is asked with where no chunk is named */
#define GEMM_WORKSPACE (32 << 20)   /* bytes of SCRATCH_gemm */
#define GEMM_ALIGNMENT 16           /* bytes of a row's alignment, the most that is told apart */

/* out (rows, columns) = left right, or += with `add` (out float32 then). bfloat16 factors, float32
 * sums. Strides in elements.
 *      GEMM_nt     left (rows, inner), right (columns, inner): out = left right^T      logits
 *      GEMM_nn     left (rows, inner), right (inner, columns): out = left right        dX
 *      GEMM_tn     left (inner, rows), right (inner, columns): out = left^T right      dW
 * Rows of tokens are `rows` of the first two and `inner` of the last. */
enum gemm_form { GEMM_nt, GEMM_nn, GEMM_tn };

struct product {
    enum gemm_form form;
    int64_t rows, columns, inner;
    const void *left, *right;       /* bfloat16 */
    int64_t left_stride, right_stride;
    void *out;
    int64_t out_stride;
    enum sluice_type out_type;
    int add;
    const float *bias;              /* (columns), added to every row, or NULL; out float32 and no
                                     * `add` then: it is written to out, which is then added to */
    int64_t chunk;                  /* rows of tokens of a full chunk, for which an algorithm of
                                     * GEMM_nn and GEMM_tn is chosen, a part of their kind; 0:
                                     * GEMM_ROWS. Nothing to GEMM_nt, whose bits are promised to be
                                     * the same at any chunk. */
};

int  gemm_run(struct sluice_cuda *s, const struct product *p);
void gemm_free(struct gemm *g);
int64_t gemm_library_version(void);         /* 0: not found */

#endif
