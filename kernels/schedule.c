/* The learning rate of a step. */
#include "kernels/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const char *const schedule_names[] = {"constant", "cosine", "linear", "wsd", NULL};
const char *const schedule_decay_names[] = {"linear", "sqrt", "cosine", NULL};

/* From 1 at u = 0 to 0 at u = 1. */
static double
fall(enum schedule_decay shape, double u)
{
    if (shape == SCHEDULE_decay_cosine)
        return 0.5 * (1.0 + cos(M_PI * u));
    return shape == SCHEDULE_decay_sqrt ? 1.0 - sqrt(u) : 1.0 - u;
}

double
schedule_lr(const struct schedule *s, int64_t step)
{
    enum schedule_decay shape = s->kind == SCHEDULE_cosine   ? SCHEDULE_decay_cosine
                                : s->kind == SCHEDULE_linear ? SCHEDULE_decay_linear
                                                             : s->shape;
    int64_t from = s->warmup;

    if (step <= s->warmup)
        return s->lr * (double)(step > 0 ? step : 0) / (double)(s->warmup > 0 ? s->warmup : 1);
    if (s->kind == SCHEDULE_constant)
        return s->lr;
    if (step >= s->total)
        return s->lr_min;
    if (s->kind == SCHEDULE_wsd && s->total - s->decay > from)
        from = s->total - s->decay;
    if (step <= from)
        return s->lr;
    return s->lr_min +
           (s->lr - s->lr_min) * fall(shape, (double)(step - from) / (double)(s->total - from));
}

int
schedule_find(const char *name)
{
    for (int i = 0; schedule_names[i]; i++)
        if (strcmp(schedule_names[i], name) == 0)
            return i;
    return -1;
}
