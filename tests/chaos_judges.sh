#!/bin/bash
# chaos_judges ROLLOUTS KILLS [SEED]: wrong answers judged by a server that misbehaves at 30 % of its calls, in every way that
# tests/judge_server.h knows of, once undisturbed and once under so many kills -9 of the judge (every fifth of another process or the
# supervisor). Every rollout is accounted for, what comes out is the same, and the server's own ledger tells which calls were made
# again. IN_FLIGHT (32), LATENCY (0.05 s at most), TIMEOUT (1s), KEEP=1. Prints TAP and figures; exit code 1 when a line is not ok.
. "$(dirname "$0")/whole.sh"
. "$(dirname "$0")/ledger.sh"
rollouts=${1:-20000} kills=${2:-50} seed=${3:-1}
in_flight=${IN_FLIGHT:-32} latency=${LATENCY:-0.05} cache=${CACHE:-0}
server_pid='' supervisor=''
export JUDGE_KEY=sk-planted-key-that-nobody-may-see
leave() {
    [ -z "$supervisor" ] || kill -CONT "$supervisor" 2>/dev/null
    [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null
    tidy
}
trap leave EXIT
[ -x "$server" ] || { echo "ok - chaos with a misbehaving judge # SKIP tools/judge_server is not built"; exit 0; }

serve() {       # LEDGER: a fresh server; sets server_pid, exports JUDGE_URL
    : >"$1"
    "$server" --key "$JUDGE_KEY" --ledger "$1" --latency "$latency" --flaky 30 --rude 12 >"$1.port" &
    server_pid=$!
    wait_for 10 test -s "$1.port" && export JUDGE_URL="http://127.0.0.1:$(cat "$1.port")/v1"
}
quit_server() { kill "$server_pid" 2>/dev/null; wait "$server_pid" 2>/dev/null; server_pid=; }
awk -v n="$rollouts" -v s="$seed" 'BEGIN { srand(s)
    for (i = 0; i < n; i++) { a = int(rand() * 90); slip = rand() < 0.5
        printf "{\"id\":\"r%d\",\"prompt\":\"%d + 1 - 2 (%d)\",\"response\":\"%d+1=%d\\n%d-2=%d\\nso %d\",\"reward\":0}\n", \
            i, a, i, a, a + 1 + slip, a + 1 + slip, a, a } }' >"$work/rollouts.jsonl"
cat >"$work/flow.yaml" <<END
name: judged
seed: $seed
nodes:
  - {id: rollouts, kind: reader, with: {path: rollouts.jsonl, group_by: none}}
  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, with: {method: line}}
  - id: critic
    kind: llm_judge
    inputs: {in: steps/steps}
    with: {url: "\${JUDGE_URL}", model: m, api_key_env: JUDGE_KEY, in_flight: $in_flight, timeout: ${TIMEOUT:-1s}, cache_bytes: $cache}
  - {id: gems, kind: consensus, inputs: {steps: steps/steps, votes: [critic/votes]}, with: {rule: all}}
  - {id: out, kind: sink, inputs: {in: gems/out}}
END
lines() { sort "$1/out.jsonl" | sha256sum; }
dead() { "$SLUICE" dead "$1" critic --json 2>/dev/null | grep -c '"reason":"abstained'; }
calls_of() { wc -l <"$1"; }    # lines: a call and its answer
read_calls() { [ "$(calls_of "$work/wild.ledger")" -ge "$1" ] || over "$work/wild"; }
supervise() {
    "$SLUICE" run "$work/flow.yaml" --run "$work/wild" >>"$work/wild.out" 2>&1 &
    supervisor=$!
}

start=$SECONDS
serve "$work/calm.ledger"
"$SLUICE" run "$work/flow.yaml" --run "$work/calm" >"$work/calm.out" 2>&1
same "the undisturbed run ends" $? 0
quit_server
calls_wanted=$(different_calls "$work/calm.ledger" | wc -l)
calm_lines=$(calls_of "$work/calm.ledger")
echo "# undisturbed: $((SECONDS - start)) s, $(grep -c '"call"' "$work/calm.ledger") calls, $(dead "$work/calm") abstentions"

start=$SECONDS others=0 judged=0
serve "$work/wild.ledger"
supervise
wait_for 30 test -f "$work/wild/state.json"
for ((k = 1; k <= kills; k++)); do
    wait_for 120 read_calls $((k * calm_lines / (kills + 1)))
    ! over "$work/wild" || break
    if [ $((k % 5)) = 0 ]; then
        set -- supervisor rollouts steps gems out
        shift $((others++ % $#))
        victim=$1
        if [ "$victim" = supervisor ]; then
            old=$supervisor
            kill -9 "$old"; wait "$old" 2>/dev/null
            supervise
            wait_for 20 supervisor_is_new "$work/wild" "$old"
        else
            pid=$(pid_of "$work/wild" "$victim"); is_pid "$pid" && kill -9 "$pid"
        fi
        continue
    fi
    alive() { pid=$(pid_of "$work/wild" critic); is_pid "$pid" && kill -0 "$pid" 2>/dev/null; }
    wait_for 20 alive
    kill_judge "$work/wild" critic "$pid" "$supervisor" "$work/wild.ledger" && judged=$((judged + 1))
done
wait_for "${CHAOS_SECONDS:-240}" over "$work/wild"
wait "$supervisor"
same "the disturbed run ends" $? 0
supervisor=
quit_server
echo "# disturbed: $((SECONDS - start)) s, $((judged + others)) kills, $judged of them of the judge"
same "all kills fell into the run" $((judged + others)) "$kills"
check "audit of the undisturbed run" audit_ok "$work/calm"
check "audit of the disturbed run" audit_ok "$work/wild"
same "every rollout comes out once" "$(sort -u "$work/wild/out.jsonl" | wc -l)" "$rollouts"
same "the lines are those of the undisturbed run" "$(lines "$work/wild")" "$(lines "$work/calm")"
same "as many judgements were given up, each a dead letter" "$(dead "$work/wild")" "$(dead "$work/calm")"
[ "$(dead "$work/wild")" -lt $((rollouts / 50 + 10)) ] || not_ok "few judgements are given up"

# Calls beyond the first of a key that was answered, and beyond those that the server spoilt. A call whose answer was no use is made
# again with the next try of its judgement, so the last line looks at good answers alone.
flawed='"answer":"\(500\|503\|408\|429:0\|half\|nothing\|stall\)"' rude='"answer":"\(garbage\|empty\|null\|prose\|few\|many\)"'
misbehaved=$(grep '"call"' "$work/wild.ledger" | grep -vc '"answer":"ok"')
touch "$work/wild.ledger.kills"
grep -v "$flawed" "$work/wild.ledger" >"$work/answered.ledger"
grep -v "$rude" "$work/answered.ledger" >"$work/good.ledger"
cp "$work/wild.ledger.kills" "$work/answered.ledger.kills"; cp "$work/wild.ledger.kills" "$work/good.ledger.kills"
read -r good repeated unexplained caught read again < <(ledger_sums "$work/answered.ledger" 2>/dev/null)
read -r _ _ unexplained _ _ again < <(ledger_sums "$work/good.ledger")
all=$(grep -c '"call"' "$work/wild.ledger")
echo "# $all calls, $misbehaved of them misbehaved at ($((misbehaved * 100 / all)) %); $good answered, $repeated of those again;" \
    "$judged kills caught $caught in flight; $read votes read in stores at rest"
check "the server misbehaved at a quarter of the calls or more" test $((misbehaved * 4)) -ge "$all"
check "answered calls repeated: $repeated, at most $judged kills x $in_flight in flight" test "$repeated" -le $((judged * in_flight))
check "kills caught calls in flight ($caught)" test "$caught" -ge 1
check "votes were committed at the kills ($read)" test "$read" -ge 1
same "no call is repeated whose vote was in the store" "$again" 0
same "no call is repeated that was answered well $((late_us / 1000)) ms before a kill, or without a kill" "$unexplained" 0
check "the key is in no file of the runs" eval '! grep -rqF -e "$JUDGE_KEY" "$work/calm" "$work/wild" "$work"/*.out'
[ $failures -eq 0 ] || { tail -5 "$work/wild.out"; "$SLUICE" audit "$work/wild"; }
exit $((failures > 0))
