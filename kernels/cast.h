/* cast: float32 to bfloat16, the definition that the device's sluice_cast has the bits of.
 *
 * bfloat16 is the upper half of a float32. Nearest: ties to the even one. Stochastic: a number
 * between two neighbours goes to the one farther from zero with the probability that is its
 * distance from the nearer one in parts of theirs, exact to all 16 bits that are dropped, so the
 * mean is the number itself (Croci et al., "Stochastic rounding: implementation, error analysis
 * and applications", R. Soc. Open Sci. 9, 2022, section 2). The draw of element i is
 *      word  = (i mod 8) / 2 of Philox's block (random.h) with key = seed and
 *              counter = (low half of i / 8, high half, RANDOM_rounding, 0)
 *      draw  = the low 16 bits of the word where i is even, else the high ones
 * and the number goes up where draw + dropped bits >= 2^16: one block serves 8 elements.
 *
 * In both: NaN stays NaN of the same sign, made quiet; infinities and zeros stay as they are;
 * numbers beyond the largest finite bfloat16 (3.39e38) go where nearest puts them, to infinity
 * only from half a step beyond. */
#ifndef KERNELS_CAST_H
#define KERNELS_CAST_H

#include <stdint.h>

enum cast_rounding { CAST_nearest, CAST_stochastic };   /* as enum sluice_rounding */

uint16_t cast_nearest(float value);

/* index: i above. */
uint16_t cast_stochastic(float value, uint64_t seed, uint64_t index);

float cast_back(uint16_t value);                        /* exact */

/* out (rows, out_stride) = from (rows, columns), row-major; columns from `columns` to out_stride
 * are zeros. Element (r, c) has index first + r columns + c; seed and first are read where
 * rounding is stochastic. */
void cast_rows(int64_t rows, int64_t columns, const float *from, int64_t out_stride, uint16_t *out,
               enum cast_rounding rounding, uint64_t seed, uint64_t first);

#endif
