/* hopper: the instructions of compute capability 9.0a that fused.cu needs, one function each, and
 * nothing else: barriers in shared memory that count bytes, bulk copies of tensors, products of a
 * warpgroup. Section names are those of the PTX ISA, 8.0 and later. tests/simt has the same
 * functions on fibers, written from the same text.
 *
 * What was checked where, besides the PTX ISA itself:
 *   matrix descriptor (9.7.15.5.1.2.2) and the 128-byte swizzle, K-major (9.7.15.5.1.2.1.3:
 *   ((8,m),(T,2k)):((8T,SBO),(1,T)), leading offset not used): also Mojo's WGMMADescriptor and the
 *   issue KnowingNothing/MatmulTutorial 10 (stride offset 64 = 1024 / 16, mode 1 in bits 62-63);
 *   fragment of the accumulators (9.7.15.5.1.1.1, figure "fragment layout for accumulator matrix
 *   D"): also CUTLASS's CLayout_64xN, ((4,8,4),(2,2,N/8)):((128,1,16),(64,8,512)). */
#ifndef KERNELS_CUDA_HOPPER_CUH
#define KERNELS_CUDA_HOPPER_CUH

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

/* A barrier that does not come is a lost device, not a hang: no product takes as long as this. */
#define BARRIER_NS 20000000000ull
#define WARPGROUP  128              /* threads */
#define SWIZZLE    1024             /* bytes of a pattern, and what tiles must be aligned to */
#define SWIZZLE_ROW 128             /* bytes of a row of it */

/* Other targets than 9.0a compile, so that they link; the host never launches them there. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PTX(...) asm volatile(__VA_ARGS__)
#else
#define PTX(...) __trap()
#endif

static __device__ inline uint32_t
shared_address(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}

/* ---- barriers (9.7.13.15 mbarrier) ---- */

/* The first phase is over after so many arrivals and the bytes that they announced; then the next
 * begins. Phases have parities 0, 1, 0, ... */
static __device__ inline void
barrier_init(uint64_t *b, int arrivals)
{
    PTX("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(shared_address(b)), "r"(arrivals)
        : "memory");
}

static __device__ inline void
barrier_arrive(uint64_t *b)
{
    PTX("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(shared_address(b)) : "memory");
}

/* Arrives, and announces bytes that copies will bring (mbarrier.arrive, .expect_tx). */
static __device__ inline void
barrier_expect(uint64_t *b, int bytes)
{
    PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(shared_address(b)),
        "r"(bytes) : "memory");
}

/* Is the phase of that parity over? It may take a little time to say no (mbarrier.try_wait). */
static __device__ inline int
barrier_try(uint64_t *b, int parity)
{
    uint32_t over = 0;

    PTX("{\n\t.reg .pred over;\n\t"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n\t"
        "selp.u32 %0, 1, 0, over;\n\t}" : "=r"(over) : "r"(shared_address(b)), "r"(parity)
        : "memory");
    return (int)over;
}

static __device__ inline uint64_t
now_ns(void)
{
    uint64_t ns = 0;

    PTX("mov.u64 %0, %%globaltimer;" : "=l"(ns) :: "memory");
    return ns;
}

static __device__ inline void
barrier_wait(uint64_t *b, int parity)
{
    uint64_t begun;

    if (barrier_try(b, parity))
        return;
    begun = now_ns();
    while (!barrier_try(b, parity))
        if (now_ns() - begun > BARRIER_NS)
            __trap();
}

/* Barriers that were initialised are seen by the others, and by copies (9.7.13.4 membar, fence:
 * .mbarrier_init, .proxy.async). Before __syncthreads(). */
static __device__ inline void
fence_barriers(void)
{
    PTX("fence.mbarrier_init.release.cluster;" ::: "memory");
    PTX("fence.proxy.async;" ::: "memory");
}

/* ---- copies (9.7.9.27.1 cp.async.bulk.tensor, 5.5 tensors) ---- */

typedef CUtensorMap tensor_map;     /* a kernel takes it as const __grid_constant__ */

/* Map of a (rows, columns) matrix of bfloat16 whose rows are stride elements apart, read in boxes
 * of box_rows (at most 256) by 64 columns, 128 bytes, with the 128-byte swizzle; what lies outside
 * of the matrix is zeros. at: 16-byte aligned; stride a multiple of 8. A box is not larger than the
 * matrix: the driver takes it, but pytorch/helion 2555 saw such copies fail. Returns a CUresult. */
static inline int
tensor_map_make(tensor_map *map, const void *at, int64_t rows, int64_t columns, int64_t stride,
                int box_rows)
{
    typedef CUresult encode(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                            const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                            const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                            CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    cuuint64_t pitch[1] = {(cuuint64_t)stride * sizeof(__nv_bfloat16)};
    cuuint32_t box[2] = {SWIZZLE_ROW / sizeof(__nv_bfloat16), (cuuint32_t)box_rows};
    cuuint32_t step[2] = {1, 1};
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    void *entry = NULL;
    cudaError_t rc;

    if (columns < (int64_t)box[0] || rows < box_rows)
        return CUDA_ERROR_INVALID_VALUE;
    /* Asked of the runtime, so that nothing links with the driver's library. */
#if CUDART_VERSION >= 12050
    rc = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                          cudaEnableDefault, &found);
#else
    rc = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found);
#endif
    if (rc != cudaSuccess || found != cudaDriverEntryPointSuccess || entry == NULL)
        return CUDA_ERROR_NOT_FOUND;
    return ((encode *)entry)(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)at, size, pitch,
                             box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/* Copies the box that begins at (row, column) to `to`, SWIZZLE-aligned, and tells b of its bytes:
 * all of the box's, also those that lie outside of the matrix. */
static __device__ inline void
tensor_load(void *to, const tensor_map *map, uint64_t *b, int column, int row)
{
    PTX("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%2, %3}], [%4];" :: "r"(shared_address(to)), "l"(map), "r"(column), "r"(row),
        "r"(shared_address(b)) : "memory");
}

/* ---- products (9.7.15 wgmma) ---- */

/* Descriptor of rows of 128 bytes with the 128-byte swizzle, 8 rows after 8 rows, SWIZZLE bytes
 * apart (9.7.15.5.1.2.2). The columns from 16 k on: the descriptor + k * DESCRIPTOR_K. */
#define DESCRIPTOR_K (16 * sizeof(__nv_bfloat16) >> 4)

static __device__ inline uint64_t
wgmma_descriptor(const void *at)
{
    return (uint64_t)(shared_address(at) & 0x3ffff) >> 4 |  /* where it begins */
           (uint64_t)1 << 16 |                              /* leading offset: not used here */
           (uint64_t)(SWIZZLE >> 4) << 32 |                 /* stride offset */
           (uint64_t)1 << 62;                               /* 128-byte swizzle */
}

/* Before the first product, and after accumulators were touched (9.7.15.7.1). */
static __device__ inline void
wgmma_fence(void)
{
    PTX("wgmma.fence.sync.aligned;" ::: "memory");
}

/* The products since the last one become a group (9.7.15.7.2). */
static __device__ inline void
wgmma_commit(void)
{
    PTX("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All groups but the newest `pending` are done (9.7.15.7.3). */
template <int pending>
static __device__ inline void
wgmma_wait(void)
{
    PTX("wgmma.wait_group.sync.aligned %0;" :: "n"(pending) : "memory");
}

#define WGMMA_4(i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_16(i) WGMMA_4(i), WGMMA_4(i + 4), WGMMA_4(i + 8), WGMMA_4(i + 12)

/* d (64, 256) = [d +] a (64, 16) b (256, 16)^T, by a warpgroup; a and b are descriptors. Thread t
 * has of d, in d[4 j + i]: row 16 (t / 32) + (t % 32) / 4 + 8 (i / 2), column 8 j + 2 (t % 4) +
 * i % 2. Read it after wgmma_wait<0>() alone. (9.7.15.5.2 wgmma.mma_async) */
static __device__ __forceinline__ void
wgmma_m64n256k16(float (&d)[128], uint64_t a, uint64_t b, int add)
{
    PTX("{\n\t.reg .pred add;\n\tsetp.ne.b32 add, %130, 0;\n\t"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "
        "%111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, "
        "%125, %126, %127}, %128, %129, add, 1, 1, 0, 0;\n\t}"
        : WGMMA_16(0), WGMMA_16(16), WGMMA_16(32), WGMMA_16(48), WGMMA_16(64), WGMMA_16(80),
          WGMMA_16(96), WGMMA_16(112)
        : "l"(a), "l"(b), "r"(add));
}

/* ---- registers (9.7.20.5 setmaxnreg): every warp of a warpgroup ---- */

template <int registers>
static __device__ inline void
registers_fewer(void)
{
    PTX("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(registers));
}

template <int registers>
static __device__ inline void
registers_more(void)
{
    PTX("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(registers));
}

/* ---- matrices of 8 by 8 (9.7.14.5.16 stmatrix) ---- */

/* Stores four of them, of bfloat16, from a warp. Thread t has of each, in one word: row t / 4,
 * columns 2 (t % 4) and + 1; and gives in `row` where row t % 8 of matrix t / 8 goes, 16 bytes. */
static __device__ inline void
matrix_store(void *row, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    PTX("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
        :: "r"(shared_address(row)), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

/* ---- arithmetic ---- */

/* Two numbers as bfloat16, rounded to nearest, the first in the low half (9.7.9.21 cvt). */
static __device__ inline uint32_t
bfloat16_pair(float first, float second)
{
    uint32_t pair = 0;

    PTX("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

#endif
