/* agreement: counters against values of other programs (tests/golden/agreement.txt, made by
 * tools/golden_agreement.py), whatever the order, and through JSON. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/consensus/agreement.h"

#define STEPS_MAX 200

static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h",
                                    "i", "j", "k", "l", "m", "n", "o", "p"};

struct table {
    int     voters, steps;
    uint8_t words[STEPS_MAX][AGREEMENT_VOTERS_MAX];
};

/* The next case's words; false: no more. */
static bool
read_case(FILE *f, struct table *t)
{
    char row[64];

    if (fscanf(f, " case %d %d", &t->voters, &t->steps) != 2)
        return false;
    assert_true(t->voters <= AGREEMENT_VOTERS_MAX && t->steps <= STEPS_MAX);
    for (int i = 0; i < t->steps; i++) {
        assert_int_equal(fscanf(f, "%63s", row), 1);
        for (int v = 0; v < t->voters; v++)
            t->words[i][v] = row[v] == 'w'   ? AGREEMENT_wrong
                             : row[v] == 'c' ? AGREEMENT_correct
                                             : AGREEMENT_silent;
    }
    return true;
}

static void
expect(const char *what, double value, double golden)
{
    if (isnan(golden) ? !isnan(value) : !(fabs(value - golden) <= 1e-12))
        fail_msg("%s: %.17g, golden %.17g", what, value, golden);
}

/* The values that follow a case's words. */
static void
expect_values(FILE *f, const struct agreement *g)
{
    char   word[16];
    double golden;
    int    a, b;

    for (int p = 0; p < (int)(g->voters * (g->voters - 1) / 2); p++) {
        assert_int_equal(fscanf(f, " cohen %d %d %lf", &a, &b, &golden), 3);
        expect("cohen", agreement_cohen(g, a, b), golden);
    }
    assert_int_equal(fscanf(f, " %15s %lf", word, &golden), 2);
    expect(word, agreement_fleiss(g), golden);
    assert_int_equal(fscanf(f, " %15s %lf", word, &golden), 2);
    expect(word, agreement_alpha(g), golden);
}

static void
kappas_are_those_of_other_programs(void **state)
{
    FILE        *f = fopen("tests/golden/agreement.txt", "r");
    struct table t;
    int          cases = 0;

    (void)state;
    assert_non_null(f);
    for (; read_case(f, &t); cases++) {
        struct agreement g;

        agreement_init(&g, t.voters);
        for (int i = 0; i < t.steps; i++)
            agreement_add(&g, t.words[i]);
        expect_values(f, &g);
    }
    fclose(f);
    assert_int_equal(cases, 7);
}

static void
order_and_replicas_change_nothing(void **state)
{
    FILE            *f = fopen("tests/golden/agreement.txt", "r");
    struct table     t;
    struct agreement forward, backward, parts[2];

    (void)state;
    assert_non_null(f);
    assert_true(read_case(f, &t));
    fclose(f);
    agreement_init(&forward, t.voters);
    agreement_init(&backward, t.voters);
    agreement_init(&parts[0], t.voters);
    agreement_init(&parts[1], t.voters);
    for (int i = 0; i < t.steps; i++) {
        agreement_add(&forward, t.words[i]);
        agreement_add(&backward, t.words[t.steps - 1 - i]);
        agreement_add(&parts[i % 3 == 0], t.words[i]);
    }
    agreement_merge(&parts[0], &parts[1]);
    assert_memory_equal(&forward, &backward, sizeof(forward));
    assert_memory_equal(&forward, &parts[0], sizeof(forward));
}

static void
counters_come_back_from_json(void **state)
{
    FILE            *f = fopen("tests/golden/agreement.txt", "r");
    struct table     t;
    struct agreement g, back;
    struct error     e = {0};

    (void)state;
    assert_non_null(f);
    while (read_case(f, &t)) {
        char line[200];
        json_t *json;

        agreement_init(&g, t.voters);
        for (int i = 0; i < t.steps; i++)
            agreement_add(&g, t.words[i]);
        json = agreement_json(&g, names);
        assert_non_null(json);
        assert_int_equal(agreement_parse(&back, json, &e), 0);
        assert_memory_equal(&g, &back, sizeof(g));
        json_decref(json);
        while (fgets(line, sizeof(line), f) && strncmp(line, "alpha", 5) != 0)
            continue;
    }
    fclose(f);
}

static void
other_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"voters\":[],\"steps\":0,\"pairs\":[]}",
        "{\"voters\":[\"a\"],\"steps\":-1,\"pairs\":[]}",
        "{\"voters\":[\"a\",\"b\"],\"steps\":1,\"pairs\":[]}",
        "{\"voters\":[\"a\",\"b\"],\"steps\":1,\"pairs\":[{\"table\":[[1,0,0],[0,0,0],[0,0]]}]}",
        "{\"voters\":[\"a\",\"b\"],\"steps\":1,\"pairs\":[{\"table\":[[1,0,0],[0,-3,0],[0,0,0]]}]}",
        "{\"voters\":[\"a\"],\"steps\":1,\"pairs\":[],\"profile\":[[1,1,1]]}",
        "{\"voters\":[\"a\"],\"steps\":1,\"pairs\":[],\"profile\":[[900000000000,0,1]]}",
        "{\"voters\":[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8],\"steps\":1,\"pairs\":[]}",
    };
    struct agreement g;
    struct error     e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *json = json_loads(bad[i], 0, NULL);

        assert_non_null(json);
        if (agreement_parse(&g, json, &e) != ERROR_input)
            fail_msg("%s was not refused", bad[i]);
        json_decref(json);
    }
}

static void
voters_beyond_the_maximum_are_not_counted(void **state)
{
    struct agreement g;
    uint8_t          words[AGREEMENT_VOTERS_MAX + 4];

    (void)state;
    memset(words, AGREEMENT_correct, sizeof(words));
    agreement_init(&g, AGREEMENT_VOTERS_MAX + 4);
    agreement_add(&g, words);
    assert_int_equal(g.voters, AGREEMENT_VOTERS_MAX);
    assert_int_equal(g.profile[AGREEMENT_VOTERS_MAX][0], 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kappas_are_those_of_other_programs),
        cmocka_unit_test(order_and_replicas_change_nothing),
        cmocka_unit_test(counters_come_back_from_json),
        cmocka_unit_test(other_json_is_refused),
        cmocka_unit_test(voters_beyond_the_maximum_are_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
