/* optimizer: the norm of a gradient, AdamW, sums, and rounding to bfloat16. All of it is bound by
 * memory: 16-byte loads and stores, each thread with several on their way. Arrays may begin at any
 * float: where they do not share one place modulo 16 bytes, elements go one by one. */
#include "kernels/cuda/context.cuh"

#include <math.h>

#define THREADS     256
#define BLOCKS_MOST (1 << 20)       /* more elements than these take at once: another round */
#define QUAD        4               /* floats of 16 bytes */
#define COUNT_MOST  (INT64_C(1) << 48)      /* floats: no product of sizes overflows */

/* Blocks for so many threads' work. */
static int64_t
blocks_for(int64_t work)
{
    int64_t blocks = (work + THREADS - 1) / THREADS;

    return blocks < BLOCKS_MOST ? blocks : BLOCKS_MOST;
}

static __device__ inline int64_t
thread_index(void)
{
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

static __device__ inline int64_t
thread_count(void)
{
    return (int64_t)gridDim.x * THREADS;
}

static int64_t
past_sixteen(const void *at)        /* floats, or -1: not even at a float */
{
    uintptr_t bytes = (uintptr_t)at % 16;

    return bytes % sizeof(float) == 0 ? (int64_t)(bytes / sizeof(float)) : -1;
}

/* n elements as `front` single ones, then quads, then single ones to n. Where arrays do not agree
 * on the front, there are no quads. */
struct split {
    int64_t n, front, quads;
};

static struct split
split_of(int64_t n, int64_t past, int agree)
{
    struct split p = {n, past == 0 ? 0 : QUAD - past, 0};

    if (!agree || p.front > n)
        p.front = n;
    p.quads = (n - p.front) / QUAD;
    return p;
}

/* The work of a grid over a split: its quads, then its single elements. */
static __host__ __device__ inline int64_t
split_work(struct split p)
{
    return p.n - p.quads * (QUAD - 1);
}

/* Single element number i of a split, i from 0. */
static __device__ inline int64_t
split_single(struct split p, int64_t i)
{
    return i < p.front ? i : i + p.quads * QUAD;
}

static int
refuse_count(const char *call, int64_t n)
{
    if (n >= 0 && n <= COUNT_MOST)
        return 0;
    return fail(SLUICE_argument, "%s: n is %s", call, n < 0 ? "below 0" : "above 2^48");
}

static int
refuse_array(const char *call, const void *at, int64_t n)
{
    if (n > 0 && past_sixteen(at) < 0)
        return fail(SLUICE_argument, "%s: an array does not begin at a float", call);
    if (n > 0 && at == NULL)
        return fail(SLUICE_argument, "%s: an array is NULL", call);
    return 0;
}

/* ---- the norm ---- */

#define NORM_BLOCKS 1024            /* partial sums at most: fixed, so that the bits are */
#define NORM_AHEAD  4               /* quads a thread has on their way */

static int64_t
norm_blocks(int64_t n)
{
    int64_t blocks = ((n + QUAD - 1) / QUAD + THREADS - 1) / THREADS;

    return blocks < NORM_BLOCKS ? blocks : NORM_BLOCKS;
}

/* Elements 4 i to 4 i + 3 of x, zeros beyond n. */
static __device__ inline float4
quad_at(const float *x, int64_t n, int64_t i, int aligned)
{
    int64_t at = i * QUAD;

    if (aligned && at + QUAD <= n)
        return *(const float4 *)(x + at);
    return make_float4(at < n ? x[at] : 0.0f, at + 1 < n ? x[at + 1] : 0.0f,
                       at + 2 < n ? x[at + 2] : 0.0f, at + 3 < n ? x[at + 3] : 0.0f);
}

static __device__ inline double
quad_squares(float4 q)
{
    return ((double)q.x * (double)q.x + (double)q.y * (double)q.y) +
           ((double)q.z * (double)q.z + (double)q.w * (double)q.w);
}

/* The block's sum of its threads' values, in thread 0: a tree of fixed shape. */
static __device__ inline double
block_sum(double value)
{
    double *sums = (double *)shared_memory();

    sums[threadIdx.x] = value;
    for (int step = THREADS / 2; step > 0; step /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < step)
            sums[threadIdx.x] += sums[threadIdx.x + step];
    }
    return sums[0];
}

/* partial (gridDim.x): a thread takes every (gridDim.x THREADS)-th quad, in order. The first loop
 * is the second one with its loads on their way together. */
static __global__ void
norm_partial(const float *x, int64_t n, int aligned, double *partial)
{
    int64_t whole = aligned ? n / QUAD : 0, quads = (n + QUAD - 1) / QUAD;
    int64_t step = thread_count(), i = thread_index();
    double sum = 0;

#pragma unroll 1
    for (; i + (NORM_AHEAD - 1) * step < whole; i += NORM_AHEAD * step) {
        float4 q[NORM_AHEAD];

#pragma unroll
        for (int k = 0; k < NORM_AHEAD; k++)
            q[k] = *(const float4 *)(x + (i + k * step) * QUAD);
#pragma unroll
        for (int k = 0; k < NORM_AHEAD; k++)
            sum += quad_squares(q[k]);
    }
#pragma unroll 1
    for (; i < quads; i += step)
        sum += quad_squares(quad_at(x, n, i, aligned));
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void
norm_total(int64_t count, const double *partial, double *total)
{
    double sum = 0;

    for (int64_t i = threadIdx.x; i < count; i += THREADS)
        sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        *total = sum;
}

SLUICE_API int
sluice_norm(struct sluice_cuda *s, int64_t n, const float *grads, double *norm)
{
    int64_t blocks = 0, shared = THREADS * (int64_t)sizeof(double);
    struct launch first = {0, THREADS, 0, shared}, second = {1, THREADS, 0, shared};
    void *room = NULL;
    double *partial, total = 0;
    int rc;

    fail_clear();
    if (norm == NULL)
        return fail(SLUICE_argument, "sluice_norm: norm is NULL");
    *norm = 0;
    rc = refuse_count("sluice_norm", n);
    if (rc == 0)
        rc = refuse_array("sluice_norm", grads, n);
    if (rc != 0 || n == 0)
        return rc;
    first.blocks = blocks = norm_blocks(n);
    rc = context_enter(s);
    if (rc == 0)
        rc = scratch_take(s, SCRATCH_sums, (blocks + 1) * (int64_t)sizeof *partial, &room);
    if (rc != 0)
        return rc;
    partial = (double *)room;
    rc = launch(s, "norm", first, norm_partial, grads, n, past_sixteen(grads) == 0, partial + 1);
    if (rc == 0)
        rc = launch(s, "norm", second, norm_total, blocks, partial + 1, partial);
    if (rc == 0)
        rc = fail_cuda(cudaMemcpyAsync(&total, partial, sizeof total, cudaMemcpyDeviceToHost,
                                       s->stream), "norm");
    if (rc == 0)
        rc = fail_cuda(cudaStreamSynchronize(s->stream), "norm");
    *norm = sqrt(total);
    return rc;
}

/* ---- AdamW ---- */

/* Numbers of the update in float32, rounded on the host as kernels/adamw.c rounds them. */
struct rates {
    float beta1, beta2, rest1, rest2;   /* rest: 1 - beta */
    float keep, pace, root, eps, scale;
};

/* The same operations in the same order as the processor's, each rounded to float32: the bits are
 * the same. Division and root are the rounded ones (no fast math). */
static __device__ inline void
adamw_element(const struct rates &r, float g, float &p, float &m, float &v)
{
    float d = g * r.scale;
    float first = m * r.beta1 + d * r.rest1;
    float second = v * r.beta2 + d * d * r.rest2;

    m = first;
    v = second;
    p = p * r.keep - first * r.pace / (sqrtf(second) * r.root + r.eps);
}

static __global__ void
adamw_update(struct split part, struct rates r, float *params, const float *grads, float *m,
             float *v)
{
    int64_t work = split_work(part);

#pragma unroll 1
    for (int64_t i = thread_index(); i < work; i += thread_count()) {
        int64_t at = i < part.quads ? part.front + i * QUAD : split_single(part, i - part.quads);

        if (i < part.quads) {
            float4 g4 = *(const float4 *)(grads + at), p4 = *(float4 *)(params + at);
            float4 m4 = *(float4 *)(m + at), v4 = *(float4 *)(v + at);

            adamw_element(r, g4.x, p4.x, m4.x, v4.x);
            adamw_element(r, g4.y, p4.y, m4.y, v4.y);
            adamw_element(r, g4.z, p4.z, m4.z, v4.z);
            adamw_element(r, g4.w, p4.w, m4.w, v4.w);
            *(float4 *)(params + at) = p4;
            *(float4 *)(m + at) = m4;
            *(float4 *)(v + at) = v4;
        } else {
            adamw_element(r, grads[at], params[at], m[at], v[at]);
        }
    }
}

static struct rates
rates_of(const struct sluice_adamw *a)
{
    struct rates r;

    r.beta1 = (float)a->beta1;
    r.beta2 = (float)a->beta2;
    r.rest1 = 1.0f - r.beta1;
    r.rest2 = 1.0f - r.beta2;
    r.keep = (float)(1.0 - a->lr * a->weight_decay);
    r.pace = (float)(a->lr / (1.0 - pow(a->beta1, (double)a->step)));
    r.root = (float)(1.0 / sqrt(1.0 - pow(a->beta2, (double)a->step)));
    r.eps = (float)a->eps;
    r.scale = (float)a->scale;
    return r;
}

SLUICE_API int
sluice_adamw_update(struct sluice_cuda *s, const struct sluice_adamw *a, int64_t n, float *params,
                    const float *grads, float *m, float *v)
{
    const void *const arrays[] = {params, grads, m, v};
    int64_t past = past_sixteen(params);
    struct split part;
    int rc, agree = 1;

    fail_clear();
    rc = refuse_count("sluice_adamw_update", n);
    if (rc == 0 && (a == NULL || a->step < 1))
        rc = fail(SLUICE_argument, "sluice_adamw_update: step is below 1");
    for (int i = 0; i < 4 && rc == 0; i++) {
        rc = refuse_array("sluice_adamw_update", arrays[i], n);
        agree = agree && past_sixteen(arrays[i]) == past;
    }
    if (rc == 0)
        rc = context_enter(s);
    if (rc != 0)
        return rc;
    part = split_of(n, past, agree);
    return launch(s, "adamw", {blocks_for(split_work(part)), THREADS, 0, 0}, adamw_update, part,
                  rates_of(a), params, grads, m, v);
}

/* ---- sums ---- */

static __global__ void
add_to(struct split part, const float *from, float *to)
{
    int64_t work = split_work(part);

#pragma unroll 1
    for (int64_t i = thread_index(); i < work; i += thread_count()) {
        int64_t at = i < part.quads ? part.front + i * QUAD : split_single(part, i - part.quads);

        if (i < part.quads) {
            float4 x = *(const float4 *)(from + at), y = *(float4 *)(to + at);

            *(float4 *)(to + at) = make_float4(y.x + x.x, y.y + x.y, y.z + x.z, y.w + x.w);
        } else {
            to[at] += from[at];
        }
    }
}

SLUICE_API int
sluice_add(struct sluice_cuda *s, int64_t n, const float *from, float *to)
{
    struct split part;
    int rc;

    fail_clear();
    rc = refuse_count("sluice_add", n);
    if (rc == 0)
        rc = refuse_array("sluice_add", from, n);
    if (rc == 0)
        rc = refuse_array("sluice_add", to, n);
    if (rc == 0)
        rc = context_enter(s);
    if (rc != 0)
        return rc;
    part = split_of(n, past_sixteen(to), past_sixteen(from) == past_sixteen(to));
    return launch(s, "add", {blocks_for(split_work(part)), THREADS, 0, 0}, add_to, part, from, to);
}
