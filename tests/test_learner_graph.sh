#!/bin/bash
# A learner at the end of a whole graph: kills while it trains, a stream in pieces with kills between, and two
# learners beside each other. The weights are those of an undisturbed run, byte for byte.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
arith=$PWD/$BUILD/tools/arith
rc=0
[ -x "$arith" ] || { echo "ok - learner in a graph # SKIP tools/arith is not built"; exit 0; }
work=$(mktemp -d /tmp/sluice-learner.XXXXXX) || exit 2
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
wait_for() {    # COMMAND...: looks again and again, for 60 seconds at most
    local until=$((SECONDS + 60))
    until "$@"; do
        [ $SECONDS -lt $until ] || { echo "# gave up waiting: $*"; return 1; }
        read -rt 0.02 <> <(:) || true
    done
}
pid_of() { "$sluice" status "$1" --json 2>/dev/null | tr '{' '\n' | sed -n "/\"id\":\"$2\"/s/.*\"pid\":\\([0-9][0-9]*\\).*/\\1/p"; }
steps_done() {  # RUN COUNT: has the learner written so many lines of metrics?
    local file=$1/checkpoints/policy/metrics.jsonl
    [ -f "$file" ] && [ "$(wc -l <"$file")" -ge "$2" ]
}
kill_node() {   # RUN NODE
    local pid
    pid=$(pid_of "$1" "$2")
    [ "${pid:-0}" -gt 0 ] && kill -9 "$pid" 2>/dev/null
}
weights() { sha256sum <"$1/checkpoints/${2:-final}/model.safetensors"; }
audit() { "$sluice" audit "$1" >/dev/null; }
same() { [ -n "$1" ] && [ "$1" = "$2" ]; }

# 60 groups of 4; the second and the fourth answer slip in the last line, so the first line is a gem.
for ((g = 0; g < 60; g++)); do
    for ((k = 0; k < 4; k++)); do
        a=$((g % 10)) b=$((g / 10 + 1)) sum=$((g % 10 + g / 10 + 1))
        printf '{"id":"r%d-%d","prompt":"%d+%d-1=?\\n","response":"%d+%d=%d\\n%d-1=%d\\n","reward":%d}\n' \
            $g $k $a $b $a $b $sum $sum $((sum - 1 + k % 2 * (1 + k))) $((1 - k % 2))
    done
done >all.jsonl
mkdir tokenizer && "$arith" tokenizer tokenizer || exit 2

topology() {    # FILE READER_OPTIONS LEARNER_OPTIONS
    cat <<YAML
name: learning
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: $1, group_by: prompt, group_size: 4$2}}
  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, with: {method: line}}
  - {id: calc, kind: calc_judge, inputs: {in: steps/steps}}
  - {id: gems, kind: consensus, inputs: {steps: steps/steps, votes: [calc/votes]}, with: {rule: all}}
  - id: policy
    kind: learner
    inputs: {labelled: gems/out, passed: steps/passed}
    with: {tokenizer: tokenizer, eos_token: "<eos>", width: 32, layers: 2, heads: 4, positions: 64, lr: 1e-3,
           batch_rollouts: 16, checkpoint_steps: 2, objective: bcpg_nsa, tau: 0.05, $3}
YAML
}

# ---- kills while it trains ----
topology all.jsonl '' 'epochs: 6' >flow.yaml
"$sluice" run flow.yaml --run quiet >quiet.out 2>&1
tell "an undisturbed run ends" [ $? = 0 ]
[ $rc = 0 ] || { sed 's/^/# /' quiet.out; exit 1; }
"$sluice" run flow.yaml --run chaos >chaos.out 2>&1 &
running=$!
for at in 3 17 31 45 59 73; do
    wait_for steps_done chaos $at && kill_node chaos policy
done
wait $running
tell "a run whose learner was killed six times ends" [ $? = 0 ]
tell "... with the same weights" same "$(weights quiet)" "$(weights chaos)"
tell "... and the same manifest" cmp -s {quiet,chaos}/checkpoints/final/manifest.json
tell "... and every rollout accounted for" audit chaos
lines() { sed 's/,"tokens_per_second".*//' "$1/checkpoints/policy/metrics.jsonl" | sha256sum; }
tell "... and every step written once" same "$(lines quiet)" "$(lines chaos)"

# ---- a stream ----
follow='passes: 2, follow: true, window: 40'
topology all.jsonl ', follow: true' "$follow" >joined.yaml
"$sluice" run joined.yaml --run joined >joined.out 2>&1 &
running=$!
wait_for steps_done joined 24
"$sluice" end joined >/dev/null
wait $running
tell "a followed file in one go ends when asked" [ $? = 0 ]
topology grow.jsonl ', follow: true' "$follow" >pieces.yaml
: >grow.jsonl
"$sluice" run pieces.yaml --run pieces >pieces.out 2>&1 &
running=$!
for ((piece = 0; piece < 5; piece++)); do
    sed -n "$((piece * 48 + 1)),$((piece * 48 + 48))p" all.jsonl >>grow.jsonl
    wait_for steps_done pieces $((piece * 4 + 2))
    for node in policy rollouts gems steps; do kill_node pieces $node; done
done
early=(pieces/checkpoints/policy/step-*/model.safetensors)
tell "a checkpoint appears before the end" [ -f "${early[0]}" ]
"$sluice" end pieces >/dev/null
wait $running
tell "the same file in five pieces with kills between ends" [ $? = 0 ]
tell "... with the same weights" same "$(weights joined)" "$(weights pieces)"
tell "... and every rollout accounted for" audit pieces

# ---- two learners ----
{ cat flow.yaml
  cat <<YAML
  - id: second
    kind: learner
    inputs: {labelled: gems/out, passed: steps/passed}
    with: {tokenizer: tokenizer, eos_token: "<eos>", width: 16, layers: 1, heads: 2, positions: 64, lr: 1e-3, objective: rft}
YAML
} >two.yaml
"$sluice" run two.yaml --run two >two.out 2>&1
tell "two learners end" [ $? = 0 ]
tell "... each with its own checkpoint, none the run's" \
    test -f two/checkpoints/policy/final/config.json -a -f two/checkpoints/second/final/config.json -a ! -e two/checkpoints/final
tell "... and the first as if it were alone" same "$(weights quiet)" "$(weights two policy/final)"
exit $rc
