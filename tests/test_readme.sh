#!/bin/bash
# README.md keeps its word: blocks marked "<!-- run -->" run one after the other in one folder, and each line of a block
# marked "<!-- prints -->" stands in what the block before it printed. Files and commands it names exist.
cd "$(dirname "$0")/.." || exit 2
root=$PWD
sluice=${SLUICE:-$root/${BUILD:-build}/sluice}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rc=0
say() {         # NAME GOOD
    if [ "$2" = 1 ]; then echo "ok - $1"; else echo "not ok - $1"; rc=1; fi
}
mkdir "$work/bin" "$work/demo" && ln -s "$sluice" "$work/bin/sluice"
PATH=$work/bin:$PATH

awk -v dir="$work" '
    /^<!-- run -->/    { kind = "run"; next }
    /^<!-- prints -->/ { kind = "prints"; next }
    /^```/ && kind && !inside { inside = 1; file = dir "/" sprintf("%02d", ++n) "." kind; next }
    /^```/ && inside   { inside = 0; kind = ""; next }
    inside             { print > file }' README.md

for block in "$work"/*.run "$work"/*.prints; do
    [ -f "$block" ] || { say "README.md has blocks to run and to compare" 0; exit 1; }
done
last=
for block in "$work"/[0-9]*; do
    name=$(basename "$block")
    if [ "${name##*.}" = run ]; then
        last=$work/out.$name
        (cd "$work/demo" && timeout 60 bash -eu "$block") >"$last" 2>&1 </dev/null
        good=$?
        say "README.md block $name runs" $((good == 0))
        [ $good = 0 ] || sed 's/^/# /' "$last" | tail -20
    else
        while IFS= read -r line; do
            grep -qF -- "$line" "$last"; good=$?
            say "README.md block $name prints: $line" $((good == 0))
        done <"$block"
    fi
done
while read -r file; do
    [ -e "$file" ]; say "README.md names $file, which exists" $(($? == 0))
done < <(grep -oE '\]\([a-zA-Z][^):]*\)' README.md | tr -d '()]' | sort -u)
for package in $(sed -n 's/^packages="//;/^gcc make/,/"$/p' tools/setup.sh | tr -d '"$*' | tr ' ' '\n' | grep -E -- '-dev$'); do
    grep -qF "\`$package\`" README.md; say "README.md gives a reason for $package" $(($? == 0))
done
exit $rc
