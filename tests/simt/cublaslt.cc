/* cuBLASLt's objects and checks; the sums are product.cc's. */
#include "cublasLt.h"

#include <stdlib.h>
#include <string.h>

#include "cuda_bf16.h"
#include "product.h"
#include "runtime.h"

#define MAGIC 0x736c7569ull         /* of an algorithm: memory that is none is refused */
#define WORKSPACE 4096              /* what every second algorithm asks for */
#define FEW 64                      /* rows for which another order is offered first */
#define ALGORITHMS 3

struct cublasLtContext { int device; };

/* What the opaque structs hold. */
struct layout { uint64_t rows, cols; int64_t ld; int32_t type, order; };
struct desc {
    int32_t     pointer_mode, trans_a, trans_b;
    uint32_t    epilogue;
    const void *bias;
    int32_t     bias_type;          /* -1: that of D */
};
struct preference { uint64_t workspace; uint32_t schemes, align[4]; };
struct algo {
    uint64_t magic;
    int32_t  order, parts;
    uint32_t scheme, align[4];      /* bytes: A, B, C, D */
    uint64_t workspace;
};
static_assert(sizeof(struct layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));
static_assert(sizeof(struct desc) <= sizeof(cublasLtMatmulDescOpaque_t));
static_assert(sizeof(struct preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t));
static_assert(sizeof(struct algo) <= sizeof(cublasLtMatmulAlgo_t));

static const struct { cublasStatus_t status; const char *name; } statuses[] = {
#define ROW(name) { name, #name }
    ROW(CUBLAS_STATUS_SUCCESS),
    ROW(CUBLAS_STATUS_NOT_INITIALIZED),
    ROW(CUBLAS_STATUS_ALLOC_FAILED),
    ROW(CUBLAS_STATUS_INVALID_VALUE),
    ROW(CUBLAS_STATUS_ARCH_MISMATCH),
    ROW(CUBLAS_STATUS_EXECUTION_FAILED),
    ROW(CUBLAS_STATUS_INTERNAL_ERROR),
    ROW(CUBLAS_STATUS_NOT_SUPPORTED),
#undef ROW
};

size_t
cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *
cublasLtGetStatusName(cublasStatus_t status)
{
    for (const auto &row : statuses)
        if (row.status == status)
            return row.name;
    return "CUBLAS_STATUS_UNKNOWN";
}

const char *
cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

/* ---- objects ---- */

template <typename T, typename Opaque>
static cublasStatus_t
make(Opaque **out, const T &filled)
{
    *out = (Opaque *)calloc(1, sizeof **out);
    if (*out == NULL)
        return CUBLAS_STATUS_ALLOC_FAILED;
    memcpy((void *)*out, &filled, sizeof filled);
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Opaque>
static T
open(const Opaque *opaque)
{
    T filled;

    memcpy((void *)&filled, (const void *)opaque, sizeof filled);
    return filled;
}

/* Attributes are of the exact size that the library documents. */
static cublasStatus_t
put(void *field, size_t size, const void *value, size_t bytes)
{
    if (value == NULL || bytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtCreate(cublasLtHandle_t *out)
{
    *out = (cublasLtHandle_t)calloc(1, sizeof **out);
    return *out != NULL ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t
cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                           uint64_t cols, int64_t ld)
{
    return make(out, layout{ rows, cols, ld, type, CUBLASLT_ORDER_COL });
}

cublasStatus_t
cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t opaque,
                                 cublasLtMatrixLayoutAttribute_t which, const void *value,
                                 size_t bytes)
{
    struct layout l = open<layout>(opaque);
    cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;

    switch (which) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:  status = put(&l.type, 4, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_ORDER: status = put(&l.order, 4, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_ROWS:  status = put(&l.rows, 8, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_COLS:  status = put(&l.cols, 8, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_LD:    status = put(&l.ld, 8, value, bytes); break;
    }
    memcpy((void *)opaque, &l, sizeof l);
    return status;
}

cublasStatus_t
cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                         cudaDataType_t scale)
{
    if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC) ||
        scale != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return make(out, desc{ CUBLASLT_POINTER_MODE_HOST, CUBLAS_OP_N, CUBLAS_OP_N,
                           CUBLASLT_EPILOGUE_DEFAULT, NULL, -1 });
}

cublasStatus_t
cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t opaque, cublasLtMatmulDescAttributes_t which,
                               const void *value, size_t bytes)
{
    struct desc d = open<desc>(opaque);
    cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;

    switch (which) {
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: status = put(&d.pointer_mode, 4, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_TRANSA:       status = put(&d.trans_a, 4, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_TRANSB:       status = put(&d.trans_b, 4, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:     status = put(&d.epilogue, 4, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: status = put(&d.bias, 8, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: status = put(&d.bias_type, 4, value, bytes); break;
    default: break;
    }
    memcpy((void *)opaque, &d, sizeof d);
    return status;
}

cublasStatus_t
cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    return make(out, preference{ 0, CUBLASLT_REDUCTION_SCHEME_MASK, { 256, 256, 256, 256 } });
}

cublasStatus_t
cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t opaque,
                                     cublasLtMatmulPreferenceAttributes_t which,
                                     const void *value, size_t bytes)
{
    struct preference p = open<preference>(opaque);
    cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;

    switch (which) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        status = put(&p.workspace, 8, value, bytes);
        break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        status = put(&p.schemes, 4, value, bytes);
        break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        status = put(&p.align[which - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], 4, value,
                     bytes);
        break;
    default:
        break;
    }
    memcpy((void *)opaque, &p, sizeof p);
    return status;
}

/* ---- a product's shape ---- */

struct shape {
    struct desc   desc;
    struct layout l[4];             /* A, B, C, D */
    uint64_t      m, n, k;
};

static size_t
type_bytes(int32_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

static int
layout_valid(const struct layout *l)
{
    uint64_t contiguous = l->order == CUBLASLT_ORDER_ROW ? l->cols : l->rows;

    return l->rows > 0 && l->cols > 0 && l->ld > 0 && (uint64_t)l->ld >= contiguous &&
           (l->type == CUDA_R_32F || l->type == CUDA_R_16BF) &&
           (l->order == CUBLASLT_ORDER_COL || l->order == CUBLASLT_ORDER_ROW);
}

static cublasStatus_t
shape_of(struct shape *s, cublasLtMatmulDesc_t desc_, cublasLtMatrixLayout_t a,
         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
{
    int trans_a, trans_b;
    int32_t out;

    if (desc_ == NULL || a == NULL || b == NULL || c == NULL || d == NULL)
        return CUBLAS_STATUS_INVALID_VALUE;
    *s = { open<desc>(desc_), { open<layout>(a), open<layout>(b), open<layout>(c),
                                open<layout>(d) }, 0, 0, 0 };
    for (const struct layout &l : s->l)
        if (!layout_valid(&l))
            return CUBLAS_STATUS_INVALID_VALUE;
    trans_a = s->desc.trans_a != CUBLAS_OP_N;
    trans_b = s->desc.trans_b != CUBLAS_OP_N;
    s->m = s->l[3].rows;
    s->n = s->l[3].cols;
    s->k = trans_a ? s->l[0].rows : s->l[0].cols;
    if ((trans_a ? s->l[0].cols : s->l[0].rows) != s->m ||
        (trans_b ? s->l[1].rows : s->l[1].cols) != s->n ||
        (trans_b ? s->l[1].cols : s->l[1].rows) != s->k ||
        s->l[2].rows != s->m || s->l[2].cols != s->n)
        return CUBLAS_STATUS_INVALID_VALUE;
    out = s->l[3].type;
    if (s->l[0].type != s->l[1].type || s->l[2].type != out ||
        (s->l[0].type == CUDA_R_32F && out != CUDA_R_32F) ||
        s->desc.pointer_mode != CUBLASLT_POINTER_MODE_HOST)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (s->desc.epilogue != CUBLASLT_EPILOGUE_DEFAULT &&
        (s->desc.epilogue != CUBLASLT_EPILOGUE_BIAS ||
         (s->desc.bias_type != -1 && s->desc.bias_type != out)))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

/* Bytes that every line of the matrix is aligned to, where its first byte is to `align`. */
static uint32_t
line_alignment(const struct layout *l, uint32_t align)
{
    uint64_t bits = (uint64_t)l->ld * type_bytes(l->type) | align;

    return (uint32_t)(bits & -bits);
}

/* ---- algorithms ---- */

static void
offer(const struct shape *s, const struct preference *p, enum product_order order,
      cublasLtMatmulHeuristicResult_t *out)
{
    struct algo a = { MAGIC, order, order == PRODUCT_split ? 2 : 1, 0, {}, 0 };

    if (order == PRODUCT_split)     /* the least that is allowed */
        a.scheme = p->schemes & -p->schemes;
    if (order != PRODUCT_chain)
        a.workspace = WORKSPACE;
    for (int i = 0; i < 4; i++)
        a.align[i] = line_alignment(&s->l[i], p->align[i]) >= 16
                     ? 16 : (uint32_t)type_bytes(s->l[i].type);
    memset((void *)out, 0, sizeof *out);
    memcpy((void *)&out->algo, &a, sizeof a);
    out->workspaceSize = a.workspace;
    out->state = CUBLAS_STATUS_SUCCESS;
    out->wavesCount = 1.0f;
}

cublasStatus_t
cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                               cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                               cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                               cublasLtMatmulPreference_t opaque, int room,
                               cublasLtMatmulHeuristicResult_t results[], int *count)
{
    enum product_order orders[ALGORITHMS] = { PRODUCT_split, PRODUCT_chain, PRODUCT_groups };
    struct preference p;
    struct shape s;
    cublasStatus_t status = shape_of(&s, desc, a, b, c, d);

    *count = 0;
    if (handle == NULL || opaque == NULL || room < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    p = open<preference>(opaque);
    if (s.n <= FEW) {
        orders[1] = PRODUCT_groups;
        orders[2] = PRODUCT_chain;
    }
    for (int i = 0; i < ALGORITHMS && *count < room; i++) {
        if (orders[i] == PRODUCT_split && (p.schemes == 0 || s.k < 2))
            continue;
        if (orders[i] != PRODUCT_chain && p.workspace < WORKSPACE)
            continue;
        offer(&s, &p, orders[i], &results[(*count)++]);
    }
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t
check(const struct shape *s, const struct algo *a)
{
    if (a->magic != MAGIC || a->order < PRODUCT_chain || a->order > PRODUCT_split)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (line_alignment(&s->l[i], 256) < a->align[i])
            return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                        cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                        cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                        const cublasLtMatmulAlgo_t *opaque,
                        cublasLtMatmulHeuristicResult_t *result)
{
    struct shape s;
    struct algo chosen;
    cublasStatus_t status = shape_of(&s, desc, a, b, c, d);

    if (handle == NULL || opaque == NULL || result == NULL)
        return CUBLAS_STATUS_INVALID_VALUE;
    chosen = open<algo>(opaque);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = check(&s, &chosen);
    memset((void *)result, 0, sizeof *result);
    result->algo = *opaque;
    result->workspaceSize = chosen.workspace;
    result->wavesCount = 1.0f;
    return result->state = status;
}

cublasStatus_t
cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *opaque,
                                     cublasLtMatmulAlgoConfigAttributes_t which, void *value,
                                     size_t bytes, size_t *written)
{
    struct algo a = open<algo>(opaque);
    uint32_t word;

    if (a.magic != MAGIC)
        return CUBLAS_STATUS_INVALID_VALUE;
    switch (which) {
    case CUBLASLT_ALGO_CONFIG_ID:               word = (uint32_t)a.order; break;
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:       word = (uint32_t)a.parts; break;
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME: word = a.scheme; break;
    default:                                    word = 0; break;
    }
    if (written != NULL)
        *written = sizeof word;
    if (bytes < sizeof word)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(value, &word, sizeof word);
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- the product ---- */

static int64_t
by_row(const struct layout *l)
{
    return l->order == CUBLASLT_ORDER_ROW ? l->ld : 1;
}

static int64_t
by_column(const struct layout *l)
{
    return l->order == CUBLASLT_ORDER_ROW ? 1 : l->ld;
}

static struct product_matrix
matrix(const struct layout *l, const void *at, int transposed)
{
    int64_t r = by_row(l), c = by_column(l);

    return { at, transposed ? c : r, transposed ? r : c, l->type == CUDA_R_32F };
}

/* From the first element to the last. */
static void
check_memory(const char *which, const void *at, const struct layout *l)
{
    uint64_t lines = l->order == CUBLASLT_ORDER_ROW ? l->rows : l->cols;
    uint64_t line = l->order == CUBLASLT_ORDER_ROW ? l->cols : l->rows;
    size_t bytes = ((lines - 1) * (uint64_t)l->ld + line) * type_bytes(l->type);

    if (!simt_on_device(at, bytes))
        simt_die(NULL, 0, "cublasLtMatmul: %zu bytes of %s are not within one allocation of the "
                 "device", bytes, which);
}

static void
store(const struct shape *s, const float *sums, float alpha, float beta, const void *C, void *D)
{
    const struct layout *c = &s->l[2], *d = &s->l[3];
    const int floats = d->type == CUDA_R_32F;

    for (uint64_t j = 0; j < s->n; j++) {
        for (uint64_t i = 0; i < s->m; i++) {
            int64_t from = (int64_t)i * by_row(c) + (int64_t)j * by_column(c);
            int64_t to = (int64_t)i * by_row(d) + (int64_t)j * by_column(d);
            float value = alpha * sums[j * s->m + i];

            if (beta != 0.0f)
                value += beta * (floats ? ((const float *)C)[from]
                                        : simt_bf16_to(((const uint16_t *)C)[from]));
            if (s->desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
                value += floats ? ((const float *)s->desc.bias)[i]
                                : simt_bf16_to(((const uint16_t *)s->desc.bias)[i]);
            if (floats)
                ((float *)D)[to] = value;
            else
                ((uint16_t *)D)[to] = simt_bf16_from(value);
        }
    }
}

cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
               const void *A, cublasLtMatrixLayout_t a, const void *B, cublasLtMatrixLayout_t b,
               const void *beta, const void *C, cublasLtMatrixLayout_t c, void *D,
               cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *opaque, void *workspace,
               size_t workspace_bytes, cudaStream_t)
{
    static const char *const names[] = { "A", "B", "C", "D" };
    const void *at[] = { A, B, C, D };
    struct shape s;
    struct algo chosen;
    struct product_matrix left, right;
    cublasStatus_t status = shape_of(&s, desc, a, b, c, d);
    float *sums;
    int rc;

    if (handle == NULL || opaque == NULL)       /* without an algorithm bits would not be pinned */
        return CUBLAS_STATUS_INVALID_VALUE;
    chosen = open<algo>(opaque);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = check(&s, &chosen);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (workspace_bytes < chosen.workspace ||
        (chosen.workspace > 0 && !simt_on_device(workspace, workspace_bytes)))
        return CUBLAS_STATUS_INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (((uintptr_t)at[i] & (chosen.align[i] - 1)) != 0)
            return CUBLAS_STATUS_NOT_SUPPORTED;
    if (simt_launch_fault() != 0)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    for (int i = 0; i < 4; i++)
        if (i != 2 || *(const float *)beta != 0.0f)
            check_memory(names[i], at[i], &s.l[i]);
    simt_memory_open();
    sums = (float *)malloc(s.m * s.n * sizeof *sums);
    if (sums == NULL)
        return CUBLAS_STATUS_ALLOC_FAILED;
    left = matrix(&s.l[0], A, s.desc.trans_a != CUBLAS_OP_N);
    right = matrix(&s.l[1], B, s.desc.trans_b != CUBLAS_OP_N);
    rc = product((enum product_order)chosen.order, (int64_t)s.m, (int64_t)s.n, (int64_t)s.k, &left,
                 &right, sums);
    if (rc == 0)
        store(&s, sums, *(const float *)alpha, *(const float *)beta, C, D);
    free(sums);
    return rc == 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

/* SLUICE_SIMT_CUBLASLT=none: there is none. */
void *
simt_cublaslt(const char *name)
{
    static const struct { const char *name; void *function; } functions[] = {
#define ROW(name) { #name, (void *)name }
        ROW(cublasLtGetVersion),
        ROW(cublasLtGetStatusName),
        ROW(cublasLtGetStatusString),
        ROW(cublasLtCreate),
        ROW(cublasLtDestroy),
        ROW(cublasLtMatrixLayoutCreate),
        ROW(cublasLtMatrixLayoutDestroy),
        ROW(cublasLtMatrixLayoutSetAttribute),
        ROW(cublasLtMatmulDescCreate),
        ROW(cublasLtMatmulDescDestroy),
        ROW(cublasLtMatmulDescSetAttribute),
        ROW(cublasLtMatmulPreferenceCreate),
        ROW(cublasLtMatmulPreferenceDestroy),
        ROW(cublasLtMatmulPreferenceSetAttribute),
        ROW(cublasLtMatmulAlgoGetHeuristic),
        ROW(cublasLtMatmulAlgoCheck),
        ROW(cublasLtMatmulAlgoConfigGetAttribute),
        ROW(cublasLtMatmul),
#undef ROW
    };
    const char *which = getenv("SLUICE_SIMT_CUBLASLT");

    if (which != NULL && strcmp(which, "none") == 0)
        return NULL;
    for (const auto &row : functions)
        if (strcmp(row.name, name) == 0)
            return row.function;
    return NULL;
}
