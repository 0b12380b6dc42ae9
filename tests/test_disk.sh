#!/bin/bash
# A full disk pauses the run, says so, and the run goes on when there is room; nothing is lost (P6).
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
mkdir small
if ! mount -t tmpfs -o size=6m none small 2>/dev/null; then
    echo "ok - a full disk # SKIP mount is not permitted"
    exit 0
fi
trap '"$SLUICE" stop small/run >/dev/null 2>&1; umount -l small; tidy' EXIT
rollouts 1500 1 >rollouts.jsonl
topology 4000 >flow.yaml
"$SLUICE" run flow.yaml --run calm >calm.out 2>&1
same "with room" $? 0
export SLUICE_DISK_RESERVE=1000000
"$SLUICE" run flow.yaml --run small/run --on-pause exit >small.out 2>&1
same "--on-pause exit leaves with exit code 75" $? 75
same "... a paused run" "$(run_state small/run)" paused
check "... and says why" grep -qE 'paused: .*(disk|space|full)' small.out
"$SLUICE" run flow.yaml --run small/run >>small.out 2>&1 &
supervisor=$!
paused() { [ "$(run_state small/run)" = paused ]; }
check "a full disk pauses the run" wait_for 40 paused
says_why() { "$SLUICE" status small/run --json | tr '{' '\n' | grep '"state":"paused"' | tee -a why | grep -qE 'disk|space|full'; }
check "... and status says why" wait_for 20 says_why
check "... while the supervisor lives" kill -0 $supervisor
mount -o remount,size=200m small
check "with room again it ends" wait_for 60 over small/run
wait $supervisor
same "... with exit code 0" $? 0
same "... and nothing is lost" "$(outcome small/run)" "$(outcome calm)"
check "... nor doubled" audit_ok small/run
exit $((failures > 0))
