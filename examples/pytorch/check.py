#!/usr/bin/env python3
"""The fused loss of libsluice-cuda.so next to torch.autograd in float64, through ctypes: loss, log p, coefficients, the
gradients of x, weight and bias, in TAP lines. On a GPU where torch has one, with build/libsluice-cuda.so; else on the
simulated device of `make simt`, whose memory is the host's, with tensors of the CPU.

    check.py [--library FILE] [--rows 96] [--hidden 72] [--vocab 301]
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sluice_torch as sluice  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
count = failed = 0


def told(name, good, detail=""):
    global count, failed
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {name}{'' if good else ': ' + detail}", flush=True)


def within(name, ours, theirs, bound):
    """|ours - theirs| <= bound, element by element; a NaN of ours is not within anything."""
    apart = (ours.double() - theirs.double()).abs()
    good = bool((apart <= bound).all())
    at = int((apart / bound).nan_to_num(nan=1e300).argmax()) if not good else 0
    told(name, good, f"element {at}: {ours.flatten()[at].item():.9g}, autograd {theirs.flatten()[at].item():.9g}, "
                     f"bound {(bound if hasattr(bound, 'flatten') else theirs * 0 + bound).flatten()[at].item():.3g}")


def alike(name, ours, theirs, most):
    """The error's length against the gradient's: what a bound for every element is too wide to see."""
    ratio = float((ours.double() - theirs).norm() / theirs.norm())
    told(f"{name}: error of {most:g} of its length at most", ratio <= most, f"{ratio:.3g}")


class Problem:
    """Samples of random lengths with prompts between them, two to a group; masked tokens; gems of weight 0.5."""

    def __init__(self, rows, hidden, vocab, device, seed=1):
        import torch
        g = torch.Generator().manual_seed(seed)
        rand = lambda *shape: torch.rand(shape, generator=g, dtype=torch.float64)
        normal = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)
        self.x = normal(rows, hidden).bfloat16().to(device)
        self.w = (normal(vocab, hidden) * 3 / hidden ** 0.5).bfloat16().to(device)
        self.bias = normal(vocab).float().to(device)
        self.targets = torch.randint(0, vocab, (rows,), generator=g, dtype=torch.int32)
        self.mask = (rand(rows) > 0.1).to(torch.uint8)
        self.token_weight = torch.where(rand(rows) > 0.3, 1.0, 0.5).float()
        self.list, first = [], 0
        while first < rows:
            prompt = min(int(rand(1) * 5), rows - first)
            self.targets[first:first + prompt] = -1
            first += prompt
            length = min(1 + int(rand(1) * 20), rows - first)
            if length > 0:
                self.list.append({"first": first, "count": length, "group": len(self.list) // 2, "group_size": 2,
                                  "advantage": float(normal(1)), "correct": int(rand(1) > 0.5)})
            first += length
        for name in ("targets", "mask", "token_weight"):
            setattr(self, name, getattr(self, name).to(device))
        # Log ratios away from the clip's borders, where a rounding would decide.
        apart = torch.tensor([-0.4, -0.1, 0.1, 0.4], dtype=torch.float64)
        chosen = apart[torch.randint(0, 4, (rows,), generator=g)] + 0.02 * normal(rows)
        with torch.no_grad():
            self.old = (self.logp(self.x.double(), self.w.double(), self.bias.double()) - chosen.to(device)).float()

    def part(self):
        """Rows that have a part in the loss: the others' log p is not asked for."""
        import torch
        inside = torch.zeros(len(self.targets), dtype=torch.bool, device=self.targets.device)
        for i in self.list:
            inside[i["first"]:i["first"] + i["count"]] = True
        return inside & self.mask.bool() & (self.targets >= 0)

    def logits(self, x, w, bias):
        return x @ w.t() + bias

    def logp(self, x, w, bias):
        import torch
        at = self.targets.long().clamp(min=0)
        z = torch.log_softmax(self.logits(x, w, bias), -1).gather(1, at[:, None])[:, 0]
        return z * (self.targets >= 0)

    def loss(self, objective, lp, s):
        """The formulas of kernels/objectives in torch, sample by sample."""
        import torch
        total = lp.new_zeros(())
        groups = sum(1.0 / i["group_size"] for i in self.list)
        if objective == "sft":
            live = torch.cat([torch.arange(i["first"], i["first"] + i["count"]) for i in self.list]).to(lp.device)
            b = (self.token_weight.double() * self.mask)[live]
            return -(b * lp[live]).sum() / b.sum()
        for i in self.list:
            rows = slice(i["first"], i["first"] + i["count"])
            live, b = self.mask[rows].bool(), self.token_weight[rows].double()
            length = int(live.sum())
            if length == 0:
                continue
            l, old, a = lp[rows][live], self.old[rows].double()[live], b[live] * i["advantage"]
            if objective == "grpo":
                r = (l - old).exp()
                terms = torch.maximum(-a * r, -a * r.clamp(1 - s.clip_low, 1 + s.clip_high)).sum()
            else:
                terms = (-a * l).sum() + 0.5 * s.tau * (l - old).sum() ** 2
            total = total + terms / (groups * i["group_size"] * length)
        return total


def reference(p, objective, s):
    import torch
    x, w, bias = (t.double().requires_grad_() for t in (p.x, p.w, p.bias))
    z = p.logits(x, w, bias)
    z.retain_grad()
    at = p.targets.long().clamp(min=0)
    lp = (torch.log_softmax(z, -1).gather(1, at[:, None])[:, 0]) * (p.targets >= 0)
    loss = p.loss(objective, lp, s)
    loss.backward()
    return {"loss": loss.detach(), "logp": lp.detach(), "z": z.detach(), "lse": z.detach().logsumexp(-1), "dz": z.grad,
            "x": x.grad, "weight": w.grad, "bias": bias.grad}


def check_gradients(name, p, ours, theirs, power=0.0):
    """Slopes of logits are rounded to bfloat16, which is off by 2^-8 at most, and a gradient once more: 2^-7 of the sums
    of magnitudes covers both for every element. power: what p_v is raised by, of logits or log p that were rounded."""
    eps, size = 2.0 ** -7 + 2.0 ** -8 * power, theirs["dz"].abs()
    bounds = {"x": size @ p.w.double().abs(), "weight": size.t() @ p.x.double().abs(), "bias": size.sum(0)}
    for key, value in ours.items():
        within(f"{name}: gradient of {key}", value, theirs[key], eps * bounds[key] + 1e-12)
        alike(f"{name}: gradient of {key}", value, theirs[key], 0.01)


def check_fused(lib, p):
    """Logits whose statistics come out of the product itself: compute capability 9.0, no bias."""
    p.bias, bias = p.bias * 0, p.bias
    try:
        check_loss(lib, p, "grpo", "fused", bias=False)
    except sluice.SluiceError as e:
        if e.status not in ("argument", "failed"):
            raise
        told(f"grpo, logits fused # SKIP {e}", True)
    p.bias = bias


def check_loss(lib, p, objective, logits, keep=0, chunk_rows=0, bias=True):
    s = sluice.settings(objective, **({"tau": 0.05} if objective == "bcpg_nsa" else {}))
    theirs, outcome = reference(p, objective, s), {}
    name = f"{objective}, logits {logits}" + (f", chunks of {chunk_rows}" if chunk_rows else "") + ", kept" * keep
    leaves = [t.detach().clone().requires_grad_() for t in (p.x, p.w, p.bias)]
    more = {"grpo": {"behaviour": p.old}, "bcpg_nsa": {"reference": p.old}, "sft": {}}[objective]
    loss = sluice.fused_loss(lib, leaves[0], leaves[1], p.targets, objective, sluice.samples(p.list), settings=s,
                             token_weight=p.token_weight, mask=p.mask, bias=leaves[2] if bias else None,
                             logits=logits, chunk_rows=chunk_rows, keep=keep, outcome=outcome, **more)
    (2 * loss).backward()
    largest = theirs["z"].abs().amax(-1)
    rounding = 2.0 ** -8 if logits == "bfloat16" else 2.0 ** -19
    live = p.part()
    within(f"{name}: log p", outcome["logp"][live], theirs["logp"][live], (rounding * (largest + 1))[live])
    scale = float(outcome["c"].double().abs() @ (largest + 1)) + float(theirs["loss"].abs())
    within(f"{name}: loss", loss, theirs["loss"], 2 * rounding * scale + 1e-9)
    ours = {key: leaf.grad.double() / 2 for key, leaf in zip(("x", "weight", "bias"), leaves) if leaf.grad is not None}
    for key, leaf in zip(("x", "weight"), leaves):      # returned to autograd in bfloat16
        told(f"{name}: gradient of {key} has its type", leaf.grad.dtype == leaf.dtype)
    # z or log p, or, fused, z less its tile's largest, was rounded before it became p.
    power = float(largest.max()) * 2 if logits in ("bfloat16", "fused") else 0
    power = float((theirs["lse"] + largest).max()) if keep else power
    check_gradients(name, p, ours, theirs, power)


def check_buffer(lib, p):
    """dW in a float32 buffer, added to; twice the same call: the same bits."""
    import torch
    s, made = sluice.settings("grpo"), []
    theirs = reference(p, "grpo", s)
    for _ in range(2):
        x, dweight = p.x.detach().clone().requires_grad_(), torch.ones(p.w.shape, device=p.w.device)
        loss = sluice.fused_loss(lib, x, p.w.detach().clone().requires_grad_(), p.targets, "grpo",
                                 sluice.samples(p.list), behaviour=p.old, token_weight=p.token_weight, mask=p.mask,
                                 bias=p.bias, dweight=dweight)
        loss.backward()
        made.append((loss, x.grad, dweight))
    told("grpo twice: the same bits", all(torch.equal(a, b) for a, b in zip(*made)))
    ones = made[0][2].double() - 1
    # A buffer of ones rounds what is added to it.
    alike("grpo: gradient of weight, added to a buffer", ones, theirs["weight"],
          0.01 + float(2.0 ** -24 * ones.numel() ** 0.5 / theirs["weight"].norm()))


def check_statistics(lib, p):
    """A loss written in torch over log p and the entropy."""
    import torch
    x, w, bias = (t.detach().clone().requires_grad_() for t in (p.x, p.w, p.bias))
    live = p.targets >= 0
    a = torch.linspace(-1, 1, len(live), device=live.device, dtype=torch.float64)
    lp, lse, entropy = sluice.log_probabilities(lib, x, w, p.targets, bias=bias)
    (a * lp + 0.1 * entropy * live).sum().backward()
    X, W, B = (t.double().requires_grad_() for t in (p.x, p.w, p.bias))
    z = p.logits(X, W, B)
    z.retain_grad()
    logs = torch.log_softmax(z, -1)
    H = -(logs.exp() * logs).sum(-1)
    LP = logs.gather(1, p.targets.long().clamp(min=0)[:, None])[:, 0] * live
    (a * LP + 0.1 * H * live).sum().backward()
    largest = z.detach().abs().amax(-1) + 1
    within("log p for a loss in torch", lp.detach(), LP.detach(), 2.0 ** -19 * largest)
    within("entropy", entropy.detach()[live], H.detach()[live], (2.0 ** -17 * largest)[live])
    within("logsumexp", lse.detach()[live], z.detach().logsumexp(-1)[live], (2.0 ** -19 * largest)[live])
    check_gradients("a loss in torch", p, {"x": x.grad, "weight": w.grad, "bias": bias.grad},
                    {"dz": z.grad, "x": X.grad, "weight": W.grad, "bias": B.grad})


def check_refusals(lib, p):
    import torch
    bad = p.targets.clone()
    bad[3] = p.w.shape[0]
    for name, change, status in (("a target that is no class", {"targets": bad}, "argument"),):
        try:
            sluice.fused_loss(lib, p.x, p.w, change["targets"], "sft")
            told(f"{name} is refused", False, "it was taken")
        except sluice.SluiceError as e:
            told(f"{name} is refused", e.status == status, str(e))
    x = p.x.clone()
    row = int((p.targets >= 0).nonzero()[5])
    x[row, 0] = torch.nan
    try:
        sluice.fused_loss(lib, x, p.w, p.targets, "sft")
        told("a row that is not finite is named", False, "it was taken")
    except sluice.SluiceError as e:
        told("a row that is not finite is named", (e.status, e.row) == ("nonfinite", row), f"{e} row {e.row}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--hidden", type=int, default=72)
    parser.add_argument("--vocab", type=int, default=301)
    o = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("ok 1 - the fused loss next to autograd # SKIP no torch")
        return 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = o.library or os.path.join(ROOT, "build", *(["simt"] if device == "cpu" else []), "libsluice-cuda.so")
    if not os.path.exists(path):
        print(f"ok 1 - the fused loss next to autograd # SKIP no {os.path.basename(path)}: "
              f"make {'simt' if device == 'cpu' else 'cuda'}")
        return 0
    if device == "cpu":             # the simulated device has to take the tensors of the processor for its own memory
        os.environ["SLUICE_SIMT_HOST"] = "1"
        torch.set_num_threads(1)
    lib = sluice.load(os.path.abspath(path))
    p = Problem(o.rows, o.hidden, o.vocab, device)
    for objective in ("sft", "grpo", "bcpg_nsa"):
        check_loss(lib, p, objective, "float32")
    check_loss(lib, p, "sft", "bfloat16")
    check_loss(lib, p, "sft", "automatic", chunk_rows=32)
    check_loss(lib, p, "bcpg_nsa", "float32", chunk_rows=8)
    check_loss(lib, p, "bcpg_nsa", "float32", chunk_rows=8, keep=1)
    check_fused(lib, p)
    check_buffer(lib, p)
    check_statistics(lib, p)
    check_refusals(lib, p)
    print(f"1..{count}")
    lib.close()
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
