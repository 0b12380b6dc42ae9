/* naive_objective: the losses of kernels/objective.def once more, as their papers print them, in
 * double and without a thought of speed; shares no code with the kernels. Parts under a
 * stop-gradient are read from frozen copies, so that differences of naive_loss() are slopes. */
#ifndef TESTS_NAIVE_OBJECTIVE_H
#define TESTS_NAIVE_OBJECTIVE_H

#include "kernels/objective.h"

#define NAIVE_ROWS    80
#define NAIVE_SAMPLES 13
#define NAIVE_NAMES   5

struct naive {
    /* What slopes are taken to. */
    double logp[NAIVE_ROWS], lse[NAIVE_ROWS], entropy[NAIVE_ROWS];
    double named[NAIVE_SAMPLES][NAIVE_NAMES];
    double frozen[NAIVE_ROWS];                  /* logp where it is not differentiated */
    double reference[NAIVE_ROWS], behaviour[NAIVE_ROWS], weight[NAIVE_ROWS];
    double row_advantage[NAIVE_ROWS];
    double values[NAIVE_NAMES];
    int    mask[NAIVE_ROWS], begins[NAIVE_ROWS];
    int    with_rows;                           /* row_advantage counts */
    struct objective_sample sample[NAIVE_SAMPLES];
    /* The same as the kernels take it; naive_batch() fills it. */
    float    f_logp[NAIVE_ROWS], f_lse[NAIVE_ROWS], f_entropy[NAIVE_ROWS];
    float    f_reference[NAIVE_ROWS], f_behaviour[NAIVE_ROWS], f_weight[NAIVE_ROWS];
    float    f_advantage[NAIVE_ROWS], f_named[NAIVE_SAMPLES * NAIVE_NAMES];
    uint8_t  f_mask[NAIVE_ROWS], f_begins[NAIVE_ROWS];
    int32_t  columns[NAIVE_NAMES];
    struct objective_batch batch;
};

/* Five groups: one with a dropped rollout, one of a single rollout, one of equal rewards with an
 * empty response, one whose first response is all masked, one with an injected answer. spread: of
 * the log ratios; some rows are ten times as far. All numbers are float32. */
void naive_make(struct naive *n, double spread, uint64_t seed);
void naive_plain(struct naive *n);      /* weights 1, no mask, none injected, pruning weights 1 */
void naive_batch(struct naive *n);

/* The loss of the whole step under the settings, which are filled. */
double naive_loss(const struct naive *n, const char *name, const struct objective_settings *s);

#endif
