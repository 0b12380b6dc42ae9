/* The context, and what every kernel stands on: clusters, shared memory, shuffles. */
#include "tests/cuda/check.h"

#include <cooperative_groups.h>

namespace cg = cooperative_groups;

/* ---- the public functions ---- */

CHECK_HOST(the_library_is_of_this_header)
{
    MUST_EQUAL(sluice_cuda_abi(), SLUICE_CUDA_ABI);
}

CHECK(a_device_is_described)
{
    struct sluice_device d;
    int count;

    MUST_OK(sluice_cuda_count(&count));
    MUST(count >= 1);
    MUST_OK(sluice_cuda_describe(0, &d));
    MUST(d.name[0] != '\0');
    MUST(d.major >= 8 && d.multiprocessors > 0);
    MUST(d.memory > 0 && d.memory_free > 0 && d.memory_free <= d.memory);
    MUST(d.runtime >= 12000 && d.driver >= d.runtime / 1000 * 1000);
}

CHECK(bytes_come_back_as_they_went)
{
    enum { COUNT = 100003 };
    unsigned char *a = (unsigned char *)check_room(COUNT), *b = (unsigned char *)check_room(COUNT);
    uint64_t seed = 1;
    void *at;

    for (int i = 0; i < COUNT; i++)
        a[i] = (unsigned char)check_bits(&seed);
    at = device(a, COUNT);
    MUST_EQUAL((uintptr_t)at % 256, 0);
    host(b, at, COUNT);
    MUST_SAME(b, a, COUNT);
    MUST_OK(sluice_cuda_zero(sluice(), (unsigned char *)at + 5, 1000));
    memset(a + 5, 0, 1000);
    host(b, at, COUNT);
    MUST_SAME(b, a, COUNT);
    free(a);
    free(b);
}

CHECK(a_stream_of_the_caller_is_used_and_left_alone)
{
    struct sluice_cuda *s = NULL;
    cudaStream_t stream;
    int32_t word = 7, back = 0;
    void *at;

    MUST_CUDA(cudaStreamCreate(&stream));
    MUST_OK(sluice_cuda_open(0, (void *)stream, &s));
    MUST_OK(sluice_cuda_alloc(s, sizeof word, &at));
    MUST_OK(sluice_cuda_upload(s, at, &word, sizeof word));
    MUST_OK(sluice_cuda_download(s, &back, at, sizeof back));
    MUST_EQUAL(back, 7);
    sluice_cuda_free(s, at);
    sluice_cuda_close(s);
    MUST_CUDA(cudaStreamSynchronize(stream));
    MUST_CUDA(cudaStreamDestroy(stream));
}

CHECK(a_device_that_is_not_there_is_named)
{
    struct sluice_cuda *s;

    MUST_FAIL(sluice_cuda_open(9999, NULL, &s), SLUICE_no_device, "device");
    MUST(s == NULL);
    sluice_cuda_close(s);
    MUST_FAIL(sluice_cuda_open(0, NULL, NULL), SLUICE_argument, "out is NULL");
    MUST_FAIL(sluice_cuda_count(NULL), SLUICE_argument, "count is NULL");
    MUST_FAIL(sluice_cuda_describe(0, NULL), SLUICE_argument, "out is NULL");
}

CHECK(more_memory_than_there_is_says_how_much)
{
    void *at;

    MUST_FAIL(sluice_cuda_alloc(sluice(), (int64_t)1 << 45, &at), SLUICE_memory,
              "35184372088832 bytes wanted");
    MUST(at == NULL);
    MUST_OK(sluice_cuda_alloc(sluice(), 16, &at));      /* the device goes on */
    sluice_cuda_free(sluice(), at);
}

CHECK(sizes_below_zero_and_no_context_are_refused)
{
    char byte = 0;
    void *at;

    MUST_FAIL(sluice_cuda_alloc(sluice(), -1, &at), SLUICE_argument, "-1 bytes");
    MUST(at == NULL);
    at = device_room(1);
    MUST_FAIL(sluice_cuda_zero(sluice(), at, -1), SLUICE_argument, "-1 bytes");
    MUST_FAIL(sluice_cuda_upload(sluice(), at, &byte, -1), SLUICE_argument, "-1 bytes");
    MUST_FAIL(sluice_cuda_download(sluice(), &byte, at, INT64_MIN), SLUICE_argument, "bytes");
    MUST_FAIL(sluice_cuda_wait(NULL), SLUICE_argument, "the context is NULL");
    MUST_FAIL(sluice_cuda_zero(NULL, at, 1), SLUICE_argument, "the context is NULL");
}

/* ---- what every kernel stands on ---- */

static __global__ void
cluster_kernel(int64_t count, const float *in, float *out)
{
#if defined SLUICE_SIMT || !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 900
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank(), blocks = cluster.num_blocks();
    float *part = (float *)shared_memory(), total = 0, sum = 0;
    int64_t row = blockIdx.x / blocks;

    for (int64_t i = rank * blockDim.x + threadIdx.x; i < count; i += blocks * blockDim.x)
        sum += in[row * count + i];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        part[1 + threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        part[0] = 0;
        for (unsigned w = 0; w < blockDim.x / WARP; w++)
            part[0] += part[1 + w];
    }
    cluster.sync();
    for (unsigned r = 0; r < blocks; r++)
        total += *cluster.map_shared_rank(part, (int)r);
    cluster.sync();
    for (int64_t i = rank * blockDim.x + threadIdx.x; i < count; i += blocks * blockDim.x)
        out[row * count + i] = in[row * count + i] / total;
#endif                              /* else never launched: no clusters below 9.0 */
}

static void
normalised(int cluster, int threads)
{
    enum { ROWS = 5, COUNT = 3001 };
    float *in = (float *)check_room(ROWS * COUNT * sizeof *in);
    float *out = (float *)check_room(ROWS * COUNT * sizeof *out);
    double *wanted = (double *)check_room(ROWS * COUNT * sizeof *wanted);
    struct launch l = { ROWS * cluster, threads, cluster, (1 + threads / WARP) * 4 };
    uint64_t seed = 2;
    float *on_device, *result;

    for (int row = 0; row < ROWS; row++) {
        double sum = 0;

        for (int i = 0; i < COUNT; i++)
            sum += in[row * COUNT + i] = (float)check_uniform(&seed, 1, 2);
        for (int i = 0; i < COUNT; i++)
            wanted[row * COUNT + i] = in[row * COUNT + i] / sum;
    }
    on_device = (float *)device(in, ROWS * COUNT * sizeof *in);
    result = (float *)device_room(ROWS * COUNT * sizeof *in);
    MUST_OK(launch(sluice(), "a sum", l, cluster_kernel, (int64_t)COUNT, (const float *)on_device,
                   result));
    host(out, result, ROWS * COUNT * sizeof *in);
    MUST_CLOSE(out, wanted, ROWS * COUNT, 0, 1e-5);
    free(in);
    free(out);
    free(wanted);
}

CHECK(blocks_of_a_cluster_read_each_others_shared_memory)
{
    if (device_compute() < 90)
        check_skip("clusters need compute capability 9.0");
    normalised(2, 64);
    normalised(8, 256);
    normalised(16, 32);
}
