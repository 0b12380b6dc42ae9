#!/bin/bash
# What a supervisor leaves behind when it is killed in the middle of something, and what the next one makes of it.
. "$(dirname "$0")/whole.sh"
rollouts 60 3 >"$work/rollouts.jsonl"
topology 8 >"$work/flow.yaml"
"$SLUICE" run "$work/flow.yaml" --run "$work/calm" >"$work/calm.out" 2>&1

same "a run that is over leaves no sockets" "$(find "$XDG_RUNTIME_DIR" -type s | wc -l)" 0

# A drain cannot end while the sink stands still; the supervisor that ordered it dies; the next goes on with the same processes.
run=$work/drained
"$SLUICE" run "$work/flow.yaml" --run "$run" >"$work/out" 2>&1 &
first=$!
wait_for 20 settled_at_least "$run" out 8
sink=$(pid_of "$run" out)
kill -STOP "$sink"
"$SLUICE" drain "$run" >/dev/null 2>&1 &
asker=$!
draining() { [ "$(state_of "$run" rollouts)" = draining ]; }
wait_for 20 draining
kill -9 $first
wait $first 2>/dev/null
kill -9 $asker 2>/dev/null; wait $asker 2>/dev/null
kill -CONT "$sink"
"$SLUICE" run "$work/flow.yaml" --run "$run" >>"$work/out" 2>&1 &
second=$!
wait_for 30 over "$run" || "$SLUICE" status "$run" --json
same "a drain does not outlive the supervisor that ordered it" "$(run_state "$run")" done
same "... and nothing was started again for it, nor because it left" \
    "$("$SLUICE" status "$run" --json | tr '{' '\n' | grep -c '"restarts":0,')" 5
same "... the same lines" "$(outcome "$run")" "$(outcome "$work/calm")"
check "... audited" audit_ok "$run"
[ $failures -eq 0 ] || kill $second 2>/dev/null
wait $second

# A store that is lost while the run is at rest cannot be made up for: the run says so, and pauses.
run=$work/lost
"$SLUICE" run "$work/flow.yaml" --run "$run" >"$work/out" 2>&1 &
first=$!
wait_for 20 settled_at_least "$run" out 40
"$SLUICE" stop "$run" >/dev/null 2>&1
wait $first
rm -r "$run/stores/calc.0"
"$SLUICE" run "$work/flow.yaml" --run "$run" --on-pause exit >"$work/out" 2>&1
same "a lost store pauses the run" $? 75
grep -q "stores have diverged: consumer '" "$work/out"; same "... and is named" $? 0
[ $failures -eq 0 ] || cat "$work/out"

# A run whose folder is removed under it, its supervisor killed: nobody will ever ask for these processes again.
run=$work/removed
"$SLUICE" run "$work/flow.yaml" --run "$run" >"$work/out" 2>&1 &
first=$!
wait_for 20 settled_at_least "$run" out 8
left=$("$SLUICE" status "$run" --json | tr '{' '\n' | sed -n 's/^.*"replica".*"pid":\([0-9]*\).*/\1/p')
kill -9 $first
wait $first 2>/dev/null
rm -r "$run"
all_gone() { local p; for p in $left; do is_pid "$p" && kill -0 "$p" 2>/dev/null && return 1; done; return 0; }
check "processes end whose run was removed ($(echo $left | wc -w))" wait_for 20 all_gone
exit $((failures > 0))
