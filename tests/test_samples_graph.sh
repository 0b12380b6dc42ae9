#!/bin/bash
# Objectives in a whole graph: the first step stands exactly at the policy that sampled; an objective that needs what
# the data lacks ends its run with one clear line; options that do not fit are blamed at their place.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
arith=$PWD/$BUILD/tools/arith
gold=$PWD/$BUILD/tools/gold
rc=0
[ -x "$arith" ] && [ -x "$gold" ] || { echo "ok - objectives in a graph # SKIP tools are not built"; exit 0; }
work=$(mktemp -d /tmp/sluice-samples.XXXXXX) || exit 2
export XDG_RUNTIME_DIR=$work/sockets
mkdir -m 700 "$XDG_RUNTIME_DIR"
tidy() {
    for run in "$work"/*/plan.json; do "$sluice" stop "${run%/plan.json}" >/dev/null 2>&1; done
    wait
    [ "${KEEP:-}" ] || rm -rf "$work"
}
trap tidy EXIT
cd "$work" || exit 2

tell() {        # NAME CONDITION...: one TAP line
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; rc=1; fi
}
first() {       # RUN NODE METRIC: its value in the first step
    head -1 "$1/checkpoints/$2/metrics.jsonl" | tr ',{}' '\n' | sed -n "s|^\"$3\":||p"
}
same() { [ -n "$1" ] && [ "$1" = "$2" ]; }

# 24 groups of 4: two right answers, two that slip in the last line.
for ((g = 0; g < 24; g++)); do
    for ((k = 0; k < 4; k++)); do
        a=$((g % 10)) b=$((g / 10 + 1)) sum=$((g % 10 + g / 10 + 1))
        printf '{"id":"r%d-%d","prompt":"%d+%d-1=?\\n","response":"%d+%d=%d\\n%d-1=%d\\n","reward":%d}\n' \
            $g $k $a $b $a $b $sum $sum $((sum - 1 + k % 2 * (1 + k))) $((1 - k % 2))
    done
done >all.jsonl
mkdir tokenizer && "$arith" tokenizer tokenizer || exit 2

head_of() {     # FILE: the nodes above the learners
    cat <<YAML
name: objectives
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: $1, group_by: prompt, group_size: 4}}
  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, with: {method: line}}
  - {id: calc, kind: calc_judge, inputs: {in: steps/steps}}
  - {id: gems, kind: consensus, inputs: {steps: steps/steps, votes: [calc/votes]}, with: {rule: all}}
YAML
}
learner() {     # ID OPTIONS
    cat <<YAML
  - id: $1
    kind: learner
    inputs: {labelled: gems/out, passed: steps/passed}
    with: {tokenizer: tokenizer, eos_token: "<eos>", width: 16, layers: 1, heads: 2, positions: 64, lr: 1e-3,
           batch_rollouts: 16, batch_tokens: 300, $2}
YAML
}

# ---- a step-0 run: policy = reference ----
objectives="grpo gspo topr aspo bcpg_nsa dpo kto tbrm"
{ head_of all.jsonl; for o in $objectives; do learner "$o" "objective: $o"; done; } >zero.yaml
"$sluice" run zero.yaml --run zero >zero.out 2>&1
tell "learners of many objectives on one stream end" [ $? = 0 ]
for o in $objectives; do
    case $o in
    grpo|gspo|topr|aspo) tell "$o: the largest importance ratio of the first step is exactly 1" same "$(first zero $o ratio/max)" 1 ;;
    *) tell "$o: the largest S of the first step is exactly 0" same "$(first zero $o s/largest)" 0 ;;
    esac
done

# ---- log-probabilities of the input go through the graph ----
while read -r line; do
    text=${line#*response\":\"} text=${text%%\",*}
    plain=$(printf '%b' "$text.")
    logps=
    for ((k = 1; k < ${#plain}; k++)); do logps+="${logps:+,}-1.5"; done
    printf '%s,"rollout_log_probs":[%s],"finish_reason":"stop"}\n' "${line%\}}" "$logps"
done <all.jsonl >recorded.jsonl
{ head_of recorded.jsonl; learner policy "objective: grpo, behaviour: recorded"
  learner cut "objective: grpo, behaviour: recorded, kl: k1, kl_in: reward, kl_weight: 0.1"; } >recorded.yaml
"$sluice" run recorded.yaml --run recorded >recorded.out 2>&1
tell "recorded log-probabilities are learnt from" [ $? = 0 ]
above() { [ -n "$1" ] && awk "BEGIN { exit !($1 > 0 && $1 != 1) }"; }
tell "... which are not the initial model's" above "$(first recorded policy ratio/mean)"
tell "... every rollout accounted for, none dead" [ "$("$sluice" audit recorded >/dev/null && "$sluice" dead recorded | wc -l)" = 0 ]

# ---- what the data lacks ----
{ head_of all.jsonl; learner policy "objective: grpo, behaviour: recorded"; } >lacks.yaml
"$sluice" run lacks.yaml --run lacks >lacks.out 2>&1
tell "recorded log-probabilities that are not there end the run" [ $? != 0 ]
tell "... with a line that names the field" grep -q "policy.0 cannot go on: .*'logps'.*logps_field" lacks.out
tries() { [ "$("$sluice" logs "$1" | grep -c 'policy.0: pid')" = "$2" ]; }
tell "... at the first try" tries lacks 1
grep '"reward":0' all.jsonl >wrong.jsonl
{ head_of wrong.jsonl | sed 's/group_size: 4/group_size: 2/'; learner policy "objective: dpo"; } >pairs.yaml
"$sluice" run pairs.yaml --run pairs >pairs.out 2>&1
tell "dpo without a pair ends the run" [ $? != 0 ]
tell "... and says so" grep -q "needs groups with a correct and a wrong answer" pairs.out

# ---- TRACT in two stages: the annotator's reasoning, then one's own, from the first base again ----
for ((i = 0; i < 40; i++)); do
    printf '{"id":"t%d","prompt":"%d+1=?\\n","response":"%d+1=%d\\n%d","reward":%d,"answer":"%d"}\n' \
        $i $((i % 10)) $((i % 10)) $((i % 10 + 1)) $((i % 5 + 1)) $((i % 5 + 1)) $((i % 5 + 1))
done >annotated.jsonl
tract() {       # FILE
    cat <<YAML
name: tract
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: $1, group_by: none, reward_field: reward}}
  - id: judge
    kind: learner
    inputs: {passed: rollouts/out}
    with: {tokenizer: tokenizer, eos_token: "<eos>", width: 32, layers: 2, heads: 2, positions: 64, lr: 3e-3,
           batch_rollouts: 20, objective: tract, epochs: 60}
YAML
}
tract annotated.jsonl >one.yaml
"$sluice" run one.yaml --run one >one.out 2>&1
tell "tract learns scores from an annotator's reasoning" [ $? = 0 ]
sed -n '1,10p' annotated.jsonl >prompts.jsonl
"$sluice" sample one/checkpoints/final --prompts prompts.jsonl --samples 4 --seed 3 --out own.jsonl >sample.out 2>&1 &&
    "$gold" <own.jsonl >gold.jsonl
tell "its own reasoning gets the gold scores" [ "$(grep -c '"reward":' gold.jsonl)" = 40 ]
tract gold.jsonl >two.yaml
"$sluice" run two.yaml --run two >two.out 2>&1
tell "and is learnt from the first base" [ $? = 0 ]
initial() { sed -n 's/.*"initial_xxh3": *"\([0-9a-f]*\)".*/\1/p' "$1/checkpoints/final/manifest.json"; }
tell "... which is the one the first stage began from" same "$(initial one)" "$(initial two)"
fell() {        # RUN: did the loss come down to a fifth?
    awk -F'"loss":' 'NR == 1 { first = $2 + 0 } { last = $2 + 0 } END { exit !(last < first / 5) }' "$1/checkpoints/judge/metrics.jsonl"
}
tell "... with less loss at the end of the first" fell one
tell "... and of the second" fell two

# ---- what does not belong ----
{ head_of all.jsonl; learner policy "objective: sft, clip_low: 0.1"; } >clip.yaml
"$sluice" check clip.yaml >clip.out 2>&1
tell "a clip that sft does not have is refused before anything starts" [ $? = 78 ]
tell "... at its place" grep -qE "^clip.yaml:[0-9]+:[0-9]+: .*sft has no clip_low" clip.out
exit $rc
