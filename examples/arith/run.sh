#!/bin/bash
# make run: one stream, three objectives. Runs compare.yaml, then measures judges, gems and pass rates.
# Environment: RUN (the run's folder), SAMPLES and PROMPTS (of the evaluation), TOPOLOGY.
set -eu
cd "$(dirname "$0")"
BUILD=${BUILD:-../../build}
sluice=$BUILD/sluice arith=$BUILD/tools/arith
topology=${TOPOLOGY:-compare.yaml}
run=${RUN:-../../runs/arith-$(date +%Y%m%d-%H%M%S)}
prompts=${PROMPTS:-500} samples=${SAMPLES:-8}
start=$SECONDS

echo "== $topology -> $run"
"$sluice" run "$topology" --run "$run"
trained=$SECONDS

echo
echo "== what went through"
"$sluice" status "$run"
echo
echo "== judges against the truth (wrong responses; a step is correct when it goes on soundly from the line before)"
"$arith" score "$run/labelled.jsonl" "$run/critic_votes.jsonl" "$run/prm_votes.jsonl"
"$BUILD/tools/gems" "$run/labelled.jsonl" 1

echo
echo "== pass rate: $prompts held-out prompts x $samples samples, temperature 1"
head -n "$prompts" held_out.jsonl >"$run/held_out.jsonl"
for d in "$run"/checkpoints/*/final; do
    [ -L "$(dirname "$d")" ] && continue
    name=$(basename "$(dirname "$d")")
    [ "$name" != checkpoints ] || continue
    printf '%-10s ' "$name"
    "$sluice" eval "$d" --against models/base --prompts "$run/held_out.jsonl" --samples "$samples" \
        --temperature 1 --seed 99 --max-tokens 80 --verify numeric
done
echo
echo "stream and training: $((trained - start)) s; evaluation: $((SECONDS - trained)) s"
