#!/usr/bin/env python3
"""Makes kernels/unicode.def: what Hugging Face `tokenizers` takes each code point for, asked of the library itself, one
code point at a time, because it mixes four Unicode versions (its regular expressions, its normaliser, its punctuation, and
Rust's). Needs `pip install tokenizers` and Python 3.11 (Unicode 14, which Debian 12's PCRE2 has too).
Usage: tools/unicode_tables.py [FILE]"""
import os
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Cn Cc Cf Co Cs Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs".split()
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
BLOCK = 4096


def blocks():
    for i in range(0, len(POINTS), BLOCK):
        yield POINTS[i:i + BLOCK]


def removed(step):
    """The code points that a pre-tokenizer takes out of a text."""
    found = set()
    for block in blocks():
        left = set()
        for piece, _ in step.pre_tokenize_str("".join(map(chr, block))):
            left.update(map(ord, piece))
        found |= set(block) - left
    return found


def matched(pattern):
    return removed(pre_tokenizers.Split(Regex(pattern), "removed"))


def numeric():
    found = set()
    step = pre_tokenizers.Digits(individual_digits=True)
    for block in blocks():
        for piece, _ in step.pre_tokenize_str("a".join(map(chr, block))):
            if len(piece) == 1 and piece != "a":
                found.add(ord(piece))
    return found


def words():
    """Rust's \\w, as the Whitespace pre-tokenizer has it: a letter on both sides joins it."""
    found = set()
    step = pre_tokenizers.Whitespace()
    for block in blocks():
        for piece, _ in step.pre_tokenize_str(" ".join("a" + chr(c) + "a" for c in block)):
            if len(piece) == 3 and piece[0] == piece[2] == "a":
                found.add(ord(piece[1]))
    return found


def inert():
    """Code points that the library's normaliser leaves alone and a newer one may not: those without a decomposition or a
    combining class there that have one in Unicode 14, their parts, and all that Unicode 14 does not know."""
    found = set()
    decompose = normalizers.NFKD()
    for c in POINTS:
        s = chr(c)
        k = unicodedata.combining(s)
        newer = unicodedata.normalize("NFKD", s)
        if decompose.normalize_str(s) != newer:
            assert decompose.normalize_str(s) == s, hex(c)
            found.add(c)
            if not unicodedata.decomposition(s).startswith("<"):
                found.update(map(ord, newer))
        elif k and newer == s:
            moves = decompose.normalize_str("a\u0345" + s) != "a\u0345" + s, decompose.normalize_str("a" + s + "\u0334") != "a" + s + "\u0334"
            assert moves in ((0 < k < 240, k > 1), (False, False)), hex(c)
            if moves != (0 < k < 240, k > 1):
                found.add(c)
        elif unicodedata.category(s) == "Cn":
            found.add(c)
    return found


def lower_runs():
    """(first, last, step, delta) of code points whose lower case is another single one."""
    lower = normalizers.Lowercase()
    runs = []
    for c in POINTS:
        to = lower.normalize_str(chr(c))
        if len(to) != 1:
            assert c == 0x130 and to == "i\u0307"
            continue
        delta = ord(to) - c
        if not delta:
            continue
        if runs and runs[-1][3] == delta and (c - runs[-1][1] == runs[-1][2] or (runs[-1][2] == 0 and c - runs[-1][1] <= 2)):
            runs[-1][2] = c - runs[-1][1]
            runs[-1][1] = c
        else:
            runs.append([c, c, 0, delta])
    return runs


def main():
    assert unicodedata.unidata_version == "14.0.0", "Python 3.11 is needed"
    flags = [0] * 0x110000
    for c in range(0xD800, 0xE000):
        flags[c] = CATEGORIES.index("Cs")
    for number, name in enumerate(CATEGORIES):
        if name != "Cs":
            for c in matched(r"\p{%s}" % name):
                flags[c] |= number
    assert matched(r"\s") == matched(r"[\s]") == removed(pre_tokenizers.WhitespaceSplit()) == matched("[[:space:]]")
    strip = normalizers.StripAccents()
    sets = [matched(r"\w"), matched(r"[\w]"), words(), numeric(), removed(pre_tokenizers.Punctuation("removed")),
            {c for c in POINTS if not strip.normalize_str(chr(c))}, inert(),
            {c for c in POINTS if unicodedata.category(chr(c)) == "Cn" and flags[c]}, matched(r"\p{Han}")]
    for bit, members in enumerate(sets):
        for c in members:
            flags[c] |= 32 << bit
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../kernels/unicode.def")
    rows = [f"R({c:#x}, {flags[c]:#x})" for c in range(0x110000) if c == 0 or flags[c] != flags[c - 1]]
    rows += [f"L({a:#x}, {b:#x}, {step or 1}, {delta})" for a, b, step, delta in lower_runs()]
    with open(path, "w", encoding="ascii") as f:
        f.write(f"/* Made by tools/unicode_tables.py from tokenizers {tokenizers.__version__}; see unicode.h.\n"
                " * R(first, flags): code points from the first up to the next row's.\n"
                " * L(first, last, step, delta): lower case is so far away. */\n")
        line = ""
        for row in rows:
            if len(line) + len(row) > 98:
                f.write(line.rstrip() + "\n")
                line = ""
            line += row + " "
        f.write(line.rstrip() + "\n")
    print(len(rows), "rows")


main()
