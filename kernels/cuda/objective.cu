/* The objective of a call: what is refused, what is copied, and which kernels run when. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/objective_kernels.cuh"

#define NEEDS(what) OBJECTIVE_needs_##what
#define TAKES(what) OBJECTIVE_takes_##what

/* Of objective.def, what does not depend on settings. */
static const struct table_row {
    const char          *name;
    unsigned             needs;
    enum objective_scope scope;
} table[] = {
#define OBJECTIVE(name_, term_, gather_, pair_, named_, scope_, needs_, ...) \
    {#name_, (unsigned)(needs_), OBJECTIVE_##scope_},
#include "kernels/objective.def"
#undef OBJECTIVE
};

static int
check_choices(const struct sluice_objective *o, const struct objective_settings *t)
{
    const struct { const char *name; const void *at; int most; } choices[] = {
        {"aggregation", &t->aggregation, OBJECTIVE_constant},
        {"advantages", &t->advantages, OBJECTIVE_given},
        {"ratio", &t->ratio, OBJECTIVE_ratio_step},
        {"kl", &t->kl, OBJECTIVE_k3},
    };

    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        int choice = number_of(choices[i].at);

        if (choice < -1 || choice > choices[i].most)
            return fail(SLUICE_argument, "objective %s: no %s %d", o->name, choices[i].name,
                        choice);
    }
    return 0;
}

int
objective_shape(const struct sluice_objective *o, struct objective_shape *out)
{
    int rc = 0;

    for (int i = 0; o->name != NULL && i < OBJECTIVE_ROWS; i++) {
        if (strcmp(table[i].name, o->name) != 0)
            continue;
        out->row = i;
        out->scope = table[i].scope;
        out->needs = table[i].needs;
        if (o->settings != NULL)
            rc = check_choices(o, o->settings);
        if (rc == 0 && o->settings != NULL)
            out->needs = objective_needs_of(table[i].needs, o->settings);
        return rc;
    }
    return fail(SLUICE_argument, "objective '%.64s' is not one of the device's: an objective of "
                "one's own runs on the host", o->name != NULL ? o->name : "");
}

/* ---- what is refused ---- */

static int
check_settings(const struct sluice_objective *o, const struct objective_settings *t)
{
    const double numbers[] = {t->tau, t->clip_low, t->clip_high, t->clip_dual, t->soften_positive,
                              t->soften_negative, t->lambda, t->kl_weight, t->entropy_weight,
                              t->budget};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isfinite(numbers[i]))
            return fail(SLUICE_argument, "objective %s: its settings are not filled", o->name);
    if ((int)t->aggregation < 0 || t->aggregation > OBJECTIVE_constant
        || (t->aggregation == OBJECTIVE_constant && !(t->budget > 0) && !(t->constant > 0)))
        return fail(SLUICE_argument, "objective %s: no aggregation %d", o->name,
                    (int)t->aggregation);
    return 0;
}

/* What is divided by one that is no number would be nothing, and no error would say so. */
static int
check_step(const struct sluice_objective *o, const struct objective_step *t)
{
    if (t->groups >= 0 && t->tokens >= 0 && t->samples >= 0 && isfinite(t->groups)
        && isfinite(t->tokens) && isfinite(t->samples))
        return 0;
    return fail(SLUICE_argument, "objective %s: a step of %g groups, %g tokens and %g samples",
                o->name, t->groups, t->tokens, t->samples);
}

/* Arrays of rows are read number by number. */
static int
check_begins(const struct sluice_objective *o, const struct objective_view_device *v)
{
    const struct objective_batch *b = &v->batch;
    const float *const arrays[] = {b->logp, b->lse, b->entropy, b->reference, b->behaviour,
                                   b->weight, b->advantage, b->named_logits, v->c, v->e, v->h};

    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if ((uintptr_t)arrays[i] % sizeof *arrays[i] != 0)
            return fail(SLUICE_argument, "objective %s: an array of the batch does not begin at a "
                        "float", o->name);
    return 0;
}

static int
lacks(const struct sluice_objective *o, const char *what)
{
    return fail(SLUICE_argument, "objective %s needs %s", o->name, what);
}

static int
check_arrays(const struct sluice_objective *o, unsigned own, const struct objective_view_device *v)
{
    const struct objective_batch *b = &v->batch;
    unsigned needs = v->needs;

    if (b->rows == 0)
        return 0;
    if (b->logp == NULL || v->c == NULL)
        return lacks(o, "log probabilities, and where coefficients go");
    if ((needs & OBJECTIVE_needs_reference) && b->reference == NULL)
        return lacks(o, "reference log probabilities");
    if ((needs & OBJECTIVE_needs_behaviour) && b->behaviour == NULL)
        return lacks(o, "behaviour log probabilities");
    if ((needs & OBJECTIVE_needs_entropy) && b->entropy == NULL)
        return lacks(o, "entropies");
    if ((needs & OBJECTIVE_needs_lse) && b->lse == NULL)
        return lacks(o, "logsumexps");
    if (v->settings.entropy_weight != 0.0 && v->h == NULL)
        return lacks(o, "h, for the entropy bonus");
    if ((own & OBJECTIVE_needs_lse) && v->e == NULL)
        return lacks(o, "e");
    if (!(needs & OBJECTIVE_needs_named))
        return 0;
    if (b->named < 1 || b->named > OBJECTIVE_NAMED_MAX || b->named_logits == NULL
        || o->batch->named_columns == NULL)
        return fail(SLUICE_argument, "objective %s needs 1 to %d named logits", o->name,
                    OBJECTIVE_NAMED_MAX);
    if ((needs & OBJECTIVE_named_apart) && o->batch->named_values == NULL)
        return lacks(o, "what each name is worth");
    return 0;
}

static int
check_named(const struct objective_batch *b, int64_t i)
{
    const struct objective_sample *s = &b->sample[i];
    int64_t listed = 0;

    if (s->named_row < 0)
        return 0;
    if (s->named_row < s->first || s->named_row >= s->first + s->count || !isfinite(s->score))
        return fail(SLUICE_argument, "sample %lld: named row %lld is not one of its rows",
                    (long long)i, (long long)s->named_row);
    for (int64_t k = 0; k < b->named; k++)
        listed += s->rank[k] != 0;
    for (int64_t k = 0; k < b->named; k++)
        if (s->rank[k] < 0 || s->rank[k] > listed)
            return fail(SLUICE_argument, "sample %lld: rank %d among %lld", (long long)i,
                        (int)s->rank[k], (long long)listed);
    return 0;
}

static int
check_sample(const struct objective_batch *b, unsigned needs, int64_t i)
{
    const struct objective_sample *s = &b->sample[i];
    int64_t after = i == 0 ? 0 : b->sample[i - 1].first + b->sample[i - 1].count;

    if (s->count < 0 || s->first < after || s->first > b->rows || s->count > b->rows - s->first)
        return fail(SLUICE_argument, "sample %lld: rows %lld + %lld are not after %lld and in %lld",
                    (long long)i, (long long)s->first, (long long)s->count, (long long)after,
                    (long long)b->rows);
    if (s->group_size < 1 || !isfinite(s->reward) || !isfinite(s->mean) || !isfinite(s->std)
        || !isfinite(s->advantage))
        return fail(SLUICE_argument, "sample %lld: group of %lld, reward %g, mean %g, advantage %g",
                    (long long)i, (long long)s->group_size, s->reward, s->mean, s->advantage);
    if (!(s->weight >= 0) || isinf(s->weight))
        return fail(SLUICE_argument, "sample %lld: weight %g", (long long)i, s->weight);
    if (i > 0 && s->group < b->sample[i - 1].group)
        return fail(SLUICE_argument, "sample %lld: its group comes before its neighbour's",
                    (long long)i);
    return (needs & OBJECTIVE_needs_named) ? check_named(b, i) : 0;
}

static int
check_batch(const struct sluice_objective *o, const struct objective_view_device *v, int64_t rows)
{
    const struct objective_batch *b = o->batch;
    int rc = 0;

    if (b->rows != rows || rows < 0 || b->samples < 0 || b->samples >= OBJECTIVE_SAMPLES_MAX
        || (b->samples > 0 && b->sample == NULL))
        return fail(SLUICE_argument, "objective %s: %lld samples in %lld rows of %lld", o->name,
                    (long long)b->samples, (long long)b->rows, (long long)rows);
    rc = check_arrays(o, v->own, v);
    if (rc == 0)
        rc = check_begins(o, v);
    for (int64_t i = 0; i < b->samples && rc == 0; i++)
        rc = check_sample(b, v->needs, i);
    return rc;
}

/* ---- memory: one piece of work space, its first part copied from the host ---- */

struct layout {
    unsigned char *base;                    /* NULL: only sizes are wanted */
    int64_t        bytes;
};

static void *
place(struct layout *l, int64_t count, size_t size)
{
    return memory_piece(l->base, &l->bytes, count * (int64_t)size);
}

/* What is copied: in the order in which it lies, from an address or, NULL, for its size. */
struct staged {
    struct objective_view_device *view;
    struct objective_sample      *sample;
    struct objective_known       *known;
    int64_t                      *named_rows;
    int32_t                      *columns;
    double                       *values;
    struct objective_report      *report;
};

static int64_t
lay_staged(unsigned char *base, const struct objective_batch *b, struct staged *out)
{
    struct layout l = {base, 0};

    out->view = (struct objective_view_device *)place(&l, 1, sizeof *out->view);
    out->sample = (struct objective_sample *)place(&l, b->samples, sizeof *out->sample);
    out->known = (struct objective_known *)place(&l, b->samples, sizeof *out->known);
    out->named_rows = (int64_t *)place(&l, b->samples, sizeof *out->named_rows);
    out->columns = (int32_t *)place(&l, OBJECTIVE_NAMED_MAX, sizeof *out->columns);
    out->values = (double *)place(&l, OBJECTIVE_NAMED_MAX, sizeof *out->values);
    out->report = (struct objective_report *)place(&l, 1, sizeof *out->report);
    return l.bytes;
}

/* What only the device has. */
static int64_t
lay_rest(unsigned char *base, struct objective_view *view, int named)
{
    struct objective_view_device *v = &view->v;
    int64_t rows = view->rows, samples = view->samples;
    struct layout l = {base, 0};

    v->sums = (struct objective_sums *)place(&l, samples, sizeof *v->sums);
    v->losses = (struct objective_losses *)place(&l, samples, sizeof *v->losses);
    v->row_sample = (int64_t *)place(&l, rows, sizeof *v->row_sample);
    v->wanted = (uint8_t *)place(&l, rows, 1);
    v->counts = (uint8_t *)place(&l, rows, 1);
    v->terms.loss = (double *)place(&l, rows, sizeof(double));
    v->terms.pull = (double *)place(&l, rows, sizeof(double));
    v->terms.kl = (double *)place(&l, rows, sizeof(double));
    v->terms.k3 = (double *)place(&l, rows, sizeof(double));
    v->terms.importance = (double *)place(&l, rows, sizeof(double));
    v->terms.clipped = (uint8_t *)place(&l, rows, 1);
    if (v->settings.ratio == OBJECTIVE_ratio_step)
        v->step_mean = (double *)place(&l, rows, sizeof *v->step_mean);
    if (v->scope == OBJECTIVE_token)
        view->ready = (struct objective_ready *)place(&l, rows, sizeof *view->ready);
    if (named) {
        v->entries = (struct objective_entry *)place(&l, samples * v->batch.named,
                                                     sizeof *v->entries);
        v->entry_first = (int64_t *)place(&l, rows + 1, sizeof *v->entry_first);
    }
    return l.bytes;
}

/* Samples, groups, which samples have named logits: all that the host knows already. */
static void
stage(struct objective_view *view, const struct sluice_objective *o, struct staged *to)
{
    const struct objective_batch *b = o->batch;
    struct objective_view_device *v = &view->v;
    int64_t from = 0;

    for (int64_t i = 0; i < b->samples; i++)
        to->sample[i] = b->sample[i];
    for (int64_t i = 0; i < b->samples; i++) {
        struct objective_known *known = &to->known[i];

        memset(known, 0, sizeof *known);
        if (b->sample[i].group != b->sample[from].group)
            from = i;
        known->from = from;
        to->known[from].to = i + 1;
        known->first_row = known->entry = -1;
        known->runs = objective_runs(v->own, &b->sample[i]);
        if (!(v->own & OBJECTIVE_needs_named) || !known->runs || b->sample[i].named_row < 0)
            continue;
        known->entry = v->named_samples * b->named;
        to->named_rows[v->named_samples++] = b->sample[i].named_row;
    }
    for (int64_t i = 0; i < b->samples; i++)
        to->known[i].to = to->known[to->known[i].from].to;
    if ((v->own & OBJECTIVE_needs_named) && b->rows > 0) {
        memcpy(to->columns, b->named_columns, (size_t)b->named * sizeof *to->columns);
        if (b->named_values != NULL)
            memcpy(to->values, b->named_values, (size_t)b->named * sizeof *to->values);
    }
}

/* Where everything of the staged part is on the device. */
static void
point(struct objective_view *view, const struct staged *at)
{
    struct objective_view_device *v = &view->v;

    view->device = at->view;
    v->batch.sample = at->sample;
    v->batch.named_columns = at->columns;
    v->batch.named_values = v->batch.named_values != NULL ? at->values : NULL;
    v->known = at->known;
    v->named_rows = at->named_rows;
    v->report = at->report;
    v->ready = view->ready;
}

static int
copy(struct sluice_cuda *s, struct objective_view *view, const struct sluice_objective *o)
{
    struct staged to, at;
    unsigned char *base = NULL;
    int named = (view->v.own & OBJECTIVE_needs_named) && view->rows > 0;
    int64_t bytes = lay_staged(NULL, o->batch, &at), rest = lay_rest(NULL, view, named);
    int rc = scratch_take(s, SCRATCH_objective, bytes + rest, (void **)&base);

    if (rc != 0)
        return rc;
    view->staged = (unsigned char *)calloc(1, (size_t)bytes);
    if (view->staged == NULL)
        return fail(SLUICE_memory, "out of memory");
    lay_staged(view->staged, o->batch, &to);
    lay_staged(base, o->batch, &at);
    lay_rest(base + bytes, view, named);
    stage(view, o, &to);
    point(view, &at);
    *to.view = view->v;
    return fail_cuda(cudaMemcpyAsync(base, view->staged, (size_t)bytes, cudaMemcpyHostToDevice,
                                     s->stream), "copying samples to the device");
}

static int
fill(struct sluice_cuda *s, void *at, int byte, int64_t bytes)
{
    if (at == NULL || bytes == 0)
        return 0;
    return fail_cuda(cudaMemsetAsync(at, byte, (size_t)bytes, s->stream), "zeroing memory");
}

/* ---- the life of a view ---- */

static struct objective_launch
launch_of(const struct objective_view *view, int64_t from, int64_t to)
{
    const struct objective_view_device *v = &view->v;
    struct objective_launch l = {
        .view = view->device, .first = from, .samples = to - from, .row = 0, .rows = 0,
        .ready = view->ready, .scope = v->scope, .longest = 0, .largest = 0,
        .pairs = objective_has_pairs(v->index), .steps = v->step_mean != NULL,
        .surprise = (v->own & OBJECTIVE_needs_entropy) && v->batch.entropy != NULL,
        .named = v->named_samples > 0,
    };
    int64_t members = 0;

    for (int64_t i = from; i < to; i++) {
        members = i > from && view->sample[i].group == view->sample[i - 1].group ? members + 1 : 1;
        l.largest = members > l.largest ? members : l.largest;
        l.longest = view->sample[i].count > l.longest ? view->sample[i].count : l.longest;
    }
    if (from < to) {
        l.row = view->sample[from].first;
        l.rows = view->sample[to - 1].first + view->sample[to - 1].count - l.row;
    }
    return l;
}

/* All zeros and nobody's; then what samples and rows are, as far as no statistic is needed. */
static int
look(struct sluice_cuda *s, struct objective_view *view)
{
    struct objective_launch l = launch_of(view, 0, view->samples);
    struct objective_view_device *v = &view->v;
    int64_t floats = view->rows * (int64_t)sizeof(float);
    int rc = fill(s, v->c, 0, floats);

    if (rc == 0)
        rc = fill(s, v->e, 0, floats);
    if (rc == 0)
        rc = fill(s, v->h, 0, floats);
    if (rc == 0)
        rc = fill(s, v->wanted, 0, view->rows);
    if (rc == 0)
        rc = fill(s, v->counts, 0, view->rows);
    if (rc == 0)
        rc = fill(s, v->row_sample, 0xff, view->rows * (int64_t)sizeof *v->row_sample);
    l.row = 0;
    l.rows = view->rows;
    return rc == 0 ? objective_launch_known(s, &l) : rc;
}

int
objective_open(struct sluice_cuda *s, const struct sluice_objective *o, int64_t rows,
               const float *logp, const float *lse, const float *entropy,
               const float *named_logits, float *c, float *e, float *h,
               struct objective_view **out, uint8_t **wanted)
{
    struct objective_view *view;
    struct objective_shape shape;
    int rc;

    *out = NULL;
    if (o->settings == NULL || o->step == NULL || o->batch == NULL)
        return fail(SLUICE_argument, "an objective needs settings, a step and a batch");
    rc = objective_shape(o, &shape);
    if (rc == 0)
        rc = check_settings(o, o->settings);
    if (rc == 0)
        rc = check_step(o, o->step);
    if (rc != 0)
        return rc;
    view = (struct objective_view *)calloc(1, sizeof *view);
    if (view == NULL)
        return fail(SLUICE_memory, "out of memory");
    view->v.settings = *o->settings;
    view->v.step = *o->step;
    view->v.batch = *o->batch;
    view->v.index = shape.row;
    view->v.own = table[shape.row].needs;
    view->v.needs = shape.needs;
    view->v.scope = shape.scope;
    view->v.fault = s->fault;
    view->v.batch.logp = logp;
    view->v.batch.lse = lse;
    view->v.batch.entropy = entropy;
    view->v.batch.named_logits = named_logits;
    view->v.c = c;
    view->v.e = e;
    view->v.h = h;
    view->sample = o->batch->sample;
    view->rows = rows;
    view->samples = o->batch->samples;
    rc = check_batch(o, &view->v, rows);
    if (rc == 0)
        rc = copy(s, view, o);
    if (rc == 0)
        rc = look(s, view);
    if (rc != 0) {
        objective_view_free(view);
        return rc;
    }
    *out = view;
    if (wanted != NULL)
        *wanted = view->v.wanted;
    return 0;
}

const struct objective_view_device *
objective_view_on_device(const struct objective_view *view)
{
    return view->device;
}

void
objective_view_entries(const struct objective_view *view, const struct objective_entry **entries,
                       const int64_t **first, int64_t *count)
{
    *entries = view->v.named_samples > 0 ? view->v.entries : NULL;
    *first = view->v.named_samples > 0 ? view->v.entry_first : NULL;
    *count = view->v.named_samples * view->v.batch.named;
}

int
objective_solve(struct sluice_cuda *s, struct objective_view *view, int64_t from, int64_t to)
{
    struct objective_launch l = launch_of(view, from, to);
    int rc = view->v.scope == OBJECTIVE_token ? 0 : objective_launch_sums(s, &l);

    if (rc == 0)
        rc = objective_launch_terms(s, &l);
    if (rc == 0 && from <= view->solved && to > view->solved)
        view->solved = to;
    return rc;
}

int
objective_close(struct sluice_cuda *s, struct objective_view *view,
                struct objective_entry *entries, int64_t *entry_count,
                struct objective_report *report)
{
    struct objective_launch l = launch_of(view, 0, view->samples);
    int64_t count = view->v.named_samples * view->v.batch.named, row;
    struct objective_report sums = *report;
    enum fault what;
    int rc = 0;

    if (view->solved < view->samples)
        rc = objective_solve(s, view, view->solved, view->samples);
    if (rc == 0)
        rc = fail_cuda(cudaMemcpyAsync(view->v.report, report, sizeof *report,
                                       cudaMemcpyHostToDevice, s->stream), "copying the report");
    if (rc == 0)
        rc = objective_launch_report(s, &l);
    if (rc == 0)
        rc = fault_read(s, &what, &row);
    if (rc == 0 && row >= 0)
        return what == FAULT_coefficient ? objective_fail(s, view, row)
                                         : fail_row(SLUICE_nonfinite, row, "row %lld: a logit is "
                                                    "not finite", (long long)row);
    if (rc == 0)
        rc = objective_download(s, &sums, view->v.report, sizeof sums);
    if (rc == 0 && entries != NULL)
        rc = objective_download(s, entries, view->v.entries, count * (int64_t)sizeof *entries);
    if (rc != 0)
        return rc;
    sums.loss = sums.policy + sums.pull + sums.kl_loss + sums.entropy_loss;
    *report = sums;
    if (entry_count != NULL)
        *entry_count = entries != NULL ? count : 0;
    return 0;
}

void
objective_view_free(struct objective_view *view)
{
    if (view == NULL)
        return;
    free(view->staged);
    free(view);
}
