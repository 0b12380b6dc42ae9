/* arithmetic: equations found, computed and left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/arithmetic.h"

struct sample {
    const char *text;
    int         right, wrong;
};

static void
run(const struct sample *samples, size_t count)
{
    int bad = 0;

    for (size_t i = 0; i < count; i++) {
        struct arithmetic a;
        arithmetic_check(span_text(samples[i].text), &a);
        if (a.right != samples[i].right || a.wrong != samples[i].wrong) {
            print_error("'%s': %d right, %d wrong; expected %d and %d\n", samples[i].text, a.right,
                        a.wrong, samples[i].right, samples[i].wrong);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

#define RUN(samples) run(samples, sizeof(samples) / sizeof(samples[0]))

static void
equations_are_computed(void **state)
{
    static const struct sample samples[] = {
        {"3 + 4 = 7", 1, 0},
        {"3+4=8", 0, 1},
        {"16 - 3 - 4 = 9", 1, 0},
        {"2 + 3 * 4 = 14", 1, 0},
        {"2 + 3 * 4 = 20", 0, 1},
        {"(2 + 3) * 4 = 20", 1, 0},
        {"((1+1)*(2+2)) = 8", 1, 0},
        {"7 x 8 = 56", 1, 0},
        {"7x8=56", 1, 0},
        {"7 × 8 = 54", 0, 1},
        {"6 · 7 = 42", 1, 0},
        {"12 ÷ 4 = 3", 1, 0},
        {"12 / 5 = 2.4", 1, 0},
        {"-3 + 5 = 2", 1, 0},
        {"3 - 5 = -2", 1, 0},
        {"3 * -2 = -6", 1, 0},
        {"3 − 5 = −2", 1, 0},
        {"1,200 + 300 = 1,500", 1, 0},
        {"$80,000+$50,000=$130,000", 1, 0},
        {"0.1 + 0.2 = 0.3", 1, 0},
        {"48/2 = <<48/2=24>>24 clips", 1, 0},
        {"9 * 2 = $<<9*2=18>>18 every day", 1, 0},
        {"<<9*2=19>>19", 0, 1},
        {"so 5 * 3 = 15, and 15 + 1 = 17.", 1, 1},
        {"7 = 3 + 4", 1, 0},
        {"7 = 3 + 5", 0, 1},
        {"\\$3 \\times 4 = 12", 1, 0},
        {"8 \\div 2 = 4", 1, 0},
        {"**3 + 4 = 7**", 1, 0},
        {"$3 + 4 = 7$", 1, 0},
        {"1. 3 + 4 = 7", 1, 0},
        {"- 3 + 4 = 7", 1, 0},
        {"(3 + 4 = 7)", 1, 0},
        {"3+4=7.", 1, 0},
        {".5 + .5 = 1", 1, 0},
        {"9223372036854775807 + 1 = 9223372036854775808", 1, 0},
        {"3 + 4 = 7 - so there are seven", 1, 0},
    };
    (void)state;
    RUN(samples);
}

static void
chains_and_running_calculations_are_followed(void **state)
{
    static const struct sample samples[] = {
        {"3 + 4 = 7 = 5 + 2", 2, 0}, {"2 + 3 = 5 * 4 = 20", 2, 0}, {"2 + 3 = 6 * 4 = 24", 1, 1},
        {"1 + 1 = 2 + 2 = 5", 1, 1}, {"3 * 4 = 6 * 2", 1, 0},      {"3 * 4 = 6 * 3", 0, 1},
    };
    (void)state;
    RUN(samples);
}

static void
rounded_results_hold(void **state)
{
    static const struct sample samples[] = {
        {"10 / 3 = 3.33", 1, 0}, {"10 / 3 = 3.34", 0, 1}, {"2 / 3 = 0.67", 1, 0},
        {"2/3 = 0.7", 1, 0},     {"2/3=0.6", 0, 1},       {"1/8 = 0.13", 1, 0},
        {"0.33 = 1/3", 1, 0},    {"10 / 3 = 3", 0, 0},    {"10 / 3 = 5", 0, 1},
        {"24*.1=2.4000000000000004", 1, 0},
        {"10/3=3.3333333333333335", 1, 0},
        {"-9.38+10 = 0.6199999999999992", 1, 0},
        {"1000-83.33333333333333 = 916.6666666666666", 1, 0},
        {"24*.1=2.4000000000040000", 0, 1},
        {"7 / 2 = 3", 0, 0},     {"3 + 4.4 = 7", 0, 1},   {"8 / 2 = 5", 0, 1},
    };
    (void)state;
    RUN(samples);
}

static void
parts_of_larger_things_are_left_alone(void **state)
{
    static const struct sample samples[] = {
        {"", 0, 0},
        {"no numbers = here", 0, 0},
        {"5 = 5", 0, 0},
        {"x + 4 * 2 = 13", 0, 0},
        {"y = 3 + 4", 0, 0},
        {"3x = 6", 0, 0},
        {"3x + 4 = 7", 0, 0},
        {"1/2 of 10 + 2 = 7", 0, 0},
        {"half of 10 + 6 = 11", 0, 0},
        {"9:30 - 1:00 = 8:30", 0, 0},
        {"2^3 + 1 = 9", 0, 0},
        {"2**3 = 8", 0, 0},
        {"50% * 80 = 40", 0, 0},
        {"10 / 20 = 50%", 0, 0},
        {"3 + 4 == 7", 0, 0},
        {"3 + 4 >= 6", 0, 0},
        {"3 + 4 = 7 * x", 0, 0},
        {"3 + 4 = 7x", 0, 0},
        {"v1.2.3 + 4 = 7", 0, 0},
        {"abc3 + 4 = 8", 0, 0},
        {"2021-01-02", 0, 0},
        {"5 apples + 4 * 2 = 13", 0, 0},
        {"5 apples -3 + 4 = 6", 0, 0},
        {"1 / 0 = 0", 0, 0},
        {"3 + = 4", 0, 0},
        {"= 4", 0, 0},
        {"3 +", 0, 0},
        {"((((((((((((((((((((((((((((((((((((((((1+1=2", 1, 0},
        {"1,2 + 3 = 5", 0, 0},
        {"99999999999999999999999999999999999999999999 * 99999999999999999999999 = 1", 0, 0},
        {"sqrt(4) + 1 = 3", 0, 0},
        {"f(x)*(3+4)=14", 0, 0},
        {"8 x 1 1/2 = 12", 0, 0},
        {"2 + 1 1/2 = 3 1/2", 0, 0},
        {"0900-0130 = 0730", 0, 0},
        {"80 000 x 20/100 = 16 000", 0, 0},
        {"28 / 1/5 = 140", 0, 0},
        {"$0.25G/$0.25 = $20/$0.25", 0, 0},
        {"4000=(1/2)X", 0, 0},
        {"15% of $80 = (15/100)*$80", 0, 0},
        {"Week 1 + Week 2 = 35 + 35", 0, 0},
        {"3/ 1/4 = 12", 0, 0},
        {"x – 1 + 2 = 5", 0, 0},
        {"3 + 4 = 7!", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
the_first_wrong_one_is_named(void **state)
{
    struct arithmetic a;

    (void)state;
    arithmetic_check(span_text("2+2=4, then 12 + 5 = 18 eggs, 1+1=3"), &a);
    assert_int_equal(a.wrong, 2);
    assert_true(span_is(a.first_wrong, "12 + 5 = 18"));
    assert_string_equal(a.value, "17");
}

/* Text of one million repeated fragments is read in linear time, and no byte crashes it. */
static void
long_and_hostile_text_is_read_in_bounded_time(void **state)
{
    static const char *const parts[] = {"1+", "(",  "1 ", "=",    "1=",  "-", "1,111",
                                        "<<", "x1", " ",  "\xc3", "0.0", "1/"};

    (void)state;
    for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
        struct buffer     b = {0};
        struct arithmetic a;
        for (int i = 0; i < 20000; i++)
            buffer_text(&b, parts[p]);
        arithmetic_check(buffer_span(&b), &a);
        buffer_free(&b);
    }
    uint64_t x = 88172645463325252ull;
    for (int round = 0; round < 20000; round++) {
        static const char letters[] = "0123456789+-*/=().,<>$ x%\n";
        char              text[40];
        struct arithmetic a;
        for (size_t i = 0; i < sizeof(text); i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            text[i] = letters[x % (sizeof(letters) - 1)];
        }
        char *copy = malloc(sizeof(text));      /* so that a sanitizer sees a read beyond the end */
        memcpy(copy, text, sizeof(text));
        arithmetic_check(span_of(copy, sizeof(text)), &a);
        free(copy);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equations_are_computed),
        cmocka_unit_test(chains_and_running_calculations_are_followed),
        cmocka_unit_test(rounded_results_hold),
        cmocka_unit_test(parts_of_larger_things_are_left_alone),
        cmocka_unit_test(the_first_wrong_one_is_named),
        cmocka_unit_test(long_and_hostile_text_is_read_in_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
