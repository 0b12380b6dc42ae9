/* The math verifier: the table of cases (tests/golden/answers.tsv), what must hold for any answer,
 * and the bounds. */
#include "kernels/answer/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/answer/extract.h"
#include "kernels/verify.h"

#define TABLE      "tests/golden/answers.tsv"
#define LINE_MAX   4096
#define CASES_MIN  500
#define GROUPS_MIN 30

/* One line of the table: category, verdict, gold, response. */
struct one {
    char line[LINE_MAX];
    char *category, *gold, *response;
    int expected;
};

static bool
next_case(FILE *f, struct one *c)
{
    char *at, *tab;

    do {
        if (!fgets(c->line, sizeof(c->line), f))
            return false;
    } while (strncmp(c->line, "# ", 2) == 0);
    c->line[strcspn(c->line, "\n")] = '\0';
    while ((at = strstr(c->line, "<br>"))) {
        *at = '\n';
        memmove(at + 1, at + 4, strlen(at + 4) + 1);
    }
    c->category = c->line;
    tab = strchr(c->line, '\t');
    assert_non_null(tab);
    *tab = '\0';
    c->expected = tab[1] - '0';
    c->gold = tab + 3;
    tab = strchr(c->gold, '\t');
    assert_non_null(tab);
    *tab = '\0';
    c->response = tab + 1;
    return true;
}

static int
math(const char *gold, const char *response)
{
    return verify_answer(VERIFY_math, span_text(response), span_text(gold));
}

static void
test_table(void **state)
{
    FILE *f = fopen(TABLE, "r");
    struct one *c = xalloc(sizeof(*c));
    char before[64] = "";
    int cases = 0, groups = 0, wrong = 0;

    (void)state;
    assert_non_null(f);
    while (next_case(f, c)) {
        cases++;
        if (strcmp(before, c->category) != 0)
            groups++;
        snprintf(before, sizeof(before), "%s", c->category);
        if (math(c->gold, c->response) != c->expected) {
            printf("# %s: gold '%s', response '%s': expected %d\n", c->category, c->gold,
                   c->response, c->expected);
            wrong++;
        }
    }
    fclose(f);
    free(c);
    printf("# %d cases in %d categories\n", cases, groups);
    assert_int_equal(wrong, 0);
    assert_in_range(cases, CASES_MIN, 100000);
    assert_in_range(groups, GROUPS_MIN, 1000);
}

/* Whatever is gold is right about itself, boxed or announced. */
static void
test_itself(void **state)
{
    FILE *f = fopen(TABLE, "r");
    struct one *c = xalloc(sizeof(*c));
    char *boxed = xalloc(LINE_MAX + 64);
    int wrong = 0;

    (void)state;
    assert_non_null(f);
    while (next_case(f, c)) {
        if (c->gold[0] == '\0' || strstr(c->gold, "boxed") || strstr(c->gold, "####"))
            continue;
        snprintf(boxed, LINE_MAX + 64, "Therefore \\boxed{%s} is what we wanted.", c->gold);
        if (!math(c->gold, boxed)) {
            printf("# '%s' is not itself\n", c->gold);
            wrong++;
        }
    }
    fclose(f);
    free(c);
    free(boxed);
    assert_int_equal(wrong, 0);
}

static void
check_text(const char *response, const char *expected)
{
    struct arena arena = {0};
    struct span s = answer_text(span_text(response), &arena);

    if (!expected ? s.at != NULL
                  : !s.at || s.length != strlen(expected) || memcmp(s.at, expected, s.length))
        fail_msg("'%s' gave '%.*s', expected '%s'", response, (int)s.length, s.at ? s.at : "",
                 expected ? expected : "(none)");
    arena_free(&arena);
}

static void
test_extraction(void **state)
{
    (void)state;
    check_text("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}");
    check_text("\\boxed{\\{1,2\\}}", "\\{1,2\\}");
    check_text("\\boxed{1} and \\boxed{2}", "1,2");
    check_text("\\boxed{1} and \\boxed{1}", "1");
    check_text("\\boxed{1}. It took a while, and a great many words to say so, but then I saw another: "
               "\\boxed{2}",
               "2");
    check_text("\\boxed{5", "5"); /* no box: the last number */
    check_text("", NULL);
    check_text("#### 12\n", "12");
    check_text("The answer is **$x^2$**, I think.", "$x^2$**, I think");
    check_text("we get $x$, then \\[y = 3\\]", "y = 3");
    check_text("it costs $3 and $4", "$4");
    check_text("<think>\\boxed{1}</think>", NULL);
}

/* A choice is a letter and nothing else; the mode asks for nothing more. */
static void
test_choice(void **state)
{
    (void)state;
    assert_true(verify_answer(VERIFY_choice, span_text("I choose (B)."), span_text("B")));
    assert_true(verify_answer(VERIFY_choice, span_text("\\boxed{\\text{(B) } 12}"),
                              span_text("(B)")));
    assert_false(verify_answer(VERIFY_choice, span_text("\\boxed{12}\n(B)"), span_text("B")));
    assert_false(verify_answer(VERIFY_choice, span_text("B"), span_text("12")));
    assert_false(verify_answer(VERIFY_choice, span_text("12"), span_text("12")));
    assert_false(verify_answer(VERIFY_choice, span_text(""), span_text("B")));
}

/* Bytes repeated far beyond every bound: no crash, and no time to speak of. */
static void
test_hostile(void **state)
{
    static const char *const units[] = {
        "\\boxed{", "####", "\\frac{", "(", "[", "\\{", "{", "|", "-", "+1", "1,", "9", "!", "^2",
        "^{", "\\sqrt{", "x", "x^", "sin", "\\sin ", "$", "$1", "\\[", "\\(1", "answer is ", "1/",
        "\\begin{pmatrix}", "1&", "\\\\", "_1", "%", "^\\circ", "=", "1=", "<", "\\cup", "(1,2)\\cup ",
        "\\pm", "1\\pm", "\\text{", "\\text{a}", "\xe2\x88\x92", "\xff", ".", "0.\\overline{", "e9",
        "9^", "9!^", "\\boxed{1} ", "<think>", "and ", ":", "'",
    };
    static const size_t lengths[] = {1, 2, 7, 100, 5000, 1 << 18};
    clock_t start = clock();

    (void)state;
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++)
        for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
            size_t unit = strlen(units[u]), length = lengths[k] * (k < 5 ? unit : 1);
            char *text = malloc(length + 16);

            for (size_t i = 0; i < length; i++)
                text[i] = units[u][i % unit];
            (void)verify_answer(VERIFY_math, span_of(text, length), span_text("5"));
            (void)verify_answer(VERIFY_math, span_text("\\boxed{5}"), span_of(text, length));
            (void)verify_answer(VERIFY_math, span_of(text, length), span_of(text, length));
            free(text);
        }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 60);
}

/* Every prefix of the table's responses, in memory that ends where the prefix ends. */
static void
test_prefixes(void **state)
{
    FILE *f = fopen(TABLE, "r");
    struct one *c = xalloc(sizeof(*c));

    (void)state;
    assert_non_null(f);
    while (next_case(f, c)) {
        size_t length = strlen(c->response), step = 1 + length / 24;

        for (size_t n = 0; n <= length; n += step) {
            char *exact = malloc(n ? n : 1);

            memcpy(exact, c->response, n);
            (void)verify_answer(VERIFY_math, span_of(exact, n), span_text(c->gold));
            (void)verify_answer(VERIFY_choice, span_of(exact, n), span_text("B"));
            free(exact);
        }
    }
    fclose(f);
    free(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),    cmocka_unit_test(test_itself),
        cmocka_unit_test(test_extraction), cmocka_unit_test(test_choice),
        cmocka_unit_test(test_hostile),  cmocka_unit_test(test_prefixes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
