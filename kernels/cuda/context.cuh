/* context: what every file of this folder shares: the context, work space that grows and is
 * reused, launches, faults and the words of a failure.
 *
 * This folder is libsluice-cuda.so. Its files are CUDA C++ written as C: no classes, no exceptions,
 * no library but the CUDA runtime, cuBLASLt (by dlopen, gemm_library.cu) and C's. The same files are
 * compiled by g++ against tests/simt, a CUDA device made of fibers, so that every kernel's
 * arithmetic is tested where there is no device. For that, kernels keep to what it knows:
 *
 *      threadIdx, blockIdx, blockDim, gridDim, __syncthreads, __syncwarp, __shfl_xor_sync,
 *      __shfl_down_sync, __shfl_sync, __ballot_sync, __any_sync, atomicMin, atomicMax, atomicAdd
 *      of integers; cooperative_groups::this_cluster() (block_rank, num_blocks, sync,
 *      map_shared_rank); __nv_bfloat16 and its conversions; float4, uint4, uint2; __ldg, __ldcs,
 *      __stcs; expf, exp2f, expm1f, logf, log1pf, fmaf, fmaxf, sqrtf, __double2float_rn;
 *      __pipeline_memcpy_async, __pipeline_commit, __pipeline_wait_prior;
 *      dynamic shared memory alone, through shared_memory(); no static __shared__.
 *
 * Products are never contracted (-fmad=false): fmaf is written where it is meant, as in C. */
#ifndef KERNELS_CUDA_CONTEXT_CUH
#define KERNELS_CUDA_CONTEXT_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

/* Objectives are for both sides: objective_kind.h and what is built on it. In C, what an initialiser
 * does not name is zero and no warning. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define OBJECTIVE_FUNCTION static __host__ __device__ inline
#include "kernels/sluice_cuda.h"

/* What stands before the definition of a function of sluice_cuda.h; all else stays inside. */
#define SLUICE_API extern "C" __attribute__((visibility("default")))

#define WARP 32
#define LOG2E 1.4426950408889634f   /* log2 e */
#define FULL 0xffffffffu            /* every lane of a warp */

/* Work space of a context, each grown to the largest that was asked for. Whoever needs one for a
 * purpose of its own adds a row. */
enum scratch {
    SCRATCH_logits,                 /* a chunk's logits */
    SCRATCH_kept,                   /* every row's log p_v */
    SCRATCH_head,                   /* what else a call of the head works on (head.cuh) */
    SCRATCH_tiles,                  /* fused logits: statistics of tiles */
    SCRATCH_scan,                   /* rows that have a part: how many lie before */
    SCRATCH_objective,              /* samples, sums, terms */
    SCRATCH_entries,
    SCRATCH_named,
    SCRATCH_sums,                   /* partial sums of norms and of dbias */
    SCRATCH_gemm,                   /* cuBLASLt's own */
    SCRATCH_count,
};

/* The first row that went wrong, and how: the smallest of row << 4 | what. */
enum fault { FAULT_target, FAULT_logits, FAULT_coefficient, FAULT_gradient };
#define FAULT_none (~0ull)

#define MEMORY_UNIT 256             /* arrays within one piece of memory begin at multiples of it */

static inline int64_t
round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* The next array within one piece of memory, or where there is none yet (base NULL) how far it
 * would reach. */
static inline unsigned char *
memory_piece(unsigned char *base, int64_t *at, int64_t bytes)
{
    unsigned char *here = base == NULL ? NULL : base + *at;

    *at += round_up(bytes, MEMORY_UNIT);
    return here;
}

struct sluice_cuda {
    int          device, major, minor, multiprocessors;
    int64_t      shared_most;       /* bytes of shared memory a block may have */
    cudaStream_t stream;
    int          owns_stream;
    void        *scratch[SCRATCH_count];
    int64_t      scratch_bytes[SCRATCH_count];
    unsigned long long *fault;      /* on the device */
    struct gemm *gemm;              /* gemm.cuh; NULL until the first product */
    int          fused_state;       /* fused.cuh: 0 until asked, 1 it serves, -1 it does not */
    int          fused_failed;      /* 0, or the status of a check that may go well next time */
    char         fused_why[192];    /* and why not; "" */
};

/* ---- failures ---- */

int fail(enum sluice_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fail_row(enum sluice_status status, int64_t row, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 0, or the status of an error of the runtime with its words; `what` was being done. */
int fail_cuda(cudaError_t error, const char *what);
void fail_clear(void);              /* first thing of every public function */

/* A caller's enumeration may hold anything, which C++ would not have us read as one. */
static inline int
number_of(const void *enumeration)
{
    int number;

    memcpy(&number, enumeration, sizeof number);
    return number;
}

/* Makes the context's device the thread's. */
int context_enter(struct sluice_cuda *s);

/* *out: at least bytes of the named work space, 256-byte aligned; what it held is gone when it had
 * to grow. SLUICE_memory says what was wanted and what is free. */
int scratch_take(struct sluice_cuda *s, enum scratch which, int64_t bytes, void **out);
void scratch_free(struct sluice_cuda *s, enum scratch which);

int fault_reset(struct sluice_cuda *s);
/* Waits. *row: -1 where nothing went wrong. */
int fault_read(struct sluice_cuda *s, enum fault *what, int64_t *row);

static __device__ inline void
fault_tell(unsigned long long *fault, enum fault what, int64_t row)
{
    atomicMin(fault, (unsigned long long)row << 4 | (unsigned long long)what);
}

/* ---- launches ---- */

struct launch {
    int64_t blocks;                 /* grid.x, at most 2^31 - 1; 0: nothing is launched */
    int     threads;                /* of a block */
    int     cluster;                /* blocks of a cluster; 0 or 1: none; needs 9.0 */
    int64_t shared;                 /* bytes */
};

/* static: a file's own structs are part of its instances' names, and two files may use one name. */
template <typename... Parameters, typename... Arguments>
static inline int
launch(struct sluice_cuda *s, const char *name, struct launch l, void (*kernel)(Parameters...),
       Arguments... arguments)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute cluster = {};
    cudaError_t rc = cudaSuccess;

    if (l.blocks == 0)
        return 0;
    if (l.shared > 48 << 10)
        rc = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)l.shared);
    if (rc == cudaSuccess && l.cluster > 8)
        rc = cudaFuncSetAttribute((const void *)kernel,
                                  cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (rc != cudaSuccess)
        return fail_cuda(rc, name);
    config.gridDim = dim3((unsigned)l.blocks, 1, 1);
    config.blockDim = dim3((unsigned)l.threads, 1, 1);
    config.dynamicSmemBytes = (size_t)l.shared;
    config.stream = s->stream;
    if (l.cluster > 1) {
        cluster.id = cudaLaunchAttributeClusterDimension;
        cluster.val.clusterDim.x = (unsigned)l.cluster;
        cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
        config.attrs = &cluster;
        config.numAttrs = 1;
    }
    return fail_cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
}

/* ---- what kernels share ---- */

static __device__ inline unsigned char *
shared_memory(void)
{
#ifdef SLUICE_SIMT
    return simt_shared();           /* tests/simt: a block of fibers has its own */
#else
    extern __shared__ __align__(1024) unsigned char bytes[];
    return bytes;
#endif
}

static __device__ inline float
warp_sum(float value)               /* the same tree, and the same bits, in every lane */
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(FULL, value, step);
    return value;
}

static __device__ inline float
warp_largest(float value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(FULL, value, step));
    return value;
}

#endif
