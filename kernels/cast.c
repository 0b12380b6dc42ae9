/* Rounding to bfloat16, an element at a time. */
#include "kernels/cast.h"

#include <string.h>

#include "kernels/random.h"

#define SIGN         0x80000000u
#define INFINITE     0x7f800000u
#define LARGEST      0x7f7f0000u    /* finite in bfloat16 */
#define QUIET        0x0040u        /* of a NaN in bfloat16 */
#define DROPPED      0x10000u       /* one step of bfloat16, in steps of float32 */
#define BLOCK_DRAWS  8

static uint32_t
bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static int
is_nan(uint32_t bits)
{
    return (bits & ~SIGN) > INFINITE;
}

uint16_t
cast_nearest(float value)
{
    uint32_t bits = bits_of(value), kept = bits >> 16, dropped = bits & (DROPPED - 1);

    if (is_nan(bits))
        return (uint16_t)(kept | QUIET);
    if (dropped > DROPPED / 2 || (dropped == DROPPED / 2 && kept % 2 == 1))
        kept++;
    return (uint16_t)kept;
}

static uint32_t
draw_of(uint64_t seed, uint64_t index)
{
    uint64_t block = index / BLOCK_DRAWS;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), RANDOM_rounding, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4];

    random_block(counter, key, words);
    return words[index % BLOCK_DRAWS / 2] >> (index % 2 == 0 ? 0 : 16) & 0xffff;
}

uint16_t
cast_stochastic(float value, uint64_t seed, uint64_t index)
{
    uint32_t bits = bits_of(value), kept = bits >> 16;

    if ((bits & ~SIGN) > LARGEST)
        return cast_nearest(value);
    if (draw_of(seed, index) + (bits & (DROPPED - 1)) >= DROPPED)
        kept++;
    return (uint16_t)kept;
}

float
cast_back(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float back;

    memcpy(&back, &bits, sizeof back);
    return back;
}

void
cast_rows(int64_t rows, int64_t columns, const float *from, int64_t out_stride, uint16_t *out,
          enum cast_rounding rounding, uint64_t seed, uint64_t first)
{
    for (int64_t r = 0; r < rows; r++) {
        uint16_t *to = out + r * out_stride;

        for (int64_t c = 0; c < out_stride; c++) {
            int64_t i = r * columns + c;

            to[c] = c >= columns                ? 0
                    : rounding == CAST_nearest  ? cast_nearest(from[i])
                                                : cast_stochastic(from[i], seed,
                                                                  first + (uint64_t)i);
        }
    }
}
