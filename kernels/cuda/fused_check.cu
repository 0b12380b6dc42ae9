/* A device's fused product is believed once it has been seen to agree with cuBLASLt's: a small
 * product with tails in every dimension, a few milliseconds, once in a context. It is about wrong
 * layouts, drivers and chips: everything it finds is far beyond rounding. */
#include <cuda_bf16.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/gemm.cuh"

#define ROWS    140                 /* 128 + 12 */
#define VOCAB   392                 /* 256 + 128 + 8: two tiles of classes, four of statistics */
#define HIDDEN  136                 /* 128 + 8 */
#define TILES   ((VOCAB + FUSED_COLUMNS - 1) / FUSED_COLUMNS)

/* Logits here are at most 30 and their float32 sums differ by about 1e-5. */
#define Z_TOLERANCE  1e-3
#define TOLERANCE    2e-4

enum array { X, WEIGHT, TARGETS, PLACE, Z, SHIFTED, LOGP, LSE, ENTROPY, FAULT, ARRAYS };

static const size_t array_bytes[ARRAYS] = {
    2 * ROWS * HIDDEN, 2 * VOCAB * HIDDEN, 4 * ROWS, 8 * ROWS, 4 * ROWS * VOCAB, 2 * ROWS * VOCAB,
    4 * ROWS, 4 * ROWS, 4 * ROWS, 8,
};

struct check {
    struct sluice_cuda context;     /* of its own: work space, faults, products */
    void *device[ARRAYS], *host[ARRAYS];
    float largest[ROWS * TILES];
};

/* Numbers of [-1, 1), exact in bfloat16. */
static void
fill(void *at, int64_t count, uint64_t seed)
{
    uint16_t *out = (uint16_t *)at;

    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = (seed + (uint64_t)i) * 0x9e3779b97f4a7c15ull;
        float value = (float)(int64_t)((bits ^ bits >> 31) % 256) / 128.0f - 1.0f;
        uint32_t word;

        memcpy(&word, &value, sizeof word);
        out[i] = (uint16_t)(word >> 16);
    }
}

static int
take(struct check *c)
{
    int rc = 0;

    for (int i = 0; i < ARRAYS && rc == 0; i++) {
        c->host[i] = calloc(1, array_bytes[i]);
        if (c->host[i] == NULL)
            return fail(SLUICE_memory, "out of memory");
        rc = fail_cuda(cudaMalloc(&c->device[i], array_bytes[i]), "taking memory");
    }
    c->context.fault = (unsigned long long *)c->device[FAULT];
    return rc;
}

static int
copy(struct check *c, int first, int last, enum cudaMemcpyKind kind)
{
    cudaStream_t stream = c->context.stream;
    cudaError_t rc = cudaSuccess;

    for (int i = first; i <= last && rc == cudaSuccess; i++)
        rc = kind == cudaMemcpyHostToDevice
                 ? cudaMemcpyAsync(c->device[i], c->host[i], array_bytes[i], kind, stream)
                 : cudaMemcpyAsync(c->host[i], c->device[i], array_bytes[i], kind, stream);
    if (rc == cudaSuccess)
        rc = cudaStreamSynchronize(stream);
    return fail_cuda(rc, "checking fused logits");
}

static void
inputs(struct check *c)
{
    int32_t *targets = (int32_t *)c->host[TARGETS];
    int64_t *place = (int64_t *)c->host[PLACE];

    fill(c->host[X], ROWS * HIDDEN, 1);
    fill(c->host[WEIGHT], VOCAB * HIDDEN, 1 << 20);
    for (int i = 0; i < ROWS; i++) {
        targets[i] = (int32_t)(((int64_t)i * 37 + 5) % VOCAB);
        place[i] = i;
    }
}

static int
both(struct check *c)
{
    void *const *d = c->device;
    struct sluice_head head = {HIDDEN, VOCAB, d[WEIGHT], HIDDEN, NULL};
    struct product product = {};
    struct row_logits z = {};
    struct row_arrays a = {};
    int rc;

    product.form = GEMM_nt;
    product.rows = ROWS;
    product.columns = product.out_stride = VOCAB;
    product.inner = product.left_stride = product.right_stride = HIDDEN;
    product.left = d[X];
    product.right = d[WEIGHT];
    product.out = d[Z];
    product.out_type = SLUICE_float32;
    z.at = d[SHIFTED];
    z.stride = VOCAB;
    a.targets = (const int32_t *)d[TARGETS];
    a.logp = (float *)d[LOGP];
    a.lse = (float *)d[LSE];
    a.entropy = (float *)d[ENTROPY];
    rc = fault_reset(&c->context);
    if (rc == 0)
        rc = gemm_run(&c->context, &product);
    if (rc == 0)
        rc = fused_logits(&c->context, &head, ROWS, (const int64_t *)d[PLACE], d[X], HIDDEN, &z,
                          &a);
    if (rc == 0)
        rc = fail_cuda(cudaMemcpyAsync(c->largest, z.tile_largest, sizeof c->largest,
                                       cudaMemcpyDeviceToHost, c->context.stream),
                       "checking fused logits");
    return rc == 0 ? copy(c, Z, ENTROPY, cudaMemcpyDeviceToHost) : rc;
}

static int
near(const char *what, int row, double ours, double theirs, double tolerance)
{
    if (fabs(ours - theirs) <= tolerance)
        return 0;
    return fail(SLUICE_failed, "fused logits are not used: %s of row %d of their check is %.9g, "
                "cuBLASLt's is %.9g", what, row, ours, theirs);
}

static float
wide(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;

    memcpy(&value, &word, sizeof value);
    return value;
}

static int
compare_row(const struct check *c, int row)
{
    const float *z = (const float *)c->host[Z] + row * VOCAB;
    const uint16_t *shifted = (const uint16_t *)c->host[SHIFTED] + row * VOCAB;
    int32_t target = ((const int32_t *)c->host[TARGETS])[row];
    double m = -INFINITY, s = 0.0, moment = 0.0;
    int rc = 0;

    for (int v = 0; v < VOCAB && rc == 0; v++) {
        float offset = wide(shifted[v]);

        m = fmax(m, (double)z[v]);
        rc = near("a logit", row, (double)offset + c->largest[row * TILES + v / FUSED_COLUMNS],
                  z[v], Z_TOLERANCE + fabs(offset) / 256.0);
    }
    for (int v = 0; v < VOCAB; v++) {
        s += exp(z[v] - m);
        moment += exp(z[v] - m) * (z[v] - m);
    }
    if (rc == 0)
        rc = near("log p", row, ((const float *)c->host[LOGP])[row], z[target] - m - log(s),
                  TOLERANCE);
    if (rc == 0)
        rc = near("lse", row, ((const float *)c->host[LSE])[row], m + log(s), TOLERANCE);
    if (rc == 0)
        rc = near("entropy", row, ((const float *)c->host[ENTROPY])[row], log(s) - moment / s,
                  TOLERANCE);
    return rc;
}

static void
release(struct check *c)
{
    cudaStreamSynchronize(c->context.stream);
    gemm_free(c->context.gemm);
    for (int i = 0; i < SCRATCH_count; i++)
        cudaFree(c->context.scratch[i]);
    for (int i = 0; i < ARRAYS; i++) {
        cudaFree(c->device[i]);
        free(c->host[i]);
    }
    free(c);
}

int
fused_check(struct sluice_cuda *s)
{
    struct check *c = (struct check *)calloc(1, sizeof *c);
    int rc;

    if (c == NULL)
        return fail(SLUICE_memory, "out of memory");
    c->context = *s;
    c->context.gemm = NULL;
    memset(c->context.scratch, 0, sizeof c->context.scratch);
    memset(c->context.scratch_bytes, 0, sizeof c->context.scratch_bytes);
    rc = take(c);
    if (rc == 0) {
        inputs(c);
        rc = copy(c, X, PLACE, cudaMemcpyHostToDevice);
    }
    if (rc == 0)
        rc = both(c);
    for (int row = 0; row < ROWS && rc == 0; row++)
        rc = compare_row(c, row);
    release(c);
    return rc;
}
