/* The optimiser's step on a device: what goes up, what is queued, what comes down. */
#include "kernels/adamw_device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define STRIDE_UNIT  8              /* columns of bfloat16 in 16 bytes */
#define STAGE_FLOATS (INT64_C(16) << 20)

struct adamw_device {
    struct device       *device;
    const struct model  *model;
    float               *params, *grads, *m, *v;    /* the device's, laid out like model.params */
    void                *weight;                    /* bfloat16 (head_rows, stride) */
    float               *stage;                     /* of a tied head's host gradient, or NULL */
    int64_t              stride;
    enum sluice_rounding rounding;
    uint64_t             seed;
};

static int
is_tied(const struct model *model)
{
    return model->head == model->embed;
}

static int64_t
stride_of(const struct model *model)
{
    return (model->config.hidden_size + STRIDE_UNIT - 1) / STRIDE_UNIT * STRIDE_UNIT;
}

static int64_t
head_count(const struct model *model)
{
    return model->head_rows * model->config.hidden_size;
}

static int64_t
stage_floats(const struct model *model)
{
    int64_t count = is_tied(model) ? head_count(model) : 0;

    return count < STAGE_FLOATS ? count : STAGE_FLOATS;
}

int64_t
adamw_device_bytes(const struct model *model)
{
    return 4 * model->count * (int64_t)sizeof(float) +
           model->head_rows * stride_of(model) * (int64_t)sizeof(uint16_t) +
           stage_floats(model) * (int64_t)sizeof(float);
}

/* ---- life ---- */

static int
take(struct adamw_device *a, struct error *e)
{
    float **const arrays[] = {&a->params, &a->grads, &a->m, &a->v};
    int64_t bytes = a->model->count * (int64_t)sizeof(float), stage = stage_floats(a->model);
    int rc = 0;

    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && rc == 0; i++) {
        void *at = NULL;

        rc = device_alloc(a->device, bytes, "the optimiser's memory", &at, e);
        *arrays[i] = at;
        if (rc == 0)
            rc = device_zero(a->device, at, bytes, e);
    }
    if (rc == 0)
        rc = device_alloc(a->device, a->model->head_rows * a->stride * (int64_t)sizeof(uint16_t),
                          "the head's memory", &a->weight, e);
    if (rc == 0 && stage > 0) {
        void *at = NULL;

        rc = device_alloc(a->device, stage * (int64_t)sizeof(float), "the optimiser's memory", &at,
                          e);
        a->stage = at;
    }
    return rc;
}

static int
check_room(struct device *d, const struct model *model, struct error *e)
{
    const double gib = 1 << 30;
    int64_t bytes = adamw_device_bytes(model);
    struct sluice_device now;
    int rc = device_fail(d, device_calls(d)->sluice_cuda_describe(device_index(d), &now),
                         "the device's memory", e);

    if (rc < 0 || bytes <= now.memory_free)
        return rc;
    return error_set(e, ERROR_memory,
                     "weights, gradients and moments of %lld parameters take %.2f GiB on cuda:%d, "
                     "where %.2f of %.2f GiB are free: free some, choose another device or "
                     "`device: cpu`, or train a smaller model", (long long)model->count,
                     (double)bytes / gib, device_index(d), (double)now.memory_free / gib,
                     (double)now.memory / gib);
}

int
adamw_device_new(struct device *d, const struct model *model, enum sluice_rounding rounding,
                 uint64_t seed, struct adamw_device **out, struct error *e)
{
    struct adamw_device *a;
    int rc = check_room(d, model, e);

    *out = NULL;
    if (rc < 0)
        return rc;
    a = xalloc(sizeof *a);
    a->device = d;
    a->model = model;
    a->stride = stride_of(model);
    a->rounding = rounding;
    a->seed = seed;
    rc = take(a, e);
    if (rc < 0) {
        adamw_device_free(a);
        return rc;
    }
    *out = a;
    return 0;
}

void
adamw_device_free(struct adamw_device *a)
{
    if (a == NULL)
        return;
    device_free(a->device, a->params);
    device_free(a->device, a->grads);
    device_free(a->device, a->m);
    device_free(a->device, a->v);
    device_free(a->device, a->weight);
    device_free(a->device, a->stage);
    free(a);
}

/* The bfloat16 weights of the head, from params; each step draws anew. */
static int
round_head(struct adamw_device *a, int64_t step, struct error *e)
{
    const struct model *model = a->model;
    uint64_t draws = (uint64_t)(head_count(model) + STRIDE_UNIT - 1) / STRIDE_UNIT * STRIDE_UNIT;
    int status = device_calls(a->device)->sluice_cast(
        device_context(a->device), model->head_rows, model->config.hidden_size,
        a->params + model->head, a->stride, a->weight, a->rounding, a->seed,
        (uint64_t)step * draws);

    return device_fail(a->device, status, "rounding the head's weights", e);
}

int
adamw_device_load(struct adamw_device *a, const float *params, const float *m, const float *v,
                  int64_t step, struct error *e)
{
    float *const to[] = {a->params, a->m, a->v};
    const float *const from[] = {params, m, v};
    int64_t bytes = a->model->count * (int64_t)sizeof(float);
    int rc = 0;

    for (size_t i = 0; i < sizeof to / sizeof *to && rc == 0; i++)
        rc = from[i] != NULL ? device_upload(a->device, to[i], from[i], bytes, e)
                             : device_zero(a->device, to[i], bytes, e);
    if (rc == 0)
        rc = round_head(a, step, e);
    return rc == 0 ? device_wait(a->device, e) : rc;
}

int
adamw_device_read(struct adamw_device *a, float *params, float *m, float *v, struct error *e)
{
    const float *const from[] = {a->params, a->m, a->v};
    float *const to[] = {params, m, v};
    int64_t bytes = a->model->count * (int64_t)sizeof(float);
    int rc = 0;

    for (size_t i = 0; i < sizeof to / sizeof *to && rc == 0; i++)
        if (to[i] != NULL)
            rc = device_download(a->device, to[i], from[i], bytes, e);
    return rc;
}

/* ---- the head ---- */

struct sluice_head
adamw_device_head(const struct adamw_device *a)
{
    const struct model *model = a->model;

    return (struct sluice_head){
        .hidden = model->config.hidden_size,
        .vocab = model->head_rows,
        .weight = a->weight,
        .weight_stride = a->stride,
        .bias = model->head_bias >= 0 ? a->params + model->head_bias : NULL,
    };
}

void
adamw_device_slopes(const struct adamw_device *a, struct sluice_slopes *slopes)
{
    const struct model *model = a->model;

    slopes->dweight = a->grads + model->head;
    slopes->dweight_stride = model->config.hidden_size;
    slopes->dbias = model->head_bias >= 0 ? a->grads + model->head_bias : NULL;
}

int
adamw_device_begin(struct adamw_device *a, struct error *e)
{
    const struct model *model = a->model;
    int rc = device_zero(a->device, a->grads + model->head,
                         head_count(model) * (int64_t)sizeof(float), e);

    if (rc == 0 && model->head_bias >= 0)
        rc = device_zero(a->device, a->grads + model->head_bias,
                         model->head_rows * (int64_t)sizeof(float), e);
    return rc;
}

/* ---- the step ---- */

/* Tensors that lie next to each other and are treated alike. */
struct range {
    int64_t offset, count;
    int     kind;
};

/* kinds (tensor_count); a kind below 0: left out. *at: the next tensor, 0 at first. */
static int
next_range(const struct model *model, const int *kinds, int *at, struct range *out)
{
    while (*at < model->tensor_count && kinds[*at] < 0)
        ++*at;
    if (*at == model->tensor_count)
        return 0;
    *out = (struct range){model->tensors[*at].offset, 0, kinds[*at]};
    for (; *at < model->tensor_count && kinds[*at] == out->kind; ++*at)
        out->count += model->tensors[*at].count;
    return 1;
}

enum source { SOURCE_none = -1, SOURCE_host, SOURCE_both };

/* Where a tensor's gradient comes from; none: the device has it, or nobody wants it. */
static enum source
source_of(const struct adamw_device *a, const struct adamw *options, int tensor)
{
    const struct model *model = a->model;
    int64_t offset = model->tensors[tensor].offset;

    if (adamw_group_of(options, model, tensor) == ADAMW_frozen)
        return SOURCE_none;
    if (offset == model->head)
        return is_tied(model) ? SOURCE_both : SOURCE_none;
    return offset == model->head_bias ? SOURCE_none : SOURCE_host;
}

/* Piece by piece through the stage: the stream keeps a piece from overtaking the last one. */
static int
add_range(struct adamw_device *a, struct range r, const float *grads, struct error *e)
{
    int64_t room = stage_floats(a->model);
    int rc = 0;

    for (int64_t at = r.offset, end = at + r.count; at < end && rc == 0; at += room) {
        int64_t count = end - at < room ? end - at : room;

        rc = device_upload(a->device, a->stage, grads + at, count * (int64_t)sizeof(float), e);
        if (rc == 0)
            rc = device_fail(a->device,
                             device_calls(a->device)->sluice_add(device_context(a->device), count,
                                                                 a->stage, a->grads + at),
                             "adding gradients", e);
    }
    return rc;
}

static int
upload_grads(struct adamw_device *a, const struct adamw *options, int *kinds, const float *grads,
             struct error *e)
{
    struct range r;
    int rc = 0, at = 0;

    for (int i = 0; i < a->model->tensor_count; i++)
        kinds[i] = (int)source_of(a, options, i);
    while (rc == 0 && next_range(a->model, kinds, &at, &r))
        rc = r.kind == SOURCE_both ? add_range(a, r, grads, e)
                                   : device_upload(a->device, a->grads + r.offset,
                                                   grads + r.offset,
                                                   r.count * (int64_t)sizeof(float), e);
    return rc;
}

static int
norm_of(struct adamw_device *a, int64_t offset, int64_t count, double *norm, struct error *e)
{
    int status = device_calls(a->device)->sluice_norm(device_context(a->device), count,
                                                      a->grads + offset, norm);

    return device_fail(a->device, status, "the gradient's norm", e);
}

/* Of all that is not frozen; ranges in order of offset. */
static int
whole_norm(struct adamw_device *a, const struct adamw *options, int *kinds, double *norm,
           struct error *e)
{
    double sum = 0, one = 0;
    int rc = 0, at = 0, ranges = 0;
    struct range r;

    for (int i = 0; i < a->model->tensor_count; i++)
        kinds[i] = adamw_group_of(options, a->model, i) == ADAMW_frozen ? -1 : 0;
    for (; rc == 0 && next_range(a->model, kinds, &at, &r); ranges++) {
        rc = norm_of(a, r.offset, r.count, &one, e);
        sum += one * one;
    }
    *norm = ranges == 1 ? one : sqrt(sum);
    return rc;
}

static int
update(struct adamw_device *a, const struct adamw *options, int *kinds, int64_t step, double scale,
       struct error *e)
{
    struct sluice_adamw s = {.lr = options->lr, .beta1 = options->beta1, .beta2 = options->beta2,
                             .eps = options->eps, .step = step, .scale = scale};
    struct range r;
    int rc = 0, at = 0;

    for (int i = 0; i < a->model->tensor_count; i++) {
        enum adamw_group group = adamw_group_of(options, a->model, i);

        kinds[i] = group == ADAMW_frozen ? -1 : (int)group;
    }
    while (rc == 0 && next_range(a->model, kinds, &at, &r)) {
        s.weight_decay = r.kind == ADAMW_decay ? options->weight_decay : 0;
        rc = device_fail(a->device,
                         device_calls(a->device)->sluice_adamw_update(
                             device_context(a->device), &s, r.count, a->params + r.offset,
                             a->grads + r.offset, a->m + r.offset, a->v + r.offset),
                         "the optimiser's step", e);
    }
    return rc;
}

int
adamw_device_step(struct adamw_device *a, const struct adamw *options, int64_t step,
                  const float *grads, double *norm, struct error *e)
{
    int *kinds = xarray((size_t)a->model->tensor_count, sizeof *kinds);
    int rc = upload_grads(a, options, kinds, grads, e);
    double scale;

    if (rc == 0)
        rc = whole_norm(a, options, kinds, norm, e);
    if (rc == 0 && isfinite(*norm)) {
        scale = options->clip > 0 && *norm > options->clip ? options->clip / *norm : 1.0;
        rc = update(a, options, kinds, step, scale, e);
        if (rc == 0)
            rc = round_head(a, step, e);
        if (rc == 0)
            rc = device_wait(a->device, e);
    }
    free(kinds);
    return rc;
}

int
adamw_device_skip(struct adamw_device *a, int64_t step, struct error *e)
{
    return round_head(a, step, e);
}

const char *
adamw_device_blame(struct adamw_device *a, const struct adamw *options)
{
    for (int i = 0; i < a->model->tensor_count; i++) {
        const struct model_tensor *t = &a->model->tensors[i];
        double norm = 0;

        if (adamw_group_of(options, a->model, i) == ADAMW_frozen)
            continue;
        if (norm_of(a, t->offset, t->count, &norm, NULL) < 0)
            return NULL;
        if (!isfinite(norm))
            return t->name;
    }
    return NULL;
}
