"""Text and tokenizers for tools/bench_tokenizer.py and tools/fuzz_tokenizer.py: mixed documents from what a machine
has (GSM8K where shared/data is beside the checkout, Python's library, C headers, message catalogues of Chinese, Japanese and
Korean), and byte-level BPE tokenizers of the three pattern families trained on them by Hugging Face `tokenizers`."""
import glob
import json
import os
import random
import sysconfig

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
LLAMA = QWEN.replace(r"|\p{N}| ", r"|\p{N}{1,3}| ")
FAMILIES = ("gpt2", "llama3", "qwen2")


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except (OSError, UnicodeDecodeError):
        return ""


def catalogue(path):
    """The translations of a compiled message catalogue (GNU .mo, little-endian)."""
    data = open(path, "rb").read()
    if data[:4] != b"\xde\x12\x04\x95":
        return ""
    word = lambda at: int.from_bytes(data[at:at + 4], "little")
    count, table = word(8), word(16)
    texts = (data[word(table + 8 * i + 4):][:word(table + 8 * i)] for i in range(1, count))
    return "\n".join(t.decode("utf-8", "replace").replace("\0", "\n") for t in texts)


def cut(texts, size, limit):
    """Documents of about SIZE characters, LIMIT bytes in all."""
    docs, total = [], 0
    for text in texts:
        for at in range(0, len(text), size):
            doc = text[at:at + size]
            docs.append(doc)
            total += len(doc.encode())
            if total >= limit:
                return docs
    return docs


def gsm8k():
    shared = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../shared/data/gsm8k")
    for name in ("train.jsonl", "test.jsonl"):
        for line in read(os.path.join(shared, name)).splitlines():
            row = json.loads(line)
            yield row["question"] + "\n" + row["answer"] + "\n\n"


def formulas(seed, count):
    """Written-out arithmetic and LaTeX: more digits and signs than the other texts have."""
    r = random.Random(seed)
    for _ in range(count):
        a, b, c = r.randrange(10000), r.randrange(1, 999), r.randrange(100)
        yield r.choice([f"\\frac{{{a}}}{{{b}}} + \\sqrt{{{c}}} = {a / b + c ** .5:.6f}\n", f"{a} * {b} - {c} = {a * b - c}; \\boxed{{{a * b - c}}}\n",
                        f"$x^{{{c}}} - {b}x \\leq \\sum_{{i=1}}^{{{a}}} i \\cdot {c}$, so x ≈ {a / b:.3f} ± {c / 7:.2f}\n",
                        f"f({c}) = {a}.{b:03d} × 10^{{-{c % 9}}}, ∫_0^{c} e^{{-x²}} dx → {b}/{a + 1}\n"])


def documents(megabytes, seed=1):
    """A list of texts, MEGABYTES of UTF-8 in all at most: English and maths 45%, code 35%, Chinese, Japanese and Korean 20%."""
    r = random.Random(seed)
    library = sysconfig.get_paths()["stdlib"]
    code = sorted(glob.glob(library + "/*.py") + glob.glob(library + "/*/*.py"))
    headers = sorted(glob.glob("/usr/include/linux/*.h") + glob.glob("/usr/include/*.h"))
    prose = sorted(glob.glob("/usr/share/perl/*/pod/*.pod") + glob.glob("/usr/share/doc/*/*.txt") + glob.glob("/usr/share/doc/*/README*") +
                   glob.glob("/usr/share/common-licenses/*"))
    east = sorted(p for lang in ("zh_CN", "zh_TW", "ja", "ko") for p in glob.glob(f"/usr/share/locale/{lang}/LC_MESSAGES/*.mo"))
    for paths in (code, headers, prose, east):
        r.shuffle(paths)
    joined = "".join(gsm8k())
    whole = int(megabytes * 1e6)
    docs = cut([joined] + [read(p) for p in prose], 4000, int(.35 * whole)) + cut(["".join(formulas(seed, 12000 * megabytes // 10))], 2000, int(.1 * whole))
    docs += cut((read(p) for p in code), 4000, int(.2 * whole)) + cut((read(p) for p in headers), 4000, int(.15 * whole))
    docs += cut((catalogue(p) for p in east), 1500, int(.2 * whole))
    r.shuffle(docs)
    return docs


ADDED = [AddedToken(s, special=True, normalized=False) for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")] + \
        [AddedToken(s, special=False, normalized=False) for s in ("<think>", "</think>", "<tool_call>")]


def train(family, docs, size):
    """A tokenizer of FAMILY with SIZE entries, and the added tokens of chat models."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=family == "gpt2")
    t = Tokenizer(models.BPE(ignore_merges=family == "llama3"))
    if family == "qwen2":
        t.normalizer = normalizers.NFC()
    if family == "gpt2":
        t.pre_tokenizer = level
    else:
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA if family == "llama3" else QWEN), "isolated"), level])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(docs, trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.add_tokens(ADDED)
    return t
