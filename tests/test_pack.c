/* pack: which rows a sample owns in a batch and what stands in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/learner/pack.h"

static const int32_t ids[] = {1, 2, 3, 4, 5, 6};
static const float reference[] = {-0.1f, -0.2f, -0.3f, -0.4f}, logps[] = {-1, -2, -3, -4};
static const float advantages[] = {1, 2, 3, 4};

/* Two context tokens and four of a wrong response: a correct step, an incorrect one that is two
 * tokens long, and a correct one right after it. */
static const uint8_t marks[] = {
    SAMPLE_correct | SAMPLE_begins | SAMPLE_correct << SAMPLE_judged_shift,
    SAMPLE_incorrect | SAMPLE_begins,
    SAMPLE_incorrect | SAMPLE_incorrect << SAMPLE_judged_shift,
    SAMPLE_correct | SAMPLE_begins | SAMPLE_correction | SAMPLE_unknown << SAMPLE_judged_shift,
};

static struct sample
sample(uint64_t ordinal, uint64_t first, int correct)
{
    return (struct sample){.ordinal = ordinal,
                           .first = first,
                           .group_size = 4,
                           .reward = correct,
                           .mean = 0.25,
                           .std = 0.4,
                           .weight = 2,
                           .advantage = 0.75,
                           .correct = correct,
                           .count = 6,
                           .context = 2,
                           .named = 3,
                           .ids = ids,
                           .marks = marks,
                           .reference = reference,
                           .logps = logps};
}

static void
equal(const float *values, int64_t count, const float *want)
{
    for (int64_t i = 0; i < count; i++)
        if (values[i] != want[i])
            fail_msg("row %lld: %g, not %g", (long long)i, values[i], want[i]);
}

static void
a_language_model_predicts_the_next_token(void **state)
{
    const struct pack_rules rules = {.beta = 0.5, .wrong = 3, .correction = 10, .behaviour = true};
    struct sample samples[] = {sample(0, 0, 0), sample(1, 0, 1), sample(4, 4, 0)};
    struct pack p = {0};

    (void)state;
    pack_fill(&p, &rules, samples, 3);
    assert_int_equal(p.rows.rows, 18);
    assert_int_equal(p.batch.sequences, 3);
    assert_memory_equal(p.targets, ((int32_t[]){-1, 3, 4, 5, 6, -1, -1, 3}), 8 * sizeof(int32_t));
    /* A gem, two of an incorrect step, a gem that corrects: beta times correction. */
    equal(p.weight + 1, 4, (float[]){0.5f, 3, 3, 5});
    equal(p.weight + 7, 4, (float[]){1, 1, 1, 10}); /* a correct response: corrections alone */
    assert_memory_equal(p.rows.begins, ((uint8_t[]){0, 1, 1, 0, 1, 0, 0, 1}), 8); /* of steps */
    equal(p.reference + 1, 4, reference);
    equal(p.behaviour + 1, 4, reference);
    assert_ptr_equal(p.rows.behaviour, p.behaviour);
    assert_null(p.rows.mask);
    assert_null(p.rows.advantage);
    assert_int_equal(p.samples[1].first, 7);
    assert_int_equal(p.samples[1].count, 4);
    assert_int_equal(p.samples[1].group, 0);
    assert_int_equal(p.samples[2].group, 1);
    assert_true(p.samples[2].weight == 2 && p.samples[2].advantage == 0.75);
    assert_true(p.samples[2].std == 0.4);
    assert_int_equal(p.samples[2].named_row, -1); /* the objective has no names */
    assert_int_equal(p.gem_tokens, 4);
    pack_free(&p);
}

static void
rows_alone_hold_the_same_numbers(void **state)
{
    const struct pack_rules rules = {.beta = 0.5, .wrong = 3, .correction = 10};
    struct sample samples[] = {sample(0, 0, 0), sample(1, 0, 1)};
    struct pack whole = {0}, rows = {0};

    (void)state;
    samples[1].advantages = advantages;
    pack_fill(&whole, &rules, samples, 2);
    pack_rows(&rows, &rules, samples, 2);
    assert_int_equal(rows.rows.rows, 8);
    for (int i = 0; i < 2; i++) {
        int64_t from = whole.samples[i].first, to = rows.samples[i].first;

        assert_int_equal(to, 4 * i);
        equal(rows.weight + to, 4, whole.weight + from);
        equal(rows.reference + to, 4, whole.reference + from);
        assert_memory_equal(rows.targets + to, whole.targets + from, 4 * sizeof(int32_t));
    }
    assert_non_null(rows.rows.advantage);
    equal(rows.advantage, 8, (float[]){0.75f, 0.75f, 0.75f, 0.75f, 1, 2, 3, 4});
    assert_null(rows.rows.behaviour); /* nobody asked */
    pack_free(&whole);
    pack_free(&rows);
}

static void
what_one_sample_lacks_the_batch_lacks(void **state)
{
    struct pack_rules rules = {
        .beta = 1, .wrong = 1, .correction = 1, .behaviour = true, .recorded = true};
    struct sample samples[] = {sample(0, 0, 0), sample(1, 0, 1)};
    struct pack p = {0};

    (void)state;
    pack_rows(&p, &rules, samples, 2);
    equal(p.rows.behaviour, 8, (float[]){-1, -2, -3, -4, -1, -2, -3, -4});
    samples[1].logps = NULL;
    pack_rows(&p, &rules, samples, 2);
    assert_null(p.rows.behaviour);
    samples[1].injected = 1; /* nobody of ours sampled it */
    pack_rows(&p, &rules, samples, 2);
    equal(p.rows.behaviour, 4, logps);
    equal(p.rows.behaviour + 4, 4, reference);
    assert_int_equal(p.samples[1].injected, 1);
    samples[1].reference = NULL;
    pack_rows(&p, &rules, samples, 2);
    equal(p.rows.behaviour + 4, 4, (float[]){0, 0, 0, 0});
    samples[0].reference = NULL;
    pack_rows(&p, &rules, samples, 2);
    assert_null(p.rows.reference);
    assert_non_null(p.rows.behaviour);
    rules.recorded = false; /* then it is the reference that lacks */
    pack_rows(&p, &rules, samples, 2);
    assert_null(p.rows.behaviour);
    pack_free(&p);
}

static void
masked_tokens_and_wrong_answers_have_no_target(void **state)
{
    const struct pack_rules rules = {.beta = 1, .wrong = 1, .correction = 1},
                            correct = {.correct_only = 1, .beta = 1, .wrong = 1, .correction = 1};
    struct sample samples[] = {sample(0, 0, 0), sample(1, 0, 1)};
    struct pack p = {0};

    (void)state;
    samples[0].mask = (const uint8_t[]){1, 0, 1, 0};
    pack_rows(&p, &rules, samples, 2);
    assert_memory_equal(p.rows.mask, ((uint8_t[]){1, 0, 1, 0, 1, 1, 1, 1}), 8);
    assert_memory_equal(p.targets, ((int32_t[]){3, -1, 5, -1, 3, 4, 5, 6}), 8 * sizeof(int32_t));
    assert_int_equal(p.learnt, 6);
    pack_rows(&p, &correct, samples, 2);
    assert_memory_equal(p.targets, ((int32_t[]){-1, -1, -1, -1, 3, 4, 5, 6}), 8 * sizeof(int32_t));
    equal(p.weight, 8, (float[]){0, 0, 0, 0, 1, 1, 1, 1});
    pack_free(&p);
}

static void
a_class_head_looks_at_the_token_itself(void **state)
{
    const struct pack_rules rules = {.classes = 1, .beta = 1, .wrong = 1, .correction = 1};
    struct sample one = sample(0, 0, 0);
    struct pack p = {0};

    (void)state;
    pack_fill(&p, &rules, &one, 1);
    assert_int_equal(p.samples[0].first, 2);
    /* correct, none, incorrect, unknown */
    assert_memory_equal(p.targets, ((int32_t[]){-1, -1, 1, -1, 0, -1}), 6 * sizeof(int32_t));
    equal(p.weight, 6, (float[]){0, 0, 1, 0, 1, 0});
    assert_int_equal(p.learnt, 2);
    pack_free(&p);
}

static void
names_come_with_their_row_and_ranks(void **state)
{
    const struct sample_names names = {
        .kind = SAMPLE_names_rank, .count = 3, .column = {5, 6, 4}, .value = {0}};
    const struct pack_rules rules = {.beta = 1, .wrong = 1, .correction = 1, .names = &names};
    struct sample one = sample(0, 0, 0);
    struct pack p = {0};

    (void)state;
    one.named = 1; /* token 4 */
    pack_fill(&p, &rules, &one, 1);
    assert_int_equal(p.rows.named, 3);
    assert_int_equal(p.samples[0].named_row, 2);
    assert_int_equal(p.samples[0].rank[0], 2);
    assert_int_equal(p.samples[0].rank[1], 3);
    assert_int_equal(p.samples[0].rank[2], 1);
    one.named = 2; /* from token 5 on: 4 is not listed */
    pack_fill(&p, &rules, &one, 1);
    assert_int_equal(p.samples[0].rank[0], 1);
    assert_int_equal(p.samples[0].rank[2], 0);
    pack_free(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_language_model_predicts_the_next_token),
        cmocka_unit_test(rows_alone_hold_the_same_numbers),
        cmocka_unit_test(what_one_sample_lacks_the_batch_lacks),
        cmocka_unit_test(masked_tokens_and_wrong_answers_have_no_target),
        cmocka_unit_test(a_class_head_looks_at_the_token_itself),
        cmocka_unit_test(names_come_with_their_row_and_ranks),
    };

    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
