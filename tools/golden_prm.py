#!/usr/bin/env python3
"""Makes tests/golden/prm/: small random process reward models in the conventions that prm_judge knows, each a folder as
its users publish it, and beside it expected.json: responses cut into steps, the ids that the model reads and the score
of each step, computed with transformers in float64.

    pip install torch transformers tokenizers safetensors    (CPU is enough)
    tools/golden_prm.py tests/golden/prm

qwen           Qwen2.5-Math-PRM's model card: ChatML, <extra_0> after each step, softmax of two classes there
skywork        Skywork-o1-PRM's inference code: bos, problem, lines and newline tokens, sigmoid of a value there
math_shepherd  openr's inference: "Step 1: ... ки", softmax over the logits of + and - there"""
import json
import os
import shutil
import sys

import torch
import transformers as t
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from golden_models import Qwen2ForProcessRewardModel
from tokenizer_corpus import QWEN

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
CORPUS = (SYSTEM + " system user assistant\nSue lives in a fun neighborhood. Step 1: Step 2: Step 3: ки\n + - + - 18 + 6 = 24\n\n"
          "So she has 24 plastic pink flamingos. Wait, that is wrong. The answer is \\boxed{30}. ") * 4
ROLLOUTS = [
    ("What is 18 + 6?", ["18 + 6 = 24", "\n\n", "Wait, that is\nwrong.\n\n", "So the answer is \\boxed{30}."]),
    ("Sue has 24.\nHow many are pink?", ["  Half of 24 is 12.\n\n", "Step 2: so 12 are pink.\n", "\\boxed{12}\n\n"]),
    ("2 - 2 = ?", ["0"]),
    ("Где? 12 ½", ["Здесь: ки и кино, 我想 - 5.\n\n", " \n", "e\u0301 \\boxed{5}"]),
]
SIZES = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, attn_implementation="eager", bos_token_id=0, eos_token_id=2, pad_token_id=None)


class Summary(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.summary = torch.nn.Linear(width, 1)


class Qwen2ForPrmModel(t.Qwen2PreTrainedModel):
    """A value for every token, under the names of Skywork-o1-Open-PRM."""

    def __init__(self, config):
        super().__init__(config)
        self.model = t.Qwen2Model(config)
        self.v_head = Summary(config.hidden_size)
        self.post_init()

    def forward(self, input_ids):
        return t.modeling_outputs.TokenClassifierOutput(logits=self.v_head.summary(self.model(input_ids).last_hidden_state))


def byte_level():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=340, show_progress=False,
                                                          initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tok.add_tokens([AddedToken(s, special=True, normalized=False)
                    for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>")])
    return tok


def sentence_piece():
    """As Mistral's: blanks are \u2581, bytes fall back, <s> in front."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    # words alone, so that no merge reaches across a blank, as SentencePiece has it
    tok.pre_tokenizer = pre_tokenizers.Split(Regex("(?=\u2581)"), "isolated")
    tok.train_from_iterator([CORPUS.replace("\n", " ")], trainers.BpeTrainer(vocab_size=420, special_tokens=special,
                                                                             show_progress=False))
    j = json.loads(tok.to_str())
    j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] in ("<unk>", "<s>", "</s>")]
    j["pre_tokenizer"] = None
    tok = Tokenizer.from_str(json.dumps(j))
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tok.token_to_id("<s>"))])
    return tok


def ids(tok, text, special=False):
    return tok.encode(text, add_special_tokens=special).ids


def spoken(steps):
    return [s.strip() for s in steps]


def qwen(tok, problem, steps):
    """Ids, and the place of each step that has a word."""
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"
    text += "".join(s + "<extra_0>" for s in spoken(steps) if s) + "<|im_end|>\n"
    all_ids = ids(tok, text)
    tags = iter([i for i, token in enumerate(all_ids) if token == tok.token_to_id("<extra_0>")])
    return all_ids, [next(tags) if s else -1 for s in spoken(steps)]


def skywork(tok, problem, steps, bos):
    newline = ids(tok, "\n")[-1]
    out = [bos] + ids(tok, problem + "\n")
    places = []
    for step in steps:
        place = -1
        lines = step.split("\n")
        for line in lines[:-1] if lines[-1] == "" else lines:
            out += (ids(tok, line) if line else []) + [newline]
            if line.strip():
                place = len(out) - 1
        places.append(place)
    return out, places


def math_shepherd(tok, problem, steps):
    """Tags are counted from the text's words, not found in the ids: a word of the step may hold the same letters."""
    parts, ends, number = [], [], 0
    text = problem
    for s in spoken(steps):
        if not s:
            ends.append(-1)
            continue
        number += 1
        text += ("\n" if number > 1 else " ") + ("" if s.startswith(f"Step {number}:") else f"Step {number}: ") + s + " ки"
        ends.append(len(ids(tok, text, True)) - 1)
    whole = ids(tok, text, True)
    tag = ids(tok, "ки")[-1]
    assert all(e < 0 or whole[e] == tag for e in ends), (whole, ends)
    return whole, ends


def scores_of(name, model, tok, all_ids, places):
    logits = model(torch.tensor([all_ids])).logits[0]
    if name == "qwen":
        p = torch.softmax(logits, dim=-1)[:, 1]
    elif name == "skywork":
        p = torch.sigmoid(logits[:, 0])
    else:
        good, bad = ids(tok, "+ -")
        p = torch.softmax(logits[:, [good, bad]], dim=-1)[:, 0]
    return [p[i].item() if i >= 0 else -1 for i in places]


CASES = {
    "qwen": (t.Qwen2Config, Qwen2ForProcessRewardModel, byte_level, dict(num_labels=2)),
    "skywork": (t.Qwen2Config, Qwen2ForPrmModel, byte_level, {}),
    "math_shepherd": (t.MistralConfig, t.MistralForCausalLM, sentence_piece, dict(sliding_window=None, tie_word_embeddings=False)),
}


def make_case(folder, name):
    config_class, model_class, make_tokenizer, more = CASES[name]
    tok = make_tokenizer()
    config = config_class(vocab_size=tok.get_vocab_size() + 3, **SIZES, **more)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter, p in model.named_parameters():
            noise = torch.randn(p.shape)
            p.copy_(1 + 0.2 * noise if "norm" in parameter else 0.25 * noise)
    model.to(torch.bfloat16).save_pretrained(folder)
    tok.save(os.path.join(folder, "tokenizer.json"))
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval().double()
    cases = []
    for problem, steps in ROLLOUTS:
        if name == "qwen":
            all_ids, places = qwen(tok, problem, steps)
        elif name == "skywork":
            all_ids, places = skywork(tok, problem, steps, config.bos_token_id)
        else:
            all_ids, places = math_shepherd(tok, problem, steps)
        cases.append({"prompt": problem, "steps": steps, "ids": all_ids, "places": places,
                      "scores": scores_of(name, model, tok, all_ids, places)})
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump(cases, f, separators=(",", ":"))
        f.write("\n")


def main():
    root = sys.argv[1]
    for number, name in enumerate(CASES):
        torch.manual_seed(20241124 + number)
        folder = os.path.join(root, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        with torch.no_grad():
            make_case(folder, name)


if __name__ == "__main__":
    main()
