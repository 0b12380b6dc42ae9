#!/bin/bash
# make run: one stream, three objectives. Runs compare.yaml, then prints one table: what went through, how good the judges
# were, and what each objective gained on held-out prompts.
# Usage: run.sh [flags of sluice run]. Environment: RUN (the run's folder), SAMPLES and PROMPTS (of the evaluation), TOPOLOGY.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
absolute() { case $2 in /*) echo "$2" ;; *) echo "$1/$2" ;; esac; }
BUILD=$(absolute "$root" "${BUILD:-build}")
run=$(absolute "$PWD" "${RUN:-$root/runs/arith-$(date +%Y%m%d-%H%M%S)}")
cd "$root/examples/arith"
sluice=$BUILD/sluice arith=$BUILD/tools/arith table=$BUILD/tools/table
topology=${TOPOLOGY:-compare.yaml}
prompts=${PROMPTS:-500} samples=${SAMPLES:-8}
start=$SECONDS

echo "== $topology -> ${run#"$root/"}"
"$sluice" run "$topology" --run "$run" "$@"
trained=$SECONDS
"$sluice" audit "$run" --json >"$run/audit.json"

head -n "$prompts" held_out.jsonl >"$run/held_out.jsonl"
rm -f "$run"/eval.*.json
gain() {        # BEFORE AFTER NAME
    echo "== measuring ${2#"$run/"} against ${1#"$run/"}"
    "$sluice" eval "$2" --against "$1" --prompts "$run/held_out.jsonl" --samples "$samples" \
        --temperature 1 --seed 99 --max-tokens 80 --verify numeric --json >"$run/eval.$3.json"
}
at=$run/checkpoints
for d in "$at"/*/final; do
    name=$(basename "$(dirname "$d")")
    gain models/base "$d" "$name"
done
if [ -d "$at/bcpg/final" ] && [ -d "$at/bcpg_nsa/final" ]; then
    gain "$at/bcpg/final" "$at/bcpg_nsa/final" difference
fi

echo
"$table" run "$run" "$run/audit.json" $((trained - start))
if [ -s "$run/labelled.jsonl" ]; then
    echo
    "$arith" score "$run/labelled.jsonl" "$run"/*_votes.jsonl
fi
echo
echo "pass rate on $prompts held-out prompts x $samples samples, temperature 1"
"$table" gains "$run"/eval.*.json
echo
echo "evaluated in $((SECONDS - trained)) s; everything is in ${run#"$root/"}"
