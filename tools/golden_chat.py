#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/chat.expected.json and chat.json: conversations as `transformers` renders and encodes them with
the templates that the models ship, which are not ours to copy and so are read from a folder: qwen2.jinja (Qwen2.5-Instruct),
qwen3.jinja, r1.jinja (R1-Distill), r1_2501.jinja (its first version, without <think>), llama3.jinja, llama31.jinja, llama32.jinja.
chat.json is a small tokenizer with all their special tokens. Needs `pip install transformers`.
Usage: tools/golden_chat.py TEMPLATES [FOLDER]"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tokenizer_corpus import QWEN

TEXT = """<|system|> You are a helpful assistant. user assistant system Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024
think> response> Natalia sold 48 clips in April, and then half as many in May. How many clips did she sell altogether? 48 / 2 = 24
Wait, that's wrong. The answer is \\boxed{72}.\n\n\n    return x\n\nПривет 我想在苹果工作 café naïve
""" * 3
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|begin_of_text|>", "<|eot_id|>",
           "<|start_header_id|>", "<|end_header_id|>"]
PLAIN = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<tool_response>", "</tool_response>"]
FORMATS = {  # file: (our name, beginning of sentence, options)
    "qwen2": ("qwen2", "<|endoftext|>"), "qwen3": ("qwen3", "<|endoftext|>"), "r1": ("r1", "<｜begin▁of▁sentence｜>"),
    "r1_2501": ("r1", "<｜begin▁of▁sentence｜>"), "llama3": ("llama3", "<|begin_of_text|>"), "llama31": ("llama31", "<|begin_of_text|>"),
    "llama32": ("llama31", "<|begin_of_text|>")}
CONTENTS = ["How many clips did she sell?", "", "\n", " Wait, that's wrong. ", "48 / 2 = 24\n", "\n\n    return x\n\n", "Привет 我想在苹果工作", "e\u0301 cafe\u0301 K",
            "\u3000\u00a0x\u2028\x1c", "a<b>c<|im_<|", "\\boxed{72}", "1234567", "'s", "\r\n\t", "<think>half of 48</think>24", "<think>\n\nhalf\n\n</think>\n\n24\n",
            "so</think>\n72", "<think>open", "a</think>b</think>\nc", "<tool_response>\n5\n</tool_response>", "<tool_response>5", "\n\n<think>\nx\n</think>\ny"]


def tokenizer():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=520, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    t.add_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL] + [AddedToken(s, special=False, normalized=False) for s in PLAIN])
    return t


def conversation(r, family):
    messages = []
    if r.random() < .5:
        messages.append({"role": "system", "content": r.choice(CONTENTS)})
    for _ in range(r.randint(1, 4)):
        messages.append({"role": "user", "content": r.choice(CONTENTS)})
        if r.random() < .7:
            messages.append({"role": "assistant", "content": r.choice(CONTENTS)})
            if family == "qwen3" and r.random() < .3:
                messages[-1]["reasoning_content"] = r.choice(CONTENTS)
        if family in ("qwen2", "qwen3") and r.random() < .3:
            messages += [{"role": "tool", "content": r.choice(CONTENTS)} for _ in range(r.randint(1, 2))]
        if r.random() < .1:
            messages.append({"role": "system", "content": r.choice(CONTENTS)})
    return messages


def main():
    templates = sys.argv[1]
    folder = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), "../tests/golden/tokenizer")
    t = tokenizer()
    r = random.Random(3)
    cases = []
    for name, (family, bos) in FORMATS.items():
        template = open(os.path.join(templates, name + ".jinja"), encoding="utf-8").read()
        whole = PreTrainedTokenizerFast(tokenizer_object=t, bos_token=bos, eos_token="<|endoftext|>", chat_template=template)
        for _ in range(30):
            messages = conversation(r, family)
            case = {"format": family, "messages": messages, "generation": r.random() < .7, "date": None, "thinking": True}
            more = {}
            if family == "qwen3" and r.random() < .5:
                case["thinking"] = more["enable_thinking"] = False
            if name == "r1_2501":
                case["thinking"] = False
            if family == "llama31":
                case["date"] = more["date_string"] = "26 Jul 2024" if r.random() < .7 else "01 Jan 2025"
            case["text"] = whole.apply_chat_template(messages, tokenize=False, add_generation_prompt=case["generation"], **more)
            case["ids"] = t.encode(case["text"], add_special_tokens=False).ids
            assert case["ids"] == whole.apply_chat_template(messages, tokenize=True, add_generation_prompt=case["generation"], return_dict=False, **more)
            cases.append(case)
    for name, value in (("chat.json", json.loads(t.to_str())), ("chat.expected.json", cases)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=True, separators=(",", ":"))
            f.write("\n")
    print(len(cases), "conversations")


main()
