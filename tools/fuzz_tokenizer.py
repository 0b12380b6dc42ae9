#!/usr/bin/env python3
"""Compares our tokenizer with Hugging Face `tokenizers` on random strings, for the three pattern families, with tokenizers
trained on the spot: ids, offsets (where the normaliser changed nothing) and what the ids decode to. Once with the pattern
as it is (our hand-written scanner), once in a group, which our regular expressions then read. Exit status 1 at any difference.
"every" for STRINGS takes every code point instead, in several places each.
Needs `pip install tokenizers` and build/tools/tokenize. Usage: tools/fuzz_tokenizer.py [STRINGS [SEED [TOKENIZE]]]"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

import tokenizer_corpus as corpus  # noqa: E402

MARKS = [c for c in range(0x300, 0x1E950) if unicodedata.category(chr(c)) in ("Mn", "Mc", "Me")]
DECOMPOSABLE = [c for c in range(0xC0, 0x30000) if unicodedata.decomposition(chr(c)) and not 0xAC00 <= c <= 0xD7A3]
SPACES = [chr(c) for c in (9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, 0x180E, 0x2000, 0x2007, 0x200A, 0x200B, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF)]
CODE = ["def ", "return", "  ", "    ", "\t", "\n", "\r\n", "();", "{}", "[i]", " = ", "==", "->", "::", "//", "# ", "\"", "'", "_x", "0x1f", "1e-9", "if (", "!=", "&&"]
WORDS = ["the", " of", " Wait", ",", " loaves", "I'm", "we'LL", "they'd", "'S", "'ſ", "don't", " 'tis", "\\frac{1}{2}", "\\boxed{", "}", "$", "日本語", "工作", "한국어",
         "نص", "हिन्दी", "ไทย", "naïve", "café", "ß", "İ", "ı", "K", "ﬁ", "é", "ô̂", "👩‍👩‍👧", "🇫🇷", "½", "²", "Ⅷ", "٣", "१२"]


def anything(r):
    while True:
        c = r.choice((r.randrange(0x80), r.randrange(0x800), r.randrange(0x10000), r.randrange(0x110000), r.randrange(0x10000, 0x20000)))
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def part(r):
    kind = r.randrange(12)
    if kind < 3:
        return r.choice(WORDS)
    if kind == 3:
        return "".join(anything(r) for _ in range(r.randint(1, 8)))
    if kind == 4:
        return "".join(r.choice("0123456789") for _ in range(r.randint(1, 9)))
    if kind == 5:
        return "".join(r.choice(CODE) for _ in range(r.randint(1, 4)))
    if kind == 6:
        return "".join(r.choice(SPACES) if r.random() < .5 else r.choice(" \n") for _ in range(r.randint(1, 6)))
    if kind == 7:
        return r.choice("aeoqAO가ᄀक") + "".join(chr(r.choice(MARKS)) for _ in range(r.randint(1, 3)))
    if kind == 8:
        return chr(r.choice(DECOMPOSABLE)) + r.choice(["", "\u0323", "\u0301", chr(0x1161 + r.randrange(100))])
    if kind == 9:
        return r.choice(["", " ", "\n"]) + r.choice(corpus.ADDED).content + r.choice(["", " ", "a", "<"])
    if kind == 10:
        return "".join(r.choice("abcdefgehinorst ABC") for _ in range(r.randint(1, 12)))
    return r.choice(" '.,!?-_()\n") * r.randint(1, 3)


def strings(count, seed):
    r = random.Random(seed)
    return ["".join(part(r) for _ in range(r.randint(1, 10))) for _ in range(count)]


def every():
    """Every code point: in a word, after a digit, before marks, doubled."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return ["".join(f"a{chr(c)}b 1{chr(c)} {chr(c)}\u0301\u0323 {chr(c)}{chr(c)}\n" for c in points[i:i + 16]) for i in range(0, len(points), 16)]


def ours(program, path, texts):
    """(ids, [(start, end)], decoded) of every text."""
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    out = subprocess.run([program, path], input=data, stdout=subprocess.PIPE, check=True).stdout
    at, result = 0, []
    for _ in texts:
        count, = struct.unpack_from("<I", out, at)
        numbers = struct.unpack_from("<%dI" % (3 * count), out, at + 4)
        at += 4 + 12 * count
        length, = struct.unpack_from("<I", out, at)
        result.append((numbers[::3], list(zip(numbers[1::3], numbers[2::3])), out[at + 4:at + 4 + length]))
        at += 4 + length
    assert at == len(out)
    return result


def in_group(tokenizer):
    """The same tokenizer, its pattern in a group: no exact text that our scanner knows."""
    j = json.loads(tokenizer.to_str())
    steps = j["pre_tokenizer"].get("pretokenizers", [j["pre_tokenizer"]])
    if steps[0]["type"] == "Split":
        steps[0]["pattern"]["Regex"] = "(?:" + steps[0]["pattern"]["Regex"] + ")"
    else:
        split = {"type": "Split", "pattern": {"Regex": r"(?:'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
                 "behavior": "Isolated", "invert": False}
        j["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, dict(steps[0], use_regex=False)]}
    return json.dumps(j)


def compare(name, tokenizer, texts, results, always=False):
    different = {"ids": 0, "offsets": 0, "decoded": 0}
    offsets = 0
    for text, (ids, spans, decoded) in zip(texts, results):
        want = tokenizer.encode(text, add_special_tokens=False)
        bad = None
        if tuple(want.ids) != ids:
            bad = "ids"
        elif tokenizer.decode(want.ids, skip_special_tokens=False).encode() != decoded:
            bad = "decoded"
        elif always or tokenizer.normalizer is None or tokenizer.normalizer.normalize_str(text) == text:
            offsets += 1
            places = [0]
            for c in text:
                places.append(places[-1] + len(c.encode()))
            if [(places[a], places[b]) for a, b in want.offsets] != spans:
                bad = "offsets"
        if bad:
            different[bad] += 1
            if sum(different.values()) <= 3:
                print(f"{name}: {bad} of {text!r}\n  want {want.ids} {want.offsets}\n  got  {list(ids)} {spans}")
    print(f"{name}: {len(texts)} strings, {sum(len(r[0]) for r in results)} tokens; differences: ids {different['ids']}, offsets "
          f"{different['offsets']} of {offsets} compared, decoded {different['decoded']}", flush=True)
    return sum(different.values())


def main():
    whole = sys.argv[1:2] == ["every"]
    count = 0 if whole else int(sys.argv[1]) if len(sys.argv) > 1 else 100000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    program = sys.argv[3] if len(sys.argv) > 3 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/tools/tokenize")
    docs = corpus.documents(2)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        for number, family in enumerate(corpus.FAMILIES):
            texts = every() if whole else strings(count, 1000 * seed + number)
            # strings are training text too, so that odd characters are in merges
            trained = corpus.train(family, docs + strings(2000, seed), 8000)
            data = [t.encode() for t in texts]
            for how, text in (("scanner", trained.to_str()), ("regular expression", in_group(trained))):
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
                bad += compare(f"{family}, {how}", trained, texts, ours(program, path, data))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
