/* segment: steps tile every response and are cut where the method says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nodes/segmenter/segment.h"

/* Cut and show the steps with | between them. */
static char *
cut(enum segment_method method, const char *text, int64_t bytes_min, int64_t bytes_max,
    const char *pattern)
{
    struct segment s;
    struct error   e = {0};
    struct buffer  ends = {0}, shown = {0};
    uint64_t       from = 0;

    if (segment_init(&s, method, pattern ? 1 : 0, &pattern, bytes_min, bytes_max, &e) != 0)
        fail_msg("%s", e.text);
    if (segment_cut(&s, span_text(text), &ends, &e) != 0)
        fail_msg("%s", e.text);
    const uint64_t *at = (const uint64_t *)(const void *)ends.at;
    for (size_t i = 0; i < ends.length / sizeof(uint64_t); i++) {
        assert_true(at[i] > from && at[i] <= strlen(text));
        buffer_text(&shown, i ? "|" : "");
        buffer_add(&shown, text + from, at[i] - from);
        from = at[i];
    }
    assert_int_equal(from, strlen(text));
    segment_fini(&s);
    buffer_free(&ends);
    char *copy = span_copy(buffer_span(&shown));
    buffer_free(&shown);
    return copy;
}

static void
expect(enum segment_method method, const char *text, int64_t bytes_min, int64_t bytes_max,
       const char *pattern, const char *want)
{
    char *got = cut(method, text, bytes_min, bytes_max, pattern);
    assert_string_equal(got, want);
    free(got);
}

static void
lines_end_after_line_feeds(void **state)
{
    (void)state;
    expect(SEGMENT_line, "", 0, 0, NULL, "");
    expect(SEGMENT_line, "one", 0, 0, NULL, "one");
    expect(SEGMENT_line, "one\ntwo\n", 0, 0, NULL, "one\n|two\n");
    expect(SEGMENT_line, "one\n\n\ntwo", 0, 0, NULL, "one\n\n\n|two");
    expect(SEGMENT_line, "\n \none\r\ntwo", 0, 0, NULL, "\n \none\r\n|two");
    expect(SEGMENT_line, " \n\n ", 0, 0, NULL, " \n\n ");
}

static void
paragraphs_end_after_blank_lines(void **state)
{
    (void)state;
    expect(SEGMENT_paragraph, "a\nb\n\nc", 0, 0, NULL, "a\nb\n\n|c");
    expect(SEGMENT_paragraph, "a\n \t\nb", 0, 0, NULL, "a\n \t\n|b");
    expect(SEGMENT_paragraph, "a\r\n\r\nb\r\n", 0, 0, NULL, "a\r\n\r\n|b\r\n");
    expect(SEGMENT_paragraph, "\n\na\n\n\n\n  b\n\n", 0, 0, NULL, "\n\na\n\n\n\n|  b\n\n");
}

static void
sentences_end_where_a_new_one_begins(void **state)
{
    (void)state;
    expect(SEGMENT_sentence, "One is 3.5. Two! Three?", 0, 0, NULL, "One is 3.5. |Two! |Three?");
    expect(SEGMENT_sentence, "Mr. Smith, e.g. J. Doe vs. Dr. Who, left. Then.", 0, 0, NULL,
           "Mr. Smith, e.g. J. Doe vs. Dr. Who, left. |Then.");
    expect(SEGMENT_sentence, "1. First.\n2. Second.", 0, 0, NULL, "1. First.\n|2. Second.");
    expect(SEGMENT_sentence, "He said \"no.\" She left... and came back.", 0, 0, NULL,
           "He said \"no.\" |She left... and came back.");
    expect(SEGMENT_sentence, "一二三。四五！六", 0, 0, NULL, "一二三。|四五！|六");
    expect(SEGMENT_sentence, "The sum is 7. 8 more.", 0, 0, NULL, "The sum is 7. |8 more.");
}

static void
markers_begin_steps(void **state)
{
    (void)state;
    expect(SEGMENT_marker, "Plan. Step 1: a Step 2: b", 0, 0,
           "Step \\d+:", "Plan. |Step 1: a |Step 2: b");
    expect(SEGMENT_marker, "Step 1: a", 0, 0, "Step \\d+:", "Step 1: a");
    expect(SEGMENT_marker, "no marker", 0, 0, "Step \\d+:", "no marker");
    expect(SEGMENT_marker, "é Wait, ü wait", 0, 0, "(?i)wait", "é |Wait, ü |wait");
    expect(SEGMENT_marker, "ab", 0, 0, "", "a|b");
    expect(SEGMENT_marker, "éü", 0, 0, "", "é|ü");
    expect(SEGMENT_marker, "a\nb\nc", 0, 0, "^", "a\n|b\n|c");
}

static void
short_steps_are_joined_and_long_ones_cut(void **state)
{
    (void)state;
    expect(SEGMENT_line, "a\nbb\nccccccc\nd", 5, 0, NULL, "a\nbb\n|ccccccc\nd");
    expect(SEGMENT_line, "aaaaaa\nb\n", 5, 0, NULL, "aaaaaa\nb\n");
    expect(SEGMENT_line, "a", 100, 0, NULL, "a");
    expect(SEGMENT_line, "0123456789 123456789 0123456789", 0, 16, NULL,
           "0123456789 |123456789 |0123456789");
    expect(SEGMENT_line, "ééééééééééééééééé", 0, 17, NULL, "éééééééé|éééééééé|é");
}

static void
openers_begin_steps_without_patterns(void **state)
{
    (void)state;
    expect(SEGMENT_marker, "2 + 2 = 5. Wait, no. It is 4.\nAlternatively, count.", 0, 0, NULL,
           "2 + 2 = 5. |Wait, no. It is 4.\n|Alternatively, count.");
    expect(SEGMENT_marker, "I cannot wait.", 0, 0, NULL, "I cannot wait.");
}

static void
code_and_formulas_stay_in_one_step(void **state)
{
    static const char fence[] = "Run:\n```py\na = 1\n\nb = 2\n```\n\nDone.";
    static const char math[] = "So \\[ x = 1.\n\n y = 2. \\] Then $a! B$ holds. End.";

    (void)state;
    expect(SEGMENT_line, fence, 0, 0, NULL, "Run:\n|```py\na = 1\n\nb = 2\n```\n\n|Done.");
    expect(SEGMENT_paragraph, fence, 0, 0, NULL, "Run:\n```py\na = 1\n\nb = 2\n```\n\n|Done.");
    expect(SEGMENT_paragraph, math, 0, 0, NULL, math);
    expect(SEGMENT_line, math, 0, 0, NULL, math);
    expect(SEGMENT_sentence, math, 0, 0, NULL,
           "So \\[ x = 1.\n\n y = 2. \\] Then $a! B$ holds. |End.");
    expect(SEGMENT_marker, "a `b Step c` Step d", 0, 0, "Step", "a `b Step c` |Step d");
    expect(SEGMENT_marker, "It is `3. Wait, 4.` Hmm. Wait, 5.", 0, 0, NULL,
           "It is `3. Wait, 4.` Hmm. |Wait, 5.");
}

/* max_bytes goes before all else, but outside of a fence if there is a place. */
static void
long_code_is_cut_only_where_it_must_be(void **state)
{
    (void)state;
    expect(SEGMENT_paragraph, "The sum of it is $a + b + c + d$ here.", 0, 20, NULL,
           "The sum of it is |$a + b + c + d$ |here.");
    expect(SEGMENT_paragraph, "```\n0123456789\n0123456789\n```\nx", 0, 20, NULL,
           "```\n0123456789\n|0123456789\n```\nx");
    expect(SEGMENT_paragraph, "ab `0123456789012345678901234567890` c", 0, 20, NULL,
           "ab |`0123456789012345678|901234567890` c");
}

static void
intact_can_be_switched_off(void **state)
{
    struct segment s;
    struct error   e = {0};
    struct buffer  ends = {0};

    (void)state;
    assert_int_equal(segment_init(&s, SEGMENT_paragraph, 0, NULL, 0, 0, &e), 0);
    assert_true(s.intact);
    s.intact = false;
    assert_int_equal(segment_cut(&s, span_text("$$a\n\nb$$"), &ends, &e), 0);
    assert_int_equal(ends.length, 2 * sizeof(uint64_t));
    buffer_free(&ends);
    segment_fini(&s);
}

/* Much of what makes joins and cuts look back. */
static void
hostile_text_takes_bounded_time(void **state)
{
    static const char *const units[] = {"\n", " ", "\n ", "a", "$", "`", "\\begin{a}", ". ", "```\n",
                                        "a.\n\n", "\n>", "(Mr. "};
    static const struct {
        int64_t min, max;
    } bounds[] = {{0, 0}, {0, 16}, {100, 200}, {1000000, 0}};

    (void)state;
    for (size_t k = 0; k < sizeof(units) / sizeof(units[0]); k++)
        for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++)
            for (int method = SEGMENT_line; method <= SEGMENT_marker; method++) {
                struct buffer  text = {0}, ends = {0};
                struct segment s;
                struct error   e = {0};
                clock_t        start = clock();

                buffer_text(&text, "x");
                while (text.length < 60000)
                    buffer_text(&text, units[k]);
                buffer_text(&text, "y");
                assert_int_equal(segment_init(&s, (enum segment_method)method, 0, NULL,
                                              bounds[b].min, bounds[b].max, &e), 0);
                assert_int_equal(segment_cut(&s, buffer_span(&text), &ends, &e), 0);
                assert_int_equal(((const uint64_t *)(const void *)(ends.at + ends.length))[-1],
                                 text.length);
                if ((double)(clock() - start) / CLOCKS_PER_SEC > 1.5)
                    fail_msg("'%s', method %d, max %lld took too long", units[k], method,
                             (long long)bounds[b].max);
                segment_fini(&s);
                buffer_free(&text);
                buffer_free(&ends);
            }
}

static void
bad_patterns_are_refused_with_their_place(void **state)
{
    struct segment s;
    struct error   e = {0};
    const char    *patterns[] = {"ok", "(a"};

    (void)state;
    assert_int_equal(segment_init(&s, SEGMENT_marker, 2, patterns, 0, 0, &e), ERROR_topology);
    assert_non_null(strstr(e.text, "pattern 2, '(a'"));
    assert_non_null(strstr(e.text, "offset 2"));
}

static void
a_pattern_that_backtracks_for_ever_gives_up(void **state)
{
    struct segment s;
    struct error   e = {0};
    struct buffer  ends = {0};
    const char    *pattern = "(a+)+(a+)+(a+)+$";
    char           text[4000];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = 'b';
    assert_int_equal(segment_init(&s, SEGMENT_marker, 1, &pattern, 0, 0, &e), 0);
    assert_int_equal(segment_cut(&s, span_of(text, sizeof(text)), &ends, &e), ERROR_limit);
    assert_int_equal(segment_cut(&s, span_of("\xff\xfe", 2), &ends, &e), ERROR_input);
    segment_fini(&s);
    buffer_free(&ends);
}

/* Random text by every method with random bounds: steps tile it, are not blank unless all is, and
 * cut no character. */
static void
every_method_tiles_any_text(void **state)
{
    static const char *const parts[] = {"a",       " ",   "\n",   ".",  "é",    "漢", "🙂",
                                        "Step 1:", "3.5", "\r\n", "! ", "\n\n", "B",
                                        "$",       "`",   "\n```\n", "\\[", "\\]", "Wait, "};
    const char              *pattern = "Step|\\.";
    uint64_t                 x = 88172645463325252ull;

    (void)state;
    for (int round = 0; round < 4000; round++) {
        struct buffer text = {0}, ends = {0};
        struct error  e = {0};
        struct segment s;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        for (unsigned k = 0; k < x % 60; k++)
            buffer_text(&text,
                        parts[(x >> (k % 50)) * (k + 7) % (sizeof(parts) / sizeof(parts[0]))]);
        enum segment_method method = (enum segment_method)(x >> 40 & 3);
        assert_int_equal(segment_init(&s, method, method == SEGMENT_marker && (x >> 50 & 1), &pattern,
                                      (int64_t)(x >> 20 & 15),
                                      x >> 30 & 1 ? 16 + (int64_t)(x >> 31 & 15) : 0, &e),
                         0);
        assert_int_equal(segment_cut(&s, buffer_span(&text), &ends, &e), 0);
        const uint64_t *at = (const uint64_t *)(const void *)ends.at;
        size_t          count = ends.length / sizeof(uint64_t);
        uint64_t        from = 0;
        for (size_t i = 0; i < count; i++) {
            assert_true(at[i] > from);
            assert_true(at[i] == text.length || ((unsigned char)text.at[at[i]] & 0xc0) != 0x80);
            from = at[i];
        }
        assert_int_equal(from, text.length);
        segment_fini(&s);
        buffer_free(&ends);
        buffer_free(&text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_after_line_feeds),
        cmocka_unit_test(paragraphs_end_after_blank_lines),
        cmocka_unit_test(sentences_end_where_a_new_one_begins),
        cmocka_unit_test(markers_begin_steps),
        cmocka_unit_test(short_steps_are_joined_and_long_ones_cut),
        cmocka_unit_test(openers_begin_steps_without_patterns),
        cmocka_unit_test(code_and_formulas_stay_in_one_step),
        cmocka_unit_test(long_code_is_cut_only_where_it_must_be),
        cmocka_unit_test(intact_can_be_switched_off),
        cmocka_unit_test(hostile_text_takes_bounded_time),
        cmocka_unit_test(bad_patterns_are_refused_with_their_place),
        cmocka_unit_test(a_pattern_that_backtracks_for_ever_gives_up),
        cmocka_unit_test(every_method_tiles_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
