/* mixture: two Gaussians in the plane with full covariances, fitted by expectation maximisation.
 *
 *      p(x) = sum_k w_k N(x; m_k, S_k),   k in {0, 1}
 *
 * The definition is scikit-learn's GaussianMixture (sklearn/mixture/_gaussian_mixture.py, 1.x) with
 * the settings of PLReMix (arXiv 2402.17589): 2 components, at most 10 iterations, an end once the
 * mean log-likelihood moves by less than 1e-2, 5e-4 on the diagonals. It begins from the two
 * clusters of k-means, whose seeds are no draw here: the point nearest to the origin and the one
 * farthest from that, of several the first. Every sum is taken in the order of the points, so the
 * same points in the same order give the same bits. */
#ifndef NODES_LEARNER_MIXTURE_H
#define NODES_LEARNER_MIXTURE_H

#include <stdint.h>

#define MIXTURE_ITERATIONS_MAX 10
#define MIXTURE_TOLERANCE      1e-2
#define MIXTURE_RIDGE          5e-4
#define MIXTURE_MEANS_MAX      300 /* rounds of k-means */

struct gaussian {
    double weight, mean[2];
    double xx, xy, yy; /* covariance */
};

struct mixture {
    struct gaussian part[2];
    int iterations;   /* that were done */
    double mean_logp; /* of the points, before the last change */
};

/* points (count, 2), finite; count >= 2 and not all of them the same. */
void mixture_fit(struct mixture *m, const double *points, int64_t count);

/* The part of the smaller |mean|: of losses, the clean one. Of equal ones the first. */
int mixture_nearer(const struct mixture *m);

/* P(k | x), in [0, 1]. */
double mixture_posterior(const struct mixture *m, int k, const double x[2]);

#endif
