#!/bin/bash
# examples/cuda from the outside: two headers of Sluice and the library, nothing else, on the simulated device; the loss
# begins at the logarithm of the number of classes and falls.
cd "$(dirname "$0")/.." || exit 2
build=$PWD/${BUILD:-build}
library=$build/simt/libsluice-cuda.so
if [ ! -f "$library" ]; then
    echo "ok - examples/cuda # SKIP no $library: make simt"
    exit 0
fi
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rc=0
tell() {        # NAME COMMAND ...
    local name=$1
    shift
    if "$@" >"$work/said" 2>&1; then echo "ok - $name"; else echo "not ok - $name"; sed 's/^/# /' "$work/said" | tail -5; rc=1; fi
}
cp kernels/sluice_cuda.h kernels/objective_kind.h examples/cuda/loss.c "$work" && cd "$work" || exit 2
# shellcheck disable=SC2086
tell "it builds with two headers" ${CC:-cc} -std=c11 -Wall -Wextra -Werror loss.c "$library" -Wl,-rpath,"$build/simt" -o loss
tell "it runs" sh -c './loss >out'
tell "the first loss is log 61" grep -q '^step 1: loss 4.1109$' out
tell "the last is a third of it at most" awk '/^step 20: loss/ {last = $4} END {exit !(last > 0 && last < 1.37)}' out
exit $rc
