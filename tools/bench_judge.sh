#!/bin/bash
# An HTTP judge against a server that answers at once, next to a bare loop of libcurl's multi interface against the same server (at
# least 0.5 of its calls a second), and with 256 calls in flight against one that takes a second for each (at least 240 calls a second,
# below 128 MiB resident). The server counts: from the first call to the last answer. CALLS, ROUNDS; the best of ROUNDS counts for both.
set -u
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=$PWD/$BUILD/sluice server=$PWD/$BUILD/tools/quick_server
calls=${CALLS:-20000} rounds=${ROUNDS:-3} rc=0
[ -x "$server" ] || { echo "bench_judge: $server is not built"; exit 1; }
work=$(mktemp -d) || exit 2
server_pid=
trap '[ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
export no_proxy='*'

serve() {       # LATENCY: starts a server; its port and then its figures go to $work/port
    : >"$work/port"; : >"$work/request"
    "$server" serve --latency "$1" --request "$work/request" >"$work/port" &
    server_pid=$!
    until [ -s "$work/port" ]; do read -rt 0.01 <> <(:) || true; done
    JUDGE_URL="http://127.0.0.1:$(head -n 1 "$work/port")/v1"
    export JUDGE_URL
}
served() {      # prints "calls seconds most"
    kill "$server_pid"
    until [ "$(wc -l <"$work/port")" -ge 2 ] && [ -s "$work/request" ]; do read -rt 0.01 <> <(:) || true; done
    tail -n 1 "$work/port"
}
rate() { awk '{ printf "%.0f\n", $1 / $2 }' <<<"$1"; }
rollouts() {    # COUNT
    awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++)
        printf "{\"prompt\":\"What is %d + 1 - 2?\",\"response\":\"%d + 1 = %d\\n%d - 2 = %d\\nThe answer is %d.\",\"reward\":0}\n",
            i, i, i + 1, i + 1, i, i }' >"$work/rollouts.jsonl"
}
topology() {    # IN_FLIGHT
    cat >"$work/flow.yaml" <<YAML
name: bench
seed: 1
nodes:
  - {id: r, kind: reader, with: {path: rollouts.jsonl, group_by: none}}
  - {id: s, kind: segmenter, inputs: {in: r/out}, with: {method: line}}
  - {id: judge, kind: llm_judge, inputs: {in: s/steps}, with: {url: "\${JUDGE_URL}", model: m, in_flight: $1}}
  - {id: votes, kind: sink, inputs: {in: judge/votes}}
YAML
}
run() {         # runs the topology; sets peak to the judge's resident memory in KiB, and ticks to its processor time
    local pid= kb now run_pid
    rm -rf "$work/run"
    "$sluice" run "$work/flow.yaml" --run "$work/run" >"$work/log" 2>&1 &
    run_pid=$!
    peak=0 ticks=0
    while kill -0 "$run_pid" 2>/dev/null; do
        read -rt 0.2 <> <(:) || true
        [ -n "$pid" ] || pid=$("$sluice" status "$work/run" --json 2>/dev/null | tr '{' '\n' |
            sed -n '/"id":"judge"/s/.*"pid":\([0-9][0-9]*\).*/\1/p')
        kb=$(awk '/^VmHWM/ { print $2 }' "/proc/${pid:-0}/status" 2>/dev/null)
        [ "${kb:-0}" -le "$peak" ] || peak=$kb
        now=$(awk '{ print $14 + $15 }' "/proc/${pid:-0}/stat" 2>/dev/null)
        ticks=${now:-$ticks}
    done
    wait "$run_pid" || { tail -5 "$work/log"; exit 1; }
}

rollouts "$calls"
topology 256
ours=0 bare=0 own_time=1000000 bare_time=1000000
TIMEFORMAT='%U %S'
least() { awk -v a="$1" -v b="$2" 'BEGIN { print a < b ? a : b }'; }
for ((i = 0; i < rounds; i++)); do
    serve 0; run; got=$(rate "$(served)")
    [ "$got" -le "$ours" ] || ours=$got
    own_time=$(least "$own_time" "$(awk -v t="$ticks" -v h="$(getconf CLK_TCK)" -v n="$calls" 'BEGIN { print t / h / n * 1e6 }')")
    cp "$work/request" "$work/body"
    serve 0
    { time "$server" call "$JUDGE_URL/chat/completions" "$calls" 256 "$work/body" || exit 1; } 2>"$work/time"
    bare_time=$(least "$bare_time" "$(awk -v n="$calls" 'END { print ($1 + $2) / n * 1e6 }' "$work/time")")
    got=$(rate "$(served)")
    [ "$got" -le "$bare" ] || bare=$got
done
awk -v a="$ours" -v b="$bare" 'BEGIN { printf "calls/s, 256 in flight, answered at once: %d by llm_judge, %d by a bare libcurl loop; ratio %.2f (limit 0.5)\n", a, b, a / b
    exit a < 0.5 * b }' || rc=1
awk -v a="$own_time" -v b="$bare_time" 'BEGIN { printf "processor time of one call: %.0f us by llm_judge, cache and votes included, %.0f us by the loop\n", a, b }'
rollouts 5120
serve 1; run; figures=$(served)
got=$(rate "$figures")
echo "calls/s, 256 in flight, answered after 1 s: $got (limit 240), at most ${figures##* } in the server; resident $((peak / 1024)) MiB (limit 128)"
[ "$got" -ge 240 ] && [ "$peak" -lt 131072 ] && [ "$peak" -gt 0 ] || rc=1
exit $rc
