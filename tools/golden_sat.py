#!/usr/bin/env python3
"""Makes tests/golden/sat: small XLM-RoBERTa token classifiers with random weights and a trained Unigram tokenizer, their
logits by `transformers` (with wtpsplit's masks for a limited lookahead), and where `wtpsplit` cuts texts with them
under many settings. wtpsplit's sums are float16; here they are float32, as ours are. With --compare, nothing is written:
build/tools/sat is held against wtpsplit on random texts, with float32 and with float16 sums.
Needs `pip install torch transformers tokenizers sentencepiece protobuf`, and `pip install --no-deps wtpsplit`.
Usage: tools/golden_sat.py [FOLDER | --compare TEXTS [SEED]]"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import types
import warnings

os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.filterwarnings("ignore")
for name in ("pandas", "mosestokenizer", "skops", "skops.io"):  # wtpsplit imports them, for what is not used here
    try:
        __import__(name)
    except ImportError:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].MosesTokenizer = None

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForTokenClassification  # noqa: E402
import wtpsplit  # noqa: E402
from wtpsplit.configs import SubwordXLMConfig  # noqa: E402
from wtpsplit.models import SubwordXLMForTokenClassification, get_extended_attention_mask  # noqa: E402

import fuzz_tokenizer as fuzz  # noqa: E402

EXTRACT = sys.modules["wtpsplit.extract"]  # the package has a function of that name
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..")


class Float32:
    """numpy, whose float16 is float32."""
    float16 = np.float32

    def __getattr__(self, name):
        return getattr(np, name)


TEXTS = [
    "", " ", " \n ", "x", "Hello world", "  Hello world. And more \n",
    "The baker sold 12 loaves in the morning and 7 more in the afternoon, so she sold 12 + 7 = 19 loaves. Wait, that's not right: she'd already given 3 away. "
    "So it's 19 - 3 = 16.  #### 16",
    "Let x be the number of apples.\nThen 2x + 5 = 17, 2x = 12, x = 6.\n\n\tWe've checked it twice; they'll agree.\n\n\nDone \\boxed{6}.\n",
    "Über die Brücke gehen; déjà vu, naïve café. нещо на Български. 我想在苹果工作。こんにちは世界。 한국어 문장.",
    "ﬁve ½ cups ①② \u3000 wide\u200bspace\u00a0and\u2003em. \u0600a \u00ad\u00ad e\u0301\u0323 👩‍👩‍👧 <s> and <mask> or </s> \x1c\x1d end",
    "no spaces:" + "abcdefghij" * 12,
    "\n".join("Step %d: we multiply %d by %d and get %d. That is enough, for now." % (i, i, i + 1, i * (i + 1)) for i in range(1, 16)),
]
SETTINGS = [
    {"stride": 64, "block_size": 100},
    {"stride": 8, "block_size": 24},
    {"stride": 8, "block_size": 24, "weighting": "hat", "threshold": 0.4},
    {"stride": 5, "block_size": 17, "weighting": "hat", "threshold": 0.6},
    {"stride": 32, "block_size": 40, "threshold": 0.5, "split_on_input_newlines": False},
    {"stride": 16, "block_size": 32, "remove_whitespace_before_inference": True, "threshold": 0.5},
    {"stride": 16, "block_size": 64, "do_paragraph_segmentation": True, "paragraph_threshold": 0.7, "threshold": 0.4},
    {"stride": 16, "block_size": 64, "do_paragraph_segmentation": True, "paragraph_threshold": 0.6, "min_length": 5, "max_length": 30},
    {"stride": 16, "block_size": 64, "min_length": 20, "max_length": 60},
    {"stride": 16, "block_size": 64, "min_length": 3, "max_length": 10},
    {"stride": 16, "block_size": 64, "min_length": 15},
    {"stride": 16, "block_size": 64, "max_length": 80, "prior_type": "gaussian"},
    {"stride": 16, "block_size": 64, "max_length": 40, "min_length": 10, "prior_type": "gaussian", "prior_kwargs": {"target_length": 25, "spread": 8}},
    {"stride": 16, "block_size": 64, "max_length": 90, "min_length": 4, "prior_type": "lognormal"},
    {"stride": 16, "block_size": 64, "max_length": 50, "prior_type": "clipped_polynomial", "prior_kwargs": {"target_length": 30, "spread": 20}},
    {"stride": 16, "block_size": 64, "min_length": 12, "max_length": 12},
]


def config(kind, vocab, **more):
    return kind(vocab_size=vocab, hidden_act="gelu", pad_token_id=1, bos_token_id=0, eos_token_id=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **more)


def models(vocab):
    """(name, model, float16 in the file)"""
    shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=130, type_vocab_size=1, layer_norm_eps=1e-5)
    yield "plain", XLMRobertaForTokenClassification(config(XLMRobertaConfig, vocab, num_labels=1, **shape)), True
    shape.update(num_hidden_layers=3)
    yield "lookahead", SubwordXLMForTokenClassification(config(SubwordXLMConfig, vocab, num_labels=5, lookahead=9, **shape)), True
    shape.update(hidden_size=20, num_attention_heads=5, type_vocab_size=2, intermediate_size=33)
    yield "split", SubwordXLMForTokenClassification(config(SubwordXLMConfig, vocab, num_labels=3, lookahead=6, lookahead_split_layers=2, **shape)), False


def randomise(model, seed):
    """Weights that make the logits spread over some units, biases and norms among them."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = 1.0 if "embeddings" in name else 0.2
            p.copy_(torch.randn(p.shape, generator=g) * scale + (1.0 if "LayerNorm.weight" in name else 0.0))
        model.classifier.bias.zero_()
        ids = torch.randint(0, model.config.vocab_size, (120,), generator=g).tolist()
        found = logits_of(Lookahead(model) if hasattr(model.config, "lookahead") else model.eval(), ids)[:, 0]
        model.classifier.weight[0] *= 1.5 / found.std()
        model.classifier.bias[0] = -1.5 - 1.5 * found.mean() / found.std()


class Lookahead(torch.nn.Module):
    """SubwordXLMForTokenClassification's forward pass, out of transformers' layers and wtpsplit's masks: its own one does not
    fit the newest transformers."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.device = model, model.config, torch.device("cpu")

    def forward(self, input_ids, attention_mask):
        c, roberta = self.config, self.model.roberta
        split = c.lookahead_split_layers if c.lookahead_split_layers is not None else c.num_hidden_layers
        x = roberta.embeddings(input_ids=input_ids)
        for i, layer in enumerate(roberta.encoder.layer):
            ahead = c.lookahead // split if i < split else 0
            x = layer(x, get_extended_attention_mask(c, attention_mask.float(), input_ids.shape, ahead, self.device, x.dtype))
            x = x[0] if isinstance(x, tuple) else x
        return types.SimpleNamespace(logits=self.model.classifier(x))


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[0]


def sat_of(model, tokenizer, name):
    sat = wtpsplit.SaT.__new__(wtpsplit.SaT)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>")
    sat.model, sat.tokenizer, sat.model_name_or_model, sat.use_lora, sat.language = EXTRACT.PyTorchWrapper(model), fast, name, False, None
    sat.special_tokens = ["<s>", "</s>", "<pad>"]
    return sat


def flat(parts):
    return [x for p in parts for x in (flat(p) if isinstance(p, list) else [p])]


def ends_of(text, parts, newlines):
    """Byte ends of what split() gave; with newlines, those between parts are missing, and belong to the part before."""
    ends, at = [], 0
    for p in parts:
        assert text.startswith(p, at), (text, parts)
        at += len(p)
        at += newlines and text[at:at + 1] == "\n"
        end = len(text[:at].encode())
        if end > (ends[-1] if ends else 0):
            ends.append(end)
    assert at == len(text), (text, parts)
    return ends


def cut(sat, text, settings):
    parts = flat(sat.split(text, **dict({"threshold": None}, **settings)))
    constrained = settings.get("max_length") or settings.get("min_length", 1) > 1
    newlines = not constrained and not settings.get("do_paragraph_segmentation") and settings.get("split_on_input_newlines", True)
    return ends_of(text, parts, newlines)


def near(sat, text, settings):
    """Is a probability so near a threshold that rounding decides?"""
    keys = ("stride", "block_size", "weighting", "remove_whitespace_before_inference")
    p = sat.predict_proba(text, **{k: settings[k] for k in keys if k in settings})
    limits = (settings.get("threshold") or 0.25, settings.get("paragraph_threshold", 0.5))
    return min(np.abs(p - t).min() for t in limits) < 1e-4 if len(p) else False


def make(folder):
    subprocess.run([sys.executable, os.path.join(HERE, "golden_unigram.py"), "--model", folder], check=True)
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    made = []
    for number, (name, model, half) in enumerate(models(tokenizer.get_vocab_size())):
        randomise(model, 40 + number)
        if half:
            model = model.half()
        model.save_pretrained(os.path.join(folder, name))
        os.chmod(os.path.join(folder, name, "model.safetensors"), 0o644)
        model = model.float().eval()
        made.append((name, Lookahead(model) if hasattr(model.config, "lookahead") else model))
    return tokenizer, made


def write_torn(folder):
    """A folder whose files lack a tensor."""
    shape = dict(hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=8, type_vocab_size=1)
    torch.manual_seed(7)
    model = XLMRobertaForTokenClassification(config(XLMRobertaConfig, 8, num_labels=1, **shape))
    model.save_pretrained(folder)
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    del tensors["roberta.encoder.layer.0.output.dense.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def write(folder):
    os.makedirs(folder, exist_ok=True)
    tokenizer, made = make(folder)
    EXTRACT.np = Float32()
    expected = {"logits": [], "cuts": []}
    r = random.Random(5)
    dropped = 0
    for name, model in made:
        model.double()  # the logits without rounding
        for length in (1, 2, 15, 33, 128):
            ids = [r.randrange(tokenizer.get_vocab_size()) for _ in range(length)]
            if length == 33:
                ids[5] = ids[20] = 1  # padding inside: it has a place of its own
            expected["logits"].append({"model": name, "ids": ids, "logits": [round(float(x), 7) for x in logits_of(model, ids).flatten()]})
        model.float()
        sat = sat_of(model, tokenizer, "sat-test-sm")
        for settings in SETTINGS:
            for number, text in enumerate(TEXTS):
                if near(sat, text, settings):
                    dropped += 1
                    continue
                expected["cuts"].append({"model": name, "text": number, "settings": settings, "ends": cut(sat, text, settings)})
    write_torn(os.path.join(folder, "torn"))
    expected["texts"] = TEXTS
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump(expected, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    print(len(expected["cuts"]), "cuts,", sum(len(c["ends"]) for c in expected["cuts"]), "ends;", dropped, "too near a threshold")


def ours(folder, name, texts, settings):
    """Byte ends by build/tools/sat."""
    names = {"stride": "stride", "block_size": "block", "threshold": "threshold", "paragraph_threshold": "paragraph_threshold", "min_length": "min_length",
             "max_length": "max_length", "split_on_input_newlines": "line_feeds", "remove_whitespace_before_inference": "drop_spaces",
             "do_paragraph_segmentation": "paragraphs", "weighting": "weighting", "prior_type": "prior"}
    kinds = {"uniform": 0, "hat": 1, "gaussian": 1, "lognormal": 2, "clipped_polynomial": 3}
    options = {names[k]: kinds[v] if isinstance(v, str) else float(v) for k, v in dict({"threshold": 0.25}, **settings).items() if k in names}
    options.update({{"target_length": "target", "spread": "spread"}[k]: v for k, v in settings.get("prior_kwargs", {}).items()})
    data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    out = subprocess.run([os.path.join(ROOT, "build/tools/sat"), os.path.join(folder, name), folder, "1"] + [f"{k}={v}" for k, v in options.items()],
                         input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    at, result = 0, []
    for _ in texts:
        count, = struct.unpack_from("<I", out, at)
        result.append(list(struct.unpack_from("<%dI" % count, out, at + 4)))
        at += 4 + 4 * count
    return result


def compare(count, seed):
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, made = make(folder)
        for number, (name, model) in enumerate(made):
            sat = sat_of(model, tokenizer, "sat-test-sm")
            different = {"float32": [0, 0], "float16": [0, 0]}
            compared = ends = 0
            for k, settings in enumerate(SETTINGS):
                parts = fuzz.strings(6 * count, 10000 * seed + 100 * number + k)
                texts = ["\n "[i % 2].join(parts[6 * i:6 * i + 6]) for i in range(count)]
                found = ours(folder, name, texts, settings)
                for kind, module in (("float32", Float32()), ("float16", np)):
                    EXTRACT.np = module
                    for text, got in zip(texts, found):
                        want = cut(sat, text, settings)
                        different[kind][0] += want != got
                        different[kind][1] += len(set(want) ^ set(got))
                    compared += len(texts)
                ends += sum(map(len, found))
            print(f"{name}: {compared // 2} texts, {ends} ends; with float32 sums {different['float32'][0]} texts differ in {different['float32'][1]} ends, "
                  f"with wtpsplit's float16 {different['float16'][0]} in {different['float16'][1]}", flush=True)
            bad += different["float32"][0]
    return 1 if bad else 0


def main():
    if sys.argv[1:2] == ["--compare"]:
        sys.exit(compare(int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
    write(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "tests/golden/sat"))


if __name__ == "__main__":
    main()
