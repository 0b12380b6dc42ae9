/* Philox against the published vectors; numbers by name; uniformity in the coarse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/random.h"

/* Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, block. */
static void
published_vectors(void **state)
{
    static const uint32_t vectors[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
         0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
         0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];

        random_block(vectors[i], vectors[i] + 4, out);
        assert_memory_equal(out, vectors[i] + 6, sizeof out);
    }
}

static void
names_are_apart(void **state)
{
    (void)state;
    assert_true(random_bits(1, RANDOM_init, 5) == random_bits(1, RANDOM_init, 5));
    assert_true(random_bits(1, RANDOM_init, 5) != random_bits(2, RANDOM_init, 5));
    assert_true(random_bits(1, RANDOM_init, 5) != random_bits(1, RANDOM_sample, 5));
    assert_true(random_bits(1, RANDOM_init, 5) != random_bits(1, RANDOM_init, 6));
    assert_true(random_bits(1, RANDOM_init, 5) !=
                random_bits(1, RANDOM_init, 5 + (UINT64_C(1) << 32)));
}

static void
moments(void **state)
{
    double unit = 0, normal = 0, square = 0;
    enum { N = 40000 };

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double u = random_unit(3, RANDOM_test, i), x = random_normal(3, RANDOM_test, i);

        assert_true(u >= 0 && u < 1 && fabs(x) < 9);
        unit += u;
        normal += x;
        square += x * x;
    }
    assert_true(fabs(unit / N - 0.5) < 5 * sqrt(1.0 / 12 / N));         /* five standard errors */
    assert_true(fabs(normal / N) < 5 * sqrt(1.0 / N));
    assert_true(fabs(square / N - 1) < 5 * sqrt(2.0 / N));
}

static void
permutations(void **state)
{
    uint64_t order[100], again[100], seen[6] = {0};

    (void)state;
    for (uint64_t count = 0; count <= 100; count += 25) {
        unsigned char there[100] = {0};

        random_permutation(1, RANDOM_shuffle, 2, count, order);
        for (uint64_t i = 0; i < count; i++) {
            assert_true(order[i] < count && !there[order[i]]);
            there[order[i]] = 1;
        }
    }
    random_permutation(1, RANDOM_shuffle, 2, 100, again);
    assert_memory_equal(order, again, sizeof order);
    random_permutation(1, RANDOM_shuffle, 3, 100, again);
    assert_memory_not_equal(order, again, sizeof order);
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        random_permutation(9, RANDOM_shuffle, epoch, 3, order);
        seen[order[0] * 2 + (order[1] > order[2])]++;
    }
    for (int i = 0; i < 6; i++)     /* 1000 each, standard deviation 29 */
        assert_true(seen[i] > 850 && seen[i] < 1150);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(names_are_apart),
        cmocka_unit_test(moments),
        cmocka_unit_test(permutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
