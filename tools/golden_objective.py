#!/usr/bin/env python3
"""Makes tests/golden/objective.bin: the loss of every objective and variant of kernels/objective.def and its
gradients, by torch in float64 from the papers' formulas, padded (sequences, tokens) as trainers hold them.

    pip install torch numpy         (CPU is enough)
    tools/golden_objective.py tests/golden/objective.bin

The format is golden_decoder.py's: name length (u32), name, type, count (u64), values; little-endian. Cases are
WORLD/OBJECTIVE/CASE/{settings,loss,c,e,h,g,...}. Worlds:
  even     3 groups of 4, all there, nothing masked: what trainers assume. Here a mean over groups and their G
           rollouts is their mean over sequences.
  pairs    4 groups of one correct and one wrong response
  odd      a dropped rollout, a group of one, equal rewards, an empty and a masked response, token weights,
           unequal sample weights, an injected answer
  logits   the statistics come from logits, to which the gradient is taken: c, e, h and g together

Cases whose name begins with trl_ or verl_ are golden_objective_trainers.py's."""
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

from golden_objective_trainers import trl_advantages, trl_grpo, trl_kto, trl_pair, trl_rloo, verl

NAN = float("nan")
NAMES = ["aggregation", "advantages", "ratio", "tau", "clip_low", "clip_high", "clip_dual", "soften_positive",
         "soften_negative", "lambda", "kl", "kl_weight", "kl_in_reward", "entropy_weight", "constant", "budget",
         "variant", "rows"]
WHOLE = {"aggregation": -1, "advantages": -1, "ratio": -1, "kl": 0, "kl_in_reward": 0, "variant": -1, "rows": 0}
AGGREGATION = ["sequence_mean", "sequence_sum", "token_mean", "constant"]
ADVANTAGES = ["reward", "mean", "mean_std", "leave_one_out", "gdepo", "given"]
RATIO = ["token", "sequence", "geometric", "step"]

# The papers' own: what an objective is without a word from the user.
CLIP = dict(clip_low=0.2, clip_high=0.2)
OWN = {
    "sft": dict(aggregation="token_mean"),
    "rft": dict(aggregation="token_mean"),
    "token_class": dict(aggregation="token_mean"),
    "reinforce": dict(aggregation="sequence_mean", advantages="mean"),
    "rloo": dict(aggregation="sequence_sum", advantages="leave_one_out", ratio="sequence", kl_weight=0.05, **CLIP),
    "grpo": dict(aggregation="sequence_mean", advantages="mean_std", kl_weight=0.04, **CLIP),
    "dr_grpo": dict(aggregation="constant", advantages="mean", **CLIP),
    "dapo": dict(aggregation="token_mean", advantages="mean_std", clip_low=0.2, clip_high=0.28),
    "gspo": dict(aggregation="sequence_mean", advantages="mean_std", clip_low=3e-4, clip_high=4e-4),
    "cispo": dict(aggregation="token_mean", advantages="mean_std", **CLIP),
    "sapo": dict(aggregation="sequence_mean", advantages="mean_std", soften_positive=1.0, soften_negative=1.05),
    "gmpo": dict(aggregation="sequence_mean", advantages="mean_std", clip_low=0.4, clip_high=0.4),
    "topr": dict(aggregation="sequence_mean", advantages="reward", ratio="sequence"),
    "aspo": dict(aggregation="token_mean", advantages="mean_std", clip_dual=3.0, variant=1, **CLIP),
    "opmd": dict(aggregation="token_mean", advantages="mean", tau=1.0, variant=0),
    "kimi": dict(aggregation="token_mean", advantages="mean", tau=0.1),
    "bcpg": dict(aggregation="sequence_mean", advantages="mean", tau=1e-3),
    "bcpg_nsa": dict(aggregation="sequence_mean", advantages="mean", tau=1e-3),
    "tbrm": dict(aggregation="sequence_sum", tau=2e-3),
    "copg": dict(aggregation="sequence_sum", tau=0.1),
    "gvpo": dict(aggregation="sequence_sum", tau=0.1),
    "dpo": dict(aggregation="sequence_sum", tau=0.1),
    "ipo": dict(aggregation="sequence_sum", tau=0.1, ratio="geometric"),
    "kto": dict(aggregation="sequence_sum", tau=0.1),
    "tract": dict(aggregation="token_mean", **{"lambda": 1.0}),
    "ranknet": dict(aggregation="token_mean", variant=0),
}
LIKELIHOOD = {"sft", "rft", "token_class", "tract", "ranknet"}
SHAPED = {"reinforce", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo", "gmpo", "aspo", "opmd"}


class Fixture:
    def __init__(self, path):
        self.file = open(path, "wb")

    def put(self, name, values, kind="d"):
        if isinstance(values, torch.Tensor):
            values = values.detach().numpy()
        data = np.asarray(values, dtype="f8").ravel().astype({"i": "<i4", "f": "<f4", "d": "<f8"}[kind])
        self.file.write(struct.pack("<I", len(name)) + name.encode() + kind.encode())
        self.file.write(struct.pack("<Q", data.size) + data.tobytes())


def single(x):
    return x.float().double()


class World:
    """Sequences of `counts` tokens; sequence i is of group groups[i], of which sizes[group] were emitted."""

    def __init__(self, name, counts, groups, sizes, reward, correct, odd=False, logits=False):
        self.name, self.B, self.T = name, len(counts), max(counts)
        self.counts, self.groups = counts, torch.tensor(groups)
        self.G = torch.tensor([float(sizes[g]) for g in groups]).double()
        self.n_groups = len(sizes)
        self.reward = torch.tensor(reward).double()
        self.correct = torch.tensor(correct)
        self.real = torch.arange(self.T)[None, :] < torch.tensor(counts)[:, None]
        self.mask = self.real.clone()
        shape = (self.B, self.T)
        self.v = torch.ones(self.B).double()
        self.b = torch.ones(shape).double()
        self.begins = (torch.arange(self.T) % 3 == 0).expand(shape)
        self.injected = torch.zeros(self.B, dtype=torch.bool)
        self.mean, self.std = torch.zeros(self.B).double(), torch.zeros(self.B).double()
        for g in range(self.n_groups):
            r = list(self.reward[self.groups == g].numpy()) + [1.0] * (sizes[g] - int((self.groups == g).sum()))
            self.mean[self.groups == g] = float(np.mean(r))
            self.std[self.groups == g] = float(np.std(r))
        if odd:
            self.mask &= torch.rand(shape) > 0.15
            self.mask[7] = False
            self.b = torch.where(torch.rand(shape) < 0.3, -0.5, 1.0).double()
            self.b[torch.rand(shape) < 0.1] = 0
            self.v = torch.where(torch.arange(self.B) % 4 == 2, 2.5, 1.0).double()
            self.injected[10] = True
        self.named_row = torch.tensor([c - 2 if c > 2 else -1 for c in counts])
        self.score = 1 + torch.arange(self.B).double() % 5
        self.rank = torch.stack([(torch.arange(5) * 2 + i) % 5 + 1 for i in range(self.B)])
        self.values = torch.arange(1.0, 6.0).double()
        self.columns = torch.tensor([3, 0, 7, 9, 5])
        self.statistics(shape, logits)
        self.ref = single(self.lp.detach() + 0.4 * torch.randn(shape))
        self.lo = single(self.lp.detach() + 0.25 * torch.randn(shape) * (1 + 6 * (torch.rand(shape) < 0.08)))
        self.row_advantage = single(torch.randn(shape))
        self.given = single(torch.randn(self.B))

    def statistics(self, shape, logits):
        self.z = None
        if logits:
            self.z = single(1.5 * torch.randn(*shape, 12)).requires_grad_()
            self.target = torch.randint(0, 12, shape)
            l = torch.log_softmax(self.z, -1)
            self.lp = l.gather(-1, self.target[..., None])[..., 0]
            self.lse = torch.logsumexp(self.z, -1)
            self.H = -(l.exp() * l).sum(-1)
            at = self.named_row.clamp(min=0)
            self.named = self.z[torch.arange(self.B), at][:, self.columns]
            self.leaves = [self.z]
            return
        self.lp = single(-3 * torch.rand(shape) - 0.01).requires_grad_()
        self.lse = single(3 + 2 * torch.rand(shape)).requires_grad_()
        self.H = single(2 * torch.rand(shape)).requires_grad_()
        self.named = single(4 * torch.rand(self.B, 5) - 1).requires_grad_()
        self.leaves = [self.lp, self.lse, self.H, self.named]

    def flat(self, x):
        return x[self.real]

    def put(self, out):
        for key in ("counts", "groups", "G", "reward", "correct", "v", "injected", "mean", "std", "named_row",
                    "score", "rank", "values", "columns", "given"):
            out.put(f"{self.name}/{key}", torch.as_tensor(getattr(self, key)).double())
        for key in ("ref", "lo", "b", "mask", "begins", "row_advantage"):
            out.put(f"{self.name}/{key}", self.flat(getattr(self, key)).double(), "f")
        if self.z is not None:
            out.put(f"{self.name}/z", self.flat(self.z), "f")
            out.put(f"{self.name}/target", self.flat(self.target), "i")
            return
        for key in ("lp", "lse", "H"):
            out.put(f"{self.name}/{key}", self.flat(getattr(self, key)), "f")
        out.put(f"{self.name}/named", self.named, "f")


# ---- the parts every objective has ----

def part(w, name):
    """The tokens with a part in the loss."""
    m = w.mask.clone()
    if name == "tract":
        for i in range(w.B):
            if w.named_row[i] >= 0:
                m[i, w.named_row[i]] = False
    if name == "rft":
        m &= w.correct[:, None].bool()
    if name in LIKELIHOOD:
        m &= w.b != 0
    return m


def estimate(kind, d):
    return [None, -d, d ** 2 / 2, torch.exp(d) - d - 1][kind]


def sample_advantages(w, s):
    r, mean, std, G = w.reward, w.mean, w.std, w.G
    if s["kl"] and s["kl_in_reward"]:
        r = r - s["kl_weight"] * (estimate(s["kl"], w.ref - w.lo) * w.mask).sum(1)
        mean, std = torch.zeros_like(r), torch.zeros_like(r)
        G = torch.tensor([float((w.groups == g).sum()) for g in w.groups]).double()
        for g in range(w.n_groups):
            mine = w.groups == g
            mean[mine], std[mine] = r[mine].mean(), r[mine].std(unbiased=False)
    alone = G == 1
    bessel = torch.where(alone, torch.ones_like(G), torch.sqrt(G / (G - 1).clamp(min=1)))
    z = torch.where(alone, r, (r - mean) / (std * bessel + 1e-6))
    return {"reward": r, "mean": r - mean, "mean_std": z,
            "leave_one_out": torch.where(alone, r, r - (G * mean - r) / (G - 1).clamp(min=1)),
            "gdepo": torch.where(w.correct.bool(), z.abs(), -z.abs()), "given": w.given}[s["advantages"]].detach()


def advantages(w, s):
    a = w.row_advantage if s["rows"] else sample_advantages(w, s)[:, None].expand(w.B, w.T)
    return w.b * a


def aggregate(w, name, s, l, m):
    """l: (B, T) token losses, or (B) losses of whole responses in place of their sums."""
    n = m.sum(1)
    tokens = (w.b * m).sum() if name in LIKELIHOOD else m.sum()
    over = w.n_groups * w.G
    kind = s["aggregation"]
    divisor = {"sequence_mean": over * n.clamp(min=1), "sequence_sum": over,
               "token_mean": tokens.expand(w.B),
               "constant": torch.full_like(over, s["budget"]) if s["budget"] > 0 else over * s["constant"]}[kind]
    total = torch.where(m, l, torch.zeros_like(l)).sum(1) if l.dim() == 2 else l * (n > 0)
    return (w.v * total / divisor).sum()


def clipped(r, a, s):
    low = torch.minimum(r * a, torch.clamp(r, 1 - s["clip_low"], 1 + s["clip_high"]) * a)
    if s["clip_dual"] > 0:
        low = torch.where(a < 0, torch.maximum(low, s["clip_dual"] * a), low)
    return -low


def mean_over(x, m):
    return torch.where(m, x, torch.zeros_like(x)).sum(1) / m.sum(1).clamp(min=1)


def sum_over(x, m):
    return torch.where(m, x, torch.zeros_like(x)).sum(1)


# ---- token losses ----

def aspo(w, s, a, m):
    r = torch.exp(w.lp - w.lo)
    flip = torch.where(a > 0, torch.exp(w.lo + w.lp - 2 * w.lp.detach()), r)
    eps = torch.ones_like(r)
    if s["variant"] == 1:
        for i in range(w.B):
            if m[i].any():
                eps[i] = torch.where(w.H[i] > torch.quantile(w.H[i][m[i]].detach(), 0.8), 2.0, 1.0)
    low, high = 1 - eps * s["clip_low"], 1 + eps * s["clip_high"]
    out = ((a < 0) & (r < low)) | ((a > 0) & (r > high))
    inside = torch.where(flip.detach() <= s["clip_dual"], -a * flip, -a * s["clip_dual"] * w.lp)
    gone = torch.zeros_like(r) if s["variant"] == 0 else torch.where(a < 0, -a * low, -a / high)
    return torch.where(out, gone.detach(), inside)


def soft_baseline(w, s, m):
    base = torch.zeros_like(w.reward)
    for g in range(w.n_groups):
        mine = (w.groups == g) & m.any(1)
        if mine.any():
            base[mine] = s["tau"] * torch.log(torch.exp(w.reward[mine] / s["tau"]).mean())
    return base


def token_loss(w, name, s, m):
    if name in LIKELIHOOD:
        return -w.b * w.lp
    a, apart = advantages(w, s), w.lp - w.lo
    r = torch.exp(apart)
    S = sum_over(w.lp - w.ref, m)
    if name == "reinforce":
        return -a * w.lp
    if name in ("grpo", "dr_grpo", "dapo"):
        return clipped(r, a, s)
    if name == "cispo":
        return -torch.clamp(r, 1 - s["clip_low"], 1 + s["clip_high"]).detach() * a * w.lp
    if name == "sapo":
        t = torch.where(a > 0, s["soften_positive"], s["soften_negative"])
        return -a * 4 / t * torch.sigmoid(t * (r - 1))
    if name == "aspo":
        return aspo(w, s, a, m)
    if name == "kimi":
        return -a * w.lp + s["tau"] / 2 * apart ** 2
    if name == "opmd":
        if s["variant"] == 1:
            a = w.b * (w.reward - soft_baseline(w, s, m))[:, None]
        return -a * w.lp / (1 + s["tau"])
    if name in ("bcpg", "bcpg_nsa"):
        return -a * w.lp + (s["tau"] / 2 * S ** 2 / m.sum(1).clamp(min=1))[:, None]
    if name == "gspo":
        return clipped(torch.exp(w.lp - w.lp.detach() + mean_over(apart, m).detach()[:, None]), a, s)
    if name == "topr":
        ratio = {"token": apart, "sequence": sum_over(apart, m)[:, None],
                 "geometric": mean_over(apart, m)[:, None]}[s["ratio"]].detach().expand(w.B, w.T)
        return -torch.where(a >= 0, torch.ones_like(a), torch.exp(ratio).clamp(max=1)) * a * w.lp
    if name == "gmpo":
        held = torch.where(a > 0, apart.clamp(max=s["clip_high"]), apart.clamp(min=-s["clip_low"]))
        held = torch.where(a == 0, torch.zeros_like(held), held)
        return (-mean_over(a, m) * torch.exp(mean_over(held, m)))[:, None].expand(w.B, w.T)
    raise KeyError(name)


# ---- losses of responses, groups and names ----

def rloo(w, s, m):
    a, apart = advantages(w, s), w.lp - w.lo
    if s["ratio"] == "token":
        return clipped(torch.exp(apart), a, s)
    if s["ratio"] == "step":
        step = torch.cumsum(w.begins.long(), 1) - 1
        mean = torch.zeros_like(apart)
        for k in range(int(step.max()) + 1):
            mine = m & (step == k)
            mean = torch.where(step == k, mean_over(apart.detach(), mine)[:, None], mean)
        return clipped(torch.exp(w.lp - w.lp.detach() + mean), a, s)
    total = sum_over(apart, m) if s["ratio"] == "sequence" else mean_over(apart, m)
    return clipped(torch.exp(total), mean_over(a, m), s)


def tbrm(w, s, m):
    first = torch.stack([w.lse[i][m[i]][0] if m[i].any() else torch.zeros(()).double() for i in range(w.B)])
    return (first + sum_over(w.lp - w.ref, m) - w.reward / s["tau"]) ** 2


def kto(w, s, m):
    S, here = sum_over(w.lp - w.ref, m), m.any(1)
    z0 = S[here].mean().clamp(min=0).detach()
    sign = torch.where(w.correct.bool(), 1.0, -1.0)
    return 1 - torch.sigmoid(sign * s["tau"] * (S - z0))


def group_loss(w, name, s, m):
    loss = torch.zeros(()).double()
    for g in range(w.n_groups):
        mine = [i for i in range(w.B) if w.groups[i] == g and m[i].any()]
        v = w.v[mine]
        S = sum_over(w.lp - (w.lo if name == "gvpo" else w.ref), m)[mine]
        r, k = w.reward[mine], len(mine)
        if name in ("copg", "gvpo") and k > 1:
            R = r - s["tau"] * S if name == "copg" else s["tau"] * S
            mean_R, mean_r = (v * R).sum() / v.sum(), (v * r).sum() / v.sum()
            if name == "gvpo":
                loss = loss + (v * (R - mean_R - (r - mean_r)) ** 2).sum() / (2 * (k - 1))
            elif (v == 1).all():
                loss = loss + sum((R[i] - R[j]) ** 2 for i in range(k) for j in range(i)) / (k - 1)
            else:
                loss = loss + (v * (R - mean_R) ** 2).sum() * k / (k - 1)
        if name in ("dpo", "ipo"):
            if name == "ipo" and s["ratio"] == "geometric":
                S = S / m.sum(1)[mine]
            good = [i for i in range(k) if w.correct[mine[i]]]
            bad = [i for i in range(k) if not w.correct[mine[i]]]
            for i in good:
                for j in bad:
                    d = S[i] - S[j]
                    one = -F.logsigmoid(s["tau"] * d) if name == "dpo" else (d - 1 / (2 * s["tau"])) ** 2
                    loss = loss + (v[i] + v[j]) / 2 * one / (len(good) * len(bad))
    return loss / w.n_groups


def ranking(score, rank, variant):
    """FIRST's ranking losses; targets are the model's own scores in the wanted order, not detached."""
    ordered = torch.sort(score, descending=True).values
    y = ordered[rank - 1]
    if variant == 2:
        return -(torch.softmax(y, 0) * torch.log(torch.softmax(score, 0) + 1e-10)).sum()
    if variant < 2:
        better = y[:, None] > y[None, :]
        w = 1.0 / (rank[:, None] + rank[None, :]) if variant == 0 else torch.ones(len(y), len(y))
        return (w * F.softplus(-(score[:, None] - score[None, :])))[better].mean()
    s, order = torch.sort(score, descending=True)
    t = y[order]
    positions = torch.arange(1, len(s) + 1)
    D = torch.log2(1.0 + positions.double())
    best = ((2 ** torch.sort(t.clamp(min=0), descending=True).values - 1) / D).sum().clamp(min=1e-10)
    gain = (2 ** t.clamp(min=0) - 1) / best
    apart = (positions[:, None] - positions[None, :]).abs().double()
    near = (1 / torch.log2(1 + apart.clamp(min=1)) - 1 / torch.log2(2 + apart.clamp(min=1))).abs()
    weight = near * (gain[:, None] - gain[None, :]).abs()
    prob = torch.sigmoid((s[:, None] - s[None, :]).clamp(-1e8, 1e8)).clamp(min=1e-10) ** weight
    return -torch.log2(prob.clamp(min=1e-10))[t[:, None] > t[None, :]].mean()


def named_loss(w, name, s, m):
    loss, read = torch.zeros(()).double(), 0
    for i in range(w.B):
        read += bool(m[i].any()) or w.named_row[i] >= 0
        if w.named_row[i] < 0:
            continue
        if name == "tract":
            p = torch.exp(w.named[i] - w.lse[i, w.named_row[i]])
            one = ((w.values * p).sum() - w.score[i]) ** 2
        else:
            one = ranking(w.named[i], w.rank[i], s["variant"])
        loss = loss + w.v[i] * one
    return s["lambda"] * loss / read


def own_loss(w, name, s):
    m = part(w, name)
    if name in ("rloo",):
        loss = aggregate(w, name, s, rloo(w, s, m), m)
    elif name == "tbrm":
        loss = aggregate(w, name, s, tbrm(w, s, m), m)
    elif name == "kto":
        loss = aggregate(w, name, s, kto(w, s, m), m)
    elif name in ("copg", "gvpo", "dpo", "ipo"):
        loss = group_loss(w, name, s, m)
    else:
        l = token_loss(w, name, s, m)
        if name in SHAPED and w.injected.any():
            p = torch.exp(w.lp)
            l = torch.where(w.injected[:, None], -advantages(w, s) * p / (p + 0.1), l)
        loss = aggregate(w, name, s, l, m)
    if name in ("tract", "ranknet"):
        loss = loss + named_loss(w, name, s, m)
    if s["kl"] and not s["kl_in_reward"]:
        loss = loss + s["kl_weight"] * aggregate(w, name, s, estimate(s["kl"], w.ref - w.lp), m)
    if s["entropy_weight"]:
        loss = loss - s["entropy_weight"] * aggregate(w, name, s, w.H, m)
    return loss


# ---- cases ----

def filled(name, given):
    """What the settings become; and the given ones as numbers for the file."""
    s = {k: WHOLE.get(k, NAN) for k in NAMES}
    s.update({"kl_weight": 1e-3, "entropy_weight": 0.0, "budget": 0.0, "clip_dual": 0.0})
    s.update(OWN[name])
    s.update(given)
    if name == "ranknet" and "lambda" not in given:
        s["lambda"] = [10.0, 1.0, 0.1, 1.0][s["variant"]]
    numbers = []
    for k in NAMES:
        v = given.get(k, WHOLE.get(k, NAN))
        lists = {"aggregation": AGGREGATION, "advantages": ADVANTAGES, "ratio": RATIO}
        numbers.append(lists[k].index(v) if isinstance(v, str) else v)
    return s, numbers


def case(out, w, name, what, given, loss=None):
    s, numbers = filled(name, given)
    value = loss(w, s) if loss else own_loss(w, name, s)
    at = f"{w.name}/{name}/{what}"
    out.put(f"{at}/settings", numbers)
    out.put(f"{at}/loss", [value.item()])
    grads = torch.autograd.grad(value, w.leaves, allow_unused=True, retain_graph=True)
    keys = ["z"] if w.z is not None else ["c", "e", "h", "g"]
    for key, leaf, grad in zip(keys, w.leaves, grads):
        if grad is None or not grad.abs().max() > 0:
            continue
        out.put(f"{at}/{key}", grad if key == "g" else w.flat(grad), "f" if key == "z" else "d")


def own_cases(out, w):
    for name, own in OWN.items():
        dr = dict(constant=50.0) if name == "dr_grpo" else {}
        case(out, w, name, "own", dr)
        policy = "advantages" in own
        if name not in ("token_class", "tbrm", "copg", "gvpo", "dpo", "ipo", "kto"):
            for a in AGGREGATION:
                case(out, w, name, a, dict(dr, aggregation=a, constant=50.0))
            case(out, w, name, "budget", dict(aggregation="constant", budget=40.0))
        for a in ADVANTAGES if policy else []:
            case(out, w, name, a, dict(dr, advantages=a))
        if policy:
            case(out, w, name, "rows", dict(dr, rows=1))
            case(out, w, name, "kl_in_reward", dict(dr, kl=1, kl_in_reward=1, kl_weight=0.3))
        if name != "token_class":
            for k in (1, 2, 3):
                case(out, w, name, f"k{k}", dict(dr, kl=k, kl_weight=0.3, entropy_weight=0.05 if k == 3 else 0.0))
        if "ratio" in own:
            for r in RATIO[name == "ipo":4 if name == "rloo" else 3]:
                case(out, w, name, f"{r}_ratio", dict(ratio=r))
        for v in range(4 if name == "ranknet" else 2) if "variant" in own else []:
            case(out, w, name, f"variant{v}", dict(variant=v))
        if "clip_low" in own:
            case(out, w, name, "clip", dict(dr, clip_low=0.1, clip_high=0.3))
        if "tau" in own:
            case(out, w, name, "tau", dict(tau=0.7))


# ---- the trainers' formulas ----

def trainer_cases(out, w):
    w.given = trl_advantages(w)
    given = dict(advantages="given")
    case(out, w, "grpo", "trl_grpo", given, trl_grpo("grpo"))
    case(out, w, "grpo", "trl_beta", dict(given, kl=3, kl_weight=0.04), trl_grpo("grpo", beta=0.04))
    case(out, w, "grpo", "trl_delta", dict(given, clip_dual=1.5), trl_grpo("grpo", delta=1.5))
    case(out, w, "dapo", "trl_dapo", given, trl_grpo("dapo", eps_high=0.28))
    case(out, w, "dapo", "trl_entropy", dict(given, entropy_weight=0.05), trl_grpo("dapo", eps_high=0.28, entropy=0.05))
    case(out, w, "dr_grpo", "trl_dr_grpo", dict(given, constant=64.0), trl_grpo("dr_grpo", width=64))
    case(out, w, "gspo", "trl_gspo", given, trl_grpo("grpo", 3e-4, 4e-4, level="sequence"))
    case(out, w, "gspo", "trl_wide", dict(given, clip_low=0.1, clip_high=0.2), trl_grpo("grpo", 0.1, 0.2, level="sequence"))
    case(out, w, "cispo", "trl_cispo", dict(given, clip_low=1.0, clip_high=0.3), trl_grpo("cispo", eps_high=1.3))
    case(out, w, "sapo", "trl_sapo", given, trl_grpo("sapo"))
    case(out, w, "rloo", "trl_rloo", dict(kl=1, kl_in_reward=1), trl_rloo)
    case(out, w, "kto", "trl_kto", {}, trl_kto)
    case(out, w, "dapo", "verl_vanilla", dict(clip_dual=3.0), verl("vanilla", "token-mean", high=0.28))
    for mode, ours in (("token-mean", "token_mean"), ("seq-mean-token-sum", "sequence_sum"),
                       ("seq-mean-token-sum-norm", "constant"), ("seq-mean-token-mean", "sequence_mean")):
        case(out, w, "grpo", "verl_" + ours, dict(aggregation=ours, clip_dual=3.0, constant=48.0),
             verl("vanilla", mode, scale=48))
    case(out, w, "grpo", "verl_dual", dict(clip_dual=1.5), verl("vanilla", "seq-mean-token-mean", dual=1.5))
    case(out, w, "grpo", "verl_rloo", dict(advantages="leave_one_out", clip_dual=3.0),
         verl("vanilla", "seq-mean-token-mean", adv="rloo"))
    for k in (1, 2, 3):
        case(out, w, "grpo", f"verl_k{k}", dict(aggregation="token_mean", clip_dual=3.0, kl=k, kl_weight=0.3,
                                                entropy_weight=0.02), verl("vanilla", "token-mean", kl=k, entropy=0.02))
    case(out, w, "gspo", "verl_gspo", {}, verl("gspo", "seq-mean-token-mean", 3e-4, 4e-4))
    case(out, w, "cispo", "verl_cispo", {}, verl("cispo", "token-mean"))
    case(out, w, "sapo", "verl_sapo", {}, verl("sapo", "seq-mean-token-mean"))
    case(out, w, "gmpo", "verl_geo_mean", {}, verl("geo_mean", "", 0.4, 0.4))
    case(out, w, "kimi", "verl_dro", dict(advantages="mean_std", tau=0.2), verl("dro", "token-mean"))
    case(out, w, "reinforce", "verl_gpg", dict(advantages="mean_std"), verl("gpg", "seq-mean-token-mean"))


def logits_cases(out, w):
    for name, given in (("sft", {}), ("grpo", dict(kl=3, kl_weight=0.3, entropy_weight=0.1)), ("bcpg", dict(tau=0.05)),
                        ("tbrm", dict(tau=0.5)), ("dpo", {}), ("tract", {}), ("ranknet", dict(variant=3)),
                        ("ranknet", dict(variant=0)), ("ranknet", dict(variant=2))):
        case(out, w, name, f"own{given.get('variant', '')}", given)


def main():
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    out = Fixture(sys.argv[1])
    even = World("even", [6, 1, 9, 5, 4, 8, 7, 3, 8, 7, 6, 3], [0] * 4 + [1] * 4 + [2] * 4, [4, 4, 4],
                 [1, 0, 0, 1, 0.5, 1, 0.25, 0, 1, -1, 0.5, 1], [1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1])
    pairs = World("pairs", [6, 2, 9, 5, 4, 8, 7, 3], [0, 0, 1, 1, 2, 2, 3, 3], [2] * 4, [1, 0, 0, 1, 1, 0, 0, 1],
                  [1, 0, 0, 1, 1, 0, 0, 1])
    odd = World("odd", [6, 1, 9, 5, 4, 0, 7, 5, 8, 7, 6, 3, 5], [0, 0, 0, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4],
                [4, 1, 3, 2, 4], [1, 0, 0.25, 1, 0.5, 0.5, 0.5, 0, 1, -1, 0.75, 0.5, 1],
                [1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], odd=True)
    logits = World("logits", [4, 3, 5, 4], [0, 0, 1, 1], [2, 2], [1, 0, 0, 1], [1, 0, 0, 1], logits=True)
    for w in (even, pairs, odd, logits):
        if w is not even:
            w.put(out)
    own_cases(out, odd)
    case(out, pairs, "dpo", "trl_dpo", {}, trl_pair("dpo", 0.1))
    case(out, pairs, "ipo", "trl_ipo", {}, trl_pair("ipo", 0.1))
    case(out, pairs, "dpo", "own", dict(tau=0.5))
    case(out, pairs, "kto", "trl_kto", {}, trl_kto)
    logits_cases(out, logits)
    trainer_cases(out, even)
    for name in ("copg", "gvpo", "dpo", "ipo"):
        case(out, even, name, "own", {})
    even.put(out)


main()
