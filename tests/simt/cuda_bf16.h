/* bfloat16 of the simulated device: a float32 without its lower 16 bits; rounding is to the
 * nearest, ties to even; every NaN becomes 0x7fff, as on a device. */
#ifndef SIMT_CUDA_BF16_H
#define SIMT_CUDA_BF16_H

#include "cuda_runtime.h"

static inline unsigned short
simt_bf16_from(float value)
{
    uint32_t word = simt_bits<uint32_t>(value);

    if ((word & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff;
    return (unsigned short)((word + 0x7fffu + (word >> 16 & 1)) >> 16);
}

static inline float
simt_bf16_to(unsigned short bits)
{
    return simt_bits<float>((uint32_t)bits << 16);
}

struct __attribute__((aligned(2))) __nv_bfloat16 {
    unsigned short __x;

    __nv_bfloat16() = default;
    __nv_bfloat16(float value) : __x(simt_bf16_from(value)) {}
    operator float() const { return simt_bf16_to(__x); }
};

struct __attribute__((aligned(4))) __nv_bfloat162 {
    __nv_bfloat16 x, y;

    __nv_bfloat162() = default;
    __nv_bfloat162(const __nv_bfloat16 &a, const __nv_bfloat16 &b) : x(a), y(b) {}
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline __nv_bfloat16
__ushort_as_bfloat16(unsigned short bits)
{
    return simt_bits<__nv_bfloat16>(bits);
}

static inline __nv_bfloat16 __short_as_bfloat16(short v) { return simt_bits<__nv_bfloat16>(v); }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.__x; }
static inline short __bfloat16_as_short(__nv_bfloat16 v) { return (short)v.__x; }
static inline __nv_bfloat16 __float2bfloat16(float v) { return __nv_bfloat16(v); }
static inline __nv_bfloat16 __float2bfloat16_rn(float v) { return __nv_bfloat16(v); }
static inline float __bfloat162float(__nv_bfloat16 v) { return (float)v; }

static inline __nv_bfloat16
__float2bfloat16_rz(float v)
{
    uint32_t word = simt_bits<uint32_t>(v);

    return __ushort_as_bfloat16((word & 0x7fffffffu) > 0x7f800000u ? 0x7fff : word >> 16);
}

static inline __nv_bfloat162
__floats2bfloat162_rn(float a, float b)
{
    return { __nv_bfloat16(a), __nv_bfloat16(b) };
}

static inline __nv_bfloat162
__float22bfloat162_rn(float2 v)
{
    return __floats2bfloat162_rn(v.x, v.y);
}

static inline __nv_bfloat162 __float2bfloat162_rn(float v) { return __floats2bfloat162_rn(v, v); }
static inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return { a, b }; }

static inline __nv_bfloat162
__halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b)
{
    return { a, b };
}

static inline float2 __bfloat1622float2(__nv_bfloat162 v) { return { (float)v.x, (float)v.y }; }
static inline float __low2float(__nv_bfloat162 v) { return (float)v.x; }
static inline float __high2float(__nv_bfloat162 v) { return (float)v.y; }
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) { return v.x; }
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) { return v.y; }
static inline bool __hisnan(__nv_bfloat16 v) { return (v.__x & 0x7fff) > 0x7f80; }

#endif
