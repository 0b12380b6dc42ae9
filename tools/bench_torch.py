#!/usr/bin/env python3
"""Training steps of tools/bench_step.c next to PyTorch's on the CPU: the same checkpoint, the same packed sequences and
coefficients, as many threads each, in turns within one run.

    bench_torch.py [--widths 128,256,512] [--rounds 5] [--sequences 32] [--ways "packed 2048,padded"] [--threads 1]
                   [--compile]

PyTorch gets the sequences in every way of WAYS that its CPU kernels support; the fastest of them, found by two steps
after a first, is the one that is compared. Its model is written for speed: one product for q, k, v and one for gate and up,
F.rms_norm, F.scaled_dot_product_attention, only the rows that have a target in the head, clip_grad_norm_(foreach) and
the fused AdamW. Each side is a process of its own, and a step of one is followed by a step of the other.

With one thread time is CPU seconds of the process, so that other work on the machine counts less; with more it is that
of the clock, and other work counts: look at the load. The first steps' losses and gradient norms must agree, or nothing is compared. The figures are
invalid where PyTorch's own sgemm is below 0.8 of ours. Memory is the peak of the resident set: of PyTorch all of it,
and beside it what is above its imports.
"""
import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

CLOCK, CPU = 0, 1   # of what a child says of a step: seconds of the clock, of the CPU, loss, norm
LAYERS, VOCAB, SHORTEST, LONGEST = 4, 4096, 64, 512
WAYS = {
    "packed": "all tokens in one batch without padding, attention sequence by sequence",
    "packed 4096": "the same in batches of up to 4096 tokens, gradients accumulated, as ours",
    "packed 2048": "batches of up to 2048",
    "packed 1024": "and of up to 1024",
    "one by one": "one sequence at a time, gradients accumulated",
    "padded": "one batch padded to the longest, causal attention",
    "padded by length": "batches of 4 sequences of about one length, padded, gradients accumulated",
    "nested": "nested tensors (jagged) in attention, everything else packed",
    "masked": "all tokens as one sequence, attention under a block mask",
}
COMPILED = ("packed", "packed 4096", "packed 2048")     # ways of few shapes; each shape is compiled for itself


def read_batch(path):
    import numpy as np
    raw = open(path, "rb").read()
    tokens, sequences = np.frombuffer(raw, np.int64, 2)
    at = 16
    parts = []
    for kind, count in ((np.int64, sequences + 1), (np.int32, tokens), (np.int32, tokens), (np.float32, tokens)):
        parts.append(np.frombuffer(raw, kind, count, at).copy())
        at += parts[-1].nbytes
    return parts


class Bench:
    """The model's weights as leaves, laid out as bench_step lays them out, and one step."""

    def __init__(self, folder, way, compiled):
        import json
        import torch
        import torch.nn.functional as F
        from safetensors.torch import load_file
        self.torch, self.F, self.way = torch, F, way
        self.config = json.load(open(os.path.join(folder, "model", "config.json")))
        w = load_file(os.path.join(folder, "model", "model.safetensors"))
        self.heads, self.kv = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        self.dim = 64
        self.eps = self.config["rms_norm_eps"]
        self.layers = []
        for i in range(self.config["num_hidden_layers"]):
            at = lambda name: w[f"model.layers.{i}.{name}"].float()
            q, k, v = ("self_attn." + x for x in ("q_proj", "k_proj", "v_proj"))
            self.layers.append({
                "norm": at("input_layernorm.weight"),
                "qkv": torch.cat([at(x + ".weight") for x in (q, k, v)]),
                "qkv_bias": torch.cat([at(x + ".bias") for x in (q, k, v)]),
                "o": at("self_attn.o_proj.weight"),
                "norm2": at("post_attention_layernorm.weight"),
                "gu": torch.cat([at("mlp.gate_proj.weight"), at("mlp.up_proj.weight")]),
                "down": at("mlp.down_proj.weight"),
            })
        self.embed, self.norm = w["model.embed_tokens.weight"].float(), w["model.norm.weight"].float()
        self.params = [p.requires_grad_() for layer in self.layers for p in layer.values()]
        self.params += [self.embed.requires_grad_(), self.norm.requires_grad_()]
        decay = [p for p in self.params if p.dim() == 2]
        still = [p for p in self.params if p.dim() == 1]
        self.optimiser = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01},
                                            {"params": still, "weight_decay": 0.0}],
                                           lr=1e-4, eps=1e-8, fused=True)
        theta = self.config.get("rope_theta") or self.config["rope_parameters"]["rope_theta"]
        angle = torch.arange(LONGEST).double()[:, None] / theta ** (torch.arange(0, 64, 2).double() / 64)
        angle = torch.cat([angle, angle], -1)
        self.cos, self.sin = angle.cos().float(), angle.sin().float()
        starts, ids, targets, c = read_batch(os.path.join(folder, "batch"))
        self.batches = [self.lay(*part) for part in self.cut(starts, ids, targets, c)]
        self.run = torch.compile(self.loss, dynamic=False) if compiled else self.loss

    def cut(self, starts, ids, targets, c):
        lengths = [int(b - a) for a, b in zip(starts, starts[1:])]
        order = list(range(len(lengths)))
        size = 1 if self.way == "one by one" else int(self.way[7:] or 1 << 40) if self.way.startswith("packed ") else 1 << 40
        if self.way == "padded by length":
            order.sort(key=lambda s: lengths[s])
            groups = [order[i:i + 4] for i in range(0, len(order), 4)]
        else:
            groups, tokens = [[]], 0
            for s in order:
                if groups[-1] and tokens + lengths[s] > size:
                    groups.append([])
                    tokens = 0
                groups[-1].append(s)
                tokens += lengths[s]
        for group in groups:
            yield [[(ids[starts[s]:starts[s + 1]], targets[starts[s]:starts[s + 1]], c[starts[s]:starts[s + 1]])
                    for s in group]]

    def lay(self, sequences):
        torch = self.torch
        lengths = [len(ids) for ids, _, _ in sequences]
        if self.way.startswith("padded"):
            rows, longest = len(lengths), max(lengths)
            ids, targets = torch.zeros(rows, longest, dtype=torch.long), torch.full((rows, longest), -1)
            c, place = torch.zeros(rows, longest), torch.arange(longest).repeat(rows)
            for i, (a, b, d) in enumerate(sequences):
                n = len(a)
                ids[i, :n], targets[i, :n] = torch.tensor(a).long(), torch.tensor(b).long()
                c[i, :n] = torch.tensor(d)
            shape = (rows, longest)
            ids, targets, c = ids.flatten(), targets.flatten(), c.flatten()
        else:
            ids, targets, c = (torch.cat([torch.tensor(s[i]) for s in sequences]) for i in range(3))
            place, shape = torch.cat([torch.arange(n) for n in lengths]), None
        rows = (targets >= 0).nonzero().flatten()
        batch = {"ids": ids.long(), "lengths": lengths, "shape": shape, "rows": rows, "targets": targets[rows].long(),
                 "c": c[rows], "cos": self.cos[place][:, None], "sin": self.sin[place][:, None]}
        if self.way == "nested":
            batch["offsets"] = torch.tensor([0] + lengths).cumsum(0)
        if self.way == "masked":
            which = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
            batch["mask"] = (which[:, None] == which[None]) & (place[:, None] >= place[None])
        return batch

    def turn(self, x, b):
        low, high = x.chunk(2, -1)
        return x * b["cos"] + self.torch.cat([-high, low], -1) * b["sin"]

    def attend(self, q, k, v, b):
        torch, F = self.torch, self.F
        sdpa = lambda q, k, v, **more: F.scaled_dot_product_attention(
            q, k, v, enable_gqa=self.heads != self.kv, **more)
        if b["shape"]:
            q, k, v = (x.unflatten(0, b["shape"]).transpose(1, 2) for x in (q, k, v))
            return sdpa(q, k, v, is_causal=True).transpose(1, 2).flatten(2).flatten(0, 1)
        if self.way == "nested":
            jag = lambda x: torch.nested.nested_tensor_from_jagged(
                x.repeat_interleave(self.heads // x.shape[1], 1), b["offsets"]).transpose(1, 2)
            out = F.scaled_dot_product_attention(jag(q), jag(k), jag(v), is_causal=True)
            return out.transpose(1, 2).values().flatten(1)
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        if self.way == "masked":
            return sdpa(q, k, v, attn_mask=b["mask"])[0].transpose(0, 1).flatten(1)
        parts = zip(*(x.split(b["lengths"], 2) for x in (q, k, v)))
        return torch.cat([sdpa(*x, is_causal=True)[0].transpose(0, 1) for x in parts]).flatten(1)

    def loss(self, b):
        torch, F = self.torch, self.F
        width = self.embed.shape[1]
        x = F.embedding(b["ids"], self.embed)
        for l in self.layers:
            qkv = F.linear(F.rms_norm(x, (width,), l["norm"], self.eps), l["qkv"], l["qkv_bias"])
            q, k, v = qkv.unflatten(1, (-1, self.dim)).split([self.heads, self.kv, self.kv], 1)
            x = x + F.linear(self.attend(self.turn(q, b), self.turn(k, b), v, b), l["o"])
            gate, up = F.linear(F.rms_norm(x, (width,), l["norm2"], self.eps), l["gu"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, l["down"])
        x = F.rms_norm(x, (width,), self.norm, self.eps)[b["rows"]]
        return -(b["c"] * F.cross_entropy(F.linear(x, self.embed), b["targets"], reduction="none")).sum()

    def step(self):
        torch, total = self.torch, 0.0
        for b in self.batches:
            loss = self.run(b)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return total, norm.item()


def peak():
    """Of the process's own pages; ru_maxrss would count the parent's before exec."""
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sgemm_rate(torch):
    x, w = torch.rand(1024, 1024) - 0.5, torch.rand(1024, 1024) - 0.5
    best = 1e9
    for _ in range(9):
        begin = time.process_time()
        torch.mm(x, w.t())
        best = min(best, time.process_time() - begin)
    return 2 * 1024 ** 3 / best * 1e-9


def worker(folder, way, compiled, threads):
    import torch
    import safetensors.torch  # noqa: F401: a part of the base line
    torch.set_num_threads(threads)
    base = peak()
    bench = Bench(folder, way, compiled)
    for _ in sys.stdin:
        wall, cpu = time.monotonic(), time.process_time()
        loss, norm = bench.step()
        print("step %.6f %.6f %.9g %.9g" % (time.monotonic() - wall, time.process_time() - cpu, loss, norm), flush=True)
    print(f"memory {peak()}\nbase {base}")
    torch.set_num_threads(1)
    print(f"sgemm {sgemm_rate(torch):.1f}", flush=True)


class Child:
    def __init__(self, command, threads):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
                                        stderr=subprocess.PIPE if "--worker" in command else None)

    def step(self):
        """Seconds of the clock and of the CPU, the loss, the norm; None where the child has died."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        words = self.process.stdout.readline().split()
        return [float(x) for x in words[1:]] if words[:1] == ["step"] else None

    def end(self):
        return dict((name, float(value)) for name, value in map(str.split, self.process.communicate()[0].splitlines()))


def median(values):
    values = sorted(values)
    n = len(values)
    return (values[n // 2] + values[(n - 1) // 2]) / 2


def fastest(folder, options):
    """The way whose second step is the fastest, and whether compiled; prints what each needed."""
    times = {}
    for compiled in ([0, 1] if options.compile else [0]):
        for way in WAYS:
            if way not in options.ways or (compiled and way not in COMPILED):
                continue
            child = Child([sys.executable, __file__, "--worker", folder, way, str(compiled), str(options.threads)],
                          options.threads)
            took = [child.step() for _ in range(3)]
            if None in took:
                reason = (child.process.communicate()[1].strip().splitlines() or ["killed"])[-1]
                print(f"    {way + ', compiled' * compiled:28} no: {reason[:80]}", flush=True)
                continue
            memory = child.end()["memory"]
            times[way, compiled] = min(took[1][options.time], took[2][options.time])
            print(f"    {way + ', compiled' * compiled:28} {times[way, compiled]:7.3f} s  {memory / 2 ** 20:6.0f} MiB",
                  flush=True)
    return min(times, key=times.get)


def compare(width, options, folder):
    subprocess.run([options.ours, "make", folder] + [str(x) for x in (width, LAYERS, VOCAB, options.sequences, SHORTEST,
                                                                     LONGEST)], check=True)
    tokens = len(read_tokens(folder))
    print(f"width {width}: {LAYERS} layers, {width // 64} heads of 64 ({width // 128} of keys), {4 * width} inside, "
          f"vocabulary {VOCAB}, {options.sequences} sequences, {tokens} tokens, "
          f"{options.threads} thread{'s' * (options.threads > 1)}", flush=True)
    way, compiled = fastest(folder, options)
    ours = Child([options.ours, "run", folder, str(options.threads)], options.threads)
    theirs = Child([sys.executable, __file__, "--worker", folder, way, str(compiled), str(options.threads)],
                   options.threads)
    a, b = [], []
    for _ in range(options.rounds + 1):
        a.append(ours.step())
        b.append(theirs.step())
    for name, x, y in (("loss", a[0][2], b[0][2]), ("norm", a[0][3], b[0][3])):
        if abs(x - y) > 1e-3 * abs(y):
            print(f"width {width}: NOT COMPARED: the first step's {name} is {x:.6g} and {y:.6g}")
            return 1
    mine, other = ours.end(), theirs.end()
    x, y = (median([s[options.time] for s in steps[1:]]) for steps in (a, b))
    mib = 2 ** 20
    valid = other["sgemm"] >= 0.8 * mine["sgemm"]
    print(f"width {width}: ours {tokens / x:.0f} tokens/s, PyTorch ({way + ', compiled' * compiled}) {tokens / y:.0f}, "
          f"ratio {y / x:.2f}; memory {mine['memory'] / mib:.0f} MiB, {other['memory'] / mib:.0f} "
          f"({(other['memory'] - other['base']) / mib:.0f} above its imports), ratio "
          f"{mine['memory'] / other['memory']:.2f} ({mine['memory'] / (other['memory'] - other['base']):.2f}); "
          f"sgemm {mine['sgemm']:.0f} and {other['sgemm']:.0f} Gflop/s: {'valid' if valid else 'INVALID'}", flush=True)
    return 0 if valid else 1


def read_tokens(folder):
    import array
    counts = array.array("q")
    with open(os.path.join(folder, "batch"), "rb") as f:
        counts.fromfile(f, 1)
    return range(counts[0])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--widths", default="128,256,512")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--sequences", type=int, default=32)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--compile", action="store_true", help="try torch.compile too")
    p.add_argument("--ways", default=",".join(WAYS))
    p.add_argument("--ours", default="build/tools/bench_step")
    options = p.parse_args()
    options.ways = options.ways.split(",")
    options.time = CPU if options.threads == 1 else CLOCK
    rc = 0
    for width in options.widths.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rc |= compare(int(width), options, folder)
    return rc


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        sys.exit(main())
