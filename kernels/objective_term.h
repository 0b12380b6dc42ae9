/* objective_term: what the functions of objectives/ are given and give back. Each is pure: no
 * memory, no state, doubles only, so that the same source serves a device. An objective is
 *
 *      term(token, sums, settings)     l_t of a token and its slopes, before they are aggregated
 *
 * with L_i = sum_t l_t the loss of a sample. Where a loss couples the tokens of a sample (S_i, a
 * sequence's ratio), `loss` is this token's even part L_i / |y| and `slope` is dL_i / dlp_t, all
 * of it; objective_body.h says what the sums are, in row order. */
#ifndef KERNELS_OBJECTIVE_TERM_H
#define KERNELS_OBJECTIVE_TERM_H

#include <math.h>

#include "kernels/objective_kind.h"

struct objective_token {
    double logp, reference, behaviour, entropy;     /* 0 where it was not needed */
    double weight;                                  /* b_t */
    double advantage;                               /* A_t = b_t A */
    double step;            /* mean of lp - lo over the tokens of its step; 0 where not needed */
};

/* Of a sample; row order. */
struct objective_sums {
    double length;          /* |y| > 0 */
    double reference;       /* S_i = sum (lp - ref) */
    double behaviour;       /* sum (lp - lo) */
    double advantage;       /* sum of A_t */
    double own;             /* sum of what the objective's own gather() gives */
    double surprise;        /* the 0.8 quantile of the response's entropies, where asked for */
    double lse;             /* logsumexp of its first row */
    double reward;
    double group_size;      /* G */
    int    correct;
    /* Of the samples of its group that are here and have a token; means weighted by v. */
    double members;
    double mean_reference, mean_behaviour, mean_reward;
    double soft_reward;     /* tau log mean exp(r / tau) */
    double pair_loss, pair_slope;   /* of its pairs, times G: at the correct one the loss; dL/dS */
    /* Of the step. */
    double anchor;          /* kto: z0 */
};

struct objective_term {
    double loss;            /* the likelihood part of l_t */
    double pull;            /* the pull of l_t to the reference */
    double slope;           /* c */
    double first;           /* e, of the sample's first row alone */
    int    clipped;
};

typedef struct objective_term objective_term_function(const struct objective_token *x,
                                                      const struct objective_sums *q,
                                                      const struct objective_settings *s);
typedef double objective_gather_function(const struct objective_token *x,
                                         const struct objective_settings *s);

/* A pair of a correct and a wrong response of a group, the difference of their S: -> loss, and
 * *slope = dloss/d difference. */
typedef double objective_pair_function(double difference, const struct objective_settings *s,
                                       double *slope);

/* The named logits of a sample's row. */
struct objective_names {
    int64_t        count;
    const float   *logits;          /* (count) */
    const double  *values;          /* (count): tract */
    const int32_t *rank;            /* (count): ranknet */
    double         lse, score;
};

/* -> loss of the sample, slope (count) = dloss/dz of each name, *lse = dloss/dlse of the row. */
typedef double objective_named_function(const struct objective_names *n,
                                        const struct objective_settings *s, double *slope,
                                        double *lse);

#define OBJECTIVE_TERM(name) \
    OBJECTIVE_FUNCTION struct objective_term \
    objective_term_##name(const struct objective_token *x, const struct objective_sums *q, \
                          const struct objective_settings *s)

/* objective_run.c: what every row of the table does; index: enum objective_row_index. */
void objective_run_row(const struct objective *o, int index, const struct objective_batch *b,
                       const struct objective_settings *s, const struct objective_step *step,
                       struct objective_output *out, struct objective_report *report);

#endif
