#!/bin/bash
# Streams the real rollouts of GSM8K, prints the gems found, three of them in colour, and what the policy thinks of
# held-out correct and wrong solutions before and after. TOPOLOGY and RUN may be set.
set -eu
cd "$(dirname "$0")"
BUILD=${BUILD:-../../build}
run=${RUN:-../../runs/gsm8k-$(date +%Y%m%d-%H%M%S)}
"$BUILD/sluice" run "${TOPOLOGY:-flow.yaml}" --run "$run"
echo
echo "== gems"
"$BUILD/tools/gems" "$run/labelled.jsonl" 3
echo
echo "== log-likelihood margin, held-out correct minus wrong solutions (319 questions the stream did not see)"
"$BUILD/sluice" eval "$run/checkpoints/policy/final" --against models/base --rollouts held_out.jsonl.zst
