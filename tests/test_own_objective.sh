#!/bin/bash
# An objective of one's own from the outside: the example is built, checked and trained with, twice to the same bytes; files
# that are no objective are refused before anything runs.
cd "$(dirname "$0")/.." || exit 2
build=$PWD/${BUILD:-build}
sluice=${SLUICE:-$build/sluice}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rc=0
tell() {        # NAME COMMAND ...
    local name=$1
    shift
    if "$@" >"$work/said" 2>&1; then echo "ok - $name"; else echo "not ok - $name"; sed 's/^/# /' "$work/said" | tail -5; rc=1; fi
}
refused() {     # NAME FILE WORD
    tell "$1 is refused" sh -c "! '$sluice' check examples/objective/flow.yaml --set 'policy.objective_file=$2' >'$work/why' 2>&1; \
        grep -q -- '$3' '$work/why'"
}

tell "the example builds" make -s -C examples/objective CC="${CC:-cc}"
header=$work/usr/include/sluice
mkdir -p "$header" && cp kernels/objective_kind.h "$header" && cp -r examples/objective "$work/away"
rm -rf "$work/away/include" "$work/away/clip_free.so"
tell "... and elsewhere, against an installed header" make -s -C "$work/away" CC="${CC:-cc}" PREFIX="$work/usr"
tell "its topology is accepted" "$sluice" check examples/objective/flow.yaml
for run in one two; do
    tell "run $run ends well" "$sluice" run examples/objective/flow.yaml --run "$work/$run"
done
tell "both end at the same bytes" cmp "$work/one/checkpoints/final/model.safetensors" "$work/two/checkpoints/final/model.safetensors"
tell "which are not the initial model's" sh -c "! cmp '$work/one/checkpoints/final/model.safetensors' examples/arith/models/base/model.safetensors"
tell "its steps are logged" test "$(grep -c '"loss":' "$work/one/checkpoints/policy/metrics.jsonl")" = 10
tell "KL and entropy are added for it" "$sluice" run examples/objective/flow.yaml --run "$work/three" --set policy.kl=k2 \
    --set policy.kl_weight=0.1 --set policy.entropy_weight=0.01
tell "... and logged" grep -q '"kl_loss":[0-9.e-]*[1-9]' "$work/three/checkpoints/policy/metrics.jsonl"

refused "a missing file" "$work/none.so" "no such file"
refused "a text" "$PWD/examples/objective/clip_free.c" "not a shared object"
make -s "$build/objective/wrong_abi.so" BUILD="$build" >/dev/null 2>&1
refused "another ABI" "$build/objective/wrong_abi.so" "was built for ABI"
tell "an option it does not have is refused" sh -c "! '$sluice' check examples/objective/flow.yaml --set policy.clip_high=0.3"
exit $rc
