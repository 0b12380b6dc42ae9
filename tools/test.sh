#!/bin/bash
# The whole check, as named slices: core (gcc: units, whole graph, examples, bad inputs, kernels on a simulated device), cuda
# (where nvcc is: kernels and their tests compile for every target and link, what ptxas says, what a program loads; the tests run
# where a device is), clang (everything compiles with -Werror), san (units again under ASan and UBSan), page (rooms, lengths).
# Usage: tools/test.sh [SLICE ...]. Ends with "N passed, M failed, K skipped".
set -u
cd "$(dirname "$0")/.." || exit 2
slices=${*:-page core cuda clang san}
log=$(mktemp -d) && trap 'rm -rf "$log"' EXIT
passed=0 failed=0 skipped=0
jobs=$(nproc)

verdict() {     # NAME RC: one more test
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); echo "ok   $1"; else failed=$((failed + 1)); echo "FAIL $1"; fi
}

count() {       # FILE: adds the last "N passed, M failed, K skipped" of it
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -1)
    [ -n "$line" ] || { failed=$((failed + 1)); echo "FAIL no closing line"; return; }
    # shellcheck disable=SC2086
    set -- $line
    passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5))
}

for slice in $slices; do
    start=$SECONDS
    case $slice in
    page)
        tools/check_layers.sh; verdict "rooms include downwards only" $?
        [ ! -x tools/check_page.sh ] || { tools/check_page.sh >"$log/page" 2>&1; rc=$?; [ $rc -eq 0 ] || tail -20 "$log/page"; verdict "page rules" $rc; } ;;
    core)
        make -s -j"$jobs" build/sluice tests >"$log/build" 2>&1; rc=$?
        [ $rc -eq 0 ] || tail -30 "$log/build"
        verdict "gcc builds with -Werror" $rc
        [ $rc -ne 0 ] || { BUILD=build tests/run.sh | tee "$log/core"; count "$log/core"; } ;;
    cuda)
        if [ -z "${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)}" ]; then
            skipped=$((skipped + 1)); echo "ok 1 - kernels compile # SKIP no nvcc"
        else
            make -s -j"$jobs" build/sluice cuda >"$log/build" 2>&1; rc=$?
            [ $rc -eq 0 ] || tail -30 "$log/build"
            verdict "nvcc builds kernels and tests for every target" $rc
            for tests in test_cuda_ test_ptxas test_loads_nothing; do
                [ $rc -ne 0 ] || { BUILD=build tests/run.sh $tests | tee "$log/cuda"; count "$log/cuda"; }
            done
        fi ;;
    clang)
        tools/setup.sh clang
        make -s -j"$jobs" CC=clang BUILD=build/clang build/clang/sluice tests >"$log/build" 2>&1; rc=$?
        [ $rc -eq 0 ] || tail -30 "$log/build"
        verdict "clang builds with -Werror" $rc ;;
    san)
        make -s -j"$jobs" SAN=1 CFLAGS="-O1 -g" build/san/sluice tests >"$log/build" 2>&1; rc=$?
        [ $rc -eq 0 ] || tail -30 "$log/build"
        verdict "gcc builds with ASan and UBSan" $rc
        [ $rc -ne 0 ] || { BUILD=build/san TEST_SCRIPTS=0 tests/run.sh | tee "$log/san"; count "$log/san"; } ;;
    *) echo "test: no slice '$slice'"; exit 2 ;;
    esac
    echo "---- $slice: $((SECONDS - start)) s"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
