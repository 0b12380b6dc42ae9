/* lanes: sixteen floats at a time, written once and compiled for every instruction set. Only +, -,
 * *, /, sqrt, comparison and integer operations are used, all of which IEEE 754 rounds in one way,
 * and no contraction: so a row has the same bits on every machine. Sums over a row go to sixteen
 * partial sums (element j to lane j mod 16) that are joined by one fixed tree; a row is padded
 * with neutral elements, so that its length never changes the order. */
#ifndef KERNELS_LANES_H
#define KERNELS_LANES_H

#include <stdint.h>
#include <string.h>

#define LANES 16

typedef float   lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_int __attribute__((vector_size(4 * LANES)));
typedef uint32_t lanes_uint __attribute__((vector_size(4 * LANES)));
typedef float   lanes_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Every function of this file is a part of its caller, compiled for the caller's instruction set.
 */
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

/* The first n < LANES elements, the rest `fill`. LANES_MASKED says that the machine does this in
 * one instruction (isa_avx512.c). */
LANES_INLINE lanes
lanes_load_part(const float *at, int64_t n, float fill)
{
#ifdef LANES_MASKED
    return (lanes)_mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)((1u << n) - 1), at);
#else
    float part[LANES];

    for (int i = 0; i < LANES; i++)
        part[i] = i < n ? at[i] : fill;
    return lanes_load(part);
#endif
}

LANES_INLINE void
lanes_store_part(float *at, int64_t n, lanes v)
{
#ifdef LANES_MASKED
    _mm512_mask_storeu_ps(at, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    float part[LANES];

    lanes_store(part, v);
    memcpy(at, part, (size_t)n * sizeof *part);
#endif
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

/* Lane i with lane i xor 8, then 4, 2, 1: the tree that ends in lane 0. */
#define LANES_SWAP_8(v)                                                                            \
    __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#define LANES_SWAP_4(v)                                                                            \
    __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define LANES_SWAP_2(v)                                                                            \
    __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define LANES_SWAP_1(v)                                                                            \
    __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)

LANES_INLINE float
lanes_sum(lanes v)
{
    v += LANES_SWAP_8(v);
    v += LANES_SWAP_4(v);
    v += LANES_SWAP_2(v);
    v += LANES_SWAP_1(v);
    return v[0];
}

LANES_INLINE float
lanes_largest(lanes v)
{
    v = lanes_larger(v, LANES_SWAP_8(v));
    v = lanes_larger(v, LANES_SWAP_4(v));
    v = lanes_larger(v, LANES_SWAP_2(v));
    v = lanes_larger(v, LANES_SWAP_1(v));
    return v[0];
}

#endif
