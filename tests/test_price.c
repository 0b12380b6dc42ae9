/* Price tables, strictly read, and money that is rounded up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "nodes/remote/price.h"

static int
read_text(const char *text, const char *model, struct price *p, struct error *e)
{
    char path[] = "/tmp/sluice-price-XXXXXX";
    int fd = mkstemp(path), rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    rc = price_read(path, model, p, e);
    unlink(path);
    return rc;
}

static void
a_model_has_the_prices_of_its_row(void **state)
{
    static const char table[] = "{\"a\": {\"in\": 0.15, \"out\": 0.6, \"cached_in\": 0.075},\n"
                                " \"b/c\": {\"out\": 0, \"in\": 0}}";
    struct error e = {0};
    struct price p;

    (void)state;
    assert_int_equal(read_text(table, "a", &p, &e), 0);
    assert_true(p.known && p.in == 0.15 && p.out == 0.6 && p.cached_in == 0.075);
    assert_int_equal(read_text(table, "b/c", &p, &e), 0);
    assert_true(p.known && p.in == 0 && p.out == 0);
    assert_int_equal(read_text(table, "b", &p, &e), 0);
    assert_false(p.known);
    assert_int_equal(read_text("{\"a\": {\"in\": 3, \"out\": 1}}", "a", &p, &e), 0);
    assert_true(p.cached_in == 3);
}

static void
a_table_with_a_mistake_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", ":1:"},
        {"{\"a\": {\"in\": 1,\n\"out\": }}", ":2:"},
        {"[]", "is an object"},
        {"{\"a\": 3}", "not an object"},
        {"{\"a\": {\"in\": 1}}", "no price 'out'"},
        {"{\"a\": {\"out\": 1}}", "no price 'in'"},
        {"{\"a\": {\"in\": 1, \"out\": -1}}", "'out' is not a number"},
        {"{\"a\": {\"in\": 1, \"out\": \"2\"}}", "'out' is not a number"},
        {"{\"a\": {\"in\": 1e9, \"out\": 2}}", "'in' is not a number"},
        {"{\"a\": {\"in\": 1, \"out\": 2, \"cached\": 1}}", "'cached' is not one of"},
        {"{\"a\": {\"in\": 1, \"in\": 2, \"out\": 2}}", "duplicate"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct error e = {0};
        struct price p;
        assert_int_equal(read_text(bad[i].text, "a", &p, &e), ERROR_input);
        if (!strstr(e.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", e.text, bad[i].says);
    }
}

static void
a_table_that_is_not_there_or_too_large_is_refused(void **state)
{
    char *large = xalloc(PRICE_FILE_BYTES_MAX + 2);
    struct error e = {0};
    struct price p;

    (void)state;
    assert_int_equal(price_read("/nowhere/prices.json", "a", &p, &e), ERROR_file);
    memset(large, ' ', PRICE_FILE_BYTES_MAX + 1);
    assert_int_equal(read_text(large, "a", &p, &e), ERROR_input);
    free(large);
}

static void
money_is_rounded_up_and_bounded(void **state)
{
    const struct price p = {true, 0.15, 0.6, 0.075}, odd = {true, 1e-5, 0, 1e-5},
                       most = {true, PRICE_MAX, PRICE_MAX, PRICE_MAX};

    (void)state;
    assert_int_equal(price_of(&p, 1000000, 0, 0), 150000000);
    assert_int_equal(price_of(&p, 1000000, 400000, 1000000), 90000000 + 30000000 + 600000000);
    assert_int_equal(price_of(&p, 10, 4000, 0), 750);
    assert_int_equal(price_of(&odd, 1, 0, 0), 1);
    assert_int_equal(price_of(&odd, 0, 0, 0), 0);
    assert_int_equal(price_of(&most, UINT64_MAX, 0, UINT64_MAX), (int64_t)4e18);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_has_the_prices_of_its_row),
        cmocka_unit_test(a_table_with_a_mistake_is_refused_with_its_place),
        cmocka_unit_test(a_table_that_is_not_there_or_too_large_is_refused),
        cmocka_unit_test(money_is_rounded_up_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
