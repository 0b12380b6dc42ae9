/* The fast products against the naive loop: equal bits, for many shapes, starts and instruction
 * sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/matmul.h"
#include "kernels/threads.h"
#include "tests/sets.h"

static const int64_t sizes[][3] = {     /* n, m, k */
    {0, 5, 3}, {5, 0, 3}, {5, 3, 0}, {1, 1, 1}, {1, 16, 7}, {2, 17, 5}, {3, 33, 16}, {5, 31, 24},
    {6, 32, 1}, {7, 64, 33}, {11, 48, 12}, {12, 32, 257}, {13, 65, 64}, {24, 16, 300}, {25, 40, 20},
    {97, 37, 24}, {100, 530, 9}, {193, 50, 70}, {64, 96, 513}, {70, 141, 130}, {300, 200, 96},
};

#define SIZES ((int)(sizeof sizes / sizeof *sizes))

static struct threads *threads;         /* of all_forms; NULL: one */

static void
all_forms(int64_t n, int64_t m, int64_t k, uint64_t seed)
{
    float *x = sets_floats(n * k, seed, 1), *w = sets_floats(m * k, seed + 1, 1);
    float *y = sets_floats(n * m, seed + 2, 1), *bias = sets_floats(m, seed + 3, 1);
    float *a = xarray((size_t)(n * m + n * k + m * k + m + 1), sizeof *a);
    float *b = xarray((size_t)(n * m + n * k + m * k + m + 1), sizeof *b);
    struct matmul s = {.threads = threads};
    struct matmul_weight packed = {.threads = threads};

    for (int with = 0; with < 2; with++) {
        struct matmul_shape q = {n, m, k, k, 1, 1, k, m, with ? bias : NULL, 0};

        matmul_naive(&q, x, w, a);
        matmul_forward(&s, n, m, k, x, w, with ? bias : NULL, b);
        sets_same("y", n * m, b, a);
        memset(b, 0, (size_t)(n * m) * sizeof *b);
        matmul_pack(&packed, m, k, w);
        matmul_packed(n, &packed, x, with ? bias : NULL, b);
        sets_same("packed y", n * m, b, a);

        struct matmul_shape qx = {n, k, m, m, 1, k, 1, k, NULL, with};
        memcpy(a, x, (size_t)(n * k) * sizeof *a);
        memcpy(b, x, (size_t)(n * k) * sizeof *b);
        matmul_naive(&qx, y, w, a);
        matmul_backward_x(&s, n, m, k, y, w, with, b);
        sets_same("dx", n * k, b, a);
        memcpy(b, x, (size_t)(n * k) * sizeof *b);
        matmul_pack_backward(&packed, m, k, w);
        if (with)
            matmul_packed_add(n, &packed, y, b);
        else
            matmul_packed(n, &packed, y, NULL, b);
        sets_same("packed dx", n * k, b, a);
    }
    struct matmul_shape qw = {m, k, n, 1, m, k, 1, k, NULL, 1};
    memcpy(a, w, (size_t)(m * k) * sizeof *a);
    memcpy(b, w, (size_t)(m * k) * sizeof *b);
    matmul_naive(&qw, y, x, a);
    matmul_backward_w(&s, n, m, k, y, x, b);
    sets_same("dw", m * k, b, a);
    memcpy(a, bias, (size_t)m * sizeof *a);
    memcpy(b, bias, (size_t)m * sizeof *b);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            a[j] += y[i * m + j];
    matmul_backward_bias(n, m, y, b);
    sets_same("dbias", m, b, a);
    matmul_free(&s);
    matmul_weight_free(&packed);
    free(x);
    free(w);
    free(y);
    free(bias);
    free(a);
    free(b);
}

/* Large enough to be shared: one block, many, and edges of both. */
static void
threads_change_nothing(void **state)
{
    static const int     counts[] = {2, 3, 7};
    static const int64_t shapes[][3] = {{130, 300, 20}, {97, 257, 24}, {300, 30, 64}, {1, 900, 700}};

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        threads = threads_new(counts[i]);
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
            all_forms(shapes[k][0], shapes[k][1], shapes[k][2], 40 + k);
        threads_free(threads);
    }
    threads = NULL;
}

static void
equal_to_naive(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES; i++)
        all_forms(sizes[i][0], sizes[i][1], sizes[i][2], (uint64_t)i * 10);
}

/* A row's result is the same alone, first, last, or among others. */
static void
rows_are_alone(void **state)
{
    enum { N = 40, M = 50, K = 70 };
    float *x = sets_floats(N * K, 1, 1), *w = sets_floats(M * K, 2, 1);
    float *all = sets_floats(N * M, 3, 1), *one = sets_floats(N * M, 4, 1);
    struct matmul s = {0};

    (void)state;
    matmul_forward(&s, N, M, K, x, w, NULL, all);
    for (int64_t first = 0; first < N; first += 3)
        for (int64_t count = 1; first + count <= N; count += 7) {
            matmul_forward(&s, count, M, K, x + first * K, w, NULL, one);
            sets_same("row", count * M, one, all + first * M);
        }
    matmul_free(&s);
    free(x);
    free(w);
    free(all);
    free(one);
}

static int
run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_naive),
        cmocka_unit_test(rows_are_alone),
        cmocka_unit_test(threads_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    return sets_run(run);
}
