/* choose: the choosers against numbers made by tools/golden_choose.py, the moments of Beta draws,
 * the weights' lack of bias, and that nothing but the records decides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "commands/choose.h"

#define PROMPTS 6
#define SAMPLES 8
#define ROUND   4

/* As in the script: right answers in the rounds that sampled each prompt; -1: did not. */
static const int past[PROMPTS][ROUND - 1] = {
    {0, 0, 0}, {8, 8, -1}, {4, -1, 4}, {2, -1, -1}, {-1, -1, -1}, {-1, 7, 8},
};

static void
remember_past(const struct choose_how *how, struct choose_memory *memory)
{
    memset(memory, 0, PROMPTS * sizeof(*memory));
    for (int r = 0; r < ROUND - 1; r++) {
        struct choose_draw draws[PROMPTS] = {0};
        int64_t correct[PROMPTS] = {0};

        for (int i = 0; i < PROMPTS; i++) {
            draws[i].chosen = past[i][r] >= 0;
            correct[i] = draws[i].chosen ? past[i][r] : 0;
        }
        choose_remember(how, draws, correct, SAMPLES, memory, PROMPTS);
    }
}

static struct choose_how
how_of(const char *name, uint64_t seed)
{
    struct choose_how how = {.seed = seed, .count = 3, .target = 0.5};
    char word[16];
    int rate = 0;

    if (sscanf(name, "%4s%d", word, &rate) == 2) { /* "dppo5" */
        how.rate = rate / 10.0;
        how.count = 0;
        name = word;
    }
    how.method = (enum choose_method)choose_method_of(name);
    how.decay = how.method == CHOOSE_vade ? 0.2 : 0.5;
    return how;
}

static void
golden_choices(void **state)
{
    FILE *f = fopen("tests/golden/choose.txt", "r");
    char name[16], chosen[16];
    unsigned long long seed;
    int lines = 0;

    (void)state;
    assert_non_null(f);
    while (fscanf(f, "%15s %llu %15s", name, &seed, chosen) == 3) {
        struct choose_how how = how_of(name, seed);
        struct choose_memory memory[PROMPTS];
        struct choose_draw draws[PROMPTS];
        double values[PROMPTS], weights[PROMPTS];

        for (int i = 0; i < PROMPTS; i++)
            assert_int_equal(fscanf(f, "%lf", &values[i]), 1);
        for (int i = 0; i < PROMPTS; i++)
            assert_int_equal(fscanf(f, "%lf", &weights[i]), 1);
        remember_past(&how, memory);
        choose_draw(&how, ROUND, memory, PROMPTS, draws);
        for (int i = 0; i < PROMPTS; i++) {
            if (fabs(draws[i].value - values[i]) > 1e-12 ||
                draws[i].chosen != (chosen[i] == '1') ||
                (draws[i].chosen && fabs(draws[i].weight - weights[i]) > 1e-12 * weights[i]))
                fail_msg("%s, seed %llu, prompt %d: %.17g chosen %d weight %.17g, not %.17g %c "
                         "%.17g", name, seed, i, draws[i].value, draws[i].chosen, draws[i].weight,
                         values[i], chosen[i], weights[i]);
        }
        lines++;
    }
    fclose(f);
    assert_int_equal(lines, 20);
}

static void
beta_moments(void **state)
{
    static const double shapes[][2] = {{1, 1}, {1, 9}, {9, 1}, {2.5, 3.25}, {1000, 3}, {40, 60}};
    enum { N = 40000 };

    (void)state;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
        double a = shapes[s][0], b = shapes[s][1], sum = 0, squares = 0;
        double mean = a / (a + b), variance = a * b / ((a + b) * (a + b) * (a + b + 1)), got;

        for (int64_t i = 0; i < N; i++) {
            double p = choose_beta(5, 1 + i % 7, i, a, b);

            assert_true(p >= 0 && p <= 1);
            sum += p;
            squares += (p - mean) * (p - mean);
        }
        got = sum / N;
        /* Five standard errors; of the variance with a kurtosis of at most 9. */
        if (fabs(got - mean) > 5 * sqrt(variance / N) ||
            fabs(squares / N - variance) > 5 * variance * sqrt(8.0 / N))
            fail_msg("Beta(%g, %g): mean %g, not %g; variance %g, not %g", a, b, got, mean,
                     squares / N, variance);
    }
}

/* Drawn again, with other prompts beside or after it, a prompt's number is the same; another round
 * or seed gives another. */
static void
draws_depend_on_records_only(void **state)
{
    struct choose_how how = {.method = CHOOSE_vade, .seed = 9, .count = 2, .decay = 0.2};
    struct choose_memory memory[PROMPTS];
    struct choose_draw one[PROMPTS], two[PROMPTS];

    (void)state;
    remember_past(&how, memory);
    choose_draw(&how, 2, memory, PROMPTS, one);
    choose_draw(&how, 2, memory, PROMPTS, two);
    assert_memory_equal(one, two, sizeof(one));
    memory[5].right += 3;
    choose_draw(&how, 2, memory, PROMPTS - 2, two);
    for (int i = 0; i < PROMPTS - 2; i++)
        assert_true(one[i].value == two[i].value);
    choose_draw(&how, 3, memory, PROMPTS, two);
    for (int i = 0; i < PROMPTS; i++)
        assert_true(one[i].value != two[i].value);
    how.seed = 10;
    choose_draw(&how, 2, memory, PROMPTS, two);
    for (int i = 0; i < PROMPTS; i++)
        assert_true(one[i].value != two[i].value);
}

static void
uniform_is_uniform(void **state)
{
    struct choose_how how = {.method = CHOOSE_uniform, .seed = 3, .count = 2};
    struct choose_memory memory[PROMPTS] = {0};
    int64_t chosen[PROMPTS] = {0};
    enum { N = 6000 };

    (void)state;
    for (int64_t r = 1; r <= N; r++) {
        struct choose_draw draws[PROMPTS];
        int taken = 0;

        choose_draw(&how, r, memory, PROMPTS, draws);
        for (int i = 0; i < PROMPTS; i++) {
            taken += draws[i].chosen;
            chosen[i] += draws[i].chosen;
            assert_true(draws[i].weight == 1);
        }
        assert_int_equal(taken, 2);
    }
    for (int i = 0; i < PROMPTS; i++) /* 2000 each, standard deviation 37 */
        assert_true(chosen[i] > 1815 && chosen[i] < 2185);
}

/* The weighted mean over what was kept estimates the mean over the pool; the rate is the one asked
 * for; and no weight is above its bound. */
static void
pruning_has_no_bias(void **state)
{
    enum { N = 20000, COUNT = 40 };
    struct choose_how how = {.method = CHOOSE_dppo, .seed = 4, .rate = 0.6};
    struct choose_memory memory[COUNT] = {0};
    double truth = 0, sum = 0, squares = 0, kept_sum = 0, mean;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        double p = i / (double)COUNT;

        memory[i] = (struct choose_memory){.advantage = 2 * p * (1 - p), .rounds = 1};
        truth += i * i / (double)COUNT;
    }
    for (int64_t r = 0; r < N; r++) {
        struct choose_draw draws[COUNT];
        double estimate = 0;
        int kept = 0;

        choose_draw(&how, 1 + r, memory, COUNT, draws);
        for (int i = 0; i < COUNT; i++)
            if (draws[i].chosen) {
                assert_true(draws[i].weight <= 1 / (1 - CHOOSE_PRUNE_MOST) + 1e-9);
                estimate += draws[i].weight * i * i;
                kept++;
            }
        estimate /= kept;
        kept_sum += kept;
        sum += estimate;
        squares += estimate * estimate;
    }
    mean = sum / N;
    if (fabs(mean - truth) > 4 * sqrt((squares / N - mean * mean) / N))
        fail_msg("the estimate is %g, the truth %g", mean, truth);
    assert_true(fabs(kept_sum / N / COUNT - 0.4) < 0.002); /* seven standard errors */
}

static void
a_round_has_a_prompt(void **state)
{
    struct choose_how how = {.method = CHOOSE_dppo, .rate = CHOOSE_RATE_MAX};
    struct choose_memory memory[2] = {{.rounds = 1}, {.rounds = 2}};
    struct choose_draw draws[2];

    (void)state;
    for (how.seed = 0; how.seed < 2000; how.seed++) {
        choose_draw(&how, 2, memory, 2, draws);
        assert_true(draws[0].chosen || draws[1].chosen);
    }
    how = (struct choose_how){.method = CHOOSE_uniform, .count = 7};
    choose_draw(&how, 1, memory, 2, draws); /* fewer than asked for */
    assert_true(draws[0].chosen && draws[1].chosen);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_choices),
        cmocka_unit_test(beta_moments),
        cmocka_unit_test(draws_depend_on_records_only),
        cmocka_unit_test(uniform_is_uniform),
        cmocka_unit_test(pruning_has_no_bias),
        cmocka_unit_test(a_round_has_a_prompt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
