#!/usr/bin/env python3
"""Makes tests/golden/judge_eval: labelled solutions of our own, opinions of imagined judges, and what
`sluice judge-eval` has to find in them, worked out here by other means.

solutions.json  ProcessBench's shape. Every step is one sum; a verdict of calc_judge is known from it.
expected.json   the measures of calc_judge on solutions.json.
opinions.json   labels and opinions of every kind (unknown labels, abstentions, scores on the edge of
                a bin), with the measures; scores are multiples of 1/64, exact in binary.
"""
import json
import math
import os
import random

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "judge_eval")
WRONG, RIGHT, UNKNOWN = 0, 1, 2


def measures(labels, opinions, threshold=0.5):
    """labels: per solution a list of 0, 1, 2; opinions: per solution None or a list of scores, None
    where nothing was said. Written from the definitions, one quantity at a time."""
    first = []
    for row in labels:
        known = [x for x in row if x != UNKNOWN]
        wrong = [i for i, x in enumerate(row) if x == WRONG]
        if wrong and UNKNOWN not in row[:wrong[0]]:
            first.append(wrong[0])
        elif not wrong and len(known) == len(row):
            first.append(-1)
        else:
            first.append(None)
    named = []
    for opinion in opinions:
        if opinion is None:
            named.append(None)
            continue
        said_wrong = [i for i, s in enumerate(opinion) if s is not None and s < threshold]
        named.append(said_wrong[0] if said_wrong else -1)
    erroneous = [i for i, f in enumerate(first) if f is not None and f >= 0]
    correct = [i for i, f in enumerate(first) if f == -1]
    quotient = lambda a, b: a / b if b else None
    acc_error = quotient(sum(named[i] == first[i] for i in erroneous), len(erroneous))
    acc_correct = quotient(sum(named[i] == -1 for i in correct), len(correct))
    f1 = None
    if acc_error is not None and acc_correct is not None:
        both = acc_error + acc_correct
        f1 = 2 * acc_error * acc_correct / both if both else 0.0
    pairs = []
    for row, opinion in zip(labels, opinions):
        for i, label in enumerate(row):
            if label != UNKNOWN:
                pairs.append((label, None if opinion is None else opinion[i]))
    said = [(x, s) for x, s in pairs if s is not None]
    called = [x for x, s in said if s < threshold]
    flagged = [i for i in erroneous + correct if named[i] not in (None, -1)]
    ece = 0.0
    for b in range(10):
        inside = [(x, s) for x, s in said if min(int(s * 10), 9) == b]
        if inside:
            mean = sum(s for _, s in inside) / len(inside)
            share = sum(x == RIGHT for x, _ in inside) / len(inside)
            ece += len(inside) / len(said) * abs(mean - share)
    return {
        "f1": f1,
        "acc_error": acc_error,
        "acc_correct": acc_correct,
        "step_precision": quotient(called.count(WRONG), len(called)),
        "step_recall": quotient(called.count(WRONG), sum(x == WRONG for x, _ in pairs)),
        "coverage": quotient(len(said), len(pairs)),
        "flagged_precision": quotient(sum(first[i] >= 0 for i in flagged), len(flagged)),
        "flagged_recall": quotient(sum(first[i] >= 0 for i in flagged), len(erroneous)),
        "ece": ece if said else None,
        "brier": quotient(math.fsum((s - (x == RIGHT)) ** 2 for x, s in said), len(said)),
    }


def solutions(rng):
    """Steps with a slip that calc_judge must see, slips of thought that it cannot see (the sum is right
    but of the wrong numbers), steps without a sum, and labels that overlook a slip."""
    out, verdicts = [], []
    for n in range(48):
        kind = rng.choice(["right", "right", "slip", "thought", "overlooked", "late"])
        count = rng.randint(2, 5)
        at = rng.randrange(count)
        steps, said, total = [], [], rng.randint(2, 20)
        start = total
        added = [rng.randint(1, 30) for _ in range(count)]
        for i in range(count):
            slip = kind in ("slip", "overlooked") and i == at or kind == "late" and i == count - 1
            if kind == "right" and i == 0:
                steps.append("We begin with %d coins and add what comes." % total)
                said.append(None)
                continue
            result = total + added[i] + (rng.randint(1, 9) if slip else 0)
            steps.append("Then there are %d + %d = %d coins." % (total, added[i], result))
            said.append(0.0 if slip else 1.0)
            total = result
        label = -1 if kind in ("right", "overlooked") else at
        out.append({"id": "own-%d" % n, "generator": "tools/golden_judge_eval.py",
                    "problem": "There are %d coins; then come %s. How many are there?"
                    % (start, ", ".join(map(str, added))),
                    "steps": steps, "final_answer_correct": label == -1, "label": label})
        verdicts.append(said)
    return out, verdicts


def labels_of(solution):
    label, count = solution["label"], len(solution["steps"])
    if label == -1:
        return [RIGHT] * count
    return [RIGHT] * label + [WRONG] + [UNKNOWN] * (count - label - 1)


def opinions(rng):
    sets = []
    for case in range(6):
        labels, given = [], []
        for _ in range(rng.randint(3, 30)):
            count = rng.randint(1, 6)
            row = [rng.choice([WRONG, RIGHT, RIGHT, UNKNOWN if case % 2 else RIGHT])
                   for _ in range(count)]
            if case == 4:
                row = [RIGHT] * count       # no error anywhere: half of the measures are of nothing
            labels.append(row)
            if rng.random() < 0.1:
                given.append(None)
                continue
            given.append([None if rng.random() < 0.2 else
                          1.0 if x == RIGHT and rng.random() < 0.5 else rng.randint(0, 64) / 64
                          for x in row])
        if case == 5:
            given = [None] * len(labels)    # a judge that says nothing at all
        sets.append({"labels": labels, "opinions": given, "want": measures(labels, given)})
    return sets


def main():
    rng = random.Random(20250)
    os.makedirs(OUT, exist_ok=True)
    made, verdicts = solutions(rng)
    want = measures([labels_of(s) for s in made], verdicts)
    with open(os.path.join(OUT, "solutions.json"), "w") as f:
        json.dump(made, f, indent=1)
        f.write("\n")
    with open(os.path.join(OUT, "expected.json"), "w") as f:
        json.dump(want, f, indent=1)
        f.write("\n")
    with open(os.path.join(OUT, "opinions.json"), "w") as f:
        json.dump(opinions(rng), f)
        f.write("\n")


if __name__ == "__main__":
    main()
