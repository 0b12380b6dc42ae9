/* gemm_library: cuBLASLt's functions, found when the first product wants them, so that this library
 * loads where there is none. */
#ifndef KERNELS_CUDA_GEMM_LIBRARY_CUH
#define KERNELS_CUDA_GEMM_LIBRARY_CUH

#include <cublasLt.h>

#include "kernels/cuda/context.cuh"

#define GEMM_VERSION_LEAST 120000   /* 12.0.0 */

#define GEMM_FUNCTIONS(F)                                                                          \
    F(cublasLtGetVersion)                                                                          \
    F(cublasLtGetStatusString)                                                                     \
    F(cublasLtCreate)                                                                              \
    F(cublasLtDestroy)                                                                             \
    F(cublasLtMatmul)                                                                              \
    F(cublasLtMatmulAlgoGetHeuristic)                                                              \
    F(cublasLtMatmulAlgoCheck)                                                                     \
    F(cublasLtMatmulAlgoConfigGetAttribute)                                                        \
    F(cublasLtMatmulDescCreate)                                                                    \
    F(cublasLtMatmulDescDestroy)                                                                   \
    F(cublasLtMatmulDescSetAttribute)                                                              \
    F(cublasLtMatrixLayoutCreate)                                                                  \
    F(cublasLtMatrixLayoutDestroy)                                                                 \
    F(cublasLtMatmulPreferenceCreate)                                                              \
    F(cublasLtMatmulPreferenceDestroy)                                                             \
    F(cublasLtMatmulPreferenceSetAttribute)

#define GEMM_FIELD(NAME) __typeof__(&::NAME) NAME;
struct gemm_library {
    int64_t version;                /* 0: not found */
    char    trouble[SLUICE_TEXT_MAX];   /* why */
    GEMM_FUNCTIONS(GEMM_FIELD)
};
#undef GEMM_FIELD

/* Never NULL; the process's own, looked up at the first call:
 *      the file that the environment's SLUICE_CUBLASLT names, and no other where it is set,
 *      one that the process holds already (a Python process with torch does),
 *      libcublasLt.so.13 and .12 as the loader finds them,
 *      the same in the CUDA toolkit's usual place. */
const struct gemm_library *gemm_library(void);

#endif
