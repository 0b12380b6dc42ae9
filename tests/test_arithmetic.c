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

#include "nodes/arithmetic/arithmetic.h"

struct sample {
    const char *text;
    int right, wrong;
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
        {"2 + 3 * 4 = 20", 0, 0},
        {"2 + 3 * 4 = 24", 0, 1},
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
        {"8 / -2 = -4", 1, 0},
        {"8 / -1 = 7", 0, 1},
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
        {"10 / 3 = 3.33", 1, 0},
        {"10 / 3 = 3.34", 0, 1},
        {"2 / 3 = 0.67", 1, 0},
        {"2/3 = 0.7", 1, 0},
        {"2/3=0.6", 0, 0},
        {"1/8 = 0.13", 1, 0},
        {"0.33 = 1/3", 1, 0},
        {"10 / 3 = 3", 0, 0},
        {"10 / 3 = 5", 0, 1},
        {"24*.1=2.4000000000000004", 1, 0},
        {"10/3=3.3333333333333335", 1, 0},
        {"-9.38+10 = 0.6199999999999992", 1, 0},
        {"1000-83.33333333333333 = 916.6666666666666", 1, 0},
        {"24*.1=2.4000000000040000", 0, 1},
        {"7 / 2 = 3", 0, 0},
        {"3 + 4.4 = 7", 0, 0},
        {"8 / 2 = 5", 0, 1},
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
        {"9:30 - 1:00 = 8:30", 0, 0},
        {"3 + 4 == 7", 0, 0},
        {"3 + 4 = 7 * x", 0, 0},
        {"3 + 4 = 7x", 0, 0},
        {"v1.2.3 + 4 = 7", 0, 0},
        {"abc3 + 4 = 8", 0, 0},
        {"2021-01-02", 0, 0},
        {"1 / 0 = 0", 0, 0},
        {"3 + = 4", 0, 0},
        {"= 4", 0, 0},
        {"3 +", 0, 0},
        {"((((((((((((((((((((((((((((((((((((((((1+1=2", 1, 0},
        {"1,2 + 3 = 5", 0, 0},
        {"99999999999999999999999999999999999999999999 * 99999999999999999999999 = 1", 0, 0},
        {"sqrt(4) + 1 = 3", 0, 0},
        {"f(x)*(3+4)=14", 0, 0},
        {"0900-0130 = 0730", 0, 0},
        {"80 000 x 20/100 = 16 000", 0, 0},
        {"28 / 1/5 = 140", 0, 0},
        {"$0.25G/$0.25 = $20/$0.25", 0, 0},
        {"4000=(1/2)X", 0, 0},
        {"Week 1 + Week 2 = 35 + 35", 0, 0},
        {"3/ 1/4 = 12", 0, 0},
        {"x – 1 + 2 = 5", 0, 0},
        {"3 + 4 = 7!", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
units_and_notes_are_carried_along(void **state)
{
    static const struct sample samples[] = {
        {"3 apples x $2 = $6", 1, 0},
        {"3 apples x $2 = $7", 0, 1},
        {"2 hours * 60 minutes/hour = 120 minutes", 1, 0},
        {"9 crates × 14 jars per crate = 126 jars", 1, 0},
        {"70 pens (in stock) - 25 pens (sold) = 55 pens", 0, 1},
        {"$194/meter × 490 meters = $94,860", 0, 1},
        {"5 cups of flour + 3 cups of milk = 8 cups", 1, 0},
        {"3 10-minute breaks", 0, 0},
        {"4 10-minute breaks x 5 = 20", 0, 0},
        {"12 km + 5km = 17km", 1, 0},
        {"20° + 15° = 35°", 1, 0},
        {"3 rounds x 5 points = 16 points per round", 0, 1},
        {"5 boxes x 3 = 16 whole boxes", 0, 1},
        {"5 apples + 4 * 2 = 13", 1, 0},
        {"5 * 20 = 100 more guests", 1, 0},
        /* Two units of a family: the difference may be a conversion. */
        {"1 hour - 20 minutes = 40 minutes", 0, 0},
        {"$1 - 25 cents = 75 cents", 0, 0},
        {"2 feet + 6 inches = 30 inches", 0, 0},
        {"3 days * 24 hours/day = 72 hours", 1, 0},
        {"5 pairs + 2 = 12 shoes", 0, 0},
        {"9 AM + 5 hours = 2 PM", 0, 0},
        {"3 days = 3 * 24 = 72 hours", 1, 0},
        {"100 * 0.75 = $0.75", 0, 0},
        {"5 * 3 = $15,000", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
fractions_and_powers_are_computed(void **state)
{
    static const struct sample samples[] = {
        {"8 x 1 1/2 = 12", 1, 0},
        {"2 + 1 1/2 = 3 1/2", 1, 0},
        {"2 1/4 + 1 1/4 = 3 1/4", 0, 1},
        {"1/2 cup + 1/4 cup = 3/4 cup", 1, 0},
        {"3/4 = 6/8", 1, 0},
        {"2^3 + 1 = 9", 1, 0},
        {"2**3 = 8", 1, 0},
        {"2^{10} = 1000", 0, 1},
        {"3 x 10^5 = 300,000", 1, 0},
        {"-2^2 = 4", 0, 0},
        {"half of 10 + 6 = 11", 1, 0},
        {"half of 10 + 6 = 8", 0, 0},
        {"1/2 of 10 + 2 = 7", 1, 0},
        {"1/2 of 10 + 2 = 9", 0, 0},
        {"1/3 of 18 = 6", 1, 0},
        {"1/3 of 18 = 9", 0, 1},
        {"one third of 18 is 6", 1, 0},
        {"two-thirds of the 30 = 25", 0, 1},
        {"two and a half of 10 = 5", 0, 0},
        {"3 of 5 = 15", 0, 0},
        {"3/3 - 2/3 = 1/3 of $150", 0, 0},
        {"6 / 1/2 = 12", 0, 0},
        {"12/4 * 3 = 10", 0, 1},
        {"12 / 4 * 3 = 1", 0, 0},
        {"4(40) - 13 = 147", 1, 0},
        {"4(40) - 13 = 157", 0, 1},
        {"2(3 + 4) = 15", 0, 1},
        {"5 + 2 (3 + 4) = 19", 0, 0},
        {".1(Minutes) + 1 = 5", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
percentages_are_understood_both_ways(void **state)
{
    static const struct sample samples[] = {
        {"20% of 50 is 10", 1, 0},
        {"20% of 50 is 20", 0, 1},
        {"20 percent of $50 = $10", 1, 0},
        {"50% * 80 = 40", 1, 0},
        {"10 / 20 = 50%", 1, 0},
        {"10 / 20 = 60%", 0, 1},
        {"10/20 * 100 = 50%", 1, 0},
        {"1/3 = 33%", 1, 0},
        {"100% - 20% = 80%", 1, 0},
        {"100% - 20% = 70%", 0, 1},
        {"100 - 20% = 80", 1, 0},
        {"$50 + 20% = $60", 0, 0},
        {"15% of $80 = (15/100)*$80", 1, 0},
        {"15\\% \\times 80 = 12", 1, 0},
        {"20% off $50 is $40", 1, 0},
        {"20% off of $50 is $10", 1, 0},
        {"20% off $50 is $45", 0, 1},
        {"48 = 100% + 20%", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
latex_is_read(void **state)
{
    static const struct sample samples[] = {
        {"\\frac{3}{4} \\times 20 = 15", 1, 0},
        {"\\dfrac{40}{5} = 3", 0, 1},
        {"\\[ \\frac{84 \\text{ feet}}{1.5 \\text{ feet/step}} = 56 \\text{ steps} \\]", 1, 0},
        {"\\(9 \\text{ nets} \\times 4 \\text{ fish/net} = 32 \\text{ fish}\\)", 0, 1},
        {"5000 + 10000 = \\boxed{15000}", 1, 0},
        {"5000 + 10000 = \\boxed{16000}", 0, 1},
        {"5 + 3 = \\textbf{8}", 1, 0},
        {"\\left(2 + 3\\right) \\cdot 4 = 20", 1, 0},
        {"12{,}000 \\div 4 = 3{,}000", 1, 0},
        {"&= 3 + 4 \\\\ &= 8", 0, 1},
        {"\\$3 \\times 4 = \\$13", 0, 1},
        {"15 (\\text{light}) + 45 (\\text{dark}) = 50", 0, 1},
        {"2\\frac{1}{2} + 1 = 3", 0, 0},
        {"\\frac{a}{4} + 3 = 7", 0, 0},
        {"\\frac{1}{2} (x - 30) = 6", 0, 0},
        {"7 + 8 = 3 \\pmod{12}", 0, 0},
        {"15 + 8 = 11 (mod 12)", 0, 0},
        {"2 \\cdot 3 = 6 \\sqrt{2}", 0, 0},
        {"\\sqrt{9 + 16} = 5", 0, 0},
        {"\\binom{5}{2} = 10", 0, 0},
        {"1 + 2 + \\cdots + 10 = 55", 0, 0},
        {"101_2 + 11_2 = 1000_2", 0, 0},
        {"\\lfloor 7/2 \\rfloor = 4", 0, 0},
        {"\\log_2 8 + 1 = 4", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
words_stand_for_signs(void **state)
{
    static const struct sample samples[] = {
        {"5 plus 3 is 8", 1, 0},
        {"5 plus 3 equals 9", 0, 1},
        {"12 divided by 4 makes 3", 1, 0},
        {"12 multiplied by 4 is 46", 0, 1},
        {"3 times 4 is 12, and so on", 1, 0},
        {"3 times as many as 4 is 12", 0, 0},
        {"5 + 3 is 8 more than 0", 0, 0},
        {"5 + 3 is 8 times 1", 0, 0},
        {"4/7 is equal to $24", 0, 0},
        {"1/4 box = 60/4 = 15 jars", 1, 0},
        {"5 + 3 is not 9", 0, 0},
        {"5 minus 3 is 2 and a half", 0, 0},
        {"4 squared + 3 = 19", 0, 0},
        {"log 100 + 1 = 3", 0, 0},
        {"sum of 3 + 4 = 8", 0, 0},
        {"$1.5 million + $2 million = $3.5 million", 1, 0},
    };
    (void)state;
    RUN(samples);
}

static void
order_is_compared(void **state)
{
    static const struct sample samples[] = {
        {"3 + 4 >= 6", 1, 0},
        {"3 + 4 < 6", 0, 1},
        {"so 5 < 3", 0, 1},
        {"3 < 5 < 4", 1, 1},
        {"5 + 3 is greater than 9", 0, 1},
        {"12 is less than 4 * 4", 1, 0},
        {"7 \\leq 7", 1, 0},
        {"3 + 4 != 7", 0, 1},
        {"3 + 4 ≠ 8", 1, 0},
        {"Step 3 > 5", 0, 0},
        {"x < 3", 0, 0},
        {"2 --> 1", 0, 0},
        {"50 minutes < 1 hour", 0, 0},
        {"5% < 1", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
roundings_that_are_told_are_heeded(void **state)
{
    static const struct sample samples[] = {
        {"10/3 ≈ 3.3", 1, 0},
        {"10/3 \\approx 3", 0, 0},
        {"10/3 is about 5", 0, 1},
        {"3 * 3 = 9.90", 0, 0},
        {"3.0 * 3 = 9.90", 0, 1},
        {"987 * 5 = approximately 4900", 1, 0},
        {"987 * 5 = 5000 (rounded to the nearest thousand)", 0, 0},
        {"987 * 5 = 9000 (rounded to the nearest thousand)", 0, 1},
        {"$4.20 + $9.45 = $13.60 (round to two decimal places)", 0, 1},
        {"3.67 rounds to 4", 1, 0},
        {"3.67 rounds to 5", 0, 1},
        {"47 rounds up to 50", 1, 0},
        {"2/3 = 0.66", 1, 0},
        {"2/3 = 0.666...", 1, 0},
        {"3/8 = 0.37", 1, 0},
        {"3/8 = 0.36", 0, 1},
        {"0.33 * 60 = 20", 0, 0},
        {"1.33 * 3 = 4.00", 0, 0},
        {"1.5 * 3 = 5", 0, 0},
        {"1.5 * 4 = 5", 0, 1},
        {"22 / 5 = 5 boxes", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
formulas_and_names_are_followed(void **state)
{
    static const struct sample samples[] = {
        {"3 + 4\n= 7\n= 8", 1, 0},
        {"\\[ (50 + 60) + 160 \\]\n\\[ = 110 + 160 \\]\n\\[ = 280 \\]", 1, 1},
        {"Total = 52 + 24. Total = 76.", 1, 0},
        {"Total = 52 + 24. Total = 78.", 0, 1},
        {"Total = 52 + 24. Sum = 78.", 0, 0},
        {"x = 350 - 150. Therefore, x = 210", 0, 1},
        {"\\( x \\) = 350 - 150. Therefore, \\( x \\) = 200", 1, 0},
        {"\\[ S = 165 \\times \\frac{6}{11} \\] \\[ S = 9 \\times 6 \\] \\[ S = 54 \\]", 1, 1},
        {"Cost = 3 * 4. Cost = 5 * 6.", 0, 0},
        {"Left = 20 - 5 = 15. Left = 9.", 1, 0},
        {"Left = 20 - 5 y. Left = 9.", 0, 0},
        {"Week 1 = 3 * 4. Week 2 = 9.", 0, 0},
        {"x + 5 = 27 - 3. x + 5 = 9", 0, 0},
        {"|3 - 5| = 2", 0, 0},
    };
    (void)state;
    RUN(samples);
}

static void
what_is_not_claimed_is_not_held_against_it(void **state)
{
    static const struct sample samples[] = {
        {"Suppose 2 + 2 = 5.", 0, 0},
        {"If 2 + 2 = 5, then 1 + 1 = 3.", 0, 1},
        {"It is not true that 3 + 4 = 8.", 0, 0},
        {"Is 3 + 4 = 8 apples? No, 3 + 4 = 7.", 1, 0},
        {"Working mod 5, 4 + 3 = 2.", 0, 0},
        {"4 + 3 \\equiv 2, so 4 + 3 = 2", 0, 0},
        {"In base 8, 5 + 4 = 11.", 0, 0},
        {"It drops 5 - 8 = 3 degrees", 0, 0},
        {"5 + 3 / 2 = 4", 0, 0},
        {"60 mph x 30 minutes = 30 miles", 0, 0},
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

/* Text of a hundred thousand repeated fragments is read in linear time. */
static void
long_text_is_read_in_bounded_time(void **state)
{
    static const char *const parts[] = {
        "1+",       "(",  "1 ",        "=",        "1=",       "-",    "1,111",
        "<<",       "x1", " ",         "\xc3",     "0.0",      "1/",   "\\frac{",
        "\\text{a", "a-", "a = 1+1. ", "half of ", "1 a b c ", "5 (a", "(1+1) ",
        "= 1\n",    "1^", "**",        "1%of ",    "\\",       "(1%",  "1 plus ",
    };

    (void)state;
    for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
        struct buffer b = {0};
        struct arithmetic a;
        for (int i = 0; i < 10000; i++)
            buffer_text(&b, parts[p]);
        arithmetic_check(buffer_span(&b), &a);
        buffer_free(&b);
    }
}

/* No text crashes it, and what it quotes is part of the text. */
static void
hostile_text_is_survived(void **state)
{
    static const char *const pieces[] = {
        "0",     "1",       "23",      "4.5",   "1,000",      " ",         " ",
        "+",     "-",       "*",       "/",     "=",          "(",         ")",
        ".",     ",",       "<",       ">",     "$",          "x",         "%",
        "\n",    "\\frac{", "}{",      "}",     "\\text{ a}", "\\[",       "\\]",
        "^",     "apples",  " of ",    " is ",  " half ",     "one third", "times",
        " off ", "**",      "\\",      "×",     "÷",          "≈",         "\xe2",
        "\xff",  "total",   "minutes", " hour", "(a)",        "...",       "99999999999999999999",
    };
    uint64_t x = 88172645463325252ull;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct buffer b = {0};
        struct arithmetic a;
        for (int i = 0; i < 24; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            buffer_text(&b, pieces[x % (sizeof(pieces) / sizeof(pieces[0]))]);
        }
        char *copy = malloc(b.length); /* so that a sanitizer sees a read beyond the end */
        memcpy(copy, b.at, b.length);
        arithmetic_check(span_of(copy, b.length), &a);
        if (a.wrong > 0) {
            assert_true(a.first_wrong.at >= copy && a.first_wrong.length > 0);
            assert_true(a.first_wrong.at + a.first_wrong.length <= copy + b.length);
        }
        free(copy);
        buffer_free(&b);
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
        cmocka_unit_test(units_and_notes_are_carried_along),
        cmocka_unit_test(fractions_and_powers_are_computed),
        cmocka_unit_test(percentages_are_understood_both_ways),
        cmocka_unit_test(latex_is_read),
        cmocka_unit_test(words_stand_for_signs),
        cmocka_unit_test(order_is_compared),
        cmocka_unit_test(roundings_that_are_told_are_heeded),
        cmocka_unit_test(formulas_and_names_are_followed),
        cmocka_unit_test(what_is_not_claimed_is_not_held_against_it),
        cmocka_unit_test(the_first_wrong_one_is_named),
        cmocka_unit_test(long_text_is_read_in_bounded_time),
        cmocka_unit_test(hostile_text_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
