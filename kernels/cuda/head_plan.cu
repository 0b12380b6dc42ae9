/* Which logits a call of the head makes, how many rows of them at a time, and the memory for it. */
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/head.cuh"
#include "kernels/cuda/objective.cuh"

#define GB 1e9

/* ---- arguments ---- */

static int
check_sizes(int64_t rows, int64_t hidden, int64_t vocab)
{
    if (rows < 0 || rows > HEAD_ROWS_MOST)
        return fail(SLUICE_argument, "rows is %lld: 0 to 2^28 can be had", (long long)rows);
    if (hidden < 1 || hidden > HEAD_SIDE_MOST || vocab < 1 || vocab > HEAD_SIDE_MOST)
        return fail(SLUICE_argument, "hidden is %lld and vocab %lld: each is 1 to 2^31 - 1",
                    (long long)hidden, (long long)vocab);
    return 0;
}

/* An array must begin at one of its numbers, and none of its rows so far from it that bytes could
 * not be counted. */
static int
check_array(const char *name, const void *at, int64_t size, int64_t rows, int64_t stride)
{
    if (at != NULL && (uintptr_t)at % (uintptr_t)size != 0)
        return fail(SLUICE_argument, "%s does not begin at a multiple of %lld bytes", name,
                    (long long)size);
    if (at != NULL && rows > 0 && stride > INT64_MAX / 8 / rows)
        return fail(SLUICE_argument, "%s: %lld rows with a stride of %lld are more than there can "
                    "be", name, (long long)rows, (long long)stride);
    return 0;
}

int
head_check_floats(const char *name, const float *at)
{
    return check_array(name, at, sizeof *at, 0, 0);
}

static int
check_slope_arrays(const struct sluice_head *head, const struct sluice_rows *rows,
                   const struct sluice_slopes *g)
{
    int rc = check_array("dx", g->dx, number_of(&g->dx_type) == SLUICE_float32 ? 4 : 2, rows->rows,
                         g->dx_stride);

    if (rc == 0)
        rc = check_array("dweight", g->dweight, 4, head->vocab, g->dweight_stride);
    return rc == 0 ? head_check_floats("dbias", g->dbias) : rc;
}

static int
check_slopes(const struct sluice_head *head, const struct sluice_rows *rows,
             const struct sluice_slopes *slopes)
{
    if (slopes == NULL)
        return 0;
    if (slopes->dx != NULL && slopes->dx_stride < head->hidden)
        return fail(SLUICE_argument, "dx_stride is %lld, below hidden, %lld",
                    (long long)slopes->dx_stride, (long long)head->hidden);
    if (slopes->dx != NULL && number_of(&slopes->dx_type) != SLUICE_float32
        && number_of(&slopes->dx_type) != SLUICE_bfloat16)
        return fail(SLUICE_argument, "dx_type %d is no type", number_of(&slopes->dx_type));
    if (slopes->dweight != NULL && slopes->dweight_stride < head->hidden)
        return fail(SLUICE_argument, "dweight_stride is %lld, below hidden, %lld",
                    (long long)slopes->dweight_stride, (long long)head->hidden);
    return check_slope_arrays(head, rows, slopes);
}

int
head_check(const struct sluice_head *head, const struct sluice_rows *rows,
           const struct sluice_slopes *slopes)
{
    int rc = head == NULL || rows == NULL
                 ? fail(SLUICE_argument, "there is no head, or there are no rows: NULL")
                 : check_sizes(rows->rows, head->hidden, head->vocab);

    if (rc != 0)
        return rc;
    if (head->weight_stride < head->hidden || rows->x_stride < head->hidden)
        return fail(SLUICE_argument, "weight_stride is %lld and x_stride %lld, hidden %lld: no "
                    "stride is below it", (long long)head->weight_stride,
                    (long long)rows->x_stride, (long long)head->hidden);
    if (head->weight == NULL || (rows->rows > 0 && (rows->x == NULL || rows->targets == NULL)))
        return fail(SLUICE_argument, "weight, x or targets is NULL");
    rc = check_array("weight", head->weight, 2, head->vocab, head->weight_stride);
    if (rc == 0)
        rc = check_array("x", rows->x, 2, rows->rows, rows->x_stride);
    if (rc == 0)
        rc = check_array("targets", rows->targets, 4, 0, 0);
    if (rc == 0)
        rc = head_check_floats("bias", head->bias);
    return rc == 0 ? check_slopes(head, rows, slopes) : rc;
}

/* ---- the shape ---- */

static int64_t
logit_bytes(enum sluice_logits form)
{
    return form == SLUICE_logits_float32 ? 4 : 2;
}

/* Bytes of memory for logits that a row takes; of fused ones their tiles' statistics are a part. */
static int64_t
row_bytes(enum sluice_logits form, int64_t vocab)
{
    int64_t tiles = form == SLUICE_logits_fused ? fused_tiles_bytes(1, vocab) : 0;

    return round_up(vocab, HEAD_VOCAB_STEP) * logit_bytes(form) + tiles;
}

static int
choose_form(struct sluice_cuda *s, const struct sluice_options *o, int exact,
            enum sluice_logits *form)
{
    int asked = number_of(&o->logits);

    if (asked < SLUICE_logits_automatic || asked > SLUICE_logits_fused)
        return fail(SLUICE_argument, "logits %d: no such form", asked);
    *form = o->logits;
    if (*form == SLUICE_logits_automatic)
        *form = exact ? SLUICE_logits_float32 : SLUICE_logits_bfloat16;
    if (*form == SLUICE_logits_fused && s->major != 9)
        return fail(SLUICE_argument, "fused logits need compute capability 9.0, the device has "
                    "%d.%d: use float32", s->major, s->minor);
    return 0;
}

int
head_shape_of(struct sluice_cuda *s, int64_t rows, int64_t hidden, int64_t vocab,
              const struct sluice_options *o, int exact, struct head_shape *out)
{
    static const struct sluice_options none = {};
    int rc = check_sizes(rows, hidden, vocab);
    int64_t memory, fit;

    o = o == NULL ? &none : o;
    if (rc == 0)
        rc = choose_form(s, o, exact, &out->form);
    if (rc != 0)
        return rc;
    if (o->chunk_rows < 0 || o->memory < 0)
        return fail(SLUICE_argument, "chunk_rows is %lld and memory %lld: neither is negative",
                    (long long)o->chunk_rows, (long long)o->memory);
    memory = o->memory > 0 ? o->memory : HEAD_MEMORY;
    fit = memory / row_bytes(out->form, vocab);
    fit = fit / HEAD_CHUNK_STEP * HEAD_CHUNK_STEP;
    fit = fit > HEAD_CHUNK_MOST ? HEAD_CHUNK_MOST : fit < HEAD_CHUNK_STEP ? HEAD_CHUNK_STEP : fit;
    out->rows = rows;
    out->hidden = hidden;
    out->vocab = vocab;
    out->capacity = o->chunk_rows > HEAD_ROWS_MOST ? HEAD_ROWS_MOST
                    : o->chunk_rows > 0 ? o->chunk_rows : fit;
    out->chunk = rows < out->capacity ? rows : out->capacity;
    out->chunk = out->chunk < 1 ? 1 : out->chunk;
    return 0;
}

int
head_shape_float32(struct sluice_cuda *s, int64_t rows, int64_t hidden, int64_t vocab,
                   const struct sluice_options *o, struct head_shape *out)
{
    struct sluice_options now = {};

    if (o != NULL)
        now = *o;
    now.logits = SLUICE_logits_float32;
    return head_shape_of(s, rows, hidden, vocab, &now, 1, out);
}

/* ---- memory ---- */

/* Bytes of the space of a call, and its pieces. */
static int64_t
lay_out(const struct head_shape *shape, void *base, struct head_space *space)
{
    unsigned char *b = (unsigned char *)base;
    int64_t rows = shape->rows, at = 0;
    int64_t x = round_up(shape->hidden, HEAD_HIDDEN_STEP) * 2;

    space->place = (int64_t *)memory_piece(b, &at, rows * 8);
    space->live = (int64_t *)memory_piece(b, &at, rows * 8);
    space->wanted = (uint8_t *)memory_piece(b, &at, rows);
    space->logp = (float *)memory_piece(b, &at, rows * 4);
    space->lse = (float *)memory_piece(b, &at, rows * 4);
    space->entropy = (float *)memory_piece(b, &at, rows * 4);
    space->c = (float *)memory_piece(b, &at, rows * 4);
    space->e = (float *)memory_piece(b, &at, rows * 4);
    space->h = (float *)memory_piece(b, &at, rows * 4);
    space->entry_first = (int64_t *)memory_piece(b, &at, (rows + 1) * 8);
    space->chosen = (float *)memory_piece(b, &at, shape->chunk * 4);
    space->x = memory_piece(b, &at, shape->chunk * x);
    space->dx = (float *)memory_piece(b, &at, shape->chunk * 2 * x);
    return at;
}

/* Of SCRATCH_tiles, a part of other_bytes. */
static int64_t
tiles_bytes(const struct sluice_plan *p)
{
    if (p->logits != SLUICE_logits_fused)
        return 0;
    return fused_tiles_bytes(p->chunk_rows, p->logits_bytes / p->chunk_rows / 2);
}

void
head_plan_of(const struct head_shape *shape, int64_t kept_rows, int passes,
             struct sluice_plan *out)
{
    int64_t stride = round_up(shape->vocab, HEAD_VOCAB_STEP);
    struct head_space space;

    memset(out, 0, sizeof *out);
    out->chunk_rows = shape->chunk;
    out->chunks = (shape->rows + shape->chunk - 1) / shape->chunk;
    out->logits = shape->form;
    out->passes = passes;
    out->logits_bytes = shape->chunk * stride * logit_bytes(shape->form);
    out->kept_bytes = kept_rows * stride * 2;
    out->other_bytes = lay_out(shape, NULL, &space) + GEMM_WORKSPACE;
    out->total_bytes = out->logits_bytes + out->kept_bytes + out->other_bytes;
    out->other_bytes += tiles_bytes(out);
    out->total_bytes += tiles_bytes(out);
}

/* The plan's memory cannot be had: what it is, what there is, what to change. */
static int
too_much(const struct sluice_plan *p, int64_t free_bytes, int64_t all)
{
    const char *change = "lower `memory` or `chunk_rows`";

    if (p->kept_bytes > p->logits_bytes)
        change = "leave out `keep`, or give fewer rows at a time";
    else if (p->other_bytes > p->logits_bytes)
        change = "give fewer rows at a time";
    return fail(SLUICE_memory, "out of memory: the plan wants %.2f GB beside the weights (logits "
                "%.2f GB in chunks of %lld rows, kept rows %.2f GB, others %.2f GB), %.2f GB of "
                "%.2f GB are free: %s", (double)p->total_bytes / GB, (double)p->logits_bytes / GB,
                (long long)p->chunk_rows, (double)p->kept_bytes / GB, (double)p->other_bytes / GB,
                (double)free_bytes / GB, (double)all / GB, change);
}

static int
take_plan(struct sluice_cuda *s, const struct sluice_plan *p)
{
    int64_t bytes[SCRATCH_count] = {}, held = 0, more = 0;
    size_t  free_bytes = 0, all = 0;
    void   *at;
    int     rc = 0;

    bytes[SCRATCH_gemm] = GEMM_WORKSPACE;
    bytes[SCRATCH_tiles] = tiles_bytes(p);
    bytes[SCRATCH_head] = p->other_bytes - GEMM_WORKSPACE - bytes[SCRATCH_tiles];
    bytes[SCRATCH_logits] = p->logits_bytes;
    bytes[SCRATCH_kept] = p->kept_bytes;
    for (int i = 0; i < SCRATCH_count; i++)
        if (bytes[i] > s->scratch_bytes[i]) {
            more += bytes[i];
            held += s->scratch_bytes[i];
        }
    if (more == 0)
        return 0;
    rc = fail_cuda(cudaMemGetInfo(&free_bytes, &all), "reading the device's memory");
    if (rc == 0 && more > (int64_t)free_bytes + held)
        return too_much(p, (int64_t)free_bytes + held, (int64_t)all);
    for (int i = 0; i < SCRATCH_count && rc == 0; i++)
        if (bytes[i] > s->scratch_bytes[i])
            rc = scratch_take(s, (enum scratch)i, bytes[i], &at);
    if (rc != SLUICE_memory)
        return rc;
    for (int i = 0; i < SCRATCH_count; i++)     /* what was taken is in a smaller plan's way */
        if (bytes[i] > 0)
            scratch_free(s, (enum scratch)i);
    return too_much(p, (int64_t)free_bytes + held, (int64_t)all);
}

int
head_take(struct head_call *call, const struct head_shape *shape, int64_t kept_rows)
{
    struct sluice_plan plan;
    int rc;

    head_plan_of(shape, kept_rows, 1, &plan);
    rc = take_plan(call->s, &plan);
    if (rc != 0)
        return rc;
    call->shape = *shape;
    call->x_place = NULL;
    call->logits = call->s->scratch[SCRATCH_logits];
    call->kept = kept_rows > 0 ? (unsigned char *)call->s->scratch[SCRATCH_kept] : NULL;
    call->logits_stride = round_up(shape->vocab, HEAD_VOCAB_STEP);
    call->x_stride = call->dx_stride = round_up(shape->hidden, HEAD_HIDDEN_STEP);
    lay_out(shape, call->s->scratch[SCRATCH_head], &call->space);
    return 0;
}

/* ---- the public plan ---- */

SLUICE_API int
sluice_head_plan(struct sluice_cuda *s, int64_t rows, int64_t hidden, int64_t vocab,
                 const char *objective, int64_t unit_rows, const struct sluice_options *o,
                 struct sluice_plan *out)
{
    struct objective_shape kind = {};
    struct sluice_objective named = {};
    struct head_shape shape;
    int rc = 0, exact = 1, whole = 0, keeps = 0;

    fail_clear();
    memset(out, 0, sizeof *out);
    named.name = objective;
    if (objective != NULL)
        rc = objective_shape(&named, &kind);
    if (rc == 0 && objective != NULL)
        exact = (kind.needs & (OBJECTIVE_needs_reference | OBJECTIVE_needs_behaviour)) != 0;
    if (rc == 0)
        rc = head_shape_of(s, rows, hidden, vocab, o, exact, &shape);
    if (rc != 0)
        return rc;
    unit_rows = unit_rows <= 0 || unit_rows > rows ? rows : unit_rows;
    if (objective != NULL && (kind.needs & OBJECTIVE_needs_named))
        whole = rows > shape.capacity;
    else if (objective != NULL && kind.scope != OBJECTIVE_token)
        whole = unit_rows > shape.capacity;
    keeps = whole && o != NULL && o->keep;
    if (keeps)
        rc = head_shape_float32(s, rows, hidden, vocab, o, &shape);
    if (rc == 0)
        head_plan_of(&shape, keeps ? rows : 0, whole && !keeps ? 2 : 1, out);
    return rc;
}

SLUICE_API int
sluice_head_reserve(struct sluice_cuda *s, const struct sluice_plan *p)
{
    int rc;

    fail_clear();
    if (p == NULL || p->logits_bytes < 0 || p->logits_bytes > INT64_MAX / 4 || p->kept_bytes < 0
        || p->kept_bytes > INT64_MAX / 4 || p->other_bytes < GEMM_WORKSPACE
        || p->other_bytes > INT64_MAX / 2 || p->chunk_rows < 1 || p->chunk_rows > HEAD_ROWS_MOST)
        return fail(SLUICE_argument, "the plan is none of sluice_head_plan");
    rc = context_enter(s);
    return rc == 0 ? take_plan(s, p) : rc;
}
