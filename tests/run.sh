#!/bin/bash
# Runs every test program and script, each under a time limit, and counts their TAP lines.
# Usage: tests/run.sh [PATTERN]; BUILD names the build folder; TEST_SCRIPTS=0 leaves the scripts out. Ends with "N passed, M failed, K skipped".
set -u
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
export BUILD CMOCKA_MESSAGE_OUTPUT=TAP SLUICE="$PWD/$BUILD/sluice"
pattern=${1:-}
limit=${TEST_SECONDS_MAX:-300}
passed=0 failed=0 skipped=0
log=$(mktemp) && trap 'rm -f "$log"' EXIT
for t in "$BUILD"/tests/test_* tests/test_*.sh; do
    [ -x "$t" ] && [ -f "$t" ] || continue
    case $t in *.o|*.d) continue;; esac
    case $t in *.sh) [ "${TEST_SCRIPTS:-1}" = 1 ] || continue;; esac
    case $t in *"$pattern"*) ;; *) continue;; esac
    # Bytes and figures of the other tests are the processor's, also where `device: auto` would find a device.
    case $t in */test_cuda_*|*_gpu.sh) hide=();; *) hide=(CUDA_VISIBLE_DEVICES=);; esac
    env "${hide[@]}" timeout -k 5 "$limit" "$t" >"$log" 2>&1 </dev/null
    rc=$?
    ok=$(grep -cE '^ok ' "$log"); bad=$(grep -cE '^not ok ' "$log"); skip=$(grep -ciE '^ok .*# skip' "$log")
    passed=$((passed + ok - skip)); failed=$((failed + bad)); skipped=$((skipped + skip))
    if [ $rc -ne 0 ] || [ "$bad" -ne 0 ]; then
        [ "$bad" -ne 0 ] || failed=$((failed + 1))      # it died, or ran out of time, between two tests
        echo "FAIL $t (exit $rc)"; sed 's/^/    /' "$log" | tail -60
    else
        echo "ok   $t ($((ok - skip)) passed, $skip skipped)"
        grep -iE '^ok .*# skip' "$log" | sed 's/^/    /'
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
