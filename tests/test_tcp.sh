#!/bin/bash
# The arith graph with two nodes that listen at tcp://, one of them a judge with two replicas: the same weights as over
# private sockets, also with kills on both sides; a port that another run has is waited for.
. "$(dirname "$0")/whole.sh"
arith=$here/examples/arith

# Below the ports the system gives away, and none of the five taken now; each call gives others.
ports() {
    local turn=${1:-0} base p
    while :; do
        base=$((20000 + ($$ * 13 + turn * 8) % 12000))
        for p in 0 1 2 3 4; do
            (: <>"/dev/tcp/127.0.0.1/$((base + p))") 2>/dev/null && break
            [ $p = 4 ] && { echo $base; return; }
        done
        turn=$((turn + 100))
    done
}

# FILE BASE: critic (two replicas) at BASE + 1 and BASE + 2, steps at BASE
listening() {
    sed -e "s/^  - id: steps$/&\n    listen: tcp:\/\/127.0.0.1:$2/" \
        -e "s/^  - id: critic$/&\n    replicas: 2\n    listen: tcp:\/\/localhost:$(($2 + 1))/" \
        -e "s|: short.jsonl|: $arith/short.jsonl|; s|models/|$arith/models/|; s|: critic.txt|: $arith/critic.txt|" \
        "$arith/short.yaml" >"$1"
}
cd "$work" || exit 2
listening tcp.yaml "$(ports)"
grep -v listen: tcp.yaml >private.yaml
same "two nodes listen" "$(grep -c listen: tcp.yaml)" 2
lead() { sed -i 's/^nodes:/max_lead: 32\nnodes:/' "$1"; }
lead tcp.yaml
lead private.yaml

"$SLUICE" run private.yaml --run private >private.out 2>&1
same "a run over private sockets ends well" $? 0
check "... and makes no keys" test ! -e private/keys

# ---- over tcp, with kills on both sides ----
"$SLUICE" run tcp.yaml --run tcp >tcp.out 2>&1 &
supervisor=$!
kills=0
for victim in "critic 1" "steps 0" "gems 0" "critic 0" "policy 0"; do
    set -- $victim
    kills=$((kills + 1))
    wait_for 20 settled_at_least tcp steps $((kills * 60))
    wait_for 20 lives tcp "$1" "$2" && kill -9 "$(pid_of tcp "$1" "$2")" || not_ok "kill of $victim"
done
check "... while it ran" kill -0 $supervisor
wait $supervisor
same "a run over tcp, killed on both sides, ends well" $? 0
same "... with the same weights" "$(outcome tcp)" "$(outcome private)"
check "... and nothing missing" audit_ok tcp
same "keys are ours alone" "$(stat -c %a tcp/keys tcp/keys/*.secret | sort -u | tr '\n' ' ')" "600 700 "
same "only nodes at a tcp link have keys" "$(cd tcp/keys && echo *.secret)" "critic.secret gems.secret policy.secret prm.secret steps.secret"

# ---- the address changes between two starts ----
listening moved.yaml "$(ports 1)"
lead moved.yaml
"$SLUICE" run tcp.yaml --run moved >moved.out 2>&1 &
supervisor=$!
wait_for 20 settled_at_least moved steps 64
kill -9 $supervisor
wait $supervisor 2>/dev/null
check "processes outlive their supervisor" lives moved critic
"$SLUICE" run moved.yaml --run moved >>moved.out 2>&1
same "a run goes on at another address" $? 0
check "... and says so" grep -q "critic listens at" moved.out
same "... with the same weights" "$(outcome moved)" "$(outcome private)"

# ---- what a run refuses, and what it waits for ----
chmod 644 tcp/keys/gems.secret
"$SLUICE" run tcp.yaml --run tcp >open.out 2>&1
same "a secret that others may read is refused" $? 1
check "... by name" grep -q "gems.secret' is open to others" open.out

sed -i '/^max_lead/d; s/^nodes:/max_lead: 16\nnodes:/' tcp.yaml
base=$(sed -n 's/.*127.0.0.1:\([0-9]*\)$/\1/p' tcp.yaml)
mkfifo never
sed "s|path: .*short.jsonl.zst|path: \"-\"|" tcp.yaml >held.yaml
"$SLUICE" run held.yaml --run holder <>never >holder.out 2>&1 &
holder=$!
wait_for 20 lives holder steps 0
wait_for 20 bash -c ": <>/dev/tcp/127.0.0.1/$base" 2>/dev/null
"$SLUICE" run tcp.yaml --run waiter >waiter.out 2>&1 &
waiter=$!
in_use() { "$SLUICE" status waiter --json 2>/dev/null | grep -q "127.0.0.1:$base': Address already in use"; }
wait_for 20 in_use
check "a port in use is told" in_use
"$SLUICE" stop holder >/dev/null 2>&1
wait $holder
wait $waiter
same "... and waited for" $? 0
same "... with the same weights" "$(outcome waiter)" "$(outcome private)"
exit $((failures > 0))
