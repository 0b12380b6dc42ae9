/* token: what is read where, and that reading ends whatever stands there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes/arithmetic/number.h"
#include "nodes/arithmetic/token.h"

/* A text as letters: n number, w word, p phrase, the sign of an operator or relation, ( ) F
 * fraction ^ % d degree L line M math . stop ? other. */
static void
spell(const char *text, char *out, size_t room)
{
    static const char letters[] = {
        [TOKEN_number] = 'n', [TOKEN_word] = 'w',     [TOKEN_phrase] = 'p', [TOKEN_open] = '(',
        [TOKEN_close] = ')',  [TOKEN_fraction] = 'F', [TOKEN_power] = '^',  [TOKEN_percent] = '%',
        [TOKEN_degree] = 'd', [TOKEN_line] = 'L',     [TOKEN_math] = 'M',   [TOKEN_stop] = '.',
        [TOKEN_other] = '?',
    };
    struct span s = span_text(text);
    struct token t;
    size_t n = 0;

    for (token_read(s, 0, &t); t.kind != TOKEN_end && n + 1 < room; token_read(s, t.end, &t))
        out[n++] = t.kind == TOKEN_operator || t.kind == TOKEN_relation ? t.sign : letters[t.kind];
    out[n] = 0;
}

static void
texts_are_taken_apart(void **state)
{
    static const char *const texts[][2] = {
        {"3 + 4 = 7", "n+n=n"},
        {"3x4", "n*n"},
        {"3 x 4 x $2", "n*n*n"},
        {"3x = 6", "?=n"},
        {"x-axis 5", "wn"},
        {"twenty-one's worth", "ww"},
        {"$1,200.50", "n"},
        {"10{,}000 + 1,2", "n+n.n"},
        {"20% of 5 \\%", "nwn"},
        {"9:30 1st 0930 1.2.3 b2 J_c", "??????"},
        {"5km 5kg 5q", "nwnw?"},
        {"1.6... bags.", "nw."},
        {"\\frac{1}{2} \\times \\text{ cups} \\cdot 3", "F(n)(n)*w*n"},
        {"\\text{ miles/hour} \\text{5 men} \\textbf{8}", "p(nw)(n)"},
        {"\\[ 5 \\] $x$ \\( \\$3 \\)", "MnMMwMMnM"},
        {"**bold** 2**3 *", "wn^n*"},
        {"a \\\\ b\n c & d", "wLwLww"},
        {"<= >= != << >> -> => == // --", "lgn....??."},
        {"5 \xe2\x89\x88 4 \xc3\x97 2 \xe2\x88\x92 1 \xc3\xb7 3", "nan*n-n/n"},
        {"5° 7€ €7 7! wow!", "ndndnn?w."},
        {"\\left(2\\right) \\, \\sqrt{4} \\unknown", "(n)?(n)?"},
        {"", ""},
    };
    char got[64];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        spell(texts[i][0], got, sizeof(got));
        if (strcmp(got, texts[i][1]) != 0)
            fail_msg("'%s' is '%s', not '%s'", texts[i][0], got, texts[i][1]);
    }
}

static void
numbers_have_their_values(void **state)
{
    static const struct {
        const char *text;
        long long numerator, denominator;
        int decimals;
        bool currency, percent;
        size_t end;
    } rows[] = {
        {"1,234,567", 1234567, 1, 0, false, false, 9},
        {"$0.50 ", 1, 2, 2, true, false, 5},
        {".125", 1, 8, 3, false, false, 4},
        {"15\\%", 15, 1, 0, false, true, 4},
        {"2.50%x", 5, 2, 2, false, true, 5},
        {"\\$3", 3, 1, 0, true, false, 3},
        {"7.", 7, 1, 0, false, false, 1},
        {"1,23", 1, 1, 0, false, false, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct number n;
        size_t end;
        assert_int_equal(number_read(span_text(rows[i].text), 0, &n, &end), NUMBER_read);
        if (n.value.numerator != rows[i].numerator || n.value.denominator != rows[i].denominator ||
            n.decimals != rows[i].decimals || n.currency != rows[i].currency ||
            n.percent != rows[i].percent || end != rows[i].end)
            fail_msg("'%s': %lld/%lld, %d decimals, end %zu", rows[i].text,
                     (long long)n.value.numerator, (long long)n.value.denominator, n.decimals, end);
    }
}

/* From every place in a hostile text a token is read that ends behind it and within the text. */
static void
reading_always_goes_on(void **state)
{
    uint64_t x = 88172645463325252ull;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        size_t length = 64;
        char *text = malloc(length);
        for (size_t i = 0; i < length; i++) {
            static const char some[] = "09.,$%\\{}text frac\xe2\x88\x92\xc3\n*x-'&_!";
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            text[i] = round % 2 ? some[x % (sizeof(some) - 1)] : (char)x;
        }
        for (size_t at = 0; at <= length; at++) {
            struct token t;
            token_read(span_of(text, length), at, &t);
            assert_true(t.start >= at && t.end <= length && t.end >= t.start);
            assert_true(t.kind == TOKEN_end || t.end > at);
            assert_true(t.end - t.start <= TOKEN_BYTES_MAX + 40);
        }
        free(text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_taken_apart),
        cmocka_unit_test(numbers_have_their_values),
        cmocka_unit_test(reading_always_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
