#!/bin/bash
# A judge that ranks whole groups, in a graph where the segmenter sends the correct answers of each group elsewhere, killed
# again and again, with one replica and with two: every group is ranked once, as in an undisturbed run.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
server=$PWD/$BUILD/tools/judge_server
kills=3 groups=30 rc=0
[ -x "$server" ] || { echo "ok - ranked groups # SKIP tools/judge_server is not built"; exit 0; }
work=$(mktemp -d) || exit 2
server_pid='' run_pid=''
trap 'kill $server_pid $run_pid 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 2
export no_proxy='*'

tell() {        # NAME CONDITION...: one TAP line
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; rc=1; fi
}
# Of each six answers two are correct; the others have one x more each.
for ((i = 0; i < 6 * groups; i++)); do
    printf '{"prompt":"problem %d","response":"step\\nanswer %.*s","reward":%d}\n' $((i / 6)) $((i % 6)) xxxxxx \
        $((i % 3 == 0))
done >rollouts.jsonl
cat >flow.yaml <<YAML
name: ranked
seed: 1
nodes:
  - {id: r, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: 6}}
  - {id: s, kind: segmenter, inputs: {in: r/out}, with: {method: line}}
  - id: critic
    kind: llm_judge
    inputs: {in: s/steps}
    with: {url: "\${JUDGE_URL}", model: m, scoring: rank, in_flight: 2, cache_bytes: 0}
    replicas: REPLICAS
  - {id: o, kind: sink, inputs: {in: critic/votes}}
  - {id: good, kind: sink, inputs: {in: s/passed}}
YAML
sed 's/REPLICAS/2/' flow.yaml >two.yaml
sed -i 's/REPLICAS/1/' flow.yaml
serve() {       # LEDGER OPTIONS...: starts a server and exports its URL
    local ledger=$1
    shift
    rm -f port
    "$server" --ledger "$ledger" --then letters "$@" >port &
    server_pid=$!
    for ((t = 0; t < 200; t++)); do [ -s port ] && break; sleep 0.02; done
    export JUDGE_URL="http://127.0.0.1:$(cat port)/v1"
}
critic_pid() { "$sluice" status "$1" --json 2>/dev/null | tr '{' '\n' | sed -n '/"id":"critic"/s/.*"pid":\([0-9][0-9]*\).*/\1/p' | head -n 1; }

serve quiet.ledger
"$sluice" run flow.yaml --run quiet >quiet.out 2>&1
tell "an undisturbed run ends" [ $? = 0 ]
tell "one call ranks a group" [ "$(grep -c '"call"' quiet.ledger)" = $groups ]
tell "four responses of each have a place" [ "$(grep -c '"response":\[1' quiet/o.jsonl) $(wc -l <quiet/o.jsonl)" = "$groups $((4 * groups))" ]
kill $server_pid; wait $server_pid

serve chaos.ledger --latency 0.2
"$sluice" run two.yaml --run chaos >chaos.out 2>&1 &
run_pid=$!
for ((k = 1; k <= kills; k++)); do
    for ((t = 0; t < 500; t++)); do     # a kill for each share of the calls
        [ "$(grep -c '"call"' chaos.ledger)" -ge $((k * groups / (kills + 1))) ] && break
        sleep 0.02
    done
    before=$(critic_pid chaos)
    [ -n "$before" ] && kill -9 "$before"
done
wait $run_pid
tell "a run of two replicas with $kills kills ends" [ $? = 0 ]
run_pid=
kill $server_pid; wait $server_pid
tell "each group was asked about, again only after kills" \
    [ "$(grep -c '"repeated":false' chaos.ledger) $(($(grep -c '"repeated":true' chaos.ledger) <= kills * 2))" = "$groups 1" ]
tell "the votes are those of the undisturbed run" [ "$(sort quiet/o.jsonl | sha256sum)" = "$(sort chaos/o.jsonl | sha256sum)" ]
"$sluice" audit chaos >audit.out
tell "no rollout is missing or doubled" [ $? = 0 ]
[ $rc = 0 ] || sed 's/^/# /' quiet.out chaos.out audit.out | tail -20
exit $rc
