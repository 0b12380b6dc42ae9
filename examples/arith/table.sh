#!/bin/bash
# make table: eight objectives at equal updates over several seeds, pass rate on held-out prompts after each of three epochs.
#
# Seeds 1 .. SEEDS: each samples its own rollouts of the stream's prompts from the base policy, and is judged once. At the first
# seed a grid of rates (and of tau, for the objectives that have one) is searched on the validation prompts. Then every seed is
# trained with each objective's best point, with one common rate, and, where there is a tau, with that rate and a weak one. Nothing
# is chosen on held-out prompts.
# Environment: SEEDS (5), RATES, TAUS and BETAS (of dpo; as many), METHODS, STREAM (prompts, 400), PROMPTS (held-out ones, 500), SAMPLES (8), RUN (its folder;
# a table that was cut off goes on there).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
absolute() { case $2 in /*) echo "$2" ;; *) echo "$1/$2" ;; esac; }
BUILD=$(absolute "$root" "${BUILD:-build}")
run=$(absolute "$PWD" "${RUN:-$root/runs/arith-table-$(date +%Y%m%d-%H%M%S)}")
cd "$root/examples/arith"
sluice=$BUILD/sluice arith=$BUILD/tools/arith
seeds=${SEEDS:-5} epochs=3 rates=${RATES:-3e-5 1e-4 3e-4 1e-3} taus=${TAUS:-0.01 0.05} betas=${BETAS:-0.1 0.5}
methods=${METHODS:-rft dpo topr grpo bcpg nsa_half nsa_zero nsa_minus} prompts=${PROMPTS:-500} samples=${SAMPLES:-8}
topology=${TOPOLOGY:-table.yaml}
stream=${STREAM:-400}
export EPOCH_STEPS=$((stream * 16 / 128))       # of 16 rollouts a prompt, 128 a step: where the topology saves
common_rate=3e-4        # as the topology has it, with tau 0.05 and dpo's 0.5
weak_tau=0.01 weak_methods="bcpg nsa_half nsa_zero nsa_minus"
# tau of METHOD at place PLACE of its grid: dpo's is another quantity (its beta) and has values of its own; - without one.
tau_of() {
    local list
    case $1 in dpo) list=$betas ;; bcpg|nsa_*) list=$taus ;; *) list=- ;; esac
    awk -v i="$2" '{ print NF < i ? $1 : $i }' <<<"$list"
}
start=$SECONDS
mkdir -p "$run/eval" "$run/grid"
head -n "$prompts" held_out.jsonl >"$run/held_out.jsonl"

# A cosine ends at a fifteenth of its peak, whatever the peak is.
floor_of() { awk -v r="$1" 'BEGIN { printf "%.9g", r / 15 }'; }

sets_of() {     # METHOD RATE TAU: the options of one learner, one word a line
    echo "--set"; echo "$1.lr=$2"; echo "--set"; echo "$1.lr_min=$(floor_of "$2")"
    [ "$3" = - ] || { echo "--set"; echo "$1.tau=$3"; }
}

pass_rate() {   # MODEL PROMPTS OUT: a line of JSON; done before: kept
    [ -s "$3" ] || { "$sluice" eval "$1" --prompts "$2" --samples "$samples" --temperature 1 --seed 99 --max-tokens 80 \
        --verify numeric --json >"$3.part" && mv "$3.part" "$3"; }
}

judged() {      # SEED: rollouts of the seed, judged, and trained at the common point
    local dir=$run/seed-$1
    [ -e "$dir.done" ] && return
    [ -s "$run/rollouts-$1.jsonl" ] || {
        "$arith" prompts stream 2 "$stream" >"$run/stream.jsonl"
        "$sluice" sample models/base --prompts "$run/stream.jsonl" --samples 16 --temperature 1 --seed $((1000 + $1)) \
            --max-tokens 80 --verify numeric --out "$run/rollouts-$1.jsonl"
    }
    echo "== seed $1: judging, and every objective at lr $common_rate"
    SEED=$1 ROLLOUTS=$run/rollouts-$1.jsonl "$sluice" run "$topology" --run "$dir" >"$dir.log" 2>&1 \
        || { tail -5 "$dir.log"; exit 1; }
    "$sluice" audit "$dir" --json >/dev/null
    touch "$dir.done"
}

again() {       # SEED NEW SETS...: from the consensus on
    local seed=$1 dir=$2
    shift 2
    [ -e "$dir.done" ] && return
    "$sluice" replay "$run/seed-$seed" gems "$@" --into "$dir" >"$dir.log" 2>&1 || { tail -5 "$dir.log"; exit 1; }
    touch "$dir.done"
}

after() {       # DIR METHOD EPOCH: the policy's folder
    if [ "$3" -eq "$epochs" ]; then echo "$1/checkpoints/$2/final"; else echo "$1/checkpoints/$2/step-$((EPOCH_STEPS * $3))"; fi
}

measure() {     # CONFIG SEED DIR METHOD...
    local config=$1 seed=$2 dir=$3 m e
    shift 3
    for m; do
        for e in $(seq "$epochs"); do
            echo "$(after "$dir" "$m" "$e") $run/held_out.jsonl $run/eval/$config,$m,$seed,$e.json"
        done
    done | in_pairs
}

in_pairs() {    # lines MODEL PROMPTS OUT: as many at a time as there are processors
    local jobs=0 model prompts out
    while read -r model prompts out; do
        pass_rate "$model" "$prompts" "$out" &
        jobs=$((jobs + 1))
        [ "$jobs" -lt "$(nproc)" ] || { wait -n; jobs=$((jobs - 1)); }
    done
    wait
}

echo "== ${run#"$root/"}"
for s in $(seq "$seeds"); do judged "$s"; done

echo "== grid at seed 1 on validation prompts: rates $rates; tau $taus, of dpo $betas"
for rate in $rates; do
    for i in $(seq "$(wc -w <<<"$taus")"); do
        sets=()
        for m in $methods; do
            mapfile -t -O "${#sets[@]}" sets < <(sets_of "$m" "$rate" "$(tau_of "$m" "$i")")
        done
        again 1 "$run/grid/$rate-$i" "${sets[@]}"
        for m in $methods; do
            echo "$run/grid/$rate-$i/checkpoints/$m/final validation.jsonl $run/grid/$m,$rate,$(tau_of "$m" "$i").json"
        done | in_pairs
    done
done
for m in $methods; do
    echo "$m $("$BUILD"/tools/seeds best "$run/grid" "$m")"
done >"$run/best.txt"
best=()
while read -r m rate tau; do mapfile -t -O "${#best[@]}" best < <(sets_of "$m" "$rate" "$tau"); done <"$run/best.txt"

weak=()
for m in $weak_methods; do weak+=(--set "$m.tau=$weak_tau"); done

for s in $(seq "$seeds"); do
    echo "== seed $s: every objective at its best point, and with a weak pull"
    again "$s" "$run/best-$s" "${best[@]}"
    # shellcheck disable=SC2086
    measure best "$s" "$run/best-$s" $methods
    # shellcheck disable=SC2086
    measure common "$s" "$run/seed-$s" $methods
    again "$s" "$run/weak-$s" "${weak[@]}"
    # shellcheck disable=SC2086
    measure weak "$s" "$run/weak-$s" $weak_methods
done
pass_rate models/base "$run/held_out.jsonl" "$run/base.json"

echo
echo "pass rate on $prompts held-out prompts x $samples samples, temperature 1; mean over $seeds seeds with its 95 % interval"
"$BUILD"/tools/seeds table "$run" "$epochs" "$common_rate" "$weak_tau"
echo
echo "$((SECONDS - start)) s; everything is in ${run#"$root/"}"
