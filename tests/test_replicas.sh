#!/bin/bash
# Replicas of a judge, 1, 2, 4, and 2 to 3 and back to 1 in the middle: the same bytes; crash-safe while it changes.
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
rollouts 150 1 >rollouts.jsonl
judged() {  # LEAD REPLICAS
    topology "$1" | sed "s/kind: calc_judge,/kind: calc_judge, replicas: $2,/"
}
for n in 1 2 4; do
    judged 200 $n >flow$n.yaml
    "$SLUICE" run flow$n.yaml --run r$n >r$n.out 2>&1
    same "$n replicas: exit code 0" $? 0
    check "$n replicas: audit" audit_ok r$n
    [ $n = 1 ] || same "$n replicas: the same bytes as 1" "$(outcome r$n)" "$(outcome r1)"
done

judged 4 2 >slow.yaml
"$SLUICE" run slow.yaml --run run >run.out 2>&1 &
supervisor=$!
wait_for 20 settled_at_least run out 40
reader=$(pid_of run rollouts) sink=$(pid_of run out)
check "2 to 3 replicas in the middle" "$SLUICE" set run calc.replicas=3
check "the third lives" lives run calc 2
same "the reader goes on as it was" "$(pid_of run rollouts)" "$reader"
same "so does the sink" "$(pid_of run out)" "$sink"
now=$(in_of run out)
wait_for 20 settled_at_least run out $((now + 40))
check "audit with three" audit_ok run
more_than_none() { local n; n=$(in_of run calc 2); [ "${n:-0}" -gt 0 ]; }
check "the third works" wait_for 10 more_than_none
# A supervisor that dies in the middle of a change: the next one finishes it, or lets the reader go on.
"$SLUICE" set run calc.replicas=1 >set.out 2>&1 &
asked=$!
kill -9 $supervisor
wait $supervisor 2>/dev/null
wait $asked
"$SLUICE" run slow.yaml --run run >>run.out 2>&1 &
supervisor=$!
now=$(in_of run out)
wait_for 20 supervisor_is_new run 0
check "the stream goes on after a supervisor died in a change" wait_for 20 settled_at_least run out $((${now:-0} + 40))
"$SLUICE" set run calc.replicas=1 >set.out 2>&1
same "to 1 replica" $? 0
"$SLUICE" set run out.replicas=2 >set.out 2>&1
same "a terminal has one replica only" $? 1
wait $supervisor
same "the changed run ends with exit code 0" $? 0
same "the changed run: the same bytes" "$(outcome run)" "$(outcome r1)"
check "the changed run: audit" audit_ok run

# After the reader has left no row can begin; the asker is told at once.
judged 4000 2 >fast.yaml
"$SLUICE" run fast.yaml --run late >late.out 2>&1 &
supervisor=$!
wait_for 20 supervisor_is_new late 0
wait_for 20 lives late out 0
kill -STOP "$(pid_of late out)"
reader_left() { [ "$(state_of late rollouts)" = finished ]; }
if wait_for 20 reader_left; then
    "$SLUICE" set late calc.replicas=3 >late.set 2>&1
    same "replicas after the end are refused" $? 1
    check "... with the reason" grep -q 'ended' late.set
else
    not_ok "the reader leaves while the sink stands still"
fi
kill -CONT "$(pid_of late out)"
wait $supervisor
same "... and the run ends well" $? 0
same "... with the same bytes" "$(outcome late)" "$(outcome r1)"
exit $((failures > 0))
