#!/bin/bash
# sluice loop: rounds follow each other; killed while it samples, while its run works and between, it goes on to the same
# bytes; every chooser draws from the records alone; what is wrong is refused before anything is made.
. "$(dirname "$0")/whole.sh"
arith=$here/examples/arith
cd "$work" || exit 2
head -n 24 "$arith/held_out.jsonl" >prompts.jsonl
head -n 8 "$arith/validation.jsonl" >held_out.jsonl
sed "s|models/|$arith/models/|; s|critic.txt|$arith/critic.txt|" "$arith/short.yaml" >flow.yaml
common=(flow.yaml --prompts prompts.jsonl --samples 16 --max-tokens 80 --set policy.epochs=1)
full=("${common[@]}" --rounds 3 --choose vade --prompts-per-round 10 --extra-samples-max 2 --extra-epochs 1 --temperature 2
    --eval-prompts held_out.jsonl --eval-samples 4)

tidy() {        # runs lie a folder deeper than whole.sh's
    for plan in "$work"/*/*/run/plan.json; do
        [ -f "$plan" ] && "$SLUICE" stop "$(dirname "$plan")" >/dev/null 2>&1
    done
    [ "${KEEP:-}" ] || rm -rf "$work"
}
bytes() {       # DIR: hashes of everything that a loop promises to be the same
    (cd "$1" && sha256sum round-*/rollouts.jsonl round-*/prompts.jsonl round-*/eval.json round-*/run/checkpoints/policy/final/model.safetensors) | sha256sum
}
there() { [ -e "$1" ]; }
refused() {     # NAME EXIT WORDS ARGUMENTS...: and nothing is made
    local name=$1 want=$2 words=$3 got
    shift 3
    "$SLUICE" loop "$@" --run refused >refused.out 2>&1
    got=$?
    if [ $got = "$want" ] && grep -qF -- "$words" refused.out && [ ! -e refused ]; then
        ok "$name"
    else
        not_ok "$name"; echo "# exit $got, not $want; or not: $words"; sed 's/^/# /' refused.out | head -3; rm -rf refused
    fi
}

# ---- undisturbed ----
"$SLUICE" loop "${full[@]}" --run calm >calm.out 2>calm.err
same "a loop ends with exit code 0" $? 0
same "a row for each round and one before" "$(grep -o '"round":[0-9]*' calm.out | tr '\n' ' ')" '"round":0 "round":1 "round":2 "round":3 '
check "a row tells the pass rate with its interval" grep -qE '"round":2,.*"pass_rate":0\.[0-9]+,"interval":\[0\.[0-9]+,0?\.?[0-9]+' calm.out
check "... the gain on held-out prompts" grep -qE '"round":3,.*"held_out":\{.*"gain":\{"mean":' calm.out
same "the policy of a round is what the round before made" \
    "$(sed -n 's/.*"round":3,"policy":"\([^"]*\)".*/\1/p' calm.out)" "$work/calm/round-2/run/checkpoints/policy/final"
same "... and its reference" "$(grep -o '"initial_xxh3": "[^"]*"' calm/round-2/run/checkpoints/policy/final/manifest.json | wc -l)" 1
same "every rollout says how it ended" "$(cat calm/round-*/rollouts.jsonl | grep -cvE '"finish_reason":"(stop|length)"')" 0
check "rounds differ" sh -c "! cmp -s calm/round-1/rollouts.jsonl calm/round-2/rollouts.jsonl"
same "ten prompts a round" "$(grep -c '"correct"' calm/round-1/prompts.jsonl calm/round-2/prompts.jsonl calm/round-3/prompts.jsonl | tr '\n' ' ')" \
    "calm/round-1/prompts.jsonl:10 calm/round-2/prompts.jsonl:10 calm/round-3/prompts.jsonl:10 "
again=$(cat calm/round-*/prompts.jsonl | grep -cE '"attempts":[23],"stands":[12]')
check "some prompts were solved by drawing again" test "$again" -gt 0
same "... and their groups are there twice" "$(cat calm/round-*/rollouts.jsonl | grep -cE '"id":"[^"]*\+1"')" $((again * 16))
check "no attempt is left" sh -c "! ls calm/round-*/attempt-* 2>/dev/null"
want=$(bytes calm)
"$SLUICE" loop "${full[@]}" --run calm >calm2.out 2>&1
same "a finished loop given again shows the same rows" "$? $(sha256sum <calm2.out)" "0 $(sha256sum <calm.out)"
same "... as does its folder" "$("$SLUICE" loop calm | sha256sum)" "$(sha256sum <calm.out)"
check "... as a table too" grep -qE '^ +3 +10 +[0-9]+  0\.[0-9]{3} \[' <("$SLUICE" loop calm --table)
"$SLUICE" loop "${full[@]}" --run calm --seed 5 >seed.out 2>&1
same "other settings are refused" $? 2
check "... by name" grep -q 'another --seed: 0, not 5' seed.out
"$SLUICE" loop "${full[@]}" --run calm --set policy.lr=5e-4 >topology.out 2>&1
same "another topology is refused" $? 78
check "... with the difference" grep -q "option 'lr'" topology.out
"$SLUICE" loop "${full[@]}" --run calm/round-1/run >run.out 2>&1
same "a run is no loop" "$? $(grep -c 'is a run, not a loop' run.out)" "2 1"

# ---- disturbed ----
# A file may not grow past 16 KiB: the sampling process dies in the middle of a line.
(ulimit -f 16; "$SLUICE" loop "${full[@]}" --run torn >torn.out 2>&1)
same "a sampling process that dies ends the loop" $? 1
check "... naming the round" grep -q 'round 1: its process was killed by signal' torn.out
check "... and leaves a torn line" sh -c "[ \$(tail -c 1 torn/round-1/attempt-0.jsonl | wc -l) = 0 ]"
lines=$(wc -l <torn/round-1/attempt-0.jsonl)
"$SLUICE" loop "${full[@]}" --run torn >torn.out 2>&1
same "the same command goes on ($lines lines were kept or cut)" "$? $(bytes torn)" "0 $want"

"$SLUICE" loop "${full[@]}" --run killed --rows 1 >killed.out 2>&1 &
loop=$!
until [ -e killed/round-1/attempt-0.jsonl ] || [ -e killed/round-1/run ] || ! kill -0 $loop; do :; done    # milliseconds
kill -9 $loop; wait $loop 2>/dev/null
[ -e killed/round-1/rollouts.jsonl ] && echo "# the kill came after the sampling"
for n in 1 2; do        # in the run of a round, and right after it
    "$SLUICE" loop "${full[@]}" --run killed >killed.out 2>&1 &
    loop=$!
    wait_for 60 there killed/round-$n/run/plan.json
    if [ $n = 1 ]; then
        "$SLUICE" loop "${full[@]}" --run killed >second.out 2>&1
        same "a second loop in one folder is refused" "$? $(grep -c "another loop works on" second.out)" "1 1"
    fi
    kill -9 $loop; wait $loop 2>/dev/null
    "$SLUICE" loop "${full[@]}" --run killed >killed.out 2>&1 &
    loop=$!
    wait_for 60 there killed/round-$n/round.json
    kill -9 $loop; wait $loop 2>/dev/null
done
check "killed in round 3 or before it" test ! -e killed/round-3/round.json
"$SLUICE" loop "${full[@]}" --run killed >killed.out 2>&1
same "killed while sampling, in runs and between: the same bytes" "$? $(bytes killed)" "0 $want"

"$SLUICE" loop "${full[@]}" --run stopped >stopped.out 2>&1 &
loop=$!
wait_for 60 there stopped/round-2/run/plan.json
kill -TERM $loop; wait $loop
same "SIGTERM ends it in good order" "$? $(grep -c "the same command goes on in" stopped.out)" "143 1"
check "... with the run drained" test "$(run_state stopped/round-2/run)" = stopped
"$SLUICE" loop "${full[@]}" --run stopped >stopped.out 2>&1
same "... and goes on to the same bytes" "$? $(bytes stopped)" "0 $want"

# ---- choosers ----
for how in "uniform --prompts-per-round 6" "mopps --prompts-per-round 6 --target 0.7" "dppo --prune-rate 0.6"; do
    for dir in a b; do      # the second goes on from the first one's records of round 1
        [ $dir = a ] || { cp -r a b; rm -r b/round-2; }
        # shellcheck disable=SC2086
        "$SLUICE" loop "${common[@]}" --rounds 2 --choose $how --run $dir >choose.out 2>&1 || sed 's/^/# /' choose.out
    done
    same "--choose $how draws from the records alone" "$(sha256sum <a/round-2/prompts.jsonl)" "$(sha256sum <b/round-2/prompts.jsonl)"
    [ "$how" != "dppo --prune-rate 0.6" ] && rm -rf a b
done
chosen=$(grep -c '"correct"' a/round-2/prompts.jsonl)
check "dppo left prompts out in round 2 ($chosen stayed)" test "$chosen" -lt 24
same "... wrote a weight into every rollout of it" "$(grep -c '"weight":' a/round-2/rollouts.jsonl)" $((chosen * 16))
same "... and none where nothing was left out" "$(grep -c '"weight":' a/round-1/rollouts.jsonl)" 0
check "a mean weight near 1" awk -F'"weight":' '/correct/ { split($2, w, "}"); s += w[1]; n++ } END { exit !(s / n > 0.6 && s / n < 1.6) }' a/round-2/prompts.jsonl

# ---- the prompts' format: this vocabulary has no letters for a template, which shows where it is put ----
put() {         # NAME WORDS ARGUMENTS...
    local name=$1 words=$2
    shift 2
    "$SLUICE" loop "${common[@]}" --rounds 1 --set policy.prompt_format=qwen2 "$@" --run format >format.out 2>&1
    same "the learner's prompt_format $name" "$? $(grep -c "$words.* the vocabulary lacks" format.out)" "1 1"
    rm -rf format
}
put "is sampling's" "sluice loop: round 1: "
put "... with the flag too" "sluice loop: round 1: " --prompt-format qwen2 --system ""
put "is the evaluation's" "before the first round: " --eval-prompts held_out.jsonl
put "is the choice's of the start" "the entropy of " --start "$arith/models/base" --start calm/round-3/run/checkpoints/policy/final

# ---- the start ----
"$SLUICE" loop "${common[@]}" --rounds 1 --start "$arith/models/base" --start calm/round-3/run/checkpoints/policy/final \
    --start-entropy 5..6 --run start >start.out 2>start.err
same "a loop begins from the best of two" $? 0
same "... measured: both are told" "$(grep -cE 'entropy 0\.[0-9]{3} of ' start.err)" 2
check "... the one nearest the range is taken" grep -q "begins from '$arith/models/base', the nearest" start.err
same "... and recorded" "$(grep -c '"entropy"' start/loop.json) $(grep -A1 '"start": {' start/loop.json | grep -c models/base)" "2 1"

# ---- refused ----
refused "no prompts" 2 "--prompts FILE is needed" flow.yaml --rounds 1
refused "no rounds" 2 "--rounds N is needed" flow.yaml --prompts prompts.jsonl
refused "a wrong chooser" 2 "all, uniform, vade, mopps or dppo" "${common[@]}" --rounds 1 --choose best
refused "a chooser without a number" 2 "needs --prompts-per-round" "${common[@]}" --rounds 1 --choose vade
refused "a wrong rate" 2 "--prune-rate" "${common[@]}" --rounds 1 --choose dppo --prune-rate 0.99
refused "a wrong range" 2 "two numbers, as 0.3..0.5" "${common[@]}" --rounds 1 --start a --start b --start-entropy 0.3-0.5
refused "a range without a choice" 2 "several --start" "${common[@]}" --rounds 1 --start-entropy 0.3..0.5
refused "extra epochs without extra samples" 2 "--extra-samples-max" "${common[@]}" --rounds 1 --extra-epochs 1
refused "a start that is not there" 2 "no such folder" "${common[@]}" --rounds 1 --start nowhere
refused "an option that the loop sets" 2 "the loop sets that itself" "${common[@]}" --rounds 1 --set policy.model=x
refused "a group that is no prompt's" 78 "flow.yaml:8:65: node 'rollouts': option 'group_size': 16, but the loop draws --samples 4" \
    flow.yaml --prompts prompts.jsonl --rounds 1 --samples 4
refused "a learner that follows" 78 "does not follow" "${common[@]}" --rounds 1 --set policy.follow=true --set policy.epochs=0 \
    --set policy.window=16 --set policy.schedule=constant
refused "a reader that follows" 78 "does not follow" "${common[@]}" --rounds 1 --set rollouts.follow=true --set policy.epochs=0
refused "a field that the rollouts lack" 78 "group_by': the loop's rollouts have no field 'topic'" "${common[@]}" --rounds 1 --set rollouts.group_by=topic
sed 's/objective: bcpg_nsa, beta: 0.5, tau: 0.05/objective: token_class/' flow.yaml >classes.yaml
refused "a learner of a classifier" 78 "option 'objective': it makes a classifier" classes.yaml --prompts prompts.jsonl --rounds 1
refused "a prompt format that is not the learner's" 78 "option 'prompt_format': 'raw', but --prompt-format says 'qwen2'" \
    "${common[@]}" --rounds 1 --prompt-format qwen2
refused "a system message that is not the learner's" 78 "option 'system': 'Be brief.', but --system says 'Add.'" "${common[@]}" --rounds 1 \
    --set policy.prompt_format=qwen2 --set policy.system="Be brief." --prompt-format qwen2 --system Add.
refused "a system message without a format" 78 "needs a prompt_format" "${common[@]}" --rounds 1 --set policy.system="Be brief."
sed 's/objective: bcpg_nsa/objective: bcpg_nza/' flow.yaml >bad.yaml
refused "a topology with a mistake, at its place" 78 "bad.yaml:28:" bad.yaml --prompts prompts.jsonl --rounds 1
refused "several learners" 78 "3 nodes of kind learner (rft, bcpg, bcpg_nsa)" "$arith/compare.yaml" --prompts prompts.jsonl --rounds 1
refused "a node that is none" 2 "no node 'actor'" "${common[@]}" --rounds 1 --learner actor
sed 's/,"answer":"[^"]*"//' prompts.jsonl >bare.jsonl
refused "prompts without answers" 1 "bare.jsonl:1: 'answer' is missing" flow.yaml --prompts bare.jsonl --rounds 1
rm -r calm/round-3/run/checkpoints/policy/final
"$SLUICE" loop "${full[@]}" --rounds 4 --run calm >gone.out 2>&1
same "a policy that is gone is told with its round" "$? $(grep -c 'sluice loop: round 4: .*round-3/run/checkpoints/policy/final' gone.out)" "1 1"
mkdir foreign && echo mine >foreign/notes
"$SLUICE" loop "${common[@]}" --rounds 1 --run foreign >foreign.out 2>&1
same "a folder with other things in it is refused" "$? $(ls foreign)" "2 notes"
exit $((failures > 0))
