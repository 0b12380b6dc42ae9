/* The simulated device itself: what it must refuse, find and fail at (tests/simt/simt.h). On a real
 * device all of it is skipped. */
#include "tests/cuda/check.h"

#ifdef SLUICE_SIMT

#include "tests/cuda/simt_case.h"

#define SEEDS 16

/* ---- what is found ---- */

static int
seeds_that_reverse(void (*kernel)(float *))
{
    enum { COUNT = 96 };
    float *out = (float *)device_room(COUNT * sizeof *out), result[COUNT];
    int right = 0;

    for (int seed = 0; seed < SEEDS; seed++) {
        char text[16];
        int same = 1;

        snprintf(text, sizeof text, "%d", seed);
        setenv("SLUICE_SIMT_SEED", text, 1);
        run(1, COUNT, 0, COUNT * sizeof *out, kernel, out);
        host(result, out, sizeof result);
        for (int i = 0; i < COUNT; i++)
            same &= result[i] == (float)(COUNT - 1 - i);
        right += same;
    }
    unsetenv("SLUICE_SIMT_SEED");
    return right;
}

CHECK(a_missing_barrier_gives_wrong_results)
{
    MUST_EQUAL(seeds_that_reverse(reverse_kernel<1>), SEEDS);
#ifndef SIMT_RACE                   /* there the process ends: below */
    MUST_EQUAL(seeds_that_reverse(reverse_kernel<0>), 0);
#endif
}

static __global__ void
ordered_kernel(float *out)
{
    atomicExch((int *)out, (int)blockIdx.x);
}

CHECK(blocks_run_in_an_order_that_the_seed_decides)
{
    float *out = (float *)device_room(4);
    int last[SEEDS], different = 0;

    for (int seed = 0; seed < SEEDS; seed++) {
        char text[16];

        snprintf(text, sizeof text, "%d", seed);
        setenv("SLUICE_SIMT_SEED", text, 1);
        run(1000, 1, 0, 0, ordered_kernel, out);
        host(&last[seed], out, 4);
        different += last[seed] != last[0];
    }
    unsetenv("SLUICE_SIMT_SEED");
    MUST(different > SEEDS / 2);
}

static __global__ void
some_wait_kernel(float *)
{
    if (threadIdx.x < 40)
        __syncthreads();
}

static __global__ void
two_barriers_kernel(float *)
{
    if (threadIdx.x < 40)
        __syncthreads();
    else
        __syncthreads();
}

static __global__ void
wait_for_the_gone_kernel(float *)
{
    if (threadIdx.x == 3)
        return;
    __syncwarp();
}

static __global__ void
barrier_and_shuffle_kernel(float *out)
{
    if (threadIdx.x % WARP < 16)
        out[threadIdx.x] = warp_sum(1);
    else
        __syncthreads();
}

static __global__ void
masks_kernel(float *out)
{
    out[threadIdx.x] = __shfl_sync(threadIdx.x < 16 ? 0xffffu : FULL, 1.0f, 0);
}

static __global__ void
outside_kernel(float *out)
{
    if (threadIdx.x < 16)
        out[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 16);
}

static __global__ void
not_in_mask_kernel(float *out)
{
    out[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 0);
}

static __global__ void
spin_kernel(float *out)
{
    while (*(volatile float *)out != 3.0f)
        simt_yield();
}

static __global__ void
overrun_kernel(float *)
{
    ((volatile unsigned char *)shared_memory())[100 + threadIdx.x] = 1;
}

static __global__ void
leave_cluster_kernel(float *out)
{
    cg::cluster_group cluster = cg::this_cluster();
    float *part = (float *)shared_memory();

    if (threadIdx.x == 0)
        part[0] = 1;
    cluster.sync();
    if (cluster.block_rank() == 0 && threadIdx.x == 0)
        out[0] = *cluster.map_shared_rank(part, 1);
}

BODY(some_wait, 2, 64, 0, 0)
BODY(two_barriers, 1, 64, 0, 0)
BODY(wait_for_the_gone, 1, 32, 0, 0)
BODY(barrier_and_shuffle, 1, 64, 0, 0)
BODY(masks, 1, 32, 0, 0)
BODY(outside, 1, 32, 0, 0)
BODY(not_in_mask, 1, 32, 0, 0)
BODY(spin, 1, 64, 0, 0)
BODY(overrun, 1, 8, 0, 107)

CHECK(a_barrier_that_some_do_not_reach_ends_the_process)
{
    must_die(some_wait_body, "__syncthreads");
    must_die(some_wait_body, "kernel some_wait_kernel, block (");
    must_die(some_wait_body, "tests/cuda/test_simt.cu:");
    must_die(two_barriers_body, "other threads of the block are at that of");
}

CHECK(lanes_that_do_not_come_end_the_process)
{
    must_die(wait_for_the_gone_body, "exit");
    must_die(barrier_and_shuffle_body, "deadlock");
    must_die(masks_body, "mask");
    must_die(outside_body, "reads lane 16, which is not in the mask 0000ffff");
    must_die(not_in_mask_body, "mask without it");
}

CHECK(waiting_for_what_never_comes_ends_the_process)
{
    must_die(spin_body, "nothing happens but waiting in loops");
}

CHECK(a_write_beyond_shared_memory_ends_the_process)
{
#ifdef __SANITIZE_ADDRESS__
    must_die(overrun_body, "AddressSanitizer");
#else
    must_die(overrun_body, "byte 107 of 107 of shared memory was written");
#endif
}

static int
nans_of_what_is_left(void)
{
    float *out = (float *)device_room(4), result;
    int nans = 0;

    for (int seed = 0; seed < SEEDS; seed++) {
        char text[16];

        snprintf(text, sizeof text, "%d", seed);
        setenv("SLUICE_SIMT_SEED", text, 1);
        run(2, 1, 2, 4, leave_cluster_kernel, out);
        host(&result, out, 4);
        nans += isnan(result) != 0;
    }
    unsetenv("SLUICE_SIMT_SEED");
    return nans;
}

__attribute__((unused)) static void
left_body(void)
{
    nans_of_what_is_left();
}

CHECK(what_a_block_left_behind_is_not_a_number)
{
#ifdef SIMT_RACE
    must_die(left_body, "shared memory of a block that has exited");
#else
    MUST(nans_of_what_is_left() > 0);
#endif
}

static __global__ void
unwritten_kernel(float *out)
{
    out[threadIdx.x] = ((float *)shared_memory())[threadIdx.x];
}

CHECK(memory_begins_as_not_a_number)
{
    float *out = (float *)device_room(64), result[16];
    void *fresh;

    run(1, 16, 0, 64, unwritten_kernel, out);
    host(result, out, sizeof result);
    for (int i = 0; i < 16; i++)
        MUST(isnan(result[i]));
    MUST_OK(sluice_cuda_alloc(sluice(), 64, &fresh));
    host(result, fresh, sizeof result);
    sluice_cuda_free(sluice(), fresh);
    for (int i = 0; i < 16; i++)
        MUST(isnan(result[i]));
}

static void
copy_beyond_body(void)
{
    char bytes[64] = "";
    void *at = device_room(60);

    sluice_cuda_upload(sluice(), at, bytes, sizeof bytes);
}

static void
copy_to_the_host_body(void)
{
    char bytes[64] = "", more[64];

    sluice_cuda_upload(sluice(), more, bytes, sizeof bytes);
}

CHECK(copies_to_what_is_not_the_devices_end_the_process)
{
    must_die(copy_beyond_body, "64 bytes at the target are not within one allocation");
    must_die(copy_to_the_host_body, "not within one allocation");
}

__attribute__((unused)) static void
host_reads_body(void)
{
    const volatile float *at = (const float *)device_room(4096);

    for (int i = 0; i < 16; i++)    /* memory.cc: one of them closes it */
        sluice_cuda_wait(sluice());
    printf("%g", at[5]);
}

static __global__ void
beyond_kernel(float *out)
{
    out[1024 + threadIdx.x] = 1;
}

static __global__ void
just_beyond_kernel(float *out)
{
    out[threadIdx.x] = 1;
}

static __global__ void
deep_kernel(float *out)
{
    volatile float held[1 << 20];

    held[threadIdx.x] = 1;
    out[0] = held[(1 << 20) - 1 - threadIdx.x];
}

BODY(beyond, 1, 32, 0, 0)
BODY(deep, 1, 32, 0, 0)

static void
just_beyond_body(void)
{
    run(1, 7, 0, 0, just_beyond_kernel, (float *)device_room(6 * sizeof(float)));
    sluice_close();
}

CHECK(memory_that_is_not_the_kernels_or_the_hosts_ends_the_process)
{
#ifdef __SANITIZE_ADDRESS__
    must_die(beyond_body, "AddressSanitizer");
    must_die(just_beyond_body, "AddressSanitizer");
    must_die(deep_body, "AddressSanitizer");
#else
    must_die(host_reads_body, "the host touches memory of the device");
    must_die(host_reads_body, ": byte 20 of an allocation of 4096");
    must_die(beyond_body, "kernel beyond_kernel, block (0,0,0)");
    must_die(beyond_body, " of an allocation of 4096 bytes");
    must_die(just_beyond_body, "byte 24 of an allocation of 24 bytes");
    must_die(deep_body, "kernel deep_kernel");
#endif
}

/* ---- what warps do ---- */

static __global__ void
warp_kernel(float *out)
{
    int lane = (int)threadIdx.x, bad = 0;
    unsigned odd = 0xaaaaaaaau;

    bad |= __shfl_sync(FULL, lane, 5) != 5;
    bad |= __shfl_sync(FULL, lane, 5, 8) != lane / 8 * 8 + 5;
    bad |= __shfl_up_sync(FULL, lane, 3) != (lane < 3 ? lane : lane - 3);
    bad |= __shfl_up_sync(FULL, lane, 3, 16) != (lane % 16 < 3 ? lane : lane - 3);
    bad |= __shfl_down_sync(FULL, lane, 4) != (lane > 27 ? lane : lane + 4);
    bad |= __shfl_down_sync(FULL, (double)lane, 4, 8) != (lane % 8 > 3 ? lane : lane + 4);
    bad |= __shfl_xor_sync(FULL, (long long)lane, 17) != (lane ^ 17);
    bad |= __ballot_sync(FULL, lane % 3 == 0) != 0x49249249u;
    bad |= __any_sync(FULL, lane == 9) != 1 || __any_sync(FULL, 0) != 0;
    bad |= __all_sync(FULL, 1) != 1 || __all_sync(FULL, lane != 9) != 0;
    bad |= __reduce_add_sync(FULL, (unsigned)lane) != 496;
    bad |= __match_any_sync(FULL, lane % 2) != (lane % 2 ? odd : ~odd);
    if (lane % 2 == 1)              /* two halves at once */
        bad |= __ballot_sync(odd, lane > 15) != 0xaaaa0000u;
    else
        bad |= __reduce_max_sync(~odd, (unsigned)lane) != 30;
    __syncwarp();
    bad |= __syncthreads_count(lane > 3) != 28 || !__syncthreads_or(lane == 0);
    bad |= __syncthreads_and(lane != 0);
    out[lane] = (float)bad;
}

CHECK(functions_of_a_warp_are_those_of_the_manual)
{
    float *out = (float *)device_room(128), result[32], zeros[32] = {};

    run(1, 32, 0, 0, warp_kernel, out);
    host(result, out, sizeof result);
    MUST_SAME(result, zeros, 32);
}

static __global__ void
exponential_kernel(float *out)
{
    float v = (float)(threadIdx.x + 1) / 64;

    out[threadIdx.x] = expf(v) - (float)exp((double)v);
    out[256 + threadIdx.x] = expf(0.0f) - 1 + logf(1.0f);
}

/* How many of 256 exponentials are not the C library's; all of them are beside it at most. */
static int
exponentials_beside(const char *ulps)
{
    float *out = (float *)device_room(2048), result[512];
    int beside = 0;

    setenv("SLUICE_SIMT_ULPS", ulps, 1);
    run(1, 256, 0, 0, exponential_kernel, out);
    unsetenv("SLUICE_SIMT_ULPS");
    host(result, out, sizeof result);
    for (int i = 0; i < 256; i++) {
        MUST_NEAR(result[i], 0, 3e-7 * exp((i + 1) / 64.0));
        MUST_EQUAL(result[256 + i] * 1e9, 0);
        beside += fabsf(result[i]) > 6e-8 * exp((i + 1) / 64.0);
    }
    return beside;
}

CHECK(functions_are_beside_the_c_librarys_on_demand)
{
    MUST(exponentials_beside("0") < 10);
    MUST(exponentials_beside("1") > 50);
}

static __global__ void
index_kernel(float *out)
{
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;

    out[block * 24 + thread] += 1;
}

CHECK(every_thread_of_a_grid_runs_once)
{
    enum { COUNT = 5 * 7 * 3 * 24 };
    float *out = (float *)device_room(COUNT * sizeof *out), result[COUNT];
    cudaLaunchConfig_t config = {};

    config.gridDim = dim3(5, 7, 3);
    config.blockDim = dim3(2, 3, 4);
    MUST_CUDA(cudaMemset(out, 0, sizeof result));
    MUST_CUDA(cudaLaunchKernelEx(&config, index_kernel, out));
    host(result, out, sizeof result);
    for (int i = 0; i < COUNT; i++)
        MUST_EQUAL(result[i], 1);
}

/* ---- faults on demand ---- */

/* The variable for one call, whatever comes of it. */
static int
with(const char *name, const char *value, int (*call)(void))
{
    int rc;

    setenv(name, value, 1);
    rc = call();
    unsetenv(name);
    return rc;
}

static int
open_another(void)
{
    struct sluice_cuda *s;
    int rc = sluice_cuda_open(0, NULL, &s);

    if (rc == 0)
        sluice_cuda_close(s);
    return rc;
}

static int
count_devices(void)
{
    int count = -1, rc = sluice_cuda_count(&count);

    return rc != 0 ? rc : -count;
}

static int
take_a_million(void)
{
    void *at;
    int rc = sluice_cuda_alloc(sluice(), 1000000, &at);

    sluice_cuda_free(sluice(), at);
    return rc;
}

CHECK(a_device_or_driver_that_is_too_old_is_named)
{
    MUST_FAIL(with("SLUICE_SIMT_COMPUTE", "75", open_another), SLUICE_old_device,
              "compute capability 7.5; 8.0 is the least");
    MUST_FAIL(with("SLUICE_SIMT_DRIVER", "old", open_another), SLUICE_old_driver, "driver");
    MUST_FAIL(with("SLUICE_SIMT_DRIVER", "old", count_devices), SLUICE_old_driver, "driver");
    MUST_EQUAL(with("SLUICE_SIMT_COMPUTE", "80", open_another), 0);
}

CHECK(devices_are_counted)
{
    MUST_EQUAL(with("SLUICE_SIMT_DEVICES", "0", count_devices), 0);
    MUST_EQUAL(with("SLUICE_SIMT_DEVICES", "3", count_devices), -3);
    MUST_FAIL(with("SLUICE_SIMT_DEVICES", "0", open_another), SLUICE_no_device, "device");
}

CHECK(memory_ends_where_it_was_said_to)
{
    sluice();
    MUST_FAIL(with("SLUICE_SIMT_MEMORY", "500000", take_a_million), SLUICE_memory,
              "1000000 bytes wanted");
    MUST_EQUAL(with("SLUICE_SIMT_MEMORY", "2000000", take_a_million), 0);
}

static int
launch_three_times(void)
{
    struct launch l = { 1, 1, 0, 0 };
    float *out = (float *)device_room(4);
    int fine = 0;

    for (int i = 0; i < 3; i++)
        fine += launch(sluice(), "a kernel", l, ordered_kernel, out) == 0;
    if (fine != 1)
        return -fine;
    return sluice_cuda_wait(sluice());
}

CHECK(a_lost_device_stays_lost)
{
    MUST_FAIL(with("SLUICE_SIMT_LOSE", "2", launch_three_times), SLUICE_lost,
              "the device failed: unspecified launch failure");
}

static int
launch_a_cluster(void)
{
    struct launch l = { 2, 32, 2, 4 };

    return launch(sluice(), "a cluster", l, leave_cluster_kernel, (float *)device_room(4));
}

CHECK(clusters_need_a_device_that_has_them)
{
    MUST_EQUAL(with("SLUICE_SIMT_COMPUTE", "90", launch_a_cluster), 0);
    MUST(with("SLUICE_SIMT_COMPUTE", "80", launch_a_cluster) != 0);
}

static int
shared_of(int64_t bytes)
{
    struct launch l = { 1, 1, 0, bytes };

    return launch(sluice(), "a kernel", l, ordered_kernel, (float *)device_room(4));
}

CHECK(shared_memory_has_the_bound_of_the_device)
{
    MUST_EQUAL(shared_of(227 << 10), 0);
    MUST_FAIL(shared_of((227 << 10) + 1), SLUICE_failed, "invalid argument");
}

#else

CHECK_HOST(the_simulated_device_finds_what_it_should)
{
    check_skip("not the simulated device");
}

#endif
