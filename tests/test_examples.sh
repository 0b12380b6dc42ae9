#!/bin/bash
# The examples keep working: every topology that has its inputs is accepted, the short ones run to the end, and the scripts
# print their tables. (make run itself, with its minutes, is not run here.)
cd "$(dirname "$0")/.." || exit 2
root=$PWD
build=$root/${BUILD:-build}
sluice=${SLUICE:-$build/sluice}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rc=0
tell() {        # NAME COMMAND ...
    local name=$1
    shift
    if "$@" >"$work/said" 2>&1; then echo "ok - $name"; else echo "not ok - $name"; sed 's/^/# /' "$work/said" | tail -5; rc=1; fi
}
prints() {      # NAME FILE PATTERN
    tell "$1" grep -qE -- "$3" "$2"
}
unset JUDGE_URL JUDGE_MODEL JUDGE_API_KEY WORK
export BUILD=$build

make -s -C examples/objective CC="${CC:-cc}" || rc=1       # its topology names a shared object
for topology in examples/*/*.yaml; do
    if [ "${topology%/*}" = examples/exec ] && ! command -v python3 >/dev/null; then
        echo "ok - $topology # skip python3 is not installed"
        continue
    fi
    # Those whose inputs `remake` makes name them with ${WORK...}; they are refused without, for that reason alone.
    if grep -q '\${WORK' "$topology"; then
        WORK=$work/nothing "$sluice" check "$topology" >"$work/check" 2>&1
        tell "$topology lacks only what remake makes" \
            sh -c "[ \$(wc -l <'$work/check') = 1 ] && grep -q 'nothing/.*no such file' '$work/check'"
    else
        tell "$topology is accepted" "$sluice" check "$topology"
        tell "$topology can be drawn" "$sluice" graph "$topology" --mermaid
    fi
done
tell "gsm8k with an HTTP judge is accepted" env JUDGE_URL=http://127.0.0.1:9 "$sluice" check examples/gsm8k/flow.yaml
for name in bcpg one_step; do
    tell "examples/prompts/$name.txt is there to be copied" test -s "examples/prompts/$name.txt"
done

run=$work/short
tell "arith: run.sh with short.yaml ends well" \
    sh -c "TOPOLOGY=short.yaml RUN='$run' PROMPTS=20 SAMPLES=2 examples/arith/run.sh >'$work/short.out' 2>&1"
tell "arith: its checkpoint is there" test -s "$run/checkpoints/policy/final/model.safetensors"
tell "arith: ... and final links to it" test "$run/checkpoints/final/model.safetensors" -ef "$run/checkpoints/policy/final/model.safetensors"
tell "arith: every rollout is accounted for" "$sluice" audit "$run"
prints "a run's last words say where it is" "$work/short.out" "^the run is in $run\$"
tell "an ordinal that nobody knows has no trace" sh -c "! '$sluice' trace '$run' 640 2>'$work/none' && grep -q 'knows ordinal 640' '$work/none'"
tell "its last one has" "$sluice" trace "$run" 639
prints "every node says what memory it took" "$run/logs/policy.0.log" '"event":"stop","text":"in good order; at most [1-9][0-9]* KiB resident"'
prints "arith: the table names the rollouts" "$work/short.out" '^rollouts +640 '
prints "arith: ... the tokens" "$work/short.out" '^tokens trained +[1-9][0-9]+ +policy '
prints "arith: ... the memory" "$work/short.out" '^memory +[1-9][0-9]* MiB .*\([a-z]+\)'
prints "arith: ... and the gain" "$work/short.out" '^policy +0\.[0-9]{3} +0\.[0-9]{3} +[+-]0\.[0-9]{3} +\[[+-]0\.[0-9]{3}, [+-][01]\.[0-9]{3}\]$'

tell "arith: run.sh with three objectives ends well" \
    sh -c "RUN='$work/three' PROMPTS=20 SAMPLES=2 examples/arith/run.sh --set rollouts.path=short.jsonl.zst >'$work/three.out' 2>&1"
for row in 'negatives +[1-9]' 'steps +[1-9]' 'gems +[1-9]' 'critic +0\.[0-9]+ +0\.' 'prm +0\.[0-9]+ +0\.' \
    'consensus +0\.[0-9]+ +0\.' 'rft +0\.' 'bcpg +0\.' 'bcpg_nsa +0\.' 'bcpg_nsa came out (above|below|at) bcpg: '; do
    prints "arith: the table has a line $row" "$work/three.out" "^$row"
done

tell "arith: table.sh on a tenth of the rollouts ends well" \
    sh -c "RUN='$work/table' SEEDS=1 STREAM=40 RATES=3e-4 TAUS=0.05 BETAS=0.5 PROMPTS=20 SAMPLES=2 examples/arith/table.sh >'$work/table.out' 2>&1"
for row in rft dpo topr grpo bcpg nsa_half nsa_zero nsa_minus; do
    prints "arith: it has a line for $row" "$work/table.out" "^$row +3e-4 +[-0-9.]+ +0\.[0-9]{3} +0\.[0-9]{3} +0\.[0-9]{3}"
done
tell "arith: ... and goes on where it was" \
    sh -c "RUN='$work/table' SEEDS=1 STREAM=40 RATES=3e-4 TAUS=0.05 BETAS=0.5 PROMPTS=20 SAMPLES=2 examples/arith/table.sh >'$work/again.out' 2>&1 && [ \$(grep -c ' 3e-4 ' '$work/again.out') = \$(grep -c ' 3e-4 ' '$work/table.out') ]"

tell "gsm8k: run.sh with short.yaml ends well" \
    sh -c "TOPOLOGY=short.yaml RUN='$work/gsm8k' QUESTIONS=12 examples/gsm8k/run.sh >'$work/gsm8k.out' 2>&1"
prints "gsm8k: gems are found in real wrong answers" "$work/gsm8k.out" '^[1-9][0-9]* wrong answers, .* [1-9][0-9]* gems '
prints "gsm8k: three are shown" "$work/gsm8k.out" '^  \+ .*<<.*>>'
prints "gsm8k: the margin is measured" "$work/gsm8k.out" '^before [+-][0-9.]+  after [+-][0-9.]+  gain '
tell "gsm8k: every rollout is accounted for" "$sluice" audit "$work/gsm8k"

if command -v python3 >/dev/null; then
    page=examples/exec/README.md
    tell "exec: the judge has 30 lines" test "$(wc -l <examples/exec/judge.py)" = 30
    grep -E '^\{"(hello"|ask":1,)' $page | python3 examples/exec/judge.py >"$work/judged"
    tell "exec: it answers what its page says" \
        sh -c "grep -E '^\{\"(ready\"|ask\": 1,)' $page | cmp - '$work/judged'"
    tell "exec: its topology runs to the end" "$sluice" run examples/exec/flow.yaml --run "$work/exec"
    tell "exec: every rollout is accounted for" "$sluice" audit "$work/exec"
    prints "exec: steps are found right and wrong" "$work/exec/labelled.jsonl" '"labels":\[[012,]*1[012,]*0'
    "$sluice" dead "$work/exec" >"$work/dead"
    tell "exec: code.yaml runs to the end" "$sluice" run examples/exec/code.yaml --run "$work/code"
    tell "exec: programs get the rewards they earn" \
        sh -c "[ \"\$(grep -o '\"reward\":[0-9.]*' '$work/code/graded.jsonl' | tr -d '\\n')\" = '\"reward\":1\"reward\":0\"reward\":0\"reward\":1' ]"
    tell "exec: nothing is dead" sh -c "! grep -q abstained '$work/dead'"
else
    echo "ok - exec: the example runs # skip python3 is not installed"
fi
exit $rc
