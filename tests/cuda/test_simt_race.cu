/* What race.cc must find in kernels, and what it must leave alone. Elsewhere it is skipped. */
#include "tests/cuda/check.h"

#ifdef SIMT_RACE

#include "tests/cuda/simt_case.h"

#include <cuda_pipeline.h>

static __global__ void
every_block_writes_kernel(float *out)
{
    out[threadIdx.x] = 1;
}

static __global__ void
neighbours_kernel(float *out)
{
    out[threadIdx.x] = 1;
    out[threadIdx.x ^ 1] += 1;
}

template <int SYNC>
static __global__ void
lanes_kernel(float *out)
{
    unsigned odd = threadIdx.x % 2 ? 0xaaaaaaaau : 0x55555555u;

    out[threadIdx.x] = 1;
    __syncwarp(SYNC ? FULL : odd);  /* the other lanes' writes are not before what follows */
    out[32 + threadIdx.x] = out[threadIdx.x ^ 1];
}

template <int SYNC>
static __global__ void
cluster_reads_kernel(float *out)
{
    cg::cluster_group cluster = cg::this_cluster();
    float *part = (float *)shared_memory();

    part[0] = (float)cluster.block_rank();
    if (SYNC)
        cluster.sync();
    out[blockIdx.x] = *cluster.map_shared_rank(part, (int)cluster.block_rank() ^ 1);
    cluster.sync();
}

static __global__ void
halves_kernel(float *out)           /* two bytes beside each other: no race */
{
    ((unsigned short *)out)[blockIdx.x * 64 + threadIdx.x] = 1;
    atomicAdd((unsigned *)out + 1000, 1u);
}

/* Each lane fetches one word and waits for it; its neighbour reads it. */
template <int SYNC>
static __global__ void
fetched_kernel(float *out)
{
    float *held = (float *)shared_memory();

    __pipeline_memcpy_async(held + threadIdx.x, out + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    if (SYNC)
        __syncwarp();
    out[32 + threadIdx.x] = held[threadIdx.x ^ 1];
}

static __global__ void
host_kernel(float *const *out)
{
    out[0][0] = 1;
}

BODY(every_block_writes, 2, 32, 0, 0)
BODY(neighbours, 1, 32, 0, 0)

BODY_OF(no_barrier, reverse_kernel<0>, 1, 64, 0, 256)
BODY_OF(lanes, lanes_kernel<0>, 1, 32, 0, 0)
BODY_OF(fetched, fetched_kernel<0>, 1, 32, 0, 128)
BODY_OF(cluster_reads, cluster_reads_kernel<0>, 2, 1, 2, 4)

static void
host_body(void)
{
    struct launch l = { 1, 1, 0, 0 };
    float **list = (float **)check_room(sizeof *list);

    list[0] = (float *)device_room(4096);
    launch(sluice(), "a kernel", l, host_kernel, (float *const *)list);
}

CHECK(races_end_the_process)
{
    must_die(no_barrier_body, "race: ");
    must_die(no_barrier_body, "nothing orders them");
    must_die(every_block_writes_body, "race: writes (byte ");
    must_die(neighbours_body, "race: ");
    must_die(lanes_body, "race: ");
    must_die(fetched_body, "race: ");
    must_die(cluster_reads_body, "race: ");
    must_die(host_body, "reads 8 bytes at ");
}

CHECK(what_barriers_and_atomics_order_is_no_race)
{
    float *out = (float *)device_room(4096);

    run(1, 64, 0, 256, reverse_kernel<1>, out);
    run(1, 32, 0, 0, lanes_kernel<1>, out);
    run(1, 32, 0, 128, fetched_kernel<1>, out);
    run(2, 1, 2, 4, cluster_reads_kernel<1>, out);
    run(8, 64, 0, 0, halves_kernel, out);
    run(1, 32, 0, 0, every_block_writes_kernel, out);
    run(1, 32, 0, 0, every_block_writes_kernel, out);
}

#else

CHECK_HOST(races_of_kernels_are_found)
{
    check_skip("kernels are looked at in test_race_simt_race");
}

#endif
