/* Patterns: what is refused by name, what a translation matches, the walk with empty matches. */
#include "kernels/pattern.h"

#include "kernels/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void
refused(const char *pattern, const char *words)
{
    struct error e = {0};

    if (pattern_regex(pattern, &e))
        fail_msg("accepted: %s", pattern);
    if (!strstr(e.text, words))
        fail_msg("%s: '%s' lacks '%s'", pattern, e.text, words);
}

static void
what_pcre2_would_read_otherwise_is_refused(void **state)
{
    (void)state;
    refused("[[:alpha:]]", "'[:'");
    refused("[a[b]", "not closed");
    refused("[a[\\p{Greek}]]", "'\\p{Greek}'");
    refused("[b-a&&c]", "ends before");
    refused("[[[[[[[[[[a]]]]]]]]]]", "too deep");
    refused("[a[]]", "empty");
    refused("[a&&\\q]", "'\\q'");
    refused("[]a]", "empty class");
    refused("[\\b]", "'\\b'");
    refused("\\R", "'\\R'");
    refused("\\v", "'\\v'");
    refused("a\\Gb", "'\\G'");
    refused("\\k<a>", "'\\k'");
    refused("(?s)a", "'(?s'");
    refused("(*UTF8)a", "'(*U'");
    refused("(?{x})", "'(?{'");
    refused("(?~ab)", "'(?~'");
    refused("(?(1)a|b)", "'(?('");
    refused("(?R)", "'(?R'");
    refused("a{1,3}+", "'}+'");
    refused("\\pL", "in braces");
    refused("\\p{}", "in braces");
    refused("\\p{Odd}", "pattern");
    refused("\\u12", "four digits");
    refused("(", "pattern");
    refused("a\\", "pattern");
    refused("(?", "'(?'");
}

/* WORD, COUNT times, between BEFORE and AFTER. */
static void
refused_repeated(const char *before, const char *word, int count, const char *after,
                 const char *words)
{
    struct buffer b = {0};

    buffer_text(&b, before);
    for (int i = 0; i < count; i++)
        buffer_text(&b, word);
    buffer_text(&b, after);
    buffer_add(&b, "", 1);
    refused(b.at, words);
    buffer_free(&b);
}

/* Each escape may stand for hundreds of ranges: what a short file asks for is bounded before it is
 * computed. */
static void
a_pattern_that_costs_too_much_is_refused(void **state)
{
    (void)state;
    refused_repeated("", "\\b", 100000, "", "at most 8192");
    refused_repeated("[[", "\\w", 20000, "]]", "at most 8192");
    refused_repeated("", "\\b", 4000, "", "written as ranges");
    refused_repeated("", "\\w", 4000, "", "written as ranges");
}

/* The first match of PATTERN in TEXT is WANT; NULL: none. */
static void
matches(const char *pattern, const char *text, const char *want)
{
    struct error e = {0};
    struct pattern *p = pattern_regex(pattern, &e);
    struct pattern_walk w = PATTERN_WALK;
    int found;

    if (!p)
        fail_msg("%s: %s", pattern, e.text);
    found = pattern_next(p, span_text(text), &w, &e);
    if (found != (want != NULL) ||
        (found && !span_is(span_of(text + w.start, w.end - w.start), want)))
        fail_msg("%s in '%s': %.*s", pattern, text, (int)(w.end - w.start), text + w.start);
    pattern_free(p);
}

static void
a_translation_means_what_the_reference_means(void **state)
{
    (void)state;
    matches("\\s+", "a\xc2\x85\xe3\x80\x80.", "\xc2\x85\xe3\x80\x80");
    matches("\\s", "\xe1\xa0\x8e", NULL); /* U+180E is none since Unicode 6.3 */
    matches("[^\\s]+", " ab ", "ab");
    matches("[\\S]+", " ab ", "ab");
    matches("\\d+", "x\xd9\xa3\xef\xbc\x91.", "\xd9\xa3\xef\xbc\x91");
    matches("[^\\D]+", "x12", "12");
    matches("\\h+", "xyzbeef", "beef");
    matches("[^\\H]+", "xyzbeef", "beef");
    matches("\\w+", "-a\xc2\xbd-", "a\xc2\xbd");         /* one half is a word character ... */
    matches("[\\w]+", "-a\xc2\xbd-", "a");               /* ... but not in brackets */
    matches("\\p{Lu}", "a\xea\x9f\x9c", "\xea\x9f\x9c"); /* U+A7DC, of Unicode 16 */
    matches("\\p{Mc}", "\xf0\x91\x9c\x9e", "\xf0\x91\x9c\x9e"); /* U+1171E, ... */
    matches("\\p{Mn}", "\xf0\x91\x9c\x9e", NULL);               /* ... Mn until Unicode 14 */
    matches("\\p{Han}+", "a\xf0\xae\xaf\xb0\xe4\xb8\x80",
            "\xf0\xae\xaf\xb0\xe4\xb8\x80"); /* U+2EBF0 */
    matches("\\P{L}+", "ab12c", "12");
    matches("[^\\P{L}b]+", "12bac", "ac");
    matches("\\p{^L}+", "ab12c", "12");
    matches("a{,2}b", "caab", "aab");
    matches("\\u0041", "xA", "A");
    matches("(?i:k)", "\xe2\x84\xaa", "\xe2\x84\xaa"); /* the Kelvin sign */
    matches("^b$", "a\nb\nc", "b");
    matches("a.", "a\nab", "ab");
    matches("(?<x>a)(?>b)(?=c)(?<!b)c|(?:d)(?!e)", "abd", "d");
    matches("(?ix: A b )", "aB", "aB");
    matches("(?m:a.b)", "a\nb", "a\nb");
    matches("(?i-m:A.B)", "a\nb", NULL);
    matches("\\b\\w+\\b", " a\xcc\x81\xc2\xbd ", "a\xcc\x81\xc2\xbd");
    matches("a\\B.", "a ab", "ab");
    matches("[\\w&&[^a-y]]+", "abz_1c", "z_1");
    matches("[^\\w&&[^a]]+", "bcaa-d", "aa-");
    matches("[a[0-9][\\n\\x{41}-C]]+", "z1aB\n", "1aB\n");
    matches("[\\p{L}&&[^\\p{Han}]]+",
            "\xe4\xb8\x80"
            "ab",
            "ab");
    matches("[a&&b]", "ab", NULL);
}

static void
walk(struct pattern *p, const char *text, const size_t (*want)[2], int count)
{
    struct pattern_walk w = PATTERN_WALK;
    struct error e = {0};

    assert_non_null(p);
    for (int i = 0; i < count; i++) {
        assert_int_equal(pattern_next(p, span_text(text), &w, &e), 1);
        assert_int_equal(w.start, want[i][0]);
        assert_int_equal(w.end, want[i][1]);
    }
    assert_int_equal(pattern_next(p, span_text(text), &w, &e), 0);
    pattern_free(p);
}

static void
matches_follow_each_other(void **state)
{
    struct error e = {0};

    (void)state;
    /* an empty match counts, but not right behind another match */
    walk(pattern_regex("x*", &e), "axxb", (size_t[][2]){{0, 0}, {1, 3}, {4, 4}}, 3);
    walk(pattern_regex("x*", &e), "\xc3\xa9x", (size_t[][2]){{0, 0}, {2, 3}}, 2);
    walk(pattern_literal(span_text("aa"), &e), "aaaab", (size_t[][2]){{0, 2}, {2, 4}}, 2);
    walk(pattern_flag(UNICODE_numeric), "a1\xc2\xbd", (size_t[][2]){{1, 2}, {2, 4}}, 2);
    walk(pattern_space(), "a \xc2\xa0", (size_t[][2]){{1, 2}, {2, 4}}, 2);
    walk(pattern_regex("a", &e), "", NULL, 0);
    assert_null(pattern_literal(span_text(""), &e));
    assert_non_null(strstr(e.text, "empty string"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_pcre2_would_read_otherwise_is_refused),
        cmocka_unit_test(a_pattern_that_costs_too_much_is_refused),
        cmocka_unit_test(a_translation_means_what_the_reference_means),
        cmocka_unit_test(matches_follow_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
