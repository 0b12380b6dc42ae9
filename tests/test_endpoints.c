/* endpoints: which server gets a call, and what is learnt from answers. No socket, no clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>

#include "nodes/remote/endpoints.h"

static const char *const three[] = {"http://a/v1, http://b/v1", "http://c/v1"};

static struct endpoints
open_three(int in_flight)
{
    struct endpoints s = {0};
    struct texts urls = {2, (const char **)three};
    struct error e;

    assert_int_equal(endpoints_set(&s, &urls, in_flight, NULL, &e), 0);
    assert_int_equal(s.count, 3);
    return s;
}

static const struct reply good = {
    .outcome = REPLY_json, .wait_seconds = -1, .requests = {-1, -1}, .tokens = {-1, -1}};
static const struct reply failed = {
    .outcome = REPLY_again, .wait_seconds = -1, .requests = {-1, -1}, .tokens = {-1, -1}};
static const struct reply limited = {.outcome = REPLY_again,
                                     .limited = true,
                                     .wait_seconds = 20,
                                     .requests = {-1, -1},
                                     .tokens = {-1, -1}};
static const struct reply refused = {
    .outcome = REPLY_refused, .wait_seconds = -1, .requests = {-1, -1}, .tokens = {-1, -1}};

/* Sends a call and has it answered: which server it was. */
static int
one_call(struct endpoints *s, const struct reply *r, double now)
{
    double when = INFINITY;
    int which = endpoints_choose(s, 10, -1, now, &when);

    if (which >= 0) {
        endpoint_sent(&s->at[which], 10);
        endpoint_answered(s, which, r, false, now, now);
    }
    return which;
}

static void
calls_go_where_fewest_fly(void **state)
{
    struct endpoints s = open_three(4);
    double when = INFINITY;
    int sent[3] = {0};

    (void)state;
    for (int i = 0; i < 12; i++) {
        int which = endpoints_choose(&s, 10, -1, 0, &when);
        assert_in_range(which, 0, 2);
        endpoint_sent(&s.at[which], 10);
        sent[which]++;
        assert_true(i != 0 || which == 0); /* the first named where all are equal */
    }
    assert_true(sent[0] == 4 && sent[1] == 4 && sent[2] == 4);
    assert_int_equal(endpoints_choose(&s, 10, -1, 0, &when), -1); /* all are full ... */
    assert_true(isinf(when));                                     /* ... until one comes back */
    endpoint_answered(&s, 1, &good, false, 0, 1);
    assert_int_equal(endpoints_choose(&s, 10, -1, 1, &when), 1);
    endpoint_answered(&s, 2, &good, false, 0, 1);
    assert_int_equal(endpoints_choose(&s, 10, 1, 1, &when),
                     2); /* rather not where it just failed */
    endpoints_free(&s);
}

static void
a_server_that_fails_is_left_alone_and_tried_now_and_then(void **state)
{
    struct endpoints s = open_three(4);
    int tries = 0;

    (void)state;
    for (int i = 0; i < ENDPOINT_FAILURES_MAX; i++) {
        endpoint_sent(&s.at[0], 10);
        endpoint_answered(&s, 0, &failed, false, 100, 100);
    }
    for (int i = 0; i < 20; i++)
        assert_int_not_equal(one_call(&s, &good, 100.5), 0);
    for (int i = 0; i < 600; i++) { /* a minute: tries after 1, 2, 4, 8, 16, 30 s */
        double when = INFINITY, now = 101 + i * 0.1;
        if (endpoints_choose(&s, 10, -1, now, &when) != 0)
            continue;
        endpoint_sent(&s.at[0], 10);
        assert_int_not_equal(endpoints_choose(&s, 10, -1, now, &when), 0); /* a single one */
        endpoint_answered(&s, 0, &failed, false, now, now);
        tries++;
    }
    assert_in_range(tries, 5, 6);
    assert_int_equal(one_call(&s, &good, 1000), 0); /* the try that succeeds makes it well */
    assert_int_equal(one_call(&s, &good, 1000), 0);
    endpoints_free(&s);
}

static void
servers_that_all_fail_get_their_calls_all_the_same(void **state)
{
    struct endpoints s = open_three(4);

    (void)state;
    for (int which = 0; which < 3; which++)
        for (int i = 0; i < 9; i++) {
            endpoint_sent(&s.at[which], 10);
            endpoint_answered(&s, which, &failed, false, 5, 5);
        }
    assert_in_range(one_call(&s, &failed, 5), 0, 2); /* each call has a back-off of its own */
    assert_false(endpoints_other(&s, 0));
    endpoints_free(&s);
}

static void
the_window_is_halved_once_and_grows_again(void **state)
{
    struct endpoints s = open_three(64);
    struct endpoint *p = &s.at[0];
    double now = 10;

    (void)state;
    for (int i = 0; i < 64; i++)
        endpoint_sent(p, 10);
    for (int i = 0; i < 64; i++)
        endpoint_answered(&s, 0, &failed, true, 5, 10); /* all were out together */
    assert_true(p->window == 32);
    for (int i = 0; i < 30; i++) { /* one call in ten is no reason */
        endpoint_sent(p, 10);
        endpoint_answered(&s, 0, i % 10 ? &good : &failed, true, 11, 12);
    }
    assert_true(p->window >= 32);
    for (int i = 0; i < 3; i++) {
        endpoint_sent(p, 10);
        endpoint_answered(&s, 0, &limited, false, 12, 13);
    }
    assert_true(p->window >= 16 && p->window < 20);
    for (int i = 0; i < 40; i++) {
        endpoint_sent(p, 10);
        now++;
        endpoint_answered(&s, 0, &limited, false, now, now + 0.5);
    }
    assert_true(p->window == 1);
    for (int i = 0; i < 5000; i++) {
        endpoint_sent(p, 10);
        endpoint_answered(&s, 0, &good, false, now, now);
    }
    assert_true(p->window == 64);
    endpoints_free(&s);
}

static void
one_that_asks_for_rest_gets_it(void **state)
{
    struct endpoints s = open_three(4);
    double when = INFINITY;

    (void)state;
    for (int i = 0; i < 3; i++) {
        endpoint_sent(&s.at[i], 10);
        endpoint_answered(&s, i, &limited, false, 100 + i, 100 + i);
    }
    assert_int_equal(endpoints_choose(&s, 10, -1, 110, &when), -1);
    assert_true(when == 120 && endpoints_limited(&s, 110) == 120);
    assert_int_equal(endpoints_choose(&s, 10, -1, 120, &when), 0);
    assert_true(endpoints_limited(&s, 120) == 0);
    endpoints_free(&s);
}

static void
headers_that_say_how_much_is_left_are_heeded(void **state)
{
    struct endpoints s = open_three(4);
    struct reply r = good;
    double when = INFINITY;

    (void)state;
    r.requests = (struct http_allowance){0, 7};
    for (int i = 0; i < 3; i++) {
        endpoint_sent(&s.at[i], 10);
        endpoint_answered(&s, i, &r, false, 50, 50);
    }
    assert_int_equal(endpoints_choose(&s, 10, -1, 50, &when), -1);
    assert_true(when == 57);
    r.requests = (struct http_allowance){5, 7};
    r.tokens = (struct http_allowance){100, 9};
    endpoint_sent(&s.at[1], 10);
    endpoint_answered(&s, 1, &r, false, 51, 51);
    assert_int_equal(endpoints_choose(&s, 100, -1, 51, &when), 1);
    assert_int_equal(endpoints_choose(&s, 101, -1, 51, &when), -1);
    endpoints_free(&s);
}

static void
one_that_refuses_gets_single_calls(void **state)
{
    struct endpoints s = open_three(4);
    double when = INFINITY;

    (void)state;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 4; k++)
            endpoint_sent(&s.at[i], 10);
    assert_false(endpoints_refuse(&s));
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 4; k++)
            endpoint_answered(&s, i, &refused, false, 10, 10);
    assert_true(endpoints_refuse(&s) && s.at[0].refused == 1);
    assert_int_equal(endpoints_choose(&s, 10, -1, 10.5, &when), -1);
    assert_true(when == 11);
    for (int i = 0; i < 3; i++) {
        int which = endpoints_choose(&s, 10, -1, 11, &when);
        assert_in_range(which, 0, 2);
        endpoint_sent(&s.at[which], 10);
    }
    assert_int_equal(endpoints_choose(&s, 10, -1, 11, &when), -1);
    endpoint_answered(&s, 2, &good, false, 11, 11);
    assert_false(endpoints_refuse(&s));
    assert_int_equal(endpoints_choose(&s, 10, -1, 11, &when), 2);
    endpoints_free(&s);
}

static void
a_list_may_change_while_calls_are_out(void **state)
{
    static const char *const other[] = {"http://c/v1 http://d/v1"}, *const bad[] = {"ftp://x/"};
    struct endpoints s = open_three(4);
    struct texts urls = {1, (const char **)other}, wrong = {1, (const char **)bad};
    struct error e;
    int moved[ENDPOINTS_MAX];

    (void)state;
    endpoint_sent(&s.at[2], 10);
    assert_int_equal(endpoints_set(&s, &wrong, 4, moved, &e), ERROR_topology);
    assert_int_equal(s.count, 3);
    assert_int_equal(endpoints_set(&s, &urls, 8, moved, &e), 0);
    assert_true(s.count == 2 && moved[0] == -1 && moved[1] == -1 && moved[2] == 0);
    assert_true(s.at[0].flying == 1 && s.at[0].window == 8 && s.at[1].flying == 0);
    endpoints_free(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_go_where_fewest_fly),
        cmocka_unit_test(a_server_that_fails_is_left_alone_and_tried_now_and_then),
        cmocka_unit_test(servers_that_all_fail_get_their_calls_all_the_same),
        cmocka_unit_test(the_window_is_halved_once_and_grows_again),
        cmocka_unit_test(one_that_asks_for_rest_gets_it),
        cmocka_unit_test(headers_that_say_how_much_is_left_are_heeded),
        cmocka_unit_test(one_that_refuses_gets_single_calls),
        cmocka_unit_test(a_list_may_change_while_calls_are_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
