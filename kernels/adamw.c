/* AdamW over a model's tensors. */
#include "kernels/adamw.h"

#include <math.h>
#include <string.h>

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

static enum adamw_group
group_of(const struct adamw *a, const struct model *model, int tensor)
{
    if (a->groups)
        return (enum adamw_group)a->groups[tensor];
    return model->tensors[tensor].decay ? ADAMW_decay : ADAMW_plain;
}

double
adamw_step(const struct adamw *a, struct model *model, int64_t step, float *grads, float *m,
           float *v)
{
    double norm, scale;

    for (int i = 0; i < model->tensor_count; i++) /* so that the sum below is over the rest */
        if (group_of(a, model, i) == ADAMW_frozen)
            memset(grads + model->tensors[i].offset, 0,
                   (size_t)model->tensors[i].count * sizeof(*grads));
    norm = adamw_norm(grads, model->count);
    scale = a->clip > 0 && norm > a->clip ? a->clip / norm : 1.0;
    if (!isfinite(norm))
        return norm;
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        enum adamw_group group = group_of(a, model, i);

        if (group != ADAMW_frozen)
            adamw_update(a, t->count, group == ADAMW_decay, step, scale, model->params + t->offset,
                         grads + t->offset, m + t->offset, v + t->offset);
    }
    return norm;
}

void
adamw_average(int64_t n, double decay, const float *params, float *average)
{
    float share = (float)(1.0 - decay);

    for (int64_t i = 0; i < n; i++)
        average[i] += share * (params[i] - average[i]);
}
