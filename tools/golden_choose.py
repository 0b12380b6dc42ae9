#!/usr/bin/env python3
"""Golden numbers of the choosers of `sluice loop`, from their formulas and Philox alone.

  tools/golden_choose.py > tests/golden/choose.txt

Shares no code with commands/choose.c. The row of `choose` in kernels/random.def is a part of every number: run this
again when rows were put before it."""
import math
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = 0xFFFFFFFF


def purpose(name):
    rows = re.findall(r"^RANDOM\((\w+)", open(os.path.join(HERE, "../kernels/random.def")).read(), re.M)
    return rows.index(name)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right & MASK, (left >> 32) ^ c[3] ^ k[1], left & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


class Numbers:
    def __init__(self, seed):
        self.key = (seed & MASK, seed >> 32)
        self.purpose = purpose("choose")

    def words(self, index):
        return philox((index & MASK, index >> 32, self.purpose, 0), self.key)

    def unit(self, index):
        w = self.words(index)
        return ((w[1] << 32 | w[0]) >> 11) * 2.0 ** -53

    def normal(self, index):
        w = self.words(index)
        u, v = ((w[1] << 32 | w[0]) >> 11) * 2.0 ** -53, ((w[3] << 32 | w[2]) >> 11) * 2.0 ** -53
        return math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)


def at(round_, prompt, draw):
    return (round_ << 48) + (prompt << 24) + draw


def gamma(n, first, shape):
    d = shape - 1 / 3
    while True:
        x, u = n.normal(first), n.unit(first + 1)
        v = (1 + x / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(u) < x * x / 2 + d * (1 - v + math.log(v)):
            return d * v
        first += 2


def beta(n, round_, prompt, a, b):
    x, y = gamma(n, at(round_, prompt, 1 << 22), a), gamma(n, at(round_, prompt, 1 << 23), b)
    return x / (x + y)


# Six prompts after three rounds of 8 answers: (round, right) of the rounds that sampled each.
PAST = [[(1, 0), (2, 0), (3, 0)], [(1, 8), (2, 8)], [(1, 4), (3, 4)], [(1, 2)], [], [(2, 7), (3, 8)]]
SAMPLES, ROUND = 8, 4


def counts(past, keep, others):
    right = wrong = 0.0
    for r in range(1, ROUND):
        hit = dict(past).get(r)
        f = others if hit is None else keep
        right, wrong = right * f + (hit or 0), wrong * f + (0 if hit is None else SAMPLES - hit)
    return right, wrong


def best(values, b):
    return sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:b])


def show(name, seed, chosen, values, weights):
    print(name, seed, "".join("1" if i in chosen else "0" for i in range(len(PAST))),
          *("%.17g" % v for v in values), *("%.17g" % w for w in weights))


def main():
    for seed in (1, 2, 3, 12345678901234567890):
        n = Numbers(seed)
        values = [n.unit(at(ROUND, i, 0)) for i in range(len(PAST))]
        show("uniform", seed, best(values, 3), values, [1] * len(PAST))
        ps = [beta(n, ROUND, i, 1 + c[0], 1 + c[1]) for i, c in enumerate(counts(p, 0.2, 0.999) for p in PAST)]
        values = [p * (1 - p) ** 2 for p in ps]
        show("vade", seed, best(values, 3), values, [1] * len(PAST))
        ps = []
        for i, past in enumerate(PAST):
            a = b = 1.0     # as the repository has it, with the prior inside
            for _, s in past:
                a, b = 0.5 * a + 0.5 * 1 + s, 0.5 * b + 0.5 * 1 + SAMPLES - s
            ps.append(beta(n, ROUND, i, a, b))
        values = [-abs(p - 0.5) for p in ps]
        show("mopps", seed, best(values, 3), values, [1] * len(PAST))
        for rate in (0.5, 0.9):
            adv = [sum(sum(abs(r - s / 8) for r in [1] * s + [0] * (8 - s)) / 8 for _, s in p) / len(p) if p else None
                   for p in PAST]
            known = [a for a in adv if a is not None]
            mean = sum(known) / len(known)
            w = [None if a is None else 1 / (1 + a / mean) for a in adv]
            low, high = 0.0, 1e6    # bisection, where the program solves
            for _ in range(200):
                c = (low + high) / 2
                got = sum(min(0.95, c * v) for v in w if v is not None) / len(known)
                low, high = (c, high) if got < rate else (low, c)
            p = [0 if v is None else min(0.95, low * v) for v in w]
            kept = [i for i in range(len(PAST)) if n.unit(at(ROUND, i, 1)) >= p[i]]
            show("dppo%d" % round(rate * 10), seed, kept, p, [len(kept) / len(PAST) / (1 - v) for v in p])


main()
