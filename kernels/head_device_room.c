/* head_device_room: opens the device and takes the memory that training there needs, all of it
 * before the first step, so that what does not fit is said then. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/head_device_parts.h"

#define STRIDE_STEP 8           /* elements: 16 bytes of bfloat16 */

int
head_device_check(struct head_device *d, int status, const char *doing, struct error *e)
{
    int rc = device_fail(d->device, status, doing, e);

    if (status == SLUICE_nonfinite)
        d->bad_row = d->call->sluice_cuda_error_row();
    /* Which shapes and heads fused logits are for is the library's to say, at the first call. */
    if (status == SLUICE_argument && d->options.logits == SLUICE_logits_fused
        && d->call->sluice_cuda_error_row() < 0) {
        rc = ERROR_topology;
        e->code = rc;
    }
    return rc;
}

/* ---- memory ---- */

/* What is taken for each row of a batch. */
struct share {
    void  **at;
    int64_t bytes;
};

#define SHARES (5 + ROW_arrays)

static void
row_shares(struct head_device *d, struct share shares[SHARES])
{
    const struct share fixed[] = {{(void **)&d->stage, d->hidden * 4},
                                  {&d->x, d->stride * 2},
                                  {(void **)&d->targets, 4},
                                  {(void **)&d->mask, 1},
                                  {(void **)&d->begins, 1}};

    memcpy(shares, fixed, sizeof(fixed));
    for (int i = 0; i < ROW_arrays; i++)
        shares[SHARES - ROW_arrays + i] = (struct share){(void **)&d->arrays[i], 4};
}

static int64_t
row_bytes(struct head_device *d)
{
    struct share shares[SHARES];
    int64_t bytes = 0;

    row_shares(d, shares);
    for (int i = 0; i < SHARES; i++)
        bytes += shares[i].bytes;
    return bytes;
}

static void
free_rows(struct head_device *d)
{
    struct share shares[SHARES];

    row_shares(d, shares);
    for (int i = 0; i < SHARES; i++) {
        device_free(d->device, *shares[i].at);
        *shares[i].at = NULL;
    }
    d->rows_room = 0;
}

int
head_device_rows(struct head_device *d, int64_t rows, struct error *e)
{
    struct share shares[SHARES];
    int rc = 0;

    if (rows <= d->rows_room)
        return 0;
    free_rows(d);
    row_shares(d, shares);
    for (int i = 0; i < SHARES && rc == 0; i++)
        rc = device_alloc(d->device, rows * shares[i].bytes, "rows of a batch", shares[i].at, e);
    d->rows_room = rc == 0 ? rows : 0;
    return rc;
}

static int64_t
other_bytes(const struct head_device *d)
{
    return d->vocab * (d->stride * 2 + (d->head_bias < 0 ? 0 : 4));
}

int
head_device_other(struct head_device *d, struct error *e)
{
    int rc = 0;

    if (d->other == NULL)
        rc = device_alloc(d->device, d->vocab * d->stride * 2, "the reference's head",
                          (void **)&d->other, e);
    if (rc == 0 && d->head_bias >= 0 && d->other_bias == NULL)
        rc = device_alloc(d->device, d->vocab * 4, "the reference's bias", (void **)&d->other_bias,
                          e);
    return rc;
}

/* ---- the plan ---- */

/* What training takes there, in bytes, by what can be changed about it. */
struct planned {
    struct sluice_plan loss, statistics;
    int64_t weights, rows, logits, kept, other;
};

static int64_t
larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The most rows that one chunk of logits should hold together; 0: all. */
static int64_t
unit_rows(const struct head_device_options *o)
{
    switch (o->objective->scope) {
    case OBJECTIVE_token: return 1;
    case OBJECTIVE_sequence: return o->unit_rows;
    default: return 0;
    }
}

static int
plan(struct head_device *d, const struct head_device_options *o, const struct model *m,
     struct planned *p, struct error *e)
{
    const char *name = head_device_knows(o->objective) ? o->objective->name : NULL;
    int rc = d->call->sluice_head_plan(d->cuda, o->rows, d->hidden, d->vocab, name, unit_rows(o),
                                       &d->options, &p->loss);

    if (rc == SLUICE_ok)
        rc = d->call->sluice_head_plan(d->cuda, o->rows, d->hidden, d->vocab, NULL, 0, &d->options,
                                       &p->statistics);
    if (rc != SLUICE_ok)
        device_fail(d->device, rc, "planning the logits", e);
    if (rc == SLUICE_argument)
        e->code = ERROR_topology;       /* an option does not suit the device */
    p->weights = adamw_device_bytes(m) + (o->others ? other_bytes(d) : 0);
    p->rows = o->rows * row_bytes(d);
    p->logits = larger(p->loss.logits_bytes, p->statistics.logits_bytes);
    p->kept = p->loss.kept_bytes;
    p->other = larger(p->loss.other_bytes, p->statistics.other_bytes);
    return rc == SLUICE_ok ? 0 : e->code;
}

static int64_t
total(const struct planned *p)
{
    return p->weights + p->rows + p->logits + p->kept + p->other;
}

/* Says that it does not fit. */
static int
refuse(const struct head_device *d, const struct head_device_options *o, const struct planned *p,
       struct error *e)
{
    const double gb = 1e9;

    return error_set(
        e, ERROR_topology,
        "%s: training needs %.3f GB of its memory, %.3f GB are free: %.3f GB weights, gradients and"
        " moments; %.3f GB logits (head_memory); %.3f GB kept logits (keep_logits); %.3f GB for"
        " %" PRId64 " rows (the larger of batch_tokens and max_tokens); %.3f GB else: lower one of"
        " these options, or say device: cpu",
        d->name, (double)total(p) / gb, (double)device_about(d->device)->memory_free / gb,
        (double)p->weights / gb, (double)p->logits / gb, (double)p->kept / gb, (double)p->rows / gb,
        o->rows, (double)p->other / gb);
}

/* Everything, as planned. */
static int
take(struct head_device *d, const struct head_device_options *o, const struct model *m,
     const struct planned *p, struct error *e)
{
    int rc = adamw_device_new(d->device, m, o->rounding, o->seed, &d->adamw, e);

    if (rc == 0 && o->others)
        rc = head_device_other(d, e);
    if (rc == 0)
        rc = head_device_rows(d, o->rows, e);
    if (rc == 0)
        rc = device_fail(d->device, d->call->sluice_head_reserve(d->cuda, &p->loss), "the loss", e);
    if (rc == 0)
        rc = device_fail(d->device, d->call->sluice_head_reserve(d->cuda, &p->statistics),
                         "log probabilities", e);
    return rc;
}

/* ---- opening ---- */

/* A ratio, or a pull to the reference, compares log probabilities of different calls, and a group
 * or a step that is larger than a batch is solved from them: all of them then come from float32
 * logits. */
static struct sluice_options
options_of(const struct head_device_options *o)
{
    const unsigned ratios = OBJECTIVE_needs_reference | OBJECTIVE_needs_behaviour;
    const int apart = (o->needs & ratios) || o->objective->scope >= OBJECTIVE_group;
    const int exact = o->logits == SLUICE_logits_automatic && apart;

    return (struct sluice_options){.logits = exact ? SLUICE_logits_float32 : o->logits,
                                   .memory = o->memory,
                                   .keep = o->keep};
}

static struct head_device *
head_device_new(struct device *device, const struct head_device_options *o, const struct model *m)
{
    const struct sluice_device *about = device_about(device);
    struct head_device *d = xalloc(sizeof(*d));

    *d = (struct head_device){
        .device = device,
        .call = device_calls(device),
        .cuda = device_context(device),
        .options = options_of(o),
        .rounding = o->rounding,
        .seed = o->seed,
        .hidden = m->config.hidden_size,
        .vocab = m->head_rows,
        .stride = (m->config.hidden_size + STRIDE_STEP - 1) / STRIDE_STEP * STRIDE_STEP,
        .head = m->head,
        .head_bias = m->head_bias,
        .own = m->params,
        .bad_row = -1,
    };
    snprintf(d->name, sizeof(d->name), "cuda:%d %s, driver %d, cuBLASLt %" PRId64,
             device_index(device), about->name, about->driver, about->cublaslt);
    return d;
}

int
head_device_open(struct head_device **out, const char *choice, const struct head_device_options *o,
                 const struct model *m, const float *moment1, const float *moment2,
                 struct error *e)
{
    struct planned p = {0};
    struct device *device = NULL;
    struct head_device *d;
    int rc = device_open(choice, &device, e);

    *out = NULL;
    if (rc < 0 || device == NULL)
        return rc;
    d = head_device_new(device, o, m);
    rc = plan(d, o, m, &p, e);
    if (rc == 0 && total(&p) > device_about(device)->memory_free)
        rc = ERROR_memory;
    if (rc == 0)
        rc = take(d, o, m, &p, e);
    if (rc == ERROR_memory)
        rc = refuse(d, o, &p, e);
    if (rc == 0)
        rc = adamw_device_load(d->adamw, m->params, moment1, moment2, o->step, e);
    if (rc < 0) {
        head_device_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void
head_device_close(struct head_device *d)
{
    if (d == NULL)
        return;
    free_rows(d);
    adamw_device_free(d->adamw);
    device_free(d->device, d->other);
    device_free(d->device, d->other_bias);
    device_free(d->device, d->named);
    device_close(d->device);
    free(d);
}

const char *
head_device_name(const struct head_device *d)
{
    return d->name;
}

int64_t
head_device_row(const struct head_device *d)
{
    return d->bad_row;
}

/* ---- pinned products ---- */

int
head_device_algorithms(struct head_device *d, struct buffer *text, struct error *e)
{
    size_t length = 0;
    int rc = d->call->sluice_cuda_algorithms(d->cuda, NULL, 0, &length);

    if (rc == SLUICE_ok || length > 0) {
        buffer_reserve(text, length + 1);
        rc = d->call->sluice_cuda_algorithms(d->cuda, text->at + text->length, length + 1, &length);
    }
    if (rc == SLUICE_ok)
        text->length += length;
    return device_fail(d->device, rc, "asking for its algorithms", e);
}

int
head_device_algorithms_set(struct head_device *d, struct span text, struct error *e)
{
    char *copy = span_copy(text);
    int rc = d->call->sluice_cuda_algorithms_set(d->cuda, copy);

    free(copy);
    if (rc == SLUICE_argument)
        return error_set(e, ERROR_version, "%s", d->call->sluice_cuda_error());
    return device_fail(d->device, rc, "setting its algorithms", e);
}
