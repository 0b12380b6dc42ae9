/* head_device: the head, the loss and the optimiser of a trainer on a CUDA device (device.h),
 * beside a decoder that computes on the CPU: what head.h, objective.h and adamw.h do, through the
 * functions of sluice_cuda.h.
 *
 * Who calls it sees host memory alone. Hidden states go up and become bfloat16 there; the head's
 * weight is the bfloat16 cast of the device's float32 master, a function of the weight, its place
 * and the seed; the gradient of hidden states comes back in float32. Parameters and moments are the
 * device's; the head's gradient is made there, the decoder's goes up once a step, and the updated
 * parameters come back for the decoder.
 *
 * A row's statistics are the same bits at any place in any batch, and where the objective compares
 * log probabilities (or logits were asked for by name) in head_device_statistics and
 * head_device_loss alike: with the same weights every log ratio is exactly zero.
 *
 * Functions return 0 or a negative ERROR_*. ERROR_nonfinite: a number is not finite, and
 * head_device_row says of which row; the device is well, and the call may be followed by others.
 * After any other error the device is to be given up. */
#ifndef KERNELS_HEAD_DEVICE_H
#define KERNELS_HEAD_DEVICE_H

#include "base/memory.h"
#include "kernels/adamw.h"
#include "kernels/head.h"
#include "kernels/objective.h"
#include "kernels/sluice_cuda.h"

#define HEAD_DEVICE_NAME_MAX 400

struct head_device_options {
    enum sluice_logits logits;
    int64_t memory;             /* bytes for logits; 0: sluice_cuda.h's own */
    int     keep;               /* logits of units longer than a chunk stay (sluice_options) */
    enum sluice_rounding rounding;  /* of weights to bfloat16 */
    uint64_t seed;              /* of stochastic rounding */
    const struct objective *objective;
    unsigned needs;             /* objective_needs() of it under its settings */
    int64_t rows;               /* of the largest batch */
    int64_t unit_rows;          /* of the longest sample */
    int64_t step;               /* that made the weights and moments; 0: none yet */
    int     others;             /* another model's log probabilities will be wanted too */
};

struct head_device;             /* one model on one device */

/* choice: auto, cpu, cuda:N (device.h). *out NULL: the processor. Takes all the memory that batches
 * of o->rows will need: ERROR_topology says what was planned, what is free and which option to
 * change. m and its moments are read during the call alone, but m->params stays where it is. */
int  head_device_open(struct head_device **out, const char *choice,
                      const struct head_device_options *o, const struct model *m,
                      const float *moment1, const float *moment2, struct error *e);
void head_device_close(struct head_device *d);      /* NULL: nothing */

/* "cuda:0 NVIDIA H100 80GB HBM3, driver 13000, cuBLASLt 130200": what decides the bits beside the
 * program and the algorithms. */
const char *head_device_name(const struct head_device *d);

/* The algorithms that were chosen (sluice_cuda_algorithms), appended to `text`; and those of an
 * earlier life, before the first product: ERROR_version where they are another device's or
 * library's, and nothing is set. */
int head_device_algorithms(struct head_device *d, struct buffer *text, struct error *e);
int head_device_algorithms_set(struct head_device *d, struct span text, struct error *e);

/* The row of the last call that ERROR_nonfinite is about; -1: no row's. */
int64_t head_device_row(const struct head_device *d);

/* Can head_device_loss take it: is it one of objective.def's, not a file's? */
int head_device_knows(const struct objective *o);

/* x (rows, hidden) and targets as in head_statistics, under the weights of `m`: the model it was
 * opened with, or another of its shape, whose weights stay as they are while it may come again.
 * entropy NULL: not wanted. After ERROR_nonfinite the arrays are written, log p of the row is NaN.
 */
int head_device_statistics(struct head_device *d, const struct model *m, int64_t rows,
                           const float *x, const int32_t *targets, float *logp, float *lse,
                           float *entropy, struct error *e);

/* As head_named, for the rows of the last head_device_statistics. */
int head_device_named(struct head_device *d, int64_t count, const int64_t *rows, int64_t named,
                      const int32_t *columns, float *out, struct error *e);

/* Opens a step: the head's gradient is zero. */
int head_device_begin(struct head_device *d, struct error *e);

/* As head_backward: dx (rows, hidden) is written, the head's gradient added to on the device.
 * g->same: x and targets are those of the last head_device_statistics. */
int head_device_backward(struct head_device *d, const struct model *m, int64_t rows,
                         const float *x, const int32_t *targets, const float *lse,
                         const float *entropy, const struct head_gradient *g, float *dx,
                         struct error *e);

/* Statistics, objective and backward of a batch that holds whole units of the objective's scope.
 * b: as for objective_run, all of it the host's, without statistics. */
int head_device_loss(struct head_device *d, const struct model *m, const float *x,
                     const int32_t *targets, const struct objective *o,
                     const struct objective_settings *s, const struct objective_step *step,
                     const struct objective_batch *b, struct objective_report *report, float *dx,
                     struct error *e);

/* As adamw_step, with the head's gradients from here and all others from `grads` (m->count), the
 * host's; a tied embedding's are the sum of both. m->params become the updated ones. *norm is as
 * there: where it is not finite nothing has changed. */
int head_device_end(struct head_device *d, const struct adamw *a, struct model *m, int64_t step,
                    const float *grads, double *norm, struct error *e);

/* In place of it, for a step that is left out. */
int head_device_skip(struct head_device *d, int64_t step, struct error *e);

/* The first tensor whose gradient of that step is not finite; NULL: none. */
const char *head_device_blame(struct head_device *d, const struct adamw *a);

/* The moments, for a checkpoint. */
int head_device_moments(struct head_device *d, float *moment1, float *moment2, struct error *e);

#endif
