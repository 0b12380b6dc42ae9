#!/bin/bash
# A learner whose device is lost under it, again and again: each process ends with the error's name, the supervisor starts
# the next one, which goes on from the checkpoint; weights and manifest are those of an undisturbed run, byte for byte.
# On the simulated device (make simt), or that of the library that SLUICE_CUDA names, which cannot be lost on demand.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
arith=$PWD/$BUILD/tools/arith
library=$(realpath "${SLUICE_CUDA:-$BUILD/simt/libsluice-cuda.so}" 2>/dev/null)
rc=0
[ -x "$arith" ] || { echo "ok - learner on a device # SKIP tools/arith is not built"; exit 0; }
[ -f "$library" ] || { echo "ok - learner on a device # SKIP the simulated device is not built (make simt)"; exit 0; }
work=$(mktemp -d /tmp/sluice-device.XXXXXX) || exit 2
export XDG_RUNTIME_DIR=$work/sockets SLUICE_CUDA=$library
mkdir -m 700 "$XDG_RUNTIME_DIR"
tidy() {
    for run in "$work"/*/plan.json; do "$sluice" stop "${run%/plan.json}" >/dev/null 2>&1; done
    wait
    [ "${KEEP:-}" ] || rm -rf "$work"
}
trap tidy EXIT
cd "$work" || exit 2

simulated() { case $library in */simt/*) true;; *) false;; esac; }
tell() {        # NAME CONDITION...: one TAP line
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; rc=1; fi
}
same() { cmp -s "$1/checkpoints/final/$3" "$2/checkpoints/final/$3"; }

# 12 groups of 4; the second and the fourth answer slip.
for ((g = 0; g < 12; g++)); do
    for ((k = 0; k < 4; k++)); do
        printf '{"id":"r%d-%d","prompt":"%d+2=?\\n","response":"%d\\n","reward":%d}\n' \
            $g $k $g $((g + 2 + k % 2 * (1 + k))) $((1 - k % 2))
    done
done >all.jsonl
mkdir tokenizer && "$arith" tokenizer tokenizer || exit 2

topology() {    # LEARNER_OPTIONS
    cat <<YAML
name: device
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: all.jsonl, group_by: prompt, group_size: 4}}
  - id: policy
    kind: learner
    inputs: {passed: rollouts/out}
    with: {tokenizer: tokenizer, eos_token: "<eos>", width: 16, layers: 1, heads: 2, positions: 32, lr: 1e-3,
           batch_rollouts: 8, batch_tokens: 128, checkpoint_steps: 1, objective: bcpg, tau: 0.05, epochs: 2, $1}
YAML
}

topology 'device: "cuda:0"' >flow.yaml
SLUICE_CUDA=none "$sluice" check flow.yaml >check.out 2>&1
tell "a topology with a device is checked without one" [ $? = 0 ]
"$sluice" run flow.yaml --run quiet >quiet.out 2>&1
tell "an undisturbed run on a device ends" [ $? = 0 ]
[ $rc = 0 ] || { sed 's/^/# /' check.out quiet.out; exit 1; }
tell "... and its manifest names the device" grep -q '"device": "cuda:0 ' quiet/checkpoints/final/manifest.json

lost() { [ "$(grep -cs 'the device failed' "$1/logs/policy.0.log")" -ge 3 ]; }
if simulated; then
    SLUICE_SIMT_LOSE=100 "$sluice" run flow.yaml --run lost >lost.out 2>&1
    tell "a run whose device is lost again and again ends" [ $? = 0 ]
    [ $rc = 0 ] || sed 's/^/# /' lost.out
    tell "... and was, three times or more" lost lost
    tell "... with the same weights" same quiet lost model.safetensors
    tell "... and the same manifest" same quiet lost manifest.json
else
    echo "ok - a device that is lost again and again # SKIP this one cannot be lost on demand"
fi

# From a step's folder: its manifest says what the products were pinned to.
warned() { grep -qs 'last bits may differ' "$1/logs/policy.0.log"; }
silent() { ! warned "$1"; }
topology 'device: "cuda:0", resume_from: quiet/checkpoints/policy/step-11' >on.yaml
"$sluice" run on.yaml --run on >on.out 2>&1
tell "training that goes on from a folder on the same device ends" [ $? = 0 ]
tell "... without a warning" silent on
tell "... with the same weights" same quiet on model.safetensors
if simulated; then
    SLUICE_SIMT_COMPUTE=80 "$sluice" run on.yaml --run other >other.out 2>&1
    tell "... and on another device ends too" [ $? = 0 ]
    tell "... with a warning" warned other
    tell "... that names it" grep -qs 'capability 8.0' other/logs/policy.0.log
else
    echo "ok - training that goes on on another device # SKIP there is one"
fi

topology 'device: cpu' >cpu.yaml
"$sluice" run cpu.yaml --run cpu >cpu.out 2>&1
differ() { [ -f "$2/checkpoints/final/$3" ] && ! same "$@"; }
tell "the processor gives other bytes" differ quiet cpu model.safetensors
exit $rc
