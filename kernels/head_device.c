/* head_device: see head_device.h. Taking the device and its memory is in head_device_room.c. */
#include "kernels/head_device_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FLOATS(n) ((n) * (int64_t)sizeof(float))

/* ---- what is multiplied ---- */

/* The head's weight of another model in bfloat16, in pieces through the room that hidden states
 * have, as that of the own one was before its first step. */
static int
load_other(struct head_device *d, const struct model *m, struct error *e)
{
    int64_t piece = d->rows_room;
    int rc = head_device_other(d, e);

    for (int64_t at = 0; at < d->vocab && rc == 0; at += piece) {
        int64_t rows = d->vocab - at < piece ? d->vocab - at : piece, place = at * d->hidden;

        rc = device_upload(d->device, d->stage, m->params + d->head + place,
                           FLOATS(rows * d->hidden), e);
        if (rc == 0)
            rc = head_device_check(
                d, d->call->sluice_cast(d->cuda, rows, d->hidden, d->stage, d->stride,
                                        d->other + at * d->stride, d->rounding, d->seed,
                                        (uint64_t)place),
                "rounding the head's weight", e);
    }
    if (rc == 0 && d->other_bias != NULL)
        rc = device_upload(d->device, d->other_bias, m->params + d->head_bias, FLOATS(d->vocab), e);
    return rc;
}

/* What products read becomes that of `m`. */
static int
load(struct head_device *d, const struct model *m, struct error *e)
{
    d->bad_row = -1;
    if (m->params == d->own) {
        d->now = adamw_device_head(d->adamw);
        return 0;
    }
    if (d->loaded != m->params) {
        int rc = head_device_rows(d, 1, e);

        d->loaded = NULL;
        if (rc == 0)
            rc = load_other(d, m, e);
        if (rc < 0)
            return rc;
        d->loaded = m->params;
    }
    d->now = (struct sluice_head){d->hidden, d->vocab, d->other, d->stride, d->other_bias};
    return 0;
}

static struct sluice_rows
rows_now(const struct head_device *d)
{
    return (struct sluice_rows){d->rows, d->x, d->stride, d->targets};
}

/* Hidden states, rounded on the device, and targets. */
static int
put_rows(struct head_device *d, int64_t rows, const float *x, const int32_t *targets,
         struct error *e)
{
    int rc = head_device_rows(d, rows, e);

    d->rows = rows;
    if (rc == 0)
        rc = device_upload(d->device, d->stage, x, FLOATS(rows * d->hidden), e);
    if (rc == 0)
        rc = head_device_check(d,
                               d->call->sluice_cast(d->cuda, rows, d->hidden, d->stage, d->stride,
                                                    d->x, SLUICE_nearest, 0, 0),
                               "rounding hidden states", e);
    if (rc == 0)
        rc = device_upload(d->device, d->targets, targets, rows * (int64_t)sizeof(*targets), e);
    return rc;
}

static int
put_array(struct head_device *d, enum row_array which, const float *values, struct error *e)
{
    return values == NULL
               ? 0
               : device_upload(d->device, d->arrays[which], values, FLOATS(d->rows), e);
}

static int
get_array(struct head_device *d, enum row_array which, float *values, struct error *e)
{
    return values == NULL
               ? 0
               : device_download(d->device, values, d->arrays[which], FLOATS(d->rows), e);
}

/* The gradient of hidden states goes where they came up. */
static struct sluice_slopes
slopes_now(const struct head_device *d)
{
    struct sluice_slopes slopes = {
        .dx = d->stage, .dx_stride = d->hidden, .dx_type = SLUICE_float32};

    adamw_device_slopes(d->adamw, &slopes);
    return slopes;
}

/* ---- statistics ---- */

int
head_device_statistics(struct head_device *d, const struct model *m, int64_t rows, const float *x,
                       const int32_t *targets, float *logp, float *lse, float *entropy,
                       struct error *e)
{
    int rc = load(d, m, e), found = 0;

    if (rc == 0)
        rc = put_rows(d, rows, x, targets, e);
    if (rc < 0)
        return rc;

    const struct sluice_rows now = rows_now(d);

    found = head_device_check(
        d,
        d->call->sluice_head_statistics(d->cuda, &d->now, &now, &d->options, d->arrays[ROW_logp],
                                        d->arrays[ROW_lse],
                                        entropy == NULL ? NULL : d->arrays[ROW_entropy]),
        "log probabilities", e);
    if (found < 0 && found != ERROR_nonfinite)
        return found;
    rc = get_array(d, ROW_logp, logp, e);
    if (rc == 0)
        rc = get_array(d, ROW_lse, lse, e);
    if (rc == 0)
        rc = get_array(d, ROW_entropy, entropy, e);
    if (found < 0 && d->bad_row >= 0 && d->bad_row < rows)
        logp[d->bad_row] = NAN;
    return rc < 0 ? rc : found;
}

int
head_device_named(struct head_device *d, int64_t count, const int64_t *rows, int64_t named,
                  const int32_t *columns, float *out, struct error *e)
{
    const struct sluice_rows now = rows_now(d);
    int rc = 0;

    d->bad_row = -1;
    if (count * named > d->named_room) {
        device_free(d->device, d->named);
        d->named = NULL;
        d->named_room = 0;
        rc = device_alloc(d->device, FLOATS(count * named), "named logits",
                          (void **)&d->named, e);
        d->named_room = rc == 0 ? count * named : 0;
    }
    if (rc == 0)
        rc = head_device_check(
            d,
            d->call->sluice_head_named(d->cuda, &d->now, &now, count, rows, named, columns,
                                       d->named),
            "named logits", e);
    return rc == 0 ? device_download(d->device, out, d->named, FLOATS(count * named), e) : rc;
}

/* ---- gradients ---- */

int
head_device_backward(struct head_device *d, const struct model *m, int64_t rows, const float *x,
                     const int32_t *targets, const float *lse, const float *entropy,
                     const struct head_gradient *g, float *dx, struct error *e)
{
    int rc = load(d, m, e);

    if (rc == 0 && !g->same)
        rc = put_rows(d, rows, x, targets, e);
    if (rc == 0)
        rc = put_array(d, ROW_lse, lse, e);
    if (rc == 0)
        rc = put_array(d, ROW_entropy, entropy, e);
    if (rc == 0)
        rc = put_array(d, ROW_c, g->c, e);
    if (rc == 0)
        rc = put_array(d, ROW_e, g->e, e);
    if (rc == 0)
        rc = put_array(d, ROW_h, g->h, e);
    if (rc < 0)
        return rc;

    const struct sluice_rows now = rows_now(d);
    const struct sluice_slopes slopes = slopes_now(d);
    const struct sluice_gradient up = {
        .c = d->arrays[ROW_c],
        .e = g->e == NULL ? NULL : d->arrays[ROW_e],
        .h = g->h == NULL ? NULL : d->arrays[ROW_h],
        .entries = (const struct objective_entry *)(const void *)g->entries,
        .entry_count = g->entry_count,
    };

    rc = head_device_check(d,
                           d->call->sluice_head_backward(
                               d->cuda, &d->now, &now, &d->options, d->arrays[ROW_lse],
                               entropy == NULL ? NULL : d->arrays[ROW_entropy], &up, &slopes),
                           "the head's gradient", e);
    return rc == 0 ? device_download(d->device, dx, d->stage, FLOATS(rows * d->hidden), e) : rc;
}

/* ---- the loss ---- */

/* The objective's arrays go up; *out is the batch with them there. */
static int
put_batch(struct head_device *d, const struct objective_batch *b, struct objective_batch *out,
          struct error *e)
{
    const struct {
        enum row_array which;
        const float *from, **to;
    } floats[] = {
        {ROW_reference, b->reference, &out->reference},
        {ROW_behaviour, b->behaviour, &out->behaviour},
        {ROW_weight, b->weight, &out->weight},
        {ROW_advantage, b->advantage, &out->advantage},
    };
    int rc = 0;

    *out = *b;
    out->logp = out->lse = out->entropy = out->named_logits = NULL;
    for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]) && rc == 0; i++) {
        rc = put_array(d, floats[i].which, floats[i].from, e);
        *floats[i].to = floats[i].from == NULL ? NULL : d->arrays[floats[i].which];
    }
    out->mask = b->mask == NULL ? NULL : d->mask;
    out->begins = b->begins == NULL ? NULL : d->begins;
    if (rc == 0 && b->mask != NULL)
        rc = device_upload(d->device, d->mask, b->mask, b->rows, e);
    if (rc == 0 && b->begins != NULL)
        rc = device_upload(d->device, d->begins, b->begins, b->rows, e);
    return rc;
}

int
head_device_knows(const struct objective *o)
{
    return objective_find(o->name) == o;
}

int
head_device_loss(struct head_device *d, const struct model *m, const float *x,
                 const int32_t *targets, const struct objective *o,
                 const struct objective_settings *s, const struct objective_step *step,
                 const struct objective_batch *b, struct objective_report *report, float *dx,
                 struct error *e)
{
    const struct sluice_outcome outcome = {.report = report};
    struct objective_batch batch;
    int rc = load(d, m, e);

    if (rc == 0)
        rc = put_rows(d, b->rows, x, targets, e);
    if (rc == 0)
        rc = put_batch(d, b, &batch, e);
    if (rc < 0)
        return rc;

    const struct sluice_rows now = rows_now(d);
    const struct sluice_slopes slopes = slopes_now(d);
    const struct sluice_objective objective = {o->name, s, step, &batch};

    rc = head_device_check(
        d,
        d->call->sluice_head_loss(d->cuda, &d->now, &now, &d->options, &objective, &outcome,
                                  &slopes),
        "the loss", e);
    return rc == 0 ? device_download(d->device, dx, d->stage, FLOATS(b->rows * d->hidden), e) : rc;
}

/* ---- the optimiser ---- */

int
head_device_begin(struct head_device *d, struct error *e)
{
    d->bad_row = -1;
    return adamw_device_begin(d->adamw, e);
}

int
head_device_end(struct head_device *d, const struct adamw *a, struct model *m, int64_t step,
                const float *grads, double *norm, struct error *e)
{
    int rc;

    d->bad_row = -1;
    rc = adamw_device_step(d->adamw, a, step, grads, norm, e);
    if (rc < 0 || !isfinite(*norm))
        return rc;
    return adamw_device_read(d->adamw, m->params, NULL, NULL, e);
}

int
head_device_skip(struct head_device *d, int64_t step, struct error *e)
{
    d->bad_row = -1;
    return adamw_device_skip(d->adamw, step, e);
}

const char *
head_device_blame(struct head_device *d, const struct adamw *a)
{
    return adamw_device_blame(d->adamw, a);
}

int
head_device_moments(struct head_device *d, float *moment1, float *moment2, struct error *e)
{
    return adamw_device_read(d->adamw, NULL, moment1, moment2, e);
}
