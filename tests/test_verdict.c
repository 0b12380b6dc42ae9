/* verdict: what is read out of a model's words, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "nodes/llm_judge/verdict.h"
#include "nodes/one_line.h"

/* The verdict as text: "score,said;" for each step. */
static void
expect_of(const struct verdict_ask *ask, const char *text, const char *wanted)
{
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};
    struct buffer got = {0};

    if (verdict_read(span_text(text), ask, &v, &arena, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    for (int64_t i = 0; i < ask->count; i++) {
        buffer_print(&got, v.said[i] ? "%.3g" : "-", (double)v.scores[i]);
        if (ask->form != FORM_steps && v.reasons[i].length)
            buffer_print(&got, " %.*s", (int)v.reasons[i].length, v.reasons[i].at);
        buffer_text(&got, ";");
    }
    if (v.rated)
        buffer_print(&got, " %.3g", (double)v.response);
    buffer_add(&got, "", 1);
    assert_string_equal(got.at, wanted);
    buffer_free(&got);
    arena_free(&arena);
}

static void
expect(const char *text, int64_t count, const char *wanted)
{
    expect_of(&(struct verdict_ask){FORM_steps, 0, count, false}, text, wanted);
}

static void
refuse_of(const struct verdict_ask *ask, const char *text, const char *words)
{
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};

    if (verdict_read(span_text(text), ask, &v, &arena, &e) == 0)
        fail_msg("not refused: %s", text);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    arena_free(&arena);
}

static void
refuse(const char *text, int64_t count, const char *words)
{
    refuse_of(&(struct verdict_ask){FORM_steps, 0, count, false}, text, words);
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

/* One line that names itself 150 000 times: its numbers are read once, not once for each time. */
static void
a_line_that_repeats_itself_costs_little(void **state)
{
    struct verdict_ask ask = {FORM_all_errors, 0, 5000, false};
    struct buffer text = {0};
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};
    clock_t began = clock();

    (void)state;
    buffer_text(&text, "Conclusion: yes\n");
    for (int i = 0; i < 150000; i++)
        buffer_text(&text, "Error Section Number: 2 ");
    buffer_text(&text, "Explanation: no");
    assert_int_equal(verdict_read(buffer_span(&text), &ask, &v, &arena, &e), 0);
    assert_true(v.scores[1] == 0 && v.scores[0] == 1);
    assert_true(span_is(v.reasons[1], "no"));
    assert_true((double)(clock() - began) / CLOCKS_PER_SEC < 5);
    buffer_free(&text);
    arena_free(&arena);
}

static void
reasons_become_short_clean_lines(void **state)
{
    struct arena arena = {0};
    struct verdict v;
    struct error e = {0};
    char text[3000];
    struct verdict_ask one = {FORM_steps, 0, 1, false};

    (void)state;
    strcpy(text, "{\"steps\":[{\"i\":0,\"label\":\"correct\",\"reason\":\"a\\nb\\u0000c ");
    for (int i = 0; i < 300; i++)
        strcat(text, "\xc3\xa9");
    strcat(text, "\"}]}");
    assert_int_equal(verdict_read(span_text(text), &one, &v, &arena, &e), 0);
    assert_true(v.reasons[0].length <= VERDICT_REASON_MAX);
    assert_memory_equal(v.reasons[0].at, "a b c \xc3\xa9\xc3\xa9", 10);
    assert_int_equal((unsigned char)v.reasons[0].at[v.reasons[0].length - 1], 0xa9);
    assert_true(span_is(one_line(span_text("\x80 ok \xed\xa0\x80\r\n"), 100, &arena), "? ok ???"));
    assert_true(span_is(one_line(span_text("abc"), 2, &arena), "ab"));
    arena_free(&arena);
}

static void
windows_name_steps_from_either_end(void **state)
{
    struct verdict_ask ask = {FORM_steps, 10, 2, false};

    (void)state;
    expect_of(&ask, "{\"steps\":[{\"i\":10,\"label\":1},{\"i\":11,\"label\":0}]}", "1;0;");
    expect_of(&ask, "{\"steps\":[{\"i\":11,\"label\":1},{\"i\":12,\"label\":0}]}", "1;0;");
    expect_of(&ask, "{\"steps\":[{\"i\":0,\"label\":1},{\"i\":1,\"label\":0}]}", "1;0;");
    expect_of(&ask, "{\"steps\":[{\"i\":2,\"label\":1},{\"i\":1,\"label\":0}]}", "0;1;");
    refuse_of(&ask, "{\"steps\":[{\"i\":5,\"label\":1},{\"i\":6,\"label\":0}]}",
              "names step 5 of 12");
}

static void
latex_before_the_verdict_hides_nothing(void **state)
{
    struct buffer text = {0};

    (void)state;
    for (int i = 0; i < 3000; i++)
        buffer_text(&text, "so \\frac{{1}}{[x]} = \\sqrt{2} [\\text{as said}] ");
    buffer_text(&text, "```json\n{\"steps\": [{\"i\": 0, \"label\": 1}]}\n```");
    buffer_add(&text, "", 1);
    expect(text.at, 1, "1;");
    buffer_free(&text);
}

static void
the_first_error_stands_in_a_box(void **state)
{
    struct verdict_ask ask = {FORM_first_error, 0, 4, false},
                       part = {FORM_first_error, 2, 2, false};

    (void)state;
    expect_of(&ask, "Paragraph 2 adds wrongly. \\boxed{2}", "1;1;0;-;");
    expect_of(&ask, "\\boxed{1}? No, wait. **\\boxed{-1}**.", "1;1;1;1;");
    expect_of(&ask, "<think>\\boxed{3}</think> the earliest is $\\boxed{\\text{paragraph_0}}$",
              "0;-;-;-;");
    expect_of(&ask,
              "\\boxed {\xe2\x88\x92"
              "1}",
              "1;1;1;1;");
    expect_of(&ask, "\\boxed{ None }", "1;1;1;1;");
    expect_of(&ask,
              "x^{2} ```json\n{\"analysis\": \"adds\\nwrongly\", \"first_error\": 1}``` \\boxed{3}",
              "1;0 adds wrongly;-;-;");
    expect_of(&ask, "{\"first_error\": \"-1\"}", "1;1;1;1;");
    expect_of(&part, "\\boxed{3}", "1;0;");
    refuse_of(&part, "\\boxed{1}", "names step 1 of 4");
    refuse_of(&ask, "\\boxed{4}", "names step 4 of 4");
    refuse_of(&ask, "\\boxed{-2}", "names step -2");
    refuse_of(&ask, "The error is in paragraph 2.", "neither JSON nor a box");
    refuse_of(&ask, "", "neither JSON nor a box");
    refuse_of(&ask, "\\boxed{2", "not closed");
    refuse_of(&ask, "\\boxed", "not closed");
    refuse_of(&ask, "\\boxed{}", "no number");
    refuse_of(&ask, "\\boxed{1 or 2}", "several numbers");
    refuse_of(&ask, "{\"first_error\": \"two\"}", "no whole number");
    refuse_of(&ask, "{\"first_error\": 1.5}", "no whole number");
    ask.cut = true;
    refuse_of(&ask, "maybe \\boxed{1} but", "was cut");
    expect_of(&ask, "{\"first_error\": 0}", "0;-;-;-;");
}

static void
all_errors_are_sections_counted_from_one(void **state)
{
    struct verdict_ask ask = {FORM_all_errors, 0, 3, false}, part = {FORM_all_errors, 4, 2, false};

    (void)state;
    expect_of(&ask, "All fine.\nConclusion: no error", "1;1;1;");
    expect_of(&ask, "**Conclusion:** No errors found.", "1;1;1;");
    expect_of(&ask,
              "Hm.\nConclusion: yes\nError Section Number: 1\nExplanation: 2+2 is 4\n"
              "Error Section Number: 3\nExplanation: again",
              "0 2+2 is 4;1;0 again;");
    expect_of(&ask,
              "Conclusion: no error? Let me look again.\n### Conclusion: Yes\n"
              "**Error Section Number:** 2\n**Explanation:** misread",
              "1;0 misread;1;");
    expect_of(&ask, "conclusion: yes\nerror section number: 1, 2 and 3", "0;0;0;");
    expect_of(&ask, "{\"errors\": []}", "1;1;1;");
    expect_of(&ask, "```{\"errors\": [{\"section\": 2, \"explanation\": \"no\"}, 3]}```",
              "1;0 no;0;");
    expect_of(&part, "Conclusion: yes\nError Section Number: 6", "1;0;");
    refuse_of(&part, "Conclusion: yes\nError Section Number: 1", "names section 1 of 6");
    refuse_of(&ask, "Conclusion: yes\nError Section Number: 4", "names section 4 of 3");
    refuse_of(&ask, "Conclusion: yes", "no section is named");
    refuse_of(&ask, "Conclusion: yes\nError Section Number: none", "names no section");
    refuse_of(&ask, "Conclusion: no error\nError Section Number: 1", "a section is named");
    refuse_of(&ask, "Conclusion: perhaps", "neither yes nor no");
    refuse_of(&ask, "It is all wrong.", "neither JSON nor a conclusion");
    refuse_of(&ask, "{\"errors\": [{\"explanation\": \"x\"}]}", "names no section");
    refuse_of(&ask, "{\"errors\": [0]}", "names section 0");
    ask.cut = true;
    refuse_of(&ask, "Conclusion: yes\nError Section Number: 1\n", "cut at max_tokens");
}

static void
agents_get_three_labels(void **state)
{
    struct verdict_ask ask = {FORM_agent, 0, 3, false};

    (void)state;
    expect_of(&ask,
              "It fails {here}.\n```json\n{\"step_labels\": {\"0\": 1, \"1\": 0, \"2\": -1}, "
              "\"final_label\": -1, \"explanations\": {\"steps\": {\"2\": \"made up\"}, \"final\": "
              "\"\"}}\n```",
              "1;-;0 made up; 0");
    expect_of(&ask, "{\"step_labels\": {\"1\": \"+1\"}, \"final_label\": \"1\"}", "-;1;-; 1");
    expect_of(&ask, "{\"step_labels\": {\"1\": 1, \"2\": 1, \"3\": -1}}", "1;1;0;");
    expect_of(&ask, "{\"step_labels\": [1, -1, 0]}", "1;0;-;");
    expect_of(&ask, "{\"step_labels\": {\"message_2\": -1}}", "-;-;0;");
    refuse_of(&ask, "{\"step_labels\": {\"3\": -1}}", "names step 3 of 3");
    refuse_of(&ask, "{\"step_labels\": {\"0\": 2}}", "none of 1, 0, -1");
    refuse_of(&ask, "{\"step_labels\": {\"x\": 1}}", "no index");
    refuse_of(&ask, "{\"step_labels\": [1, 1, 1, 1]}", "more labels than 3");
    refuse_of(&ask, "{\"step_labels\": {}}", "no labels");
    refuse_of(&ask, "1 0 -1", "no JSON verdict");
}

static void
marks_from_one_to_five(void **state)
{
    struct verdict_ask ask = {FORM_score, 0, 2, false}, one = {FORM_score, 7, 1, false};

    (void)state;
    expect_of(&ask, "Fine.\nScore of step 0: 5\nWrong.\nScore of step 1: 1\nOverall score: 2",
              "1;0; 0.25");
    expect_of(&ask, "**Score of step 1:** 4/5\nscore of Step 0 = [3]", "0.5;0.75;");
    expect_of(&ask, "Score of step 0: 1\nScore of step 1: 2\nno: Score of step 0: 3.", "0.5;0.25;");
    expect_of(&one, "So the overall score is 9. Score: 4", "0.75;");
    expect_of(&one, "The score is 2", "0.25;");
    expect_of(&one, "Score of step 7: 2\nOverall score: 3", "0.25; 0.5");
    expect_of(&ask,
              "{\"steps\":[{\"i\":1,\"score\":5},{\"i\":0,\"score\":\"2\",\"reason\":\"x\"}],"
              "\"overall\":4}",
              "0.25 x;1; 0.75");
    expect_of(&one, " 4/5.", "0.75;");
    expect_of(&one, "**2**\n", "0.25;");
    refuse_of(&one, "9", "'9' is no mark");
    refuse_of(&one, "45", "no score of step 7");
    refuse_of(&one, "4 it is", "no score of step 7");
    refuse_of(&ask, "4", "no score of step 0");
    refuse_of(&ask, "Score of step 0: 5", "no score of step 1");
    refuse_of(&ask, "Score of step 0: 5\nScore of step 1: 7", "no score of step 1");
    refuse_of(&ask, "Score of step 0: 45\nScore of step 1: 1", "no score of step 0");
    refuse_of(&ask, "Score of step 0: 4.5\nScore of step 1: 1", "no score of step 0");
    refuse_of(&ask, "Score of step 0: 4\nScore of step 2: 1", "names step 2 of 2");
    refuse_of(&one, "Score of step 3: 2", "names step 3 of 8");
    refuse_of(&ask, "4 4", "no score of step 0");
    refuse_of(&ask, "{\"steps\":[{\"score\":5},{\"score\":0}]}", "no mark from 1 to 5");
}

/* Any bytes at all: refused, or scores in [0,1] for every step that is said. Run under
 * sanitizers. */
static void
mutated_answers_never_give_a_score_out_of_range(void **state)
{
    static const char *const good[] = {
        ("Sure: "
         "```json\n{\"steps\":[{\"i\":0,\"label\":\"correct\",\"score\":0.97,\"reason\":"
         "\"caf\xc3\xa9\"},"
         "{\"i\":1,\"label\":\"incorrect\",\"score\":\"0.1\"}]}\n```"),
        "the first is \\boxed{1} or {\"analysis\":\"x\",\"first_error\":-1} or \\boxed{\\text{p "
        "0}}",
        "Conclusion: yes\nError Section Number: 1\nExplanation: x\nError Section Number: 2",
        "{\"step_labels\": {\"0\": 1, \"1\": -1}, \"final_label\": -1, \"explanations\": "
        "{\"steps\": {}}}",
        "Score of step 0: 5\nScore of step 1: **2**/5\nOverall score: 3",
    };
    uint64_t x = 88172645463325252ULL;
    int read[FORM_rank] = {0}, refused = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct verdict_ask ask = {(enum prompt_form)(round % FORM_rank), 0, 2, round % 7 == 0};
        size_t length = strlen(good[ask.form]);
        char text[256];
        struct arena arena = {0};
        struct verdict v;
        struct error e = {0};
        assert_true(length < sizeof(text));
        memcpy(text, good[ask.form], length);
        for (int k = 0; k <= round / FORM_rank % 4; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            text[x % length] = (x >> 32) % 3 ? good[ask.form][(x >> 40) % length] : (char)(x >> 48);
        }
        if (verdict_read(span_of(text, length), &ask, &v, &arena, &e) == 0) {
            for (int i = 0; i < 2; i++)
                assert_true(v.said[i] <= 1 && v.scores[i] >= 0 && v.scores[i] <= 1);
            assert_true(v.response >= 0 && v.response <= 1);
            read[ask.form]++;
        } else {
            assert_true(e.text[0] != 0);
            refused++;
        }
        arena_free(&arena);
    }
    for (int form = 0; form < FORM_rank; form++)
        assert_true(read[form] > 300);
    assert_true(refused > 1000);
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
        cmocka_unit_test(a_line_that_repeats_itself_costs_little),
        cmocka_unit_test(reasons_become_short_clean_lines),
        cmocka_unit_test(windows_name_steps_from_either_end),
        cmocka_unit_test(latex_before_the_verdict_hides_nothing),
        cmocka_unit_test(the_first_error_stands_in_a_box),
        cmocka_unit_test(all_errors_are_sections_counted_from_one),
        cmocka_unit_test(agents_get_three_labels),
        cmocka_unit_test(marks_from_one_to_five),
        cmocka_unit_test(mutated_answers_never_give_a_score_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
