"""llm_judge, unchanged, against a real inference server: chat with a JSON schema, with log-probabilities,
rankings, votes, and questions that pass the model's context.

    PYTHON -m pip install "llama-cpp-python[server]" gguf numpy      # builds llama.cpp: some minutes
    PYTHON tools/real_server.py                                      # llama-cpp-python's server
    PYTHON tools/real_server.py --server path/to/llama-server        # llama.cpp's own

SLUICE names the program (default build/sluice). A small model with random weights is made by
tools/random_gguf.py, so the verdicts mean nothing, but their form is the server's doing: with a schema
every answer must be a verdict, whatever the weights, and without one hardly any would be. The script
fails where a judge abstains that should not, or a number is outside its range.
"""
import argparse
import collections
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROLLOUTS, GROUP = 24, 8

MARK = """{{@form score}}
{{#user}}
{{problem}}
{{#steps}}
{{step}}
{{/steps}}
Mark this step from 1 to 5.
{{/user}}
"""

# name, options of the judge, and what its votes must hold
JUDGES = [
    ("schema", "format: schema, temperature: 1, seed: 5, max_tokens: 3000", "steps"),
    ("first_error", "prompt: first_error, format: schema, temperature: 1, seed: 6, max_tokens: 3000", "steps"),
    ("votes", "format: schema, votes: 3, temperature: 1, max_tokens: 3000", "agreement"),
    ("expected", "prompt: mark.txt, scoring: expected, window_steps: 1, max_tokens: 1, temperature: 1, seed: 7, "
                 "top_logprobs: 100", "outside"),
    ("rank", "scoring: rank, votes: 2, top_logprobs: 100, temperature: 1", "response"),
    ("no_schema", "temperature: 1, seed: 5, max_tokens: 200, tries: 1", "abstains"),
]


def fail(words):
    sys.exit("real_server: " + words)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_server(binary, model, context, log):
    port = free_port()
    if binary:
        command = [binary, "-m", model, "-c", str(context * 2), "-np", "2", "--port", str(port), "-t", "1",
                   "--chat-template", "chatml", "--no-warmup"]
    else:
        command = [sys.executable, "-m", "llama_cpp.server", "--model", model, "--n_ctx", str(context), "--logits_all",
                   "true", "--chat_format", "chatml", "--port", str(port), "--n_threads", "1", "--verbose", "false"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    url = "http://127.0.0.1:%d/v1" % port
    for _ in range(600):
        try:
            urllib.request.urlopen(url + "/models", timeout=1).read()
            return process, url
        except OSError:
            if process.poll() is not None:
                fail("the server ended; its log is " + log.name)
            time.sleep(0.1)
    fail("the server does not answer; its log is " + log.name)


def write_rollouts(path, long_bytes):
    with open(path, "w") as out:
        for i in range(ROLLOUTS):
            steps = ["%d + %d = %d" % (i, k, i + k) for k in range(3 + i % 3)]
            if i == ROLLOUTS - 1:
                steps = ["%d + %d = %d, " % (i, k, i + k) * (long_bytes // 8 // 12) for k in range(8)]
            row = {"prompt": "What is %d + 2?" % (i // GROUP), "response": "\n".join(steps), "reward": 0}
            out.write(json.dumps(row) + "\n")


def run(folder, url, name, options):
    flow = folder / (name + ".yaml")
    flow.write_text("""name: real
seed: 1
nodes:
  - {id: r, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: %d}}
  - {id: s, kind: segmenter, inputs: {in: r/out}, with: {method: line}}
  - {id: judge, kind: llm_judge, inputs: {in: s/steps}, with: {url: "%s", model: random, in_flight: 8, %s}}
  - {id: votes, kind: sink, inputs: {in: judge/votes}}
""" % (GROUP, url, options))
    sluice = os.environ.get("SLUICE", str(ROOT / "build/sluice"))
    began = time.time()
    done = subprocess.run([sluice, "run", str(flow), "--run", str(folder / name)], capture_output=True, text=True,
                          timeout=900, env=dict(os.environ, no_proxy="*"))
    if done.returncode != 0:
        fail("%s: %s" % (name, (done.stdout + done.stderr)[-2000:]))
    votes = []
    for path in sorted((folder / name).rglob("*.jsonl")):
        votes += [json.loads(line) for line in path.read_text().splitlines() if '"voter"' in line]
    votes = [v.get("vote", v.get("body", v)) for v in votes]
    return votes, time.time() - began


def in_range(values):
    return all(0 <= v <= 1 for v in values or [])


def check(name, votes, wanted):
    """The line that is printed."""
    if len(votes) != ROLLOUTS:
        fail("%s: %d votes of %d" % (name, len(votes), ROLLOUTS))
    abstained = [v for v in votes if v.get("abstain")]
    said = sum(sum(v.get("said") or []) for v in votes)
    for v in votes:
        if not all(in_range(v.get(field)) for field in ("scores", "outside", "agreement", "response")):
            fail("%s: a number outside [0,1]: %s" % (name, v))
    if wanted == "abstains":
        if not abstained:
            fail(name + ": a random model wrote a verdict without being told to")
    elif abstained:
        fail("%s: %d of %d votes abstain: %s" % (name, len(abstained), len(votes), abstained[0]["abstain"]))
    elif wanted == "response":
        places = sorted(v["response"][0] for v in votes)
        if len(places) != ROLLOUTS or len(set(places)) < 3:
            fail(name + ": no ranking")
    elif said == 0 or (wanted != "steps" and not votes[0].get(wanted)):
        fail("%s: no %s in %s" % (name, wanted, votes[0]))
    tokens = sum(v.get("tokens_out", 0) for v in votes)
    outside = [o for v in votes for o in v.get("outside") or []]
    more = ", mass outside the marks %.3f to %.3f" % (min(outside), max(outside)) if outside else ""
    if wanted == "agreement":
        spread = collections.Counter(round(a, 3) for v in votes for a in v["agreement"])
        more = ", agreement " + ", ".join("%.3g of %d steps" % (a, n) for a, n in sorted(spread.items()))
    return "%d votes, %d abstain, %d steps scored, %d tokens written%s" % (len(votes), len(abstained), said, tokens, more)


def main():
    options = argparse.ArgumentParser(description="llm_judge against a real server")
    options.add_argument("--server", help="llama.cpp's llama-server; default: llama-cpp-python's server")
    options.add_argument("--context", type=int, default=8192, help="tokens that the server takes")
    options.add_argument("--only", help="one of the judges")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = str(folder / "random.gguf")
        subprocess.run([sys.executable, str(ROOT / "tools/random_gguf.py"), model], check=True)
        write_rollouts(folder / "rollouts.jsonl", args.context * 5 // 4)  # the last one passes the context
        (folder / "mark.txt").write_text(MARK)
        log = open(os.environ.get("SERVER_LOG", str(folder / "server.log")), "w")
        process, url = start_server(args.server, model, args.context, log)
        try:
            for judge, with_, wanted in JUDGES:
                if args.only and judge != args.only:
                    continue
                votes, seconds = run(folder, url, judge, with_)
                print("%-12s %s, %.1f s" % (judge, check(judge, votes, wanted), seconds), flush=True)
        finally:
            process.terminate()
            process.wait()


main()
