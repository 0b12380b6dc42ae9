/* verdict: what is read out of a model's words, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/llm_judge/verdict.h"
#include "nodes/one_line.h"

/* The verdict as text: "score,said;" for each step. */
static void
expect(const char *text, int64_t count, const char *wanted)
{
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};
    struct buffer got = {0};

    if (verdict_read(span_text(text), count, &v, &arena, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    for (int64_t i = 0; i < count; i++)
        buffer_print(&got, v.said[i] ? "%.3g;" : "-;", (double)v.scores[i]);
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, wanted);
    buffer_free(&got);
    arena_free(&arena);
}

static void
refuse(const char *text, int64_t count, const char *words)
{
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};

    if (verdict_read(span_text(text), count, &v, &arena, &e) == 0)
        fail_msg("not refused: %s", text);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    arena_free(&arena);
}

static void
what_was_asked_for(void **state)
{
    (void)state;
    expect("{\"steps\":[{\"i\":0,\"label\":\"correct\",\"score\":0.9,\"reason\":\"so\"},"
           "{\"i\":1,\"label\":\"incorrect\",\"score\":0.1}]}",
           2, "0.9;0.1;");
    expect("{\"steps\":[{\"i\":0,\"label\":\"correct\"},{\"i\":1,\"label\":\"incorrect\"}]}", 2,
           "1;0;");
    expect("{\"steps\":[{\"i\":0,\"score\":0.25}]}", 1, "0.25;");
    expect("{\"steps\":[]}", 0, "");
}

static void
chatter_fences_and_drafts_around_it(void **state)
{
    (void)state;
    expect("<think>maybe {\"steps\":[{\"i\":0,\"label\":\"incorrect\"}]} or not {x}</think>\n"
           "Here: ```json\n{\"steps\": [{\"i\": 0, \"label\": \"correct\"}]}\n``` Done [1].",
           1, "1;");
    expect("[{\"i\":0,\"label\":\"wrong\"},{\"i\":1,\"label\":\"right\"}]", 2, "0;1;");
    expect("{\"note\":{\"a\":1}} {\"steps\":[{\"label\":\"yes\"}]} [{\"label\":\"no\"}]", 1, "1;");
}

static void
labels_and_indexes_as_models_write_them(void **state)
{
    (void)state;
    expect("{\"steps\":[{\"index\":2,\"label\":\"TRUE\"},{\"index\":0,\"label\":\"No\"},{\"index\":"
           "1,\"label\":1}]}",
           3, "0;1;1;");
    expect("{\"steps\":[{\"step\":1,\"correct\":true},{\"step\":2,\"correct\":false}]}", 2, "1;0;");
    expect("{\"steps\":[{\"i\":\"1\",\"verdict\":-1},{\"i\":\"0\",\"verdict\":0}]}", 2, "0;0;");
    expect("{\"steps\":[{\"i\":0,\"label\":\"neutral\"},{\"i\":1,\"label\":\"correct\",\"score\":"
           "\"0.7\"}]}",
           2, "-;0.7;");
}

static void
a_score_that_contradicts_gives_way_to_the_label(void **state)
{
    (void)state;
    expect("{\"steps\":[{\"i\":0,\"label\":\"incorrect\",\"score\":0.95},{\"i\":1,\"label\":"
           "\"correct\",\"score\":0.2},"
           "{\"i\":2,\"label\":\"correct\",\"score\":5}]}",
           3, "0;1;1;");
}

static void
what_is_never_guessed(void **state)
{
    (void)state;
    refuse("I think it is fine.", 1, "no JSON verdict");
    refuse("", 1, "no JSON verdict");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"cor", 1, "no JSON verdict");
    refuse("{\"steps\":\"all correct\"}", 1, "no JSON verdict");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"correct\"}]}", 2, "the verdict has 1 steps, not 2");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"correct\"},{\"i\":1,\"label\":\"correct\"}]}", 1,
           "has 2 steps, not 1");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"correct\"},{\"i\":0,\"label\":\"correct\"}]}", 2,
           "step 0 twice");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"correct\"},{\"i\":2,\"label\":\"correct\"}]}", 2,
           "names step 2 of 2");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"correct\"},{\"label\":\"correct\"}]}", 2,
           "some have none");
    refuse("{\"steps\":[{\"i\":0,\"label\":\"perhaps\"}]}", 1, "neither correct nor incorrect");
    refuse("{\"steps\":[{\"i\":0,\"reason\":\"x\"}]}", 1, "no label and no score");
    refuse("{\"steps\":[{\"i\":0,\"score\":1.5}]}", 1, "no label and no score");
    refuse("{\"steps\":[{\"i\":0,\"score\":\"nan\"}]}", 1, "no label and no score");
    refuse("{\"steps\":[{\"i\":-1,\"label\":\"correct\"}]}", 1, "strange index");
    refuse("{\"steps\":[{\"i\":1e30,\"label\":\"correct\"}]}", 1, "strange index");
    refuse("{\"steps\":[\"correct\"]}", 1, "is not an object");
}

static void
hostile_answers_cost_little(void **state)
{
    struct buffer text = {0};

    (void)state;
    for (int i = 0; i < 200000; i++)
        buffer_text(&text, "{\"a\":[");
    buffer_add(&text, "", 1);
    refuse(text.at, 1, "no JSON verdict");
    buffer_clear(&text);
    for (int i = 0; i <= VERDICT_BYTES_MAX / 16; i++)
        buffer_text(&text, "0123456789abcdef");
    buffer_add(&text, "", 1);
    refuse(text.at, 1, "more than");
    buffer_free(&text);
}

static void
reasons_become_short_clean_lines(void **state)
{
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};
    char text[3000];

    (void)state;
    strcpy(text, "{\"steps\":[{\"i\":0,\"label\":\"correct\",\"reason\":\"a\\nb\\u0000c ");
    for (int i = 0; i < 300; i++)
        strcat(text, "\xc3\xa9");
    strcat(text, "\"}]}");
    assert_int_equal(verdict_read(span_text(text), 1, &v, &arena, &e), 0);
    assert_true(v.reasons[0].length <= VERDICT_REASON_MAX);
    assert_memory_equal(v.reasons[0].at, "a b c \xc3\xa9\xc3\xa9", 10);
    assert_int_equal((unsigned char)v.reasons[0].at[v.reasons[0].length - 1], 0xa9);
    assert_true(
        span_is(one_line(span_text("\x80 ok \xed\xa0\x80\r\n"), 100, &arena), "? ok ???"));
    assert_true(span_is(one_line(span_text("abc"), 2, &arena), "ab"));
    arena_free(&arena);
}

/* Any bytes at all: refused, or scores in [0,1] for every step that is said. Run under sanitizers. */
static void
mutated_answers_never_give_a_score_out_of_range(void **state)
{
    static const char good[] =
        "Sure: ```json\n{\"steps\":[{\"i\":0,\"label\":\"correct\",\"score\":0.97,\"reason\":\"caf\xc3\xa9\"},"
        "{\"i\":1,\"label\":\"incorrect\",\"score\":\"0.1\"}]}\n```";
    uint64_t x = 88172645463325252ULL;
    int read = 0, refused = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof(good)];
        struct arena arena = {0};
        struct verdict v;
        struct error e = {0};
        memcpy(text, good, sizeof(good));
        for (int k = 0; k <= round % 4; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            text[x % (sizeof(good) - 1)] = (x >> 32) % 3 ? good[(x >> 40) % (sizeof(good) - 1)]
                                                          : (char)(x >> 48);
        }
        if (verdict_read(span_of(text, sizeof(good) - 1), 2, &v, &arena, &e) == 0) {
            for (int i = 0; i < 2; i++)
                assert_true(v.said[i] <= 1 && v.scores[i] >= 0 && v.scores[i] <= 1);
            read++;
        } else {
            assert_true(e.text[0] != 0);
            refused++;
        }
        arena_free(&arena);
    }
    assert_true(read > 1000 && refused > 1000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_asked_for),
        cmocka_unit_test(chatter_fences_and_drafts_around_it),
        cmocka_unit_test(labels_and_indexes_as_models_write_them),
        cmocka_unit_test(a_score_that_contradicts_gives_way_to_the_label),
        cmocka_unit_test(what_is_never_guessed),
        cmocka_unit_test(hostile_answers_cost_little),
        cmocka_unit_test(reasons_become_short_clean_lines),
        cmocka_unit_test(mutated_answers_never_give_a_score_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
