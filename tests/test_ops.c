/* The row operations and attention: values against the naive definitions in double, gradients
 * against finite differences of those, on every instruction set; exp and log against the C
 * library. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/attention.h"
#include "kernels/isa.h"
#include "kernels/math.h"
#include "kernels/naive.h"
#include "kernels/rope.h"
#include "tests/sets.h"

#define NEAR 3e-6       /* a few dozen roundings of 2^-24, of the largest element */

static const int64_t widths[] = {1, 3, 15, 16, 17, 40, 64};

#define WIDTHS ((int)(sizeof widths / sizeof *widths))

static double
dot(int64_t count, const double *a, const double *b)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

/* ---- norm ---- */

struct norm_case {
    int64_t width;
    double *x, *w, *y, *dy;     /* (width); x and w next to each other */
};

static double
norm_value(void *about)
{
    struct norm_case *n = about;

    naive_norm(n->width, 1e-6, n->x, n->w, n->y);
    return dot(n->width, n->y, n->dy);
}

static void
norm_at(int64_t width)
{
    float *xw = sets_floats(2 * width, (uint64_t)width, 1), *dy = sets_floats(width, 77, 1);
    float *y = xarray((size_t)width, sizeof *y), *again = xarray((size_t)width, sizeof *again);
    float *dxw = xarray((size_t)(2 * width), sizeof *dxw), factor;
    double *wide = sets_doubles(2 * width, xw), *slope = xarray((size_t)(2 * width), sizeof *slope);
    struct norm_case n = {
        width, wide, wide + width, xarray((size_t)width, sizeof(double)), sets_doubles(width, dy),
    };

    isa_now()->norm(1, width, 1e-6f, xw, xw + width, y, &factor);
    norm_value(&n);
    sets_near("norm", width, y, n.y, NEAR);
    isa_now()->norm_again(1, width, xw, xw + width, &factor, again);
    sets_same("norm again", width, again, y);
    isa_now()->norm_back(1, width, xw, xw + width, &factor, dy, dxw, dxw + width);
    sets_slope(norm_value, &n, 2 * width, wide, slope);
    /* Width 1: the true dx is all but 0, what is left of two equal terms. */
    sets_near("norm dx, dw", 2 * width, dxw, slope, 4 * NEAR);
    free(xw);
    free(dy);
    free(y);
    free(again);
    free(dxw);
    free(wide);
    free(slope);
    free(n.y);
    free(n.dy);
}

static void
norm_is_naive(void **state)
{
    (void)state;
    for (int i = 0; i < WIDTHS; i++)
        norm_at(widths[i]);
}

/* ---- swiglu ---- */

struct swiglu_case {
    int64_t width;
    double *gu, *y, *dy;
};

static double
swiglu_value(void *about)
{
    struct swiglu_case *s = about;

    naive_swiglu(s->width, s->gu, s->y);
    return dot(s->width, s->y, s->dy);
}

static void
swiglu_is_naive(void **state)
{
    (void)state;
    for (int i = 0; i < WIDTHS; i++) {
        int64_t n = widths[i];
        float *gu = sets_floats(2 * n, (uint64_t)n, 6), *dy = sets_floats(n, 78, 1);
        float *y = xarray((size_t)n, sizeof *y), *dgu = xarray((size_t)(2 * n), sizeof *dgu);
        float *again = xarray((size_t)n, sizeof *again);
        double *slope = xarray((size_t)(2 * n), sizeof *slope);
        struct swiglu_case s = {
            n, sets_doubles(2 * n, gu), xarray((size_t)n, sizeof(double)), sets_doubles(n, dy),
        };

        isa_now()->swiglu(1, n, gu, y);
        swiglu_value(&s);
        sets_near("swiglu", n, y, s.y, NEAR);
        isa_now()->swiglu_back(1, n, gu, dy, dgu, again);
        sets_same("swiglu again", n, again, y);
        sets_slope(swiglu_value, &s, 2 * n, s.gu, slope);
        sets_near("swiglu dgu", 2 * n, dgu, slope, NEAR);
        free(gu);
        free(dy);
        free(y);
        free(dgu);
        free(again);
        free(slope);
        free(s.gu);
        free(s.y);
        free(s.dy);
    }
}

/* ---- rope ---- */

/* The naive angle is exact; ours is rounded to float32, so it is off by up to position 2^-24
 * radians. */
static void
rope_is_naive(void **state)
{
    static const int64_t dims[] = {2, 6, 16, 32, 34};

    (void)state;
    for (int i = 0; i < 5; i++) {
        int64_t dim = dims[i];
        struct rope rope;

        rope_init(&rope, 50, dim, 10000.0, NULL);
        for (int64_t position = 0; position < 50; position += 7) {
            float *x = sets_floats(3 * dim, (uint64_t)dim, 1),
                  *kept = sets_floats(3 * dim, (uint64_t)dim, 1);
            double *wanted = sets_doubles(3 * dim, x);

            for (int64_t head = 0; head < 3; head++)
                naive_rotate(dim, position, 10000.0, wanted + head * dim);
            rope_turn(&rope, position, 3, 0, x);
            sets_near("rope", 3 * dim, x, wanted, NEAR * (double)(1 + position));
            if (position == 0)
                sets_same("rope at 0", 3 * dim, x, kept);
            /* A rotation's transpose is its inverse. */
            rope_turn(&rope, position, 3, 1, x);
            free(wanted);
            wanted = sets_doubles(3 * dim, kept);
            sets_near("rope back", 3 * dim, x, wanted, NEAR);
            free(x);
            free(kept);
            free(wanted);
        }
        rope_free(&rope);
    }
}

/* ---- attention ---- */

struct attention_case {
    int64_t length, heads, kv_heads, dim;
    double *qkv, *out, *dout;
    double *direction;          /* of the derivative, where all elements are too many */
    double  step;
};

static double
attention_value(void *about)
{
    struct attention_case *a = about;

    naive_attention(a->length, a->heads, a->kv_heads, a->dim, a->qkv, a->out);
    return dot(a->length * a->heads * a->dim, a->out, a->dout);
}

/* The slope along one direction against dqkv times it. */
static void
attention_along(struct attention_case *a, int64_t count, const float *dqkv)
{
    float  *u = sets_floats(count, 99, 1);
    double *direction = sets_doubles(count, u), slope = 0, size = 0, ours = 0;

    for (int sign = 1; sign >= -1; sign -= 2) {
        for (int64_t i = 0; i < count; i++)
            a->qkv[i] += sign * 1e-5 * direction[i];
        slope += sign * attention_value(a) / 2e-5;
        for (int64_t i = 0; i < count; i++)
            a->qkv[i] -= sign * 1e-5 * direction[i];
    }
    for (int64_t i = 0; i < count; i++) {
        ours += (double)dqkv[i] * direction[i];
        size += fabs((double)dqkv[i] * direction[i]);
    }
    if (!(fabs(ours - slope) <= NEAR * size))
        fail_msg("attention along a direction: %.9g, not %.9g (terms %.3g)", ours, slope, size);
    free(u);
    free(direction);
}

static void
attention_at(int64_t length, int64_t heads, int64_t kv_heads, int64_t dim, int each)
{
    int64_t count = length * (heads + 2 * kv_heads) * dim, n = length * heads * dim;
    float *qkv = sets_floats(count, (uint64_t)(length + dim), 2), *dout = sets_floats(n, 79, 1);
    float *out = xarray((size_t)n, sizeof *out), *dqkv = xarray((size_t)count, sizeof *dqkv);
    float *largest = xarray((size_t)(length * heads), sizeof *largest);
    float *inverse = xarray((size_t)(length * heads), sizeof *inverse);
    double *slope = xarray((size_t)count, sizeof *slope);
    struct attention_case a = {
        .length = length, .heads = heads, .kv_heads = kv_heads, .dim = dim,
        .qkv = sets_doubles(count, qkv), .out = xarray((size_t)n, sizeof(double)),
        .dout = sets_doubles(n, dout),
    };
    struct attention fast;

    attention_init(&fast, heads, kv_heads, dim, length, 1);
    attention_forward(&fast, length, qkv, out, largest, inverse);
    attention_value(&a);
    sets_near("attention", n, out, a.out, NEAR);
    attention_backward(&fast, length, qkv, largest, inverse, dout, dqkv);
    attention_along(&a, count, dqkv);
    if (each) {
        sets_slope(attention_value, &a, count, a.qkv, slope);
        sets_near("attention dqkv", count, dqkv, slope, 4 * NEAR);
    }
    attention_free(&fast);
    free(qkv);
    free(dout);
    free(out);
    free(dqkv);
    free(largest);
    free(inverse);
    free(slope);
    free(a.qkv);
    free(a.out);
    free(a.dout);
}

static void
attention_is_naive(void **state)
{
    (void)state;
    attention_at(1, 2, 1, 4, 1);
    attention_at(2, 1, 1, 16, 1);
    attention_at(13, 4, 2, 6, 1);
    attention_at(26, 3, 3, 16, 1);
    attention_at(37, 2, 1, 20, 0);
    attention_at(230, 2, 1, 34, 0);     /* more than one block of queries */
    attention_at(20, 1, 1, 300, 0);
}

/* ---- exp and log ---- */

static void
exp_is_libm(void **state)
{
    double worst = 0;

    (void)state;
    for (float x = -87.2f; x < 88.3f; x += 0.00137f) {
        double wanted = exp((double)x), ours = (double)math_exp(lanes_all(x))[3];

        worst = fmax(worst, fabs(ours - wanted) / wanted);
    }
    assert_true(worst < 2 * 0x1p-23);
    assert_true(math_exp(lanes_all(0.0f))[0] == 1.0f);
    assert_true(math_exp(lanes_all(-0.0f))[0] == 1.0f);
    assert_true(math_exp(lanes_all(-INFINITY))[0] == 0.0f);
    assert_true(math_exp(lanes_all(-1000.0f))[0] == 0.0f);
    assert_true(math_exp(lanes_all(1000.0f))[0] == INFINITY);
    assert_true(isnan(math_exp(lanes_all(NAN))[0]));
}

static void
log_is_libm(void **state)
{
    double worst = 0;

    (void)state;
    for (float x = 1.0f; x < 1e9f; x *= 1.00037f) {
        double wanted = log((double)x);

        worst = fmax(worst, fabs((double)math_log(x) - wanted) / fmax(wanted, 1e-3));
        assert_true(math_log(x) >= 0.0f);
    }
    assert_true(worst < 4 * 0x1p-23);
    assert_true(math_log(1.0f) == 0.0f);
}

static int
run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_is_naive),
        cmocka_unit_test(swiglu_is_naive),
        cmocka_unit_test(rope_is_naive),
        cmocka_unit_test(attention_is_naive),
        cmocka_unit_test(exp_is_libm),
        cmocka_unit_test(log_is_libm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    return sets_run(run);
}
