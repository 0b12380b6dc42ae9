#!/usr/bin/env python3
"""Writes tests/golden/classic.tsv: what verl's math_reward.py (MATH, Hendrycks) and math_dapo.py say of the answers of
tests/golden/answers.tsv and of strings glued from what their rules look for. Needs a checkout of volcengine/verl (b178a3c).
Usage: tools/golden_classic.py VERL [SEED]"""
import importlib.util
import os
import random
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PIECES = ["\\frac", "\\dfrac", "\\tfrac", "\\sqrt", "{", "}", "1", "2", "12", "3", ".", ".5", "0.5", ",", "1,000", "{,}", " ", "=", "x", "k = ", "\\text{ cm}", "\\text{",
          "\\text{m}", "\\text{and}", "mbox", "\\textbf{", "\\overline{", "^\\circ", "^{\\circ}", "\\%", "%", "\\$", "$", "/", "-", "+", "\\left(", "\\right)", "\\!",
          "\\\\", "square", "units", "dollars", "a ", "an ", "\\ldots", "\\pi", "\u03c0", "\u00e9", "\"", "\\mathrm{th}", "\\;", ",\\!", "(A)", "\\boxed{", "<br>"]
FRAMES = ["\\boxed{%s}", "$\\boxed{%s}$.", "Answer: %s", "answer : %s.", "The Answer:%s", "\\boxed %s", "so \\boxed{%s} or \\fbox{7}", "**Answer:** %s", "Answer: $%s$", "%s",
          "Answer: 5<br>Answer:  %s<br>", "Answer: \\boxed{%s}", "ANSWER: " + "\u00e9" * 290 + "%s"]


def load(verl, name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(verl, "verl/utils/reward_score", name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def strings(seed):
    r = random.Random(seed)
    table = []
    with open(os.path.join(HERE, "tests/golden/answers.tsv"), encoding="utf8") as f:
        for line in f:
            if not line.startswith("# "):
                _, _, gold, response = line.rstrip("\n").split("\t")
                table.append((gold, response))
    for gold, response in r.sample(table, 150):
        yield gold, response
        yield gold, r.choice(FRAMES) % gold
    for _ in range(900):
        gold = "".join(r.choice(PIECES) for _ in range(r.randint(1, 7)))
        other = gold
        for _ in range(r.randint(0, 2)):        # spoilt where a rule may or may not care
            at = r.randint(0, len(other))
            other = other[:at] + r.choice([" ", "", "\\!", "$", "\\$", "\\;", "{,}", "units", "\\%", r.choice(PIECES)]) + other[at:]
        for a, b in (("\\dfrac", "\\frac"), ("\\sqrt2", "\\sqrt{2}"), ("\\frac12", "\\frac{1}{2}")):
            if r.random() < .5:
                other = other.replace(a, b)
        yield gold, r.choice(FRAMES) % other


def main():
    hendrycks, dapo = load(sys.argv[1], "math_reward"), load(sys.argv[1], "math_dapo")
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    right = [0, 0]
    with open(os.path.join(HERE, "tests/golden/classic.tsv"), "w", encoding="utf8") as out:
        out.write("# tools/golden_classic.py: verdict of hendrycks, of dapo, gold, response; <br> is a new line.\n")
        for gold, response in strings(seed):
            g, p = gold.replace("<br>", "\n"), response.replace("<br>", "\n")
            verdicts = int(hendrycks.compute_score(p, g) > 0), int(dapo.compute_score(p, g)["acc"])
            right = [a + b for a, b in zip(right, verdicts)]
            out.write(f"{verdicts[0]}\t{verdicts[1]}\t{gold}\t{response}\n")
    print("right:", right)


if __name__ == "__main__":
    main()
