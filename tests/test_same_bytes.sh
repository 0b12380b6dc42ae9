#!/bin/bash
# P3 on the arith graph: replicas of a judge, commits of one message, a lead of one ordinal, a restarted judge: the same
# checkpoint. Other machines' kernels compute the same bits: test_ops.c.
. "$(dirname "$0")/whole.sh"
short=$here/examples/arith/short.yaml
one() {     # NAME FLAGS...: runs and prints the outcome
    local name=$1; shift
    "$SLUICE" run "$short" --run "$work/$name" "$@" >"$work/$name.out" 2>&1 || { echo "exit code $?"; tail -3 "$work/$name.out"; return; }
    audit_ok "$work/$name" || { echo "audit failed"; return; }
    outcome "$work/$name"
}
edited() {  # NAME SED...: a copy of the topology beside it, for relative paths
    local name=$here/examples/arith/.same-$$-$1.yaml; shift
    sed "$@" "$short" >"$name"
    echo "$name"
}
server_pid=
trap 'rm -f "$here"/examples/arith/.same-$$-*.yaml; [ -z "$server_pid" ] || kill $server_pid 2>/dev/null; tidy' EXIT
base=$(one base)
check "an undisturbed run: $base" test ${#base} -ge 64
same "commits of one message" "$(one commit1 --set critic.commit_count=1 --set gems.commit_count=1 --set policy.commit_count=1)" "$base"
same "commits of a thousand messages or a second" "$(one commit1000 --set critic.commit_count=1000 --set critic.commit_interval=1s --set gems.commit_interval=1s)" "$base"
same "three threads in the learner" "$(one threads --set policy.threads=3)" "$base"
whole=$short
short=$(edited two 's/kind: llm_judge/kind: llm_judge\n    replicas: 2/; s/kind: prm_judge/kind: prm_judge\n    replicas: 4/')
same "2 and 4 replicas of the judges" "$(one replicas)" "$base"
short=$whole; short=$(edited lead 's/^seed: 7/seed: 7\nmax_lead: 1/')
same "a lead of one ordinal, so one group at a time" "$(one lead)" "$base"

# ---- a judge restarted, and 2 to 3 replicas of it, in the middle ----
short=$whole; slow=$(edited slow 's/^seed: 7/seed: 7\nmax_lead: 16/; s/kind: llm_judge/kind: llm_judge\n    replicas: 2/')
"$SLUICE" run "$slow" --run "$work/mid" >"$work/mid.out" 2>&1 &
supervisor=$!
wait_for 20 settled_at_least "$work/mid" policy 60
others() { for n in rollouts steps prm gems policy; do pid_of "$work/mid" $n; done; }
before=$(others)
check "restart critic" "$SLUICE" restart "$work/mid" critic
same "... the other pids do not change" "$(others)" "$before"
check "critic with 3 replicas from here on" "$SLUICE" set "$work/mid" critic.replicas=3
check "policy with 2 threads from here on" "$SLUICE" set "$work/mid" policy.threads=2
wait $supervisor
same "... and it ends well" $? 0
same "... with the same checkpoint" "$(outcome "$work/mid")" "$base"
check "... and its audit" audit_ok "$work/mid"

# ---- a judge behind HTTP whose answers come at once, and in another order: each takes its own time ----
. "$here/tests/ledger.sh"
serve "$work/prompt.ledger" 0
short=$here/examples/arith/.same-$$-http.yaml
behind_http "$whole" 8 >"$short"
prompt=$(one prompt)
check "a judge behind HTTP: $prompt" test ${#prompt} -ge 64
serve_again "$work/shuffled.ledger" 0.05
same "shuffled latencies of the judge" "$(one shuffled)" "$prompt"
check "... for the same calls" test "$(different_calls "$work/shuffled.ledger" | wc -l)" = "$(different_calls "$work/prompt.ledger" | wc -l)"
kill $server_pid; wait $server_pid 2>/dev/null; server_pid=

# ---- replay of the objective and of the rule: no judge is asked ----
"$SLUICE" replay "$work/base" gems --set gems.rule=any --into "$work/any" >"$work/any.out" 2>&1
same "replay with another rule" $? 0
check "... another checkpoint" test "$(outcome "$work/any")" != "$base" -a -n "$(outcome "$work/any")"
check "... its audit, and the old one's" sh -c "'$SLUICE' audit '$work/any' >/dev/null && '$SLUICE' audit '$work/base' >/dev/null"
same "... the judges have judged nothing more" "$(in_of "$work/any" critic)" "$(in_of "$work/base" critic)"
same "the old checkpoint is untouched" "$(outcome "$work/base")" "$base"
exit $((failures > 0))
