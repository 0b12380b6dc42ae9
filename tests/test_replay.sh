#!/bin/bash
# Replay (P8) at rest and of a living run: another rule, the same votes, another result, the old run untouched.
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
rollouts 100 1 >rollouts.jsonl
topology 200 "mean>=0.5" >flow.yaml
topology 200 "mean>=2" >never.yaml 2>/dev/null
"$SLUICE" run flow.yaml --run old >old.out 2>&1
same "the old run" $? 0
before=$(cd old && find stores -name data.mdb -exec sha256sum {} + | sort)
"$SLUICE" replay old gems --set gems.quorum=2 --into same >same.out 2>&1
same "a value the kind's check refuses gives exit code 78" $? 78
check "... and makes nothing" test ! -e same
"$SLUICE" replay old gems --set calc.reasons=false --into same >same.out 2>&1
same "an option above the node is refused" $? 2
"$SLUICE" replay old gems --into same >same.out 2>&1
same "a replay without a change" $? 0
same "... gives the same bytes" "$(outcome same)" "$(outcome old)"
"$SLUICE" replay old gems --set "gems.threshold=0" --into new >new.out 2>&1
same "a replay with another threshold" $? 0
check "... gives other bytes" test "$(outcome new)" != "$(outcome old)"
check "... without the judge" sh -c "! grep -q '\"node\":\"calc\".*judged' new/logs/calc.0.log"
check "audit of the old" audit_ok old
check "audit of the new" audit_ok new
same "... which read as much" "$("$SLUICE" audit new --json | grep -o '"read":[0-9]*')" '"read":400'
same "the old run is untouched" "$(cd old && find stores -name data.mdb -exec sha256sum {} + | sort)" "$before"
"$SLUICE" replay old gems --set "gems.threshold=0" --into new >/dev/null 2>&1
same "the same replay again has nothing to do" $? 0
"$SLUICE" replay old gems --into new >other.out 2>&1
same "another replay into it is refused" $? 2

# ---- of a living run: up to a cut of whole groups ----
topology 4 >slow.yaml
"$SLUICE" run slow.yaml --run live >live.out 2>&1 &
supervisor=$!
wait_for 20 settled_at_least live out 60
"$SLUICE" replay live gems --into part >part.out 2>&1
same "a replay of a living run" $? 0
read_part=$("$SLUICE" audit part --json | sed 's/.*"read":\([0-9]*\).*/\1/')
check "... up to a cut ($read_part) of whole groups" test $((read_part % 4)) -eq 0 -a "$read_part" -ge 24 -a "$read_part" -lt 400
check "... with its audit" audit_ok part
wait $supervisor
same "the living run ends" $? 0
same "the part is the beginning of the whole" "$(sort part/out.jsonl | sha256sum)" \
    "$(awk -F'[:,]' -v cut="$read_part" '$2 < cut' live/out.jsonl | sort | sha256sum)"
"$SLUICE" drain part 2>said.err
check "a replay at rest says how it is continued" grep -q "the .sluice replay. that made it, given again" said.err
exit $((failures > 0))
