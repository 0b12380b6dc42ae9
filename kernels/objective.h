/* objective: what is minimised. Pure functions from token statistics, rewards, groups, weights and
 * reference values to the coefficients (c, e, h) of head.h and the scalars to log. No model, no
 * device.
 *
 * Rows are the rows of a packed batch: row t holds the statistics of the token that position t
 * predicts. A sample owns the rows [first, first + count): its response. Every other row gets
 * zeros.
 *
 * A step may be cut into batches: objective_measure() over all its samples gives the normalisers,
 * so that the sum of the batches' losses (and gradients) is the step's.
 *   sft, rft, token_class   L = -(1/tokens) sum w lp;  tokens: the weighted-in tokens of the step
 *                           c = -w / tokens             (RFT: w = 0 on wrong responses)
 *   bcpg, bcpg_nsa          L = (1/groups) sum over groups of
 *                               -(1/G) sum_i (1/|y_i|) [sum_j b_ij (r_i - rbar) lp_ij - (tau/2) S_i^2]
 *                           S_i = sum_j (lp_ij - ref_ij), b = 1 for bcpg
 *                           c_ij = -(1/(groups G |y_i|)) (b_ij (r_i - rbar) - tau S_i)
 *                           (BCPG-NSA, arXiv 2505.14403, Eq 6 and 7; rl_methods 1.1, 1.2)
 * groups is the sum over the step's samples of 1/G, so that a step of whole groups counts each
 * once; G is the number of rollouts the group emitted, even where some were dropped on the way
 * (dropped ones count 0). S_i and all sums are doubles in row order; with policy = reference S_i
 * is exactly 0. */
#ifndef KERNELS_OBJECTIVE_H
#define KERNELS_OBJECTIVE_H

#include <stdint.h>

#include "base/error.h"

struct objective_sample {
    int64_t first, count;           /* its rows: the tokens of the response; count may be 0 */
    double  reward;                 /* r_i */
    double  mean;                   /* rbar: mean reward of the group */
    int64_t group_size;             /* G >= 1 */
    int     correct;                /* rft trains on it */
};

struct objective_batch {
    int64_t      rows;
    const float *logp;              /* (rows) */
    const float *reference;         /* (rows); may be NULL where the objective needs none */
    const float *weight;            /* (rows): b of bcpg_nsa, w of the others; NULL: all 1 */
    int64_t      samples;
    const struct objective_sample *sample;  /* (samples), in row order, not overlapping */
};

struct objective_settings {
    double tau;                     /* >= 0: strength of the pull to the reference (paper: 1e-3) */
};

/* Normalisers of a step; zero-initialise, then objective_measure() each batch. */
struct objective_step {
    double groups;                  /* sum of 1/G */
    double tokens;                  /* sum of the weights of tokens that count */
};

/* Sums over the batches of a step; zero-initialise. */
struct objective_report {
    double loss;                    /* policy + pull */
    double policy;                  /* the likelihood part of the loss */
    double pull;                    /* the (tau/2) S^2 part of the loss */
    double samples, tokens;         /* that had a part in the loss */
    double logp;                    /* sum of lp over those tokens */
    double ratio;                   /* sum of S_i over those samples */
    double ratio_largest;           /* largest |S_i| */
};

struct objective {
    const char *name, *summary;
    int needs_reference, needs_group;
    int classes;                    /* acts on a class head; targets are labels */
    void (*measure)(const struct objective_batch *b, struct objective_step *step);
    void (*run)(const struct objective_batch *b, const struct objective_settings *settings,
                const struct objective_step *step, float *c, struct objective_report *report);
};

const struct objective *objective_find(const char *name);   /* NULL: unknown */
const struct objective *objective_at(int index);            /* NULL past the last */

/* Is what the objective needs there, in bounds and finite? */
int objective_check(const struct objective *o, const struct objective_batch *b, struct error *e);

/* Adds the batch to the step's normalisers (only samples and weight are read). */
void objective_measure(const struct objective *o, const struct objective_batch *b,
                       struct objective_step *step);

/* Writes c (rows) and, unless NULL, e and h (rows); adds to report. None of today's objectives has
 * an e or h term; a step without weight (tokens or groups 0) gives zeros. */
void objective_run(const struct objective *o, const struct objective_batch *b,
                   const struct objective_settings *settings, const struct objective_step *step,
                   float *c, float *e, float *h, struct objective_report *report);

#endif
