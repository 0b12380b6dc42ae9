/* gemm_kind: the kinds of products and the algorithm that each was given, for gemm.cu (which runs
 * them) and gemm_text.cu (which writes and reads them). */
#ifndef KERNELS_CUDA_GEMM_KIND_CUH
#define KERNELS_CUDA_GEMM_KIND_CUH

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/gemm_library.cuh"

#define GEMM_KINDS_MAX 1024         /* of a context */

enum { GEMM_left, GEMM_right, GEMM_out, GEMM_matrices };

struct gemm_kind {
    enum gemm_form form;
    int64_t columns;
    int64_t other;                  /* inner; of GEMM_tn: rows */
    enum sluice_type out_type;
    int     add;
    int     alignment[GEMM_matrices];   /* bytes that every row of the matrix is aligned to */
    int64_t chunk;                  /* rows of tokens the algorithm was chosen for */
    cublasLtMatmulAlgo_t algorithm;
};

struct gemm {
    const struct gemm_library *library;
    cublasLtHandle_t  handle;
    struct gemm_kind *kinds;        /* (count) in the order of their first product */
    int64_t count, room;
    int     ran;                    /* a product has run: the kinds are no longer the caller's */
};

/* The kind as a line of the text without its algorithm: "nt columns 151936 inner 1536 ...". */
void gemm_kind_words(const struct gemm_kind *kind, char *text, size_t room);

/* The context's; made at the first call: SLUICE_no_library. */
int gemm_of(struct sluice_cuda *s, struct gemm **out);
int gemm_kind_same(const struct gemm_kind *a, const struct gemm_kind *b);
int gemm_kind_add(struct gemm *g, const struct gemm_kind *kind);
/* Does the kind's algorithm serve its products at a full chunk? 0, or SLUICE_failed. */
int gemm_kind_check(struct gemm *g, const struct gemm_kind *kind);

#endif
