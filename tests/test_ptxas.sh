#!/bin/bash
# The hot kernels neither spill nor keep a stack frame on any target, and read 16 bytes at a time: what ptxas said when
# `make cuda` compiled them, and their PTX. First that the check can fail, on reports made up here.
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rc=0
say() { if [ "$2" = 1 ]; then echo "ok - $1"; else echo "not ok - $1"; rc=1; fi; }

mkdir -p "$work/cuda/kernels/cuda" "$work/ptx"
echo "made.cu sum wide" >"$work/list"
report() {      # NAME STACK STORES
    cat >"$work/cuda/kernels/cuda/made.o.ptxas" <<EOF
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZL${#1}$1ILi4EEvPKfPf' for 'sm_90'
ptxas info    : Function properties for _ZL${#1}$1ILi4EEvPKfPf
    $2 bytes stack frame, $3 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers
EOF
}
ptx() { printf '.visible .entry _ZL3sumILi4EEvPKfPf(\n{\n %s {%%f1, %%f2, %%f3, %%f4}, [%%rd1];\n}\n' "$1" >"$work/ptx/made.ptx"; }
passes() { tools/check_ptxas "$work" "$work/list" >"$work/out" 2>&1; }
report sum 0 0; ptx ld.global.nc.v4.f32
passes; say "a report without spills passes" $(($? == 0))
grep -q "at most 40 registers" "$work/out"; say "... and its registers are told" $(($? == 0))
report sum 8 0; passes; say "a stack frame is refused" $(($? != 0))
report sum 0 4; passes; say "a spill is refused" $(($? != 0))
report checksum 0 0; passes; say "a kernel that is missing is refused, also where another ends in its name" $(($? != 0))
report sum 0 0; ptx ld.global.f32; passes; say "loads of 4 bytes alone are refused" $(($? != 0))
ptx ld.shared.v4.f32; passes; say "... and those of shared memory do not count" $(($? != 0))
rm "$work/cuda/kernels/cuda/made.o.ptxas"; passes; say "a file without a report is refused" $(($? != 0))

nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)}
if [ -z "$nvcc" ] || [ ! -f "$build/libsluice-cuda.so" ]; then
    echo "ok - the hot kernels of this build # SKIP no $([ -z "$nvcc" ] && echo nvcc || echo "$build/libsluice-cuda.so: make cuda")"
    exit $rc
fi
mkdir -p "$build/ptx"
for file in $(awk '$3 == "wide" {print $1}' tests/cuda/hot_kernels.txt | sort -u); do
    ptx=$build/ptx/${file%.cu}.ptx
    [ "$ptx" -nt "kernels/cuda/$file" ] && [ "$ptx" -nt "$build/libsluice-cuda.so" ] && continue
    echo "$file $ptx"
done | xargs -r -P "$(nproc)" -L1 bash -c '"$0" -std=c++20 -O3 --fmad=false -I. --expt-relaxed-constexpr \
    -arch=compute_90 -ptx "kernels/cuda/$1" -o "$2" || rm -f "$2"' "$nvcc"
for file in $(awk '$3 == "wide" {print $1}' tests/cuda/hot_kernels.txt | sort -u); do
    [ -f "$build/ptx/${file%.cu}.ptx" ]; say "$file has PTX" $(($? == 0))
done
tools/check_ptxas "$build" || rc=1
exit $rc
