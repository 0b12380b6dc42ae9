#!/usr/bin/env python3
"""Our tokenizer's speed against Hugging Face `tokenizers`, one thread each, same documents, tokenizers of the three families
trained on them on the spot. Theirs is the fastest of encode() a text, encode_batch() and encode_batch_fast() (which makes no
offsets; ours always does); both are the best of several passes in turn, and the token counts must agree. Exit status 1 below
the factor asked for. Usage: tools/bench_tokenizer.py [MEGABYTES [VOCABULARY [FACTOR]]].
BUILD is the folder of build/tools/bench_tokenizer, if not build."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

import tokenizer_corpus as corpus  # noqa: E402

WAYS = {
    "encode": lambda t, docs: sum(len(t.encode(d, add_special_tokens=False)) for d in docs),
    "encode_batch": lambda t, docs: sum(map(len, t.encode_batch(docs, add_special_tokens=False))),
    "encode_batch_fast": lambda t, docs: sum(map(len, t.encode_batch_fast(docs, add_special_tokens=False))),
}


def measure(family, docs, vocabulary, folder, program):
    path, texts = os.path.join(folder, family + ".json"), os.path.join(folder, "texts")
    corpus.train(family, docs, vocabulary).save(path)
    size = sum(len(d.encode()) for d in docs)
    best, tokens, mine = {}, 0, None
    theirs = Tokenizer.from_file(path)
    for _ in range(3):          # in turn, so that a noisy neighbour meets both
        ours = json.loads(subprocess.run([program, path, texts, "2"], stdout=subprocess.PIPE, check=True).stdout)
        mine = min(mine or 1e9, ours["seconds"])
        for way, run in WAYS.items():
            start = time.perf_counter()
            tokens = run(theirs, docs)
            best[way] = min(best.get(way, 1e9), time.perf_counter() - start)
        assert tokens == ours["tokens"], (family, tokens, ours)
    way = min(best, key=best.get)
    factor = best[way] / mine
    print(f"{family}: {size / 1e6:.1f} MB, {tokens} tokens, vocabulary {theirs.get_vocab_size()}; ours {size / mine / 1e6:.1f} MB/s, tokenizers "
          f"{tokenizers.__version__} {size / best[way] / 1e6:.2f} MB/s ({way}; others: "
          f"{', '.join(f'{w} {size / s / 1e6:.2f}' for w, s in best.items() if w != way)}): {factor:.1f}x", flush=True)
    return factor


def main():
    megabytes, vocabulary = (int(sys.argv[1]) if len(sys.argv) > 1 else 10), (int(sys.argv[2]) if len(sys.argv) > 2 else 40000)
    wanted = float(sys.argv[3]) if len(sys.argv) > 3 else 5
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    program = os.path.join(os.environ.get("BUILD", os.path.join(root, "build")), "tools/bench_tokenizer")
    docs = corpus.documents(megabytes)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "texts"), "wb") as f:
            for d in docs:
                f.write(struct.pack("<I", len(d.encode())) + d.encode())
        factors = [measure(f, docs, vocabulary, folder, program) for f in corpus.FAMILIES]
    sys.exit(1 if min(factors) < wanted else 0)


main()
