/* What kernels call: indices, barriers, functions of a warp, atomics of integers, loads and stores
 * with hints, and arithmetic by CUDA's names. Atomics on floats are left out: their order would
 * decide the bits. */
#ifndef SIMT_DEVICE_H
#define SIMT_DEVICE_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "simt.h"
#include "simt_math.h"

#define threadIdx (simt_self->index)
#define blockIdx (simt_self->block)
#define blockDim simt_block_dim
#define gridDim simt_grid_dim
static const int warpSize = 32;

/* ---- barriers ---- */

static inline void
__syncthreads(SIMT_PLACE)
{
    simt_barrier(0, 0, 0, file, line);
}

static inline int
__syncthreads_count(int predicate, SIMT_PLACE)
{
    return (int)simt_barrier(0, 0, predicate != 0, file, line);
}

static inline int
__syncthreads_or(int predicate, SIMT_PLACE)
{
    return simt_barrier(0, 0, predicate != 0, file, line) != 0;
}

static inline int
__syncthreads_and(int predicate, SIMT_PLACE)
{
    return simt_barrier(0, 0, predicate == 0, file, line) == 0;
}

static inline void
__syncwarp(unsigned mask = 0xffffffffu, SIMT_PLACE)
{
    simt_meet(SIMT_sync, mask, 0, 0, 32, file, line);
}

static inline void __threadfence(void) {}
static inline void __threadfence_block(void) {}
static inline void __threadfence_system(void) {}
static inline unsigned __activemask(void) { return simt_active(); }

[[noreturn]] static inline void
__trap(SIMT_PLACE)
{
    simt_die(file, line, "__trap");
}

/* ---- functions of a warp ---- */

template <typename T>
static inline T
simt_shuffle(enum simt_meeting kind, unsigned mask, T value, int argument, int width,
             const char *file, int line)
{
    uint64_t word = 0;
    T out;

    static_assert(sizeof value <= sizeof word);
    memcpy(&word, &value, sizeof value);
    word = simt_meet(kind, mask, word, argument, width, file, line);
    memcpy((void *)&out, &word, sizeof out);
    return out;
}

template <typename T>
static inline T
__shfl_sync(unsigned mask, T value, int lane, int width = 32, SIMT_PLACE)
{
    return simt_shuffle(SIMT_index, mask, value, lane, width, file, line);
}

template <typename T>
static inline T
__shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_PLACE)
{
    return simt_shuffle(SIMT_up, mask, value, (int)delta, width, file, line);
}

template <typename T>
static inline T
__shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_PLACE)
{
    return simt_shuffle(SIMT_down, mask, value, (int)delta, width, file, line);
}

template <typename T>
static inline T
__shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SIMT_PLACE)
{
    return simt_shuffle(SIMT_xor, mask, value, lanes, width, file, line);
}

static inline unsigned
__ballot_sync(unsigned mask, int predicate, SIMT_PLACE)
{
    return (unsigned)simt_meet(SIMT_ballot, mask, predicate != 0, 0, 32, file, line);
}

static inline int
__any_sync(unsigned mask, int predicate, SIMT_PLACE)
{
    return (int)simt_meet(SIMT_any, mask, predicate != 0, 0, 32, file, line);
}

static inline int
__all_sync(unsigned mask, int predicate, SIMT_PLACE)
{
    return (int)simt_meet(SIMT_all, mask, predicate != 0, 0, 32, file, line);
}

template <typename T>
static inline unsigned
__match_any_sync(unsigned mask, T value, SIMT_PLACE)
{
    uint64_t word = 0;

    memcpy(&word, &value, sizeof value);
    return (unsigned)simt_meet(SIMT_match, mask, word, 0, 32, file, line);
}

static inline unsigned
__reduce_add_sync(unsigned mask, unsigned value, SIMT_PLACE)
{
    return (unsigned)simt_meet(SIMT_sum, mask, value, 0, 32, file, line);
}

static inline unsigned
__reduce_min_sync(unsigned mask, unsigned value, SIMT_PLACE)
{
    return (unsigned)simt_meet(SIMT_least, mask, value, 0, 32, file, line);
}

static inline unsigned
__reduce_max_sync(unsigned mask, unsigned value, SIMT_PLACE)
{
    return (unsigned)simt_meet(SIMT_largest, mask, value, 0, 32, file, line);
}

static inline unsigned
__reduce_or_sync(unsigned mask, unsigned value, SIMT_PLACE)
{
    return (unsigned)simt_meet(SIMT_or, mask, value, 0, 32, file, line);
}

/* ---- atomics ---- */

#ifdef SIMT_RACE                    /* race.cc sees each access: these are not like the others */
#define SIMT_ATOMICALLY(on) simt_atomic(on)
#else
#define SIMT_ATOMICALLY(on) ((void)0)
#endif

#define SIMT_ATOMIC(name, T, result)                                                            \
    static inline T                                                                             \
    name(T *at, T value)                                                                        \
    {                                                                                           \
        T old;                                                                                  \
                                                                                                \
        SIMT_ATOMICALLY(1);                                                                     \
        old = *at;                                                                              \
        *at = (T)(result);                                                                      \
        SIMT_ATOMICALLY(0);                                                                     \
        simt_progress();                                                                        \
        return old;                                                                             \
    }

#define SIMT_ATOMICS(T)                                                                         \
    SIMT_ATOMIC(atomicMin, T, value < old ? value : old)                                        \
    SIMT_ATOMIC(atomicMax, T, value > old ? value : old)                                        \
    SIMT_ATOMIC(atomicAnd, T, old & value)                                                      \
    SIMT_ATOMIC(atomicOr, T, old | value)                                                       \
    SIMT_ATOMIC(atomicXor, T, old ^ value)                                                      \
    SIMT_ATOMIC(atomicExch, T, value)                                                           \
    static inline T                                                                             \
    atomicCAS(T *at, T compare, T value)                                                        \
    {                                                                                           \
        T old;                                                                                  \
                                                                                                \
        SIMT_ATOMICALLY(1);                                                                     \
        old = *at;                                                                              \
        *at = old == compare ? value : old;                                                     \
        SIMT_ATOMICALLY(0);                                                                     \
        simt_progress();                                                                        \
        return old;                                                                             \
    }

SIMT_ATOMICS(int)
SIMT_ATOMICS(unsigned)
SIMT_ATOMICS(long long)
SIMT_ATOMICS(unsigned long long)
SIMT_ATOMIC(atomicAdd, int, (unsigned)old + (unsigned)value)
SIMT_ATOMIC(atomicAdd, unsigned, old + value)
SIMT_ATOMIC(atomicAdd, unsigned long long, old + value)
SIMT_ATOMIC(atomicSub, int, (unsigned)old - (unsigned)value)
SIMT_ATOMIC(atomicSub, unsigned, old - value)

/* ---- loads and stores with hints ---- */

#define SIMT_LOAD(name) \
    template <typename T> static inline T name(const T *at) { return *at; }
#define SIMT_STORE(name) \
    template <typename T> static inline void name(T *at, T value) { *at = value; }
SIMT_LOAD(__ldg)
SIMT_LOAD(__ldca)
SIMT_LOAD(__ldcg)
SIMT_LOAD(__ldcs)
SIMT_LOAD(__ldcv)
SIMT_LOAD(__ldlu)
SIMT_STORE(__stcg)
SIMT_STORE(__stcs)
SIMT_STORE(__stwb)
SIMT_STORE(__stwt)

/* ---- arithmetic ---- */

template <typename To, typename From>
static inline To
simt_bits(From from)
{
    To to;

    static_assert(sizeof to == sizeof from);
    memcpy(&to, &from, sizeof to);
    return to;
}

static inline unsigned __float_as_uint(float v) { return simt_bits<unsigned>(v); }
static inline int __float_as_int(float v) { return simt_bits<int>(v); }
static inline float __uint_as_float(unsigned v) { return simt_bits<float>(v); }
static inline float __int_as_float(int v) { return simt_bits<float>(v); }
static inline long long __double_as_longlong(double v) { return simt_bits<long long>(v); }
static inline double __longlong_as_double(long long v) { return simt_bits<double>(v); }

/* The C library has functions of these names, not for us. */
#define __expf simt___expf
static inline float __expf(float v) { return expf(v); }
#define __exp10f simt___exp10f
static inline float __exp10f(float v) { return powf(10, v); }
#define __logf simt___logf
static inline float __logf(float v) { return logf(v); }
#define __log2f simt___log2f
static inline float __log2f(float v) { return log2f(v); }
#define __powf simt___powf
static inline float __powf(float a, float b) { return powf(a, b); }
static inline float __fdividef(float a, float b) { return a / b; }
#define rsqrtf simt_rsqrtf          /* newer C libraries have one */
static inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
static inline float __saturatef(float v) { return v > 0 ? v < 1 ? v : 1 : 0; }
static inline float __frcp_rn(float v) { return 1.0f / v; }
static inline float __fsqrt_rn(float v) { return sqrtf(v); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double v) { return sqrt(v); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __double2float_rn(double v) { return (float)v; }
static inline float __int2float_rn(int v) { return (float)v; }
static inline float __uint2float_rn(unsigned v) { return (float)v; }
static inline float __ll2float_rn(long long v) { return (float)v; }
static inline double __ll2double_rn(long long v) { return (double)v; }
static inline double __ull2double_rn(unsigned long long v) { return (double)v; }
static inline double __uint2double_rn(unsigned v) { return v; }
static inline int __float2int_rn(float v) { return (int)rintf(v); }
static inline int __float2int_rz(float v) { return (int)v; }

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz((unsigned)v); }
static inline int __clzll(long long v)
{
    return v == 0 ? 64 : __builtin_clzll((unsigned long long)v);
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#define SIMT_MINMAX(T)                                                  \
    static inline T min(T a, T b) { return b < a ? b : a; }             \
    static inline T max(T a, T b) { return b > a ? b : a; }
SIMT_MINMAX(int)
SIMT_MINMAX(unsigned)
SIMT_MINMAX(long)
SIMT_MINMAX(unsigned long)
SIMT_MINMAX(long long)
SIMT_MINMAX(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline long long
clock64(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void __nanosleep(unsigned) { simt_yield(); }

#endif
