/* simt_case: kernels on the simulated device, run to their end or to a death that is wanted; for
 * test_simt.cu and test_simt_race.cu. */
#ifndef TESTS_CUDA_SIMT_CASE_H
#define TESTS_CUDA_SIMT_CASE_H

#include "tests/cuda/check.h"

#include <cooperative_groups.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cg = cooperative_groups;

static void
run(int blocks, int threads, int cluster, int64_t shared, void (*kernel)(float *), float *out)
{
    struct launch l = { blocks, threads, cluster, shared };

    MUST_OK(launch(sluice(), "a kernel", l, kernel, out));
}

/* What `body` says on stderr before it aborts, in a process of its own. */
static void
must_die(void (*body)(void), const char *part)
{
    char text[4096];
    int ends[2], status = 0;
    size_t length = 0;
    ssize_t got;
    pid_t child;

    fflush(stdout);
    sluice();
    MUST(pipe(ends) == 0);
    child = fork();
    MUST(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        body();
        _exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    close(ends[0]);
    MUST(waitpid(child, &status, 0) == child);
    MUST(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
    MUST_TEXT(text, part);
}

/* NAME_body: KERNEL on 4096 bytes of the device. */
#define BODY_OF(NAME, KERNEL, BLOCKS, THREADS, CLUSTER, SHARED)                                 \
    static void NAME##_body(void)                                                               \
    {                                                                                           \
        run(BLOCKS, THREADS, CLUSTER, SHARED, KERNEL, (float *)device_room(4096));              \
    }
#define BODY(NAME, BLOCKS, THREADS, CLUSTER, SHARED)                                            \
    BODY_OF(NAME, NAME##_kernel, BLOCKS, THREADS, CLUSTER, SHARED)

template <int BARRIER>
static __global__ void
reverse_kernel(float *out)
{
    float *held = (float *)shared_memory();

    held[threadIdx.x] = (float)threadIdx.x;
    if (BARRIER)
        __syncthreads();
    out[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}

#endif
