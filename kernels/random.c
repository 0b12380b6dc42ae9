/* Philox4x32-10 and the numbers made from its blocks. Box-Muller uses libm's double log, cos and
 * sin: these numbers seed weights and tests and are not on a hot path. */
#include "kernels/random.h"

#include <math.h>

#define PHILOX_ROUNDS 10

void
random_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t left = (uint64_t)0xD2511F53u * c0;
        uint64_t right = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(right >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(left >> 32) ^ c3 ^ k1;

        c1 = (uint32_t)right;
        c3 = (uint32_t)left;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void
block_of(uint64_t seed, enum random_purpose purpose, uint64_t index, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)purpose, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

    random_block(counter, key, out);
}

/* 53 bits of two words, in [0, 1). */
static double
unit_of(uint32_t low, uint32_t high)
{
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

uint64_t
random_bits(uint64_t seed, enum random_purpose purpose, uint64_t index)
{
    uint32_t w[4];

    block_of(seed, purpose, index, w);
    return ((uint64_t)w[1] << 32) | w[0];
}

double
random_unit(uint64_t seed, enum random_purpose purpose, uint64_t index)
{
    uint32_t w[4];

    block_of(seed, purpose, index, w);
    return unit_of(w[0], w[1]);
}

double
random_normal(uint64_t seed, enum random_purpose purpose, uint64_t index)
{
    uint32_t w[4];

    block_of(seed, purpose, index, w);
    /* 1 - u lies in (0, 1], so the logarithm is finite: at most sqrt(2 * 53 log 2) = 8.6. */
    return sqrt(-2.0 * log(1.0 - unit_of(w[0], w[1]))) * cos(2.0 * M_PI * unit_of(w[2], w[3]));
}

void
random_permutation(uint64_t seed, enum random_purpose purpose, uint64_t epoch, uint64_t count,
                   uint64_t *out)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = i;
    for (uint64_t i = count; i > 1; i--) {
        /* The high half of a 64 x 64 bit product: uniform on 0..i-1 up to 2^-32. */
        uint64_t bits = random_bits(seed, purpose, (epoch << 32) | (i - 1));
        uint64_t j = (uint64_t)(((unsigned __int128)bits * i) >> 64);
        uint64_t kept = out[i - 1];

        out[i - 1] = out[j];
        out[j] = kept;
    }
}
