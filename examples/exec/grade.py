"""Rewards for code: 1 when the response's first Python block passes the asserts in `answer`, else 0."""
import json, re, subprocess, sys

rollout = json.load(sys.stdin)
block = re.search(r"```(?:python)?\n(.*?)```", rollout["response"], re.S)
program = (block.group(1) if block else rollout["response"]) + "\n" + rollout["answer"] + "\n"
try:    # in a child of our own: what it does to itself is its verdict, not ours
    ended = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, timeout=2)
    print(int(ended.returncode == 0))
except subprocess.TimeoutExpired:
    print(0)
