/* fraction: exact, reduced, and refused where it cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "nodes/arithmetic/fraction.h"

static struct fraction
made(long long n, long long d)
{
    struct fraction f = {0};

    assert_true(fraction_make(n, d, &f));
    return f;
}

static void
is(struct fraction f, long long n, long long d)
{
    assert_true(f.numerator == n && f.denominator == d);
}

static void
values_are_in_lowest_terms(void **state)
{
    struct fraction f;

    (void)state;
    is(made(6, -4), -3, 2);
    is(made(0, 5), 0, 1);
    assert_true(fraction_add(made(1, 6), made(1, 3), 1, &f));
    is(f, 1, 2);
    assert_true(fraction_add(made(1, 2), made(1, 2), -1, &f));
    is(f, 0, 1);
    assert_true(fraction_multiply(made(2, 3), made(3, 4), &f));
    is(f, 1, 2);
    assert_true(fraction_divide(made(1, 2), made(-1, 4), &f));
    is(f, -2, 1);
    assert_true(fraction_power(made(2, 3), 3, &f));
    is(f, 8, 27);
    assert_true(fraction_power(made(5, 1), 0, &f));
    is(f, 1, 1);
    assert_int_equal(fraction_sign(made(-1, 3)), -1);
    assert_true(fraction_whole(made(4, 2)) && !fraction_whole(made(1, 2)));
}

static void
what_cannot_be_is_refused(void **state)
{
    struct fraction kept = made(7, 1), large, f = kept;

    (void)state;
    assert_false(fraction_make(1, 0, &f));
    assert_false(fraction_divide(made(1, 2), made(0, 1), &f));
    assert_true(fraction_power(made(10, 1), 30, &large));
    assert_false(fraction_multiply(large, large, &f));
    assert_false(fraction_power(made(10, 1), 64, &f));
    assert_false(fraction_power(made(1, 1), 65, &f));
    assert_false(fraction_power(made(1, 1), -1, &f));
    struct fraction small = {1, large.numerator};
    assert_false(fraction_add(small, (struct fraction){1, large.numerator + 1}, 1, &f));
    is(f, 7, 1);
}

static void
values_are_printed_as_people_write_them(void **state)
{
    char text[64];

    (void)state;
    fraction_print(made(17, 1), text, sizeof(text));
    assert_string_equal(text, "17");
    fraction_print(made(-1, 3), text, sizeof(text));
    assert_string_equal(text, "-0.333333");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_in_lowest_terms),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(values_are_printed_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
