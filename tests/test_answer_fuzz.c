/* Random answers against the math verifier: nothing may crash, and a verdict asked for twice is the
 * same. A third of the strings is grown from a grammar of answers, a third is cut and glued from
 * the pieces that such a grammar is made of, a third is bytes. 20 000 here; `make fuzz-verifier`
 * runs ten million under sanitizers (ANSWER_FUZZ, ANSWER_FUZZ_SEED). */
#include "kernels/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/random.h"

#define COUNT      20000
#define TEXT_MAX   2000
#define SECONDS_MAX 5.0 /* of one verdict, under sanitizers and on a busy machine */

struct draw {
    uint64_t seed, at;
    char text[TEXT_MAX];
    size_t length;
};

static uint64_t
below(struct draw *d, uint64_t limit)
{
    return random_bits(d->seed, RANDOM_test, d->at++) % limit;
}

static void
add(struct draw *d, const char *text)
{
    size_t length = strlen(text);

    if (d->length + length > TEXT_MAX)
        return;
    memcpy(d->text + d->length, text, length);
    d->length += length;
}

static const char *
one_of(struct draw *d, const char *const *words, size_t count)
{
    return words[below(d, count)];
}

#define ONE_OF(d, words) one_of(d, words, sizeof(words) / sizeof((words)[0]))

static void
number(struct draw *d)
{
    static const char *const odd[] = {"0", "1,000", "0.\\overline{3}", "1e5", "10^{-3}", ".5", "1{,}000",
                                      "99999999999999999999999", "0.1(6)", "\u00bd", "1 000", "5000!"};
    char text[32];

    if (below(d, 6) == 0) {
        add(d, ONE_OF(d, odd));
        return;
    }
    snprintf(text, sizeof(text), "%d", (int)below(d, 200) - 50);
    add(d, text);
    if (below(d, 5) == 0)
        add(d, below(d, 2) ? ".25" : "0.");
}

static void expression(struct draw *d, int depth);

static void
between(struct draw *d, const char *open, int depth, const char *close)
{
    add(d, open);
    expression(d, depth - 1);
    add(d, close);
}

static void
primary(struct draw *d, int depth)
{
    static const char *const names[] = {"x", "y", "\\pi", "e", "i", "a_1", "\\theta", "n", "ab", "\\infty"};
    static const char *const calls[] = {"\\sin", "\\cos", "\\tan", "\\ln", "\\log_2", "\\exp", "f", "\\arcsin",
                                        "\\sqrt", "\\lfloor", "\\gcd", "\\max", "\\sinh", "\\sin^{-1}"};

    switch (depth <= 0 ? below(d, 2) : below(d, 12)) {
    case 0:
    case 2:
    case 3: number(d); break;
    case 1: add(d, ONE_OF(d, names)); break;
    case 4:
        between(d, "\\frac{", depth, "}{");
        expression(d, depth - 1);
        add(d, "}");
        break;
    case 5: between(d, "\\sqrt{", depth, "}"); break;
    case 6: between(d, "\\sqrt[3]{", depth, "}"); break;
    case 7: between(d, "\\left(", depth, "\\right)"); break;
    case 8:
        add(d, ONE_OF(d, calls));
        between(d, "(", depth, ")");
        break;
    case 9: between(d, "|", depth, "|"); break;
    case 10:
        primary(d, depth - 1);
        between(d, "^{", depth, "}");
        break;
    default:
        primary(d, depth - 1);
        add(d, below(d, 2) ? "!" : "^\\circ");
        break;
    }
}

static void
expression(struct draw *d, int depth)
{
    static const char *const between_them[] = {"+", "-", "\\cdot ", "/", "", " ", "\\pm ", "\\times ", "^", ":",
                                               "\\bmod "};

    if (below(d, 5) == 0)
        add(d, "-");
    primary(d, depth);
    for (uint64_t more = below(d, 3); more > 0; more--) {
        add(d, ONE_OF(d, between_them));
        primary(d, depth);
    }
}

static void
shape(struct draw *d)
{
    static const char *const opens[] = {"(", "[", "\\{", "", "]", "\\left[", "{"};
    static const char *const closes[] = {")", "]", "\\}", "", "[", "\\right)", "}"};
    static const char *const joins[] = {",", ", ", ";", " \\text{ or } ", "=", "<", "\\le ", "\\approx ", "\\in ",
                                        "\\cup ", "\\cap ", "\\setminus ", "&", "\\\\", "\\neq "};
    static const char *const tails[] = {"", "", "", "\\%", "\\text{ cm}", " dollars", "^\\circ", "\\text{ km/h}", "_2",
                                        " m^2"};
    bool matrix = below(d, 12) == 0;

    add(d, matrix ? "\\begin{pmatrix}" : ONE_OF(d, opens));
    expression(d, (int)below(d, 4));
    for (uint64_t more = below(d, 4); more > 0; more--) {
        add(d, ONE_OF(d, joins));
        expression(d, (int)below(d, 3));
    }
    add(d, matrix ? "\\end{pmatrix}" : ONE_OF(d, closes));
    add(d, ONE_OF(d, tails));
}

static void
pieces(struct draw *d)
{
    static const char *const words[] = {
        "\\frac", "{", "}", "(", ")", "[", "]", "\\{", "\\}", "|", "^", "_", "\\sqrt", "1", "2", "12", ".", ",", "x",
        "\\pi", "+", "-", "\\pm", "=", "<", "\\le", "\\cup", "\\boxed{", "$", "$$", "\\[", "\\]", "####",
        "The answer is ", "answer: ", "\n", " ", "\\text{", "cm", "and", "\\begin{pmatrix}", "\\end{pmatrix}", "&",
        "\\\\", "\\left", "\\right", "%", "\\%", "^\\circ", "!", "\\infty", "\\mathbb{R}", "\\sin", "\\log_",
        "\u2212", "\u221a", "\u00b2", "\xff", "\xe2", "</think>", "<think>", "\\", "0.", "\\overline{", "e9", ":",
        "\\setminus", "mod", "\\binom", "(A)", "**", "'", "\\dot{", "\\in", "...", "~", "/", "*", "i", "9999",
    };

    for (uint64_t more = 1 + below(d, 24); more > 0; more--)
        add(d, ONE_OF(d, words));
}

static void
bytes(struct draw *d)
{
    d->length = below(d, 80);
    for (size_t i = 0; i < d->length; i++) {
        uint64_t bits = random_bits(d->seed, RANDOM_test, d->at++);

        d->text[i] = (char)(bits & 0x100 ? bits & 0xff : 32 + (bits & 0xff) % 95);
    }
}

static void
answer(struct draw *d, uint64_t kind)
{
    d->length = 0;
    if (kind == 2) {
        bytes(d);
        return;
    }
    if (below(d, 2))
        add(d, below(d, 4) ? "\\boxed{" : "The answer is $");
    if (kind == 0)
        shape(d);
    else
        pieces(d);
    if (below(d, 2))
        add(d, below(d, 4) ? "}" : "$.");
}

static uint64_t
number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
test_fuzz(void **state)
{
    uint64_t count = number_from("ANSWER_FUZZ", COUNT), right = 0;
    static const enum verify_mode modes[] = {VERIFY_choice, VERIFY_hendrycks, VERIFY_dapo,
                                             VERIFY_math};
    struct draw *d = xalloc(sizeof(*d)), *gold = xalloc(sizeof(*gold));
    double slowest = 0;

    (void)state;
    d->seed = gold->seed = number_from("ANSWER_FUZZ_SEED", 1);
    for (uint64_t i = 0; i < count; i++) {
        enum verify_mode mode = modes[i % 16 < 3 ? i % 16 : 3];
        struct span g, r;
        double start, took;
        int verdict;

        d->at = i << 24;
        gold->at = (i << 24) + (1 << 23);
        answer(d, i % 3);
        answer(gold, below(gold, 3));
        r = span_of(d->text, d->length);
        g = below(gold, 4) == 0 ? r : span_of(gold->text, gold->length);
        start = now();
        verdict = verify_answer(mode, r, g);
        took = now() - start;
        if (i % 8 == 0)
            assert_int_equal(verdict, verify_answer(mode, r, g));
        if (took > slowest && took > 0.05)
            printf("# %llu: %.3f s: '%.*s' for '%.*s'\n", (unsigned long long)i, took, (int)r.length, r.at,
                   (int)g.length, g.at);
        slowest = took > slowest ? took : slowest;
        right += (uint64_t)verdict;
    }
    printf("# %llu strings, %llu verdicts of right, slowest %.3f s\n", (unsigned long long)count,
           (unsigned long long)right, slowest);
    free(d);
    free(gold);
    assert_true(slowest < SECONDS_MAX);
    assert_true(right > 0 && right < count);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuzz)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
