#!/bin/bash
# The door to PyTorch: the ctypes mirror is what the headers say, a change of a header is noticed, and, where torch is
# installed ($PYTHON or python3), the fused loss is autograd's: on a GPU, else on the simulated device.
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}
python=${PYTHON:-python3}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rc=0
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
if ! "$python" -c 'import ctypes, math' 2>/dev/null; then
    echo "ok - the ctypes mirror of the headers # SKIP no $python with ctypes"
    exit 0
fi
"$python" tools/check_mirror.py || rc=1

mkdir -p "$work/kernels"
changed() {     # WHAT SED FILE: the check must not pass on such a header
    cp kernels/sluice_cuda.h kernels/objective_kind.h kernels/objective.def "$work/kernels/"
    sed -i "$2" "$work/kernels/$3"
    if cmp -s "$work/kernels/$3" "kernels/$3"; then
        echo "not ok - $1: the test changed nothing"; rc=1
    elif "$python" tools/check_mirror.py "$work" >"$work/out" 2>&1; then
        echo "not ok - $1 is noticed"; rc=1
    else
        echo "ok - $1 is noticed"
    fi
}
changed "a field of another size" 's/int64_t chunk_rows;  /int32_t chunk_rows;  /' sluice_cuda.h
changed "two fields that changed places" 's/double groups;  /double tokens_;  /; s/double tokens;  /double groups;  /' objective_kind.h
changed "another default" 's/^OBJECTIVE(dapo,/OBJECTIVE(dapo_,/; s/^OBJECTIVE(cispo,/OBJECTIVE(dapo,/' objective.def
changed "a function with one more argument" 's/^int sluice_norm(struct sluice_cuda \*s, /&int more, /' sluice_cuda.h

library=$build/simt/libsluice-cuda.so
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null && library=$build/libsluice-cuda.so
timeout 120 "$python" examples/pytorch/check.py --library "$library"
case $? in
    0) ;;
    *) rc=1; echo "not ok - examples/pytorch/check.py" ;;
esac
exit $rc
