/* rope: rotary positions (Su et al. 2021) in the half-split layout: element j and j + dim/2 of a
 * head turn by position * theta^(-2j/dim). Frequencies, angles and cosines are rounded to float32
 * as transformers does. */
#ifndef KERNELS_ROPE_H
#define KERNELS_ROPE_H

#include <stdint.h>

struct rope {
    int64_t positions, dim;
    float  *cosine, *sine;      /* (positions, dim / 2) */
};

void rope_init(struct rope *r, int64_t positions, int64_t dim, double theta);
void rope_free(struct rope *r);

/* Turns `heads` heads of dim at x by `position`; back: the other way, which is the gradient. */
void rope_turn(const struct rope *r, int64_t position, int64_t heads, int back, float *x);

#endif
