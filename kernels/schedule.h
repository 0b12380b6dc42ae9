/* schedule: the learning rate of a step.
 *
 * With w the warm-up, T the total and steps counted from 1:
 *      warm-up    lr step / w                                    (step <= w)
 *      constant   lr
 *      cosine     lr_min + (lr - lr_min) (1 + cos(pi u)) / 2     u = (step - w) / (T - w)
 *      linear     lr_min + (lr - lr_min) (1 - u)
 *      wsd        lr until T - decay, then lr_min + (lr - lr_min) d(u),
 *                 u = (step - T + decay) / decay; d: linear 1 - u, sqrt 1 - sqrt(u), cosine (1 + cos(pi u)) / 2
 * and lr_min after step T. (Warm-up, stable, decay: Hu et al., "MiniCPM", arXiv 2404.06395, Eq 1;
 * 1 - sqrt: Haegele et al., arXiv 2405.18392.) The same as the schedules of transformers'
 * optimization.py at its step of the same number, which counts from 0: so the first step here has
 * lr / w where that has 0. */
#ifndef KERNELS_SCHEDULE_H
#define KERNELS_SCHEDULE_H

#include <stdint.h>

enum schedule_kind { SCHEDULE_constant, SCHEDULE_cosine, SCHEDULE_linear, SCHEDULE_wsd };
enum schedule_decay { SCHEDULE_decay_linear, SCHEDULE_decay_sqrt, SCHEDULE_decay_cosine };

struct schedule {
    enum schedule_kind kind;
    double  lr;                     /* the peak */
    double  lr_min;                 /* where it ends, 0 <= lr_min <= lr */
    int64_t warmup;                 /* steps of linear rise from 0; step 1 has lr / warmup */
    int64_t total;                  /* steps of the whole run; later steps stay at lr_min */
    int64_t decay;                  /* wsd: the last steps, in which it falls */
    enum schedule_decay shape;      /* wsd: how */
};

double schedule_lr(const struct schedule *s, int64_t step);

/* "constant", "cosine", "linear", "wsd": enum schedule_kind; -1: unknown */
int schedule_find(const char *name);

/* NULL-terminated, in the order of the enums. */
extern const char *const schedule_names[], *const schedule_decay_names[];

#endif
