/* gemm: products by cuBLASLt, which is found with dlopen at the first one, with one algorithm for
 * each kind of product, chosen once, and never split over the inner dimension: an element's bits
 * depend on its row and column alone, not on how many rows are asked for. Row-major as in C. */
#ifndef KERNELS_CUDA_GEMM_CUH
#define KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/context.cuh"

struct gemm;

/* out (rows, columns) = left right, or += with `add` (out float32 then). bfloat16 factors, float32
 * sums. Strides in elements.
 *      GEMM_nt     left (rows, inner), right (columns, inner): out = left right^T      logits
 *      GEMM_nn     left (rows, inner), right (inner, columns): out = left right        dX
 *      GEMM_tn     left (inner, rows), right (inner, columns): out = left^T right      dW */
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
    const float *bias;              /* (columns), added to every row, or NULL */
};

int  gemm_run(struct sluice_cuda *s, const struct product *p);
void gemm_free(struct gemm *g);
int64_t gemm_library_version(void);         /* 0: not found */

#endif
