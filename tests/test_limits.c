/* limits: a minute of calls at a rate, and what a server's headers allow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "nodes/remote/limits.h"

/* How many of amount 1 go out in 60 seconds from NOW when asked every 10 ms. */
static int
in_a_minute(struct rate *r, int64_t per_minute, double now)
{
    int sent = 0;

    for (int i = 0; i < 6000; i++) {
        double t = now + i * 0.01;
        if (rate_when(r, per_minute) > t)
            continue;
        rate_take(r, per_minute, 1, t);
        sent++;
    }
    return sent;
}

static void
a_rate_spreads_calls_over_the_minute(void **state)
{
    struct rate r = {0};

    (void)state;
    assert_in_range(in_a_minute(&r, 60, 1000), 60, 62);
    assert_in_range(in_a_minute(&r, 60, 1060), 59, 60);    /* and goes on without a burst */
    assert_in_range(in_a_minute(&r, 600, 5000), 600, 611); /* a second of idleness is caught up */
    r = (struct rate){0};
    assert_in_range(in_a_minute(&r, 1, 9000), 1, 2); /* the second after 59 s */
    assert_true(rate_when(&r, 1) > 9058);
    assert_true(rate_when(&r, 0) == 0); /* no limit: at once */
}

static void
tokens_that_were_not_needed_are_given_back(void **state)
{
    struct rate r = {0};

    (void)state;
    rate_take(&r, 60000, 5000, 100); /* 5 s worth, of which 1 was idle */
    assert_true(rate_when(&r, 60000) > 103.9 && rate_when(&r, 60000) < 104.1);
    rate_give_back(&r, 60000, 4000);
    assert_true(rate_when(&r, 60000) <= 100.1);
    rate_give_back(&r, 60000, -2000); /* it took more than was thought */
    assert_true(rate_when(&r, 60000) > 101.9);
}

static void
an_allowance_holds_until_it_is_renewed(void **state)
{
    struct allowance a = {0};

    (void)state;
    assert_true(allowance_when(&a, 1, 10) == 0);
    allowance_told(&a, 2, 30, 10);
    allowance_take(&a, 1);
    assert_true(allowance_when(&a, 1, 10) == 0);
    allowance_take(&a, 1);
    assert_true(allowance_when(&a, 1, 11) == 40);
    assert_true(allowance_when(&a, 1, 40) == 0);
    allowance_told(&a, 0, 1e9, 50); /* no header makes us wait for longer than two minutes */
    assert_true(allowance_when(&a, 1, 50) == 170);
    allowance_told(&a, -1, 5, 60); /* says nothing */
    allowance_told(&a, 5, -1, 60);
    assert_true(allowance_when(&a, 1, 60) == 170);
    allowance_told(&a, 100, 5, 60);
    assert_true(allowance_when(&a, 99, 61) == 0 && allowance_when(&a, 101, 61) == 65);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_spreads_calls_over_the_minute),
        cmocka_unit_test(tokens_that_were_not_needed_are_given_back),
        cmocka_unit_test(an_allowance_holds_until_it_is_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
