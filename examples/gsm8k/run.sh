#!/bin/bash
# Streams the real rollouts of GSM8K, prints the gems found, three of them in colour, and by how much the policy finds correct
# solutions more likely than wrong ones to held-out questions, before and after.
# Usage: run.sh [flags of sluice run]. Environment: RUN (the run's folder), TOPOLOGY, QUESTIONS (held-out ones to measure on).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
absolute() { case $2 in /*) echo "$2" ;; *) echo "$1/$2" ;; esac; }
BUILD=$(absolute "$root" "${BUILD:-build}")
run=$(absolute "$PWD" "${RUN:-$root/runs/gsm8k-$(date +%Y%m%d-%H%M%S)}")
cd "$root/examples/gsm8k"
questions=${QUESTIONS:-319}
start=$SECONDS

echo "== ${TOPOLOGY:-flow.yaml} -> ${run#"$root/"}"
"$BUILD/sluice" run "${TOPOLOGY:-flow.yaml}" --run "$run" "$@"
"$BUILD/sluice" audit "$run" --json >"$run/audit.json"
trained=$SECONDS
echo
echo "== gems: + correct, x incorrect, ? nothing to compute"
"$BUILD/tools/gems" "$run/labelled.jsonl" 3
echo
"$BUILD/tools/table" run "$run" "$run/audit.json" $((trained - start))
echo
echo "== how much more likely are correct than wrong solutions, per token, to $questions held-out questions?"
zstd -dcq held_out.jsonl.zst | head -n $((4 * questions)) >"$run/held_out.jsonl"
"$BUILD/sluice" eval "$run/checkpoints/policy/final" --against models/base --rollouts "$run/held_out.jsonl"
