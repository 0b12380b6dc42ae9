#!/usr/bin/env python3
"""Compares `verify: math` with Math-Verify, and both with what is true, on
  table      tests/golden/answers.tsv, whose verdicts are ours by definition;
  gsm8k      solutions of four models to GSM8K's test questions (example_model_solutions.jsonl), with `is_correct`;
  process    ProcessBench's solutions to GSM8K questions (gsm8k.json), with `final_answer_correct` and the gold of the question;
  made       pairs made here: an answer in another notation (equal) or spoilt (not equal).
  peer       with --peer-tests FOLDER: the (gold, answer, verdict) triples of Math-Verify's own tests (its tests/ at 5d148cf),
             some of which set options that we lack, or pin a verdict that is not true.
Prints a table, and with --list every pair on which the two differ, by kind. Exit status 1 where ours is wrong on the table.
Needs `pip install math-verify` and build/tools/verify.
Usage: tools/check_verifier.py [--data FOLDER] [--made N] [--seed N] [--peer-tests FOLDER] [--list]

Where the two differ on purpose (0.9.0 of Math-Verify):
  units       known units must agree: 10 cm is not 10 km (theirs: units are dropped), and 1 m is 100 cm (theirs: 1 is not 100).
  area        5 cm^2 is not 5 cm, as above; 75 cents are $0.75.
  angle       45 degrees are pi/4, and 45.
  decimals    a decimal may round what is no short decimal, by half a unit of the 6th place and of the 6th significant digit, so that
              1e-7 is not 2e-7 (theirs: the 6th place alone).
  tiny        exact, or to 384 bits: 1/2004! is not 1/2006!, 2^-99 is not 2^-98 (theirs: chopped to 0).
  chains      the sides of "1 = 2" must agree before its last one counts (theirs: the last one counts).
  approx      x = \\sqrt{2} \\approx 1.414 answers \\sqrt{2} too.
  imaginary   i is the imaginary unit always: (1+2i)^2 is -3+4i (theirs: only where the text looks complex).
  multiples   2x > 6 is x > 3, 2x = 10 is x = 5, up to a factor (theirs: equations of several symbols only); 0 < x < 5 is 5 > x > 0.
  notation    1\\,000, 1 234 567, 1.234.567, 7 3/4, the signs of Unicode, 3,5 where the gold is 3.5 (theirs: only some).
  case        V and v are two symbols (theirs: one).
  recurring   0.\\overline{3}, 0.\\dot{3}, 0.(3) are 1/3 (theirs: not read).
  scientific  1e3 is 1000 in LaTeX too.
  brackets    {1, 2} is not (1, 2) (theirs: accepted for two numbers); a column is a tuple (theirs: not).
  words       words are compared as words, without case and wrappers (theirs: a product of letters, or nothing).
  choices     a letter, with or without brackets, is a choice where the gold is one (theirs: needs a configuration).
  base        1101_2 is not 1101_3 (theirs: the base is dropped).
  roots       \\sqrt[3]{-8} is -2 (theirs: the principal root).
  unions      "x < 1 or x > 3" and its union, in either notation (theirs: not).
  ratio       12:30 is not 6:15 (theirs: fractions).
  boxes       a list of boxes is a set in both; an empty box is no answer here (theirs: falls back to other numbers).
  thoughts    nothing inside <think> counts.
"""
import argparse
import ast
import glob
import json
import os
import random
import subprocess
import sys
from fractions import Fraction

sys.set_int_max_str_digits(0)
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERIFY = os.path.join(HERE, "build/tools/verify")


def ours(pairs):
    lines = "".join(json.dumps({"gold": g, "response": r}) + "\n" for _, _, g, r in pairs)
    out = subprocess.run([VERIFY, "math"], input=lines, capture_output=True, text=True, check=True).stdout
    return [int(v) for v in out.split()]


def theirs(pairs):
    import logging
    from math_verify import parse, verify
    logging.disable(logging.CRITICAL)
    out = []
    for kind, _, gold, response in pairs:
        if "boxed" not in gold and "####" not in gold and "$" not in gold:
            gold = "$" + gold + "$"
        try:
            out.append(int(bool(verify(parse(gold), parse(response)))))
        except Exception:
            out.append(0)
    return out


def table():
    with open(os.path.join(HERE, "tests/golden/answers.tsv"), encoding="utf8") as f:
        for line in f:
            if not line.startswith("# "):
                kind, truth, gold, response = line.rstrip("\n").replace("<br>", "\n").split("\t")
                yield kind, int(truth), gold, response


def gold_of(solution):
    return solution.replace("\nA: ", "\n#### ").rsplit("####", 1)[1].strip()


def gsm8k(folder):
    with open(os.path.join(folder, "gsm8k/example_model_solutions.jsonl"), encoding="utf8") as f:
        for line in f:
            row = json.loads(line)
            for model, answer in row.items():
                if isinstance(answer, dict):
                    yield model, int(answer["is_correct"]), gold_of(row["ground_truth"]), answer["solution"]


def process(folder):
    gold = {}
    for name in ("test", "train"):
        with open(os.path.join(folder, f"gsm8k/{name}.jsonl"), encoding="utf8") as f:
            for line in f:
                row = json.loads(line)
                gold["".join(row["question"].split())] = gold_of(row["answer"])
    with open(os.path.join(folder, "processbench/gsm8k.json"), encoding="utf8") as f:
        for row in json.load(f):
            key = "".join(row["problem"].split())
            if key in gold:
                yield row["generator"], int(row["final_answer_correct"]), gold[key], "\n\n".join(row["steps"])


def latex(q):
    if q.denominator == 1:
        return str(q)
    return ("-" if q < 0 else "") + f"\\frac{{{abs(q.numerator)}}}{{{q.denominator}}}"


def rational(r):
    return Fraction(r.randint(-40, 40), r.choice((1, 1, 2, 3, 4, 5, 7, 8, 12)))


def notations(q, r):
    """Ways to write a rational."""
    k = r.randint(2, 5)
    ways = [latex(q), f"{q.numerator * k}/{q.denominator * k}", f"\\dfrac{{{q.numerator}}}{{{q.denominator}}}",
            f"{latex(q + k)} - {k}", f"{k} \\cdot {latex(q / k)}" if q >= 0 else latex(q)]
    if 10 ** 6 % q.denominator == 0:
        ways.append(str(float(q)))
    if q > 1 and q.denominator > 1:
        whole = q.numerator // q.denominator
        ways.append(f"{whole}{latex(q - whole)}")
    return ways


def made_one(r):
    """kind, equal, gold, answer."""
    kind = r.choice(("rational", "percent", "root", "polynomial", "linear", "interval", "union", "set", "tuple", "matrix", "equation",
                     "inequality", "trigonometry", "power", "complex", "thousands", "pi"))
    good = r.random() < .5
    a, b, c = rational(r), rational(r), rational(r)
    n, m = r.randint(2, 9), r.randint(2, 9)
    bad = a + r.choice((-1, 1, Fraction(1, 3)))
    other = a if good else bad
    if kind == "rational":
        return kind, good, latex(a), r.choice(notations(other, r))
    if kind == "percent":
        p = r.randint(1, 400)
        return kind, good, f"{p}\\%", latex(Fraction(p if good else p + 1, 100))
    if kind == "root":
        return kind, good, f"{n}\\sqrt{{{m}}}", f"\\sqrt{{{n * n * m + (0 if good else 1)}}}"
    if kind == "polynomial":
        p, q = r.randint(-5, 5), r.randint(-5, 5)
        return kind, good, f"(x+{p})(x+{q})".replace("+-", "-"), f"x^2+{p + q}x+{p * q + (0 if good else n)}".replace("+-", "-")
    if kind == "linear":
        return kind, good, f"{n}x+{m}y", f"{m}y + {n if good else n + 1} x"
    if kind == "interval":
        lo, hi = sorted((a, a + n))
        ends = r.choice("(["), r.choice(")]")
        flip = ("[" if ends[0] == "(" else "(") if not good else ends[0]
        return kind, good, f"{ends[0]}{latex(lo)},{latex(hi)}{ends[1]}", f"\\left{flip}{r.choice(notations(lo, r))}, {latex(hi)}\\right{ends[1]}"
    if kind == "union":
        x = f"(-\\infty,{-n})", f"[{m},\\infty)"
        return kind, good, "\\cup".join(x), f"{x[1] if good else f'({m},' + chr(92) + 'infty)'} \\cup {x[0]}"
    if kind == "set":
        items = list({a, b, c})
        answer = items[:] if good else items[:-1] + [items[-1] + 50]
        r.shuffle(answer)
        return kind, good, ", ".join(map(latex, items)), "\\{" + ", ".join(r.choice(notations(q, r)[:3]) for q in answer) + "\\}"
    if kind == "tuple":
        return kind, good, f"({latex(a)},{latex(b)},{n})", f"\\left({r.choice(notations(other, r))}, {latex(b)}, {n}\\right)"
    if kind == "matrix":
        env = r.choice("pb")
        return kind, good, f"\\begin{{pmatrix}} {latex(a)} & {n} \\\\ {m} & {latex(b)} \\end{{pmatrix}}", \
            f"\\begin{{{env}matrix}} {r.choice(notations(other, r)[:3])} & {n} \\\\ {m} & {latex(b)} \\end{{{env}matrix}}"
    if kind == "equation":
        return kind, good, f"y={n}x+{m}", f"{2 * n}x-2y+{2 * m if good else 2 * m + 1}=0"
    if kind == "inequality":
        return kind, good, f"x<{latex(a)}", f"{latex(other)}>x"
    if kind == "trigonometry":
        return kind, good, f"\\sin({2 * n}x)", f"2\\sin({n}x)\\cos({n if good else n + 1}x)"
    if kind == "power":
        return kind, good, f"{n}^{{{2 * m}}}", f"{n * n}^{{{m if good else m + 1}}}"
    if kind == "complex":
        p, q = r.randint(1, 5), r.randint(1, 5)
        return kind, good, f"({p}+{q}i)^2", f"{p * p - q * q}+{2 * p * q if good else 2 * p * q + 1}i"
    if kind == "thousands":
        big = r.randint(1000, 9999999)
        return kind, good, str(big), f"{big if good else big + 1:,}".replace(",", r.choice((",", "{,}", "\\,")))
    return kind, good, f"\\frac{{{n}\\pi}}{{{m}}}", f"{latex(Fraction(n if good else n + 1, m))}\\pi"


def made(count, seed):
    r = random.Random(seed)
    frames = ("\\boxed{%s}", "Therefore $\\boxed{%s}$.", "The answer is $%s$.", "So we find that\n\\[%s\\]", "The final answer is $%s$. I hope it is correct.")
    for _ in range(count):
        kind, good, gold, answer = made_one(r)
        yield kind, int(good), gold, r.choice(frames) % answer


def peer(folder):
    for name in sorted(glob.glob(os.path.join(folder, "test_*.py"))):
        with open(name, encoding="utf8") as f:
            tree = ast.parse(f.read())
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            for d in function.decorator_list:
                if not (isinstance(d, ast.Call) and getattr(d.func, "attr", "") == "parametrize" and len(d.args) > 1):
                    continue
                for e in (e for e in ast.walk(d.args[1]) if isinstance(e, ast.Tuple) and len(e.elts) >= 3):
                    try:
                        gold, response, truth = (ast.literal_eval(x) for x in e.elts[:3])
                    except ValueError:
                        continue
                    if isinstance(gold, str) and isinstance(response, str) and truth in (0, 1):
                        yield function.name, int(truth), gold, response


def report(name, pairs, want_list):
    a, b = ours(pairs), theirs(pairs)
    right = [sum(v == p[1] for v, p in zip(x, pairs)) for x in (a, b)]
    accepts = [sum(v > p[1] for v, p in zip(x, pairs)) for x in (a, b)]
    same = sum(x == y for x, y in zip(a, b))
    n = len(pairs)
    print(f"{name:8} {n:6} {same / n:10.4f} {right[0] / n:8.4f} {right[1] / n:8.4f} {accepts[0]:8} {accepts[1]:8}")
    if want_list:
        for p, x, y in sorted(zip(pairs, a, b)):
            if x != y or x != p[1]:
                print(f"    {p[0]}: true {p[1]} ours {x} theirs {y}: gold {p[2]!r} response {p[3][-160:]!r}")
    return n - right[0]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", default=os.path.join(HERE, "../shared/data"))
    arguments.add_argument("--made", type=int, default=4000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--peer-tests")
    arguments.add_argument("--list", action="store_true")
    o = arguments.parse_args()
    print("pairs     count  agreement     ours   theirs  wrongly accepted by ours, theirs")
    wrong = report("table", list(table()), o.list)
    report("gsm8k", list(gsm8k(o.data)), o.list)
    report("process", list(process(o.data)), o.list)
    report("made", list(made(o.made, o.seed)), o.list)
    if o.peer_tests:
        report("peer", list(peer(o.peer_tests)), o.list)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
