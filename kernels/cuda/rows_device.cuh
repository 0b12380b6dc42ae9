/* rows_device: the few instructions that the row kernels name themselves. tests/simt has the same
 * functions on fibers. Section names are those of the PTX ISA, 7.8 and later. */
#ifndef KERNELS_CUDA_ROWS_DEVICE_CUH
#define KERNELS_CUDA_ROWS_DEVICE_CUH

#include <cooperative_groups.h>

/* Compute capability 8 compiles, so that it links; clusters are never launched there. */
#if !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900
#define CLUSTERS(...) __VA_ARGS__
#else
#define CLUSTERS(...) __trap()
#endif

/* 2^y within 2^-22 of itself; results below 2^-126 are 0 (9.7.3.20 ex2). */
static __device__ inline float
power_of_two(float y)
{
    float result;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(y));
    return result;
}

/* The same number, kept in a register: left alone, the compiler works out in every step of a loop
 * what it could know before. */
static __device__ inline int
pinned(int value)
{
    asm volatile("" : "+r"(value));
    return value;
}

static __device__ inline int
cluster_rank(void)
{
    int rank = 0;

    CLUSTERS(rank = (int)cooperative_groups::this_cluster().block_rank());
    return rank;
}

/* What this thread, and before a barrier of its block any other of them, has read and written comes
 * before what others do behind the cluster's next barrier. One fence, by one thread: the barrier's
 * own would be one for each thread, and wait for all their writes of the row before (9.7.13.4:
 * arrive.relaxed behind a fence). */
static __device__ inline void
cluster_publish(void)
{
    CLUSTERS(asm volatile("fence.acq_rel.cluster;" ::: "memory"));
}

/* All threads of the cluster. Orders nothing before it: cluster_publish(). */
static __device__ inline void
cluster_meet(void)
{
    __syncwarp();
    CLUSTERS(asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"));
    CLUSTERS(asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"));
}

/* The same place in the shared memory of another block. */
static __device__ inline float4
cluster_read(float4 *own, int rank)
{
    float4 value = *own;

    CLUSTERS(value = *cooperative_groups::this_cluster().map_shared_rank(own, (unsigned)rank));
    return value;
}

#endif
