#!/usr/bin/env python3
"""Makes tests/golden/events.out.tfevents.sluice with TensorBoard's own messages and record writer: what our writer
must make of the same numbers, byte for byte.

    pip install tensorboard
    tools/golden_events.py tests/golden/events.out.tfevents.sluice"""
import sys

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

TAGS = ["loss", "reward/mean", "lr", "gems/token_share"]


def main():
    with open(sys.argv[1], "wb") as out:
        records = RecordWriter(out)
        records.write(event_pb2.Event(wall_time=1700000000.5, file_version="brain.Event:2").SerializeToString())
        for step in range(0, 20000, 1117):
            values = [summary_pb2.Summary.Value(tag=tag, simple_value=(step + 1) / (8 * (i + 1)))
                      for i, tag in enumerate(TAGS)]
            records.write(event_pb2.Event(wall_time=1700000000.5 + step, step=step,
                                          summary=summary_pb2.Summary(value=values)).SerializeToString())
        records.flush()


main()
