/* mixture: see mixture.h. */
#include "nodes/learner/mixture.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define TWO_PI 6.283185307179586476925286766559

static double
distance(const double a[2], const double b[2])
{
    double x = a[0] - b[0], y = a[1] - b[1];

    return x * x + y * y;
}

/* ---- k-means ---- */

static void
seed(const double *points, int64_t count, double centre[2][2])
{
    const double origin[2] = {0, 0};
    int64_t nearest = 0, farthest = 0;

    for (int64_t i = 1; i < count; i++)
        if (distance(points + 2 * i, origin) < distance(points + 2 * nearest, origin))
            nearest = i;
    for (int64_t i = 1; i < count; i++)
        if (distance(points + 2 * i, points + 2 * nearest) >
            distance(points + 2 * farthest, points + 2 * nearest))
            farthest = i;
    memcpy(centre[0], points + 2 * nearest, 2 * sizeof(double));
    memcpy(centre[1], points + 2 * farthest, 2 * sizeof(double));
}

/* One round: every point to its nearer centre, every centre to the mean of its own; a centre that
 * loses all of them stays. How many points moved. */
static int64_t
move(const double *points, int64_t count, double centre[2][2], double *share)
{
    double sum[2][3] = {{0}};
    int64_t moved = 0;

    for (int64_t i = 0; i < count; i++) {
        const double *x = points + 2 * i;
        int k = distance(x, centre[1]) < distance(x, centre[0]);

        moved += share[i] != k;
        share[i] = k;
        sum[k][0] += x[0];
        sum[k][1] += x[1];
        sum[k][2] += 1;
    }
    for (int k = 0; k < 2; k++)
        for (int d = 0; d < 2 && sum[k][2] > 0; d++)
            centre[k][d] = sum[k][d] / sum[k][2];
    return moved;
}

/* ---- expectation maximisation ---- */

/* The parts of points of which `share` (count) belongs to part 1, and the rest to part 0. */
static void
maximise(struct mixture *m, const double *points, int64_t count, const double *share)
{
    double total = 0;

    for (int k = 0; k < 2; k++) {
        struct gaussian *g = &m->part[k];
        double n = 10 * DBL_EPSILON, sum[2] = {0, 0}, xx = 0, xy = 0, yy = 0;

        for (int64_t i = 0; i < count; i++) {
            double r = k ? share[i] : 1 - share[i];

            n += r;
            sum[0] += r * points[2 * i];
            sum[1] += r * points[2 * i + 1];
        }
        *g = (struct gaussian){.weight = n, .mean = {sum[0] / n, sum[1] / n}};
        for (int64_t i = 0; i < count; i++) {
            double r = k ? share[i] : 1 - share[i];
            double x = points[2 * i] - g->mean[0], y = points[2 * i + 1] - g->mean[1];

            xx += r * x * x;
            xy += r * x * y;
            yy += r * y * y;
        }
        g->xx = xx / n + MIXTURE_RIDGE;
        g->xy = xy / n;
        g->yy = yy / n + MIXTURE_RIDGE;
        total += n;
    }
    for (int k = 0; k < 2; k++)
        m->part[k].weight /= total;
}

/* log (w N(x; m, S)); the ridge keeps the determinant above 0. */
static double
log_part(const struct gaussian *g, const double x[2])
{
    double a = x[0] - g->mean[0], b = x[1] - g->mean[1];
    double determinant = g->xx * g->yy - g->xy * g->xy;
    double squares = (g->yy * a * a - 2 * g->xy * a * b + g->xx * b * b) / determinant;

    return log(g->weight) - log(TWO_PI) - 0.5 * log(determinant) - 0.5 * squares;
}

/* log p(x), and the share of part 1 in it. */
static double
expect(const struct mixture *m, const double x[2], double *share)
{
    double a = log_part(&m->part[0], x), b = log_part(&m->part[1], x), top = fmax(a, b);
    double sum = top + log(exp(a - top) + exp(b - top));

    *share = exp(b - sum);
    return sum;
}

void
mixture_fit(struct mixture *m, const double *points, int64_t count)
{
    double *share = xarray((size_t)count, sizeof(*share)), centre[2][2], before, now = -INFINITY;
    int rounds = 0;

    memset(m, 0, sizeof(*m));
    seed(points, count, centre);
    for (int64_t i = 0; i < count; i++)
        share[i] = -1;
    while (move(points, count, centre, share) > 0 && ++rounds < MIXTURE_MEANS_MAX)
        continue;
    maximise(m, points, count, share);
    do {
        double sum = 0;

        before = now;
        for (int64_t i = 0; i < count; i++)
            sum += expect(m, points + 2 * i, &share[i]);
        maximise(m, points, count, share);
        now = sum / (double)count;
        m->iterations++;
    } while (!(fabs(now - before) < MIXTURE_TOLERANCE) && m->iterations < MIXTURE_ITERATIONS_MAX);
    m->mean_logp = now;
    free(share);
}

int
mixture_nearer(const struct mixture *m)
{
    const double origin[2] = {0, 0};

    return distance(m->part[1].mean, origin) < distance(m->part[0].mean, origin);
}

double
mixture_posterior(const struct mixture *m, int k, const double x[2])
{
    double share;

    expect(m, x, &share);
    return k ? share : 1 - share;
}
