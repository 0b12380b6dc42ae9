#!/bin/bash
# Programs of users in a whole graph: the program and its node are killed again and again, and what comes out is what an
# undisturbed run gives; declared ports are checked; a program dies with its node.
source "$(dirname "$0")/whole.sh"
actor=$here/${BUILD:-build}/tests/test_exec

# GROUPS: what the actor is to do stands in the response, one word each
words() {
    awk -v groups="$1" 'BEGIN {
        for (g = 0; g < groups; g++)
            for (k = 0; k < 4; k++)
                printf "{\"id\":\"r%d-%d\",\"prompt\":\"p%d\",\"response\":\"%s\",\"reward\":0}\n", g, k, g,
                    g % 20 == 7 && k == 1 ? "EXIT" : g % 10 == 3 && k == 2 ? "NULL" : "GOOD"
    }'
}
flow() {    # IN OUT [REPLICAS]
    cat <<END
name: exec
max_lead: 64
nodes:
  - {id: rollouts, kind: reader, with: {path: words.jsonl, group_by: prompt, group_size: 4}}
  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, with: {method: line}}
  - id: critic
    kind: exec
    inputs: {in: steps/steps}
    with: {command: [$actor, actor, ""], in: {in: $1}, out: {votes: $2}, attempts: 2}
    replicas: ${3:-1}
  - {id: gems, kind: consensus, inputs: {steps: steps/steps, votes: [critic/votes]}, with: {rule: all, quorum: 1}}
  - {id: out, kind: sink, inputs: {in: gems/out}}
END
}

cd "$work" || exit 2
words 10 >words.jsonl
flow steps vote >flow.yaml
check "declared ports are accepted" "$SLUICE" check flow.yaml
said=$("$SLUICE" check flow.yaml --online)
check "check --online starts the program and hears that it is ready" grep -q "critic: program '.*test_exec': ready after [0-9.]* s" <<<"$said"
sed 's/actor, ""/actor, stillborn/' flow.yaml >wrong.yaml
said=$("$SLUICE" check wrong.yaml --online 2>&1)
check "... or what it says instead" grep -q "node 'critic': its program ended (exit code 1): no model here" <<<"$said"
flow steps labelled >wrong.yaml
said=$("$SLUICE" check wrong.yaml 2>&1)
check "an output is checked against the input it feeds" grep -q "wrong.yaml:11:.*input 'votes' takes 'vote', but 'critic/votes' sends 'labelled'" <<<"$said"
flow rollout vote >wrong.yaml
said=$("$SLUICE" check wrong.yaml 2>&1)
check "... and an input against the output it reads" grep -q "wrong.yaml:8:.*input 'in' takes 'rollout', but 'steps/steps' sends 'steps'" <<<"$said"
flow step vote >wrong.yaml
said=$("$SLUICE" check wrong.yaml 2>&1)
check "a message that is none is refused where it stands" grep -q "wrong.yaml:9:.*port 'in': 'step' is no message; did you mean 'steps'?" <<<"$said"
same "... and is all that is said" 1 "$(wc -l <<<"$said")"
sed 's/votes: \[critic\/votes\]/votes: [critic\/vote]/' flow.yaml >wrong.yaml
said=$("$SLUICE" check wrong.yaml 2>&1)
check "an output that was not declared is refused" grep -q "node 'critic' has no output 'vote'; did you mean 'votes'?" <<<"$said"
sed 's/kind: exec/kind: exec\n    when: no/; s/votes: \[critic\/votes\]/votes: [critic\/votes, calc\/votes]/' flow.yaml >absent.yaml
echo '  - {id: calc, kind: calc_judge, inputs: {in: steps/steps}}' >>absent.yaml
check "an absent one takes its links away" "$SLUICE" check absent.yaml
sed 's/out: {votes: vote}/out: {}/; /consensus/d; /sink/d' flow.yaml >terminal.yaml
said=$("$SLUICE" check terminal.yaml 2>&1)
check "without outputs it is an end of the graph, with one replica" "$SLUICE" check terminal.yaml
sed 's/"response":"[A-Z]*"/"response":"NOTHING"/' words.jsonl >nothing.jsonl
sed -i 's/words.jsonl/nothing.jsonl/' terminal.yaml
"$SLUICE" run terminal.yaml --run terminal >/dev/null 2>&1
same "... and runs to it" done "$(run_state terminal)"
check "... with everything accounted for" audit_ok terminal
words 60 >words.jsonl
flow steps vote 2 >flow.yaml

"$SLUICE" run flow.yaml --run calm >/dev/null 2>&1
same "an undisturbed run ends" done "$(run_state calm)"
same "what ends its program is given up after its attempts, and only that" 3 "$("$SLUICE" dead calm critic --json | grep -o 'after 2 attempts' | wc -l)"
check "every rollout is accounted for" audit_ok calm

words 300 >words.jsonl
"$SLUICE" run flow.yaml --run calm2 >/dev/null 2>&1
"$SLUICE" run flow.yaml --run wild >/dev/null 2>&1 &
kills=0
children() { pgrep -P "$1" 2>/dev/null; }
while [ $kills -lt 20 ]; do
    over wild && break
    node=$(pid_of wild critic $((kills % 2)))
    if is_pid "$node"; then
        if [ $((kills % 4)) -lt 3 ]; then
            child=$(children "$node" | head -1)
            is_pid "$child" && kill -9 "$child" 2>/dev/null && kills=$((kills + 1))
        else
            child=$(children "$node" | head -1)
            kill -9 "$node" 2>/dev/null && kills=$((kills + 1))
            is_pid "$child" && { wait_for 5 sh -c "! kill -0 $child 2>/dev/null" || not_ok "a program dies with its node"; }
        fi
    fi
    read -rt 0.02 <> <(:) || true
done
echo "# $kills kills"
check "some kills hit" test $kills -ge 4
wait
same "a run whose programs and nodes are killed ends" done "$(run_state wild)"
check "... every rollout accounted for" audit_ok wild
same "... with the lines of an undisturbed one" "$(outcome calm2)" "$(outcome wild)"
same "... and as many given up" "$("$SLUICE" dead calm2 critic --json | grep -o 'after 2 attempts' | wc -l)" "$("$SLUICE" dead wild critic --json | grep -o 'after 2 attempts' | wc -l)"
"$SLUICE" replay calm2 gems --set gems.threshold=0 --into again >/dev/null 2>&1
same "votes of a program are replayed without it" 0 "$(grep -c 'was started' again/logs/critic.*.log 2>/dev/null | awk -F: '{n += $2} END {print n + 0}')"
same "... to the end" done "$(run_state again)"
said=$("$SLUICE" replay calm2 critic --set critic.out=votes=labelled --into other 2>&1)
check "a replay cannot change the ports a node declares" grep -q "node 'critic': a replay cannot change its ports" <<<"$said"
"$SLUICE" replay calm2 critic --set critic.attempts=1 --into once >/dev/null 2>&1
same "... but other options" done "$(run_state once)"
check "... with what they change" grep -q 'after 1 attempts' <<<"$("$SLUICE" dead once critic --json)"

echo one >note.txt
words 4 >words.jsonl
sed "s/path: words.jsonl,/path: words.jsonl, follow: true, poll: 20ms,/; s/attempts: 2/files: [note.txt]/" flow.yaml >files.yaml
"$SLUICE" run files.yaml --run files >/dev/null 2>&1 &
check "a run with files its program depends on starts" wait_for 20 settled_at_least files out 12
"$SLUICE" stop files >/dev/null 2>&1
wait
echo two >>note.txt
timeout 60 "$SLUICE" run files.yaml --run files >files.out 2>&1
check "... and goes on only with the ones it began with" sh -c "[ $? -ne 0 ] && grep -q 'note.txt' files.out"
"$SLUICE" stop files >/dev/null 2>&1
[ $failures -eq 0 ]
