#!/usr/bin/env python3
"""Turns OpenAI's grade-school-math files (MIT) into the rollouts of examples/gsm8k.

    gsm8k_rollouts.py FOLDER OUT   FOLDER holds train.jsonl and example_model_solutions.jsonl

OUT/train.jsonl: the worked answers of the train file, to train a small policy from scratch.
OUT/rollouts.jsonl: 1319 questions x 4 model solutions; the last 319 questions go to OUT/held_out.jsonl.
Every line has id, prompt, response, answer and, where the file says so, reward.
"""
import json
import pathlib
import sys


def final(text):
    return text.rsplit("A: ", 1)[-1].strip().replace(",", "")


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    with open(out / "train.jsonl", "w", encoding="utf-8") as f:
        for i, line in enumerate(open(folder / "train.jsonl", encoding="utf-8")):
            row = json.loads(line)
            work, gold = row["answer"].rsplit("#### ", 1)
            gold = gold.strip().replace(",", "")
            f.write(json.dumps({"id": f"train-{i}", "prompt": row["question"].strip() + "\n",
                                "response": work.strip() + "\nA: " + gold, "answer": gold,
                                "reward": 1}, ensure_ascii=False) + "\n")
    names = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
    rows = [json.loads(l) for l in open(folder / "example_model_solutions.jsonl", encoding="utf-8")]
    for name, part in (("rollouts", rows[:1000]), ("held_out", rows[1000:])):
        with open(out / f"{name}.jsonl", "w", encoding="utf-8") as f:
            for row in part:
                i = rows.index(row)
                for n in names:
                    f.write(json.dumps({"id": f"q{i}-{n}", "prompt": row["question"].strip() + "\n",
                                        "response": row[n]["solution"],
                                        "answer": final(row["ground_truth"]),
                                        "reward": int(row[n]["is_correct"])},
                                       ensure_ascii=False) + "\n")


main()
