/* sample (of the learner): a message becomes a record: marks of steps, S2R's mask, ids that the
 * sampler recorded, named tokens; and every flaw of a record is an error. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/learner/sample.h"
#include "tests/tiny_model.h"

#define CHARACTERS "0123456789WaitLemry,. >[]AB\n\xc3\xa9"

static char folder[] = "/tmp/sluice-record-XXXXXX";
static struct sample_rules rules;

static int
begin(void **state)
{
    static const char *const specials[] = {"<|end|>", "<|turn|>"};
    struct error e = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    if (tokenizer_write_bytes(folder, span_text(CHARACTERS), specials, 2, specials[0], &e) < 0)
        fail_msg("%s", e.text);
    rules.tokenizer = tokenizer_open(folder, &e);
    assert_non_null(rules.tokenizer);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    tokenizer_close(rules.tokenizer);
    sample_rules_free(&rules);
    tiny_model_remove(folder);
    return 0;
}

static void
reset(void)
{
    struct sample_rules fresh = {.tokenizer = rules.tokenizer,
                                 .vocab = 64,
                                 .max_tokens = 200,
                                 .bos = -1,
                                 .eos = 0,
                                 .stop = 0,
                                 .labels = 2,
                                 .correct_above = 0.5,
                                 .prompt = rules.prompt,
                                 .response = rules.response};

    rules = fresh;
}

/* The record of a rollout, in `out`; the sample borrows from it. */
static int
make(const struct rollout *r, const uint64_t *ends, const uint8_t *labels, int64_t steps,
     struct buffer *out, struct sample *s, struct error *e)
{
    const struct sample_source source = {r, ends, labels, steps, NULL};
    const struct unit unit = {.ordinal = 9, .first = 8, .size = 4};
    int64_t gems;
    int rc;

    buffer_clear(out);
    rc = sample_make(&rules, &source, &unit, out, &gems, e);
    return rc < 0 ? rc : sample_read(buffer_span(out), 9, s, e);
}

static void
made(const struct rollout *r, const uint64_t *ends, const uint8_t *labels, int64_t steps,
     struct buffer *out, struct sample *s)
{
    struct error e = {0};

    if (make(r, ends, labels, steps, out, s, &e) < 0)
        fail_msg("%s", e.text);
}

static void
refused(const struct rollout *r, const char *words)
{
    struct buffer out = {0};
    struct sample s;
    struct error e = {0};

    assert_true(make(r, NULL, NULL, 0, &out, &s, &e) < 0);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    buffer_free(&out);
}

static void
steps_leave_their_marks(void **state)
{
    struct rollout r = {
        .prompt = span_text("1"), .response = span_text("12345"), .group_std = 0.25};
    const uint64_t ends[] = {2, 3, 5};
    const uint8_t labels[] = {0, 1, 1}; /* the second corrects the first, the third does not */
    struct buffer out = {0};
    struct sample s;

    (void)state;
    reset();
    made(&r, ends, labels, 3, &out, &s);
    assert_int_equal(s.count - s.context, 6);
    assert_int_equal(s.marks[0], SAMPLE_incorrect | SAMPLE_begins);
    assert_int_equal(s.marks[1], SAMPLE_incorrect | SAMPLE_incorrect << SAMPLE_judged_shift);
    assert_int_equal(s.marks[2], SAMPLE_correct | SAMPLE_begins | SAMPLE_correction |
                                     SAMPLE_correct << SAMPLE_judged_shift);
    assert_int_equal(s.marks[3], SAMPLE_correct | SAMPLE_begins);
    assert_int_equal(s.marks[5], 0); /* the stop token */
    assert_true(s.std == 0.25 && s.weight == 1 && !s.logps && s.named == -1);
    r.weight = 0.5;
    r.injected = 1;
    r.finish = span_text("length");
    made(&r, NULL, NULL, 0, &out, &s);
    assert_true(s.weight == 0.5 && s.injected && s.truncated && s.marks[0] == 0);
    assert_int_equal(s.count - s.context, 5); /* cut off: no stop token */
    buffer_free(&out);
}

/* solve, verify, solve: of the first solve nothing is learnt; its markers, the verify and the last
 * solve are. */
static void
s2r_masks_all_solves_but_the_last(void **state)
{
    static const char text[] = "12 Wait, 3 Let me try 45";
    static const char want[] = "1110000000000000000000000";
    const struct rollout r = {.prompt = span_text("1"), .response = span_text(text)};
    const struct rollout one = {.prompt = span_text("1"), .response = span_text("12 Wait, 3")};
    struct buffer out = {0};
    struct sample s;

    (void)state;
    reset();
    rules.verify_marks = "Amen|Wait,";
    rules.retry_marks = "Let me try";
    made(&r, NULL, NULL, 0, &out, &s);
    assert_int_equal(s.count - s.context, (int64_t)strlen(want));
    for (size_t i = 0; i < strlen(want); i++)
        if ((s.marks[i] & SAMPLE_masked) != (want[i] == '1' ? SAMPLE_masked : 0))
            fail_msg("token %zu ('%c')", i, text[i]);
    made(&one, NULL, NULL, 0, &out, &s); /* one solve is the last */
    for (int64_t i = 0; i < s.count - s.context; i++)
        assert_int_equal(s.marks[i], 0);
    buffer_free(&out);
}

static int32_t
id_of(char c)
{
    return (int32_t)(strchr(CHARACTERS, c) - CHARACTERS) + 2;
}

/* A character of two bytes is two tokens, which share its bytes; steps are mapped by them. */
static void
given_ids_are_placed_on_their_bytes(void **state)
{
    const uint32_t ids[] = {(uint32_t)id_of('1'), (uint32_t)id_of('\xc3'), (uint32_t)id_of('\xa9'),
                            (uint32_t)id_of('2'), 0};
    const float logps[] = {-1, -2, -3, -4, -5};
    uint32_t given[] = {ids[0], ids[1], ids[2], ids[3], ids[4]};
    float bad[] = {-1, -2, -3, -4, -5};
    struct rollout r = {.prompt = span_text("1"),
                        .response = span_text("1\xc3\xa9"
                                              "2"),
                        .token_ids = {5, (uint32_t *)(uintptr_t)ids},
                        .logps = {5, (float *)(uintptr_t)logps}};
    const uint64_t ends[] = {3, 4};
    const uint8_t labels[] = {1, 0};
    struct buffer out = {0};
    struct sample s;

    (void)state;
    reset();
    rules.recorded = true;
    made(&r, ends, labels, 2, &out, &s);
    assert_int_equal(s.count - s.context, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(s.ids[s.context + i], (int32_t)ids[i]);
        assert_true(s.logps[i] == logps[i]);
    }
    assert_int_equal(s.marks[0], SAMPLE_correct | SAMPLE_begins);
    assert_int_equal(s.marks[2], SAMPLE_correct | SAMPLE_correct << SAMPLE_judged_shift);
    assert_int_equal(s.marks[3], SAMPLE_incorrect | SAMPLE_begins |
                                     SAMPLE_incorrect << SAMPLE_judged_shift);
    given[4] = 1; /* it ended by another special token: that is the one learnt */
    r.token_ids.at = given;
    made(&r, ends, labels, 2, &out, &s);
    assert_int_equal(s.count - s.context, 5);
    assert_int_equal(s.ids[s.count - 1], 1);
    rules.recorded = false;
    rules.eos = -1; /* nor is any end, where none is wanted */
    made(&r, ends, labels, 2, &out, &s);
    assert_int_equal(s.count - s.context, 4);
    rules.recorded = true;
    rules.eos = 0;
    given[1] = 0; /* one in the middle is not the response's text */
    refused(&r, "they part at byte 1");
    given[1] = ids[1];
    bad[2] = 0.5f;
    r.logps.at = bad;
    refused(&r, "'logps': value 2 is 0.5");
    r.logps.at = (float *)(uintptr_t)logps;
    r.token_ids.count = 2; /* half a character is missing */
    r.logps.count = 2;
    refused(&r, "they part at byte 1");
    r.token_ids.count = 3; /* the end is missing */
    refused(&r, "they part at byte 3");
    buffer_free(&out);
}

/* An empty prompt: nothing predicts the first token, nor is its log-probability kept. */
static void
the_first_token_of_all_is_context(void **state)
{
    const float logps[] = {-1, -2, -3};
    const struct rollout r = {.response = span_text("123"),
                              .logps = {3, (float *)(uintptr_t)logps}};
    struct buffer out = {0};
    struct sample s;

    (void)state;
    reset();
    rules.recorded = true;
    made(&r, NULL, NULL, 0, &out, &s);
    assert_int_equal(s.context, 1);
    assert_int_equal(s.count, 3); /* no stop token: the log-probabilities end before it */
    assert_true(s.logps[0] == -2 && s.logps[1] == -3);
    buffer_free(&out);
}

static void
names_are_found(void **state)
{
    const struct rollout score = {.prompt = span_text("1"), .response = span_text("a 3 2")};
    const struct rollout rank = {.prompt = span_text("1"), .response = span_text("A: [B] > [A]")};
    struct rollout one = rank;
    struct sample_names names;
    struct error e = {0};
    struct buffer out = {0};
    struct sample s;

    (void)state;
    reset();
    assert_int_equal(sample_names_find(rules.tokenizer, SAMPLE_names_score, "123", &names, &e), 0);
    assert_int_equal(names.count, 3);
    assert_int_equal(names.column[1], id_of('2'));
    assert_true(names.value[1] == 2);
    rules.names = names;
    made(&score, NULL, NULL, 0, &out, &s);
    assert_int_equal(s.named, 4); /* the last before the stop token, not the 3 */
    assert_int_equal(s.count - s.context, 6);
    assert_true(sample_names_find(rules.tokenizer, SAMPLE_names_score, "1x", &names, &e) < 0);
    assert_non_null(strstr(e.text, "'x' one token"));

    assert_int_equal(sample_names_find(rules.tokenizer, SAMPLE_names_rank, "", &names, &e), 0);
    assert_int_equal(names.count, 2); /* the tokenizer has no C */
    rules.names = names;
    one.response = span_text("[B] A");
    refused(&one, "does not rank two identifiers");
    one.response = span_text("B");
    refused(&one, "does not rank two identifiers");
    one.response = span_text("[B] > [A]");
    made(&one, NULL, NULL, 0, &out, &s);
    assert_int_equal(s.named, 1);
    buffer_free(&out);
    reset();
}

/* Bytes that are no record, at any length or place, are refused. */
static void
damaged_records_are_refused(void **state)
{
    const float logps[] = {-1, -2};
    const struct rollout r = {.prompt = span_text("1"),
                              .response = span_text("12"),
                              .logps = {2, (float *)(uintptr_t)logps}};
    struct buffer out = {0};
    struct sample s;
    struct error e = {0};
    uint32_t version = 1;

    (void)state;
    reset();
    rules.recorded = true;
    made(&r, NULL, NULL, 0, &out, &s);
    for (size_t length = 0; length < out.length; length++)
        assert_true(sample_peek(span_of(out.at, length), 9, &s, &e) < 0);
    for (size_t i = 0; i < 80 && i < out.length; i++) { /* the head: read or refused, no crash */
        out.at[i] = (char)(out.at[i] ^ 0x80);
        if (sample_read(buffer_span(&out), 9, &s, &e) == 0)
            assert_true(s.context > 0 && s.count > s.context);
        out.at[i] = (char)(out.at[i] ^ 0x80);
    }
    memcpy(out.at, &version, sizeof(version));
    assert_int_equal(sample_peek(buffer_span(&out), 9, &s, &e), ERROR_version);
    assert_non_null(strstr(e.text, "of version 1"));
    buffer_free(&out);
}

static void
numbers_that_mean_nothing_are_refused(void **state)
{
    struct rollout r = {.prompt = span_text("1"), .response = span_text("12")};

    (void)state;
    reset();
    r.group_std = INFINITY;
    refused(&r, "spread");
    r.group_std = 0;
    r.weight = NAN;
    refused(&r, "'weight'");
    r.weight = 0;
    r.reward = -INFINITY;
    refused(&r, "reward");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_leave_their_marks),
        cmocka_unit_test(s2r_masks_all_solves_but_the_last),
        cmocka_unit_test(given_ids_are_placed_on_their_bytes),
        cmocka_unit_test(the_first_token_of_all_is_context),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(damaged_records_are_refused),
        cmocka_unit_test(numbers_that_mean_nothing_are_refused),
    };

    return cmocka_run_group_tests_name("learner_sample", tests, begin, end);
}
