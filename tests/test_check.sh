#!/bin/bash
# Every topology in tests/bad is refused with exit 78 and exactly the problems its comment says:
# "# expect LINE:COLUMN: words", one comment per problem, words from the left. good.yaml is accepted.
cd "$(dirname "$0")/.." || exit 2
sluice=${SLUICE:-${BUILD:-build}/sluice}
unset SLUICE_TEST_UNSET
export SLUICE_TEST_KEY=hush-hush
bad=0
for f in tests/bad/*.yaml; do
    name=$(basename "$f" .yaml)
    told=$("$sluice" check "$f" 2>&1 >/dev/null); rc=$?
    why=
    want=0
    while read -r line; do
        want=$((want + 1))
        grep -qF -- "$f:$line" <<<"$told" || why="'$line' is not said"
    done < <(sed -n 's/^# expect //p' "$f")
    [ "$(grep -c . <<<"$told")" = "$want" ] || why="${why:-$want problems belong here}"
    grep -q hush-hush <<<"$told" && why="a secret is printed"
    if [ "$name" = good ]; then
        [ $rc = 0 ] || why="exit $rc"
    elif [ $rc != 78 ]; then
        why="exit $rc instead of 78"
    fi
    if [ -n "$why" ]; then
        echo "not ok - check $name: $why"; sed 's/^/#   /' <<<"$told"; bad=1
    else
        echo "ok - check $name"
    fi
done
exit $bad
