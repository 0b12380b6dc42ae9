"""Golden values for judges' scoring: RAIL's expected marks and FIRST's order of a list.

    python3 tools/golden_judges.py >tests/golden/judges.json

Independent of the program: logits over a small vocabulary go through a plain softmax, the expected
mark is the sum of k p(k) over the whole vocabulary (TRACT, arXiv 2503.04381: gathered, not
renormalised), and a list is sorted by the log-probability of its letters, windows of 20 sliding from
the end of the list by 10 (FIRST, arXiv 2406.15657). Each case is a chat completion as a server would
give it (top 20 of the log-probabilities) with what must come out. Needs numpy.
"""
import json
import string
import sys

import numpy as np

TOP = 20
random = np.random.default_rng(20260101)


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def entry(vocabulary, p, chosen, with_bytes):
    def one(i):
        text = vocabulary[i]
        return {"token": text, "logprob": float(np.log(p[i])),
                "bytes": list(text.encode()) if with_bytes else None}
    top = [one(i) for i in np.argsort(-p, kind="stable")[:TOP]]
    return dict(one(chosen), top_logprobs=top)


def completion(entries):
    text = "".join(e["token"] for e in entries)
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                         "logprobs": {"content": entries}, "finish_reason": "stop"}]}


def word(vocabulary, text, with_bytes):
    """A token that is certain."""
    p = np.full(len(vocabulary), 1e-9)
    p[vocabulary.index(text)] = 1.0
    return entry(vocabulary, p, vocabulary.index(text), with_bytes)


def marks():
    plain = ["4", "1", "2", "3", "5", "6", "0", " the", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
             "k", "l", "m", "n", "Score", " of step ", ":", "\n", "Overall score", "7", "8", "9", "44"]
    spaced = plain + [" 1", " 2", " 3", " 4", " 5"]
    cases = []
    for number in range(12):
        vocabulary = spaced if number % 2 else plain
        with_bytes = number % 3 != 0
        steps = 1 + number % 3
        entries, raw, mass, renormalised = [], [], [], []
        for step in range(steps + 1):
            label = ["Overall score"] if step == steps else ["Score", " of step ", str(step)]
            entries += [word(vocabulary, t, with_bytes) for t in label + [":"]]
            logits = random.standard_normal(len(vocabulary)) * (1 + number % 4)
            logits[[i for i, t in enumerate(vocabulary) if t.strip() in "12345"]] += 2 + number % 3
            p = softmax(logits)
            digits = [i for i, t in enumerate(vocabulary) if t.strip() in ("1", "2", "3", "4", "5")]
            shown = set(np.argsort(-p, kind="stable")[:TOP])
            chosen = max(digits, key=lambda i: p[i])
            entries += [entry(vocabulary, p, chosen, with_bytes), word(vocabulary, "\n", with_bytes)]
            seen = [i for i in digits if i in shown]
            mean = sum(int(vocabulary[i]) * p[i] for i in seen)
            total = sum(p[i] for i in seen)
            raw.append(float(mean))
            mass.append(float(total))
            renormalised.append(float(mean / total))
        cases.append({"steps": steps, "completion": completion(entries), "expected": raw, "mass": mass,
                      "renormalised": renormalised})
    return cases


def list_completion(scores):
    """The answer to one list: letters with these logits among other tokens."""
    count = len(scores)
    vocabulary = list(string.ascii_uppercase[:count]) + ["the", "it", " A", "[", "AB"]
    logits = np.concatenate([scores, random.standard_normal(5) - 3])
    logits[count + 2] = scores[0] - 2.0  # " A" stands for A too
    p = softmax(logits)
    shown = set(np.argsort(-p, kind="stable")[:TOP])
    weight = [p[i] if i in shown else 0.0 for i in range(count)]
    weight[0] += p[count + 2] if count + 2 in shown else 0.0
    order = sorted(range(count), key=lambda i: (-weight[i], i))
    entries = [word(vocabulary, "[", True)] if random.random() < 0.5 else []
    return completion(entries + [entry(vocabulary, p, int(np.argmax(p[:count])), True)]), order


def lists():
    cases = []
    for count in (2, 3, 5, 8, 16, 20, 21, 25, 30, 37):
        quality = random.standard_normal(count) * 2
        order, calls = list(range(count)), []
        start, end = count - TOP, count
        while end > 0 and start + TOP // 2 != 0:
            start = max(start, 0)
            answer, places = list_completion(quality[order[start:end]] + random.standard_normal(end - start) * 0.3)
            calls.append({"start": start, "size": end - start, "completion": answer, "order": places})
            order[start:end] = [order[start + i] for i in places]
            start, end = start - TOP // 2, end - TOP // 2
        cases.append({"count": count, "calls": calls, "order": order})
    return cases


def leaks():
    """The reference values of judge scoring with little mass on the marks."""
    p = [.02, .05, .13, .40, .30]
    return {"p": p, "raw": sum((k + 1) * x for k, x in enumerate(p)), "mass": sum(p)}


json.dump({"marks": marks(), "lists": lists(), "leak": leaks()}, sys.stdout, separators=(",", ":"))
print()
