/* adamw_device: a model's weights, moments and gradients on a device (device.h), and the
 * optimiser's step there. For a learner whose decoder computes on the processor and whose head
 * computes on the device: the host keeps model.params for the decoder, the device keeps the truth.
 *
 *   adamw_device_begin   before a step: the head's gradients to zero
 *   ... the head's calls add to adamw_device_slopes(), decoder_backward to the host's grads
 *   adamw_device_step    host gradients up, norm, clipping, update, bfloat16 head weights
 *   adamw_device_read    params down for the decoder; moments, for a checkpoint
 *
 * The update has the bits of kernels/adamw.h for the same gradients and scale. The norm is summed
 * in another order: its last bits may differ. */
#ifndef KERNELS_ADAMW_DEVICE_H
#define KERNELS_ADAMW_DEVICE_H

#include "kernels/adamw.h"
#include "kernels/device.h"

struct adamw_device;

/* Bytes on the device: params, grads, m, v of every tensor, the head's bfloat16 weights, and where
 * the head is tied a buffer through which its gradient from the host is added. */
int64_t adamw_device_bytes(const struct model *model);

/* Takes the memory. model and d are borrowed until adamw_device_free; of model only the layout is
 * read. rounding: of the bfloat16 weights from params; stochastic draws by (seed, step). Moments
 * and params are zero until adamw_device_load. ERROR_memory says how much was planned, how much is
 * free and what to change. */
int  adamw_device_new(struct device *d, const struct model *model, enum sluice_rounding rounding,
                      uint64_t seed, struct adamw_device **out, struct error *e);
void adamw_device_free(struct adamw_device *a);         /* NULL: nothing */

/* Host arrays laid out like model.params; m and v NULL: zeros. step: how many steps made them (0:
 * none yet): the bfloat16 weights are those that adamw_device_step of that step made. */
int adamw_device_load(struct adamw_device *a, const float *params, const float *m, const float *v,
                      int64_t step, struct error *e);

/* Each NULL: not wanted. Waits. */
int adamw_device_read(struct adamw_device *a, float *params, float *m, float *v, struct error *e);

/* The head of the loaded or stepped weights: bfloat16, stride a multiple of 8, and bias. */
struct sluice_head adamw_device_head(const struct adamw_device *a);

/* Fills in dweight, dweight_stride, dbias: where the head's gradients are added up. The rest of
 * slopes is left as it is. NULLs for a frozen head are the caller's to set. */
void adamw_device_slopes(const struct adamw_device *a, struct sluice_slopes *slopes);

int adamw_device_begin(struct adamw_device *a, struct error *e);

/* grads: the host's, of every tensor but an untied head, whose are the device's alone (a tied one
 * has both: they are added). Frozen tensors' are not read. As adamw_step(): *norm is that before
 * clipping; where it is not finite nothing changes, and 0 is returned. Waits. */
int adamw_device_step(struct adamw_device *a, const struct adamw *options, int64_t step,
                      const float *grads, double *norm, struct error *e);

/* A step that changes no weight: the head's are rounded as if it had been made, so that a process
 * that loads them after it has the same. */
int adamw_device_skip(struct adamw_device *a, int64_t step, struct error *e);

/* The name of the first tensor that is not frozen and whose gradient in the last step was not
 * finite; NULL: none, or the device does not say. Waits. */
const char *adamw_device_blame(struct adamw_device *a, const struct adamw *options);

#endif
