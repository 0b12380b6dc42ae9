/* segmenter: each rollout leaves on exactly one port, with its steps or as it came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/harness.h"

static const char *const links[] = {"in", "rollouts", NULL};

static struct rollout
rollout(const char *response, double reward)
{
    return (struct rollout){.id = span_text("r"),
                            .prompt = span_text("p"),
                            .response = span_text(response),
                            .reward = reward};
}

static void
give(struct harness *h, uint64_t ordinal, const char *response, double reward)
{
    struct rollout r = rollout(response, reward);
    harness_give(h, 0, ordinal, 0, 8, &r);
}

static void
expect_closing(struct harness *h, const char *port, uint64_t ordinal)
{
    struct harness_message m;
    assert_true(harness_take(h, port, &m));
    assert_int_equal(m.ordinal, ordinal);
    assert_true(m.closing);
    assert_string_equal(m.reason, "routed");
}

static void
expect_steps(struct harness *h, uint64_t ordinal, int count, const uint64_t *ends)
{
    struct harness_message m;
    struct arena           arena = {0};
    struct steps           s;

    assert_true(harness_take(h, "steps", &m));
    assert_int_equal(m.ordinal, ordinal);
    assert_false(m.closing);
    assert_int_equal(message_read(MESSAGE_steps, m.body, &s, &arena, NULL), 0);
    assert_int_equal(s.ends.count, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(s.ends.at[i], ends[i]);
    assert_int_equal(count ? ends[count - 1] : 0, s.rollout.response.length);
    arena_free(&arena);
}

static void
wrong_ones_are_cut_and_correct_ones_pass(void **state)
{
    static const char *const options[] = {"method", "line", NULL};
    struct harness          *h = harness_open("segmenter", links, options, NULL);
    struct harness_message   m;

    (void)state;
    give(h, 0, "a\nbc\n", 0);
    give(h, 1, "right", 1);
    give(h, 2, "", 0);
    give(h, 3, "half", 0.5);
    harness_run(h, 5, NULL);
    expect_steps(h, 0, 2, (const uint64_t[]){2, 5});
    expect_closing(h, "steps", 1);
    expect_steps(h, 2, 0, NULL);
    expect_steps(h, 3, 1, (const uint64_t[]){4});
    expect_closing(h, "passed", 0);
    assert_true(harness_take(h, "passed", &m));
    assert_false(m.closing);
    expect_closing(h, "passed", 2);
    expect_closing(h, "passed", 3);
    harness_end(h);
    harness_run(h, 5, NULL);
    assert_true(harness_finished(h));
    harness_close(h);
}

static void
all_sends_correct_ones_to_the_judges_too(void **state)
{
    static const char *const options[] = {"method", "line", "all", "true", NULL};
    struct harness          *h = harness_open("segmenter", links, options, NULL);

    (void)state;
    give(h, 0, "a\nb", 1);
    harness_run(h, 5, NULL);
    expect_steps(h, 0, 2, (const uint64_t[]){2, 3});
    expect_closing(h, "passed", 0);
    harness_close(h);
}

static void
a_crash_changes_nothing(void **state)
{
    static const char *const options[] = {"method", "sentence", NULL};
    struct harness          *h = harness_open("segmenter", links, options, NULL);

    (void)state;
    give(h, 0, "One. Two.", 0);
    harness_crash(h);
    harness_run(h, 5, NULL);
    give(h, 1, "Three. Four.", 0);
    harness_crash(h);
    harness_restart(h);
    harness_run(h, 5, NULL);
    expect_steps(h, 0, 2, (const uint64_t[]){5, 9});
    expect_steps(h, 1, 2, (const uint64_t[]){7, 12});
    struct harness_message m;
    assert_false(harness_take(h, "steps", &m));
    harness_close(h);
}

static void
what_cannot_be_cut_is_a_dead_letter(void **state)
{
    static const char *const options[] = {"method", "marker", "patterns", "(a+)+(a+)+(a+)+$", NULL};
    struct harness          *h = harness_open("segmenter", links, options, NULL);
    struct harness_message   m;
    char                     text[3000], why[300];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 2] = 'b';
    text[sizeof(text) - 1] = 0;
    give(h, 0, text, 0);
    harness_give_bytes(h, 0, 1, 0, 8, span_text("\xc1garbage"));
    harness_run(h, 10, NULL);
    assert_int_equal(harness_dead_count(h), 2);
    harness_dead_text(h, 0, why, sizeof(why));
    assert_non_null(strstr(why, "pattern 1 gave up"));
    for (int i = 0; i < 2; i++) {
        assert_true(harness_take(h, "steps", &m) && m.closing);
        assert_string_equal(m.reason, "dead");
    }
    harness_close(h);
}

static void
expect_kinds(struct harness *h, uint64_t ordinal, const char *want)
{
    struct harness_message m;
    struct arena           arena = {0};
    struct steps           s;

    assert_true(harness_take(h, "steps", &m) && !m.closing);
    assert_int_equal(m.ordinal, ordinal);
    assert_int_equal(message_read(MESSAGE_steps, m.body, &s, &arena, NULL), 0);
    assert_int_equal(s.kinds.count, strlen(want));
    assert_true(s.kinds.count == 0 || s.kinds.count == s.ends.count);
    for (int64_t i = 0; i < s.kinds.count; i++)
        assert_int_equal(s.kinds.at[i], want[i] - '0');
    arena_free(&arena);
}

static void
steps_are_told_apart_by_their_openers(void **state)
{
    static const char *const openers[] = {"method", "marker", NULL};
    static const char *const lines[] = {"method", "line", "tag", "true", NULL};
    static const char *const plain[] = {"method", "line", NULL};
    static const char        text[] = "It is 5.\nWait, 2 + 2.\nLet me try again. So 4.\nDone.";
    struct harness          *h = harness_open("segmenter", links, openers, NULL);

    (void)state;
    give(h, 0, text, 0);
    give(h, 1, "", 0);
    harness_run(h, 5, NULL);
    expect_kinds(h, 0, "012");
    expect_kinds(h, 1, "");
    harness_close(h);
    h = harness_open("segmenter", links, lines, NULL);
    give(h, 0, text, 0);
    harness_run(h, 5, NULL);
    expect_kinds(h, 0, "0120");
    harness_close(h);
    h = harness_open("segmenter", links, plain, NULL);
    give(h, 0, text, 0);
    harness_run(h, 5, NULL);
    expect_kinds(h, 0, "");
    harness_close(h);
}

/* With a model the answers come later, one by one, and a crash changes none. */
static void
a_model_cuts_the_same_after_a_crash(void **state)
{
    char             *model = realpath("tests/golden/sat/plain", NULL);
    char             *tokenizer = realpath("tests/golden/sat", NULL);
    const char *const options[] = {"method",    "sat",     "model",      model, "tokenizer",
                                   tokenizer,   "threads", "2",          "block_size", "100",
                                   "stride",    "50",      NULL};
    static const char text[] = "Let x be 3. Then 2x is 6. We've `checked. It` twice; they agree. So.";
    struct steps      found[2] = {0};
    struct arena      arena = {0};

    (void)state;
    for (int crash = 0; crash < 2; crash++) {
        struct harness        *h = harness_open("segmenter", links, options, NULL);
        struct harness_message m;

        give(h, 0, text, 0);
        give(h, 1, "right", 1);
        give(h, 2, text, 0);
        if (crash)
            harness_crash(h);
        harness_run(h, 20, NULL);
        for (int i = 0; i < 3; i++) { /* the closing need not wait for the model */
            assert_true(harness_take(h, "steps", &m));
            assert_int_equal(m.closing, m.ordinal == 1);
            if (m.ordinal == 0)
                assert_int_equal(message_read(MESSAGE_steps, m.body, &found[crash], &arena, NULL),
                                 0);
        }
        assert_true(found[crash].ends.count > 2);
        for (int64_t i = 0; i < found[crash].ends.count; i++)
            assert_false(found[crash].ends.at[i] > strcspn(text, "`") &&
                         found[crash].ends.at[i] <= strcspn(text, "`") + 12);
        if (crash) {
            assert_int_equal(found[0].ends.count, found[1].ends.count);
            assert_memory_equal(found[0].ends.at, found[1].ends.at,
                                (size_t)found[0].ends.count * sizeof(uint64_t));
        } else { /* the message goes with its harness */
            uint64_t *kept = arena_take(&arena, (size_t)found[0].ends.count * sizeof(*kept));

            memcpy(kept, found[0].ends.at, (size_t)found[0].ends.count * sizeof(*kept));
            found[0].ends.at = kept;
        }
        harness_close(h);
    }
    arena_free(&arena);
    free(model);
    free(tokenizer);
}

static void
bad_options_are_refused(void **state)
{
    static const char *const bad[][6] = {
        {"method", "sat", NULL},
        {"method", "line", "model", "/tmp", NULL},
        {"method", "sat", "model", "/tmp/none", NULL},
        {"method", "marker", "patterns", "(", NULL},
        {"method", "line", "patterns", "x", NULL},
        {"max_bytes", "8", NULL},
        {"min_bytes", "100", "max_bytes", "50", NULL},
        {"method", "word", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};
        if (harness_open("segmenter", links, bad[i], &e))
            fail_msg("options %zu were not refused", i);
        assert_true(e.text[0]);
    }
}

/* Steps that came with the rollout are taken if they tile it; without them it is a dead letter. */
static void
given_steps_are_taken_as_they_are(void **state)
{
    static const char *const options[] = {"method", "given", "all", "true", NULL};
    struct harness          *h = harness_open("segmenter", links, options, NULL);
    struct harness_message   m;
    uint64_t                 good[] = {1, 4}, bad[] = {1, 3};
    struct rollout           r = rollout("abcd", 1);

    (void)state;
    r.given_ends = (struct u64s){2, good};
    harness_give(h, 0, 0, 0, 4, &r);
    r.given_ends.at = bad;
    harness_give(h, 0, 1, 0, 4, &r);
    r.given_ends = (struct u64s){0};
    harness_give(h, 0, 2, 0, 4, &r);
    r.response = span_text("");
    harness_give(h, 0, 3, 0, 4, &r);
    harness_run(h, 5, NULL);
    expect_steps(h, 0, 2, (const uint64_t[]){1, 4});
    for (int i = 1; i < 3; i++) {
        assert_true(harness_take(h, "steps", &m));
        assert_int_equal(m.ordinal, i);
        assert_true(m.closing);
    }
    expect_steps(h, 3, 0, NULL);
    harness_close(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_ones_are_cut_and_correct_ones_pass),
        cmocka_unit_test(all_sends_correct_ones_to_the_judges_too),
        cmocka_unit_test(a_crash_changes_nothing),
        cmocka_unit_test(what_cannot_be_cut_is_a_dead_letter),
        cmocka_unit_test(steps_are_told_apart_by_their_openers),
        cmocka_unit_test(a_model_cuts_the_same_after_a_crash),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(given_steps_are_taken_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
