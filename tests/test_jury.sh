#!/bin/bash
# A jury in a whole graph: two local judges and one behind /pooling, on a server that fails now and then and a judge that
# is killed: status tells how far they agree, live and at rest; another rule is a replay without a call; vectors of steps
# reach the learner and its filter of labels.
. "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
server=$here/${BUILD:-build}/tools/judge_server
[ -x "$server" ] || { echo "ok - a jury # SKIP tools/judge_server is not built"; exit 0; }
zstd -dcq "$here/examples/arith/short.jsonl.zst" | head -192 >rollouts.jsonl
export no_proxy='*'
serve() {       # LEDGER OPTIONS...
    local ledger=$1
    shift
    rm -f port
    "$server" --ledger "$ledger" "$@" >port &
    server_pid=$!
    for ((t = 0; t < 200; t++)); do [ -s port ] && break; sleep 0.02; done
    export PRM_URL="http://127.0.0.1:$(cat port)"
}
cat >flow.yaml <<YAML
name: jury
seed: 3
nodes:
  - {id: sampled, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: 8}}
  - {id: steps, kind: segmenter, inputs: {in: sampled/out}, with: {method: line}}
  - {id: calc, kind: calc_judge, inputs: {in: steps/steps}}
  - id: prm
    kind: prm_judge
    inputs: {in: steps/steps}
    with: {model: $here/examples/arith/models/prm, embeddings: true, response: minimum}
  - id: served
    kind: prm_judge
    inputs: {in: steps/steps}
    with: {backend: http, url: "\${PRM_URL}", model: m, convention: qwen, in_flight: 4}
  - id: gems
    kind: consensus
    inputs: {steps: steps/steps, votes: [calc/votes, prm/votes, served/votes]}
    with: {rule: majority, quorum: 1}
    replicas: 2
  - {id: out, kind: sink, inputs: {in: gems/out}}
  - id: policy
    kind: learner
    inputs: {labelled: gems/out, passed: steps/passed}
    with: {model: $here/examples/arith/models/base, label_noise: soft, epochs: 1, batch_rollouts: 64}
YAML
lines() { sort "$1/out.jsonl" | sha256sum; }
final() { sha256sum <"$1/checkpoints/policy/final/model.safetensors"; }
agreement() { "$SLUICE" status "$1" --json | grep -oE '"(table|profile)":[][0-9,]*'; }

serve quiet.ledger
"$SLUICE" run flow.yaml --run quiet >quiet.out 2>&1
same "a jury of three ends" $? 0
kill $server_pid; wait $server_pid
calls=$(grep -c '"call"' quiet.ledger)
table=$(script -qc "$SLUICE status quiet" /dev/null | tr -d '\r')
check "status draws how far they agree" grep -q "^gems: 3 voters on [0-9]* steps; Fleiss' kappa -*0\.[0-9]*" <<<"$table"
same "... with a row for each pair" "$(grep -cE '^  (calc, prm|calc, served|prm, served) ' <<<"$table")" 3
check "the vectors came through" grep -q '"embeddings":\[' quiet/out.jsonl
check "the response's score came through" grep -q '"response":\[0' quiet/out.jsonl
check "the filter weighed the labels" grep -q '"labels/weight":0\.' quiet/checkpoints/policy/metrics.jsonl

serve chaos.ledger --latency 0.05 --flaky 30
"$SLUICE" run flow.yaml --run chaos >chaos.out 2>&1 &
run_pid=$!
for node in served gems; do
    for ((t = 0; t < 500; t++)); do
        pid=$("$SLUICE" status chaos --json 2>/dev/null | tr '{' '\n' | sed -n "/\"id\":\"$node\"/s/.*\"pid\":\([0-9][0-9]*\).*/\1/p" | head -1)
        [ -n "$pid" ] && [ "$(grep -c '"call"' chaos.ledger)" -ge 8 ] && break
        sleep 0.02
    done
    kill -9 $pid
done
wait $run_pid
same "a run with failures and two kills ends" $? 0
kill $server_pid; wait $server_pid
same "... with the same lines" "$(lines chaos)" "$(lines quiet)"
same "... the same counters of agreement" "$(agreement chaos)" "$(agreement quiet)"
same "... and the same weights" "$(final chaos)" "$(final quiet)"
check "no rollout is missing or doubled" audit_ok chaos

"$SLUICE" replay quiet gems --set gems.rule=first_error_match --set gems.quorum=2 --into other >other.out 2>&1
same "a replay with another rule ends" $? 0
same "... without a call" "$(grep -c '"call"' quiet.ledger)" "$calls"
check "... to other labels" test "$(lines other)" != "$(lines quiet)"
same "... of the same votes" "$(agreement other)" "$(agreement quiet)"
exit $((failures > 0))
