/* scores: the measures of golden opinions (tools/golden_judge_eval.py) and those that are known
 * without computing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "commands/scores.h"

#define GOLDEN "tests/golden/judge_eval/opinions.json"

static const struct {
    const char *name;
    double (*of)(const struct scores *s);
} measures[] = {
    {"f1", scores_f1},
    {"acc_error", scores_acc_error},
    {"acc_correct", scores_acc_correct},
    {"step_precision", scores_step_precision},
    {"step_recall", scores_step_recall},
    {"coverage", scores_coverage},
    {"flagged_precision", scores_flagged_precision},
    {"flagged_recall", scores_flagged_recall},
    {"ece", scores_ece},
    {"brier", scores_brier},
};

/* A solution with these labels, through the reader of cases, so that its first error is found too.
 */
static void
add_case(struct cases *c, const json_t *labels)
{
    json_t *element =
        json_pack("{s:s, s:o, s:O}", "prompt", "p", "steps", json_array(), "labels", labels);
    struct error e = {0};

    for (size_t i = 0; i < json_array_size(labels); i++)
        json_array_append_new(json_object_get(element, "steps"), json_string("s"));
    if (cases_add(c, element, &e) != 0)
        fail_msg("%s", e.text);
    json_decref(element);
}

static void
add_opinion(struct scores *s, const struct labelled_case *c, const json_t *given)
{
    float scores[16];
    uint8_t verdicts[16];
    struct opinion o = {(int64_t)json_array_size(given), scores, verdicts, 0.25, 3, 5};

    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *v = json_array_get(given, i);
        scores[i] = json_is_null(v) ? 0 : (float)json_number_value(v);
        verdicts[i] = json_is_null(v)     ? CASE_unknown
                      : scores[i] >= 0.5f ? CASE_correct
                                          : CASE_incorrect;
    }
    scores_add(s, c, &o);
}

static void
golden_opinions_are_measured(void **state)
{
    json_t *sets = json_load_file(GOLDEN, 0, NULL), *set;
    size_t i;

    (void)state;
    assert_true(json_array_size(sets) >= 6);
    json_array_foreach(sets, i, set)
    {
        const json_t *labels = json_object_get(set, "labels"),
                     *given = json_object_get(set, "opinions");
        struct cases c = {0};
        struct scores s = {0};
        for (size_t k = 0; k < json_array_size(labels); k++) {
            add_case(&c, json_array_get(labels, k));
            add_opinion(&s, &c.at[k], json_array_get(given, k));
        }
        for (size_t m = 0; m < sizeof(measures) / sizeof(measures[0]); m++) {
            const json_t *want = json_object_get(json_object_get(set, "want"), measures[m].name);
            double got = measures[m].of(&s);
            if (json_is_null(want) ? !isnan(got) : fabs(got - json_number_value(want)) > 1e-12)
                fail_msg("set %zu: %s is %.17g, not %.17g", i, measures[m].name, got,
                         json_is_null(want) ? (double)NAN : json_number_value(want));
        }
        assert_int_equal(s.tokens_in, 3 * (int64_t)json_array_size(labels));
        assert_true(s.usd == 0.25 * (double)json_array_size(labels));
        cases_free(&c);
    }
    json_decref(sets);
}

/* ProcessBench's own example: 72.0 and 96.4 give 82.4. */
static void
f1_is_the_harmonic_mean(void **state)
{
    struct scores s = {.erroneous = 1000, .named = 720, .correct = 1000, .spared = 964};

    (void)state;
    assert_true(fabs(scores_f1(&s) - 0.8243) < 5e-5);
    s.named = s.spared = 0;
    assert_true(scores_f1(&s) == 0);
    s.correct = 0;
    assert_true(isnan(scores_f1(&s)));
}

static void
verdicts_of_another_length_are_bounded(void **state)
{
    struct cases c = {0};
    json_t *labels = json_pack("[i,i,i]", 1, 0, 1);
    float scores[5] = {1, 0, NAN, 0, 0};
    uint8_t verdicts[5] = {1, 1, 0, 0, 0};
    struct opinion more = {5, scores, verdicts, 0, 0, 0}, less = {1, scores, verdicts, 0, 0, 0};
    struct scores s = {0};

    (void)state;
    add_case(&c, labels);
    scores_add(&s, &c.at[0], &more);
    scores_add(&s, &c.at[0], &less);
    assert_int_equal(s.steps, 6);
    assert_int_equal(s.said, 4);
    assert_int_equal(s.scored, 3);
    assert_int_equal(s.named, 0);
    cases_free(&c);
    json_decref(labels);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_opinions_are_measured),
        cmocka_unit_test(f1_is_the_harmonic_mean),
        cmocka_unit_test(verdicts_of_another_length_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
