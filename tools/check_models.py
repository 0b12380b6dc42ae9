#!/usr/bin/env python3
"""Does transformers load what Sluice saves, and compute the same from it?

    make build/tools/model_step
    tools/check_models.py build/tools/model_step tests/golden/models/*

For every checkpoint: model_step takes one AdamW step and saves; the result is loaded with from_pretrained of the Auto
class that config.json names (the process reward model's module is that of tools/golden_models.py), computed in
float64, and compared with the logits that model_step printed. Then the files: names, types, shapes and shards must be
those of the checkpoint that was opened. The same again with --new, for the config.json and names of models made by
Sluice. Needs torch, transformers and safetensors."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers as t
from safetensors import safe_open

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from golden_models import Qwen2ForProcessRewardModel  # noqa: E402

AUTO = {"ForCausalLM": t.AutoModelForCausalLM, "ForTokenClassification": t.AutoModelForTokenClassification,
        "ForSequenceClassification": t.AutoModelForSequenceClassification,
        "ForProcessRewardModel": Qwen2ForProcessRewardModel, "Model": t.AutoModel}
SEQUENCES = [[3, 1, 4, 1, 5, 9, 2, 6], [5], [3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3]]


def load(folder):
    name = json.load(open(os.path.join(folder, "config.json")))["architectures"][0]
    auto = next(c for suffix, c in AUTO.items() if name.endswith(suffix))
    model, report = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                         output_loading_info=True)
    left = {k: v for k, v in report.items() if v}
    return model.eval().double(), left


def logits_of(model):
    rows, kind = [], type(model).__name__
    for ids in SEQUENCES:
        out = model(torch.tensor([ids]))
        rows.append(out.logits[0] if hasattr(out, "logits") and out.logits.dim() == 3 else
                    out.logits if hasattr(out, "logits") else out.last_hidden_state[0] @ model.embed_tokens.weight.T)
    return torch.cat(rows).detach().numpy(), kind


def tensors_of(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with safe_open(os.path.join(folder, name), "pt") as f:
                for key in f.keys():
                    part = f.get_slice(key)
                    found[key] = (name, part.get_dtype(), part.get_shape())
                found[name] = f.metadata()
    return found


def check(program, folder, out, *how):
    ids = [",".join(map(str, s)) for s in SEQUENCES]
    text = subprocess.run([program, *how, folder, out, "0.001", *ids], check=True, capture_output=True, text=True).stdout
    ours = np.array([[float(x) for x in line.split()] for line in text.splitlines()])
    model, left = load(out)
    theirs, kind = logits_of(model)
    if len(theirs) != len(ours):  # one row for each sequence
        ours = ours[np.cumsum([len(s) for s in SEQUENCES]) - 1]
    before, _ = logits_of(load(folder)[0])
    error, moved = np.abs(ours - theirs).max() / np.abs(theirs).max(), np.abs(theirs - before).max()
    same = how or tensors_of(folder) == tensors_of(out)
    good = error <= 1e-5 and moved > 1e-3 and same and not left
    print(f"{os.path.basename(folder):18} {'new' if how else kind:32} logits differ by {error:.1e} of the largest, the step moved them "
          f"by {moved:.3f}, files {'new' if how else 'same' if same else 'DIFFER'}{', ' + str(left) if left else ''}")
    return good


def main():
    t.logging.set_verbosity_error()
    t.utils.logging.disable_progress_bar()
    good = True
    with tempfile.TemporaryDirectory() as root:
        for folder in sys.argv[2:]:
            folder = folder.rstrip("/")
            out = os.path.join(root, os.path.basename(folder))
            good = check(sys.argv[1], folder, out) and good
            good = check(sys.argv[1], folder, out + ".new", "--new") and good
    sys.exit(0 if good else 1)


main()
