/* interval: a mean over independent clusters (prompts) with its 95 % confidence interval.
 *
 * Each prompt gives one number, the mean over its own samples, so that samples of one prompt, which
 * are alike, are not counted as if they were independent. With n prompts, mean m and standard
 * deviation s (n - 1 in the denominator) the interval is m +- t s / sqrt(n), t the 0.975 quantile
 * of Student's distribution with n - 1 degrees of freedom. */
#ifndef COMMANDS_INTERVAL_H
#define COMMANDS_INTERVAL_H

#include <stdint.h>

struct interval {
    double mean, low, high;
    int64_t clusters;
};

/* With one value the interval is the whole line (infinite); with none all is NaN. Summed in the
 * order given. */
struct interval interval_of(const double *values, int64_t count);

/* The same for rates in [0,1]: cut to [0,1]; where every rate is 0, or every rate 1, s is 0 and
 * says nothing, so the open end is the exact (Clopper-Pearson) bound of n prompts that all agree,
 * 0.025^(1/n). */
struct interval interval_rate(const double *values, int64_t count);

/* Of a share, PART of WHOLE independent cases: Wilson's score interval (JASA 22, 1927), which stays
 * within [0,1] and has a width where all cases agree. With whole 0 all is NaN. */
struct interval interval_share(int64_t part, int64_t whole);

double interval_student(int64_t freedom); /* the 0.975 quantile */

#endif
