#!/usr/bin/env python3
"""The fused loss of libsluice-cuda.so next to PyTorch's ways and Liger's, in one process: the same tensors, a call of one
after a call of the other, CUDA events, medians, memory, and a check that they agree.

    bench_gpu.py [--library FILE] [--seconds 200] [--json FILE] [--quick] [--rows 32768] [--vocab 151936]
                 [--widths 1536,3584] [--no-compile]

Forward and backward of one loss over X (rows, width) and W (vocab, width), bfloat16, random: no zeros. Ways:
    eager               F.cross_entropy or a gathered log_softmax, of float32 logits; it holds all of them
    eager, bfloat16     the same of bfloat16 logits: no ratios are to be made of these
    compiled            the first, by torch.compile
    checkpointed        chunks of 1024 rows, each computed again in the backward pass, as trainers write it
    Liger               LigerFusedLinearCrossEntropyLoss, LigerFusedLinearGRPOLoss (where liger_kernel is installed)
The gradient of W is float32 and added in place in ours; the others make their own kind (bfloat16). Without a device it says
so; --quick is for small shapes, which also run on the simulated device of `make simt` with tensors of the CPU.
"""
import argparse
import json
import os
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "examples", "pytorch"))
import sluice_torch as sluice  # noqa: E402

passed = failed = 0


def told(good, text):
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok' if good else 'not ok'} - {text}", flush=True)


class Problem:
    def __init__(self, o, width, device):
        import torch
        g = torch.Generator(device=device).manual_seed(1)
        normal = lambda *shape: torch.randn(shape, generator=g, device=device, dtype=torch.float32)
        self.rows, self.vocab, self.width, self.device = o.rows, o.vocab, width, device
        self.x = normal(o.rows, width).bfloat16().requires_grad_()
        self.w = (normal(o.vocab, width) * 3 / width ** 0.5).bfloat16().requires_grad_()
        self.targets = torch.randint(0, o.vocab, (o.rows,), generator=g, device=device, dtype=torch.int32)
        self.long = self.targets.long()
        self.length = min(4096, o.rows // 2)
        self.responses = o.rows // self.length
        self.advantages = torch.tensor([0.7, -0.7] * self.responses, device=device)[:self.responses]
        self.dw = torch.zeros(o.vocab, width, device=device)
        self.old = None

    def samples(self):
        return sluice.samples([{"first": i * self.length, "count": self.length, "group": i // 2, "group_size": 2,
                                "advantage": float(a)} for i, a in enumerate(self.advantages)])


# ---- the losses, of log probabilities: of the mean over responses of the mean over tokens ----

def sft(p, logp):
    return -logp.mean()


def grpo(p, logp):
    import torch
    logp, old = logp.float().view(-1, p.length), p.old.view(-1, p.length)
    a, r = p.advantages[:, None], (logp - old).exp()
    return torch.maximum(-a * r, -a * r.clamp(0.8, 1.2)).mean()


LOSSES = {"sft": sft, "grpo": grpo}


# ---- ways: each a function () -> loss that has left its gradients in x.grad and w.grad (ours: in dw) ----

def ours(lib, p, objective, logits, samples, settings, step):
    def run():
        loss = sluice.fused_loss(lib, p.x, p.w, p.targets, objective, samples, settings=settings, step=step,
                                 behaviour=p.old, reference=p.old, dweight=p.dw, logits=logits)
        loss.backward()
        return loss
    return run


def statistics(lib, p, logits):
    import torch

    def run():
        with torch.no_grad():
            return sluice.log_probabilities(lib, p.x, p.w, p.targets, logits=logits)[0].sum()
    return run


def gathered(logits, targets):
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)


def eager(p, objective, wide):
    import torch.nn.functional as F

    def loss(x, w):
        logits = x @ w.t()
        logits = logits.float() if wide else logits
        if objective == "sft":
            return F.cross_entropy(logits, p.long)
        return LOSSES[objective](p, gathered(logits, p.long))
    return loss


def backward_of(p, loss):
    def run():
        value = loss(p.x, p.w)
        value.backward()
        return value
    return run


def checkpointed(p, objective, chunk=1024):
    from torch.utils.checkpoint import checkpoint
    import torch

    def part(x, w, targets):
        return gathered((x @ w.t()).float(), targets)

    def loss(x, w):
        parts = [checkpoint(part, x[i:i + chunk], w, p.long[i:i + chunk], use_reentrant=False)
                 for i in range(0, p.rows, chunk)]
        return LOSSES[objective](p, torch.cat(parts))
    return loss


def liger(p, objective):
    import torch
    if objective == "sft":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
        f = LigerFusedLinearCrossEntropyLoss()
        return lambda x, w: f(w, x, p.long)
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss
    f = LigerFusedLinearGRPOLoss(beta=0.0, loss_type="grpo", use_ref_model=False, compiled=p.device == "cuda")
    ids = p.long.view(p.responses, p.length)
    mask = torch.ones_like(ids, dtype=torch.float32)

    def loss(x, w):
        return f(x.view(p.responses, p.length, -1), w, ids, mask, p.advantages,
                 old_per_token_logps=p.old.view(p.responses, p.length))[0]
    return loss


# ---- measuring ----

class Way:
    def __init__(self, name, objective, make, mine=False):
        self.name, self.objective, self.make, self.mine = name, objective, make, mine
        self.run, self.ms, self.memory, self.why = None, [], None, ""


def free(p):
    import torch
    p.x.grad = p.w.grad = None
    if p.device == "cuda":
        torch.cuda.empty_cache()


def one(p, run):
    """Milliseconds of a call."""
    import torch
    p.x.grad = p.w.grad = None
    if p.device == "cpu":
        begin = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - begin)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def first(lib, p, way):
    """The first call: what is compiled is compiled, the memory it takes beside X, W and their gradients (of torch's
    allocator's peak; ours: of the device), and its gradients. None where it failed."""
    import torch
    free(p)
    p.dw.zero_()
    cuda = p.device == "cuda"
    try:
        way.run = way.make()
        if way.mine:
            lib.close()             # its work space is taken anew
        if cuda:
            torch.cuda.synchronize()
            before, base = torch.cuda.mem_get_info()[0], torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        loss = way.run()
        if cuda:
            torch.cuda.synchronize()
            grads = sum(t.numel() * t.element_size() for t in (p.x.grad, p.w.grad) if t is not None)
            torch.cuda.empty_cache()
            way.memory = torch.cuda.max_memory_allocated() - base - grads
            if way.mine:        # its work space is its own, and stays
                way.memory += max(0, before - torch.cuda.mem_get_info()[0] - grads)
        return loss.detach().double(), p.x.grad, p.dw if way.mine else p.w.grad
    except Exception as e:      # out of memory, no such library, a compiler that is missing: the others go on
        way.run, way.why = None, f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:150]
        return None


def apart(ours, theirs, rows):
    """The length of the difference over the length, of some rows."""
    a, b = ours[rows].double(), theirs[rows].double()
    return float((a - b).norm() / b.norm())


def compare(p, way, made, mine, label):
    """Another way's loss and gradients against ours. Peers round logits, slopes or sums to bfloat16."""
    rows, classes = slice(0, p.rows, max(1, p.rows // 64)), p.long[:16]
    loss = abs(float(made[0] - mine[0])) / (abs(float(mine[0])) + 0.5)     # 0.5: terms that cancel in it
    dx, dw = apart(made[1], mine[1], rows), apart(made[2], mine[2], classes)
    told(loss < 0.02 and dx < 0.1 and dw < 0.1,
         f"{label}: {way.objective}, {way.name} agrees: loss {loss:.1e}, dX {dx:.1e}, dW {dw:.1e}")


def ways_of(lib, p, o):
    samples, ways = p.samples(), []
    for objective in ("sft", "grpo", "bcpg_nsa"):
        s = sluice.settings(objective)
        step = sluice.measure(objective, samples)
        for logits in ("automatic", "fused"):
            name = "ours" + ", fused logits" * (logits == "fused")
            ways.append(Way(name, objective, lambda a=(objective, logits, samples, s, step): ours(lib, p, *a), mine=True))
    for logits in ("automatic", "fused"):
        name = "ours" + ", fused logits" * (logits == "fused")
        ways.append(Way(name, "log p", lambda l=logits: statistics(lib, p, l), mine=True))
    for objective in ("grpo", "sft"):
        ways.append(Way("Liger", objective, lambda j=objective: backward_of(p, liger(p, j))))
        ways.append(Way("eager", objective, lambda j=objective: backward_of(p, eager(p, j, True))))
        ways.append(Way("eager, bfloat16", objective, lambda j=objective: backward_of(p, eager(p, j, False))))
        ways.append(Way("checkpointed", objective, lambda j=objective: backward_of(p, checkpointed(p, j))))
    if not o.no_compile:
        import torch
        for objective in ("grpo", "sft"):
            ways.append(Way("compiled", objective, lambda j=objective: backward_of(
                p, torch.compile(eager(p, j, True), dynamic=False))))
    return ways


def median(values):
    values = sorted(values)
    n = len(values)
    return (values[n // 2] + values[(n - 1) // 2]) / 2


def measure(lib, o, width, device, until, out):
    import torch
    if not o.no_compile:
        torch.compiler.reset()      # what was compiled for another width holds its tensors
    p = Problem(o, width, device)
    label = f"N {p.rows}, d {width}, V {p.vocab}"
    with torch.no_grad():
        logp = sluice.log_probabilities(lib, p.x, p.w, p.targets, logits="float32")[0]
        p.old = logp + 0.1 * (torch.rand_like(logp) - 0.5)
    ways, mine = ways_of(lib, p, o), {}
    for way in ways:
        if time.monotonic() > until and not way.mine:
            way.why = "no time left"
            continue
        made = first(lib, p, way)
        if made is None:
            continue
        if way.mine:
            mine.setdefault(way.objective, (made[0], made[1], made[2].clone() if way.objective in LOSSES else None))
            told(bool(torch.isfinite(made[0])), f"{label}: {way.objective}, {way.name} is a number")
        else:
            compare(p, way, made, mine[way.objective], label)
        del made
    mine.clear()
    free(p)
    for r in range(3 if o.quick else 21):
        if r >= 3 and time.monotonic() > until:
            break
        for way in ways:
            if way.run is None:
                continue
            try:
                free(p)             # another way's memory; what this one takes is taken in a run before the timed one
                one(p, way.run)
                way.ms.append(one(p, way.run))
            except Exception as e:
                way.run, way.why = None, f"{type(e).__name__}: {e}"[:150]
    table(p, label, ways, out)


def table(p, label, ways, out):
    print(f"==== table\n{label}, forward and backward; ratio: of the faster of ours")
    print(f"{'loss, way':34} {'ms':>9} {'ratio':>7} {'TFLOP/s':>8} {'MB':>7}")
    for way in sorted(ways, key=lambda w: (("sft", "grpo", "bcpg_nsa", "log p").index(w.objective), not w.mine)):
        name = f"{way.objective}, {way.name}"
        line = {"at": label, "what": name, "why": way.why}
        if way.ms:
            ms = median(way.ms)
            best = min([median(w.ms) for w in ways if w.mine and w.objective == way.objective and w.ms] or [ms])
            flops = (1 if way.objective == "log p" else 3) * 2.0 * p.rows * p.width * p.vocab
            line.update(ms=ms, ratio=ms / best, rounds=len(way.ms), memory=way.memory)
            print(f"{name:34} {ms:9.2f} {ms / best:7.2f} {flops / ms * 1e-9:8.0f} "
                  f"{'' if way.memory is None else round(way.memory / 1e6):>7}")
        else:
            print(f"{name:34} {way.why}")
        if out:
            out.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--library", default=os.path.join(ROOT, "build", "libsluice-cuda.so"))
    a.add_argument("--seconds", type=float, default=200)
    a.add_argument("--json")
    a.add_argument("--quick", action="store_true")
    a.add_argument("--rows", type=int)
    a.add_argument("--vocab", type=int)
    a.add_argument("--widths")
    a.add_argument("--no-compile", action="store_true")
    o = a.parse_args()
    o.rows, o.vocab = o.rows or (64 if o.quick else 32768), o.vocab or (304 if o.quick else 151936)
    widths = [int(w) for w in (o.widths or ("64" if o.quick else "1536,3584")).split(",")]
    begin = time.monotonic()
    try:
        import torch
    except ImportError:
        print("ok - bench_gpu.py # SKIP no torch")
        return 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not o.quick:
        print("ok - bench_gpu.py # SKIP torch sees no CUDA device")
        return 0
    if device == "cpu":             # the simulated device has to take the tensors of the processor for its own memory
        os.environ["SLUICE_SIMT_HOST"] = "1"
        torch.set_num_threads(1)
    lib = sluice.load(os.path.abspath(o.library))
    out = open(o.json, "a") if o.json else None
    for i, width in enumerate(widths):
        measure(lib, o, width, device, begin + o.seconds * (i + 1) / len(widths), out)
    lib.close()
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
