#!/bin/bash
# Time from `sluice run` to the first message through six processes (limit 1 s), and the anonymous memory of each
# process while it streams (limit 64 MiB plus its credit). Prints both; exits non-zero above a limit.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
dir=$(mktemp -d) && trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
pid=
"$BUILD"/tools/arith sft 3 40000 | sed 's/"reward":1/"reward":0/' >"$dir/rollouts.jsonl"
cat >"$dir/flow.yaml" <<'YAML'
name: bench
seed: 1
nodes:
  - id: rollouts
    kind: reader
    with: {path: rollouts.jsonl, group_by: none}
  - id: steps
    kind: segmenter
    inputs: {in: rollouts/out}
    with: {method: line}
  - id: calc
    kind: calc_judge
    inputs: {in: steps/steps}
  - id: gems
    kind: consensus
    inputs: {steps: steps/steps, votes: [calc/votes]}
  - id: labelled
    kind: sink
    inputs: {in: gems/out}
  - id: passed
    kind: sink
    inputs: {in: steps/passed}
YAML
start=$(date +%s%N)
"$BUILD"/sluice run "$dir/flow.yaml" --run "$dir/run" >"$dir/log" 2>&1 &
pid=$!
until [ -s "$dir/run/labelled.jsonl" ]; do
    kill -0 "$pid" 2>/dev/null || { cat "$dir/log"; exit 1; }
    read -r -t 0.005 <> <(:) || true
done
first=$(( ($(date +%s%N) - start) / 1000000 ))
worst=0
"$BUILD"/sluice status "$dir/run" --json >"$dir/status" || true
while read -r id p; do
    kb=$(awk '/^RssAnon/ {print $2}' "/proc/$p/status" 2>/dev/null || echo 0)
    printf 'anonymous memory of %-10s %6d KiB\n' "$id" "${kb:-0}"
    [ "${kb:-0}" -le "$worst" ] || worst=$kb
done < <(grep -oE '"id": ?"[^"]*"|"pid": ?[0-9]+' "$dir/status" | sed 's/"//g; s/: */ /' |
         awk '$1 == "id" {id = $2} $1 == "pid" && id {print id, $2; id = ""}')
wait "$pid" || { tail -5 "$dir/log"; exit 1; }
total=$(( ($(date +%s%N) - start) / 1000000 ))
pid=
lines=$(wc -l <"$dir/run/labelled.jsonl")
echo "run to first message through six processes: $first ms (limit 1000)"
echo "whole stream: $lines rollouts in $total ms, $((lines * 1000 / (total > 0 ? total : 1))) rollouts/s"
echo "largest anonymous memory: $worst KiB (limit 65536 plus credit 8192)"
[ "$first" -le 1000 ] && [ "$worst" -le 73728 ]
