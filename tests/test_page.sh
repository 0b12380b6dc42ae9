#!/bin/bash
# The rooms include downwards only, and pages keep the house rules that are enforced.
cd "$(dirname "$0")/.." || exit 2
rc=0
for check in check_layers check_page; do
    if out=$(tools/$check.sh 2>&1); then
        echo "ok - tools/$check.sh"
    else
        echo "not ok - tools/$check.sh"; rc=1
    fi
    [ -z "$out" ] || sed 's/^#* */# /' <<<"$out"
done
exit $rc
