/* exp and log of the objectives against the C library's, in units of the last place. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/objectives/math.h"
#include "kernels/random.h"

static void
close_to(const char *what, double x, double value, double wanted, double scale)
{
    if (!(fabs(value - wanted) <= 2 * DBL_EPSILON * scale))
        fail_msg("%s(%.17g) is %.17g, the library says %.17g", what, x, value, wanted);
}

static void
exp_is_the_librarys(void **state)
{
    (void)state;
    assert_true(objective_exp(0.0) == 1.0 && objective_exp(-0.0) == 1.0);
    assert_true(objective_exp(-1e4) == 0.0 && objective_exp(-INFINITY) == 0.0);
    assert_true(isinf(objective_exp(710)) && isinf(objective_exp(INFINITY)));
    assert_true(isnan(objective_exp(NAN)));
    close_to("exp", 709, objective_exp(709), exp(709), exp(709));
    close_to("exp", -708, objective_exp(-708), exp(-708), exp(-708));
    for (uint64_t i = 0; i < 200000; i++) {
        double range = i % 4 == 0 ? 700 : i % 4 == 1 ? 30 : i % 4 == 2 ? 1 : 1e-6;
        double x = range * (2 * random_unit(1, RANDOM_test, i) - 1);

        close_to("exp", x, objective_exp(x), exp(x), exp(x));
        close_to("exp2", x, objective_exp2(x / 4), exp2(x / 4), (1 + fabs(x)) * exp2(x / 4));
    }
}

static void
log_is_the_librarys(void **state)
{
    (void)state;
    assert_true(objective_log(1.0) == 0.0 && objective_log2(1.0) == 0.0);
    assert_true(objective_log2(2.0) == 1.0 && objective_log2(1024.0) == 10.0);
    for (uint64_t i = 0; i < 200000; i++) {
        double u = random_unit(2, RANDOM_test, i);
        double x = i % 3 == 0   ? exp(600 * (2 * u - 1))
                   : i % 3 == 1 ? 0.5 + u
                                : 1 + 1e-6 * (u - 0.5);

        close_to("log", x, objective_log(x), log(x), fabs(log(x)));
        close_to("log2", x, objective_log2(x), log2(x), 2 * fabs(log2(x)));
    }
}

static void
sigmoids_keep_their_ends(void **state)
{
    (void)state;
    assert_true(objective_sigmoid(0) == 0.5);
    assert_true(objective_sigmoid(1e4) == 1.0 && objective_sigmoid(-1e4) == 0.0);
    assert_true(objective_log_sigmoid(1e4) == 0.0 && objective_log_sigmoid(-1e4) == 1e4);
    for (uint64_t i = 0; i < 10000; i++) {
        double x = 40 * (2 * random_unit(3, RANDOM_test, i) - 1), wanted = 1 / (1 + exp(-x));

        close_to("sigmoid", x, objective_sigmoid(x), wanted, 2 * wanted);
        close_to("log_sigmoid", x, objective_log_sigmoid(x),
                 x < 0 ? log1p(exp(x)) - x : log1p(exp(-x)), 1 + fabs(x));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_the_librarys),
        cmocka_unit_test(log_is_the_librarys),
        cmocka_unit_test(sigmoids_keep_their_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
