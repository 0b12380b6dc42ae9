/* random: numbers by name, not by order. A number is a pure function of (seed, purpose, index), so
 * a replayed step, another batch or another thread draws the same one.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
 * 2011): key = the two halves of `seed`, counter = (index low, index high, purpose, 0). */
#ifndef KERNELS_RANDOM_H
#define KERNELS_RANDOM_H

#include <stdint.h>

enum random_purpose {
#define RANDOM(name, meaning) RANDOM_##name,
#include "kernels/random.def"
#undef RANDOM
};

/* The first 64 bits of the block: word 0 is the low half. */
uint64_t random_bits(uint64_t seed, enum random_purpose purpose, uint64_t index);

/* In [0, 1): 53 bits. */
double random_unit(uint64_t seed, enum random_purpose purpose, uint64_t index);

/* Standard normal by Box-Muller from the block's four words; finite, |value| < 9. */
double random_normal(uint64_t seed, enum random_purpose purpose, uint64_t index);

/* out[0..count) becomes a permutation of 0..count-1 (Fisher-Yates), a function of (seed, purpose,
 * epoch, count) alone. epoch and count stay below 2^32. */
void random_permutation(uint64_t seed, enum random_purpose purpose, uint64_t epoch, uint64_t count,
                        uint64_t *out);

/* The block itself, for tests against the published vectors. */
void random_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
