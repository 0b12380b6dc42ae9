/* The objective alone, for callers that have statistics; and what of a row is not finite. */
#include <math.h>
#include <stdlib.h>

#include "kernels/cuda/objective_kernels.cuh"

int
objective_download(struct sluice_cuda *s, void *to, const void *from, int64_t bytes)
{
    int rc = 0;

    if (bytes > 0)
        rc = fail_cuda(cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToHost, s->stream),
                       "copying from the device");
    return rc == 0 ? fail_cuda(cudaStreamSynchronize(s->stream), "waiting for the device") : rc;
}

/* ---- what is not finite ---- */

/* Rows of the call, and where among them something was found. */
struct search {
    int64_t first, count;
    uint8_t *wanted;                /* (count) */
    float   *values;                /* (count) */
    int64_t  found;                 /* the first row with a number that is not finite; -1 */
    const char *what;
};

static int
search_column(struct sluice_cuda *s, struct search *look, const float *values, const char *what)
{
    int rc = 0;

    if (values == NULL || look->count == 0)
        return 0;
    rc = objective_download(s, look->values, values + look->first,
                            look->count * (int64_t)sizeof *values);
    for (int64_t t = 0; t < look->count && rc == 0; t++) {
        if (!look->wanted[t] || isfinite(look->values[t]))
            continue;
        if (look->found < 0 || look->first + t < look->found) {
            look->found = look->first + t;
            look->what = what;
        }
        break;
    }
    return rc;
}

static int
search_columns(struct sluice_cuda *s, const struct objective_view_device *v, struct search *look)
{
    const struct { const char *name; const float *values; } columns[] = {
        {"log probability", v->batch.logp},
        {"weight", v->batch.weight},
        {"advantage", v->batch.advantage},
        {"reference log probability", v->batch.reference},
        {"behaviour log probability", v->batch.behaviour},
        {"entropy", v->batch.entropy},
        {"logsumexp", v->batch.lse},
    };
    int rc = objective_download(s, look->wanted, v->wanted + look->first, look->count);

    for (size_t k = 0; k < sizeof columns / sizeof *columns && rc == 0; k++)
        rc = search_column(s, look, columns[k].values, columns[k].name);
    return rc;
}

/* The sample that a row is of; samples: none. */
static int64_t
sample_of(const struct objective_view *view, int64_t row)
{
    int64_t i = 0;

    while (i < view->samples && row >= view->sample[i].first + view->sample[i].count)
        i++;
    return i < view->samples && row >= view->sample[i].first ? i : view->samples;
}

/* A coefficient that is not finite may come from any row of what its scope couples. */
static void
search_range(const struct objective_view *view, int64_t i, int64_t row, struct search *look)
{
    int64_t from = i, to = i + 1;

    look->first = row;
    look->count = 1;
    if (view->v.scope == OBJECTIVE_token)
        return;
    while (view->v.scope >= OBJECTIVE_group && from > 0
           && (view->v.scope == OBJECTIVE_step
               || view->sample[from - 1].group == view->sample[i].group))
        from--;
    while (view->v.scope >= OBJECTIVE_group && to < view->samples
           && (view->v.scope == OBJECTIVE_step
               || view->sample[to].group == view->sample[i].group))
        to++;
    look->first = view->sample[from].first;
    look->count = view->sample[to - 1].first + view->sample[to - 1].count - look->first;
}

static int
bad_name(struct sluice_cuda *s, const struct objective_view *view, int64_t i, int64_t row,
         int64_t *name)
{
    const struct objective_batch *b = &view->v.batch;
    float logits[OBJECTIVE_NAMED_MAX];
    int rc = 0;

    *name = -1;
    if (view->v.named_samples == 0 || view->sample[i].named_row != row)
        return 0;
    rc = objective_download(s, logits, b->named_logits + i * b->named,
                            b->named * (int64_t)sizeof *logits);
    for (int64_t k = 0; k < b->named && rc == 0 && *name < 0; k++)
        if (!isfinite(logits[k]))
            *name = k;
    return rc;
}

int
objective_fail(struct sluice_cuda *s, const struct objective_view *view, int64_t row)
{
    struct search look = {};
    int64_t i = sample_of(view, row), name = -1;
    int rc = 0;

    if (i == view->samples)
        return fail_row(SLUICE_nonfinite, row, "row %lld: a coefficient is not finite",
                        (long long)row);
    look.found = -1;
    search_range(view, i, row, &look);
    look.wanted = (uint8_t *)calloc((size_t)look.count, 1);
    look.values = (float *)calloc((size_t)look.count, sizeof *look.values);
    if (look.wanted != NULL && look.values != NULL)
        rc = search_columns(s, &view->v, &look);
    if (rc == 0 && look.found < 0)
        rc = bad_name(s, view, i, row, &name);
    free(look.wanted);
    free(look.values);
    if (rc != 0)
        return rc;
    if (name >= 0)
        return fail_row(SLUICE_nonfinite, row,
                        "sample %lld, row %lld: named logit %lld is not finite", (long long)i,
                        (long long)row, (long long)name);
    if (look.found >= 0)
        return fail_row(SLUICE_nonfinite, look.found, "sample %lld, row %lld: a %s is not finite",
                        (long long)sample_of(view, look.found), (long long)look.found, look.what);
    return fail_row(SLUICE_nonfinite, row, "sample %lld, row %lld: a coefficient is not finite",
                    (long long)i, (long long)row);
}

/* ---- the objective alone ---- */

SLUICE_API int
sluice_objective_run(struct sluice_cuda *s, const struct sluice_objective *objective,
                     const float *logp, const float *lse, const float *entropy,
                     const float *named_logits, float *c, float *e, float *h,
                     struct objective_entry *entries, int64_t *entry_count,
                     struct objective_report *report)
{
    struct objective_view *view = NULL;
    struct objective_report none = {};
    int rc;

    fail_clear();
    if (entry_count != NULL)
        *entry_count = 0;
    if (objective == NULL || objective->batch == NULL)
        return fail(SLUICE_argument, "an objective needs settings, a step and a batch");
    rc = context_enter(s);
    if (rc == 0)
        rc = fault_reset(s);
    if (rc == 0)
        rc = objective_open(s, objective, objective->batch->rows, logp, lse, entropy, named_logits,
                            c, e, h, &view, NULL);
    if (rc == 0 && view->v.named_samples > 0 && entries == NULL)
        rc = fail(SLUICE_argument, "objective %s needs room for named logits", objective->name);
    if (rc == 0)
        rc = objective_solve(s, view, 0, view->samples);
    if (rc == 0)
        rc = objective_close(s, view, entries, entry_count, report != NULL ? report : &none);
    objective_view_free(view);
    return rc;
}
