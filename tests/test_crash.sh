#!/bin/bash
# Crashes of a node's own count and make it careful; kills do not; a node that cannot start fails the run with its last words; a
# supervisor without a memory reaps what it cannot adopt; a second signal stops at once.
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
rollouts 150 1 >rollouts.jsonl
topology 4 >slow.yaml
topology 400 >fast.yaml
"$SLUICE" run fast.yaml --run calm >calm.out 2>&1
same "undisturbed" $? 0

supervise() { "$SLUICE" run "$2" --run "$1" >>"$1.out" 2>&1 & supervisor=$!; wait_for 20 supervisor_is_new "$1" "${3:-0}"; }
lives_anew() { local pid; pid=$(pid_of "$1" "$2"); is_pid "$pid" && [ "$pid" != "$3" ]; }
supervise run slow.yaml
wait_for 20 settled_at_least run out 20
old=$(pid_of run calc)
kill -9 "$old"
wait_for 20 lives_anew run calc "$old"
check "a killed node is not taken for a crashed one" sh -c "! grep -q 'one at a time' run/supervisor.log"
old=$(pid_of run calc)
kill -SEGV "$old"
wait_for 20 lives_anew run calc "$old"
check "a crashed one takes its messages one at a time" grep -q 'calc.0: .*one at a time' run/supervisor.log
kill -ABRT "$(pid_of run out)"

# ---- no memory of what was started: everything is reaped, and started again ----
old=$(pid_of run rollouts)
kill -9 $supervisor
wait $supervisor 2>/dev/null
rm run/state.json
supervise run slow.yaml $supervisor
check "processes that cannot be adopted are reaped first" wait_for 20 lives_anew run rollouts "$old"
check "... for they are gone (or wait for their parent)" sh -c "! grep -qs ') [^ZX]' /proc/$old/stat"
now=$(in_of run out)
check "the stream goes on" wait_for 20 settled_at_least run out $((${now:-0} + 20))
kill -INT $supervisor
kill -INT $supervisor
wait $supervisor
same "two ^C stop, exit code 130" $? 130
check "nothing lives after that" sh -c "! '$SLUICE' status run --json | grep -q '\"pid\":[0-9]'"
"$SLUICE" run slow.yaml --run run >>run.out 2>&1 &
supervisor=$!
wait_for 20 supervisor_is_new run 0
check "stop from outside" "$SLUICE" stop run
wait $supervisor
same "... ends the supervisor with exit code 0" $? 0
sed -i 's/max_lead: 4$/max_lead: 400/' slow.yaml
"$SLUICE" run slow.yaml --run run >>run.out 2>&1
same "and it ends" $? 0

# ---- a store that is no store ----
supervise broken slow.yaml
wait_for 20 over broken
rm -rf broken
topology 4 >slow.yaml
supervise broken slow.yaml
wait_for 20 settled_at_least broken out 20
check "stop" "$SLUICE" stop broken
wait $supervisor
head -c 8192 /dev/zero >broken/stores/gems.0/data.mdb
"$SLUICE" run slow.yaml --run broken >broken.out 2>&1
same "a node that cannot start fails the run" $? 1
check "... with its last words" grep -q "gems.0 keeps crashing: .*gems" broken.out
same "... and the state says so" "$(run_state broken)" failed
check "... nothing lives after that" sh -c "! '$SLUICE' status broken --json | grep -q '\"pid\":[0-9]'"

same "the crashed run gave the same bytes" "$(outcome run)" "$(outcome calm)"
check "... and its audit" audit_ok run
# ---- a limit on files: no death that looks like a kill and is repeated for ever ----
(ulimit -f 16; timeout 30 "$SLUICE" run fast.yaml --run limited >limited.out 2>&1)
same "a run whose files may not grow fails" $? 1
check "... with the reason" grep -q 'failed: .*File too large' limited.out
exit $((failures > 0))
