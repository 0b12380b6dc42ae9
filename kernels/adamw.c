/* AdamW over a model's tensors. */
#include "kernels/adamw.h"

#include <math.h>

#include "kernels/isa.h"
#include "kernels/threads.h"

#define ADAMW_PART (1 << 15)    /* elements that one thread updates at a time */
#define NORM_SUMS 8         /* independent partial sums: element i goes to sum i mod 8 */

struct adamw
adamw_default(void)
{
    return (struct adamw){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1.0};
}

/* Adds the squares of [from, to): element i to sum i mod NORM_SUMS. */
static void
add_squares(const float *grads, int64_t from, int64_t to, double *sums)
{
    int64_t i = from;

    for (; i < to && i % NORM_SUMS != 0; i++)
        sums[i % NORM_SUMS] += (double)grads[i] * (double)grads[i];
    for (; i + NORM_SUMS <= to; i += NORM_SUMS)
        for (int j = 0; j < NORM_SUMS; j++)
            sums[j] += (double)grads[i + j] * (double)grads[i + j];
    for (; i < to; i++)
        sums[i % NORM_SUMS] += (double)grads[i] * (double)grads[i];
}

static double
root_of(const double *sums)
{
    return sqrt(((sums[0] + sums[4]) + (sums[1] + sums[5])) +
                ((sums[2] + sums[6]) + (sums[3] + sums[7])));
}

double
adamw_norm(const float *grads, int64_t count)
{
    double sums[NORM_SUMS] = {0};

    add_squares(grads, 0, count, sums);
    return root_of(sums);
}

struct update {
    int64_t n;
    float beta1, beta2, keep, pace, root, eps, scale;
    float *params, *m, *v;
    const float *grads;
};

static void
update_part(void *context, int64_t part, int who)
{
    const struct update *u = context;
    int64_t i = part * ADAMW_PART, left = u->n - i;

    (void)who;
    isa_now()->adamw(left < ADAMW_PART ? left : ADAMW_PART, u->beta1, u->beta2, u->keep, u->pace,
                     u->root, u->eps, u->scale, u->params + i, u->grads + i, u->m + i, u->v + i);
}

void
adamw_update(const struct adamw *a, int64_t n, int decay, int64_t step, double scale, float *params,
             const float *grads, float *m, float *v)
{
    double keep = decay ? 1.0 - a->lr * a->weight_decay : 1.0;
    double pace = a->lr / (1.0 - pow(a->beta1, (double)step));
    double root = 1.0 / sqrt(1.0 - pow(a->beta2, (double)step));

    struct update u = {
        n, (float)a->beta1, (float)a->beta2, (float)keep, (float)pace, (float)root, (float)a->eps,
        (float)scale, params, m, v, grads,
    };

    threads_run(a->threads, (n + ADAMW_PART - 1) / ADAMW_PART, update_part, &u);
}

enum adamw_group
adamw_group_of(const struct adamw *a, const struct model *model, int tensor)
{
    if (a->groups)
        return (enum adamw_group)a->groups[tensor];
    return model->tensors[tensor].decay ? ADAMW_decay : ADAMW_plain;
}

double
adamw_step(const struct adamw *a, struct model *model, int64_t step, const float *grads, float *m,
           float *v)
{
    double norm, scale, sums[NORM_SUMS] = {0};

    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];

        if (adamw_group_of(a, model, i) != ADAMW_frozen)
            add_squares(grads, t->offset, t->offset + t->count, sums);
    }
    norm = root_of(sums);
    scale = a->clip > 0 && norm > a->clip ? a->clip / norm : 1.0;
    if (!isfinite(norm))
        return norm;
    for (int i = 0; i < model->tensor_count; i++) {
        const struct model_tensor *t = &model->tensors[i];
        enum adamw_group group = adamw_group_of(a, model, i);

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
