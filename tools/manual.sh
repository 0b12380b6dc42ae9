#!/bin/sh
# Rewrites the committed manuals and the JSON schema from the program's own tables. With --check it
# compares instead and says which differ. BUILD names the build folder.
set -eu
cd "$(dirname "$0")/.."
sluice=${BUILD:-build}/sluice
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
page() {        # FILE ARGUMENTS...: what `sluice schema ARGUMENTS` prints is FILE
    file=$1; shift
    "$sluice" schema "$@" >"$work/page"
    if [ "$mode" = write ]; then
        cp "$work/page" "$file"
    elif cmp -s "$work/page" "$file"; then
        echo "ok - $file is what the tables say"
    else
        echo "not ok - $file is not what the tables say; run: make manual"
        diff "$file" "$work/page" | head -20 | sed 's/^/# /'
        bad=1
    fi
}
mode=write
[ "${1:-}" = --check ] && mode=check
page schemas/MANUAL.md --manual schemas
page nodes/MANUAL.md --manual nodes
page schemas/topology.schema.json
exit $bad
