#!/usr/bin/env python3
"""Makes tests/golden/mixture.txt: points in the plane and what scikit-learn's GaussianMixture, as PLReMix calls it
(2 components, at most 10 iterations, tolerance 1e-2, 5e-4 on the diagonals; begun by its k-means, here from fixed
seeds), makes of them; and steps with vectors, labels and votes with their two losses, computed by PLReMix's formulas, and their weights.

    pip install scikit-learn numpy
    tools/golden_mixture.py tests/golden/mixture.txt

`points N ITERATIONS MEAN_LOGP`, N lines `x y p` (p: of the part whose mean is nearer to the origin), two lines
`weight mx my xx xy yy` (that part first); then `steps N WIDTH`, N lines `label mean vote_loss prototype_loss weight`
and its vector."""
import sys

import numpy as np
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture


SETTINGS = dict(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)


def begin(x):
    """Where EM begins: scikit-learn's k-means from two seeds that are no draw, run to its end, as initial parameters."""
    first = x[np.argmin((x ** 2).sum(axis=1))]
    second = x[np.argmax(((x - first) ** 2).sum(axis=1))]
    labels = KMeans(2, init=np.stack([first, second]), n_init=1, tol=0).fit(x).labels_
    parts = [x[labels == k] for k in (0, 1)]
    covariances = [np.cov(p.T, bias=True) + 5e-4 * np.eye(2) for p in parts]
    return dict(weights_init=np.array([len(p) / len(x) for p in parts]), means_init=np.stack([p.mean(axis=0) for p in parts]),
                precisions_init=np.stack([np.linalg.inv(c) for c in covariances]))


def fit(x):
    m = GaussianMixture(**SETTINGS, **begin(x)).fit(x)
    drawn = GaussianMixture(**SETTINGS).fit(x)      # with its own k-means++ seeds
    near, near_drawn = (int(np.argmin((g.means_ ** 2).sum(axis=1))) for g in (m, drawn))
    difference = np.abs(m.predict_proba(x)[:, near] - drawn.predict_proba(x)[:, near_drawn]).max()
    print(f"{len(x)} points: {difference:.3g} from the fit that begins with drawn seeds")
    return m, [near, 1 - near]


def write_points(out, x):
    m, order = fit(x)
    p = m.predict_proba(x)[:, order[0]]
    out.write(f"points {len(x)} {m.n_iter_} {m.lower_bound_:.17g}\n")
    for (a, b), q in zip(x, p):
        out.write(f"{a:.17g} {b:.17g} {q:.17g}\n")
    for k in order:
        c = m.covariances_[k]
        out.write(" ".join(f"{v:.17g}" for v in (m.weights_[k], *m.means_[k], c[0, 0], c[0, 1], c[1, 1])) + "\n")


def clouds(rng, n, share, far, spread):
    noisy = rng.random(n) < share
    x = np.where(noisy[:, None], rng.normal(far, spread, (n, 2)), rng.normal(0.15, 0.08, (n, 2)))
    return np.clip(x, 0, 1)


def scale(v):
    return (v - v.min()) / (v.max() - v.min())


def write_steps(out, rng, n, width):
    label = (rng.random(n) < 0.55).astype(int)
    truth = np.where(rng.random(n) < 0.2, 1 - label, label)
    centre = rng.normal(0, 1, (2, width))
    vectors = (centre[truth] + rng.normal(0, 0.6, (n, width))).astype(np.float32)
    mean = np.clip(np.where(truth == 1, 0.85, 0.2) + rng.normal(0, 0.12, n), 0, 1).astype(np.float32)
    q = vectors.astype(np.float64)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    proto = np.stack([q[label == c].mean(axis=0) for c in (0, 1)])
    proto /= np.linalg.norm(proto, axis=1, keepdims=True)
    logits = q @ proto.T / 0.1
    proto_loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(n), label]
    m64 = mean.astype(np.float64)
    vote_loss = -np.log(np.maximum(np.where(label == 1, m64, 1 - m64), 1e-6))
    x = np.stack([scale(vote_loss), scale(proto_loss)], axis=1)
    m, order = fit(x)
    weight = m.predict_proba(x)[:, order[0]]
    out.write(f"steps {n} {width}\n")
    for i in range(n):
        out.write(f"{label[i]} {mean[i]:.9g} {vote_loss[i]:.17g} {proto_loss[i]:.17g} {weight[i]:.17g}\n")
        out.write(" ".join(f"{v:.9g}" for v in vectors[i]) + "\n")


def main():
    rng = np.random.default_rng(20241124)
    with open(sys.argv[1], "w") as out:
        for n, share, far, spread in [(60, 0.4, 0.7, 0.1), (120, 0.2, 0.6, 0.15), (80, 0.5, 0.45, 0.2), (40, 0.1, 0.9, 0.03)]:
            write_points(out, clouds(rng, n, share, far, spread))
        write_steps(out, rng, 90, 6)


if __name__ == "__main__":
    main()
