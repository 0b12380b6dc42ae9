/* side: values, doubts, and where a side ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "nodes/arithmetic/compare.h"
#include "nodes/arithmetic/side.h"

static void
sides_are_computed(void **state)
{
    static const struct {
        const char *text;
        long long numerator, denominator;
        int operators, decimals;
        bool doubt;
        const char *rest; /* of the text behind units and notes */
    } rows[] = {
        {"16 - 3 * 4", 4, 1, 2, -1, false, ""},
        {"3 apples (red) x $2.50 = 7", 15, 2, 1, -1, false, "= 7"},
        {"12.50 dollars per hour.", 25, 2, 0, 2, false, "."},
        {"(7)", 7, 1, 0, 0, false, ""},
        {"-(2 + 3)", -5, 1, 1, -1, false, ""},
        {"20% of 50", 10, 1, 1, -1, false, ""},
        {"20% off of $50", 40, 1, 1, -1, false, ""},
        {"\\frac{1 \\text{ cup}}{2}x", 0, 0, 0, 0, false, NULL},
        {"1 1/2", 3, 2, 0, -1, false, ""},
        {"6 / 1/2", 3, 1, 2, -1, true, ""},
        {"50 + 20%", 251, 5, 1, -1, true, ""},
        {"2 * x", 2, 1, 0, 0, false, "* x"},
        {"7 + y", 7, 1, 0, 0, false, "+ y"},
        {"1 / 0", 0, 0, 0, 0, false, NULL},
        {"x", 0, 0, 0, 0, false, NULL},
        {"(1", 0, 0, 0, 0, false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct span text = span_text(rows[i].text);
        struct side s;
        bool read = side_read(text, 0, SIDE_share, &s);
        if (read != (rows[i].rest != NULL))
            fail_msg("'%s' is %sa side", rows[i].text, read ? "" : "no ");
        if (read &&
            (s.value.numerator != rows[i].numerator || s.value.denominator != rows[i].denominator ||
             s.operators != rows[i].operators || s.decimals != rows[i].decimals ||
             s.doubt != rows[i].doubt || strcmp(rows[i].text + s.next, rows[i].rest) != 0))
            fail_msg("'%s': %lld/%lld, %d operators, %d decimals, doubt %d, rest '%s'",
                     rows[i].text, (long long)s.value.numerator, (long long)s.value.denominator,
                     s.operators, s.decimals, s.doubt, rows[i].text + s.next);
    }
}

static void
depth_and_length_are_bounded(void **state)
{
    char text[4 * SIDE_TOKENS_MAX] = "";
    struct side s;

    (void)state;
    memset(text, '(', SIDE_DEPTH_MAX + 1);
    strcat(text, "1");
    memset(text + strlen(text), ')', SIDE_DEPTH_MAX + 1);
    assert_false(side_read(span_text(text), 0, SIDE_share, &s));
    assert_true(side_read(span_of(text + 1, strlen(text) - 2), 0, SIDE_share, &s));
    memset(text, 0, sizeof(text));
    for (int i = 0; i < SIDE_TOKENS_MAX; i++)
        strcat(text, "1+");
    strcat(text, "1");
    assert_false(side_read(span_text(text), 0, SIDE_share, &s));
}

static enum compared
compared(const char *a, char relation, const char *c)
{
    struct side left, right;

    assert_true(side_read(span_text(a), 0, SIDE_share, &left));
    assert_true(side_read(span_text(c), 0, SIDE_share, &right));
    return compare(&left, relation, &right, false);
}

static void
sides_are_compared(void **state)
{
    (void)state;
    assert_int_equal(compared("2 + 3", '=', "5"), COMPARED_right);
    assert_int_equal(compared("2 + 3", '=', "6"), COMPARED_wrong);
    assert_int_equal(compared("7 / 2", '=', "3"), COMPARED_nothing);
    assert_int_equal(compared("7 / 2", '=', "5"), COMPARED_wrong);
    assert_int_equal(compared("2 + 3", '=', "5 * 4"), COMPARED_right);
    assert_int_equal(compared("2 + 3", 'l', "5"), COMPARED_right);
    assert_int_equal(compared("2 + 3", '<', "5"), COMPARED_wrong);
    assert_int_equal(compared("2 + 3", 'n', "5"), COMPARED_wrong);
    assert_int_equal(compared("2 + 3", 'a', "5.01"), COMPARED_right);
    assert_int_equal(compared("47", 'r', "50"), COMPARED_right);
    assert_int_equal(compared("47", 'r', "60"), COMPARED_wrong);
    assert_int_equal(compared("1 hour + 30", '=', "90 minutes"), COMPARED_nothing);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sides_are_computed),
        cmocka_unit_test(depth_and_length_are_bounded),
        cmocka_unit_test(sides_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
