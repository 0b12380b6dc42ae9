/* The head alone: statistics, and backward from coefficients that are known. */
#include "kernels/cuda/head.cuh"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/fused.cuh"

/* ---- what every call does ---- */

int
head_done(struct sluice_cuda *s, int rc, enum fault *what)
{
    static const char *const words[] = {
        "a target is no class", "a logit is NaN or infinite", "a coefficient is NaN or infinite",
        "a gradient is NaN or infinite",
    };
    int64_t row = -1;

    *what = FAULT_target;
    if (rc == 0)
        rc = fault_read(s, what, &row);
    if (rc != 0 || row < 0)
        return rc;
    return fail_row(*what == FAULT_target ? SLUICE_argument : SLUICE_nonfinite, row,
                    "row %lld: %s", (long long)row, words[*what]);
}

int
head_upload(struct sluice_cuda *s, void *to, const void *from, int64_t bytes)
{
    return fail_cuda(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyHostToDevice, s->stream),
                     "copying to the device");
}

static int
zero_rows(struct head_call *call, float *values)
{
    if (values == NULL || call->rows->rows == 0)
        return 0;
    return fail_cuda(cudaMemsetAsync(values, 0, (size_t)call->rows->rows * 4, call->s->stream),
                     "zeroing memory");
}

int
head_zero(struct head_call *call)
{
    float *const all[] = {call->a.logp, call->a.lse, call->a.entropy,
                          call->a.c, call->a.e, call->a.h};
    int rc = 0;

    for (size_t i = 0; i < sizeof all / sizeof *all && rc == 0; i++)
        rc = zero_rows(call, all[i]);
    return rc;
}

int
head_open(struct head_call *call, struct sluice_cuda *s, const struct sluice_head *head,
          const struct sluice_rows *rows, const struct sluice_options *o, int exact,
          const struct sluice_slopes *slopes)
{
    struct head_shape shape;
    int rc = head_check(head, rows, slopes);

    memset(call, 0, sizeof *call);
    call->s = s;
    call->head = head;
    call->rows = rows;
    call->slopes = slopes;
    call->a.targets = rows->targets;
    if (rc == 0)
        rc = context_enter(s);
    if (rc == 0)
        rc = fault_reset(s);
    if (rc == 0)
        rc = head_shape_of(s, rows->rows, head->hidden, head->vocab, o, exact, &shape);
    if (rc == 0 && shape.form == SLUICE_logits_bfloat16 && head->bias != NULL)
        rc = head_shape_float32(s, rows->rows, head->hidden, head->vocab, o, &shape);
    if (rc == 0 && shape.form == SLUICE_logits_fused && !fused_fits(s, head))
        rc = fail(SLUICE_argument, "fused logits cannot be had: %s: use float32", fused_why(s));
    return rc == 0 ? head_take(call, &shape, 0) : rc;
}

int
head_place(struct head_call *call, const uint8_t *wanted, int64_t *place)
{
    call->place = place;
    call->count = 0;
    call->x_place = NULL;
    if (call->rows->rows == 0)
        return 0;
    return rows_place(call->s, call->rows->rows, call->shape.vocab, call->rows->targets, wanted,
                      place, &call->count);
}

/* ---- statistics ---- */

static int
read_all(struct head_call *call)
{
    int64_t step = head_step(call, call->count);
    int rc = 0;

    if (call->shape.form == SLUICE_logits_fused)
        call->logits = NULL;        /* they come from the sums: no logits are written */
    for (int64_t at = 0; at < call->count && rc == 0; at += step) {
        struct row_logits z;

        rc = head_read(call, at, call->count - at < step ? call->count - at : step, &z);
    }
    return rc;
}

SLUICE_API int
sluice_head_statistics(struct sluice_cuda *s, const struct sluice_head *head,
                       const struct sluice_rows *rows, const struct sluice_options *o,
                       float *logp, float *lse, float *entropy)
{
    struct head_call call;
    enum fault what;
    int rc;

    fail_clear();
    if (rows->rows > 0 && (logp == NULL || lse == NULL))
        return fail(SLUICE_argument, "logp and lse are written: neither is NULL");
    rc = head_open(&call, s, head, rows, o, 1, NULL);
    if (rc != 0)
        return rc;
    call.a.logp = logp;
    call.a.lse = lse;
    call.a.entropy = entropy;
    rc = head_place(&call, NULL, call.space.place);
    if (rc == 0)
        rc = head_zero(&call);
    if (rc == 0)
        rc = read_all(&call);
    return head_done(s, rc, &what);
}

/* ---- backward ---- */

static int
check_entries(const struct head_call *call, const struct objective_entry *entries, int64_t count)
{
    if (count < 0 || (count > 0 && entries == NULL))
        return fail(SLUICE_argument, "there are %lld entries and no array of them",
                    (long long)count);
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].row < 0 || entries[i].row >= call->rows->rows || entries[i].column < 0
            || entries[i].column >= call->head->vocab)
            return fail(SLUICE_argument, "entry %lld names row %lld of %lld, column %d of %lld",
                        (long long)i, (long long)entries[i].row, (long long)call->rows->rows,
                        entries[i].column, (long long)call->head->vocab);
        if (i > 0 && entries[i].row < entries[i - 1].row)
            return fail(SLUICE_argument, "entry %lld is not sorted by row", (long long)i);
    }
    return 0;
}

int
head_entries(struct head_call *call, const struct objective_entry *entries, int64_t count)
{
    int64_t rows = call->rows->rows, at = 0, *first;
    void *to = NULL;
    int rc = check_entries(call, entries, count);

    if (rc != 0 || count == 0)
        return rc;
    rc = scratch_take(call->s, SCRATCH_entries, count * (int64_t)sizeof *entries, &to);
    if (rc != 0)
        return rc;
    first = (int64_t *)malloc((size_t)(rows + 1) * sizeof *first);
    if (first == NULL)
        return fail(SLUICE_memory, "out of memory");
    for (int64_t row = 0; row <= rows; row++) {
        while (at < count && entries[at].row < row)
            at++;
        first[row] = at;
    }
    rc = head_upload(call->s, to, entries, count * (int64_t)sizeof *entries);
    if (rc == 0)
        rc = head_upload(call->s, call->space.entry_first, first, (rows + 1) * 8);
    cudaStreamSynchronize(call->s->stream);     /* the device may read it itself until then */
    free(first);
    call->a.entries = (const struct objective_entry *)to;
    call->a.entry_first = call->space.entry_first;
    return rc;
}

int
head_back_live(struct head_call *call)
{
    int rc = 0;

    if (call->rows->rows > 0)
        rc = rows_wanted(call->s, call->rows->rows, &call->a, call->space.wanted);
    if (rc == 0)
        rc = head_place(call, call->space.wanted, call->space.live);
    if (rc == 0)
        rc = head_back_all(call);
    return rc == 0 ? head_back_end(call) : rc;
}

SLUICE_API int
sluice_head_backward(struct sluice_cuda *s, const struct sluice_head *head,
                     const struct sluice_rows *rows, const struct sluice_options *o,
                     const float *lse, const float *entropy, const struct sluice_gradient *g,
                     const struct sluice_slopes *slopes)
{
    struct head_call call;
    enum fault what;
    int rc, own;

    fail_clear();
    if (rows->rows > 0 && (lse == NULL || g->c == NULL || (g->h != NULL && entropy == NULL)))
        return fail(SLUICE_argument, "lse and c are read, and entropy where h is given: none of "
                    "them is NULL");
    rc = head_open(&call, s, head, rows, o, 1, slopes);
    if (rc != 0 || !head_wants_slopes(&call))
        return rc;
    own = call.shape.form == SLUICE_logits_fused;   /* which writes the statistics again */
    call.a.logp = call.space.logp;
    call.logp_unknown = 1;
    call.a.lse = own ? call.space.lse : (float *)lse;
    call.a.entropy = own && entropy != NULL ? call.space.entropy : (float *)entropy;
    call.a.c = (float *)g->c;
    call.a.e = (float *)g->e;
    call.a.h = (float *)g->h;
    rc = head_entries(&call, g->entries, g->entry_count);
    if (rc == 0)
        rc = head_back_live(&call);
    return head_done(s, rc, &what);
}
