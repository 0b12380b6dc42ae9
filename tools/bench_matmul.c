/* bench_matmul: the rate of the products of a training step next to OpenBLAS's sgemm on the same
 * shapes, one thread each, turns interleaved, medians. A decoder of width 256 on 4096 tokens: the
 * products of attention's and the feed-forward's weights, forward and both backward forms,
 * weighted as in a step. Prints one line per shape and last "ratio R": OpenBLAS's time for all of
 * them over ours. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "kernels/matmul.h"
#include "kernels/random.h"

#define ROUNDS 9

extern void openblas_set_num_threads(int threads);

enum form { FORM_forward, FORM_backward_x, FORM_backward_w };

static const char *const form_names[] = {"y = x w'", "dx = dy w", "dw += dy'x"};

static double
seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static float *
filled(int64_t count, uint64_t seed)
{
    float *x = xarray((size_t)count, sizeof *x);

    for (int64_t i = 0; i < count; i++)
        x[i] = (float)random_unit(seed, RANDOM_test, (uint64_t)i) - 0.5f;
    return x;
}

static void
ours(struct matmul *s, enum form form, int n, int m, int k, float *x, float *w, float *y)
{
    if (form == FORM_forward)
        matmul_forward(s, n, m, k, x, w, NULL, y);
    else if (form == FORM_backward_x)
        matmul_backward_x(s, n, m, k, y, w, 0, x);
    else
        matmul_backward_w(s, n, m, k, y, x, w);
}

static void
theirs(enum form form, int n, int m, int k, float *x, float *w, float *y)
{
    if (form == FORM_forward)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, m, k, 1, x, k, w, k, 0, y, m);
    else if (form == FORM_backward_x)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, k, m, 1, y, m, w, k, 0, x, k);
    else
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, k, n, 1, y, m, x, k, 1, w, k);
}

/* Median seconds of both on one shape. */
static void
measure(enum form form, int n, int m, int k, double *our, double *their)
{
    float *x = filled((int64_t)n * k, 1), *w = filled((int64_t)m * k, 2),
          *y = filled((int64_t)n * m, 3);
    double a[ROUNDS], b[ROUNDS];
    struct matmul s = {0};

    for (int round = -1; round < ROUNDS; round++) {     /* the first is to warm up */
        double t0 = seconds_now(), t1, t2;

        ours(&s, form, n, m, k, x, w, y);
        t1 = seconds_now();
        theirs(form, n, m, k, x, w, y);
        t2 = seconds_now();
        a[round < 0 ? 0 : round] = t1 - t0;
        b[round < 0 ? 0 : round] = t2 - t1;
    }
    qsort(a, ROUNDS, sizeof *a, by_value);
    qsort(b, ROUNDS, sizeof *b, by_value);
    *our = a[ROUNDS / 2];
    *their = b[ROUNDS / 2];
    matmul_free(&s);
    free(x);
    free(w);
    free(y);
}

int
main(int argc, char **argv)
{
    int width = argc > 1 ? atoi(argv[1]) : 256, n = argc > 2 ? atoi(argv[2]) : 4096;
    int shapes[][2] = {     /* m, k: q k v, o, gate and up, down */
        {2 * width, width}, {width, width}, {6 * width, width}, {width, 3 * width},
    };
    double our_sum = 0, their_sum = 0;

    if (width < 1 || width > 16384 || n < 1 || n > 1000000) {
        fprintf(stderr, "usage: bench_matmul [WIDTH [TOKENS]]\n");
        return 2;
    }
    openblas_set_num_threads(1);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int form = 0; form < 3; form++) {
            double our, their, work = 2.0 * n * shapes[i][0] * shapes[i][1];

            measure((enum form)form, n, shapes[i][0], shapes[i][1], &our, &their);
            our_sum += our;
            their_sum += their;
            printf("%-10s  %6d x %5d x %5d  %7.1f Gflop/s  OpenBLAS %7.1f  ratio %.2f\n",
                   form_names[form], n, shapes[i][0], shapes[i][1], work / our * 1e-9,
                   work / their * 1e-9, their / our);
        }
    printf("ratio %.3f\n", their_sum / our_sum);
    return 0;
}
