/* verbatim: what is code or a formula and what only looks like it; hostile text in linear time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nodes/segmenter/verbatim.h"

/* TEXT with its parts in < >. */
static void
expect(const char *text, const char *want)
{
    struct verbatim v = {0};
    struct buffer shown = {0};
    size_t at = 0;

    verbatim_find(&v, span_text(text));
    for (size_t i = 0; i < v.count; i++) {
        assert_true(v.at[i].start >= at && v.at[i].end > v.at[i].start);
        buffer_add(&shown, text + at, v.at[i].start - at);
        buffer_text(&shown, "<");
        buffer_add(&shown, text + v.at[i].start, v.at[i].end - v.at[i].start);
        buffer_text(&shown, ">");
        at = v.at[i].end;
    }
    buffer_text(&shown, text + at);
    if (!span_is(buffer_span(&shown), want))
        fail_msg("'%.*s', not '%s'", (int)shown.length, shown.at, want);
    buffer_free(&shown);
    verbatim_free(&v);
}

static void
fences_run_to_their_like(void **state)
{
    (void)state;
    expect("a\n```py\nx\n\ny\n```\nb", "a\n<```py\nx\n\ny\n```>\nb");
    expect("```\nx\n````  \nb", "<```\nx\n````  >\nb");
    expect("````\n```\n````\nb", "<````\n```\n````>\nb");
    expect("~~~\n```\n~~~\nb", "<~~~\n```\n~~~>\nb");
    expect("```\nx\n``` y\nz", "<```\nx\n``` y\nz>"); /* no end: to the end of the text */
    expect(" - a\n   ```\n   x\n   ```\n - b", " - a\n<   ```\n   x\n   ```>\n - b");
    expect("``` a`b\nc", "``` a`b\nc"); /* a ` in the line: no fence, and no run of three follows */
    expect("```\n", "<```\n>");
}

static void
inline_code_is_in_one_paragraph(void **state)
{
    (void)state;
    expect("a `b. c` d", "a <`b. c`> d");
    expect("a ``b ` c`` d", "a <``b ` c``> d");
    expect("a `b\nc` d", "a <`b\nc`> d");
    expect("a `b\n\nc` d", "a `b\n\nc` d");
    expect("a \\`b` d", "a \\`b` d");
    expect("`$x` $", "<`$x`> $");
}

static void
formulas_close_as_they_open(void **state)
{
    (void)state;
    expect("so $x = 1.5. y$ is", "so <$x = 1.5. y$> is");
    expect("$5 and $10, or $20.", "$5 and $10, or $20.");
    expect("it costs $5 and $x$ is", "it costs $5 and <$x$> is");
    expect("\\$5 $a$", "\\$5 <$a$>");
    expect("$$a\n\nb$$ c", "<$$a\n\nb$$> c");
    expect("$$a $b$", "$$a <$b$>");
    expect("$a\n\nb$", "$a\n\nb$");
    expect("\\[ a.\n\n b \\] c", "<\\[ a.\n\n b \\]> c");
    expect("\\[ a \\\\[2pt] b \\] c", "<\\[ a \\\\[2pt] b \\]> c");
    expect("f \\(x. y\\) g", "f <\\(x. y\\)> g");
    expect("f \\(x.\n\n y\\) g", "f \\(x.\n\n y\\) g");
    expect("\\\\(a\\) \\(", "\\\\(a\\) \\(");
}

static void
environments_hold_others(void **state)
{
    (void)state;
    expect("a \\begin{align*}x\n\ny\\end{align*} b", "a <\\begin{align*}x\n\ny\\end{align*}> b");
    expect("\\begin{a}\\begin{b}\\end{b}\\end{a}.", "<\\begin{a}\\begin{b}\\end{b}\\end{a}>.");
    expect("\\begin{a}\\begin{a}\\end{a} z", "\\begin{a}<\\begin{a}\\end{a}> z");
    expect("\\begin{a} x \\end{b} y", "\\begin{a} x \\end{b} y");
    expect("\\begin{a} $x$ `c` \\end{a} y", "<\\begin{a} $x$ `c` \\end{a}> y");
    expect("\\begin{} \\begin \\end{", "\\begin{} \\begin \\end{");
    expect("\\[ \\begin{a} \\] \\end{a}", "<\\[ \\begin{a} \\]> \\end{a}");
}

/* A million bytes of what is opened and never closed. */
static void
hostile_text_takes_linear_time(void **state)
{
    static const char *const units[] = {"$a ", "\\(", "\\[", "`a ", "``a `", "$$a\\", "\\begin{a}",
                                        "\\begin{a}\\begin{b}\\end{c}", "\n```x`\n", "~~~\n\n ", "\n>",
                                        "\\begin{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "$a$1", "\n$a",
                                        "` `` ``` ```` ", "\\\\[", " \n"};
    struct verbatim v = {0};

    (void)state;
    for (size_t k = 0; k < sizeof(units) / sizeof(units[0]); k++) {
        struct buffer text = {0};
        clock_t start;

        while (text.length < 1000000)
            buffer_text(&text, units[k]);
        start = clock();
        verbatim_find(&v, buffer_span(&text));
        if ((double)(clock() - start) / CLOCKS_PER_SEC > 2)
            fail_msg("a megabyte of '%s' took too long", units[k]);
        buffer_free(&text);
    }
    verbatim_free(&v);
}

static void
a_cut_at_an_edge_is_outside(void **state)
{
    struct verbatim v = {0};

    (void)state;
    verbatim_find(&v, span_text("a $xy$ b `c`"));
    for (size_t i = 0; i <= 12; i++)
        assert_int_equal(verbatim_holds(&v, i), (i > 2 && i < 6) || (i > 9 && i < 12));
    verbatim_free(&v);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fences_run_to_their_like),
        cmocka_unit_test(inline_code_is_in_one_paragraph),
        cmocka_unit_test(formulas_close_as_they_open),
        cmocka_unit_test(environments_hold_others),
        cmocka_unit_test(hostile_text_takes_linear_time),
        cmocka_unit_test(a_cut_at_an_edge_is_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
