#!/usr/bin/env python3
"""Makes tests/golden/head_loss.h: a head, rows, samples, and what torch.autograd makes of them in float64, from logits to
the gradients of x, weight and bias, by the papers' formulas:

  grpo    clipped token ratios, k3 against a reference, an entropy bonus (arXiv 2402.03300, Eq 3; Schulman's note on KL)
  tbrm    squared Bellman residual, whose slope goes through logsumexp too, an entropy bonus (arXiv 2505.15311)
  tract   likelihood but of the score's token, and the squared error of the expected score (arXiv 2503.04381)

    pip install torch           (CPU is enough)
    tools/golden_head_loss.py tests/golden/head_loss.h

Here nothing is known of c, e, h and g: what is compared is what a trainer gets."""
import sys

import torch

ROWS, HIDDEN, VOCAB = 20, 64, 37
# first, count, group, group_size, reward, advantage, weight, named_row, score. Rows 0, 6, 11, 12 belong to prompts.
SAMPLES = [(1, 5, 0, 2, 1.0, 0.7, 1.0, 4, 7.0), (7, 4, 0, 2, -1.0, -0.7, 1.0, 8, 2.0), (13, 7, 1, 1, 1.0, 1.3, 1.5, -1, 0.0)]
NAMES = ["first", "count", "group", "group_size", "reward", "advantage", "weight", "named_row", "score"]
MASKED, LIGHT = (9, 15), (3, 14, 17)        # tokens as if they were not there; tokens of weight b = 0.5
COLUMNS, VALUES = (3, 20, 11, 36), (1.0, 4.0, 7.0, 9.0)
CLIP, KL, BONUS, TAU = 0.2, 0.04, 0.1, 0.5


def problem():
    g = torch.Generator().manual_seed(5)
    normal = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)
    p = {"x": (normal(ROWS, HIDDEN) * 0.5).bfloat16(), "weight": (normal(VOCAB, HIDDEN) * 0.5).bfloat16()}
    z = p["x"].double() @ p["weight"].double().t()
    # The likeliest class, the second, or any: log p from near 0 to far below it.
    best, any_class = z.topk(2).indices, torch.randint(0, VOCAB, (ROWS,), generator=g)
    targets = torch.tensor([int((best[t, 0], best[t, 1], any_class[t])[t % 3]) for t in range(ROWS)])
    logp = torch.log_softmax(z, -1)[torch.arange(ROWS), targets]
    inside = torch.zeros(ROWS, dtype=torch.bool)
    for s in SAMPLES:
        inside[s[0]:s[0] + s[1]] = True
    # Log ratios away from the clip's borders, where a rounding would decide.
    apart = torch.tensor([-0.4, -0.1, 0.1, 0.4], dtype=torch.float64)
    for name in ("behaviour", "reference"):
        p[name] = (logp - apart[torch.randint(0, 4, (ROWS,), generator=g)]).float()
    p["targets"] = torch.where(inside, targets, torch.full_like(targets, -1)).int()
    p["mask"] = torch.tensor([int(t not in MASKED) for t in range(ROWS)])
    p["token_weight"] = torch.tensor([0.5 if t in LIGHT else 1.0 for t in range(ROWS)])
    return p


def loss_of(objective, p, z):
    logs = torch.log_softmax(z, -1)
    lp = logs[torch.arange(ROWS), p["targets"].clamp(min=0).long()]
    lse, entropy = z.logsumexp(-1), -(logs.exp() * logs).sum(-1)
    behaviour, reference, b = (p[k].double() for k in ("behaviour", "reference", "token_weight"))
    samples = [dict(zip(NAMES, s)) for s in SAMPLES]
    groups, loss = sum(1 / s["group_size"] for s in samples), z.new_zeros(())
    live = [[t for t in range(s["first"], s["first"] + s["count"]) if t not in MASKED] for s in samples]
    if objective == "tract":
        said = [[t for t in rows if t != s["named_row"]] for s, rows in zip(samples, live)]
        tokens = sum(b[rows].sum() for rows in said)
        for s, rows in zip(samples, said):
            loss = loss - s["weight"] * (b[rows] * lp[rows]).sum() / tokens
            if s["named_row"] >= 0:
                chances = logs[s["named_row"], list(COLUMNS)].exp()
                guess = (chances * torch.tensor(VALUES, dtype=torch.float64)).sum()
                loss = loss + s["weight"] * (guess - s["score"]) ** 2 / len(samples)
        return loss, lp
    for s, rows in zip(samples, live):
        share = s["weight"] / (groups * s["group_size"])
        if objective == "tbrm":
            delta = lse[rows[0]] + (lp[rows] - reference[rows]).sum() - s["reward"] / TAU
            loss = loss + share * (delta ** 2 - BONUS * entropy[rows].sum())
            continue
        a, r, d = b[rows] * s["advantage"], (lp[rows] - behaviour[rows]).exp(), reference[rows] - lp[rows]
        terms = torch.maximum(-a * r, -a * r.clamp(1 - CLIP, 1 + CLIP)) + KL * (d.exp() - d - 1) - BONUS * entropy[rows]
        loss = loss + share * terms.sum() / len(rows)
    return loss, lp


def written(out, name, kind, values, form):
    texts = [form(v) for v in values]
    out.append(f"static const {kind} GOLDEN_{name}[] = {{")
    line = "   "
    for text in texts:
        if len(line) + len(text) + 2 > 100:
            out.append(line)
            line = "   "
        line += f" {text},"
    out += [line, "};", ""]


def main():
    p = problem()
    number = lambda v: f"{float(v):.9g}"
    bits = lambda t: [f"0x{v & 0xffff:04x}" for v in t.view(torch.int16).flatten().tolist()]
    out = ["/* Made by tools/golden_head_loss.py: do not edit. Numbers of torch.autograd in float64. */",
           "#include <stdint.h>", "",
           f"enum {{ GOLDEN_ROWS = {ROWS}, GOLDEN_HIDDEN = {HIDDEN}, GOLDEN_VOCAB = {VOCAB}, "
           f"GOLDEN_SAMPLES = {len(SAMPLES)}, GOLDEN_NAMED = {len(COLUMNS)} }};", "",
           f"/* {', '.join(NAMES)} */"]
    written(out, "samples", "double", sum(SAMPLES, ()), number)
    written(out, "x", "uint16_t", bits(p["x"]), str)
    written(out, "weight", "uint16_t", bits(p["weight"]), str)
    written(out, "targets", "int32_t", p["targets"].tolist(), str)
    written(out, "mask", "uint8_t", p["mask"].tolist(), str)
    for name in ("token_weight", "behaviour", "reference"):
        written(out, name, "float", p[name].tolist(), number)
    written(out, "columns", "int32_t", COLUMNS, str)
    written(out, "values", "double", VALUES, number)
    written(out, "settings", "double", (CLIP, KL, BONUS, TAU), number)
    for objective in ("grpo", "tbrm", "tract"):
        x, w, bias = p["x"].double().requires_grad_(), p["weight"].double().requires_grad_(), torch.zeros(
            VOCAB, dtype=torch.float64, requires_grad=True)
        loss, lp = loss_of(objective, p, x @ w.t() + bias)
        loss.backward()
        written(out, f"{objective}_loss", "double", [loss.item()], lambda v: f"{v:.17g}")
        written(out, f"{objective}_dx", "float", x.grad.flatten().tolist(), lambda v: f"{v:.7g}")
        written(out, f"{objective}_dweight", "float", w.grad.flatten().tolist(), lambda v: f"{v:.7g}")
        written(out, f"{objective}_dbias", "float", bias.grad.tolist(), lambda v: f"{v:.7g}")
    written(out, "logp", "double", (lp * (p["targets"] >= 0)).tolist(), lambda v: f"{v:.17g}")
    with open(sys.argv[1], "w") as f:
        f.write("\n".join(out[:-1]) + "\n")


if __name__ == "__main__":
    main()
