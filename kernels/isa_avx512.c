/* The inner loops for AVX-512: tiles of 12 rows by 32 columns, 24 of the 32 registers being sums.
 */
#include "kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,fma")
#endif

#define LANES_MASKED

#include "kernels/math.h"

#define VEC             __m512
#define VEC_WIDTH       16
#define VEC_LOAD(p)     _mm512_loadu_ps(p)
#define VEC_STORE(p, v) _mm512_storeu_ps(p, v)
#define VEC_ALL(x)      _mm512_set1_ps(x)
#define VEC_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define TILE_ROWS       12
#define TILE_COLUMNS    32
#define TILE_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#include "kernels/tile_body.h"

#include "kernels/ops_body.h"

ISA_TABLE(avx512, TILE_ROWS, TILE_COLUMNS);

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
