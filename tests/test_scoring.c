/* scoring: expected marks and lists against tools/golden_judges.py; what servers' log-probabilities
 * look like; and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/llm_judge/scoring.h"
#include "nodes/llm_judge/verdict.h"

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-9)

static json_t *
golden(void)
{
    json_error_t why;
    json_t *root = json_load_file("tests/golden/judges.json", 0, &why);

    if (!root)
        fail_msg("tests/golden/judges.json: %s", why.text);
    return root;
}

static double
number(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static void
check_marks(const json_t *one)
{
    struct arena arena = {0};
    struct scoring_tokens t;
    struct error e = {0};
    struct verdict_ask ask = {FORM_score, 0, json_integer_value(json_object_get(one, "steps")),
                              false};
    int64_t *places;

    assert_int_equal(scoring_read(json_object_get(one, "completion"), &t, &arena, &e), 0);
    if (verdict_marks(t.words, &ask, &places, &arena, &e) != 0)
        fail_msg("%.*s: %s", (int)t.words.length, t.words.at, e.text);
    for (int64_t i = 0; i <= ask.count; i++) {
        double mean = number(json_object_get(one, "expected"), (size_t)i), score, outside;
        double mass = number(json_object_get(one, "mass"), (size_t)i);
        double renormalised = number(json_object_get(one, "renormalised"), (size_t)i);
        assert_true(places[i] >= 0);
        assert_int_equal(scoring_expected(&t, places[i], false, &score, &outside, &e), 0);
        NEAR(score, fmax((mean - 1) / 4, 0));
        NEAR(outside, 1 - mass);
        assert_int_equal(scoring_expected(&t, places[i], true, &score, &outside, &e), 0);
        NEAR(score, (renormalised - 1) / 4);
    }
    arena_free(&arena);
}

static void
expected_marks_are_those_of_the_script(void **state)
{
    json_t *root = golden(), *one;
    const json_t *leak = json_object_get(root, "leak");
    double p[5], score, outside;
    size_t i;

    (void)state;
    assert_true(json_array_size(json_object_get(root, "marks")) >= 12);
    json_array_foreach(json_object_get(root, "marks"), i, one) check_marks(one);
    for (size_t k = 0; k < 5; k++)
        p[k] = number(json_object_get(leak, "p"), k);
    scoring_mark(p, 5, false, &score, &outside);
    NEAR(score, (json_number_value(json_object_get(leak, "raw")) - 1) / 4);
    NEAR(1 + 4 * score, 3.61);
    NEAR(outside, 1 - json_number_value(json_object_get(leak, "mass")));
    scoring_mark(p, 5, true, &score, &outside);
    assert_true(fabs(1 + 4 * score - 4.0111) < 1e-4);
    json_decref(root);
}

static void
check_list(const json_t *one)
{
    int count = (int)json_integer_value(json_object_get(one, "count"));
    int *order = xarray((size_t)count, sizeof(*order)), places[PROMPT_LETTERS];
    struct scoring_ranking r;
    struct arena arena = {0};
    struct scoring_tokens t;
    struct error e = {0};
    const json_t *call;
    size_t i;

    for (int k = 0; k < count; k++)
        order[k] = k;
    scoring_rank_begin(&r, count, order);
    json_array_foreach(json_object_get(one, "calls"), i, call)
    {
        assert_false(r.done);
        assert_int_equal(r.from, json_integer_value(json_object_get(call, "start")));
        assert_int_equal(r.to - r.from, json_integer_value(json_object_get(call, "size")));
        assert_int_equal(scoring_read(json_object_get(call, "completion"), &t, &arena, &e), 0);
        assert_int_equal(scoring_order(&t, r.to - r.from, places, &e), 0);
        for (int k = 0; k < r.to - r.from; k++)
            assert_int_equal(places[k], (int)number(json_object_get(call, "order"), (size_t)k));
        scoring_rank_put(&r, places);
    }
    assert_true(r.done);
    for (int k = 0; k < count; k++)
        assert_int_equal(order[k], (int)number(json_object_get(one, "order"), (size_t)k));
    arena_free(&arena);
    free(order);
}

static void
lists_come_into_the_order_of_the_script(void **state)
{
    json_t *root = golden(), *one;
    size_t i;

    (void)state;
    assert_true(json_array_size(json_object_get(root, "lists")) >= 10);
    json_array_foreach(json_object_get(root, "lists"), i, one) check_list(one);
    json_decref(root);
}

/* One token with these candidates, as "text logprob" pairs; the first is the chosen one. */
static struct scoring_tokens
tokens_of(const char *content, struct arena *arena)
{
    char *text = xprint("{\"choices\":[{\"logprobs\":{\"content\":%s}}]}", content);
    json_t *root = json_loads(text, 0, NULL);
    struct scoring_tokens t = {0};
    struct error e = {0};

    assert_non_null(root);
    if (scoring_read(root, &t, arena, &e) != 0)
        fail_msg("%s", e.text);
    json_decref(root);
    free(text);
    return t;
}

static void
what_servers_say_of_tokens(void **state)
{
    struct arena arena = {0};
    struct error e = {0};
    double score, outside;
    int order[3];
    struct scoring_tokens t = tokens_of(
        "[{\"token\":\"?\",\"bytes\":[52],\"logprob\":-0.6931471805599453,\"top_logprobs\":["
        "{\"token\":\"?\",\"bytes\":[32,52],\"logprob\":-1.3862943611198906},"
        "{\"token\":\"2\",\"bytes\":null,\"logprob\":-9999.0},"
        "{\"token\":\"44\",\"logprob\":-3},{\"token\":\"nan\",\"logprob\":null}]}]",
        &arena);

    (void)state;
    /* bytes before text, a chosen token that is not in the list, " 4" beside "4", a clamped one */
    assert_int_equal(scoring_expected(&t, 0, true, &score, &outside, &e), 0);
    NEAR(score, 0.75);
    NEAR(outside, 0.25);
    /* the chosen one counts once */
    t = tokens_of(
        "[{\"token\":\"3\",\"logprob\":0,\"top_logprobs\":[{\"token\":\"3\",\"logprob\":0}]}]",
        &arena);
    assert_int_equal(scoring_expected(&t, 0, false, &score, &outside, &e), 0);
    NEAR(score, 0.5);
    NEAR(outside, 0);
    /* a bracket before the letter, as FIRST puts it; C is named nowhere and comes last */
    t = tokens_of(
        "[{\"token\":\" [\",\"logprob\":0,\"top_logprobs\":[]},"
        "{\"token\":\"B\",\"logprob\":-0.1,\"top_logprobs\":[{\"token\":\"B\",\"logprob\":-0.1},"
        "{\"token\":\"A]\",\"logprob\":-3},{\"token\":\"CD\",\"logprob\":-3}]}]",
        &arena);
    assert_int_equal(scoring_order(&t, 3, order, &e), 0);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 0);
    assert_int_equal(order[2], 2);
    arena_free(&arena);
}

static void
what_holds_no_score_is_refused(void **state)
{
    struct arena arena = {0};
    struct error e = {0};
    double score, outside;
    int order[2];
    json_t *none = json_loads("{\"choices\":[{\"logprobs\":null}]}", 0, NULL);
    struct scoring_tokens t = tokens_of("[{\"token\":\"44\",\"logprob\":0}]", &arena);

    (void)state;
    assert_true(scoring_read(none, &t, &arena, &e) < 0);
    assert_non_null(strstr(e.text, "no log-probabilities"));
    json_decref(none);
    t = tokens_of("[{\"token\":\"44\",\"logprob\":0}]", &arena);
    assert_true(scoring_expected(&t, 0, false, &score, &outside, &e) < 0);
    assert_non_null(strstr(e.text, "not a token of its own"));
    assert_true(scoring_order(&t, 2, order, &e) < 0);
    assert_non_null(strstr(e.text, "does not begin with a letter"));
    t = tokens_of("[{\"token\":\"\",\"logprob\":0},{\"token\":3,\"bytes\":\"x\"}]", &arena);
    assert_true(scoring_order(&t, 2, order, &e) < 0);
    arena_free(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expected_marks_are_those_of_the_script),
        cmocka_unit_test(lists_come_into_the_order_of_the_script),
        cmocka_unit_test(what_servers_say_of_tokens),
        cmocka_unit_test(what_holds_no_score_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
