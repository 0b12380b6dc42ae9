#!/bin/bash
# Never pay twice: a budget that two replicas share, raised while it pauses, by the server's own ledger; answers that replays, other
# runs and restarts find again; a price that nobody knows; `sluice cache`.
. "$(dirname "$0")/whole.sh"
server=$here/${BUILD:-build}/tools/judge_server
[ -x "$server" ] || { echo "ok - budget and cache # SKIP tools/judge_server is not built"; exit 0; }
cd "$work" || exit 2
export no_proxy='*'
server_pid=''
trap 'kill $server_pid 2>/dev/null; tidy' EXIT

serve() {       # LEDGER OPTIONS...: another server with an empty ledger
    local ledger=$1
    shift
    [ -z "$server_pid" ] || { kill "$server_pid"; wait "$server_pid"; } 2>/dev/null
    : >"$ledger"
    rm -f port
    "$server" --ledger "$ledger" "$@" >port &
    server_pid=$!
    wait_for 10 test -s port
    export JUDGE_URL="http://127.0.0.1:$(cat port)/v1"
}
calls() { grep -c '"call"' "$1"; }
lines() { sort "$1/labelled.jsonl" | sha256sum; }
# LEDGER: what the server charges, in millionths of a US dollar, at 3 for 1e6 tokens read and 10 written
charged() { sed -n 's/.*"read":\([0-9]*\),"written":\([0-9]*\)}.*/\1 \2/p' "$1" | awk '{ sum += 3 * $1 + 10 * $2 } END { print sum + 0 }'; }
# RUN FIELD: of `sluice cache list`
listed() { "$SLUICE" cache "$1" list --json | sed -n "s/.*\"$2\": *\([0-9.e-]*\).*/\1/p"; }
millionths() { awk -v usd="$1" 'BEGIN { printf "%.0f", usd * 1e6 }'; }

rollouts 40 3 >rollouts.jsonl
echo '{"arith": {"in": 3, "out": 10}}' >prices.json
flow() {        # WITH...: the topology, with these options of its judge
    cat <<YAML
name: paid
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: 4}}
  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, with: {method: line}}
  - id: critic
    kind: llm_judge
    inputs: {in: steps/steps}
    replicas: ${REPLICAS:-1}
    with: {backend: http, url: "\${JUDGE_URL}", model: arith, in_flight: 4, max_tokens: 400, $*}
  - {id: gems, kind: consensus, inputs: {steps: steps/steps, votes: [critic/votes]}, with: {rule: all}}
  - {id: labelled, kind: sink, inputs: {in: gems/out}}
YAML
}

# ---- refused at start ----
serve none.ledger
flow budget_usd: 5 >unknown.yaml
"$SLUICE" check unknown.yaml 2>unknown.out
same "a budget without a price is refused" $? 78
check "... at its line" grep -q 'unknown.yaml:[0-9]*:[0-9]*:.*price' unknown.out
echo '{"other": {"in": 3, "out": 10}}' >others.json
flow budget_usd: 5, prices: others.json >unknown.yaml
"$SLUICE" check unknown.yaml 2>unknown.out
same "... and a price table without the model" $? 78
flow budget_tokens: 1000, max_tokens: 0 | sed 's/max_tokens: 400, //' >unknown.yaml
"$SLUICE" check unknown.yaml 2>unknown.out
same "... and a budget without max_tokens" $? 78

# ---- an undisturbed run ----
serve quiet.ledger
flow prices: prices.json >flow.yaml
"$SLUICE" run flow.yaml --run quiet >quiet.out 2>&1
same "an undisturbed run ends" $? 0
different=$(sed -n 's/.*"key":"sluice-\([0-9a-f]*\)-.*/\1/p' quiet.ledger | sort -u | wc -l)
same "identical answers are judged once" "$(calls quiet.ledger)" "$different"
same "the ledger says what the server charged" "$(millionths "$(listed quiet spent_usd)")" "$(charged quiet.ledger)"
same "the cache keeps one answer for each call" "$(listed quiet answers)" "$different"

# ---- said beforehand ----
serve said.ledger
mkdir tmp
TMPDIR=$work/tmp "$SLUICE" run --estimate flow.yaml --json >said.out
same "an estimate is made" $? 0
said() { sed -n "s/.*\"$1\":\({[^}]*}\|[^,}]*\).*/\1/p" said.out; }
same "... of all rollouts, in the calls that the run made" "$(said rollouts) $(said calls) $(said judged)" "160 $different $(wc -l <quiet/labelled.jsonl)"
check "... and no more than it says at most" test "$(charged quiet.ledger)" -le "$(millionths "$(said usd | sed 's/.*"most"://; s/}//')")"
same "... without a call" "$(calls said.ledger)" 0
same "... leaving nothing behind" "$(ls tmp | wc -l)" 0
"$SLUICE" run --estimate flow.yaml --run quiet --json >said.out
same "nothing is left to pay for a run that is over" "$(said calls) $(said cached)" "0 $(wc -l <quiet/labelled.jsonl)"
same "... whose answers stay where they are" "$(listed quiet answers)" "$different"
flow prices: prices.json, cache: quiet/stores/critic.cache >known.yaml
"$SLUICE" run --estimate known.yaml --json >said.out
same "what a cache would answer is not counted as a call" "$(said calls) $(said cached)" "0 $(wc -l <quiet/labelled.jsonl)"
"$SLUICE" run --estimate flow.yaml --set rollouts.follow=true 2>said.out
same "an input without an end is refused" $? 2
"$SLUICE" run --estimate flow.yaml --sample 8 --json >said.out
check "a sample is a part of it ($(said rollouts))" test "$(said rollouts)" -ge 8 -a "$(said rollouts)" -lt 160

# ---- replays cost nothing ----
serve replay.ledger
"$SLUICE" replay quiet gems --set gems.rule=any --into ruled >ruled.out 2>&1
same "a replay with another consensus rule ends" $? 0
"$SLUICE" replay quiet critic --set "critic.url=$JUDGE_URL" --into judged >judged.out 2>&1
same "a replay of the judge itself ends" $? 0
same "... with the same labels" "$(lines judged)" "$(lines quiet)"
"$SLUICE" replay judged critic --set critic.replicas=2 --into again >again.out 2>&1
same "so does a replay of that, with two replicas" "$? $(lines again)" "0 $(lines quiet)"
same "none of them makes a call" "$(calls replay.ledger)" 0
same "... or spends anything" "$(listed again spent_usd | awk '{ print $1 + 0 }')" 0
"$SLUICE" replay quiet critic --set critic.temperature=0.5 --set "critic.url=$JUDGE_URL" --into other >other.out 2>&1
same "with another parameter every answer is asked for again" "$? $(calls replay.ledger)" "0 $different"

# ---- export, import, prune ----
"$SLUICE" cache quiet export kept.jsonl 2>export.out
same "export" $? 0
same "... has a line for each answer" "$(grep -c '"key"' kept.jsonl)" "$different"
"$SLUICE" replay quiet critic --set "critic.url=$JUDGE_URL" --into carried --no-run 2>carried.out
"$SLUICE" cache carried critic prune --all >prune.out
same "prune --all leaves nothing" "$? $(listed carried answers)" "0 0"
{ cat kept.jsonl; echo '{"key":"00"}'; } >broken.jsonl
"$SLUICE" cache carried import broken.jsonl 2>broken.out
same "a file with a bad line is refused whole" "$? $(listed carried answers)" "1 0"
check "... by its number" grep -q "broken.jsonl:$((different + 2)):" broken.out
"$SLUICE" cache carried import kept.jsonl >import.out
same "import" "$? $(listed carried answers)" "0 $different"
: >replay.ledger
"$SLUICE" replay quiet critic --set "critic.url=$JUDGE_URL" --into carried >carried.out 2>&1
same "what was imported is not asked for again" "$? $(calls replay.ledger) $(lines carried)" "0 0 $(lines quiet)"

# ---- one budget, two replicas ----
budget=$(($(charged quiet.ledger) / 2))
serve shared.ledger --latency 0.05 --flaky 20
REPLICAS=2 flow prices: prices.json, cache: kept.cache, "budget_usd: $(awk -v b=$budget 'BEGIN { printf "%.6f", b / 1e6 }')" >shared.yaml
"$SLUICE" run shared.yaml --run shared --on-pause exit >shared.out 2>&1
same "a spent budget leaves with exit code 75" $? 75
check "... and says why" grep -q 'paused: critic.[01]: over budget: .* USD spent' shared.out
check "the server charged $(charged shared.ledger) of $budget" test "$(charged shared.ledger)" -le "$budget"
check "... and most of it is spent" test "$(charged shared.ledger)" -ge $((budget / 3))
first=$(charged shared.ledger)
"$SLUICE" run shared.yaml --run shared >>shared.out 2>&1 &
supervisor=$!
paused() { "$SLUICE" status shared --json 2>/dev/null | grep -q '"state":"paused","why":"over budget'; }
check "run again, it pauses again" wait_for 20 paused
check "... while the supervisor lives, without another call beyond the budget" test "$(charged shared.ledger)" -le "$budget"
replica() { "$SLUICE" status shared --json | tr '{' '\n' | sed -n "/\"id\":\"critic\",\"replica\":$1/s/.*\"pid\":\([0-9][0-9]*\).*/\1/p"; }
raise() { "$SLUICE" set shared "critic.budget_usd=$(awk -v b="$1" 'BEGIN { printf "%.6f", b / 1e6 }')"; }
grown() { [ "$(charged shared.ledger)" -gt "$first" ]; }
raise $((budget + budget / 2))
check "it goes on with more" wait_for 20 grown     # before the kills, which may cost all that was set aside
for r in 0 1; do
    kill -9 "$(replica $r)" 2>/dev/null
done
check "... and pauses again" wait_for 20 paused
check "kills and all: charged $(charged shared.ledger) of $((budget + budget / 2))" test "$(charged shared.ledger)" -le $((budget + budget / 2))
raise $((20 * budget))
check "with enough it ends" wait_for 60 over shared
wait $supervisor
same "... with the same labels" "$? $(lines shared)" "0 $(lines quiet)"
check "the ledger is not below what the server charged" test "$(millionths "$(listed shared spent_usd)")" -ge "$(charged shared.ledger)"
check "... nothing is set aside any more" test "$(listed shared aside_usd)" = 0.0
: >replay.ledger
serve reused.ledger
"$SLUICE" run shared.yaml --run reused >reused.out 2>&1
same "another run with the same cache makes no call" "$? $(calls reused.ledger) $(lines reused)" "0 0 $(lines quiet)"
[ $failures = 0 ] || tail -n 5 *.out | sed "s/^/# /"
exit $((failures > 0))
