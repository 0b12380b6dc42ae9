#!/usr/bin/env python3
"""Makes tests/golden/decoder.bin: a tiny random Qwen2 model in float64 by transformers and torch, its hidden
states, token statistics, losses and gradients, and a few AdamW steps by torch.optim.

    pip install torch transformers numpy    (CPU is enough)
    tools/golden_decoder.py tests/golden/decoder.bin

The file is sections: name length (u32), name, type ('i' int32, 'f' float32, 'd' float64), count (u64), values;
little-endian. Weights are float32 numbers, everything computed from them is float64 (gradients rounded to
float32 at the end)."""
import struct
import sys

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForTokenClassification

LENGTHS = [7, 1, 13, 5]
TAU = 0.05


class Fixture:
    def __init__(self, path):
        self.file = open(path, "wb")

    def put(self, name, values, kind):
        if isinstance(values, torch.Tensor):
            values = values.detach().numpy()
        data = np.asarray(values).ravel().astype({"i": "<i4", "f": "<f4", "d": "<f8"}[kind])
        self.file.write(struct.pack("<I", len(name)) + name.encode() + kind.encode())
        self.file.write(struct.pack("<Q", data.size) + data.tobytes())


def config(tied, labels):
    return Qwen2Config(vocab_size=37, hidden_size=24, intermediate_size=20, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                       rms_norm_eps=1e-6, tie_word_embeddings=tied, num_labels=labels,
                       rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
                       use_sliding_window=False, attn_implementation="eager", classifier_dropout=0.0)


def make(cls, tied, labels):
    model = cls(config(tied, labels)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape)
            p.copy_(1 + 0.2 * noise if "norm" in name else 0.25 * noise)
    return model.double()


def parameters(model):
    """Hugging Face names; those of the C layout are the same."""
    return list(model.named_parameters())


def put_model(out, case, model):
    for name, p in parameters(model):
        out.put(f"{case}/param/{name}", p, "f")


def put_grads(out, case, loss_name, model, loss):
    model.zero_grad()
    loss.backward(retain_graph=True)
    out.put(f"{case}/{loss_name}/loss", [loss.item()], "d")
    for name, p in parameters(model):
        grad = p.grad if p.grad is not None else torch.zeros_like(p)
        out.put(f"{case}/{loss_name}/grad/{name}", grad, "f")


def statistics(model, sequences):
    """Hidden states, log p of the next token, logsumexp and entropy; the last row of a sequence has none."""
    hidden, logp, lse, entropy = [], [], [], []
    for ids in sequences:
        states = model.model(ids[None]).last_hidden_state[0]
        z = model.lm_head(states)
        l = torch.log_softmax(z, -1)
        hidden.append(states)
        lse.append(torch.logsumexp(z, -1)[:-1])
        entropy.append(-(l.exp() * l).sum(-1)[:-1])
        logp.append(l[:-1].gather(1, ids[1:, None])[:, 0])
    return hidden, logp, lse, entropy


def language_case(out, case, tied):
    model = make(Qwen2ForCausalLM, tied, 2)
    sequences = [torch.randint(0, 37, (n,)) for n in LENGTHS]
    put_model(out, case, model)
    out.put(f"{case}/ids", torch.cat(sequences), "i")
    out.put(f"{case}/lengths", LENGTHS, "i")
    hidden, logp, lse, entropy = statistics(model, sequences)
    out.put(f"{case}/hidden", torch.cat(hidden), "d")
    for name, rows in (("logp", logp), ("lse", lse), ("entropy", entropy)):
        out.put(f"{case}/{name}", torch.cat(rows), "d")

    put_grads(out, case, "sft", model, -torch.cat(logp).mean())

    # bcpg_nsa: two groups of 2; the second sequence has an empty response and still counts in G.
    reference = [(l + 0.1 * torch.randn(l.shape)).detach().float().double() for l in logp]
    weight = [torch.where(torch.rand(l.shape) < 0.5, -0.5, 1.0).double() for l in logp]
    reward = torch.tensor([1.0, 0.0, 0.0, 1.0]).double()
    loss = 0
    for i, l in enumerate(logp):
        if len(l) == 0:
            continue
        mean = reward[i // 2 * 2:i // 2 * 2 + 2].mean()
        ratio = (l - reference[i]).sum()
        gain = (weight[i] * (reward[i] - mean) * l).sum() - TAU / 2 * ratio ** 2
        loss = loss - gain / len(l) / 2 / 2
    out.put(f"{case}/reference", torch.cat(reference), "f")
    out.put(f"{case}/weight", torch.cat(weight), "f")
    out.put(f"{case}/reward", reward, "d")
    out.put(f"{case}/tau", [TAU], "d")
    put_grads(out, case, "bcpg_nsa", model, loss)

    # All three coefficients of the shape at once.
    shape = torch.cat(logp).shape
    c, e, h = (torch.randn(shape).float().double() for _ in range(3))
    for name, rows in (("c", c), ("e", e), ("h", h)):
        out.put(f"{case}/{name}", rows, "f")
    mixed = (c * torch.cat(logp) + e * torch.cat(lse) + h * torch.cat(entropy)).sum()
    put_grads(out, case, "mixed", model, mixed)


def class_case(out, case):
    model = make(Qwen2ForTokenClassification, True, 3)
    sequences = [torch.randint(0, 37, (n,)) for n in LENGTHS]
    put_model(out, case, model)
    out.put(f"{case}/ids", torch.cat(sequences), "i")
    out.put(f"{case}/lengths", LENGTHS, "i")
    logits = torch.cat([model(ids[None]).logits[0] for ids in sequences])
    labels = torch.randint(0, 3, (len(logits),))
    labels[torch.rand(len(logits)) < 0.6] = -100
    out.put(f"{case}/labels", labels, "i")
    put_grads(out, case, "token_class", model,
              torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100))


def adamw_case(out):
    p = torch.nn.Parameter(torch.randn(37).float())
    start = p.detach().clone()
    optimiser = torch.optim.AdamW([p], lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    out.put("adamw/start", start, "f")
    for step in range(5):
        g = torch.randn(37).float()
        out.put(f"adamw/grad{step}", g, "f")
        p.grad = g
        optimiser.step()
        out.put(f"adamw/param{step}", p, "f")


def main():
    torch.manual_seed(20240607)
    out = Fixture(sys.argv[1])
    language_case(out, "tied", True)
    language_case(out, "untied", False)
    class_case(out, "class")
    adamw_case(out)


main()
