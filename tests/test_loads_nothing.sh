#!/bin/bash
# A program without a device loads no CUDA: build/sluice is linked with none of it, and a run whose learner says `device: cpu`
# maps none of it, in any of its processes. libsluice-cuda.so itself wants nothing but C's libraries: driver and cuBLASLt are
# looked up when they are used.
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}
sluice=${SLUICE:-$PWD/$build/sluice}
rc=0
say() { if [ "$2" = 1 ]; then echo "ok - $1"; else echo "not ok - $1"; rc=1; fi; }
work=$(mktemp -d /tmp/sluice-loads.XXXXXX) && trap 'rm -rf "$work"' EXIT
export XDG_RUNTIME_DIR=$work/sockets
mkdir -m 700 "$XDG_RUNTIME_DIR"
cuda='libcuda|libcudart|libcublas|libnv|libsluice-cuda'

ldd "$sluice" >"$work/ldd" 2>&1
say "the program is linked with no CUDA library" $((! $(grep -cE "$cuda" "$work/ldd")))
say "... and that was seen" "$(grep -c 'libzmq' "$work/ldd")"

for ((g = 0; g < 4; g++)); do
    for ((k = 0; k < 2; k++)); do
        printf '{"prompt":"%d+2=?\\n","response":"%d\\n","reward":%d}\n' $g $((g + 2 + k)) $((1 - k))
    done
done >"$work/all.jsonl"
cat >"$work/flow.yaml" <<YAML
name: loads
nodes:
  - {id: rollouts, kind: reader, with: {path: all.jsonl, group_by: prompt, group_size: 2}}
  - id: policy
    kind: learner
    inputs: {passed: rollouts/out}
    with: {tokenizer: $PWD/examples/arith/tokenizer, eos_token: "<eos>", width: 16, layers: 1, heads: 2, positions: 32,
           lr: 1e-3, batch_rollouts: 8, batch_tokens: 128, objective: sft, device: cpu}
YAML
(cd "$work" && LD_DEBUG=files LD_DEBUG_OUTPUT=$work/ld timeout 60 "$sluice" run flow.yaml --run run >out 2>&1 </dev/null)
say "a learner on the processor trains" $(($? == 0))
[ $rc = 0 ] || sed 's/^/# /' "$work/out" | tail -5
processes=$(ls "$work"/ld.* 2>/dev/null | wc -l)
say "... in processes whose loading is seen" $((processes >= 3))
loaded=$(grep -hE 'calling init|generating link map' "$work"/ld.* | grep -E "$cuda" | head -3)
say "... and none of them loads CUDA${loaded:+: $loaded}" $((${#loaded} == 0))

for library in "$build"/libsluice-cuda.so; do
    [ -f "$library" ] || { echo "ok - what libsluice-cuda.so wants # SKIP it is not built"; continue; }
    wants=$(readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -vE '^(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|ld-linux.*)\.so' | tr '\n' ' ')
    say "libsluice-cuda.so wants C's libraries alone${wants:+: $wants}" $((${#wants} == 0))
    for name in $(sed -n 's/^CALL(\(.*\))$/\1/p' kernels/sluice_cuda.def); do
        nm -D --defined-only "$library" | grep -q " $name\$" || { say "libsluice-cuda.so exports $name" 0; }
    done
    others=$(nm -D --defined-only "$library" | awk '{print $NF}' | grep -vxF "$(sed -n 's/^CALL(\(.*\))$/\1/p' kernels/sluice_cuda.def)" | head -3 | tr '\n' ' ')
    say "... and exports the header's functions alone${others:+: $others}" $((${#others} == 0))
done
exit $rc
