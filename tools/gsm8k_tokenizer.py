#!/usr/bin/env python3
"""Trains the byte-level BPE of examples/gsm8k on its train file: gsm8k_tokenizer.py TRAIN.jsonl OUT_FOLDER"""
import json
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                           pre_tokenizers.ByteLevel(add_prefix_space=False)])
t.decoder = decoders.ByteLevel()
t.train_from_iterator([r["prompt"] + r["response"] for r in rows],
                      trainers.BpeTrainer(vocab_size=1536, special_tokens=["<|endoftext|>"],
                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                          show_progress=False))
t.save(sys.argv[2] + "/tokenizer.json")
