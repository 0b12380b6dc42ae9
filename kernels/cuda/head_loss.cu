/* The loss: statistics, objective and gradients of a batch. Four ways, by what the objective's
 * coefficient of a row waits for:
 *
 *      rows       nothing but the row: one kernel from logits to slopes
 *      units      the statistics of the row's sample or group, which a chunk holds: chunks end
 *                 where units do
 *      kept       the same, where a unit is longer than a chunk: bfloat16(log p_v) of its rows
 *                 stays
 *      two passes the same without the memory: the logits are computed again, for the rows whose
 *                 coefficients are not zero
 *
 * A batch may have units of both lengths: the long ones go first, the others in chunks after. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/head.cuh"
#include "kernels/cuda/objective.cuh"

struct loss {
    struct head_call call;
    const struct sluice_options   *options;
    const struct sluice_objective *objective;
    struct objective_shape  kind;
    struct objective_view  *view;
    uint8_t                *wanted;     /* the device's: rows with a part in the loss */
    int64_t                *ends;       /* (samples): placed rows up to the end of the sample */
    int                     whole;      /* all units count as long */
};

/* ---- units ---- */

/* The sample after the unit that begins with sample i. */
static int64_t
unit_end(const struct loss *l, int64_t i)
{
    const struct objective_batch *b = l->objective->batch;
    int64_t end = i + 1;

    if (l->kind.scope == OBJECTIVE_step)
        return b->samples;
    while (l->kind.scope == OBJECTIVE_group && end < b->samples
           && b->sample[end].group == b->sample[i].group)
        end++;
    return end;
}

/* Placed rows before sample i. */
static int64_t
placed_before(const struct loss *l, int64_t i)
{
    return i == 0 ? 0 : l->ends[i - 1];
}

/* Counts the placed rows of samples on the host. Waits. */
static int
find_ends(struct loss *l)
{
    const struct objective_batch *b = l->objective->batch;
    int64_t count = l->call.count, at = 0, *place;
    int rc;

    l->ends = (int64_t *)malloc((size_t)(b->samples + 1) * sizeof *l->ends);
    place = (int64_t *)malloc((size_t)(count + 1) * sizeof *place);
    if (l->ends == NULL || place == NULL) {
        free(place);
        return fail(SLUICE_memory, "out of memory");
    }
    rc = fail_cuda(cudaMemcpyAsync(place, l->call.place, (size_t)count * sizeof *place,
                                   cudaMemcpyDeviceToHost, l->call.s->stream),
                   "copying from the device");
    if (rc == 0)
        rc = fail_cuda(cudaStreamSynchronize(l->call.s->stream), "waiting for the device");
    for (int64_t i = 0; i < b->samples && rc == 0; i++) {
        while (at < count && place[at] < b->sample[i].first + b->sample[i].count)
            at++;
        l->ends[i] = at;
    }
    free(place);
    return rc;
}

/* Is the unit that begins with sample i longer than a chunk? */
static int
is_long(const struct loss *l, int64_t i)
{
    return l->whole
           || placed_before(l, unit_end(l, i)) - placed_before(l, i) > l->call.shape.capacity;
}

/* The next samples [*from, *to), from the former *to on, whose units are long, if there are any. */
static int
next_long(const struct loss *l, int64_t *from, int64_t *to)
{
    int64_t samples = l->objective->batch->samples;

    for (*from = *to; *from < samples && !is_long(l, *from);)
        *from = unit_end(l, *from);
    for (*to = *from; *to < samples && is_long(l, *to);)
        *to = unit_end(l, *to);
    return *from < *to;
}

/* Placed rows of long units. */
static int64_t
long_rows(const struct loss *l)
{
    int64_t from, to = 0, rows = 0;

    while (next_long(l, &from, &to))
        rows += placed_before(l, to) - placed_before(l, from);
    return rows;
}

/* ---- the four ways ---- */

static int
run_rows(struct loss *l)
{
    struct head_call *call = &l->call;
    int64_t step = head_step(call, call->count);
    int rc = 0;

    for (int64_t at = 0; at < call->count && rc == 0; at += step) {
        int64_t count = call->count - at < step ? call->count - at : step;
        struct row_logits z;

        rc = head_logits(call, at, count, &z);
        if (rc == 0)
            rc = rows_loss(call->s, &z, call->place + at, &call->a, l->view);
        if (rc == 0 && head_wants_slopes(call))
            rc = head_back(call, at, count, &z);
    }
    return rc;
}

static int
run_chunk(struct loss *l, int64_t from, int64_t to)
{
    int64_t at = placed_before(l, from), count = placed_before(l, to) - at;
    struct head_call *call = &l->call;
    struct row_logits z;
    int rc = 0;

    if (count > 0)
        rc = head_read(call, at, count, &z);
    if (rc == 0)
        rc = objective_solve(call->s, l->view, from, to);
    if (rc != 0 || count == 0 || !head_wants_slopes(call))
        return rc;
    rc = rows_slopes(call->s, &z, call->place + at, &call->a);
    return rc == 0 ? head_back(call, at, count, &z) : rc;
}

/* Units that are not long, as many to a chunk as it holds. */
static int
run_units(struct loss *l)
{
    int64_t samples = l->objective->batch->samples, to;
    int rc = 0;

    for (int64_t from = 0; from < samples && rc == 0; from = to) {
        to = unit_end(l, from);
        if (is_long(l, from))
            continue;
        while (to < samples && !is_long(l, to)
               && placed_before(l, unit_end(l, to)) - placed_before(l, from)
                      <= l->call.shape.capacity)
            to = unit_end(l, to);
        rc = run_chunk(l, from, to);
    }
    return rc;
}

/* Statistics of the placed rows [at, end), which stay as bfloat16(log p_v), from the kept-th kept
 * row on, where there is room for such. */
static int
read_range(struct loss *l, int64_t at, int64_t end, int64_t kept)
{
    struct head_call *call = &l->call;
    int64_t step = head_step(call, end - at), stride = call->logits_stride;
    void *logits = call->logits;
    int rc = 0;

    if (call->kept == NULL && call->shape.form == SLUICE_logits_fused)
        call->logits = NULL;        /* statistics come from the sums: none are written */
    for (; at < end && rc == 0; at += step, kept += step) {
        int64_t count = end - at < step ? end - at : step;
        struct row_logits z;

        if (call->kept == NULL) {
            rc = head_read(call, at, count, &z);
            continue;
        }
        rc = head_logits(call, at, count, &z);
        if (rc == 0)
            rc = rows_keep(call->s, &z, call->place + at, &call->a, call->kept + 2 * kept * stride,
                           stride);
    }
    call->logits = logits;
    return rc;
}

static int
read_long(struct loss *l)
{
    int64_t from, to = 0, kept = 0;
    int rc = 0;

    while (rc == 0 && next_long(l, &from, &to)) {
        int64_t at = placed_before(l, from), end = placed_before(l, to);

        rc = read_range(l, at, end, kept);
        if (rc == 0)
            rc = objective_solve(l->call.s, l->view, from, to);
        kept += end - at;
    }
    return rc;
}

static int
back_range(struct loss *l, int64_t at, int64_t end, int64_t kept)
{
    struct head_call *call = &l->call;
    int64_t step = head_step(call, end - at), stride = call->logits_stride;
    int rc = 0;

    for (; at < end && rc == 0; at += step, kept += step) {
        struct row_logits z = {};

        z.at = call->kept + 2 * kept * stride;
        z.rows = end - at < step ? end - at : step;
        z.vocab = call->shape.vocab;
        z.stride = stride;
        z.form = ROW_kept;
        rc = rows_slopes(call->s, &z, call->place + at, &call->a);
        if (rc == 0)
            rc = head_back(call, at, z.rows, &z);
    }
    return rc;
}

static int
back_kept(struct loss *l)
{
    int64_t from, to = 0, kept = 0;
    int rc = 0;

    while (rc == 0 && next_long(l, &from, &to)) {
        int64_t at = placed_before(l, from), end = placed_before(l, to);

        rc = back_range(l, at, end, kept);
        kept += end - at;
    }
    return rc;
}

/* Long units: no other row has a coefficient yet, so those that have one are theirs. */
static int
run_long(struct loss *l)
{
    struct head_call *call = &l->call;
    int64_t count = call->count;
    int rc = read_long(l);

    if (rc != 0 || !head_wants_slopes(call))
        return rc;
    if (call->kept != NULL)
        return back_kept(l);
    rc = head_back_live(call);          /* every other row of dx is zeros now */
    call->place = call->space.place;
    call->count = count;
    return rc;
}

/* Room for the rows that are to be kept, whose logits are in float32 then: other units may be long
 * under that. */
static int
keep_long(struct loss *l)
{
    struct head_call *call = &l->call;
    struct head_shape shape;
    int rc = head_shape_float32(call->s, call->shape.rows, call->shape.hidden, call->shape.vocab,
                                l->options, &shape);

    if (rc != 0)
        return rc;
    call->shape = shape;
    return head_take(call, &shape, long_rows(l));
}

static int
run(struct loss *l)
{
    struct head_call *call = &l->call;
    int named = (l->kind.needs & OBJECTIVE_needs_named) != 0, rc;

    if (l->kind.scope == OBJECTIVE_token && !named)
        return run_rows(l);
    rc = find_ends(l);
    /* Entries are there for all samples at once. */
    l->whole = named && call->count > call->shape.capacity;
    if (rc != 0 || long_rows(l) == 0)
        return rc == 0 ? run_units(l) : rc;
    if (l->options != NULL && l->options->keep && head_wants_slopes(call))
        rc = keep_long(l);
    if (rc == 0)
        rc = run_long(l);
    return rc == 0 ? run_units(l) : rc;
}

/* ---- the call ---- */

static int
check(const struct sluice_rows *rows, const struct sluice_objective *o)
{
    if (o->batch->rows != rows->rows)
        return fail(SLUICE_argument, "the batch has %lld rows, x %lld",
                    (long long)o->batch->rows, (long long)rows->rows);
    if (o->batch->samples < 0 || (o->batch->samples > 0 && o->batch->sample == NULL))
        return fail(SLUICE_argument, "the batch has %lld samples and no array of them",
                    (long long)o->batch->samples);
    if (o->batch->named < 0 || o->batch->named > OBJECTIVE_NAMED_MAX)
        return fail(SLUICE_argument, "the batch has %lld named logits: at most %d can be had",
                    (long long)o->batch->named, OBJECTIVE_NAMED_MAX);
    return 0;
}

/* Statistics and coefficients go where the caller wants them, else to our own. e and h are there
 * where the objective has them. */
static int
set_arrays(struct loss *l, const struct sluice_outcome *out)
{
    unsigned entropy = l->kind.needs & OBJECTIVE_needs_entropy;
    unsigned first = l->kind.needs & (OBJECTIVE_needs_lse | OBJECTIVE_needs_named);
    struct row_arrays *a = &l->call.a;
    struct head_space *own = &l->call.space;
    int rc;

    a->logp = out->logp != NULL ? out->logp : own->logp;
    a->lse = out->lse != NULL ? out->lse : own->lse;
    a->entropy = out->entropy != NULL ? out->entropy : own->entropy;
    a->c = out->c != NULL ? out->c : own->c;
    a->e = out->e != NULL ? out->e : own->e;
    a->h = out->h != NULL ? out->h : own->h;
    rc = head_zero(&l->call);
    a->entropy = entropy ? a->entropy : NULL;
    a->h = entropy ? a->h : NULL;
    a->e = first ? a->e : NULL;
    return rc;
}

static int
name_logits(struct loss *l, float **named)
{
    const struct objective_batch *b = l->objective->batch;
    int64_t *row;
    int rc;

    *named = NULL;
    if (!(l->kind.needs & OBJECTIVE_needs_named) || b->samples == 0 || b->named == 0)
        return 0;
    row = (int64_t *)malloc((size_t)b->samples * sizeof *row);
    if (row == NULL)
        return fail(SLUICE_memory, "out of memory");
    for (int64_t i = 0; i < b->samples; i++)
        row[i] = b->sample[i].named_row;
    rc = head_named_into(l->call.s, l->call.head, l->call.rows, b->samples, row, b->named,
                         b->named_columns, NULL, named);
    free(row);
    return rc;
}

static int
open_objective(struct loss *l)
{
    struct head_call *call = &l->call;
    const struct row_arrays *a = &call->a;
    float  *named;
    int64_t entries;
    int rc = name_logits(l, &named);

    if (rc == 0)
        rc = objective_open(call->s, l->objective, call->rows->rows, a->logp, a->lse, a->entropy,
                            named, a->c, a->e, a->h, &l->view, &l->wanted);
    if (rc == 0 && (l->kind.needs & OBJECTIVE_needs_named))
        objective_view_entries(l->view, &call->a.entries, &call->a.entry_first, &entries);
    return rc == 0 ? head_place(call, l->wanted, call->space.place) : rc;
}

SLUICE_API int
sluice_head_loss(struct sluice_cuda *s, const struct sluice_head *head,
                 const struct sluice_rows *rows, const struct sluice_options *o,
                 const struct sluice_objective *objective, const struct sluice_outcome *out,
                 const struct sluice_slopes *slopes)
{
    static const struct sluice_outcome nothing = {};
    struct objective_report report = {};
    struct loss l = {};
    enum fault what;
    int rc;

    fail_clear();
    out = out == NULL ? &nothing : out;
    l.options = o;
    l.objective = objective;
    rc = check(rows, objective);
    if (rc == 0)
        rc = objective_shape(objective, &l.kind);
    if (rc == 0)
        rc = head_open(&l.call, s, head, rows, o, (l.kind.needs & (OBJECTIVE_needs_reference
                       | OBJECTIVE_needs_behaviour)) != 0, slopes);
    if (rc == 0)
        rc = set_arrays(&l, out);
    if (rc == 0)
        rc = open_objective(&l);
    if (rc == 0)
        rc = run(&l);
    if (rc == 0)
        rc = head_back_end(&l.call);
    rc = head_done(s, rc, &what);
    if (rc == SLUICE_nonfinite && what == FAULT_coefficient)
        rc = objective_fail(s, l.view, sluice_cuda_error_row());
    if (rc == 0)                    /* the report only where all went well */
        rc = objective_close(s, l.view, NULL, NULL, out->report == NULL ? &report : out->report);
    objective_view_free(l.view);
    free(l.ends);
    return rc;
}
