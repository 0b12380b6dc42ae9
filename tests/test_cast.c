/* Rounding to bfloat16: every kind of number against its two neighbours, and the mean of many
 * stochastic roundings. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cast.h"
#include "kernels/random.h"

static float
float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A value of random bits: every exponent, both signs. */
static float
any_float(uint64_t i)
{
    return float_of((uint32_t)random_bits(1, RANDOM_test, i));
}

/* The neighbours of a finite number among the bfloat16, toward zero and away from it; the one
 * beyond the largest is 2^128. */
static void
neighbours(float value, double *inner, double *outer)
{
    int exponent = 0;
    double size = fabs((double)value), unit;

    frexp(size, &exponent);
    unit = ldexp(1.0, (exponent < -125 ? -125 : exponent) - 8); /* 8 bits of precision */
    *inner = copysign(floor(size / unit) * unit, (double)value);
    *outer = copysign((floor(size / unit) + (fmod(size, unit) != 0)) * unit, (double)value);
}

static double
as_number(uint16_t half)
{
    double back = (double)cast_back(half);

    return isinf(back) ? copysign(0x1p128, back) : back;
}

static void
nearest_is_nearest(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 200000; i++) {
        float value = any_float(i);
        double inner, outer, got, other;
        uint16_t half = cast_nearest(value);

        if (!isfinite(value))
            continue;
        neighbours(value, &inner, &outer);
        got = as_number(half);
        assert_true(got == inner || got == outer);
        assert_int_equal(signbit(got) != 0, signbit(value) != 0);
        other = got == inner ? outer : inner;
        assert_true(fabs(got - (double)value) <= fabs(other - (double)value));
    }
}

static void
ties_go_to_the_even_one(void **state)
{
    (void)state;
    assert_int_equal(cast_nearest(float_of(0x3f808000)), 0x3f80);
    assert_int_equal(cast_nearest(float_of(0x3f818000)), 0x3f82);
    assert_int_equal(cast_nearest(float_of(0x3f808001)), 0x3f81);
    assert_int_equal(cast_nearest(float_of(0x3f817fff)), 0x3f81);
    assert_int_equal(cast_nearest(float_of(0x3fff8000)), 0x4000);
    assert_int_equal(cast_nearest(float_of(0x80008000)), 0x8000);   /* half the least: to -0 */
    assert_int_equal(cast_nearest(float_of(0x00018000)), 0x0002);
}

static void
what_is_not_a_number_stays_so(void **state)
{
    static const uint32_t nans[] = {0x7f800001, 0x7fffffff, 0xff800001, 0x7f80ffff, 0xffc00000};

    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
            uint16_t near = cast_nearest(float_of(nans[i]));

            assert_int_equal(near & 0x7fc0, 0x7fc0);
            assert_int_equal(near >> 15, nans[i] >> 31);
            assert_int_equal(cast_stochastic(float_of(nans[i]), seed, i), near);
        }
        assert_int_equal(cast_stochastic(INFINITY, seed, 3), 0x7f80);
        assert_int_equal(cast_stochastic(-INFINITY, seed, 3), 0xff80);
        assert_int_equal(cast_stochastic(0.0f, seed, 3), 0);
        assert_int_equal(cast_stochastic(-0.0f, seed, 3), 0x8000);
        /* beyond the largest finite one both round alike: no draw makes an infinity */
        assert_int_equal(cast_stochastic(float_of(0x7f7f7fff), seed, 3), 0x7f7f);
        assert_int_equal(cast_stochastic(float_of(0x7f7f8000), seed, 3), 0x7f80);
        assert_int_equal(cast_stochastic(float_of(0xff7fffff), seed, 3), 0xff80);
    }
    assert_int_equal(cast_nearest(INFINITY), 0x7f80);
    assert_int_equal(cast_nearest(float_of(0x7f7f7fff)), 0x7f7f);
    assert_int_equal(cast_nearest(float_of(0x7f7fffff)), 0x7f80);
}

static void
a_number_that_fits_is_kept(void **state)
{
    (void)state;
    for (uint32_t half = 0; half <= 0xffff; half++) {
        float value = cast_back((uint16_t)half);

        if (isnan(value))
            continue;
        assert_int_equal(cast_nearest(value), half);
        assert_int_equal(cast_stochastic(value, 5, half), half);
    }
}

/* Every draw gives a neighbour. The mean of n roundings lies within 5 standard errors of the
 * number: a rounding has the variance (x - inner)(outer - x) <= unit^2 / 4. */
static void
the_mean_is_the_number(void **state)
{
    static const uint32_t numbers[] = {0x3f800001, 0x3f804000, 0x3f80ffff, 0xc2f18000, 0x00000123,
                                       0x80000001, 0x007fff00, 0x3fffc000, 0x7f7effff, 0x2e2b1a17};
    enum { N = 20000 };

    (void)state;
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        float value = float_of(numbers[k]);
        double inner, outer, ups = 0, share, error;

        neighbours(value, &inner, &outer);
        share = ((double)value - inner) / (outer - inner);
        for (uint64_t i = 0; i < N; i++) {
            double got = as_number(cast_stochastic(value, 11, k * N + i));

            assert_true(got == inner || got == outer);
            ups += got == outer;
        }
        error = sqrt(share * (1 - share) / N);
        if (!(fabs(ups / N - share) <= 5 * error))
            fail_msg("%a goes up %g of the time, %g is right", (double)value, ups / N, share);
    }
}

/* The draw as cast.h defines it, from the block. */
static void
draws_are_those_of_the_header(void **state)
{
    static const uint64_t firsts[] = {0, UINT64_C(0x7ffffff00), UINT64_C(0xfffffffffffff000)};
    const uint64_t seed = UINT64_C(0x123456789abcdef0);

    (void)state;
    for (uint64_t i = 0; i < 3 * 512; i++) {
        uint64_t index = firsts[i % 3] + i / 3;
        uint32_t dropped = (uint32_t)random_bits(2, RANDOM_test, i) & 0xffff, words[4], draw;
        const uint32_t key[2] = {0x9abcdef0, 0x12345678};
        const uint32_t counter[4] = {(uint32_t)(index >> 3), (uint32_t)(index >> 35),
                                     RANDOM_rounding, 0};

        random_block(counter, key, words);
        draw = words[index % 8 / 2] >> (index % 2 * 16) & 0xffff;
        assert_int_equal(cast_stochastic(float_of(0x40000000 | dropped), seed, index),
                         0x4000 + (draw + dropped >= 0x10000));
    }
}

static void
draws_differ_by_place_and_seed(void **state)
{
    int seeds = 0, places = 0, alike = 0;

    (void)state;
    for (uint64_t i = 0; i < 1024; i++) {
        uint16_t here = cast_stochastic(1.00390625f / 2, 1, i);

        seeds += here != cast_stochastic(1.00390625f / 2, 2, i);
        places += here != cast_stochastic(1.00390625f / 2, 1, i + 1);
        alike += here == cast_stochastic(1.00390625f / 2, 1, i);
    }
    assert_true(seeds > 400 && places > 400 && alike == 1024);
}

static void
rows_are_padded_and_indexed(void **state)
{
    float from[15];
    uint16_t out[32], wanted;

    (void)state;
    for (int i = 0; i < 15; i++)
        from[i] = 1.0f + (float)i * 0.00123f;
    memset(out, 0xab, sizeof out);
    cast_rows(3, 5, from, 8, out, CAST_stochastic, 9, 100);
    for (int i = 0; i < 24; i++) {
        int row = i / 8, column = i % 8, at = row * 5 + column;

        wanted = column < 5 ? cast_stochastic(from[at], 9, 100 + (uint64_t)at) : 0;
        assert_int_equal(out[i], wanted);
    }
    assert_int_equal(out[24], 0xabab);
    cast_rows(1, 15, from, 16, out, CAST_nearest, 9, 100);
    for (int i = 0; i < 15; i++)
        assert_int_equal(out[i], cast_nearest(from[i]));
    assert_int_equal(out[15], 0);
    cast_rows(0, 5, from, 8, out, CAST_nearest, 0, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_is_nearest),
        cmocka_unit_test(ties_go_to_the_even_one),
        cmocka_unit_test(what_is_not_a_number_stays_so),
        cmocka_unit_test(a_number_that_fits_is_kept),
        cmocka_unit_test(the_mean_is_the_number),
        cmocka_unit_test(draws_are_those_of_the_header),
        cmocka_unit_test(draws_differ_by_place_and_seed),
        cmocka_unit_test(rows_are_padded_and_indexed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
