#!/bin/bash
# Training that is killed, taken up again, or spoilt by a number: examples/arith's short data and base policy. Ten kills -9 of
# the learner at random optimiser steps (two runs, five each: what is killed often waits ever longer to start) change no byte
# of the model and no line of its metrics and events but their times, evaluations too; from an older kept checkpoint the same bytes come out;
# a step that is not finite fails the run at once, and `sluice set` lets it go on.
. "$(dirname "$0")/whole.sh"
seed=${1:-11}
arith=$here/examples/arith
events=$here/${BUILD:-build}/tools/events
[ -x "$events" ] || { echo "ok - resume # SKIP tools/events is not built"; exit 0; }
[ -f "$arith/models/base/model.safetensors" ] || { echo "ok - resume # SKIP no base policy"; exit 0; }
cd "$work" || exit 2

draws() {   # COUNT LEAST MOST: different numbers, in order, from the seed
    awk -v seed="$seed" -v n="$1" -v low="$2" -v high="$3" 'BEGIN {
        srand(seed)
        for (rand(); made < n; ) { at = low + int(rand() * (high - low + 1)); if (!(at in seen)) { seen[at]; made++; print at } }
    }'
}
folder() { echo "$1/checkpoints/policy"; }
lines() { local n; n=$(wc -l 2>/dev/null <"$(folder "$1")/metrics.jsonl"); echo "${n:-0}"; }
lines_at_least() { [ "$(lines "$1")" -ge "$2" ]; }
new_life() { lives "$1" policy && [ "$(pid_of "$1" policy)" != "$2" ]; }
metrics() { sed 's/,"tokens_per_second".*//' "$(folder "$1")/metrics.jsonl" | sha256sum; }
scalars() { "$events" --steady "$(folder "$1")"/events.out.tfevents.* | sha256sum; }
weights() { sha256sum <"$(folder "$1")/final/model.safetensors"; }
steps_once() {  # RUN: is every step from the first to the last there exactly once?
    grep '"loss"' "$(folder "$1")/metrics.jsonl" | sed 's/{"step":\([0-9]*\),.*/\1/' | awk '$1 != NR + from { bad = 1 } END { exit bad || NR == 0 }' from="${2:-0}"
}

topology() {    # READER'S FILE, LEARNER_OPTIONS
    cat <<END
name: resume
seed: 7
nodes:
  - {id: rollouts, kind: reader, with: {path: $1, group_by: prompt, group_size: 16, drop_equal: true}}
  - id: policy
    kind: learner
    inputs: {passed: rollouts/out}
    with: {model: $arith/models/base, eos_token: "<eos>", objective: bcpg, tau: 0.05, lr: 3e-4, lr_min: 2e-5, ema: 0.9, $2}
END
}

zstd -dcq "$arith/short.jsonl.zst" | head -64 >held.jsonl
topology "$arith/short.jsonl.zst" "epochs: 3, schedule: cosine, warmup_steps: 10, batch_rollouts: 32, checkpoint_steps: 4, keep: 40,
           eval_rollouts: held.jsonl, eval_prompts: $arith/validation.jsonl, eval_max_tokens: 40, eval_every: 20" >flow.yaml
start=$(date +%s%N)
"$SLUICE" run flow.yaml --run calm >calm.out 2>&1
same "an undisturbed run ends" $? 0
echo "# undisturbed: $((($(date +%s%N) - start) / 1000000)) ms, $(lines calm) lines"
[ $failures = 0 ] || { cat calm.out; exit 1; }
total=$(grep -c '"loss"' "$(folder calm)/metrics.jsonl")
check "... with every step once ($total)" steps_once calm
evaluations() { grep '"eval/' "$(folder "$1")/metrics.jsonl" | sed 's/{"step":\([0-9]*\),.*/\1/' | tr '\n' ' '; }
same "... and evaluations before the first, every 20 and at the end" "$(evaluations calm)" "0 20 40 60 "
echo "# pass rate $(sed -n 's/.*pass_rate":\([0-9.]*\).*/\1/p' "$(folder calm)/metrics.jsonl" | tr '\n' ' ')"

# ---- ten kills ----
mapfile -t drawn < <(draws 10 1 $((total - 3)))
killed=0
for wild in wild1 wild2; do
    mapfile -t at < <(printf '%s\n' "${drawn[@]:$((killed ? 5 : 0)):5}" | sort -n)
    "$SLUICE" run flow.yaml --run $wild >$wild.out 2>&1 &
    running=$!
    for step in "${at[@]}"; do
        wait_for 60 lines_at_least $wild "$step" || break
        pid=$(pid_of $wild policy)
        is_pid "$pid" && kill -9 "$pid" 2>/dev/null || continue
        killed=$((killed + 1))
        echo "# $wild: killed after line $(lines $wild) of metrics (drawn: $step)"
        wait_for 60 new_life $wild "$pid" || break
    done
    wait $running
    same "a run whose learner was killed five times ends" $? 0
    same "... with the same model" "$(weights $wild)" "$(weights calm)"
    same "... and the same average" "$(sha256sum <"$(folder $wild)/final-ema/model.safetensors")" "$(sha256sum <"$(folder calm)/final-ema/model.safetensors")"
    check "... and the same manifest" cmp "$(folder $wild)/final/manifest.json" "$(folder calm)/final/manifest.json"
    check "... every step in its metrics once" steps_once $wild
    same "... and every evaluation" "$(evaluations $wild)" "$(evaluations calm)"
    same "... and its metrics those of the undisturbed run, but for times" "$(metrics $wild)" "$(metrics calm)"
    same "... and so its event file" "$(scalars $wild)" "$(scalars calm)"
    check "... and every rollout accounted for" audit_ok $wild
done
same "kills at random steps" $killed 10

# ---- from an older checkpoint ----
middle=$((total / 2 / 4 * 4))
"$SLUICE" replay calm policy --set "policy.resume_from=$work/$(folder calm)/step-$middle" --into again >again.out 2>&1
same "a replay from step $middle of $total ends" $? 0
same "... with the same model" "$(weights again)" "$(weights calm)"
check "... and the same manifest" cmp "$(folder again)/final/manifest.json" "$(folder calm)/final/manifest.json"
check "... having trained the steps after it alone" steps_once again $middle

# ---- a number that is not finite ----
zstd -dcq "$arith/short.jsonl.zst" | head -160 | awk 'NR == 20 { sub(/"reward":[01]/, "\"reward\":1e60") } { print }' >huge.jsonl
topology huge.jsonl 'epochs: 2, batch_rollouts: 16, checkpoint_steps: 3' >bad.yaml
"$SLUICE" run bad.yaml --run bad >bad.out 2>&1
same "a run with a step that is not finite fails" $? 1
same "... at once: it was started" "$(grep -c '"event":"start"' bad/logs/policy.0.log)" 1
check "... saying which step and why" grep -q 'cannot go on.*step [0-9]* was not applied: .*not finite (rollouts 16, 17, .*on_nonfinite=skip' bad.out
bad=("$(folder bad)"/bad-step-*.jsonl)
check "... with its batch beside the checkpoints" grep -q '"ordinal":19,.*"reward":1e+60' "${bad[0]}"
"$SLUICE" set bad policy.on_nonfinite=skip >set.out 2>&1
same "it can be told to go on" $? 0
"$SLUICE" run bad.yaml --run bad >bad2.out 2>&1
same "... and ends" $? 0
topology huge.jsonl 'epochs: 2, batch_rollouts: 16, checkpoint_steps: 3, on_nonfinite: skip' >skip.yaml
"$SLUICE" run skip.yaml --run skip >skip.out 2>&1
same "... with the weights of a run that skipped from the start" "$(weights bad)" "$(weights skip)"
same "... and its metrics" "$(metrics bad)" "$(metrics skip)"
exit $((failures > 0))
