#!/usr/bin/env python3
"""What `segmenter method: sat` costs: models of XLM-RoBERTa-base's shape with random weights (the time does not depend on
them), a Unigram tokenizer trained here, GSM8K's solutions joined to responses of about 600 and 3000 tokens. Prints seconds
of CPU per 1000 tokens of the texts by build/tools/sat, and by PyTorch (transformers, the same chunks, the same threads).
Needs what tools/golden_sat.py needs, and 1 GB in FOLDER. Usage: tools/bench_sat.py FOLDER [THREADS]"""
import os
import re
import struct
import subprocess
import sys
import time

import golden_sat as golden  # noqa: E402 (it sets up what wtpsplit wants)
import golden_unigram as unigram
import torch
import tokenizer_corpus as corpus
from transformers import XLMRobertaConfig, XLMRobertaForTokenClassification

VOCAB = 250002


def prepare(folder, layers):
    path = os.path.join(folder, f"sat-{layers}l")
    if not os.path.exists(os.path.join(path, "model.safetensors")):
        torch.manual_seed(layers)
        c = XLMRobertaConfig(vocab_size=VOCAB, hidden_size=768, intermediate_size=3072, num_hidden_layers=layers, num_attention_heads=12, max_position_embeddings=514,
                             type_vocab_size=1, layer_norm_eps=1e-5, num_labels=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
        XLMRobertaForTokenClassification(c).half().save_pretrained(path)
    return path


def texts_of(size, count):
    docs = list(corpus.gsm8k())
    docs = docs or ["She sold 12 loaves and 7 more, so 12 + 7 = 19 loaves. " * 8] * 1000
    made, at = [], 0
    for _ in range(count):
        text = ""
        while len(text) < size:
            text += docs[at % len(docs)]
            at += 1
        made.append(text[:size])
    return made


def ours(path, folder, threads, texts, **options):
    data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    run = subprocess.run([os.path.join(golden.ROOT, "build/tools/sat"), path, folder, str(threads)] + [f"{k}={v}" for k, v in options.items()],
                         input=data, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    _, tokens, read, _, busy = map(float, re.findall(r"[0-9.]+", run.stderr.decode()))
    return tokens, read, busy


def torch_seconds(path, threads, chunks, length):
    torch.set_num_threads(threads)
    model = XLMRobertaForTokenClassification.from_pretrained(path).float().eval()
    ids = torch.randint(4, VOCAB, (min(chunks, 4), length))
    with torch.inference_mode():
        model(input_ids=ids)
        start = time.process_time()
        for at in range(0, chunks, 4):
            model(input_ids=ids[:min(4, chunks - at)])
    return time.process_time() - start


def main():
    folder, threads = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        dict(unigram.kinds(corpus.documents(1), False, 16000))["hub"].save(os.path.join(folder, "tokenizer.json"))
    for layers in (3, 12):
        path = prepare(folder, layers)
        for size, count in ((1500, 2), (8000, 1)):
            for stride in (256, 64)[:1 if size < 2000 else 2]:
                tokens, read, seconds = ours(path, folder, threads, texts_of(size, count), threshold=0.25, stride=stride)
                length = min(512, int(tokens / count) + 2)
                peer = torch_seconds(path, threads, round(read / length), length)
                print(f"{layers} layers, {tokens / count:.0f} tokens a text, stride {stride}, {threads} threads: {1000 * seconds / tokens:.2f} s of CPU per 1000 tokens "
                      f"({read / tokens:.1f} read for one), {read / seconds:.0f} tokens read/s; PyTorch {read / peer:.0f}", flush=True)


if __name__ == "__main__":
    main()
