#!/bin/bash
# A learner on a followed file: five pieces with kills between, then `sluice end`: the checkpoint is that of a run on the joined file,
# and one appears before the end.
. "$(dirname "$0")/whole.sh"
arith=$here/examples/arith
zstd -dcq "$arith/short.jsonl.zst" >"$work/all.jsonl"
follow() {  # FILE
    sed -e "s|path: short.jsonl.zst|path: $1, follow: true, poll: 20ms|" -e "s|models/|$arith/models/|; s|prompt: critic.txt|prompt: $arith/critic.txt|" \
        -e 's/epochs: [0-9]*/follow: true, window: 128, passes: 1, checkpoint_steps: 1/; s/lr_min: 2e-5,//; s/schedule: cosine, warmup_steps: 10/schedule: constant/' "$arith/short.yaml"
}
follow "$work/grows.jsonl" >"$work/grows.yaml"
follow "$work/all.jsonl" >"$work/whole.yaml"
supervise() { "$SLUICE" run "$work/$1.yaml" --run "$work/$1" >>"$work/$1.out" 2>&1 & supervisor=$!; wait_for 20 supervisor_is_new "$work/$1" "${2:-0}"; }
checkpoints() { find "$work/$1/checkpoints" -name model.safetensors 2>/dev/null | grep -c .; }
any_checkpoint() { [ "$(checkpoints grows)" -gt 0 ]; }
: >"$work/grows.jsonl"
supervise grows || { cat "$work/grows.out"; not_ok "it starts"; exit 1; }
for piece in 1 2 3 4 5; do
    sed -n "$(((piece - 1) * 128 + 1)),$((piece * 128))p" "$work/all.jsonl" >>"$work/grows.jsonl"
    # With a group of 16 complete, both ports of its ordinals reach the learner.
    wait_for 20 settled_at_least "$work/grows" policy $((piece * 128 * 2)) || not_ok "piece $piece is settled"
    case $piece in
    1) kill -9 "$(pid_of "$work/grows" policy)";;
    2) for n in rollouts steps critic prm gems policy; do kill -9 "$(pid_of "$work/grows" $n)"; done;;
    3) kill -9 "$(pid_of "$work/grows" critic)" "$(pid_of "$work/grows" rollouts)";;
    4) kill -9 $supervisor; wait $supervisor 2>/dev/null; kill -9 "$(pid_of "$work/grows" policy)"; supervise grows $supervisor;;
    esac
done
check "a checkpoint appears before the end" wait_for 20 any_checkpoint
check "the run goes on until it is told its end" kill -0 $supervisor
check "end" "$SLUICE" end "$work/grows"
wait $supervisor
same "the followed run ends with exit code 0" $? 0
supervise whole
wait_for 30 settled_at_least "$work/whole" policy 1280
check "end of the joined one" "$SLUICE" end "$work/whole"
wait $supervisor
same "the joined file's run ends with exit code 0" $? 0
check "there is a checkpoint ($(outcome "$work/whole"))" test -f "$work/whole/checkpoints/final/model.safetensors"
same "the same checkpoint" "$(outcome "$work/grows")" "$(outcome "$work/whole")"
check "audit" audit_ok "$work/grows"
exit $((failures > 0))
