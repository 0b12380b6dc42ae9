/* The learning rate of a step. */
#include "kernels/schedule.h"

#include <math.h>
#include <string.h>

double
schedule_lr(const struct schedule *s, int64_t step)
{
    double u;

    if (step <= s->warmup)
        return s->lr * (double)(step > 0 ? step : 0) / (double)(s->warmup > 0 ? s->warmup : 1);
    if (s->kind == SCHEDULE_constant)
        return s->lr;
    if (step >= s->total)
        return s->lr_min;
    u = (double)(step - s->warmup) / (double)(s->total - s->warmup);
    return s->lr_min + (s->lr - s->lr_min) * 0.5 * (1.0 + cos(M_PI * u));
}

int
schedule_find(const char *name)
{
    if (strcmp(name, "constant") == 0)
        return SCHEDULE_constant;
    return strcmp(name, "cosine") == 0 ? SCHEDULE_cosine : -1;
}
