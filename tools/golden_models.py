#!/usr/bin/env python3
"""Makes tests/golden/models/: small random checkpoints of every family as transformers writes them, and beside each
its golden.bin: logits, a loss and its gradients, and the logits after one AdamW step, all in float64.

    pip install torch transformers safetensors numpy    (CPU is enough)
    tools/golden_models.py tests/golden/models

golden.bin has the sections of tools/golden_decoder.py. Weights are what the checkpoint holds (bfloat16 and float16
ones as rounded there); after the step they are not rounded: which way a half goes may hang on a float32's last bit."""
import json
import os
import shutil
import struct
import sys

import numpy as np
import torch
import transformers as t

LENGTHS = [9, 1, 14]
STEP = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-2, "weight_decay": 0.1}
SIZES = dict(vocab_size=40, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, attn_implementation="eager", bos_token_id=1,
             eos_token_id=2, pad_token_id=None)


class Qwen2ForProcessRewardModel(t.Qwen2PreTrainedModel):
    """The head of Qwen2.5-Math-PRM: two linear layers with a ReLU between them over every token's final state."""

    def __init__(self, config):
        super().__init__(config)
        self.model = t.Qwen2Model(config)
        self.score = torch.nn.Sequential(torch.nn.Linear(config.hidden_size, config.hidden_size), torch.nn.ReLU(),
                                         torch.nn.Linear(config.hidden_size, config.num_labels))
        self.post_init()

    def forward(self, input_ids):
        return t.modeling_outputs.TokenClassifierOutput(logits=self.score(self.model(input_ids).last_hidden_state))


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 10000.0, **more}


LLAMA3 = rope("llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
YARN_ALL = rope("yarn", factor=3.0, original_max_position_embeddings=20, beta_fast=8.0, beta_slow=0.5, mscale=0.7,
                mscale_all_dim=0.4, truncate=False)
PLAIN = rope("default")


def case(config, model, parameters, dtype=torch.float32, shard=None, version=5, **more):
    return dict(config=config, model=model, parameters=parameters, dtype=dtype, shard=shard, version=version, more=more)


CASES = {
    "qwen2": case(t.Qwen2Config, t.Qwen2ForCausalLM, PLAIN, tie_word_embeddings=True),
    "qwen2_base": case(t.Qwen2Config, t.Qwen2Model, PLAIN, tie_word_embeddings=True),
    "qwen2_yarn": case(t.Qwen2Config, t.Qwen2ForCausalLM, YARN, version=4, tie_word_embeddings=False),
    "qwen2_prm": case(t.Qwen2Config, Qwen2ForProcessRewardModel, PLAIN, dtype=torch.bfloat16, num_labels=2),
    "qwen3": case(t.Qwen3Config, t.Qwen3ForCausalLM, PLAIN, head_dim=8, tie_word_embeddings=True),
    "qwen3_sharded": case(t.Qwen3Config, t.Qwen3ForCausalLM, YARN_ALL, dtype=torch.bfloat16, shard="8KB", head_dim=10,
                          attention_bias=True, tie_word_embeddings=False),
    "qwen3_token": case(t.Qwen3Config, t.Qwen3ForTokenClassification, PLAIN, head_dim=8, num_labels=3),
    "llama": case(t.LlamaConfig, t.LlamaForCausalLM, LLAMA3, tie_word_embeddings=True),
    "llama_linear": case(t.LlamaConfig, t.LlamaForCausalLM, rope("linear", factor=2.5), attention_bias=True,
                         mlp_bias=True, tie_word_embeddings=False),
    "mistral": case(t.MistralConfig, t.MistralForCausalLM, PLAIN, dtype=torch.float16, head_dim=8,
                    sliding_window=None, tie_word_embeddings=False),
    "mistral_sequence": case(t.MistralConfig, t.MistralForSequenceClassification, PLAIN, num_labels=2, head_dim=8,
                             sliding_window=32),
}


class Fixture:
    def __init__(self, path):
        self.file = open(path, "wb")

    def put(self, name, values, kind):
        if isinstance(values, torch.Tensor):
            values = values.detach().numpy()
        data = np.asarray(values).ravel().astype({"i": "<i4", "f": "<f4", "d": "<f8"}[kind])
        self.file.write(struct.pack("<I", len(name)) + name.encode() + kind.encode())
        self.file.write(struct.pack("<Q", data.size) + data.tobytes())


def make(c):
    config = c["config"](**SIZES, rope_parameters=dict(c["parameters"]), **c["more"])
    model = c["model"](config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape)
            p.copy_(1 + 0.2 * noise if "norm" in name else 0.25 * noise)
    return model.to(c["dtype"])


def as_version_4(folder):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling with the old key `type`, torch_dtype."""
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    parameters["type"] = parameters.pop("rope_type")
    config["rope_scaling"] = parameters
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    with open(path, "w") as f:
        f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")


def logits_of(model, sequences):
    """Of every token; of a sequence classifier one row for each sequence; of a base model by its embedding."""
    rows = []
    for ids in sequences:
        out = model(ids[None])
        if hasattr(out, "logits"):
            rows.append(out.logits[0] if out.logits.dim() == 3 else out.logits)
        else:
            rows.append(out.last_hidden_state[0] @ model.embed_tokens.weight.T)
    return torch.cat(rows)


def loss_of(logits, targets):
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100)


def targets_of(c, sequences):
    """Next tokens, labels of some tokens, or one label for each sequence."""
    if "num_labels" not in c["more"]:
        return torch.cat([torch.cat([ids[1:], torch.tensor([-100])]) for ids in sequences])
    labels = c["more"]["num_labels"]
    if "Sequence" in c["model"].__name__:
        return torch.randint(0, labels, (len(sequences),))
    targets = torch.randint(0, labels, (sum(LENGTHS),))
    targets[torch.rand(len(targets)) < 0.4] = -100
    return targets


def step(model):
    groups = [{"params": [p for p in model.parameters() if (p.dim() > 1) == wide],
               "weight_decay": STEP["weight_decay"] if wide else 0.0} for wide in (True, False)]
    torch.optim.AdamW(groups, lr=STEP["lr"], betas=STEP["betas"], eps=STEP["eps"]).step()


def make_case(folder, c):
    model = make(c)
    model.save_pretrained(folder, **({"max_shard_size": c["shard"]} if c["shard"] else {}))
    if c["version"] == 4:
        as_version_4(folder)
    # read again: a change of type rounded the rotary frequencies, which a checkpoint does not hold
    model = c["model"].from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval().double()
    out = Fixture(os.path.join(folder, "golden.bin"))
    sequences = [torch.randint(0, SIZES["vocab_size"], (n,)) for n in LENGTHS]
    targets = targets_of(c, sequences)
    out.put("ids", torch.cat(sequences), "i")
    out.put("lengths", LENGTHS, "i")
    out.put("targets", targets, "i")
    out.put("step", [STEP["lr"], *STEP["betas"], STEP["eps"], STEP["weight_decay"]], "d")
    logits = logits_of(model, sequences)
    out.put("logits", logits, "d")
    loss = loss_of(logits, targets)
    loss.backward()
    out.put("loss", [loss.item()], "d")
    for name, p in model.named_parameters():
        out.put(f"grad/{name}", p.grad, "f")
    step(model)
    out.put("after", logits_of(model, sequences), "d")


def main():
    root = sys.argv[1]
    for number, (name, c) in enumerate(CASES.items()):
        torch.manual_seed(20241124 + number)
        folder = os.path.join(root, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make_case(folder, c)


if __name__ == "__main__":
    main()
