/* rope: rotary positions (Su et al. 2021) in the half-split layout: element j and j + dim/2 of a
 * head turn by position * f_j, f_j = theta^(-2j/dim) unless the frequencies are scaled for longer
 * contexts (modeling_rope_utils.py of transformers 5.24):
 *
 *      linear   f_j / factor
 *      llama3   with w = 2 pi / f_j, L the original length, a, b the low and high factors:
 *               f_j where w < L/b; f_j / factor where w > L/a; else (1-s) f_j/factor + s f_j,
 *               s = (L/w - a) / (b - a)
 *      yarn     (Peng et al. 2023) m f_j + (1-m) f_j / factor, m = 1 - clamp((j - low)/(high - low),
 *               0, 1), low and high from corr(r) = dim ln(L / 2 pi r) / (2 ln theta) at r =
 *               beta_fast and beta_slow; cosines and sines are multiplied by attention_factor
 *
 * Frequencies, angles and cosines are rounded to float32 as transformers does. */
#ifndef KERNELS_ROPE_H
#define KERNELS_ROPE_H

#include <stdint.h>

#include "base/error.h"

enum rope_type { ROPE_default, ROPE_linear, ROPE_llama3, ROPE_yarn };

struct rope_scaling {               /* all zero: default */
    enum rope_type type;
    double factor;                  /* linear, llama3, yarn: above 0 */
    double low_freq_factor;         /* llama3: 0 < low < high */
    double high_freq_factor;
    double original;                /* llama3, yarn: positions before the scaling, at least 1 */
    double beta_fast, beta_slow;    /* yarn: above 0 */
    double attention_factor;        /* yarn: above 0 */
    int    exact_range;             /* yarn: low and high are not rounded (truncate: false) */
};

const char *rope_type_name(enum rope_type type);        /* "llama3" */

/* Are the numbers that the type needs in bounds? ERROR_model with the key's name. */
int rope_scaling_check(const struct rope_scaling *s, struct error *e);

/* f_j. scaling NULL: default. */
double rope_frequency(const struct rope_scaling *scaling, double theta, int64_t dim, int64_t j);

struct rope {
    int64_t positions, dim;
    float  *cosine, *sine;      /* (positions, dim / 2) */
};

void rope_init(struct rope *r, int64_t positions, int64_t dim, double theta,
               const struct rope_scaling *scaling);
void rope_free(struct rope *r);

/* Turns `heads` heads of dim at x by `position`; back: the other way, which is the gradient. */
void rope_turn(const struct rope *r, int64_t position, int64_t heads, int back, float *x);

#endif
