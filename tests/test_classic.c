/* The classic graders against the originals' verdicts (tests/golden/classic.tsv,
 * tools/golden_classic.py). */
#include "kernels/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE     "tests/golden/classic.tsv"
#define LINE_MAX  4096
#define CASES_MIN 1000

static void
new_lines(char *line)
{
    char *at;

    line[strcspn(line, "\n")] = '\0';
    while ((at = strstr(line, "<br>"))) {
        *at = '\n';
        memmove(at + 1, at + 4, strlen(at + 4) + 1);
    }
}

static void
test_golden(void **state)
{
    static const enum verify_mode modes[] = {VERIFY_hendrycks, VERIFY_dapo};
    FILE *f = fopen(TABLE, "r");
    char line[LINE_MAX];
    int cases = 0, wrong = 0, right[2] = {0};

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        char *gold = line + 4, *response;

        if (strncmp(line, "# ", 2) == 0)
            continue;
        new_lines(line);
        response = strchr(gold, '\t');
        assert_non_null(response);
        *response++ = '\0';
        for (int k = 0; k < 2; k++) {
            int verdict = verify_answer(modes[k], span_text(response), span_text(gold));

            right[k] += verdict;
            if (verdict == line[2 * k] - '0')
                continue;
            printf("# mode %d: gold '%s', response '%s': expected %c\n", k, gold, response,
                   line[2 * k]);
            wrong++;
        }
        cases++;
    }
    fclose(f);
    assert_int_equal(wrong, 0);
    assert_in_range(cases, CASES_MIN, 100000);
    assert_true(right[0] > cases / 10 && right[1] > cases / 10); /* both verdicts are met */
}

/* Long and broken strings end in a verdict. */
static void
test_hostile(void **state)
{
    static const char *const units[] = {"\\frac", "\\sqrt", "$", "\\text{", "\\boxed{", "Answer:",
                                        "answer ", "=", "a ", "{,}", "\xc3\xa9", "\xff", "\n"};
    size_t length = 1 << 14;
    char *text = xalloc(length);

    (void)state;
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        for (size_t i = 0; i < length; i++)
            text[i] = units[u][i % strlen(units[u])];
        for (size_t n = 0; n <= length; n = n < 64 ? n + 1 : n * 16) {
            struct span s = span_of(text, n);
            char boxed[128];

            (void)verify_answer(VERIFY_dapo, s, s);
            (void)verify_answer(VERIFY_hendrycks, s, s);
            snprintf(boxed, sizeof(boxed), "Answer: \\boxed{%.*s}", (int)(n < 90 ? n : 90), text);
            (void)verify_answer(VERIFY_dapo, span_text(boxed), s);
            (void)verify_answer(VERIFY_hendrycks, span_text(boxed), s);
        }
    }
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
