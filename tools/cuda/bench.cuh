/* bench: what the parts of bench_gpu.cu share: one problem on the device, jobs that are timed in
 * turns by CUDA events, and how they are told.
 *
 * A job is measured next to what bounds it in the same run: the bytes it must move over the copy
 * bandwidth, or products of the same sizes. */
#ifndef TOOLS_CUDA_BENCH_CUH
#define TOOLS_CUDA_BENCH_CUH

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda/context.cuh"
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/objective.cuh"
#include "kernels/cuda/rows.cuh"

extern "C" {
#include "kernels/objective.h"
}

#define ROUNDS_MAX 51
#define JOBS_MAX   64

struct bench;
struct job;
typedef int job_function(struct bench *b, struct job *j);

struct job {
    const char     *name;
    job_function   *prepare;        /* before each run, not timed; NULL: nothing */
    job_function   *run;
    double          bytes;          /* moved at least; 0: bounded otherwise */
    double          flops;
    /* of the head's jobs */
    const char     *objective;      /* NULL: statistics alone */
    enum sluice_logits logits;
    int64_t         unit;           /* rows of a sample */
    int             keep, half;     /* half: every other row is masked */
    const char     *over;           /* the job whose time is the ratio's denominator; NULL: none */
    double          limit;          /* that was set for the ratio (BENCHMARKS.md); 0: none */
    /* of the kernels' jobs */
    enum row_form   form;
    enum gemm_form  product;
    int64_t         chunk;
    /* what came out */
    int             n, rc;
    float           ms[ROUNDS_MAX];
    int64_t         memory;         /* bytes taken beside X, W, dX, dW; -1: not looked at */
    struct sluice_plan plan;
    char            why[256];
};

struct bench {
    struct sluice_cuda *s;
    int64_t rows, hidden, vocab, chunk;
    int64_t chunk_rows;             /* asked for; 0: the library's choice */
    cudaEvent_t begin, end;
    double copy, product;           /* bytes and operations a second, measured; 0: not yet */
    double deadline;
    int    passed, failed, rounds;  /* rounds: at most */
    FILE  *json;
    const char *label;              /* of the jobs that are told */
    /* on the device */
    void    *x, *w, *dx, *logits;
    float   *dw, *old, *numbers[4];
    int32_t *targets, *half;
    int64_t *place;
    float   *row[6];                /* logp, lse, entropy, c, e, h */
    /* the same on the host */
    uint16_t *host_x, *host_w;
    int32_t  *host_targets, *host_half;
    float    *host_old;
    struct objective_view *view;
};

static double
seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Ends the program: without memory for the problem there is nothing to measure. */
static void
must(int rc, const char *what)
{
    if (rc == 0)
        return;
    printf("not ok - bench_gpu: %s: %s\n", what, sluice_cuda_error());
    exit(1);
}

static void *
device_bytes(struct bench *b, int64_t bytes)
{
    void *at = NULL;

    must(sluice_cuda_alloc(b->s, bytes, &at), "memory for the problem");
    return at;
}

static void *
host_bytes(int64_t bytes)
{
    void *at = malloc((size_t)bytes + 1);

    if (at == NULL)
        must(-1, "memory of the host");
    return at;
}

/* ---- random numbers: products of zeros are faster than those of data ---- */

static __device__ inline uint64_t
mixed(uint64_t x)                   /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* About normal: four uniform numbers, of spread 1. */
static __device__ inline float
random_number(uint64_t seed, int64_t i)
{
    uint64_t bits = mixed(seed * 0x2545f4914f6cdd1dull + (uint64_t)i);
    float sum = 0.0f;

    for (int k = 0; k < 4; k++)
        sum += (float)(bits >> 16 * k & 0xffff) * (1.0f / 65536.0f) - 0.5f;
    return sum * 1.7320508f;
}

static __global__ void
fill_numbers(uint64_t seed, float mean, float spread, int64_t n, int bfloat16, void *out)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;

    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        float value = fmaf(spread, random_number(seed, i), mean);

        if (bfloat16)
            ((__nv_bfloat16 *)out)[i] = __float2bfloat16(value);
        else
            ((float *)out)[i] = value;
    }
}

static int
fill(struct bench *b, uint64_t seed, double mean, double spread, int64_t n, int bfloat16, void *out)
{
    int64_t blocks = (n + 255) / 256;
    struct launch l = {.blocks = blocks < 4096 ? blocks : 4096, .threads = 256};

    return launch(b->s, "random numbers", l, fill_numbers, seed, (float)mean, (float)spread, n,
                  bfloat16, out);
}

static uint64_t
host_mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static float
of_bfloat16(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;

    memcpy(&value, &word, sizeof value);
    return value;
}

/* ---- timing ---- */

static void
run_job(struct bench *b, struct job *j, int counts)
{
    float ms = 0.0f;
    int rc = j->prepare == NULL ? 0 : j->prepare(b, j);

    if (rc == 0)
        rc = fail_cuda(cudaEventRecord(b->begin, b->s->stream), "timing");
    if (rc == 0)
        rc = j->run(b, j);
    if (rc == 0)
        rc = fail_cuda(cudaEventRecord(b->end, b->s->stream), "timing");
    if (rc == 0)
        rc = fail_cuda(cudaEventSynchronize(b->end), "timing");
    if (rc == 0)
        rc = fail_cuda(cudaEventElapsedTime(&ms, b->begin, b->end), "timing");
    j->rc = rc;
    if (rc != 0)
        snprintf(j->why, sizeof j->why, "%s", sluice_cuda_error());
    else if (counts && j->n < ROUNDS_MAX)
        j->ms[j->n++] = ms;
}

/* One after the other, again and again, so that a clock that changes changes for all. A job that
 * fails is left out from then on. At least three rounds, then until the time is up. */
static void
run_jobs(struct bench *b, struct job *jobs, int count, double until)
{
    for (int i = 0; i < count; i++)
        if (jobs[i].rc == 0)
            run_job(b, &jobs[i], 0);
    for (int r = 0; r < b->rounds && (r < 3 || seconds_now() < until); r++)
        for (int i = 0; i < count; i++)
            if (jobs[i].rc == 0)
                run_job(b, &jobs[i], 1);
}

static int
by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double
median(const struct job *j)
{
    float sorted[ROUNDS_MAX];

    memcpy(sorted, j->ms, sizeof sorted);
    qsort(sorted, (size_t)j->n, sizeof *sorted, by_size);
    return j->n == 0 ? NAN : 0.5 * (double)(sorted[j->n / 2] + sorted[(j->n - 1) / 2]);
}

static const struct job *
job_named(const struct job *jobs, int count, const char *name)
{
    for (int i = 0; i < count && name != NULL; i++)
        if (strcmp(jobs[i].name, name) == 0 && jobs[i].n > 0)
            return &jobs[i];
    return NULL;
}

/* What a job could not be faster than: its bytes at the speed of a copy, its operations at that of
 * the large product. */
static double
floor_ms(const struct bench *b, const struct job *j)
{
    double bytes = b->copy > 0 ? 1e3 * j->bytes / b->copy : 0.0;
    double flops = b->product > 0 ? 1e3 * j->flops / b->product : 0.0;

    return fmax(bytes, flops);
}

/* ---- telling ---- */

static void
tell_result(struct bench *b, int good, const char *what, const char *detail)
{
    printf("%s - %s: %s%s%s\n", good ? "ok" : "not ok", b->label, what, *detail ? ": " : "",
           detail);
    b->passed += good;
    b->failed += !good;
    fflush(stdout);
}

static void
tell_json(struct bench *b, const struct job *j, double over)
{
    double ms = median(j);

    if (b->json == NULL)
        return;
    fprintf(b->json, "{\"at\": \"%s\", \"what\": \"%s\", \"rc\": %d", b->label, j->name, j->rc);
    if (j->n > 0)
        fprintf(b->json, ", \"ms\": %.5f, \"least_ms\": %.5f, \"rounds\": %d, "
                "\"floor_ms\": %.5f", ms, (double)j->ms[0], j->n, floor_ms(b, j));
    if (j->n > 0 && over > 0)
        fprintf(b->json, ", \"over\": \"%s\", \"ratio\": %.4f, \"limit\": %.2f", j->over, ms / over,
                j->limit);
    if (j->memory >= 0)
        fprintf(b->json, ", \"memory\": %lld", (long long)j->memory);
    if (j->plan.chunk_rows > 0)
        fprintf(b->json, ", \"chunk_rows\": %lld, \"chunks\": %lld, \"passes\": %d, "
                "\"planned\": %lld", (long long)j->plan.chunk_rows, (long long)j->plan.chunks,
                j->plan.passes, (long long)j->plan.total_bytes);
    fprintf(b->json, "}\n");
    fflush(b->json);
}

static void
tell_jobs(struct bench *b, struct job *jobs, int count)
{
    printf("%-38s %10s %10s %7s %7s  %s\n", b->label, "ms", "floor ms", "of it", "ratio", "");
    for (int i = 0; i < count; i++) {
        struct job *j = &jobs[i];
        const struct job *other = job_named(jobs, count, j->over);
        double ms = median(j), over = other == NULL ? 0.0 : median(other), least = floor_ms(b, j);

        if (j->rc != 0)
            printf("%-38s %s\n", j->name, j->why);
        else if (j->n == 0)
            printf("%-38s no time left\n", j->name);
        else {
            qsort(j->ms, (size_t)j->n, sizeof *j->ms, by_size);
            printf("%-38s %10.3f %10.3f", j->name, ms, least);
            printf(" %7.3f", least / ms);
            if (over > 0)
                printf(" %7.3f  of %s", ms / over, j->over);
            if (over > 0 && j->limit > 0)
                printf(", limit %.2f%s", j->limit, ms / over <= j->limit ? "" : " MISSED");
            if (j->memory >= 0)
                printf("  %.0f MB", 1e-6 * (double)j->memory);
            putchar('\n');
        }
        tell_json(b, j, over);
    }
    fflush(stdout);
}

#endif
