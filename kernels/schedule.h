/* schedule: the learning rate of a step. */
#ifndef KERNELS_SCHEDULE_H
#define KERNELS_SCHEDULE_H

#include <stdint.h>

enum schedule_kind { SCHEDULE_constant, SCHEDULE_cosine };

struct schedule {
    enum schedule_kind kind;
    double  lr;                     /* the peak */
    double  lr_min;                 /* where the cosine ends, 0 <= lr_min <= lr */
    int64_t warmup;                 /* steps of linear rise from 0; step 1 has lr / warmup */
    int64_t total;                  /* steps of the whole run; later steps stay at lr_min */
};

/* step counts from 1. Constant: lr after the warm-up. Cosine: lr_min + (lr - lr_min) (1 + cos(pi
 * u)) / 2, u from 0 at the end of the warm-up to 1 at step `total`. */
double schedule_lr(const struct schedule *s, int64_t step);

int schedule_find(const char *name);    /* "constant", "cosine": enum schedule_kind; -1: unknown */

#endif
