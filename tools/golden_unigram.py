#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/unigram.json.zst: what Hugging Face `tokenizers` makes of random strings with Unigram
tokenizers of the XLM-RoBERTa family: pieces trained by `sentencepiece`, its precompiled charsmap, Metaspace, a template.
With --compare, nothing is written: build/tools/tokenize is compared with the library on so many strings of each, ids and
all offsets, with the whole nmt_nfkc charsmap. With --model FOLDER, FOLDER/tokenizer.json is one for tools/golden_sat.py.
Needs `pip install tokenizers sentencepiece protobuf` and the zstd program.
Usage: tools/golden_unigram.py [FILE | --compare STRINGS [SEED]]"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece  # noqa: E402
from sentencepiece import sentencepiece_model_pb2  # noqa: E402
from tokenizers import Regex, Tokenizer, decoders, normalizers as N, pre_tokenizers as P, processors  # noqa: E402

import fuzz_tokenizer as fuzz  # noqa: E402
import tokenizer_corpus as corpus  # noqa: E402

BLOCKS = [(0x1, 0x20), (0xA0, 0x180), (0x300, 0x340), (0x2000, 0x2070), (0x2100, 0x2180), (0x3000, 0x3002), (0x3300, 0x3310), (0xFB00, 0xFB07), (0xFF01, 0xFF5F)]
TRICKY = ["\r\n", "a\u0301", "e\u0301\u0323", "\u00a9\u200d\U0001f600", "\u00e9\u0301", "\u0600a", "\u0600\u00bd", "\ufb01\u0301", "\u00bd\u20dd", "\t\u0301", "\u200b\u0301",
          "\u2122\u0308", "  \u3000 ", "\u0958\u0301", "\u0000x", "\u00ad\u00ad", "\u0345a", "<mask>", " <mask> ", "<s>", "</s>x", "<unk>", "\u2581", "\u2581\u2581 a", "x\u2581y"]


def rules(path):
    """NFKC of some blocks, sequences of base and mark, and characters that become nothing, as SentencePiece's text form."""
    made = {}
    for low, high in BLOCKS:
        for c in range(low, high):
            to = unicodedata.normalize("NFKC", chr(c))
            if c < 0x20:
                to = " " if chr(c) in "\t\n\r" else ""
            if to != chr(c):
                made[chr(c)] = to
    for c in range(0xC0, 0x180):
        parts = unicodedata.normalize("NFD", chr(c))
        if len(parts) == 2:
            made[parts] = chr(c)
    made["\u200b"] = made["\u00ad"] = made["\u0600"] = ""
    with open(path, "w") as f:
        for a in sorted(made):
            f.write(" ".join("%X" % ord(c) for c in a) + "\t" + " ".join("%X" % ord(c) for c in made[a]) + "\n")


def pieces(docs, size, small, **more):
    """Trained pieces with their scores, and the charsmap."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "docs"), "w") as f:
            for d in docs:
                f.write(d.replace("\0", "").replace("\n", " ")[:4000] + "\n")
        normal = {"normalization_rule_name": "nmt_nfkc"}
        if small:
            rules(os.path.join(folder, "rules"))
            normal = {"normalization_rule_tsv": os.path.join(folder, "rules")}
        sentencepiece.SentencePieceTrainer.train(
            input=os.path.join(folder, "docs"), model_prefix=os.path.join(folder, "m"), vocab_size=size, hard_vocab_limit=False,
            model_type="unigram", minloglevel=2, character_coverage=0.98, num_threads=1, **normal, **more)
        m = sentencepiece_model_pb2.ModelProto()
        with open(os.path.join(folder, "m.model"), "rb") as f:
            m.ParseFromString(f.read())
    return [(p.piece, p.score) for p in m.pieces], base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()


def tokenizer(vocab, charsmap, pre, normalizer=None, fallback=False):
    """vocab as the converter of XLM-RoBERTa lays it out: <s> <pad> </s> <unk>, the pieces from the fourth on, <mask>."""
    vocab = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]] + [list(p) for p in vocab[3:]] + [["<mask>", 0.0]]
    first = [("<s>", False), ("<pad>", False), ("</s>", False), ("<unk>", False), ("<mask>", True)]
    j = {"version": "1.0", "truncation": None, "padding": None,
         "added_tokens": [{"id": next(i for i, v in enumerate(vocab) if v[0] == t), "content": t, "single_word": False, "lstrip": left, "rstrip": False,
                           "normalized": False, "special": True} for t, left in first],
         "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
         "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": fallback}}
    t = Tokenizer.from_str(json.dumps(j))
    charsmap = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    if normalizer is not False:
        j["normalizer"] = {"type": "Sequence", "normalizers": [charsmap] + [json.loads(n.__getstate__()) for n in normalizer]} if normalizer else charsmap
    t = Tokenizer.from_str(json.dumps(j))
    if pre:
        t.pre_tokenizer = pre
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    t.decoder = decoders.Metaspace()
    return t


def kinds(docs, small, size=900):
    vocab, charsmap = pieces(docs, size, small)
    spaces = [N.Strip(False, True), N.Replace(Regex(" {2,}"), "\u2581")]
    yield "hub", tokenizer(vocab, charsmap, P.Sequence([P.WhitespaceSplit(), P.Metaspace()]))
    yield "converted", tokenizer(vocab, charsmap, P.Metaspace(prepend_scheme="always"), spaces)
    yield "blank for blanks", tokenizer(vocab, charsmap, P.Metaspace(prepend_scheme="always"), [N.Replace(Regex(" {2,}"), " ")])
    yield "first, whole", tokenizer(vocab, charsmap, P.Metaspace(prepend_scheme="first", split=False))
    yield "nothing", tokenizer(vocab, charsmap, None, False)
    vocab, charsmap = pieces(docs, size + 300, small, byte_fallback=True)
    yield "bytes", tokenizer(vocab, charsmap, P.Metaspace(), spaces, True)


def strings(count, seed):
    import random
    r = random.Random(seed)
    return [x if r.random() < .5 else x + r.choice(TRICKY) + r.choice(["", " a", "b"]) + r.choice(TRICKY) for x in fuzz.strings(count, seed)]


def case(t, text):
    got = t.encode(text, add_special_tokens=False)
    places = [0]
    for c in text:
        places.append(places[-1] + len(c.encode()))
    c = {"text": text, "ids": got.ids, "offsets": [p for a, b in got.offsets for p in (places[a], places[b])]}
    decoded = t.decode(got.ids, skip_special_tokens=False)
    if decoded != text:
        c["decoded"] = decoded
    whole = t.encode(text).ids
    if whole != got.ids:
        c["template"] = whole
    return c


def write(path, docs):
    entries = []
    for number, (name, t) in enumerate(kinds(docs, True, 600)):
        texts = TRICKY + strings(150, 277 + number)
        entries.append({"name": "unigram " + name, "tokenizer": json.loads(t.to_str()), "cases": [case(t, x) for x in texts]})
    with tempfile.NamedTemporaryFile() as f:
        f.write(json.dumps(entries, ensure_ascii=True, separators=(",", ":")).encode())
        f.flush()
        subprocess.run(["zstd", "-q", "-19", "-f", f.name, "-o", path], check=True)
        os.chmod(path, 0o644)
    print(sum(len(e["cases"]) for e in entries), "cases of", len(entries), "tokenizers,", os.path.getsize(path), "bytes")


def compare(docs, count, seed):
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/tools/tokenize")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        for small in (True, False):
            for number, (name, t) in enumerate(kinds(docs, small)):
                t.save(path)
                texts = TRICKY + strings(count, 1000 * seed + 10 * small + number)
                bad += fuzz.compare(f"{name}, {'small' if small else 'nmt_nfkc'}", t, texts, fuzz.ours(program, path, [x.encode() for x in texts]), True)
    return bad


def main():
    docs = corpus.documents(1)[:120]
    if sys.argv[1:2] == ["--compare"]:
        sys.exit(1 if compare(docs, int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5) else 0)
    if sys.argv[1:2] == ["--model"]:
        dict(kinds(docs, True, 600))["hub"].save(os.path.join(sys.argv[2], "tokenizer.json"))
        return
    write(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../tests/golden/tokenizer/unigram.json.zst"), docs)


if __name__ == "__main__":
    main()
