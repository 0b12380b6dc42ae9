/* openers: what the beginnings of steps say, and where steps begin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "nodes/segmenter/openers.h"

static void
the_first_words_say_what_a_step_does(void **state)
{
    static const struct {
        const char *text;
        enum step_kind kind;
    } cases[] = {
        {"Wait, that is 7.", STEP_verify},
        {"\n\nWait", STEP_verify},
        {"**Let me check** this", STEP_verify},
        {"But wait, 3 is odd.", STEP_verify},
        {"So, let me double-check.", STEP_verify},
        {"Ok, so wait", STEP_solve}, /* "so" in lower case is no lead */
        {"Let's verify the sum.", STEP_verify},
        {"## Verification", STEP_verify},
        {"Alternatively, use x.", STEP_retry},
        {"Let me try again.", STEP_retry},
        {"Actually, no.", STEP_retry},
        {"No, that's not right.", STEP_retry},
        {"不对，应该是", STEP_retry},
        {"等等，3 不是偶数", STEP_verify},
        {"Waiting costs 5.", STEP_solve},
        {"Let me checkmate.", STEP_solve},
        {"We wait for it.", STEP_solve},
        {"Let x be 3.", STEP_solve},
        {"", STEP_solve},
        {"So", STEP_solve},
        {"So So So wait", STEP_solve},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (openers_kind(span_text(cases[i].text)) != cases[i].kind)
            fail_msg("'%s' is %d", cases[i].text, (int)openers_kind(span_text(cases[i].text)));
}

static void
expect(const char *text, const char *want)
{
    struct buffer places = {0}, shown = {0};
    size_t from = 0;

    openers_find(span_text(text), &places);
    for (size_t i = 0; i < places.length / sizeof(uint64_t); i++) {
        uint64_t at = ((const uint64_t *)(const void *)places.at)[i];

        assert_true(at > from);
        buffer_add(&shown, text + from, at - from);
        buffer_text(&shown, "|");
        from = at;
    }
    buffer_text(&shown, text + from);
    if (!span_is(buffer_span(&shown), want))
        fail_msg("'%.*s', not '%s'", (int)shown.length, shown.at, want);
    buffer_free(&places);
    buffer_free(&shown);
}

static void
steps_begin_where_a_sentence_opens_so(void **state)
{
    (void)state;
    expect("2 + 2 = 5. Wait, no. Let me check: 4.\nAlternatively, count.",
           "2 + 2 = 5. |Wait, no. |Let me check: 4.\n|Alternatively, count.");
    expect("Wait, this is the first.", "Wait, this is the first.");
    expect("\n Hmm. ok", "\n Hmm. ok");
    expect("I wait. we Wait, too", "I wait. we Wait, too");
    expect("It is 3.Wait", "It is 3.Wait");
    expect("(It is 3.) Wait! \"Hmm\"", "(It is 3.) |Wait! |\"Hmm\"");
    expect("三。等等，四", "三。|等等，四");
    expect("a\n\n**Wait** b\n- Let me verify", "a\n\n|**Wait** b\n|- Let me verify");
}

static void
hostile_text_takes_linear_time(void **state)
{
    static const char *const units[] = {"\n>", ". ", "So ", "! \n", "Wait", ".\"", " "};

    (void)state;
    for (size_t k = 0; k < sizeof(units) / sizeof(units[0]); k++) {
        struct buffer text = {0}, places = {0};
        clock_t start;

        while (text.length < 300000)
            buffer_text(&text, units[k]);
        start = clock();
        openers_find(buffer_span(&text), &places);
        if ((double)(clock() - start) / CLOCKS_PER_SEC > 2)
            fail_msg("300 KB of '%s' took too long", units[k]);
        buffer_free(&text);
        buffer_free(&places);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_words_say_what_a_step_does),
        cmocka_unit_test(steps_begin_where_a_sentence_opens_so),
        cmocka_unit_test(hostile_text_takes_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
