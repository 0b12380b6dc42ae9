/* The answer check: what counts as the number of a text, and when two numbers are the same. */
#include "kernels/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int
numeric(const char *response, const char *gold)
{
    return verify_answer(VERIFY_numeric, span_text(response), span_text(gold));
}

static void
check_number(const char *text, const char *expected)
{
    struct span s = verify_number(span_text(text));

    if (!expected) {
        if (s.at)
            fail_msg("'%s' gave '%.*s', expected no number", text, (int)s.length, s.at);
    } else if (!s.at || s.length != strlen(expected) || memcmp(s.at, expected, s.length)) {
        fail_msg("'%s' gave '%.*s', expected '%s'", text, (int)s.length, s.at ? s.at : "",
                 expected);
    }
}

static void
test_extraction(void **state)
{
    static const struct {
        const char *text, *number;
    } cases[] = {
        {"the answer is 42", "42"},
        {"3 + 4 = 7.", "7"},
        {"5", "5"},
        {"", NULL},
        {"no digits", NULL},
        {"so 1,234,567.50 dollars.", "1,234,567.50"},
        {"1,2", "2"},
        {"1,0000", "0000"},
        {"12345,678", "678"},
        {"1000,200", "200"},
        {"-3", "-3"},
        {"x = -3", "-3"},
        {"10-3", "3"},
        {"10 - 3", "3"},
        {"f(x)-3", "3"},
        {"is -$5.00!", "-$5.00"},
        {"is $-5.00", "-5.00"},
        {"\xe2\x88\x92"
         "4",
         "\xe2\x88\x92"
         "4"},
        {".5", ".5"},
        {"is .25 of it", ".25"},
        {"1.2.3", "3"},
        {"v1.2", "1.2"},
        {"5%", "5"},
        {"3 apples, then 4.", "4"},
        {"work 1 2 3\n#### 18", "18"},
        {"#### 7\nthen 9", "7"},
        {"#### 7 or #### 8", "8"},
        {"9 ####", NULL},
        {"\\boxed{5} and 6", "5"},
        {"\\boxed{5} \\boxed{6}", "6"},
        {"\\boxed{x = {5}} #### 9", "5"},
        {"\\boxed{5} \\boxed{6", "5"},
        {"\\boxed{} 4", NULL},
        {"\\boxed{\\frac{1}{2}}", NULL},
        {"\\boxed{1, 2}", NULL},
        {"\\boxed{\\$1,000}", "1,000"},
        {"\\boxed{12\\text{ cm}}", "12"},
        {"\\boxed{\\boxed{7}}", "7"},
        {"\\boxed 5", "5"},
        {"\\boxed{1{,}000}", "1{,}000"},
        {"\\boxed{12,\\!345}", "12,\\!345"},
        {"\\boxed{1{,}00}", NULL},
        {"an area of 25 m^2.", "25"},
        {"m^2", "2"},
        {"2^10", "10"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_number(cases[i].text, cases[i].number);
}

static void
test_equality(void **state)
{
    (void)state;
    assert_true(numeric("5", "5.0"));
    assert_true(numeric("5.00", "5"));
    assert_true(numeric("= 005", "#### 5"));
    assert_true(numeric("1,000", "1000"));
    assert_true(numeric("\\boxed{1{,}000}", "1000"));
    assert_true(numeric("\\boxed{0{,}000{,}001}", "1"));
    assert_false(numeric("\\boxed{1{,}000}", "1001"));
    assert_true(numeric("0.50", ".5"));
    assert_true(numeric("-0", "0"));
    assert_true(numeric("-0.00", "0"));
    assert_true(numeric("\\boxed{-7}", "-7.0"));
    assert_true(numeric("12345678901234567890123", "12345678901234567890123.000"));
    assert_false(numeric("12345678901234567890123", "12345678901234567890124"));
    assert_false(numeric("5", "-5"));
    assert_false(numeric("5", "50"));
    assert_false(numeric("50", "5"));
    assert_false(numeric("0.1", "0.10000000000000000000000000000001"));
    assert_false(numeric("0.5", "5"));
    assert_false(numeric("05", "0.5"));
    assert_false(numeric("", ""));
    assert_false(numeric("none", "5"));
    assert_false(numeric("5", "none"));
}

static void
test_exact(void **state)
{
    (void)state;
    assert_true(verify_answer(VERIFY_exact, span_text(" yes\n"), span_text("yes")));
    assert_true(verify_answer(VERIFY_exact, span_text(""), span_text("  ")));
    assert_false(verify_answer(VERIFY_exact, span_text("yes."), span_text("yes")));
    assert_false(verify_answer(VERIFY_exact, span_text("5.0"), span_text("5")));
    assert_int_equal(verify_mode_of("exact"), VERIFY_exact);
    assert_int_equal(verify_mode_of("numeric"), VERIFY_numeric);
    assert_int_equal(verify_mode_of("maths"), -1);
}

/* Megabytes of open boxes or digits must not take quadratic time, nor bytes at the edge be
 * overread. */
static void
test_hostile(void **state)
{
    size_t length = 1 << 21;
    char *text = malloc(length);
    static const char *const units[] = {"\\boxed{", "####", "1,",           "-",    "{",
                                        "0",        ".",    "\xe2\x88\x92", "1,000"};

    (void)state;
    assert_non_null(text);
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        for (size_t i = 0; i < length; i++)
            text[i] = units[u][i % strlen(units[u])];
        (void)verify_answer(VERIFY_numeric, span_of(text, length), span_text("5"));
    }
    memcpy(text, "1,00", 4);
    for (size_t n = 0; n <= 4; n++) { /* under a sanitizer, a read past the end is seen */
        char *exact = malloc(n ? n : 1);

        memcpy(exact, text, n);
        (void)verify_number(span_of(exact, n));
        free(exact);
    }
    free(text);
}

/* A response that repeats itself to its end, as loops of models do, costs its length once. */
static void
a_box_repeated_without_end_costs_little(void **state)
{
    static const char one[] = "\\boxed{\\boxed{1}";
    struct buffer text = {0};
    clock_t began = clock();

    (void)state;
    for (int i = 0; i < 70000; i++)
        buffer_text(&text, one);
    assert_int_equal(verify_answer(VERIFY_math, buffer_span(&text), span_text("1")), 1);
    assert_true((double)(clock() - began) / CLOCKS_PER_SEC < 5);
    buffer_free(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_box_repeated_without_end_costs_little),
        cmocka_unit_test(test_extraction),
        cmocka_unit_test(test_equality),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
