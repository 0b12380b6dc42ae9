"""libsluice-cuda.so from Python: the structs and functions of sluice_cuda.h through ctypes, and the fused loss of a
language model's head as a torch.autograd.Function. Nothing is compiled and nothing but ctypes is needed; torch is
imported by those functions alone that take tensors.

    import sluice_torch as sluice
    lib = sluice.load("build/libsluice-cuda.so")
    loss = sluice.fused_loss(lib, x, weight, targets, objective="grpo", samples=samples, behaviour=logp_old)
    loss.backward()

x (rows, hidden) and weight (vocab, hidden) are bfloat16, targets (rows) int32; a negative target has no part. The
mirror of every struct is compared with the header by tests/test_pytorch.sh.
"""
import ctypes as C
import math

SLUICE_CUDA_ABI = 1
OBJECTIVE_ABI = 2
NAMED_MAX = 32          # OBJECTIVE_NAMED_MAX
NAN = math.nan

# Numbers of the enums that fields hold; each in the order of the header.
LOGITS = ("automatic", "float32", "bfloat16", "fused")
TYPES = ("float32", "bfloat16")
AGGREGATIONS = ("sequence_mean", "sequence_sum", "token_mean", "constant")
ADVANTAGES = ("reward", "mean", "mean_std", "leave_one_out", "gdepo", "given")
RATIOS = ("token", "sequence", "geometric", "step")
KL = ("no_kl", "k1", "k2", "k3")
ROUNDING = ("nearest", "stochastic")
STATUS = ("ok", "argument", "no_device", "old_driver", "old_device", "no_library", "memory", "nonfinite", "lost",
          "failed")

i32, i64, f64, ptr = C.c_int32, C.c_int64, C.c_double, C.c_void_p


class Device(C.Structure):
    name_in_header = "sluice_device"
    _fields_ = [("name", C.c_char * 256), ("major", C.c_int), ("minor", C.c_int), ("multiprocessors", C.c_int),
                ("driver", C.c_int), ("runtime", C.c_int), ("cublaslt", i64), ("memory", i64), ("memory_free", i64)]


class Head(C.Structure):
    name_in_header = "sluice_head"
    _fields_ = [("hidden", i64), ("vocab", i64), ("weight", ptr), ("weight_stride", i64), ("bias", ptr)]


class Rows(C.Structure):
    name_in_header = "sluice_rows"
    _fields_ = [("rows", i64), ("x", ptr), ("x_stride", i64), ("targets", ptr)]


class Options(C.Structure):
    name_in_header = "sluice_options"
    _fields_ = [("logits", C.c_int), ("chunk_rows", i64), ("memory", i64), ("keep", C.c_int)]


class Plan(C.Structure):
    name_in_header = "sluice_plan"
    _fields_ = [("chunk_rows", i64), ("chunks", i64), ("logits_bytes", i64), ("kept_bytes", i64), ("other_bytes", i64),
                ("total_bytes", i64), ("logits", C.c_int), ("passes", C.c_int)]


class Entry(C.Structure):
    name_in_header = "objective_entry"
    _fields_ = [("row", i64), ("column", i32), ("value", C.c_float)]


class Gradient(C.Structure):
    name_in_header = "sluice_gradient"
    _fields_ = [("c", ptr), ("e", ptr), ("h", ptr), ("entries", C.POINTER(Entry)), ("entry_count", i64)]


class Slopes(C.Structure):
    name_in_header = "sluice_slopes"
    _fields_ = [("dx", ptr), ("dx_stride", i64), ("dx_type", C.c_int), ("dweight", ptr), ("dweight_stride", i64),
                ("dbias", ptr)]


class Sample(C.Structure):
    name_in_header = "objective_sample"
    _fields_ = [("first", i64), ("count", i64), ("group", i64), ("group_size", i64), ("reward", f64), ("mean", f64),
                ("std", f64), ("advantage", f64), ("weight", f64), ("correct", C.c_int), ("injected", C.c_int),
                ("named_row", i64), ("score", f64), ("rank", i32 * NAMED_MAX)]


class Batch(C.Structure):
    name_in_header = "objective_batch"
    _fields_ = [("rows", i64), ("logp", ptr), ("lse", ptr), ("entropy", ptr), ("reference", ptr), ("behaviour", ptr),
                ("weight", ptr), ("advantage", ptr), ("mask", ptr), ("begins", ptr), ("named", i64),
                ("named_logits", ptr), ("named_columns", C.POINTER(i32)), ("named_values", C.POINTER(f64)),
                ("samples", i64), ("sample", C.POINTER(Sample))]


class Settings(C.Structure):
    name_in_header = "objective_settings"
    _fields_ = [("aggregation", C.c_int), ("advantages", C.c_int), ("ratio", C.c_int), ("tau", f64), ("clip_low", f64),
                ("clip_high", f64), ("clip_dual", f64), ("soften_positive", f64), ("soften_negative", f64),
                ("lambda_", f64), ("kl", C.c_int), ("kl_weight", f64), ("kl_in_reward", C.c_int),
                ("entropy_weight", f64), ("constant", f64), ("budget", f64), ("variant", C.c_int)]


class Step(C.Structure):
    name_in_header = "objective_step"
    _fields_ = [("groups", f64), ("tokens", f64), ("samples", f64)]


class Report(C.Structure):
    name_in_header = "objective_report"
    _fields_ = [(name, f64) for name in (
        "loss", "policy", "pull", "kl_loss", "entropy_loss", "samples", "tokens", "logp", "kl", "entropy", "clipped",
        "ratio", "ratio_largest", "importance", "importance_largest", "advantage")]


class Objective(C.Structure):
    name_in_header = "sluice_objective"
    _fields_ = [("name", C.c_char_p), ("settings", C.POINTER(Settings)), ("step", C.POINTER(Step)),
                ("batch", C.POINTER(Batch))]


class Outcome(C.Structure):
    name_in_header = "sluice_outcome"
    _fields_ = [("logp", ptr), ("lse", ptr), ("entropy", ptr), ("c", ptr), ("e", ptr), ("h", ptr),
                ("report", C.POINTER(Report))]


class AdamW(C.Structure):
    name_in_header = "sluice_adamw"
    _fields_ = [("lr", f64), ("beta1", f64), ("beta2", f64), ("eps", f64), ("weight_decay", f64), ("step", i64),
                ("scale", f64)]


STRUCTS = (Device, Head, Rows, Options, Plan, Entry, Gradient, Slopes, Sample, Batch, Settings, Step, Report, Objective,
           Outcome, AdamW)

at = C.POINTER
STATUS_CALLS = {        # every function of the header that returns a status
    "sluice_cuda_count": [at(C.c_int)],
    "sluice_cuda_describe": [C.c_int, at(Device)],
    "sluice_cuda_open": [C.c_int, ptr, at(ptr)],
    "sluice_cuda_wait": [ptr],
    "sluice_cuda_alloc": [ptr, i64, at(ptr)],
    "sluice_cuda_zero": [ptr, ptr, i64],
    "sluice_cuda_upload": [ptr, ptr, ptr, i64],
    "sluice_cuda_download": [ptr, ptr, ptr, i64],
    "sluice_head_plan": [ptr, i64, i64, i64, C.c_char_p, i64, at(Options), at(Plan)],
    "sluice_head_reserve": [ptr, at(Plan)],
    "sluice_head_statistics": [ptr, at(Head), at(Rows), at(Options), ptr, ptr, ptr],
    "sluice_head_named": [ptr, at(Head), at(Rows), i64, at(i64), i64, at(i32), ptr],
    "sluice_head_backward": [ptr, at(Head), at(Rows), at(Options), ptr, ptr, at(Gradient), at(Slopes)],
    "sluice_head_loss": [ptr, at(Head), at(Rows), at(Options), at(Objective), at(Outcome), at(Slopes)],
    "sluice_objective_run": [ptr, at(Objective), ptr, ptr, ptr, ptr, ptr, ptr, ptr, at(Entry), at(i64), at(Report)],
    "sluice_cuda_algorithms": [ptr, C.c_char_p, C.c_size_t, at(C.c_size_t)],
    "sluice_cuda_algorithms_set": [ptr, C.c_char_p],
    "sluice_norm": [ptr, i64, ptr, at(f64)],
    "sluice_adamw_update": [ptr, at(AdamW), i64, ptr, ptr, ptr, ptr],
    "sluice_add": [ptr, i64, ptr, ptr],
    "sluice_cast": [ptr, i64, i64, ptr, i64, ptr, C.c_int, C.c_uint64, C.c_uint64],
}
OTHER_CALLS = {
    "sluice_cuda_abi": (C.c_int, []),
    "sluice_cuda_error": (C.c_char_p, []),
    "sluice_cuda_error_row": (i64, []),
    "sluice_cuda_close": (None, [ptr]),
    "sluice_cuda_free": (None, [ptr, ptr]),
}


class SluiceError(RuntimeError):
    """A call that failed: status, a name of enum sluice_status; row, of SLUICE_nonfinite, or -1."""

    def __init__(self, status, text, row):
        super().__init__(f"{status}: {text}")
        self.status, self.row = status, row


class Library:
    """The loaded library: every function of the header by its own name; those that return a status raise SluiceError.
    Contexts are kept, one for each device and stream that was used."""

    def __init__(self, path):
        self.path, self.contexts = path, {}
        self.so = C.CDLL(path)
        for name, (result, arguments) in OTHER_CALLS.items():
            f = getattr(self.so, name)
            f.restype, f.argtypes = result, arguments
            setattr(self, name, f)
        for name, arguments in STATUS_CALLS.items():
            f = getattr(self.so, name)
            f.restype, f.argtypes = C.c_int, arguments
            setattr(self, name, self._checked(f))
        if self.sluice_cuda_abi() != SLUICE_CUDA_ABI:
            raise SluiceError("argument", f"{path} has ABI {self.sluice_cuda_abi()}, this file {SLUICE_CUDA_ABI}", -1)

    def _checked(self, f):
        def call(*arguments):
            rc = f(*arguments)
            if rc != 0:
                raise SluiceError(STATUS[rc] if 0 <= rc < len(STATUS) else str(rc),
                                  self.sluice_cuda_error().decode(errors="replace"), self.sluice_cuda_error_row())
        return call

    def context(self, device=0, stream=None):
        """A context on a device and a stream: a cudaStream_t as a number; None: a stream of its own."""
        if (device, stream) not in self.contexts:
            out = ptr()
            self.sluice_cuda_open(device, stream, C.byref(out))
            self.contexts[device, stream] = out
        return self.contexts[device, stream]

    def context_of(self, tensor):
        """The context of a tensor's device and of PyTorch's current stream there. PyTorch calls the default stream 0,
        which the library would take for "one of your own"; its name as a handle is 1 (cudaStreamLegacy)."""
        if tensor.device.type == "cpu":         # the simulated device of `make simt`: its memory is the host's
            return self.context()
        import torch
        return self.context(tensor.device.index, torch.cuda.current_stream(tensor.device).cuda_stream or 1)

    def close(self):
        for context in self.contexts.values():
            self.sluice_cuda_close(context)
        self.contexts.clear()


def load(path):
    return Library(path)


# ---- objectives ----

# objective.def's own numbers: aggregation, advantages, ratio, tau, clip_low, clip_high, clip_dual, soften_positive,
# soften_negative, lambda, kl_weight, variant; None: the objective has none. tests/test_pytorch.sh compares.
OWN = {
    "sft": ("token_mean", None, None, None, None, None, None, None, None, None, 1e-3, -1),
    "rft": ("token_mean", None, None, None, None, None, None, None, None, None, 1e-3, -1),
    "reinforce": ("sequence_mean", "mean", None, None, None, None, None, None, None, None, 1e-3, -1),
    "rloo": ("sequence_sum", "leave_one_out", "sequence", None, 0.2, 0.2, 0, None, None, None, 0.05, -1),
    "grpo": ("sequence_mean", "mean_std", None, None, 0.2, 0.2, 0, None, None, None, 0.04, -1),
    "dr_grpo": ("constant", "mean", None, None, 0.2, 0.2, 0, None, None, None, 1e-3, -1),
    "dapo": ("token_mean", "mean_std", None, None, 0.2, 0.28, 0, None, None, None, 1e-3, -1),
    "gspo": ("sequence_mean", "mean_std", None, None, 3e-4, 4e-4, 0, None, None, None, 1e-3, -1),
    "cispo": ("token_mean", "mean_std", None, None, 0.2, 0.2, None, None, None, None, 1e-3, -1),
    "sapo": ("sequence_mean", "mean_std", None, None, None, None, None, 1.0, 1.05, None, 1e-3, -1),
    "gmpo": ("sequence_mean", "mean_std", None, None, 0.4, 0.4, None, None, None, None, 1e-3, -1),
    "topr": ("sequence_mean", "reward", "sequence", None, None, None, None, None, None, None, 1e-3, -1),
    "opmd": ("token_mean", "mean", None, 1.0, None, None, None, None, None, None, 1e-3, 0),
    "kimi": ("token_mean", "mean", None, 0.1, None, None, None, None, None, None, 1e-3, -1),
    "bcpg": ("sequence_mean", "mean", None, 1e-3, None, None, None, None, None, None, 1e-3, -1),
    "bcpg_nsa": ("sequence_mean", "mean", None, 1e-3, None, None, None, None, None, None, 1e-3, -1),
    "tbrm": ("sequence_sum", None, None, 2e-3, None, None, None, None, None, None, 1e-3, -1),
    "copg": ("sequence_sum", None, None, 0.1, None, None, None, None, None, None, 1e-3, -1),
    "gvpo": ("sequence_sum", None, None, 0.1, None, None, None, None, None, None, 1e-3, -1),
    "dpo": ("sequence_sum", None, None, 0.1, None, None, None, None, None, None, 1e-3, -1),
    "ipo": ("sequence_sum", None, "geometric", 0.1, None, None, None, None, None, None, 1e-3, -1),
    "kto": ("sequence_sum", None, None, 0.1, None, None, None, None, None, None, 1e-3, -1),
    "token_class": ("token_mean", None, None, None, None, None, None, None, None, None, 1e-3, -1),
}
OWN_FIELDS = ("aggregation", "advantages", "ratio", "tau", "clip_low", "clip_high", "clip_dual", "soften_positive",
              "soften_negative", "lambda_", "kl_weight", "variant")
LIKELIHOODS = ("sft", "rft", "token_class")     # the normaliser of their tokens is the sum of the rows' weights
WORDS = {"aggregation": AGGREGATIONS, "advantages": ADVANTAGES, "ratio": RATIOS, "kl": KL}


def settings(objective, **given):
    """What the paper says, with what is given in its place: tau=1e-2, aggregation="token_mean", kl="k3"."""
    if objective not in OWN:
        raise ValueError(f"no settings are known here for the objective {objective}")
    chosen = dict(zip(OWN_FIELDS, OWN[objective]), kl="no_kl", kl_in_reward=0, entropy_weight=0.0, constant=NAN,
                  budget=0.0)
    unknown = set(given) - set(chosen)
    if unknown:
        raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
    chosen.update(given)
    out = Settings()
    for name, value in chosen.items():
        if name in WORDS:
            value = -1 if value is None else WORDS[name].index(value)
        setattr(out, name, 0.0 if value is None else value)
    return out


def samples(rows):
    """Samples from dicts with first, count, and what the objective needs: advantage (made by you, as `advantages:
    given`), reward, correct, weight (1), group (0), group_size (1). In row order, groups together."""
    array = (Sample * max(1, len(rows)))()
    for out, given in zip(array, rows):
        out.weight, out.group_size, out.named_row = 1.0, 1, -1
        for name, value in given.items():
            if not hasattr(out, name):
                raise ValueError(f"a sample has no {name}")
            setattr(out, name, value)
    return array, len(rows)


def measure(objective, batch, mask=None, weight=None):
    """The normalisers of a step that consists of this batch alone: objective_measure(). A step of several batches has
    the sums of theirs."""
    array, count = batch
    mask, weight = (None if v is None else list(v.tolist()) for v in (mask, weight))
    likelihood = objective in LIKELIHOODS
    step = Step(groups=math.fsum(1.0 / s.group_size for s in array[:count]))
    for s in array[:count]:
        if objective == "rft" and not s.correct:
            continue
        live = range(s.first, s.first + s.count)
        if mask is not None:
            live = [t for t in live if mask[t]]
        if likelihood and weight is not None:
            live = [t for t in live if weight[t] != 0]
            step.tokens += math.fsum(weight[t] for t in live)
        else:
            step.tokens += len(live)
        step.samples += len(live) > 0
    return step


# ---- tensors ----

def address(tensor):
    return None if tensor is None else tensor.data_ptr()


def in_rows(tensor, name):
    """(..., n) bfloat16 as (rows, n) whose rows are contiguous; what it was is not copied where it can be helped."""
    import torch
    if tensor.dtype != torch.bfloat16:
        raise TypeError(f"{name} is {tensor.dtype}; bfloat16 is what the products take")
    tensor = tensor.reshape(-1, tensor.shape[-1])
    return tensor if tensor.stride(-1) == 1 and tensor.stride(0) >= tensor.shape[1] else tensor.contiguous()


def row_array(tensor, rows, dtype, like):
    """A number for each row, contiguous, of dtype, on like's device; None stays None."""
    if tensor is None:
        return None
    tensor = tensor.detach().reshape(-1).to(device=like.device, dtype=dtype).contiguous()
    if tensor.numel() != rows:
        raise ValueError(f"{tensor.numel()} numbers for {rows} rows")
    return tensor


def gradient_buffer(dweight, weight):
    """Is it what the library may add float32 to?"""
    import torch
    if dweight is not None and (dweight.dtype != torch.float32 or dweight.shape != weight.shape
                                or dweight.device != weight.device or dweight.stride(1) != 1
                                or dweight.stride(0) < weight.shape[1]):
        raise ValueError(f"dweight is {dweight.dtype} {tuple(dweight.shape)} on {dweight.device}: float32 "
                         f"{tuple(weight.shape)} on {weight.device} with rows in one piece is what is added to")
    return dweight


class Call:
    """The arguments of a call, with what must live as long as it does."""

    def __init__(self, lib, x, weight, targets, bias, logits, chunk_rows, memory, keep):
        import torch
        self.lib, self.x, self.w = lib, in_rows(x.detach(), "x"), in_rows(weight.detach(), "weight")
        self.rows, hidden = self.x.shape
        # Numbers that int32 does not have would wrap into classes.
        self.targets = row_array(targets.clamp(-1, 2 ** 31 - 1), self.rows, torch.int32, self.x)
        self.bias = row_array(bias, self.w.shape[0], torch.float32, self.x)
        if self.w.shape[1] != hidden or self.w.device != self.x.device:
            raise ValueError(f"x {tuple(self.x.shape)} on {self.x.device} and weight {tuple(self.w.shape)} on "
                             f"{self.w.device} do not belong together")
        self.context = lib.context_of(self.x)
        self.head = Head(hidden, self.w.shape[0], address(self.w), self.w.stride(0), address(self.bias))
        self.row_set = Rows(self.rows, address(self.x), self.x.stride(0), address(self.targets))
        if logits not in LOGITS:
            raise ValueError(f"logits are one of {', '.join(LOGITS)}, not {logits}")
        self.options = Options(LOGITS.index(logits), chunk_rows, memory, keep)

    def empty(self, *shape, dtype=None):
        import torch
        return torch.empty(shape, dtype=dtype or torch.float32, device=self.x.device)

    def slopes(self, dx, dweight, dbias):
        kind = 0 if dx is None else TYPES.index(str(dx.dtype).removeprefix("torch."))
        return Slopes(address(dx), 0 if dx is None else dx.stride(0), kind, address(dweight),
                      0 if dweight is None else dweight.stride(0), address(dbias))

    def gradients(self, x_wanted, weight_wanted, bias_wanted, dweight):
        """Room for what is wanted; dweight: the caller's float32 buffer, which is added to, whether autograd wants the
        weight's gradient or not."""
        import torch
        dx = torch.empty_like(self.x, memory_format=torch.contiguous_format) if x_wanted else None
        if weight_wanted and dweight is None:
            dweight = torch.zeros_like(self.w, dtype=torch.float32, memory_format=torch.contiguous_format)
        return dx, dweight, torch.zeros_like(self.bias) if bias_wanted else None


def scaled(gradient, by, like):
    """A gradient that was made in the forward pass, times the loss's own."""
    return None if gradient is None else gradient.mul_(by).view(like)


def fused_loss(lib, x, weight, targets, objective="sft", samples=None, settings=None, step=None, behaviour=None,
               reference=None, token_weight=None, advantage=None, mask=None, begins=None, bias=None, dweight=None,
               logits="automatic", chunk_rows=0, memory=0, keep=0, outcome=None):
    """The loss of a batch of whole units of the objective's scope, a float64 scalar, differentiable in x, weight and
    bias. Statistics, coefficients and gradients are made in this one call; backward() only multiplies by the loss's own
    gradient.

    samples: of samples(); None: every row in one. settings: of settings(); None: the paper's. step: the step's
    normalisers; None: those of this batch alone. behaviour, reference: log probabilities (rows) under the policy that
    sampled and under the reference; token_weight, advantage, mask, begins (rows): as in struct objective_batch.
    dweight: a float32 (vocab, hidden) buffer the gradient of weight is added to at once, in place of being
    returned to autograd in weight's type (then the loss's own gradient must be 1). Under torch.no_grad() no gradient is
    made or added.
    outcome: a dict that receives logp, lse, c (rows) and report."""
    call = Call(lib, x, weight, targets, bias, logits, chunk_rows, memory, keep)
    import torch
    rows, f32, u8 = call.rows, torch.float32, torch.uint8
    if samples is None:
        samples = globals()["samples"]([{"first": 0, "count": rows, "correct": 1}])
    call.samples = samples
    call.arrays = {name: row_array(value, rows, kind, call.x) for name, value, kind in (
        ("behaviour", behaviour, f32), ("reference", reference, f32), ("weight", token_weight, f32),
        ("advantage", advantage, f32), ("mask", mask, u8), ("begins", begins, u8))}
    call.settings = settings or globals()["settings"](objective)
    call.step = step or measure(objective, samples, mask, token_weight)
    call.batch = Batch(rows=rows, samples=samples[1], sample=samples[0],
                       **{name: address(value) for name, value in call.arrays.items()})
    call.objective = Objective(objective.encode(), C.pointer(call.settings), C.pointer(call.step),
                               C.pointer(call.batch))
    call.outcome, call.dweight = outcome, gradient_buffer(dweight, call.w)
    call.graded = torch.is_grad_enabled()
    return autograd_functions()[0].apply(x, weight, bias, call)


def log_probabilities(lib, x, weight, targets, bias=None, dweight=None, logits="automatic", chunk_rows=0, memory=0):
    """log p of every row's target, logsumexp and entropy, each (rows) float32 and differentiable: for losses that are
    written in torch. backward() computes the logits again."""
    call = Call(lib, x, weight, targets, bias, logits, chunk_rows, memory, 0)
    call.dweight = gradient_buffer(dweight, call.w)
    return autograd_functions()[1].apply(x, weight, bias, call)


def autograd_functions(made=[]):
    """The two functions, made at their first use, so that this file is imported without torch."""
    if made:
        return made
    import torch

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias, call):
            wanted = (call.graded and needed for needed in ctx.needs_input_grad[:3])
            dx, dweight, dbias = call.gradients(*wanted, call.dweight if call.graded else None)
            report, out = Report(), Outcome()
            out.report = C.pointer(report)
            if call.outcome is not None:
                kept = {name: call.empty(call.rows) for name in ("logp", "lse", "c")}
                for name, value in kept.items():
                    setattr(out, name, address(value))
            slopes = call.slopes(dx, dweight, dbias)
            call.lib.sluice_head_loss(call.context, call.head, call.row_set, call.options, call.objective, out, slopes)
            if call.outcome is not None:
                call.outcome.update(kept, report=report)
            ctx.made = dx, None if call.dweight is not None else dweight, dbias
            ctx.shapes = x.shape, weight.shape, None if bias is None else bias.shape
            return torch.tensor(report.loss, dtype=torch.float64, device=x.device)

        @staticmethod
        def backward(ctx, upstream):
            if ctx.made is None:
                raise RuntimeError("the gradients of a fused loss are made once: a second backward() has none")
            made, ctx.made = ctx.made, None
            return (*(scaled(g, upstream, shape) for g, shape in zip(made, ctx.shapes)), None)

    class Statistics(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias, call):
            ctx.call, ctx.shapes = call, (x.shape, weight.shape, None if bias is None else bias.shape)
            ctx.logp, ctx.lse, ctx.entropy = (call.empty(call.rows) for _ in range(3))
            call.lib.sluice_head_statistics(call.context, call.head, call.row_set, call.options, address(ctx.logp),
                                            address(ctx.lse), address(ctx.entropy))
            return ctx.logp.clone(), ctx.lse.clone(), ctx.entropy.clone()

        @staticmethod
        def backward(ctx, c, e, h):
            call = ctx.call
            c, e, h = (row_array(g, call.rows, torch.float32, call.x) for g in (c, e, h))
            e, h = (None if g is None or not g.any() else g for g in (e, h))
            dx, dweight, dbias = call.gradients(*ctx.needs_input_grad[:3], call.dweight)
            gradient = Gradient(address(c), address(e), address(h), None, 0)
            call.lib.sluice_head_backward(call.context, call.head, call.row_set, call.options, address(ctx.lse),
                                          address(ctx.entropy), gradient, call.slopes(dx, dweight, dbias))
            made = dx, None if call.dweight is not None else dweight, dbias
            return (*(None if g is None else g.view(shape) for g, shape in zip(made, ctx.shapes)), None)

    made += [Loss, Statistics]
    return made
