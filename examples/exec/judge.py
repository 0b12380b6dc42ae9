"""A judge for sluice: computes the sums that stand between << and >> in GSM8K's answers."""
import json, re, sys
from fractions import Fraction

def value(text):                        # of "16 - 3 * .5"; None: no such sum
    if not re.fullmatch(r"[\d.+\-*/() ]{1,100}", text) or "**" in text or "//" in text:
        return None
    try:
        return Fraction(eval(re.sub(r"\d*\.?\d+\.?", r"Fraction('\g<0>')", text)))
    except (ArithmeticError, SyntaxError, ValueError, TypeError):
        return None

def judge(step):                        # (score, or None where nothing can be said; reason)
    for left, right in re.findall(r"<<([^=<>]*)=([^=<>]*)>>", step):
        a, b = value(left), value(right)
        if a is None or b is None:
            return None, "no sum: " + left
        if abs(a - b) > Fraction(1, 100):
            return 0, f"{left} is {float(a):g}, not {right}"
    return (1, "") if "<<" in step else (None, "")

for line in sys.stdin:                  # a greeting, then questions: one message on each line
    ask, said = json.loads(line), {"ready": 1}
    if "ask" in ask:
        steps = ask["inputs"][0]["body"]
        response, ends = steps["rollout"]["response"].encode(), [0] + steps["ends"]
        verdicts = [judge(response[a:b].decode()) for a, b in zip(ends, ends[1:])]
        vote = dict(zip(("scores", "reasons"), zip(*verdicts)))
        said = {"ask": ask["ask"], "outputs": {"votes": vote}}
    print(json.dumps(said), flush=True)
