"""Losses of two trainers for golden_objective.py, which calls them with a World w and settings s.

The trainers' formulas in our own words, for cases whose name begins with trl_ or verl_, with their conventions
mapped to settings:
  trl    huggingface/trl f2cd577: trl/trainer/{grpo,rloo,dpo,kto}_trainer.py
  verl   verl-project/verl 1dda039: verl/trainer/ppo/core_algos.py
TRL's advantages divide by (std + 1e-4): given. Its KL is k3 with beta = kl_weight. Its cispo caps r at
epsilon_high: clip_low 1, clip_high cap - 1. dapo divides by the step's tokens: token_mean. dr_grpo divides by
sequences x max_completion_length: constant. Its kto takes z0 from mismatched pairs; here z0 is the step's mean S.
verl's seq-mean-token-mean is sequence_mean, token-mean token_mean, seq-mean-token-sum sequence_sum, and
seq-mean-token-sum-norm constant with loss_scale_factor."""
import torch
import torch.nn.functional as F


def trl_advantages(w):
    """(r - group mean) / (Bessel std + 1e-4)."""
    r = w.reward.view(-1, 4)
    return ((r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)).view(-1)


def trl_grpo(kind, eps_low=0.2, eps_high=0.2, delta=None, level="token", beta=0.0, width=1, entropy=0.0):
    def loss(w, s):
        m, A = w.mask.double(), trl_advantages(w)[:, None]
        log_r = w.lp - w.lo
        if level == "sequence":
            log_r = ((log_r * m).sum(-1) / m.sum(-1))[:, None]
        r = torch.exp(log_r)
        if kind == "cispo":
            l = -torch.clamp(r, max=eps_high).detach() * A * w.lp
        elif kind == "sapo":
            t = torch.where(A > 0, 1.0, 1.05)
            l = -torch.sigmoid(t * (r - 1)) * 4 / t * A
        else:
            held = torch.clamp(r, 1 - eps_low, 1 + eps_high)
            free = r if delta is None else torch.clamp(r, max=delta)
            l = -torch.min(free * A, held * A)
        d = w.ref - w.lp
        l = l + beta * (torch.exp(d) - d - 1)
        if kind in ("grpo", "sapo"):
            value = ((l * m).sum(-1) / m.sum(-1)).mean()
        elif kind == "dr_grpo":
            value = (l * m).sum() / (w.B * width)
        else:
            value = (l * m).sum() / m.sum()
        return value - entropy * (w.H * m).sum() / m.sum()
    return loss


def trl_rloo(w, s):
    m = w.mask.double()
    r = (w.reward - 0.05 * ((w.lo - w.ref) * m).sum(1)).view(-1, 4)
    A = (r - (r.sum(1, keepdim=True) - r) / 3).view(-1)
    ratio = torch.exp((w.lp * m).sum(1) - (w.lo * m).sum(1))
    return -torch.min(ratio * A, torch.clamp(ratio, 0.8, 1.2) * A).mean()


def trl_pair(kind, beta):
    def loss(w, s):
        m = w.mask.double()
        score = ((w.lp - w.ref) * m).sum(1)
        if kind == "ipo":
            score = score / m.sum(1)
        good, bad = score[w.correct.bool()], score[~w.correct.bool()]
        if kind == "ipo":
            return ((good - bad - 1 / (2 * beta)) ** 2).mean()
        return -F.logsigmoid(beta * (good - bad)).mean()
    return loss


def trl_kto(w, s):
    score = ((w.lp - w.ref) * w.mask).sum(1)
    kl = score.mean().detach().clamp(min=0)
    good, bad = score[w.correct.bool()], score[~w.correct.bool()]
    return torch.cat((1 - torch.sigmoid(0.1 * (good - kl)), 1 - torch.sigmoid(0.1 * (kl - bad)))).mean()


def verl_mean(l, m, mode, scale=None):
    if mode == "token-mean":
        return (l * m).sum() / m.sum()
    if mode == "seq-mean-token-sum":
        return (l * m).sum(-1).mean()
    if mode == "seq-mean-token-sum-norm":
        return (l * m).sum(-1).mean() / scale
    return ((l * m).sum(-1) / (m.sum(-1) + 1e-8)).mean()


def verl_advantages(w, kind):
    r = w.reward.view(-1, 4)
    if kind == "rloo":
        return (4 / 3 * (r - r.mean(1, keepdim=True))).view(-1)[:, None]
    return ((r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-6)).view(-1)[:, None]


def verl(kind, mode, low=0.2, high=0.2, dual=3.0, scale=None, adv="grpo", kl=None, coef=0.3, entropy=0.0):
    def loss(w, s):
        m, A = w.mask.double(), verl_advantages(w, adv)
        apart = torch.clamp(w.lp - w.lo, -20, 20)
        r = torch.exp(apart)
        if kind == "vanilla":
            l = torch.maximum(-A * r, -A * torch.clamp(r, 1 - low, 1 + high))
            l = torch.where(A < 0, torch.min(-A * dual, l), l)
        elif kind == "gspo":
            mean = ((w.lp - w.lo) * m).sum(-1) / m.sum(-1)
            r = torch.exp(torch.clamp(w.lp - w.lp.detach() + mean.detach()[:, None], max=10.0))
            l = torch.maximum(-A * r, -A * torch.clamp(r, 1 - low, 1 + high))
        elif kind == "cispo":
            l = -torch.clamp(r, 1 - low, 1 + high).detach() * A * w.lp
        elif kind == "sapo":
            t = torch.where(A > 0, 1.0, 1.05)
            l = -torch.sigmoid(t * (r - 1)) * 4 / t * A
        elif kind == "geo_mean":
            sign = torch.sign(A)
            held = sign * torch.min(sign * (w.lp - w.lo), sign * torch.clamp(w.lp - w.lo, -low, high))
            rho = torch.exp((held * m).sum(-1) / (m.sum(-1) + 1e-8))
            return (-(A * m).sum(-1) / (m.sum(-1) + 1e-8) * rho).mean()
        elif kind == "dro":
            l = -(w.lp * A - 0.5 * 0.2 * (w.lp - w.lo) ** 2)
        else:                                   # gpg
            l = -w.lp * A
        value = verl_mean(l, m, mode, scale)
        d = w.ref - w.lp
        if kl:
            value = value + coef * verl_mean([-d, d ** 2 / 2, torch.exp(d) - d - 1][kl - 1], m, mode, scale)
        return value - entropy * verl_mean(w.H, m, mode, scale)
    return loss
