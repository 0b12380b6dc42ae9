#!/bin/bash
# A planted key is in no file of a run and in nothing that Sluice prints of it, whatever the server does with it: echoed in refusals, in
# answers that become dead letters, in redirects. Once from the environment, once from a file.
. "$(dirname "$0")/whole.sh"
server=$here/${BUILD:-build}/tools/judge_server
server_pid=
trap '[ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null; tidy' EXIT
[ -x "$server" ] || { echo "ok - a planted key # SKIP tools/judge_server is not built"; exit 0; }
key=sk-planted/0123456789-nobody-may-see
export no_proxy='*'

rollouts 4 1 | sed 's/"reward":1/"reward":0/' >"$work/rollouts.jsonl"
topology_with() {   # KEY_OPTION
    cat <<END
name: key
seed: 1
nodes:
  - {id: r, kind: reader, with: {path: rollouts.jsonl, group_by: none}}
  - {id: s, kind: segmenter, inputs: {in: r/out}, with: {method: line}}
  - {id: critic, kind: llm_judge, inputs: {in: s/steps}, with: {url: "\${JUDGE_URL}", model: m, in_flight: 2, $1}}
  - {id: gems, kind: consensus, inputs: {steps: s/steps, votes: [critic/votes]}}
  - {id: o, kind: sink, inputs: {in: gems/out}}
END
}
absent() { local one=$1 two=$2; shift 2; grep -rqaF "$@" "$one" "$two"; [ $? = 1 ]; }      # 2: grep could not read
# FROM KEY_OPTION: a run, and everything that can be asked of it, into the folder $work/FROM
a_run() {
    local from=$work/$1 i
    mkdir "$from"
    topology_with "$2" >"$work/$1.yaml"
    "$server" --key "$key" --ledger "$from.ledger" \
        --script echo,headers,headers,headers,headers,headers,headers,redirect,500,garbage,half,headers >"$work/port" &
    server_pid=$!
    wait_for 10 test -s "$work/port"
    JUDGE_URL="http://127.0.0.1:$(cat "$work/port")/v1"
    export JUDGE_URL
    "$SLUICE" check "$work/$1.yaml" --online >"$from/check" 2>&1
    same "$1: the run ends" "$("$SLUICE" run "$work/$1.yaml" --run "$from/run" >"$from/out" 2>&1; echo $?)" 0
    for i in status "logs --level debug" audit dead "dead critic --json"; do "$SLUICE" ${i%% *} "$from/run" ${i#* } >>"$from/told" 2>&1; done
    for i in 0 1 2 3 15; do "$SLUICE" trace "$from/run" $i --json >>"$from/told" 2>&1; done
    kill "$server_pid"; wait "$server_pid" 2>/dev/null
    server_pid=
    rm -f "$work/port"
    check "$1: the server got the key, and echoed it" grep -q '"answer":"headers"' "$from.ledger"
    check "$1: judgements were given up" grep -rqa 'abstained' "$from/told"
    check "$1: the echo is in a log, without the key" grep -rqa 'Incorrect API key provided: Bearer \*\*\*\*' "$from/run"
    check "$1: the key is nowhere" absent "$from" "$from.yaml" -e "$key" -e "${key//\//\\/}" -e nobody-may-see
    check "$1: nor any piece of it" absent "$from" "$from" -e "${key:0:14}" -e "${key: -14}"
}
JUDGE_KEY=$key
export JUDGE_KEY
a_run environment 'api_key_env: JUDGE_KEY'
unset JUDGE_KEY
(umask 077; echo "$key" >"$work/secret")
a_run file 'api_key_file: secret'
chmod 640 "$work/secret"
check "a key file that others may read is refused" eval '"$SLUICE" check "$work/file.yaml" 2>&1 | grep -q "chmod 600"'
[ $failures -eq 0 ] || tail -5 "$work"/*/out
exit $((failures > 0))
