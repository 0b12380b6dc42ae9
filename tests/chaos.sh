#!/bin/bash
# chaos N SEED [TOPOLOGY]: runs a topology undisturbed once, then again with N kills (-9) spread over its progress, every process and
# the supervisor at least twice, and compares what came out, and audits. LEAD: how far the reader may be ahead (default 1: one group), so that
# the stages work side by side. JUDGE=http puts the topology's llm_judge behind a server with a ledger (ledger.sh), IN_FLIGHT calls at
# once (default 4), each up to LATENCY seconds (default 0.1). KEEP=1 keeps the folder. Prints TAP; exit code 1 when anything differs.
. "$(dirname "$0")/whole.sh"
. "$(dirname "$0")/ledger.sh"
kills=${1:-20} seed=${2:-1} given=${3:-}
lead=${LEAD:-1} http= in_flight=${IN_FLIGHT:-4} latency=${LATENCY:-0.1} judge=none server_pid= supervisor= file=
[ "${JUDGE:-}" != http ] || http=1
leave() {
    [ -z "$supervisor" ] || kill -CONT "$supervisor" 2>/dev/null
    [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null
    [ -z "$given" ] || rm -f "$file"
    tidy
}
trap leave EXIT

random() {  # 0 ... $1 - 1, from the seed and a counter
    draws=$((${draws:-0} + 1))
    awk -v s="$seed" -v d="$draws" -v n="$1" 'BEGIN { srand(s * 100003 + d); rand(); print int(rand() * n) }'
}

if [ -n "$given" ]; then
    file=$(dirname "$given")/.chaos-$$.yaml     # beside it, for relative paths
    grep -v '^max_lead:' "$given" | sed "s/^nodes:/max_lead: $lead\nnodes:/" >"$file"
else
    rollouts "${GROUPS_OF_4:-300}" 1 >"$work/rollouts.jsonl"
    topology "$lead" >"$work/flow.yaml"
    file=$work/flow.yaml
fi

if [ "$http" ]; then
    [ -x "$server" ] || { echo "ok - chaos with a judge behind HTTP # SKIP tools/judge_server is not built"; exit 0; }
    behind_http "$file" "$in_flight" >"$file.http"; rc=$?
    mv "$file.http" "$file"
    [ $rc = 0 ] || { not_ok "$file has one llm_judge, its options on one line"; exit 1; }
    judge=$(awk '/^ *- / { id = "" } match($0, /id: *[^ ,}]+/) { id = substr($0, RSTART + 4, RLENGTH - 4) } /kind: *llm_judge/ { print id }' "$file")
    serve "$work/calm.ledger" "$latency"
fi
start=$(date +%s%N)
"$SLUICE" run "$file" --run "$work/calm" >"$work/calm.out" 2>&1 || { cat "$work/calm.out"; not_ok "the undisturbed run"; exit 1; }
calm=$((($(date +%s%N) - start) / 1000000))
echo "# undisturbed: $calm ms; outcome $(outcome "$work/calm" | tr '\n' ' ')"
[ -z "$http" ] || calls_wanted=$(different_calls "$work/calm.ledger" | wc -l)

supervise() {
    "$SLUICE" run "$file" --run "$work/wild" >>"$work/wild.out" 2>&1 &
    supervisor=$!
}

# The living victim that was killed least; the supervisor is one of them. Prints "name pid".
declare -A count
victim() {
    local best= least=1000000 name pid n id replica rest
    local list
    list=$("$SLUICE" status "$work/wild" --json 2>/dev/null | tr '{' '\n' | sed -n 's/^"id":"\([^"]*\)","replica":\([0-9]*\),"kind":"\([^"]*\)","pid":\([0-9]*\),.*/\1.\2 \4 \3/p')
    list="$list
supervisor $supervisor x"
    while read -r name pid rest; do
        [ -n "$name" ] && is_pid "$pid" || continue
        # Among equals those go first that live shortest: sources, then stages, by the seed; learners and the supervisor stay.
        n=$((${count[$name]:-0} * 1000 + $(random 400)))
        case $rest in reader) n=$((n - 500));; learner|sink|x) n=$((n + 500));; esac
        [ "$name" != "$judge.0" ] || n=$((n - 1000))    # once more than the others
        [ $n -lt $least ] && { least=$n; best="$name $pid"; }
    done <<<"$list"
    echo "$best"
}

nap() { read -rt "$1" <> <(:) || true; }      # the clock itself is what a kill waits for

# One disturbed run in $work/wild, with gaps between kills scaled by $1. Sets done_kills, few, rc.
disturb() {
    local scale=$1 tries=0 pace share name pid i id
    rm -rf "$work/wild"
    count=()
    done_kills=0
    [ -z "$http" ] || serve_again "$work/wild.ledger" "$latency"
    supervise
    wait_for 30 test -f "$work/wild/state.json"
    while [ $done_kills -lt "$kills" ] && [ $((tries += 1)) -le $((kills * 10)) ]; do
        i=$((done_kills + 1))
        # On average 0.7 of the undisturbed time holds all kills, so that the last still falls into the run. The stages live
        # shorter than learners: kills come twice as fast until each of them had its two.
        pace=1.4; [ $done_kills -lt $((2 * stages)) ] && pace=0.7
        share=$(awk -v t="$calm" -v n="$kills" -v r="$(random 1000)" -v p=$pace -v s="$scale" \
            'BEGIN { printf "%.3f", s * (0.3 + p * r / 1000) * 0.7 * t / n / 1000 }')
        [ $tries = 1 ] || nap "$share"
        kill -0 $supervisor 2>/dev/null || break
        read -r name pid < <(victim)
        is_pid "${pid:-}" || continue
        if [ "$name" = "$judge.0" ]; then
            kill_judge "$work/wild" "$judge" "$pid" "$supervisor" "$work/wild.ledger" || continue
        else
            kill -9 "$pid" 2>/dev/null || continue
        fi
        count[$name]=$((${count[$name]:-0} + 1))
        done_kills=$i
        if [ "$name" = supervisor ]; then
            wait $supervisor 2>/dev/null
            supervise
            back() { supervisor_is_new "$work/wild" "$pid" || over "$work/wild"; }
            wait_for 20 back
        fi
        if [ $((i % 7)) = 0 ]; then
            audit_ok "$work/wild" || { not_ok "audit while it runs, after $i kills"; "$SLUICE" audit "$work/wild" --json; }
        fi
    done
    wait_for "${CHAOS_SECONDS:-240}" over "$work/wild"
    wait $supervisor
    rc=$?
    few=
    for id in $victims; do
        for name in "${!count[@]}"; do case $name in "$id"|"$id".*) continue 2;; esac; done
        few="$few $id"
    done
    for name in "${!count[@]}"; do [ "${count[$name]}" -ge 2 ] || few="$few $name"; done
    [ "$kills" -ge $((2 * stages + 2)) ] || few=
}

victims="$(grep -o '"id": *"[^"]*"' "$work/calm/plan.json" | sed 's/.*"\([^"]*\)"$/\1/') supervisor"
stages=$(echo $victims | wc -w)
# How fast a run goes depends on the machine's other work: where it was over before all kills, it is disturbed again, faster.
for scale in 1 0.6 0.35 0.2; do
    disturb $scale
    for name in "${!count[@]}"; do echo "# $name: ${count[$name]} kills"; done
    { [ $done_kills -eq "$kills" ] && [ -z "$few" ]; } || [ "$rc" != 0 ] ||
        [ "$(outcome "$work/wild")" != "$(outcome "$work/calm")" ] || ! audit_ok "$work/wild" || { echo "# once more"; continue; }
    break
done
same "the disturbed run ends with exit code 0" "$rc" 0
check "all $kills kills fell into the run ($done_kills)" test "$done_kills" -eq "$kills"
[ "$kills" -lt $((2 * stages + 2)) ] || check "every process and the supervisor was killed at least twice$few" test -z "$few"
same "the same bytes come out" "$(outcome "$work/wild")" "$(outcome "$work/calm")"
check "audit of the undisturbed run" audit_ok "$work/calm"
check "audit of the disturbed run" audit_ok "$work/wild"
[ -z "$http" ] || ledgers_agree "$work/calm.ledger" "$work/wild.ledger" "$in_flight"
[ $failures -eq 0 ] || { tail -5 "$work/wild.out"; "$SLUICE" status "$work/wild" --json; "$SLUICE" audit "$work/wild"; }
exit $((failures > 0))
