/* Vectors of CUDA and the words that nvcc understands. */
#ifndef SIMT_TYPES_H
#define SIMT_TYPES_H

#include <stdint.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#define SIMT_VECTOR(T, name, align)                                                             \
    struct __attribute__((aligned(align < 2 * sizeof(T) ? align : 2 * sizeof(T)))) name##2 {    \
        T x, y;                                                                                 \
    };                                                                                          \
    struct name##3 { T x, y, z; };                                                              \
    struct __attribute__((aligned(align < 4 * sizeof(T) ? align : 4 * sizeof(T)))) name##4 {    \
        T x, y, z, w;                                                                           \
    };                                                                                          \
    static inline name##2 make_##name##2(T x, T y) { return { x, y }; }                         \
    static inline name##3 make_##name##3(T x, T y, T z) { return { x, y, z }; }                 \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return { x, y, z, w }; }

#define uint3 simt_uint3            /* simt.h has it */
SIMT_VECTOR(unsigned, uint, 16)
#undef uint3
SIMT_VECTOR(int, int, 16)
SIMT_VECTOR(float, float, 16)
SIMT_VECTOR(double, double, 16)
SIMT_VECTOR(short, short, 16)
SIMT_VECTOR(unsigned short, ushort, 16)
SIMT_VECTOR(signed char, char, 16)
SIMT_VECTOR(unsigned char, uchar, 16)
SIMT_VECTOR(long long, longlong, 16)
SIMT_VECTOR(unsigned long long, ulonglong, 16)

#endif
