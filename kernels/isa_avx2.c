/* The inner loops for AVX2 with FMA: tiles of 6 rows by 16 columns, 12 of the 16 registers being
 * sums. */
#include "kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#include "kernels/math.h"

#define VEC             __m256
#define VEC_WIDTH       8
#define VEC_LOAD(p)     _mm256_loadu_ps(p)
#define VEC_STORE(p, v) _mm256_storeu_ps(p, v)
#define VEC_ALL(x)      _mm256_set1_ps(x)
#define VEC_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define TILE_ROWS       6
#define TILE_COLUMNS    16
#define TILE_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)

#include "kernels/tile_body.h"

#include "kernels/ops_body.h"

ISA_TABLE(avx2, TILE_ROWS, TILE_COLUMNS);

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
