/* AdamW over a model's tensors. */
#include "kernels/adamw.h"

#include <math.h>

#include "kernels/isa.h"

#define NORM_SUMS 8         /* independent partial sums: element i goes to sum i mod 8 */

struct adamw
adamw_default(void)
{
    return (struct adamw){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1.0};
}

double
adamw_norm(const float *grads, int64_t count)
{
    double  sums[NORM_SUMS] = {0};
    int64_t i = 0;

    for (; i + NORM_SUMS <= count; i += NORM_SUMS)
        for (int j = 0; j < NORM_SUMS; j++)
            sums[j] += (double)grads[i + j] * (double)grads[i + j];
    for (int j = 0; i < count; i++, j++)
        sums[j] += (double)grads[i] * (double)grads[i];
    return sqrt(((sums[0] + sums[4]) + (sums[1] + sums[5])) +
                ((sums[2] + sums[6]) + (sums[3] + sums[7])));
}

void
adamw_update(const struct adamw *a, int64_t n, int decay, int64_t step, double scale, float *params,
             const float *grads, float *m, float *v)
{
    double keep = decay ? 1.0 - a->lr * a->weight_decay : 1.0;
    double pace = a->lr / (1.0 - pow(a->beta1, (double)step));
    double root = 1.0 / sqrt(1.0 - pow(a->beta2, (double)step));

    isa_now()->adamw(n, (float)a->beta1, (float)a->beta2, (float)keep, (float)pace, (float)root,
                     (float)a->eps, (float)scale, params, grads, m, v);
}

double
adamw_step(const struct adamw *a, struct model *model, int64_t step, const float *grads, float *m,
           float *v)
{
    double norm = adamw_norm(grads, model->count);
    double scale = a->clip > 0 && norm > a->clip ? a->clip / norm : 1.0;

    if (!isfinite(norm))
        return norm;
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];

        adamw_update(a, t->count, t->decay, step, scale, model->params + t->offset,
                     grads + t->offset, m + t->offset, v + t->offset);
    }
    return norm;
}
