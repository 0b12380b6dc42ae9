#include "product.h"

#include <stdlib.h>
#include <string.h>

#define TALL 16                     /* elements of a tile, along m */
#define WIDE 4                      /* and n */
#define GROUP 16

typedef float lane8 __attribute__((vector_size(32)));

static float
element(const struct product_matrix *m, int64_t i, int64_t j)
{
    int64_t at = i * m->by_row + j * m->by_column;
    uint32_t bits;
    float value;

    if (m->is_float)
        return ((const float *)m->at)[at];
    bits = (uint32_t)((const uint16_t *)m->at)[at] << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A chain for each element of a tile: acc += a[k] b[k] for k in [from, to). -ffp-contract=off: two
 * roundings, and none at all in a product of two bfloat16. */
static inline __attribute__((always_inline)) void
chain(const float *a, const float *b, int64_t from, int64_t to, lane8 acc[WIDE][2])
{
    lane8 sum[WIDE][2];

    memcpy(sum, acc, sizeof sum);
    for (int64_t k = from; k < to; k++) {
        lane8 low, high;

        memcpy(&low, a + k * TALL, sizeof low);
        memcpy(&high, a + k * TALL + 8, sizeof high);
        for (int j = 0; j < WIDE; j++) {
            sum[j][0] += low * b[k * WIDE + j];
            sum[j][1] += high * b[k * WIDE + j];
        }
    }
    memcpy(acc, sum, sizeof sum);
}

static inline __attribute__((always_inline)) void
tile(enum product_order order, int64_t k, const float *a, const float *b, lane8 acc[WIDE][2])
{
    int64_t step = order == PRODUCT_groups ? GROUP : order == PRODUCT_split ? (k + 1) / 2 : k;

    memset(acc, 0, WIDE * sizeof *acc);
    for (int64_t from = 0; from < k; from += step) {
        lane8 part[WIDE][2] = {};

        chain(a, b, from, from + step < k ? from + step : k, part);
        for (int j = 0; j < WIDE; j++) {
            acc[j][0] += part[j][0];
            acc[j][1] += part[j][1];
        }
    }
}

static void
tile_plain(enum product_order order, int64_t k, const float *a, const float *b,
           lane8 acc[WIDE][2])
{
    tile(order, k, a, b, acc);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void
tile_avx2(enum product_order order, int64_t k, const float *a, const float *b, lane8 acc[WIDE][2])
{
    tile(order, k, a, b, acc);
}
#endif

typedef void tile_function(enum product_order, int64_t, const float *, const float *,
                           lane8 [WIDE][2]);

static tile_function *
tile_best(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return tile_avx2;           /* the same bits */
#endif
    return tile_plain;
}

/* `wide` rows (columns of b) beside each other for every k; zeros beyond the last. */
static void
pack(const struct product_matrix *m, int rows, int64_t first, int64_t end, int64_t k, int wide,
     float *out)
{
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < wide; j++)
            out[i * wide + j] = first + j >= end ? 0.0f
                                : rows ? element(m, first + j, i) : element(m, i, first + j);
}

int
product(enum product_order order, int64_t m, int64_t n, int64_t k, const struct product_matrix *a,
        const struct product_matrix *b, float *out)
{
    int64_t wide = (n + WIDE - 1) / WIDE;
    float *left = (float *)malloc((size_t)(k * TALL) * sizeof *left);
    float *right = (float *)malloc((size_t)(wide * WIDE * k) * sizeof *right);
    tile_function *sums = tile_best();
    lane8 acc[WIDE][2];

    if (left == NULL || right == NULL) {
        free(left);
        free(right);
        return -1;
    }
    for (int64_t j = 0; j < wide; j++)
        pack(b, 0, j * WIDE, n, k, WIDE, right + j * WIDE * k);
    for (int64_t i = 0; i < m; i += TALL) {
        int64_t tall = m - i < TALL ? m - i : TALL;

        pack(a, 1, i, m, k, TALL, left);
        for (int64_t j = 0; j < n; j++) {
            if (j % WIDE == 0)
                sums(order, k, left, right + j * k, acc);
            memcpy(out + j * m + i, acc[j % WIDE], (size_t)tall * sizeof *out);
        }
    }
    free(left);
    free(right);
    return 0;
}
