/* A chunk of rows: its x, its logits, what is read from them, and the products of their slopes. */
#include <string.h>

#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/head.cuh"

int64_t
head_step(const struct head_call *call, int64_t count)
{
    int64_t chunks = (count + call->shape.capacity - 1) / call->shape.capacity, step;

    if (chunks == 0)
        return 1;
    step = (count + chunks - 1) / chunks;
    step = round_up(step, HEAD_CHUNK_STEP);
    return step < call->shape.capacity ? step : call->shape.capacity;
}

static int
is_aligned(const void *at, int64_t stride_bytes)
{
    return (((uintptr_t)at | (uintptr_t)stride_bytes) & (GEMM_ALIGNMENT - 1)) == 0;
}

/* Rows of x as products want them: the caller's own where none is missing, else gathered. Products
 * see the same alignment either way, and so are the same kind. */
static int
chunk_x(struct head_call *call, int64_t at, int64_t count, const void **x, int64_t *stride)
{
    const struct sluice_rows *r = call->rows;

    if (call->count == r->rows && is_aligned(r->x, 2 * r->x_stride)) {
        *x = (const unsigned char *)r->x + 2 * at * r->x_stride;
        *stride = r->x_stride;
        return 0;
    }
    *x = call->space.x;
    *stride = call->x_stride;
    if (call->x_place == call->place + at && call->x_count == count)
        return 0;                   /* it is there since the logits were made */
    call->x_place = call->place + at;
    call->x_count = count;
    return rows_gather(call->s, count, call->place + at, call->shape.hidden, r->x, r->x_stride,
                       call->space.x, call->x_stride);
}

static int
product_logits(struct head_call *call, int64_t count, const void *x, int64_t x_stride,
               struct row_logits *z)
{
    const struct sluice_head *head = call->head;
    struct product p = {};

    p.form = GEMM_nt;
    p.rows = count;
    p.columns = head->vocab;
    p.inner = head->hidden;
    p.left = x;
    p.left_stride = x_stride;
    p.right = head->weight;
    p.right_stride = head->weight_stride;
    p.out = z->at;
    p.out_stride = z->stride;
    p.out_type = z->form == ROW_float32 ? SLUICE_float32 : SLUICE_bfloat16;
    p.bias = head->bias;
    return gemm_run(call->s, &p);
}

int
head_logits(struct head_call *call, int64_t at, int64_t count, struct row_logits *z)
{
    const void *x;
    int64_t x_stride;
    int rc = chunk_x(call, at, count, &x, &x_stride);

    memset(z, 0, sizeof *z);
    z->at = call->logits;
    z->rows = count;
    z->vocab = call->shape.vocab;
    z->stride = call->logits_stride;
    if (rc != 0)
        return rc;
    if (call->shape.form == SLUICE_logits_fused)
        return fused_logits(call->s, call->head, count, call->place + at, x, x_stride, z, &call->a);
    z->form = call->shape.form == SLUICE_logits_float32 ? ROW_float32 : ROW_bfloat16;
    rc = product_logits(call, count, x, x_stride, z);
    if (rc != 0 || z->form == ROW_float32)
        return rc;
    z->chosen = call->space.chosen;
    return rows_chosen(call->s, count, call->place + at, x, x_stride, call->head,
                       call->a.targets, call->space.chosen);
}

int
head_read(struct head_call *call, int64_t at, int64_t count, struct row_logits *z)
{
    int rc = head_logits(call, at, count, z);

    if (rc != 0 || z->form == ROW_shifted)      /* fused: they are there already */
        return rc;
    return rows_statistics(call->s, z, call->place + at, &call->a);
}

/* ---- back ---- */

int
head_wants_slopes(const struct head_call *call)
{
    const struct sluice_slopes *g = call->slopes;

    return g != NULL && (g->dx != NULL || g->dweight != NULL || g->dbias != NULL);
}

/* dX: straight into the caller's where no row is missing, else by way of a chunk of our own. */
static int
back_x(struct head_call *call, int64_t at, int64_t count, const void *slopes, int64_t stride)
{
    const struct sluice_slopes *g = call->slopes;
    int direct = !call->dx_zeroed && call->count == call->rows->rows
                 && g->dx_type == SLUICE_float32 && is_aligned(g->dx, 4 * g->dx_stride);
    struct product p = {};
    int rc;

    p.form = GEMM_nn;
    p.rows = count;
    p.columns = call->shape.hidden;
    p.inner = call->shape.vocab;
    p.left = slopes;
    p.left_stride = stride;
    p.right = call->head->weight;
    p.right_stride = call->head->weight_stride;
    p.out = direct ? (float *)g->dx + at * g->dx_stride : call->space.dx;
    p.out_stride = direct ? g->dx_stride : call->dx_stride;
    p.out_type = SLUICE_float32;
    p.chunk = call->shape.capacity;
    rc = gemm_run(call->s, &p);
    if (rc != 0 || direct)
        return rc;
    rc = rows_scatter(call->s, count, call->place + at, call->shape.hidden, call->space.dx,
                      call->dx_stride, call->dx_zeroed ? 0 : call->rows->rows, g->dx, g->dx_stride,
                      g->dx_type);
    call->dx_zeroed = 1;
    return rc;
}

static int
back_weight(struct head_call *call, int64_t count, const void *slopes, int64_t stride,
            const void *x, int64_t x_stride)
{
    struct product p = {};

    p.form = GEMM_tn;
    p.rows = call->shape.vocab;
    p.columns = call->shape.hidden;
    p.inner = count;
    p.left = slopes;
    p.left_stride = stride;
    p.right = x;
    p.right_stride = x_stride;
    p.out = call->slopes->dweight;
    p.out_stride = call->slopes->dweight_stride;
    p.out_type = SLUICE_float32;
    p.add = 1;
    p.chunk = call->shape.capacity;
    return gemm_run(call->s, &p);
}

int
head_back(struct head_call *call, int64_t at, int64_t count, const struct row_logits *z)
{
    int64_t stride = z->form == ROW_float32 ? 2 * z->stride : z->stride, x_stride;
    const struct sluice_slopes *g = call->slopes;
    const void *x;
    int rc = 0;

    if (g->dx != NULL)
        rc = back_x(call, at, count, z->at, stride);
    if (rc == 0 && g->dweight != NULL)
        rc = chunk_x(call, at, count, &x, &x_stride);
    if (rc == 0 && g->dweight != NULL)
        rc = back_weight(call, count, z->at, stride, x, x_stride);
    if (rc == 0 && g->dbias != NULL)
        rc = rows_bias(call->s, count, z->vocab, z->at, stride, g->dbias);
    return rc;
}

static __global__ void
target_kernel(int64_t count, const int64_t *place, const int32_t *targets, const float *z,
              int64_t stride, const float *chosen, const float *lse, float *logp)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < count) {
        float z_y = chosen == NULL ? z[i * stride + targets[place[i]]] : chosen[i];

        logp[place[i]] = fminf(z_y - lse[place[i]], 0.0f);
    }
}

/* log p(y) again from lse, for a caller who gives no log p. */
static int
know_targets(struct head_call *call, int64_t at, const struct row_logits *z)
{
    struct launch l = {.blocks = (z->rows + 255) / 256, .threads = 256, .cluster = 0, .shared = 0};

    if (!call->logp_unknown || z->form == ROW_shifted)      /* fused: written already */
        return 0;
    return launch(call->s, "log p of targets", l, target_kernel, z->rows, call->place + at,
                  call->a.targets, (const float *)z->at, z->stride, z->chosen, call->a.lse,
                  call->a.logp);
}

int
head_back_all(struct head_call *call)
{
    int64_t step = head_step(call, call->count);
    int rc = 0;

    for (int64_t at = 0; at < call->count && rc == 0; at += step) {
        int64_t count = call->count - at < step ? call->count - at : step;
        struct row_logits z;

        rc = head_logits(call, at, count, &z);
        if (rc == 0)
            rc = know_targets(call, at, &z);
        if (rc == 0)
            rc = rows_slopes(call->s, &z, call->place + at, &call->a);
        if (rc == 0)
            rc = head_back(call, at, count, &z);
    }
    return rc;
}

int
head_back_end(struct head_call *call)
{
    const struct sluice_slopes *g = call->slopes;

    if (g == NULL || g->dx == NULL || call->dx_zeroed || call->count > 0)
        return 0;
    call->dx_zeroed = 1;
    return rows_scatter(call->s, 0, NULL, call->shape.hidden, NULL, call->dx_stride,
                        call->rows->rows, g->dx, g->dx_stride, g->dx_type);
}
