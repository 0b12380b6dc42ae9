/* Products by cuBLASLt. It thinks in column-major matrices, so a row-major out = left right is
 * asked for as out^T = right^T left^T: its A is our right, its B our left, its columns our rows. */
#include "kernels/cuda/gemm.cuh"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/gemm_kind.cuh"

#define CANDIDATES 16               /* algorithms that the library is asked for */

int64_t
gemm_library_version(void)
{
    return gemm_library()->version;
}

int
gemm_of(struct sluice_cuda *s, struct gemm **out)
{
    const struct gemm_library *l = gemm_library();
    struct gemm *g = s->gemm;
    cublasStatus_t status;

    *out = g;
    if (g != NULL)
        return 0;
    if (l->version == 0)
        return fail(SLUICE_no_library, "%s", l->trouble);
    g = (struct gemm *)calloc(1, sizeof *g);
    if (g == NULL)
        return fail(SLUICE_memory, "out of memory");
    g->library = l;
    status = l->cublasLtCreate(&g->handle);
    if (status != CUBLAS_STATUS_SUCCESS) {
        free(g);
        return fail(SLUICE_failed, "cuBLASLt does not start: %s",
                    l->cublasLtGetStatusString(status));
    }
    *out = s->gemm = g;
    return 0;
}

void
gemm_free(struct gemm *g)
{
    if (g == NULL)
        return;
    g->library->cublasLtDestroy(g->handle);
    free(g->kinds);
    free(g);
}

/* ---- kinds ---- */

int
gemm_kind_same(const struct gemm_kind *a, const struct gemm_kind *b)
{
    return a->form == b->form && a->columns == b->columns && a->other == b->other
           && a->out_type == b->out_type && a->add == b->add && a->chunk == b->chunk
           && memcmp(a->alignment, b->alignment, sizeof a->alignment) == 0;
}

int
gemm_kind_add(struct gemm *g, const struct gemm_kind *kind)
{
    if (g->count == GEMM_KINDS_MAX)
        return fail(SLUICE_failed, "more than %d kinds of products in one context",
                    GEMM_KINDS_MAX);
    if (g->count == g->room) {
        int64_t room = g->room == 0 ? 16 : 2 * g->room;
        void *more = realloc(g->kinds, (size_t)room * sizeof *g->kinds);

        if (more == NULL)
            return fail(SLUICE_memory, "out of memory");
        g->kinds = (struct gemm_kind *)more;
        g->room = room;
    }
    g->kinds[g->count++] = *kind;
    return 0;
}

static int64_t
size_of(enum sluice_type type)
{
    return type == SLUICE_float32 ? 4 : 2;
}

/* The largest power of two, at most GEMM_ALIGNMENT, that every row's address is a multiple of. */
static int
alignment_of(const void *at, int64_t stride, enum sluice_type type)
{
    uint64_t bits = (uint64_t)(uintptr_t)at | (uint64_t)(stride * size_of(type)) | GEMM_ALIGNMENT;

    return (int)(bits & -bits);
}

static struct gemm_kind
kind_of(const struct product *p)
{
    struct gemm_kind k = {};

    k.form = p->form;
    k.columns = p->columns;
    k.other = p->form == GEMM_tn ? p->rows : p->inner;
    k.out_type = p->out_type;
    k.add = p->add || p->bias != NULL;
    k.alignment[GEMM_left] = alignment_of(p->left, p->left_stride, SLUICE_bfloat16);
    k.alignment[GEMM_right] = alignment_of(p->right, p->right_stride, SLUICE_bfloat16);
    k.alignment[GEMM_out] = alignment_of(p->out, p->out_stride, p->out_type);
    k.chunk = p->form == GEMM_nt || p->chunk == 0 ? GEMM_ROWS : p->chunk;
    return k;
}

/* ---- what the library is told ---- */

struct sizes {
    int64_t rows, columns, inner;
    int64_t stride[GEMM_matrices];
};

struct descriptors {
    cublasLtMatmulDesc_t   operation;
    cublasLtMatrixLayout_t matrix[GEMM_matrices];
};

/* The smallest stride of rows so wide that tells of just this alignment. */
static int64_t
stride_of(int64_t width, int alignment, enum sluice_type type)
{
    int64_t unit = alignment / size_of(type);
    int64_t stride = (width + unit - 1) / unit * unit;

    if (alignment < GEMM_ALIGNMENT && stride / unit % 2 == 0)
        stride += unit;
    return stride;
}

/* A product of the kind with so many rows of tokens. */
static struct sizes
sizes_of(const struct gemm_kind *k, int64_t tokens)
{
    struct sizes z = {.rows = k->form == GEMM_tn ? k->other : tokens, .columns = k->columns,
                      .inner = k->form == GEMM_tn ? tokens : k->other, .stride = {}};

    z.stride[GEMM_left] = stride_of(k->form == GEMM_tn ? z.rows : z.inner, k->alignment[GEMM_left],
                                    SLUICE_bfloat16);
    z.stride[GEMM_right] = stride_of(k->form == GEMM_nt ? z.inner : z.columns,
                                     k->alignment[GEMM_right], SLUICE_bfloat16);
    z.stride[GEMM_out] = stride_of(z.columns, k->alignment[GEMM_out], k->out_type);
    return z;
}

static void
forget(const struct gemm_library *l, struct descriptors *d)
{
    if (d->operation != NULL)
        l->cublasLtMatmulDescDestroy(d->operation);
    for (int i = 0; i < GEMM_matrices; i++)
        if (d->matrix[i] != NULL)
            l->cublasLtMatrixLayoutDestroy(d->matrix[i]);
    memset(d, 0, sizeof *d);
}

static cublasStatus_t
describe_operation(const struct gemm_library *l, enum gemm_form form, struct descriptors *d)
{
    cublasOperation_t a = form == GEMM_nt ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t b = form == GEMM_tn ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t status;

    status = l->cublasLtMatmulDescCreate(&d->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = l->cublasLtMatmulDescSetAttribute(d->operation, CUBLASLT_MATMUL_DESC_TRANSA, &a,
                                                   sizeof a);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = l->cublasLtMatmulDescSetAttribute(d->operation, CUBLASLT_MATMUL_DESC_TRANSB, &b,
                                                   sizeof b);
    return status;
}

static cublasStatus_t
describe_matrix(const struct gemm_library *l, int64_t rows, int64_t columns, int64_t stride,
                enum sluice_type type, cublasLtMatrixLayout_t *out)
{
    return l->cublasLtMatrixLayoutCreate(out, type == SLUICE_float32 ? CUDA_R_32F : CUDA_R_16BF,
                                         (uint64_t)columns, (uint64_t)rows, stride);
}

static cublasStatus_t
describe(const struct gemm_library *l, const struct gemm_kind *k, const struct sizes *z,
         struct descriptors *d)
{
    int left_tall = k->form == GEMM_tn, right_tall = k->form != GEMM_nt;
    cublasStatus_t status;

    memset(d, 0, sizeof *d);
    status = describe_operation(l, k->form, d);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = describe_matrix(l, left_tall ? z->inner : z->rows, left_tall ? z->rows : z->inner,
                                 z->stride[GEMM_left], SLUICE_bfloat16, &d->matrix[GEMM_left]);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = describe_matrix(l, right_tall ? z->inner : z->columns,
                                 right_tall ? z->columns : z->inner, z->stride[GEMM_right],
                                 SLUICE_bfloat16, &d->matrix[GEMM_right]);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = describe_matrix(l, z->rows, z->columns, z->stride[GEMM_out], k->out_type,
                                 &d->matrix[GEMM_out]);
    if (status != CUBLAS_STATUS_SUCCESS)
        forget(l, d);
    return status;
}

static int
refused(const struct gemm *g, const struct gemm_kind *k, cublasStatus_t status)
{
    char words[256];

    gemm_kind_words(k, words, sizeof words);
    return fail(SLUICE_failed, "cuBLASLt %lld refuses the product %s: %s",
                (long long)g->library->version, words,
                g->library->cublasLtGetStatusString(status));
}

/* ---- the choice ---- */

/* Where the library does not say, it is not: it was asked for such alone. */
static int
is_split(const struct gemm_library *l, const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t  parts = 1;
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t   written = 0;

    if (l->cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts,
                                                sizeof parts, &written) != CUBLAS_STATUS_SUCCESS)
        parts = 1;
    if (l->cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                &scheme, sizeof scheme, &written)
        != CUBLAS_STATUS_SUCCESS)
        scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    return (parts != 0 && parts != 1) || scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
}

static cublasStatus_t
check_rows(struct gemm *g, const struct gemm_kind *k, int64_t tokens)
{
    const struct gemm_library *l = g->library;
    cublasLtMatmulHeuristicResult_t result = {};
    struct sizes z = sizes_of(k, tokens);
    struct descriptors d;
    cublasStatus_t status = describe(l, k, &z, &d);

    if (status == CUBLAS_STATUS_SUCCESS)
        status = l->cublasLtMatmulAlgoCheck(g->handle, d.operation, d.matrix[GEMM_right],
                                            d.matrix[GEMM_left], d.matrix[GEMM_out],
                                            d.matrix[GEMM_out], &k->algorithm, &result);
    if (status == CUBLAS_STATUS_SUCCESS && result.workspaceSize > GEMM_WORKSPACE)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    forget(l, &d);
    return status;
}

int
gemm_kind_check(struct gemm *g, const struct gemm_kind *k)
{
    cublasStatus_t status = check_rows(g, k, k->chunk);

    if (status == CUBLAS_STATUS_SUCCESS && is_split(g->library, &k->algorithm))
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    return status == CUBLAS_STATUS_SUCCESS ? 0 : refused(g, k, status);
}

/* Does it serve few rows, too? */
static int
serves_few(struct gemm *g, const struct gemm_kind *k)
{
    static const int64_t tokens[] = {1, 2, 31, 128, 1000};

    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        if (check_rows(g, k, tokens[i]) != CUBLAS_STATUS_SUCCESS)
            return 0;
    return 1;
}

static cublasStatus_t
prefer(const struct gemm_library *l, const struct gemm_kind *k, cublasLtMatmulPreference_t wish)
{
    static const cublasLtMatmulPreferenceAttributes_t names[] = {
        CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };
    const uint32_t values[] = {
        CUBLASLT_REDUCTION_SCHEME_NONE, (uint32_t)k->alignment[GEMM_right],
        (uint32_t)k->alignment[GEMM_left], (uint32_t)k->alignment[GEMM_out],
        (uint32_t)k->alignment[GEMM_out],
    };
    uint64_t bytes = GEMM_WORKSPACE;
    cublasStatus_t status;

    status = l->cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                     &bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof names / sizeof *names && status == CUBLAS_STATUS_SUCCESS; i++)
        status = l->cublasLtMatmulPreferenceSetAttribute(wish, names[i], &values[i],
                                                         sizeof values[i]);
    return status;
}

/* The library's candidates for the kind, best first. */
static cublasStatus_t
ask(struct gemm *g, const struct gemm_kind *k, cublasLtMatmulHeuristicResult_t *results, int *count)
{
    const struct gemm_library *l = g->library;
    struct sizes z = sizes_of(k, k->chunk);
    cublasLtMatmulPreference_t wish = NULL;
    struct descriptors d;
    cublasStatus_t status = describe(l, k, &z, &d);

    *count = 0;
    if (status == CUBLAS_STATUS_SUCCESS)
        status = l->cublasLtMatmulPreferenceCreate(&wish);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = prefer(l, k, wish);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = l->cublasLtMatmulAlgoGetHeuristic(g->handle, d.operation, d.matrix[GEMM_right],
                                                   d.matrix[GEMM_left], d.matrix[GEMM_out],
                                                   d.matrix[GEMM_out], wish, CANDIDATES, results,
                                                   count);
    if (wish != NULL)
        l->cublasLtMatmulPreferenceDestroy(wish);
    forget(l, &d);
    return status;
}

/* The first that serves any number of rows; where none does, the first that serves a chunk: should
 * a product of fewer rows then come, the library refuses it. */
static int
choose(struct gemm *g, struct gemm_kind *k)
{
    cublasLtMatmulHeuristicResult_t results[CANDIDATES] = {};
    int count, chosen = -1, any = 0;
    cublasStatus_t status = ask(g, k, results, &count);

    for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < count && !any; i++) {
        k->algorithm = results[i].algo;
        if (results[i].state != CUBLAS_STATUS_SUCCESS || gemm_kind_check(g, k) != 0)
            continue;
        any = serves_few(g, k);
        if (any || chosen < 0)
            chosen = i;
    }
    if (status == CUBLAS_STATUS_SUCCESS && chosen < 0)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (status != CUBLAS_STATUS_SUCCESS)
        return refused(g, k, status);
    fail_clear();                   /* of those before it */
    k->algorithm = results[chosen].algo;
    return gemm_kind_add(g, k);
}

/* ---- the product ---- */

static __global__ void
fill_kernel(int64_t count, int64_t columns, const float *bias, float *out, int64_t stride)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count)
        out[i / columns * stride + i % columns] = bias[i % columns];
}

static int
fill_bias(struct sluice_cuda *s, const struct product *p)
{
    int64_t count = p->rows * p->columns;
    struct launch l = {.blocks = (count + 255) / 256, .threads = 256, .cluster = 0, .shared = 0};

    return launch(s, "writing the bias", l, fill_kernel, count, p->columns, p->bias,
                  (float *)p->out, p->out_stride);
}

static int
multiply(struct sluice_cuda *s, struct gemm *g, const struct gemm_kind *k, const struct product *p)
{
    struct sizes z = {p->rows, p->columns, p->inner,
                      {p->left_stride, p->right_stride, p->out_stride}};
    const struct gemm_library *l = g->library;
    const float one = 1.0f, old = k->add ? 1.0f : 0.0f;
    struct descriptors d;
    cublasStatus_t status;
    cudaError_t error;
    void *work;
    int rc = scratch_take(s, SCRATCH_gemm, GEMM_WORKSPACE, &work);

    if (rc != 0)
        return rc;
    status = describe(l, k, &z, &d);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = l->cublasLtMatmul(g->handle, d.operation, &one, p->right, d.matrix[GEMM_right],
                                   p->left, d.matrix[GEMM_left], &old, p->out, d.matrix[GEMM_out],
                                   p->out, d.matrix[GEMM_out], &k->algorithm, work, GEMM_WORKSPACE,
                                   s->stream);
    forget(l, &d);
    if (status == CUBLAS_STATUS_SUCCESS)
        return 0;
    error = cudaStreamSynchronize(s->stream);   /* the library has a runtime of its own: its errors
                                                 * are seen here only where the device is lost */
    return error != cudaSuccess ? fail_cuda(error, "a product") : refused(g, k, status);
}

int
gemm_run(struct sluice_cuda *s, const struct product *p)
{
    struct gemm_kind wanted = kind_of(p), *k = NULL;
    struct gemm *g;
    int rc;

    if (p->rows <= 0 || p->columns <= 0 || p->inner <= 0 || (p->bias != NULL
        && (p->add || p->out_type != SLUICE_float32)))
        return fail(SLUICE_failed, "a product of %lld x %lld x %lld that there is not",
                    (long long)p->rows, (long long)p->columns, (long long)p->inner);
    rc = gemm_of(s, &g);
    for (int64_t i = 0; rc == 0 && k == NULL && i < g->count; i++)
        if (gemm_kind_same(&g->kinds[i], &wanted))
            k = &g->kinds[i];
    if (rc == 0 && k == NULL) {
        rc = choose(g, &wanted);
        k = rc == 0 ? &g->kinds[g->count - 1] : NULL;
    }
    if (rc != 0)
        return rc;
    g->ran = 1;
    if (p->bias != NULL)
        rc = fill_bias(s, p);
    return rc == 0 ? multiply(s, g, k, p) : rc;
}
