/* simt: a CUDA device made of fibers, so that kernels/cuda is compiled, run and checked on any
 * x86-64 or other Linux machine. The same .cu files are compiled by g++ with -DSLUICE_SIMT
 * -Itests/simt and find cuda_runtime.h, cuda_bf16.h, cooperative_groups.h and cublasLt.h here.
 *
 * What it models. Every thread of a block is a fiber: it runs until it must wait (__syncthreads, a
 * function of a warp, cluster.sync, simt_yield), then another one runs. The next one is drawn by
 * chance, from SLUICE_SIMT_SEED (default 1): how often another warp gets its turn is drawn for each
 * launch, from "one warp as far as it can" to "any lane of any warp". So a missing barrier gives
 * other results under another seed, and soon a wrong one. Blocks of a cluster run together;
 * clusters (blocks, where there are none) run one after the other, in an order drawn for the
 * launch.
 *      Strict where a device is undefined or hangs. It ends the process with a line that names
 * kernel, block, thread, file and line where: a barrier is reached by some threads of a block and
 * not by others, or by two at different lines; a warp function names lanes that do not come, have
 * exited or do not exist, or that come with other masks or to other lines; a shuffle reads a lane
 * outside its mask; shared memory is written beyond its end; nothing can go on.
 *      Memory. What cudaMalloc gives and shared memory at a block's start are 0xff bytes (NaN);
 * shared memory of a block that exited before its cluster is made 0xff again. An allocation ends
 * before a page that faults, its addresses are never given again, and after a wait for the device
 * (the first 64, then every 16th) the host cannot touch it until the next call for the device: who
 * follows a pointer to the wrong side is named. Under -fsanitize=address it is malloc's, of exact
 * size, in its place.
 *      Races (make race: test_race_NAME, race.cc): each load and store of a kernel is compared with
 * earlier ones of its launch, those of other blocks too, and its address is looked at.
 *      Faults on demand, read at each call: SLUICE_SIMT_MEMORY=bytes of the device,
 * SLUICE_SIMT_LOSE=n (launch n, counted from when the variable was set, and everything after it
 * fails: the device is lost), SLUICE_SIMT_DEVICES=n, SLUICE_SIMT_COMPUTE=75|80|90|100,
 * SLUICE_SIMT_DRIVER=old. SLUICE_SIMT_HOST=1: memory that the device did not give is
 * taken for its own. SLUICE_SIMT_CUBLASLT=none: there is no cuBLASLt.
 *
 * What it does not model. Time and anything about speed: occupancy, bank conflicts, coalescing,
 * registers. A memory model weaker than the order in which fibers run: a missing __threadfence is
 * not found. Blocks of a grid never run at the same time. expf and its like are the C library's;
 * SLUICE_SIMT_ULPS=1 puts every second result in kernels a unit in the last place beside it, as a
 * device's may be: who promises bits fails then unless he has functions of his own. cuBLASLt's numerics are this folder's: float32
 * chains, in one of two orders that differ as two real algorithms would. wgmma, TMA and mbarriers
 * are those of tests/simt/kernels/cuda/hopper.cuh. One grid runs at a time in a process.
 *
 * Streams and events are immediate: a call has been done when it returns. */
#ifndef SIMT_H
#define SIMT_H

#include <stddef.h>
#include <stdint.h>

struct uint3 { unsigned x, y, z; };

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};

/* ---- a thread as kernels see it ---- */

struct simt_thread {
    uint3 index;                    /* threadIdx */
    uint3 block;                    /* blockIdx */
    unsigned char *shared;          /* of its block, 1024-byte aligned */
    int lane;
    unsigned rank;                  /* of its block in the cluster */
};

extern struct simt_thread *simt_self;       /* who runs now; NULL on the host */
extern dim3 simt_block_dim, simt_grid_dim;
extern unsigned simt_cluster_blocks;

/* Where a call was made: given by default arguments, so that inlining does not blur it. */
#define SIMT_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* A spinning wait calls it in its loop: somebody else runs. When everybody only yields, the launch
 * ends as a deadlock. */
void simt_yield(void);
/* Whoever changes what others spin on says so. */
void simt_progress(void);
/* Ends the process with a line about the running thread. */
[[noreturn]] void simt_die(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Barrier id 0 is __syncthreads. Others are bar.sync id, threads: any `threads` threads of the
 * block meet. The sum over the threads of `value`. */
#define SIMT_BARRIERS 16
unsigned simt_barrier(int id, unsigned threads, unsigned value, const char *file, int line);

void simt_cluster_arrive(const char *file, int line);
void simt_cluster_wait(const char *file, int line);
unsigned char *simt_cluster_shared(const void *at, unsigned rank, const char *file, int line);

enum simt_meeting {
    SIMT_sync, SIMT_index, SIMT_up, SIMT_down, SIMT_xor, SIMT_ballot, SIMT_any, SIMT_all,
    SIMT_match, SIMT_sum, SIMT_least, SIMT_largest, SIMT_or,
};
/* The lanes of mask meet; the answer for this one. */
uint64_t simt_meet(enum simt_meeting kind, unsigned mask, uint64_t value, int argument, int width,
                   const char *file, int line);
unsigned simt_active(void);         /* lanes of the warp that have not exited */

static inline unsigned char *
simt_shared(void)
{
    return simt_self->shared;
}

/* An access of the running thread that race.cc does not see itself: one made here on its behalf. */
void simt_touch(const void *at, unsigned bytes, int write);
void simt_atomic(int on);           /* the accesses between are an atomic's: race.cc */

/* ---- a launch ---- */

struct simt_launch {
    const void *kernel;             /* to name it */
    void      (*call)(void *body);  /* what each thread runs */
    void       *body;
    dim3        grid, block;
    unsigned    cluster;            /* blocks, along x; 1: none */
    size_t      shared;
};

void simt_run(const struct simt_launch *l);

/* cuBLASLt by name, in place of dlsym: gemm.cu's loader asks here under SLUICE_SIMT. */
void *simt_cublaslt(const char *name);

/* 0, or the error of the n-th launch (SLUICE_SIMT_LOSE). */
int simt_launch_fault(void);
/* Is [at, at + bytes) within one allocation of the device? */
int simt_on_device(const void *at, size_t bytes);

#endif
