#!/bin/bash
# A followed file that grows in five pieces, with kills between, then `sluice end`: the same as a run on the joined file.
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
follow() { topology 64 | sed "s|path: rollouts.jsonl|path: $1, follow: true, poll: 20ms|"; }
: >grows.jsonl
follow grows.jsonl >grows.yaml
supervise() { "$SLUICE" run grows.yaml --run grows >>grows.out 2>&1 & supervisor=$!; wait_for 20 supervisor_is_new grows "${1:-0}"; }
supervise
for piece in 1 2 3 4 5; do
    rollouts 20 $piece $((piece * 20)) >>grows.jsonl
    # The last group of a piece is complete: it has its four.
    wait_for 20 settled_at_least grows out $((piece * 80)) || not_ok "piece $piece is settled"
    case $piece in
    1) kill -9 "$(pid_of grows rollouts)";;
    2) for n in rollouts steps calc gems out; do kill -9 "$(pid_of grows $n)"; done;;
    3) kill -9 "$(pid_of grows out)";;
    4) kill -9 $supervisor; wait $supervisor 2>/dev/null; kill -9 "$(pid_of grows gems)"; supervise $supervisor;;
    esac
done
check "a following run does not end by itself" kill -0 $supervisor
check "end" "$SLUICE" end grows
rollouts 20 6 120 >>grows.jsonl     # after the end: not read
wait $supervisor
same "the followed run ends with exit code 0" $? 0
for piece in 1 2 3 4 5; do rollouts 20 $piece $((piece * 20)); done >whole.jsonl
follow whole.jsonl >whole.yaml
"$SLUICE" run whole.yaml --run whole >whole.out 2>&1 &
supervisor=$!
wait_for 20 settled_at_least whole out 400
check "end of the joined one" "$SLUICE" end whole
wait $supervisor
same "the joined file's run ends with exit code 0" $? 0
sources() { sed 's/"source":"[^:]*:/"source":"/' "$1"/out.jsonl | sort | sha256sum; }
same "five pieces and kills give what the joined file gives" "$(sources grows)" "$(sources whole)"
check "audit of the followed run" audit_ok grows
exit $((failures > 0))
