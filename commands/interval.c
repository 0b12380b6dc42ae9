#include "commands/interval.h"

#include <math.h>

/* Exact for 1 and 2 degrees; from 3 on the expansion of Cornish and Fisher (Abramowitz and
 * Stegun 26.7.5) around the normal quantile, off by less than 1 % at 3, and less than 0.01 % from 8
 * on. */
double
interval_student(int64_t freedom)
{
    const double z = 1.959963984540054;
    double v = (double)freedom, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z, z9 = z7 * z * z;

    if (freedom <= 0)
        return INFINITY;
    if (freedom == 1)
        return 12.706204736432095;
    if (freedom == 2)
        return 4.302652729696142;
    return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v) +
           (79 * z9 + 776 * z7 + 1482 * z5 - 1920 * z3 - 945 * z) / (92160 * v * v * v * v);
}

struct interval
interval_of(const double *values, int64_t count)
{
    struct interval i = {NAN, NAN, NAN, count};
    double sum = 0, squares = 0, half;

    if (count == 0)
        return i;
    for (int64_t k = 0; k < count; k++)
        sum += values[k];
    i.mean = sum / (double)count;
    for (int64_t k = 0; k < count; k++)
        squares += (values[k] - i.mean) * (values[k] - i.mean);
    half = count < 2
               ? INFINITY
               : interval_student(count - 1) * sqrt(squares / (double)(count - 1) / (double)count);
    i.low = i.mean - half;
    i.high = i.mean + half;
    return i;
}

struct interval
interval_rate(const double *values, int64_t count)
{
    struct interval i = interval_of(values, count);
    int same = 1;

    if (count == 0)
        return i;
    for (int64_t k = 0; k < count; k++)
        same &= values[k] <= 0;
    if (same)
        return (struct interval){0, 0, 1 - pow(0.025, 1 / (double)count), count};
    same = 1;
    for (int64_t k = 0; k < count; k++)
        same &= values[k] >= 1;
    if (same)
        return (struct interval){1, pow(0.025, 1 / (double)count), 1, count};
    i.low = i.low < 0 ? 0 : i.low;
    i.high = i.high > 1 ? 1 : i.high;
    return i;
}

struct interval
interval_share(int64_t part, int64_t whole)
{
    const double z = 1.959963984540054;
    double n = (double)whole, p = (double)part / n, z2 = z * z;
    double half = z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
    double middle = (p + z2 / (2 * n)) / (1 + z2 / n);

    if (whole <= 0)
        return (struct interval){NAN, NAN, NAN, 0};
    return (struct interval){p, part == 0 ? 0 : middle - half, part == whole ? 1 : middle + half,
                             whole};
}
