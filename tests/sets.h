/* sets: runs a test program's tests once per instruction set that this machine has, and says SKIP
 * for each that it lacks. Random inputs and comparisons for tests of kernels. */
#ifndef TESTS_SETS_H
#define TESTS_SETS_H

#include <stdint.h>

/* run() returns the number of failed tests; so does this. */
int sets_run(int (*run)(void));

/* `count` numbers in [-scale, scale), a function of the seed. The caller frees. */
float *sets_floats(int64_t count, uint64_t seed, double scale);

/* The same numbers as doubles. */
double *sets_doubles(int64_t count, const float *values);

/* Fails the test unless every |value - wanted| <= tolerance * max(|wanted|) + tiny. */
void sets_near(const char *what, int64_t count, const float *values, const double *wanted,
               double tolerance);

/* Fails the test unless the bits are equal. */
void sets_same(const char *what, int64_t count, const float *a, const float *b);

/* The slope of f at x, one element at a time by central differences in double: df (count). */
void sets_slope(double (*f)(void *about), void *about, int64_t count, double *x, double *df);

#endif
