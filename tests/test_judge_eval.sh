#!/bin/bash
# sluice judge-eval: the measures are those that tools/golden_judge_eval.py worked out; a judge behind HTTP is called once for
# each solution, and never again when the evaluation is repeated or replayed with another rule.
. "$(dirname "$0")/whole.sh"
golden=$here/tests/golden/judge_eval
server=$here/${BUILD:-build}/tools/judge_server
server_pid=
export no_proxy='*' JUDGE_KEY=eval-key-1f0d TMPDIR=$work
finish() { [ -n "$server_pid" ] && kill "$server_pid" 2>/dev/null; tidy; }
trap finish EXIT
cd "$work" || exit 2

# NAME: of JSON on one line or many, its first number (or null), to nine digits
number() { tr -d ' \n' | sed "s/.*\"judges\"/&/" | grep -o "\"$1\":[^,}]*" | head -1 | cut -d: -f2 | awk '{ print $1 == "null" ? $1 : sprintf("%.9f", $1) }'; }

"$SLUICE" judge-eval "$golden/solutions.json" --judge calc_judge --json >calc.json 2>calc.err
check "calc_judge is measured on our own solutions" [ $? = 0 ]
for m in f1 acc_error acc_correct step_precision step_recall coverage flagged_precision flagged_recall ece brier; do
    same "$m is what the script worked out" "$(number $m <calc.json)" "$(number $m <"$golden/expected.json")"
done
check "shares have intervals" grep -q '"acc_error":\[0\.[0-9]*,0\.[0-9]*\]' calc.json
"$SLUICE" judge-eval "$golden/solutions.json" --judge calc_judge 2>/dev/null >calc.txt
check "the table says the same" grep -q "^f1  *$(printf %.3f "$(number f1 <calc.json)")$" calc.txt
check "a temporary run leaves nothing" [ -z "$(ls -d sluice-judge-eval.* 2>/dev/null)" ]

"$server" --ledger calls --key "$JUDGE_KEY" >port &
server_pid=$!
wait_for 10 test -s port
both=(judge-eval "$golden/solutions.json" --judge calc_judge
    --judge "llm_judge:id=critic,url=http://127.0.0.1:$(cat port)/v1,model=m,api_key_env=JUDGE_KEY,price_in=1,price_out=2"
    --rule majority --quorum 1 --run both --json)
"$SLUICE" "${both[@]}" >both.json 2>both.err
check "calc_judge and a judge behind HTTP are measured together" [ $? = 0 ]
calls() { grep -c '"call"' calls; }
same "the judge behind HTTP was called once for each solution" "$(calls)" 48
same "calc_judge says what it said alone" "$(tr '{' '\n' <both.json | grep -A1 '"judge":"calc_judge"' | number f1)" \
    "$(number f1 <calc.json)"
critic=$(sed 's/.*"judge":"critic"//' both.json)
check "the judge behind HTTP finds slips" awk -v f="$(number f1 <<<"$critic")" 'BEGIN { exit !(f > 0.3 && f < 1) }'
check "it says something of every step" [ "$(number coverage <<<"$critic")" = 1.000000000 ]
check "what it cost is told" awk -v u="$(number usd <<<"$critic")" 'BEGIN { exit !(u > 0) }'
check "the rule is told" grep -q '"rule":"majority"' both.json

"$SLUICE" "${both[@]}" >again.json 2>again.err
same "repeated, it prints the same" "$(cat again.json)" "$(cat both.json)"
same "and calls nobody" "$(calls)" 48
"$SLUICE" "${both[@]/both/estimated}" --estimate >estimate.json 2>estimate.err
check "an estimate tells the calls" grep -q '"calls":48,' estimate.json
same "and makes none" "$(calls)" 48
"$SLUICE" replay both/run consensus --set consensus.rule=any --into any >any.out 2>&1
check "a replay with another consensus rule ends" [ $? = 0 ]
same "and calls nobody" "$(calls)" 48
labels() { grep '"from":"consensus"' "$1" | sort | sed 's/.*"labels":\[\([^]]*\)\].*/\1/' | sha256sum; }
check "its labels are other ones" [ "$(labels both/run/verdicts.jsonl)" != "$(labels any/verdicts.jsonl)" ]

# Everything dies in the middle: the command, its run and its judge. The same command goes on, and asks again at most for
# what was in flight.
kill "$server_pid"; wait "$server_pid" 2>/dev/null
"$server" --ledger slow_calls --key "$JUDGE_KEY" --latency 0.2 >slow_port &
server_pid=$!
wait_for 10 test -s slow_port
slow=("${both[@]/both/slow}")
slow=("${slow[@]/price_in/in_flight=2,price_in}")
slow=("${slow[@]/:$(cat port)\//:$(cat slow_port)/}")
"$SLUICE" "${slow[@]}" >slow.json 2>slow.err &
eval_pid=$!
slow_calls() { grep -c '"call"' slow_calls; }
many() { [ "$(slow_calls)" -ge 10 ]; }
wait_for 20 many
pids=$("$SLUICE" status slow/run --json | grep -o '"pid":[0-9]*' | cut -d: -f2)
{ kill -9 $eval_pid $pids; wait $eval_pid; } 2>/dev/null
"$SLUICE" "${slow[@]}" >slow.json 2>slow.err
check "killed with all its processes, the same command goes on" [ $? = 0 ]
same "and prints what an undisturbed one prints" "$(cat slow.json)" "$(cat both.json)"
check "asking again at most for what was in flight ($(slow_calls) calls)" [ "$(slow_calls)" -le 50 ]

"$SLUICE" judge-eval "$golden/solutions.json" --limit 5 --judge calc_judge --run both >other.out 2>&1
check "a folder with other solutions is refused" [ $? = 2 ]
check "in clear words" grep -q "holds an evaluation of other solutions" other.out
said() { local words=$1; shift; "$SLUICE" judge-eval "$@" 2>&1 | grep -qF -- "$words"; }
check "no judge is told" said "--judge KIND" "$golden/solutions.json"
check "an unknown kind is told" said "did you mean 'calc_judge'?" "$golden/solutions.json" --judge calc_juge
check "an option without a value is told" said "is not option=value" "$golden/solutions.json" --judge calc_judge:reasons
check "an unknown option is told" said "did you mean 'reasons'?" "$golden/solutions.json" --judge calc_judge:reason=true
echo '{"prompt":"p","response":"r"}' >unlabelled
check "a file without labels is told" said "unlabelled:1: no list of steps" unlabelled --judge calc_judge
check "a kind that does not judge is told" said "votes" "$golden/solutions.json" --judge segmenter
check "what could not begin leaves nothing" [ -z "$(ls -d sluice-judge-eval.* 2>/dev/null)" ]
[ $failures = 0 ] || head -5 ./*.err ./*.out | sed 's/^/# /'
exit $((failures > 0))
