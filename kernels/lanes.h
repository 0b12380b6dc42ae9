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

/* a > b ? a : b, so b where one is not a number, and where both are zeros: what maxps gives. */
LANES_INLINE lanes
lanes_larger(lanes a, lanes b)
{
#ifdef LANES_MASKED
    return (lanes)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return lanes_choose(a > b, a, b);
#endif
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

/* The parts of a and b where one bit of the lane is 0 (even) or 1 (odd), a's in the low place. */
#define LANES_EVEN_8(a, b) \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define LANES_ODD_8(a, b) \
    __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define LANES_EVEN_4(a, b) \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define LANES_ODD_4(a, b) \
    __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define LANES_EVEN_2(a, b) \
    __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define LANES_ODD_2(a, b) \
    __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define LANES_EVEN_1(a, b) \
    __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
#define LANES_ODD_1(a, b) \
    __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)

#define LANES_EXCHANGE(n) \
    _Pragma("GCC unroll 16") \
    for (int i = 0; i < LANES; i++) \
        if ((i & n) == 0) { \
            lanes low = r[i], high = r[i + n]; \
\
            r[i] = LANES_EVEN_##n(low, high); \
            r[i + n] = LANES_ODD_##n(low, high); \
        }

/* r[i] lane j becomes r[j] lane i. */
LANES_INLINE void
lanes_transpose(lanes r[LANES])
{
    LANES_EXCHANGE(8)
    LANES_EXCHANGE(4)
    LANES_EXCHANGE(2)
    LANES_EXCHANGE(1)
}

#endif
