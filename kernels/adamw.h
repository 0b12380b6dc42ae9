/* adamw: the optimiser (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019,
 * Algorithm 2, with the learning rate times the decay as in PyTorch):
 *      m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
 *      p = p - lr decay p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 * and the global gradient norm. Elementwise and in float32; every sum in one order. */
#ifndef KERNELS_ADAMW_H
#define KERNELS_ADAMW_H

#include <stdint.h>

#include "kernels/model.h"

struct threads;

struct adamw {
    double lr;                      /* >= 0, this step's */
    double beta1, beta2, eps;       /* 0.9, 0.999, 1e-8 */
    double weight_decay;            /* on tensors whose decay flag is set */
    double clip;                    /* largest global norm of the gradient; 0: no clipping */
    const unsigned char *groups;    /* (tensor_count) enum adamw_group of each tensor; NULL: each
                                     * as its decay flag says */
    struct threads *threads;        /* that share the update (threads.h); NULL: none; the same bits */
};

enum adamw_group {
    ADAMW_plain,                    /* no decay: norms, biases, and what was named */
    ADAMW_decay,
    ADAMW_frozen,                   /* no share in the norm, no update, no decay: the same bits */
};

/* Of a tensor, by its place in the model's table. */
enum adamw_group adamw_group_of(const struct adamw *a, const struct model *model, int tensor);

struct adamw adamw_default(void);   /* lr 0, no decay, clip 1 */

/* sqrt of the sum of squares, summed in double in one fixed order. */
double adamw_norm(const float *grads, int64_t count);

/* One update of n elements; `step` counts from 1; the gradient is multiplied by scale first. */
void adamw_update(const struct adamw *a, int64_t n, int decay, int64_t step, double scale,
                  float *params, const float *grads, float *m, float *v);

/* Clips and updates every tensor of the model; grads, m, v are laid out like params. Returns the
 * norm before clipping. A norm that is not finite changes nothing: the caller counts it and goes
 * on or stops. */
double adamw_step(const struct adamw *a, struct model *model, int64_t step, const float *grads,
                  float *m, float *v);

/* An average of the weights over steps, e = e + (1 - decay) (p - e): a weight that does not move
 * keeps its bits. */
void adamw_average(int64_t n, double decay, const float *params, float *average);

#endif
