#!/bin/bash
# House rules of a page: functions of at most 70 lines (enforced), no tabs or spaces at line ends
# (enforced); lines of at most 100 columns and files of at most 600 lines (counted, told with --list).
cd "$(dirname "$0")/.." || exit 2
list=${1:-}
mapfile -t files < <(find base schemas graph nodes kernels commands tests tools -name "*.[ch]" -o -name "*.def" -o -name "*.cu" -o -name "*.cuh" -o -name "*.cc" | sort)
bad=0
long=$(awk 'FNR == 1 { start = 0 } /^\{/ { start = FNR }
    /^\}/ { if (start && FNR - start > 70) print FILENAME ":" start ": a function of " FNR - start " lines"; start = 0 }' "${files[@]}")
blank=$(grep -nE "$(printf '\t')|[ ]+\$" "${files[@]}")
wide=$(awk 'length > 100 { print FILENAME ":" FNR ": " length " columns" }' "${files[@]}")
big=$(wc -l "${files[@]}" | awk '$2 != "total" && $1 > 600 { print $2 ": " $1 " lines" }')
for what in "$long" "$blank"; do
    [ -z "$what" ] || { echo "$what"; bad=1; }
done
echo "# $(grep -c . <<<"$wide") lines above 100 columns, $(grep -c . <<<"$big") files above 600 lines"
[ "$list" != --list ] || printf '%s\n%s\n' "$wide" "$big"
exit $bad
