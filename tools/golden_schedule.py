#!/usr/bin/env python3
"""Makes tests/golden/schedule.txt: learning rates of transformers' schedules, run by torch's LambdaLR in float64.

    pip install torch transformers    (CPU is enough)
    tools/golden_schedule.py tests/golden/schedule.txt

A line: kind warmup total decay shape lr lr_min step rate. Steps count from 1, as ours do: transformers' from 0, so
step s is its step s, and its step 0, whose rate is 0 under a warm-up, is in no line. With a smallest rate its
warm-up begins there and ours at 0: then the warm-up's steps are left out."""
import sys

import torch
from transformers import optimization as hf

CASES = [  # kind, warmup, total, decay, shape, lr_min
    ("constant", 0, 9, 0, "-", 0.0),
    ("constant", 4, 12, 0, "-", 0.0),
    ("cosine", 0, 17, 0, "-", 0.0),
    ("cosine", 5, 30, 0, "-", 0.0),
    ("cosine", 3, 21, 0, "-", 3e-5),
    ("linear", 0, 10, 0, "-", 0.0),
    ("linear", 6, 25, 0, "-", 0.0),
    ("wsd", 4, 30, 10, "linear", 0.0),
    ("wsd", 4, 30, 10, "linear", 2e-5),
    ("wsd", 0, 20, 7, "sqrt", 0.0),
    ("wsd", 3, 26, 11, "sqrt", 1e-5),
    ("wsd", 2, 24, 9, "cosine", 0.0),
    ("wsd", 5, 20, 15, "cosine", 4e-5),
]
LR = 2e-4


def scheduler(optimizer, kind, warmup, total, decay, shape, lr_min):
    if kind == "constant":
        return hf.get_constant_schedule_with_warmup(optimizer, warmup)
    if kind == "linear":
        return hf.get_linear_schedule_with_warmup(optimizer, warmup, total)
    if kind == "cosine" and lr_min == 0:
        return hf.get_cosine_schedule_with_warmup(optimizer, warmup, total)
    if kind == "cosine":
        return hf.get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, total, min_lr=lr_min)
    return hf.get_wsd_schedule(optimizer, warmup, decay, num_training_steps=total,
                               decay_type={"sqrt": "1-sqrt"}.get(shape, shape), min_lr_ratio=lr_min / LR)


def main():
    with open(sys.argv[1], "w") as out:
        for case in CASES:
            kind, warmup, total, decay, shape, lr_min = case
            parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
            optimizer = torch.optim.AdamW([parameter], lr=LR)
            schedule = scheduler(optimizer, *case)
            for step in range(1, total + 3):
                optimizer.step()
                schedule.step()
                if step >= warmup or lr_min == 0:
                    if step > total and kind == "cosine":
                        continue  # transformers lets a cosine rise again
                    rate = schedule.get_last_lr()[0]
                    out.write(f"{kind} {warmup} {total} {decay} {shape} {LR!r} {lr_min!r} {step} {rate!r}\n")


main()
