#!/bin/bash
# A judge behind a bad-mannered HTTP server in a whole graph, killed again and again: nothing is lost, the lines
# are those of an undisturbed run, and the server's own ledger shows no call beyond what was in flight.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
server=$PWD/$BUILD/tools/judge_server
kills=4 in_flight=4 rollouts=160 rc=0
[ -x "$server" ] || { echo "ok - judges in a graph # SKIP tools/judge_server is not built"; exit 0; }
work=$(mktemp -d) || exit 2
server_pid='' run_pid=''
trap 'kill $server_pid $run_pid 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 2
export no_proxy='*' JUDGE_KEY=sk-a-key-that-nobody-may-see

tell() {        # NAME CONDITION...: one TAP line
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; rc=1; fi
}
for ((i = 0; i < rollouts; i++)); do
    a=$((i / 4)) b=$((i / 4 + 1)) c=$((i / 4 - 1 + i % 2))
    printf '{"id":"p%d","prompt":"%d+1-2=?","response":"%d+1=%d\\n%d-2=%d\\nso %d","reward":%d}\n' \
        $i $a $a $b $b $c $c $((1 - i % 2))
done >rollouts.jsonl
# No cache: identical answers are judged each for itself, so that calls can be counted, and the store alone keeps what was paid for.
cat >both.yaml <<YAML
name: judged
seed: 1
nodes:
  - {id: r, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: 4}}
  - {id: s, kind: segmenter, inputs: {in: r/out}, with: {method: line}}
  - id: critic
    kind: llm_judge
    inputs: {in: s/steps}
    with: {backend: http, url: "\${JUDGE_URL}", model: m, in_flight: $in_flight, api_key_env: JUDGE_KEY, cache_bytes: 0}
    replicas: REPLICAS
  - {id: gems, kind: consensus, inputs: {steps: s/steps, votes: [critic/votes]}, with: {rule: all}}
  - {id: o, kind: sink, inputs: {in: gems/out}}
YAML
sed 's/REPLICAS/1/' both.yaml >flow.yaml
sed 's/REPLICAS/3/' both.yaml >three.yaml
serve() {       # LEDGER OPTIONS...: starts a server and exports its URL
    local ledger=$1
    shift
    rm -f port
    "$server" --ledger "$ledger" --key "$JUDGE_KEY" "$@" >port &
    server_pid=$!
    for ((t = 0; t < 200; t++)); do [ -s port ] && break; sleep 0.02; done
    export JUDGE_URL="http://127.0.0.1:$(cat port)/v1"
}
lines() { sort "$1/o.jsonl" | sha256sum; }
critic_pid() { "$sluice" status "$1" --json 2>/dev/null | tr '{' '\n' | sed -n '/"id":"critic"/s/.*"pid":\([0-9][0-9]*\).*/\1/p'; }

serve quiet.ledger
tell "check --online asks the server, which knows the model, and calls nothing" eval \
    '"$sluice" check flow.yaml --online | grep -q "^critic: .* knows .m." && [ ! -s quiet.ledger ]'
tell "check --online says where a server was named that does not answer" eval \
    'JUDGE_URL=http://127.0.0.1:1/v1 "$sluice" check flow.yaml --online 2>&1 | grep -q "flow.yaml:[0-9]*:[0-9]*: node .critic.: http"'
"$sluice" run flow.yaml --run quiet >quiet.out 2>&1
tell "an undisturbed run ends" [ $? = 0 ]
kill $server_pid; wait $server_pid
calls=$(grep -c '"call"' quiet.ledger)
tell "each wrong answer costs one call ($calls)" [ "$calls" = $((rollouts / 2)) ]

serve chaos.ledger --latency 0.1 --flaky 20
"$sluice" run flow.yaml --run chaos >chaos.out 2>&1 &
run_pid=$!
for ((k = 1; k <= kills; k++)); do
    for ((t = 0; t < 500; t++)); do     # a kill for each share of the calls
        [ "$(grep -c '"call"' chaos.ledger)" -ge $((k * rollouts / 2 / (kills + 1))) ] && break
        sleep 0.02
    done
    before=$(critic_pid chaos)
    [ -n "$before" ] && kill -9 "$before"
    for ((t = 0; t < 500; t++)); do     # until there is another process to kill
        now=$(critic_pid chaos)
        [ -n "$now" ] && [ "$now" != "$before" ] && break
        sleep 0.02
    done
done
wait $run_pid
tell "a run with $kills kills of the judge ends" [ $? = 0 ]
run_pid=
kill $server_pid; wait $server_pid
repeated=$(grep -c '"repeated":true' chaos.ledger)
flawed=$(grep '"repeated":false' chaos.ledger | grep -vc '"answer":"ok"')
tell "calls repeated: $repeated, of them $flawed after bad answers, at most $kills x $in_flight after kills" \
    [ "$repeated" -le $((flawed + kills * in_flight)) ]
tell "different calls: one for each wrong answer" \
    [ "$(grep -c '"repeated":false' chaos.ledger)" = $((rollouts / 2)) ]
tell "the lines are those of the undisturbed run" [ "$(lines quiet)" = "$(lines chaos)" ]
"$sluice" audit chaos >audit.out
tell "no rollout is missing or doubled" [ $? = 0 ]

serve three.ledger --latency 0.05
"$sluice" run three.yaml --run three >three.out 2>&1
tell "a run with three replicas of the judge ends" [ $? = 0 ]
tell "their lines are the same, for the same calls" \
    [ "$(lines quiet) $calls" = "$(lines three) $(grep -c '"call"' three.ledger)" ]
tell "the key is in no file of the runs" eval '! grep -rqF -e "$JUDGE_KEY" quiet chaos three'
[ $rc = 0 ] || sed 's/^/# /' chaos.out audit.out three.out | tail -20
exit $rc
