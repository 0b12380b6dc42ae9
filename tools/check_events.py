#!/usr/bin/env python3
"""Opens event files with TensorBoard's own reader and prints every scalar: tag, steps, first and last value. With
a metrics.jsonl beside the file it also compares: every number of every line, at its step, once.

    pip install tensorboard
    tools/check_events.py RUN/checkpoints/NODE | FOLDER_WITH_AN_EVENT_FILE"""
import json
import os
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    folder = sys.argv[1]
    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    if not tags:
        sys.exit(f"{folder}: no scalar")
    for tag in tags:
        rows = events.Scalars(tag)
        print(f"{tag:24} {len(rows):6} steps {rows[0].step} to {rows[-1].step}: {rows[0].value:.6g} ... {rows[-1].value:.6g}")
    metrics = os.path.join(folder, "metrics.jsonl")
    if not os.path.exists(metrics):
        return
    wanted = {}
    with open(metrics) as lines:
        for line in lines:
            row = json.loads(line)
            for tag, value in row.items():
                if tag != "step":
                    wanted.setdefault(tag, []).append((row["step"], struct.unpack("f", struct.pack("f", value))[0]))
    bad = 0
    for tag in sorted(set(tags) | set(wanted)):
        got = [(row.step, row.value) for row in events.Scalars(tag)] if tag in tags else []
        close = len(got) == len(wanted.get(tag, [])) and all(
            a[0] == b[0] and abs(a[1] - b[1]) <= 1e-6 * abs(b[1]) for a, b in zip(got, wanted[tag]))
        if not close:
            print(f"{tag}: the event file and metrics.jsonl differ")
            bad = 1
    print("the event file and metrics.jsonl say the same" if not bad else "they differ")
    sys.exit(bad)


main()
