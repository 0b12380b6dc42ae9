#!/bin/bash
# Segmentation by a model in a whole graph: the same lines with one replica and one thread, with two of each, and
# after kills; steps that are told apart keep their kinds through the consensus, and trace says them.
cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
sluice=${SLUICE:-$PWD/$BUILD/sluice}
golden=$PWD/tests/golden/sat
rollouts=120 kills=3 rc=0
work=$(mktemp -d) || exit 2
run_pid=''
trap 'kill $run_pid 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 2

tell() {        # NAME CONDITION...: one TAP line
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; rc=1; fi
}
for ((i = 0; i < rollouts; i++)); do
    a=$((i / 4)) b=$((i / 4 + 1))
    printf '{"id":"p%d","prompt":"%d+1=?","response":"We add: `%d + 1. So` it is %d + 1 = %d. Wait, let us see. Let me try again: %d! So %d","reward":%d}\n' \
        $i $a $a $a $b $b $b $((1 - i % 2))
done >rollouts.jsonl
cat >both.yaml <<YAML
name: cut
seed: 1
nodes:
  - {id: r, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: 4}}
  - id: s
    kind: segmenter
    inputs: {in: r/out}
    with: {method: sat, model: $golden/plain, tokenizer: $golden, block_size: 60, stride: 20, tag: true, threads: THREADS}
    replicas: REPLICAS
  - {id: calc, kind: calc_judge, inputs: {in: s/steps}}
  - {id: gems, kind: consensus, inputs: {steps: s/steps, votes: [calc/votes]}, with: {rule: all}}
  - {id: o, kind: sink, inputs: {in: gems/out}}
YAML
sed 's/REPLICAS/1/; s/THREADS/1/' both.yaml >one.yaml
sed 's/REPLICAS/2/; s/THREADS/2/' both.yaml >two.yaml
sed 's/REPLICAS/1/; s/method: sat.*tag: true, threads: THREADS/method: marker/' both.yaml >marker.yaml
lines() { sort "$1/o.jsonl" | sha256sum; }
segmenter_pid() { "$sluice" status "$1" --json 2>/dev/null | tr '{' '\n' | sed -n '/"id":"s"/s/.*"pid":\([0-9][0-9]*\).*/\1/p' | head -1; }

"$sluice" run one.yaml --run one >one.out 2>&1
tell "a run ends" [ $? = 0 ]
tell "every wrong answer is cut" [ "$(wc -l <one/o.jsonl)" = $((rollouts / 2)) ]
tell "steps are told apart, one kind for each" eval \
    '! grep -v "\"kinds\":\[[012,]*\]" one/o.jsonl | grep -q .'
"$sluice" run two.yaml --run two >two.out 2>&1
tell "two replicas of two threads write the same lines" [ "$(lines two)" = "$(lines one)" ]

"$sluice" run one.yaml --run killed >killed.out 2>&1 &
run_pid=$!
killed=0
for ((t = 0; t < 400 && killed < kills; t++)); do
    kill -0 $run_pid 2>/dev/null || break
    pid=$(segmenter_pid killed)
    [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null && killed=$((killed + 1))
done
wait $run_pid
tell "a run whose segmenter is killed ends ($killed kills)" [ $? = 0 ]
tell "... and writes the same lines" [ "$(lines killed)" = "$(lines one)" ]

"$sluice" run marker.yaml --run marker >marker.out 2>&1
tell "openers without patterns cut and tag" eval \
    'grep -q "\"kinds\":\[0,1,2\]" marker/o.jsonl && ! grep -v "\"kinds\":\[0,1,2\]" marker/o.jsonl | grep -q .'
"$sluice" trace marker p1 >trace.out 2>&1
tell "trace says what a step does" eval 'grep -q "verifies" trace.out && grep -q "solves once more" trace.out'
exit $rc
