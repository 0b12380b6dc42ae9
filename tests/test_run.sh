#!/bin/bash
# A run and the commands that talk to it: status, restart, a second supervisor, a dead supervisor, drain, set, stop, logs, trace.
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
rollouts 150 1 >rollouts.jsonl
topology 4 >slow.yaml
topology 400 >fast.yaml

# ---- undisturbed: what comes out, and everything at rest ----
"$SLUICE" run fast.yaml --run calm >calm.out 2>&1
same "a run ends with exit code 0" $? 0
check "audit at rest" audit_ok calm
same "audit names the ordinals read" "$("$SLUICE" audit calm --json | sed 's/.*"read":\([0-9]*\).*/\1/')" 600
same "a finished run is done" "$(run_state calm)" done
same "each process of a finished run is finished" "$("$SLUICE" status calm --json | grep -o '"state":"finished"' | wc -l)" 5
shape='^\{"run":"[^"]*","state":"done","supervisor":\{"pid":null,"epoch":1\},"nodes":\[\{"id":"rollouts","replica":0,"kind":"reader","pid":null,"state":"finished","why":"[^"]*","epoch":1,"restarts":0,"in":[0-9]*,"out":600,"in_flight":0,"dead":0\},'
"$SLUICE" status calm --json >status.json
check "status --json has the promised shape" grep -qE "$shape" status.json
"$SLUICE" run fast.yaml --run calm >/dev/null 2>&1
same "running a finished run again does nothing and succeeds" $? 0
same "... and changes nothing" "$(wc -l <calm/out.jsonl)" 600
check "trace by id shows the votes" grep -q 'calc: 0.000, 16 + 7 = 24: it is 23' <("$SLUICE" trace calm r3-1)
check "trace by ordinal shows the labels" grep -qE 'incorrect|correct' <("$SLUICE" trace calm 13)
check "logs holds the lines of every process" grep -q '"node":"gems"' <("$SLUICE" logs calm --grep start)
check "logs of one node holds no other's" sh -c "! '$SLUICE' logs calm gems | grep -q '\"node\":\"calc\"'"
sed 's/method: line/method: sentence/' fast.yaml >changed.yaml
"$SLUICE" run changed.yaml --run calm >changed.out 2>&1
same "a changed topology is refused with exit code 78" $? 78
check "... with the difference" grep -q "node 'steps': option 'method'" changed.out
check "... and the replay that would apply it" grep -q "sluice replay .* steps --set 'steps.method=sentence' --into NEW" changed.out
echo 'nodes: 7' >bad.yaml
"$SLUICE" run bad.yaml --run bad >/dev/null 2>&1
same "a bad topology is refused with exit code 78" $? 78
check "... before anything is made" test ! -e bad
mkdir foreign && echo mine >foreign/notes
"$SLUICE" run fast.yaml --run foreign >foreign.out 2>&1
same "a folder with other things in it is refused" "$? $(ls foreign)" "2 notes"

# ---- disturbed by commands ----
"$SLUICE" run slow.yaml --run run >run.out 2>&1 &
supervisor=$!
wait_for 20 settled_at_least run out 20
"$SLUICE" run slow.yaml --run run >second.out 2>&1
same "a second supervisor is refused" $? 1
check "... with the pid of the first" grep -q "pid $supervisor" second.out
before=$(for n in rollouts steps gems out; do pid_of run $n; done)
old=$(pid_of run calc)
check "restart of one node" "$SLUICE" restart run calc
check "... gives it another pid" test "$(pid_of run calc)" != "$old"
same "... and leaves the others' pids" "$(for n in rollouts steps gems out; do pid_of run $n; done)" "$before"
check "a live option is set" "$SLUICE" set run out.log_level=debug
check "... and recorded" grep -q '"debug"' run/plan.json
"$SLUICE" set run steps.method=sentence >set.out 2>&1
same "a fixed option is refused" $? 1
check "... naming replay" grep -q 'sluice replay' set.out
check "audit while it runs" audit_ok run

# ---- the supervisor dies, the processes live ----
before=$(for n in rollouts steps calc gems out; do pid_of run $n; done)
kill -9 $supervisor
wait $supervisor 2>/dev/null
check "processes outlive their supervisor" lives run gems
same "status works without a supervisor" "$(run_state run)" unattended
check "audit works without a supervisor" audit_ok run
"$SLUICE" run slow.yaml --run run >>run.out 2>&1 &
supervisor=$!
wait_for 20 supervisor_is_new run 0
same "the next supervisor adopts them" "$(for n in rollouts steps calc gems out; do pid_of run $n; done)" "$before"

# ---- stop one, start it again; drain; continue ----
check "stop of one node" "$SLUICE" stop run calc
same "... keeps it down" "$(state_of run calc)" held
check "restart starts it again" "$SLUICE" restart run calc
check "drain" "$SLUICE" drain run
wait $supervisor
same "... ends the supervisor with exit code 0" $? 0
same "a drained run is stopped" "$(run_state run)" stopped
check "... with nothing in flight" grep -q '"out":{"samples":[0-9]*,"closed":{},"in_flight":0}' <("$SLUICE" audit run --json)
"$SLUICE" run slow.yaml --run run >>run.out 2>&1 &
supervisor=$!
wait_for 20 supervisor_is_new run 0
kill -TERM $supervisor
wait $supervisor
same "SIGTERM drains, exit code 143" $? 143
topology 400 >slow.yaml
"$SLUICE" run slow.yaml --run run --detach >detached.out 2>&1
same "the run goes on in the background" $? 0
wait_for 60 over run
same "... to its end" "$(run_state run)" done
same "and what came out is what came out undisturbed" "$(outcome run)" "$(outcome calm)"
check "audit at the end" audit_ok run
exit $((failures > 0))
