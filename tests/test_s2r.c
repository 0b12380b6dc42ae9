/* What a verify says, and the reward it gets for it, in records and through the learner. */
#include "nodes/learner/s2r.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lessons.h"

static void
verdicts(void **state)
{
    static const struct {
        const char *text;
        bool correct;
    } rows[] = {
        {"Wait, 2 + 2 is 4. Therefore, the answer is correct.", true},
        {"Wait, 2 + 2 is 5. Therefore, the answer is incorrect.", false},
        /* the last of these counts, and before any other word */
        {"Therefore, the answer is correct. Therefore, the answer is incorrect.", false},
        {"Therefore, the answer is incorrect. No. Therefore, the answer is correct.", true},
        {"It is incorrect, I cannot verify. Therefore, the answer is correct.", true},
        {"Therefore, the answer is correct", true}, /* not ended: by the words */
        {"Therefore, the answer is correct, or is incorrect", false},
        {"The sum is correct, the product is incorrect.", false},
        {"All verified, but one I cannot verify.", false},
        {"That is verified.", true},
        {"It is indeed 4.", true},
        {"Wait, 4?", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (s2r_verdict(span_text(rows[i].text)) != rows[i].correct)
            fail_msg("'%s'", rows[i].text);
}

/* The marks of a response whose tokens are its bytes. */
static void
marks_with(const char *response, const uint64_t *ends, const uint8_t *labels, int64_t steps,
           const uint8_t *kinds, uint8_t *marks)
{
    const struct rollout rollout = {.response = span_text(response)};
    const struct sample_source source = {&rollout, ends, labels, steps, kinds};
    int64_t count = (int64_t)strlen(response), step = 0;
    struct tokens t = {.count = count};

    t.starts = xarray((size_t)count + 1, sizeof(*t.starts));
    t.ends = xarray((size_t)count + 1, sizeof(*t.ends));
    for (int64_t i = 0; i < count; i++) {
        t.starts[i] = i;
        t.ends[i] = i + 1;
        step += step < steps && (uint64_t)i == ends[step];
        marks[i] = (uint8_t)((labels[step] + 1) |
                             (i == 0 || (step && (uint64_t)i == ends[step - 1]) ? SAMPLE_begins
                                                                                : 0));
    }
    s2r_rewards("Wait,|Hm", &source, &t, 0, marks);
    free(t.starts);
    free(t.ends);
}

static void
marks_of(const char *response, const uint64_t *ends, const uint8_t *labels, int64_t steps,
         uint8_t *marks)
{
    marks_with(response, ends, labels, steps, NULL, marks);
}

static int
judged(uint8_t mark)
{
    return mark & SAMPLE_rewarded ? mark >> SAMPLE_judged_shift & SAMPLE_judged : 0;
}

static void
a_verify_is_right_where_its_verdict_is(void **state)
{
    /* solve, verify, solve, verify, solve, verify */
    static const char text[] = "4\n Wait, it is correct\n5\nHm 5\n6\nHm it is correct\n";
    static const uint64_t ends[] = {2, 23, 25, 30, 32, 49};
    static const uint8_t labels[] = {0, 1, 0, 0, 2, 1};
    static const int want[] = {0, SAMPLE_incorrect, 0, SAMPLE_correct, 0, SAMPLE_unknown};
    uint8_t marks[64];

    (void)state;
    assert_int_equal(ends[5], strlen(text));
    marks_of(text, ends, labels, 6, marks);
    for (int k = 0; k < 6; k++) {
        uint64_t at = k ? ends[k - 1] : 0;

        assert_int_equal(judged(marks[at]), want[k]);
        assert_int_equal(marks[at] & SAMPLE_label, labels[k] + 1); /* weights go by the label */
        for (at++; at < ends[k]; at++)
            assert_int_equal(marks[at], labels[k] + 1);
    }
    marks_of("Wait, 4", (const uint64_t[]){7}, labels, 1, marks); /* nothing is before it */
    assert_int_equal(judged(marks[0]), 0);
    marks_of("4\nI say: Wait,", (const uint64_t[]){2, 14}, labels, 2, marks);
    assert_int_equal(judged(marks[2]), 0); /* the marker does not begin the step */
}

/* Where the segmenter told steps apart, its word goes before the markers. */
static void
the_segmenters_kinds_go_before_markers(void **state)
{
    static const uint64_t ends[] = {2, 23};
    static const uint8_t labels[] = {0, 1}, verifies[] = {0, 1}, solves[] = {0, 2};
    uint8_t marks[32];

    (void)state;
    marks_with("4\nSo, it is incorrect.\n", ends, labels, 2, verifies, marks);
    assert_int_equal(judged(marks[2]), SAMPLE_correct);
    marks_with("4\nWait, it is correct.\n", ends, labels, 2, solves, marks);
    assert_int_equal(judged(marks[2]), 0);
}

/* Both steps of the wrong answers are labelled incorrect, and the second begins with an even
 * number. */
static struct lesson_bytes
trained(const char *verify)
{
    const char *options[] = {"advantages", "process", "baseline_min", "100",
                             "s2r_verify", verify,    NULL};
    struct harness *h = lesson_open(lesson_both, "grpo", options, NULL);
    struct lesson_bytes w;
    struct lesson_made m;

    for (uint64_t i = 0; i < 16; i++) {
        lesson_make(&m, i);
        m.labels[0] = 0;
        lesson_give(h, &m, i, true);
    }
    harness_end(h);
    lesson_run(h);
    w = lesson_weights(h);
    harness_close(h);
    return w;
}

static void
the_learner_rewards_verifies(void **state)
{
    struct lesson_bytes none = trained(""), other = trained("x"), even = trained("0|2|4|6|8");

    (void)state;
    assert_true(lesson_same(none, other)); /* no step begins so */
    assert_false(lesson_same(none, even)); /* each says no, and is right to */
    free(none.at);
    free(other.at);
    free(even.at);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(a_verify_is_right_where_its_verdict_is),
        cmocka_unit_test(the_segmenters_kinds_go_before_markers),
        cmocka_unit_test(the_learner_rewards_verifies),
    };

    return cmocka_run_group_tests_name("s2r", tests, lesson_begin, lesson_end);
}
