#!/bin/bash
# A learner on a CUDA device in a whole graph: the same bytes twice, after kills, and under `device: auto`; the weights are near
# the processor's. For a GPU host (tools/gpu_check graph), with the program of tools/gpu_check --pack.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
rc=0
[ -e /dev/nvidiactl ] || { echo "ok - learner on a GPU # SKIP no CUDA device"; exit 0; }
[ -n "${SLUICE_CUDA:-}" ] || [ -f "$(dirname "$sluice")/libsluice-cuda.so" ] \
    || { echo "ok - learner on a GPU # SKIP no libsluice-cuda.so beside $sluice (make cuda)"; exit 0; }
work=$(mktemp -d /tmp/sluice-gpu.XXXXXX) || exit 2
tokenizer=$PWD/examples/arith/tokenizer
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
same() { cmp -s "$1/checkpoints/final/model.safetensors" "$2/checkpoints/final/model.safetensors"; }

# 60 groups of 4; the second and the fourth answer slip.
for ((g = 0; g < 60; g++)); do
    for ((k = 0; k < 4; k++)); do
        printf '{"id":"r%d-%d","prompt":"%d+%d=?\\n","response":"%d\\n","reward":%d}\n' \
            $g $k $((g % 10)) $((g / 10)) $((g % 10 + g / 10 + k % 2 * (1 + k))) $((1 - k % 2))
    done
done >all.jsonl

topology() {    # FILE DEVICE OBJECTIVE
    cat >"$1" <<YAML
name: device
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: all.jsonl, group_by: prompt, group_size: 4}}
  - id: policy
    kind: learner
    inputs: {passed: rollouts/out}
    with: {tokenizer: $tokenizer, eos_token: "<eos>", width: 64, layers: 2, heads: 2, positions: 64, lr: 1e-3,
           batch_rollouts: 16, batch_tokens: 256, checkpoint_steps: 2, objective: $3, epochs: 3, device: "$2"}
YAML
}
pid_of() { "$sluice" status "$1" --json 2>/dev/null | tr '{' '\n' | sed -n "/\"id\":\"policy\"/s/.*\"pid\":\\([0-9][0-9]*\\).*/\\1/p"; }
kill_it() {     # RUN: the learner, again and again while the run lasts
    local pid last=
    while kill -0 "$2" 2>/dev/null; do
        pid=$(pid_of "$1")
        [ -n "$pid" ] && [ "$pid" != 0 ] && [ "$pid" != "$last" ] && [ "${kills:=0}" -lt 3 ] \
            && [ -s "$1/checkpoints/policy/metrics.jsonl" ] && { kill -9 "$pid" 2>/dev/null; last=$pid; kills=$((kills + 1)); }
        read -rt 0.1 <> <(:) || true
    done
}

for objective in bcpg_nsa grpo sft; do
    case $objective in bcpg_nsa) o=bcpg ;; *) o=$objective ;; esac
    topology "$o.yaml" cuda:0 $o
    "$sluice" run $o.yaml --run $o-one >$o.out 2>&1
    tell "$o on cuda:0 ends" [ $? = 0 ]
    [ $rc = 0 ] || { sed 's/^/# /' $o.out | tail -20; tail -5 $o-one/logs/policy.0.log 2>/dev/null | sed 's/^/# /'; exit 1; }
    tell "... its manifest names the device" grep -q '"device": "cuda:0 ' $o-one/checkpoints/final/manifest.json
    "$sluice" run $o.yaml --run $o-two >>$o.out 2>&1
    tell "... and again: the same bytes" same $o-one $o-two
done
"$sluice" run bcpg.yaml --run killed >killed.out 2>&1 &
kill_it killed $!
wait $!
tell "killed while it trains, the run ends" [ $? = 0 ]
tell "... with the same bytes" same bcpg-one killed
topology auto.yaml auto bcpg
"$sluice" run auto.yaml --run auto >auto.out 2>&1
tell "device: auto takes it: the same bytes" same bcpg-one auto
topology cpu.yaml cpu bcpg
"$sluice" run cpu.yaml --run cpu >cpu.out 2>&1
loss() { tail -1 "$1/checkpoints/policy/metrics.jsonl" | grep -oE '"loss": ?[-0-9.e]+' | grep -oE '[-0-9.e]+$'; }
near() { awk -v a="$(loss bcpg-one)" -v b="$(loss cpu)" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d * d <= 1e-4 + 0.0025 * b * b) }'; }
tell "the processor's last loss is near: $(loss bcpg-one) and $(loss cpu)" near
exit $rc
