#!/usr/bin/env python3
"""Makes tests/golden/agreement.txt: what voters said of random steps, and how far they agree by other programs:
Cohen's kappa of scikit-learn, Fleiss' of statsmodels, Krippendorff's alpha by its definition with distances (here).

    pip install scikit-learn statsmodels numpy
    tools/golden_agreement.py tests/golden/agreement.txt

A case: `case VOTERS STEPS`, a line of words for each step (w wrong, c correct, - nothing), then `cohen A B value`,
`fleiss value`, `alpha value`; nan where a measure is not defined."""
import itertools
import sys
import warnings

import numpy as np
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

WORDS = "wc-"


def cohen(said, a, b):
    both = (said[:, a] < 2) & (said[:, b] < 2)
    return cohen_kappa_score(said[both, a], said[both, b]) if both.any() else float("nan")


def fleiss(said):
    whole = said[(said < 2).all(axis=1)]
    if len(whole) == 0:
        return float("nan")
    return fleiss_kappa(aggregate_raters(whole, n_cat=2)[0])


def alpha(said):
    """1 - D_o / D_e over pairs of values, as Krippendorff defines it (2011, nominal metric), pair by pair."""
    units = [[w for w in row if w < 2] for row in said]
    units = [u for u in units if len(u) > 1]
    n = sum(map(len, units))
    if n == 0:
        return float("nan")
    observed = sum(sum(x != y for x, y in itertools.permutations(u, 2)) / (len(u) - 1) for u in units) / n
    values = [w for u in units for w in u]
    ones = sum(values)
    expected = 2 * ones * (n - ones) / (n * (n - 1))
    return 1 - observed / expected if expected else float("nan")


def cases(rng):
    for voters, steps, skill, silence in [(2, 60, 0.8, 0.0), (2, 90, 0.7, 0.2), (3, 120, 0.85, 0.1), (5, 150, 0.65, 0.15),
                                          (16, 80, 0.75, 0.02)]:
        truth = rng.random(steps) < 0.6
        right = rng.random((steps, voters)) < skill
        said = np.where(right, truth[:, None], ~truth[:, None]).astype(int)
        said[rng.random(said.shape) < silence] = 2
        yield said
    yield np.ones((9, 2), int)                  # all the same: nothing is defined
    yield np.array([[2, 1], [0, 2], [2, 2]])    # never together


def main():
    rng = np.random.default_rng(20241124)
    warnings.simplefilter("ignore")
    with open(sys.argv[1], "w") as out:
        for said in cases(rng):
            out.write(f"case {said.shape[1]} {len(said)}\n")
            for row in said:
                out.write("".join(WORDS[w] for w in row) + "\n")
            for a, b in itertools.combinations(range(said.shape[1]), 2):
                out.write(f"cohen {a} {b} {cohen(said, a, b):.17g}\n")
            out.write(f"fleiss {fleiss(said):.17g}\nalpha {alpha(said):.17g}\n")


if __name__ == "__main__":
    main()
