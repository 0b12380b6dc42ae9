/* mixture: against scikit-learn (tests/golden/mixture.txt, made by tools/golden_mixture.py), and
 * what it does with clouds that are hardly any. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nodes/learner/mixture.h"

#define POINTS_MAX 200

struct golden_case {
    int count, iterations;
    double mean_logp, points[2 * POINTS_MAX], p[POINTS_MAX];
    double parts[2][6];
};

static int
read_case(FILE *f, struct golden_case *c)
{
    if (fscanf(f, " points %d %d %lf", &c->count, &c->iterations, &c->mean_logp) != 3)
        return 0;
    assert_true(c->count <= POINTS_MAX);
    for (int i = 0; i < c->count; i++)
        assert_int_equal(
            fscanf(f, "%lf %lf %lf", &c->points[2 * i], &c->points[2 * i + 1], &c->p[i]), 3);
    for (int k = 0; k < 2; k++)
        for (int d = 0; d < 6; d++)
            assert_int_equal(fscanf(f, "%lf", &c->parts[k][d]), 1);
    return 1;
}

static void
near(const char *what, double value, double golden)
{
    if (!(fabs(value - golden) <= 1e-9))
        fail_msg("%s: %.17g, golden %.17g", what, value, golden);
}

static void
fits_are_those_of_scikit_learn(void **state)
{
    FILE *f = fopen("tests/golden/mixture.txt", "r");
    struct golden_case c;
    int cases = 0;

    (void)state;
    assert_non_null(f);
    for (; read_case(f, &c); cases++) {
        struct mixture m;
        int k;

        mixture_fit(&m, c.points, c.count);
        k = mixture_nearer(&m);
        assert_int_equal(m.iterations, c.iterations);
        near("log p", m.mean_logp, c.mean_logp);
        for (int i = 0; i < c.count; i++)
            near("posterior", mixture_posterior(&m, k, c.points + 2 * i), c.p[i]);
        for (int part = 0; part < 2; part++) {
            const struct gaussian *g = &m.part[part == 0 ? k : 1 - k];
            const double found[] = {g->weight, g->mean[0], g->mean[1], g->xx, g->xy, g->yy};

            for (int d = 0; d < 6; d++)
                near("part", found[d], c.parts[part][d]);
        }
    }
    fclose(f);
    assert_int_equal(cases, 4);
}

/* Few points, points on a line, one apart from many alike: numbers stay finite, shares in [0, 1].
 */
static void
thin_clouds_stay_finite(void **state)
{
    static const double rows[][12] = {
        {0, 0, 1, 1},
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1},
        {0, 0.5, 0.2, 0.5, 0.4, 0.5, 0.6, 0.5, 0.8, 0.5, 1, 0.5},
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
        {0, 0, 0, 1, 1, 0, 1, 1, 0.5, 0.5, 0.5, 0.5},
    };

    (void)state;
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        struct mixture m, again;
        int64_t count = r == 0 ? 2 : 6;

        mixture_fit(&m, rows[r], count);
        mixture_fit(&again, rows[r], count);
        assert_memory_equal(&m, &again, sizeof(m));
        assert_true(fabs(m.part[0].weight + m.part[1].weight - 1) < 1e-12);
        for (int64_t i = 0; i < count; i++) {
            double p = mixture_posterior(&m, mixture_nearer(&m), rows[r] + 2 * i);

            assert_true(p >= 0 && p <= 1);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_are_those_of_scikit_learn),
        cmocka_unit_test(thin_clouds_stay_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
