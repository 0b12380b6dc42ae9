#!/bin/sh
# Prints every benchmark: each is a ratio against a peer or a limit, measured in the same run.
set -u
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
rc=0
for b in "$BUILD"/tools/bench_*; do
    case $b in *.o|*.d|*/bench_step|*bench_tokenizer) continue;; esac   # bench_step is the child of bench_torch.py
    [ -x "$b" ] || continue
    echo "== $(basename "$b")"
    "$b" || rc=1
done
for b in tools/bench_*.sh; do
    [ -x "$b" ] || continue
    echo "== $(basename "$b" .sh)"
    "$b" || rc=1
done
exit $rc
