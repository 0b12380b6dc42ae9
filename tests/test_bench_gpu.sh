#!/bin/bash
# tools/cuda/bench_gpu.cu on the simulated device, small: every job of it runs, and its results are float64's. Its times mean nothing.
cd "$(dirname "$0")/.." || exit 2
program=${BUILD:-build}/simt/bench_gpu
[ -x "$program" ] || { echo "ok - bench_gpu on the simulated device # SKIP $program is not built (make simt)"; exit 0; }
out=$(mktemp) && trap 'rm -f "$out" "$out.json"' EXIT
timeout 120 "$program" --quick --json "$out.json" >"$out" 2>&1; rc=$?
grep -E '^(not )?ok ' "$out"
if [ $rc -ne 0 ]; then echo "not ok - bench_gpu ends with $rc"; tail -5 "$out" | sed 's/^/# /'; fi
jobs=$(grep -c '"ms"' "$out.json"); failed=$(grep -c '"rc": [^0]' "$out.json")
if [ "$jobs" -ge 40 ] && [ "$failed" = 0 ]; then echo "ok - $jobs jobs were timed"
else echo "not ok - $jobs jobs were timed, $failed failed"; grep '"rc": [^0]' "$out.json" | head -3 | sed 's/^/# /'; exit 1; fi
exit $rc
