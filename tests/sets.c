/* Helpers of the kernel tests. */
#include "tests/sets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/isa.h"
#include "kernels/random.h"

int
sets_run(int (*run)(void))
{
    static const char *const sets[] = {"avx512", "avx2", "scalar"};
    int failed = 0;

    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (isa_use(sets[i]) != 0) {
            printf("ok - %s # SKIP this machine lacks it\n", sets[i]);
            continue;
        }
        failed += run();
    }
    return failed;
}

float *
sets_floats(int64_t count, uint64_t seed, double scale)
{
    float *values = xarray((size_t)count + 1, sizeof *values);

    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(scale * (2.0 * random_unit(seed, RANDOM_test, (uint64_t)i) - 1.0));
    return values;
}

double *
sets_doubles(int64_t count, const float *values)
{
    double *wide = xarray((size_t)count + 1, sizeof *wide);

    for (int64_t i = 0; i < count; i++)
        wide[i] = (double)values[i];
    return wide;
}

void
sets_near(const char *what, int64_t count, const float *values, const double *wanted,
          double tolerance)
{
    double largest = 0;

    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(wanted[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)values[i] - wanted[i]) <= tolerance * largest + 1e-12))
            fail_msg("%s[%lld]: %.9g, not %.9g (largest %.3g, %s)", what, (long long)i,
                     (double)values[i], wanted[i], largest, isa_now()->name);
}

void
sets_same(const char *what, int64_t count, const float *a, const float *b)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s[%lld]: %.9g and %.9g differ (%s)", what, (long long)i, (double)a[i],
                     (double)b[i], isa_now()->name);
}

void
sets_slope(double (*f)(void *about), void *about, int64_t count, double *x, double *df)
{
    for (int64_t i = 0; i < count; i++) {
        double kept = x[i], step = 1e-5 * fmax(1.0, fabs(kept)), above, below;

        x[i] = kept + step;
        above = f(about);
        x[i] = kept - step;
        below = f(about);
        x[i] = kept;
        df[i] = (above - below) / (2 * step);
    }
}
