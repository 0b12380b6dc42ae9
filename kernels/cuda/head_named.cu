/* Raw logits of named classes: a product of the rows and columns that are named alone. */
#include <stdlib.h>

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/head.cuh"

/* SCRATCH_named: */
struct named_space {
    int64_t *row, *back;            /* (count): rows of x; which of the caller's they are */
    int64_t *column;                /* (named) */
    void    *x, *weight;            /* (count, stride), (named, stride) bfloat16 */
    float   *bias;                  /* (named) */
    float   *product;               /* (count, product_stride) */
    float   *result;                /* (count, named) */
    int64_t  stride, product_stride;
};

static int64_t
lay_named(int64_t count, int64_t named, int64_t hidden, void *base, struct named_space *n)
{
    unsigned char *b = (unsigned char *)base;
    int64_t at = 0;

    n->stride = round_up(hidden, HEAD_HIDDEN_STEP);
    n->product_stride = round_up(named, 4);
    n->row = (int64_t *)memory_piece(b, &at, count * 8);
    n->back = (int64_t *)memory_piece(b, &at, count * 8);
    n->column = (int64_t *)memory_piece(b, &at, named * 8);
    n->x = memory_piece(b, &at, count * n->stride * 2);
    n->weight = memory_piece(b, &at, named * n->stride * 2);
    n->bias = (float *)memory_piece(b, &at, named * 4);
    n->product = (float *)memory_piece(b, &at, count * n->product_stride * 4);
    n->result = (float *)memory_piece(b, &at, count * named * 4);
    return at;
}

/* The rows that there are, and which of the caller's each is; columns as places of the weight. */
static int
name_rows(struct sluice_cuda *s, const struct sluice_head *head, const struct sluice_rows *rows,
          int64_t count, const int64_t *row, int64_t named, const int32_t *column,
          const struct named_space *n, int64_t *there)
{
    int64_t *list = (int64_t *)malloc((size_t)(2 * count + named + 1) * sizeof *list);
    int64_t *back = list + count, *columns = back + count;
    int rc = 0;

    if (list == NULL)
        return fail(SLUICE_memory, "out of memory");
    *there = 0;
    for (int64_t i = 0; i < count && rc == 0; i++) {
        if (row[i] >= rows->rows)
            rc = fail(SLUICE_argument, "named row %lld is %lld of %lld", (long long)i,
                      (long long)row[i], (long long)rows->rows);
        if (rc != 0 || row[i] < 0)
            continue;
        list[*there] = row[i];
        back[(*there)++] = i;
    }
    for (int64_t k = 0; k < named && rc == 0; k++) {
        columns[k] = column[k];
        if (column[k] < 0 || column[k] >= head->vocab)
            rc = fail(SLUICE_argument, "named column %lld is %d of %lld", (long long)k, column[k],
                      (long long)head->vocab);
    }
    if (rc == 0)
        rc = head_upload(s, n->row, list, *there * 8);
    if (rc == 0)
        rc = head_upload(s, n->back, back, *there * 8);
    if (rc == 0)
        rc = head_upload(s, n->column, columns, named * 8);
    cudaStreamSynchronize(s->stream);       /* the device may read the list itself until then */
    free(list);
    return rc;
}

static int
name_bias(struct sluice_cuda *s, const struct sluice_head *head, int64_t named,
          const int32_t *column, float *out)
{
    int rc = 0;

    for (int64_t k = 0; k < named && head->bias != NULL && rc == 0; k++)
        rc = fail_cuda(cudaMemcpyAsync(out + k, head->bias + column[k], 4, cudaMemcpyDeviceToDevice,
                                       s->stream), "copying the bias");
    return rc;
}

static int
name_product(struct sluice_cuda *s, const struct sluice_head *head, int64_t there, int64_t named,
             const struct named_space *n)
{
    struct product p = {};

    p.form = GEMM_nt;
    p.rows = there;
    p.columns = named;
    p.inner = head->hidden;
    p.left = n->x;
    p.left_stride = n->stride;
    p.right = n->weight;
    p.right_stride = n->stride;
    p.out = n->product;
    p.out_stride = n->product_stride;
    p.out_type = SLUICE_float32;
    p.bias = head->bias == NULL ? NULL : n->bias;
    return gemm_run(s, &p);
}

int
head_named_into(struct sluice_cuda *s, const struct sluice_head *head,
                const struct sluice_rows *rows, int64_t count, const int64_t *row, int64_t named,
                const int32_t *column, float *out, float **result)
{
    struct named_space n;
    int64_t there = 0;
    void *base;
    int rc = scratch_take(s, SCRATCH_named, lay_named(count, named, head->hidden, NULL, &n), &base);

    if (rc != 0)
        return rc;
    lay_named(count, named, head->hidden, base, &n);
    *result = out == NULL ? n.result : out;
    rc = name_rows(s, head, rows, count, row, named, column, &n, &there);
    if (rc == 0 && there > 0)
        rc = rows_gather(s, there, n.row, head->hidden, rows->x, rows->x_stride, n.x, n.stride);
    if (rc == 0 && there > 0)
        rc = rows_gather(s, named, n.column, head->hidden, head->weight, head->weight_stride,
                         n.weight, n.stride);
    if (rc == 0)
        rc = name_bias(s, head, named, column, n.bias);
    if (rc == 0 && there > 0)
        rc = name_product(s, head, there, named, &n);
    if (rc == 0)
        rc = rows_scatter(s, there, n.back, named, n.product, n.product_stride, count, *result,
                          named, SLUICE_float32);
    return rc;
}

SLUICE_API int
sluice_head_named(struct sluice_cuda *s, const struct sluice_head *head,
                  const struct sluice_rows *rows, int64_t count, const int64_t *row,
                  int64_t named, const int32_t *column, float *out)
{
    float *result;
    enum fault what;
    int rc;

    fail_clear();
    rc = head_check(head, rows, NULL);
    if (rc == 0 && (count < 0 || count > HEAD_ROWS_MOST || named < 0 || named > head->vocab))
        rc = fail(SLUICE_argument, "%lld rows of %lld named logits", (long long)count,
                  (long long)named);
    if (rc == 0 && count > 0 && named > INT64_MAX / 64 / (count + head->hidden))
        rc = fail(SLUICE_argument, "%lld rows of %lld named logits are more than there can be",
                  (long long)count, (long long)named);
    if (rc == 0 && count > 0 && named > 0 && (row == NULL || column == NULL || out == NULL))
        rc = fail(SLUICE_argument, "row and column are read, out is written: none of them is NULL");
    if (rc == 0)
        rc = head_check_floats("out", out);
    if (rc == 0)
        rc = context_enter(s);
    if (rc == 0)
        rc = fault_reset(s);
    if (rc != 0 || count == 0 || named == 0)
        return rc;
    rc = head_named_into(s, head, rows, count, row, named, column, out, &result);
    return head_done(s, rc, &what);
}
