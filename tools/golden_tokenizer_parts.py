#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/fuzz.json.zst: what Hugging Face `tokenizers` makes of random strings, with small tokenizers
trained on the spot: the three pattern families (1200 strings each), and every other part that we know, in many mixtures.
With --compare, nothing is written: build/tools/tokenize is compared with the library on so many strings of each instead.
Needs `pip install tokenizers` and the zstd program. Usage: tools/golden_tokenizer_parts.py [FILE | --compare STRINGS [SEED]]"""
import json
import os
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers as N, pre_tokenizers as P, processors, trainers  # noqa: E402

import fuzz_tokenizer as fuzz  # noqa: E402
import tokenizer_corpus as corpus  # noqa: E402

CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
PATTERNS = [r"\w+|[^\w\s]+", r"\W", r"[^\S\n]+", r"[\D\n]+?x", r"\d{2,3}", r"\h+", r"[\H]{2}", r"\p{Mn}|\p{Mc}", r"\p{C}", r"[^\P{L}a-e]+", r"\P{L}+", r"(?i:the|K|s)",
            r"a{,2}b", r"(?<=\s)\S", r"\S(?=\n)", r"^.|.$", r"\u0041|\x{42}|\x43", r"[\s\S]", r"x*", r"\p{^Lu}\p{Lu}", r"[\p{Nd}\p{Sc}_]++", r"(?x: a  b | c )", r"\p{Co}|\p{Cf}|\p{Cn}", r"[\p{Han}]+|[^\p{Han}a]+", r"\P{Han}"]
ADDED = corpus.ADDED + [AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
                        AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), AddedToken("<word>", single_word=True, normalized=False),
                        AddedToken("Caf\u00e9", normalized=True), AddedToken(" wait", normalized=True, single_word=True), AddedToken("12", normalized=True, special=True)]


def level(prefix=False, regex=False):
    return P.ByteLevel(add_prefix_space=prefix, trim_offsets=False, use_regex=regex)


def split(pattern, behavior="isolated", invert=False):
    return P.Split(pattern if isinstance(pattern, Regex) else Regex(pattern), behavior, invert)


def train(docs, pre, normalizer=None, decoder=None, byte_level=True, size=500, trainer=None, **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder or decoders.ByteLevel()
    special = [model["unk_token"]] if "unk_token" in model else []
    special += [f"<0x{b:02X}>" for b in range(256)] if model.get("byte_fallback") else []
    start = sorted(P.ByteLevel.alphabet()) if byte_level else []
    t.train_from_iterator(docs, trainers.BpeTrainer(vocab_size=size, initial_alphabet=start, special_tokens=special, show_progress=False, **(trainer or {})))
    j = json.loads(t.to_str())
    j["added_tokens"] = []
    t = Tokenizer.from_str(json.dumps(j))
    t.add_tokens(ADDED)
    return t


def parts(docs):
    seq = P.Sequence
    plain = dict(byte_level=False, size=700, unk_token="<unk>")
    for number, pattern in enumerate(PATTERNS):
        behavior = ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous")[number % 5]
        yield f"pattern {number}", train(docs, seq([split(pattern, behavior, number % 3 == 0), level()]))
    for name, pattern in (("cl100k", CL100K), ("o200k", O200K), ("qwen3.5", QWEN35)):
        yield name, train(docs, seq([split(pattern), level()]), N.NFC())
    yield "deepseek", train(docs, seq([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK), level()]))
    yield "starcoder", train(docs, seq([P.Digits(individual_digits=True), level(False, True)]))
    yield "removed inverted", train(docs, seq([split(corpus.LLAMA, "removed", True), level()]))
    yield "digits", train(docs, seq([P.Digits(individual_digits=False), level(True, True)]), N.NFKC())
    for behavior in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"):
        yield f"punctuation {behavior}", train(docs, seq([P.Punctuation(behavior), level()]))
        yield f"string {behavior}", train(docs, seq([P.Split(" ", behavior), P.Split("e", behavior, True), level()]))
    yield "roberta", train(docs, level(True, True))
    yield "llama2", train(docs, None, N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
                          decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
                          byte_fallback=True, fuse_unk=True, **plain)
    yield "metaspace always", train(docs, P.Metaspace(), N.NFKC(), decoders.Metaspace(), **plain)
    yield "metaspace first", train(docs, P.Metaspace("▁", "first"), None, decoders.Metaspace("▁", "first"), **plain)
    yield "metaspace never", train(docs, P.Metaspace("_", "never", False), None, decoders.Metaspace("_", "never"), byte_fallback=True, **plain)
    yield "after words", train(docs, seq([P.WhitespaceSplit(), P.Metaspace()]), N.Strip(), decoders.Metaspace(), fuse_unk=True, **plain)
    yield "suffix", train(docs, P.Whitespace(), N.Sequence([N.NFD(), N.Lowercase(), N.StripAccents()]), decoders.BPEDecoder("</w>"),
                          end_of_word_suffix="</w>", trainer={"end_of_word_suffix": "</w>"}, **plain)
    yield "prefix", train(docs, seq([P.WhitespaceSplit(), P.Punctuation()]), N.Lowercase(), decoders.Fuse(),
                          continuing_subword_prefix="##", trainer={"continuing_subword_prefix": "##"}, **plain)
    yield "nfkd", train(docs, level(), N.Sequence([N.NFKD(), N.Replace(Regex(r"\s+"), " "), N.Strip(True, False)]))
    yield "nfd", train(docs, level(), N.Sequence([N.NFD(), N.Strip(False, True), N.Replace("e", "")]))
    yield "accents", train(docs, level(), N.StripAccents())
    yield "lower", train(docs, level(False, True), N.Lowercase(), decoders.Sequence([decoders.ByteLevel(), decoders.Strip("a", 2, 1)]))
    yield "nothing", train(docs, None, None, decoders.Fuse(), **plain)


def processed(name, t):
    """Some of them with post-processors; their tokens are in what encode() gives when asked."""
    ids = [(s, t.token_to_id(s)) for s in ("<|im_start|>", "<|im_end|>")]
    if name == "roberta":
        t.post_processor = processors.RobertaProcessing(ids[1], ids[0], trim_offsets=False, add_prefix_space=True)
    elif name == "suffix":
        t.post_processor = processors.BertProcessing(ids[1], ids[0])
    elif name == "llama2":
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|im_start|> <|im_end|> $A <|im_end|>", pair=None, special_tokens=ids)])
    elif name == "prefix":
        t.post_processor = None
    return t


def flat(text, spans):
    places = [0]
    for c in text:
        places.append(places[-1] + len(c.encode()))
    return [p for a, b in spans for p in (places[a], places[b])]


def case(t, text):
    got = t.encode(text, add_special_tokens=False)
    c = {"text": text, "ids": got.ids}
    unchanged = t.normalizer is None or t.normalizer.normalize_str(text) == text
    if unchanged:
        c["offsets"] = flat(text, got.offsets)
    decoded = t.decode(got.ids, skip_special_tokens=False)
    if decoded != text:
        c["decoded"] = decoded
    whole = t.encode(text).ids
    if whole != got.ids:
        c["template"] = whole
    return c


def write(path, docs):
    entries = []
    for number, family in enumerate(corpus.FAMILIES):
        texts = fuzz.strings(1200, 77 + number)
        t = corpus.train(family, docs + texts[:200], 1000)
        entries.append({"name": family, "tokenizer": json.loads(t.to_str()), "cases": [case(t, x) for x in texts]})
    for number, (name, t) in enumerate(parts(docs)):
        t = processed(name, t)
        texts = fuzz.strings(50, 177 + number)
        entries.append({"name": name, "tokenizer": json.loads(t.to_str()), "cases": [case(t, x) for x in texts]})
    with tempfile.NamedTemporaryFile() as f:
        f.write(json.dumps(entries, ensure_ascii=True, separators=(",", ":")).encode())
        f.flush()
        subprocess.run(["zstd", "-q", "-19", "-f", f.name, "-o", path], check=True)
        os.chmod(path, 0o644)
    print(sum(len(e["cases"]) for e in entries), "cases of", len(entries), "tokenizers,", os.path.getsize(path), "bytes")


def compare(docs, count, seed):
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        for number, (name, t) in enumerate(parts(docs)):
            t.save(path)
            texts = fuzz.strings(count, 1000 * seed + number)
            bad += fuzz.compare(name, t, texts, fuzz.ours(os.path.join(root, "build/tools/tokenize"), path, [x.encode() for x in texts]))
    return bad


def main():
    docs = corpus.documents(1)[:60]
    if sys.argv[1:2] == ["--compare"]:
        sys.exit(1 if compare(docs, int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5) else 0)
    write(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../tests/golden/tokenizer/fuzz.json.zst"), docs)


if __name__ == "__main__":
    main()
