/* lanes: sixteen floats at a time, written once and compiled for every instruction set. Only +, -, *, /,
 * sqrt, comparison and integer operations are used, all of which IEEE 754 rounds in one way, and no
 * contraction: so a row has the same bits on every machine. Sums over a row go to sixteen partial sums
 * (element j to lane j mod 16) that are joined by one fixed tree; a row is padded with neutral elements,
 * so that its length never changes the order. */
#ifndef KERNELS_LANES_H
#define KERNELS_LANES_H

#include <stdint.h>
#include <string.h>

#define LANES 16

typedef float   lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_int __attribute__((vector_size(4 * LANES)));
typedef uint32_t lanes_uint __attribute__((vector_size(4 * LANES)));
typedef float   lanes_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Every function of this file is a part of its caller, compiled for the caller's instruction set. */
#define LANES_INLINE static inline __attribute__((always_inline, unused))

LANES_INLINE lanes
lanes_all(float value)
{
    return (lanes){0} + value;
}

LANES_INLINE lanes
lanes_load(const float *at)
{
    return *(const lanes_any *)at;
}

LANES_INLINE void
lanes_store(float *at, lanes v)
{
    *(lanes_any *)at = v;
}

/* The first n < LANES elements, the rest `fill`. */
LANES_INLINE lanes
lanes_load_part(const float *at, int64_t n, float fill)
{
    float part[LANES];

    for (int i = 0; i < LANES; i++)
        part[i] = i < n ? at[i] : fill;
    return lanes_load(part);
}

LANES_INLINE void
lanes_store_part(float *at, int64_t n, lanes v)
{
    float part[LANES];

    lanes_store(part, v);
    memcpy(at, part, (size_t)n * sizeof *part);
}

/* Elements i.. of a row of n: all sixteen, or those that are left and `fill`. */
LANES_INLINE lanes
lanes_get(const float *row, int64_t i, int64_t n, float fill)
{
    return n - i >= LANES ? lanes_load(row + i) : lanes_load_part(row + i, n - i, fill);
}

LANES_INLINE void
lanes_put(float *row, int64_t i, int64_t n, lanes v)
{
    if (n - i >= LANES)
        lanes_store(row + i, v);
    else
        lanes_store_part(row + i, n - i, v);
}

LANES_INLINE lanes
lanes_choose(lanes_int mask, lanes yes, lanes no)
{
    return (lanes)((mask & (lanes_int)yes) | (~mask & (lanes_int)no));
}

/* b where a is not a number. */
LANES_INLINE lanes
lanes_larger(lanes a, lanes b)
{
    return lanes_choose(a > b, a, b);
}

LANES_INLINE float
lanes_sum(lanes v)
{
    float p[LANES];

    lanes_store(p, v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            p[i] += p[i + width];
    return p[0];
}

LANES_INLINE float
lanes_largest(lanes v)
{
    float p[LANES];

    lanes_store(p, v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            p[i] = p[i] > p[i + width] ? p[i] : p[i + width];
    return p[0];
}

#endif
