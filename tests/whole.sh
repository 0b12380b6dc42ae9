# whole: what the whole-graph tests share. Sourced by tests/test_*.sh and tests/chaos.sh; prints TAP.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SLUICE=${SLUICE:-$here/${BUILD:-build}/sluice}
work=$(mktemp -d /tmp/sluice-test.XXXXXX)
export XDG_RUNTIME_DIR=$work/sockets
mkdir -m 700 "$XDG_RUNTIME_DIR"
failures=0

tidy() {    # stops whatever still lives of this test's runs, then removes them
    for plan in "$work"/*/plan.json; do
        [ -f "$plan" ] && "$SLUICE" stop "$(dirname "$plan")" >/dev/null 2>&1
    done
    [ "${KEEP:-}" ] || rm -rf "$work"
}
trap tidy EXIT
trap 'exit 143' TERM INT

ok() { echo "ok - $1"; }
not_ok() { echo "not ok - $1"; failures=$((failures + 1)); }
check() {   # NAME COMMAND...: ok when the command succeeds
    local name=$1; shift
    if "$@"; then ok "$name"; else not_ok "$name"; fi
}
same() {    # NAME A B
    if [ "$2" = "$3" ] && [ -n "$2" ]; then ok "$1"; else not_ok "$1"; echo "# '$2' is not '$3'"; fi
}

wait_for() {    # SECONDS COMMAND...: looks again and again until it succeeds
    local until=$((SECONDS + $1)); shift
    until "$@"; do
        [ $SECONDS -lt $until ] || { echo "# gave up waiting: $*"; return 1; }
        read -rt 0.05 <> <(:) || true
    done
}

# GROUPS SEED: rollouts in groups of 4; sums of three numbers, line by line, every other answer with a slip
rollouts() {
    awk -v groups="$1" -v seed="$2" -v from="${3:-0}" 'BEGIN {
        srand(seed)
        for (g = from; g < from + groups; g++) {
            a = int(rand()*9)+1; b = int(rand()*9)+1; c = int(rand()*9)+1
            for (k = 0; k < 4; k++) {
                first = a + b + (k % 2 && rand() < 0.5); last = first + c + k % 2
                printf "{\"id\":\"r%d-%d\",\"prompt\":\"%d + %d + %d (%d)\",\"response\":\"%d + %d = %d\\n%d + %d = %d\\nSo %d.\",\"answer\":\"%d\",\"reward\":%d}\n", \
                    g, k, a, b, c, g, a, b, first, first, c, last, last, a + b + c, last == a + b + c
            }
        }
    }'
}

# LEAD [RULE]: reader, segmenter, calc_judge, consensus, sink; LEAD ordinals ahead at most, so that it takes its time
topology() {
    cat <<END
name: whole
seed: 7
max_lead: $1
nodes:
  - {id: rollouts, kind: reader, with: {path: rollouts.jsonl, group_by: prompt, group_size: 4}}
  - {id: steps, kind: segmenter, inputs: {in: rollouts/out}, with: {method: line}}
  - {id: calc, kind: calc_judge, inputs: {in: steps/steps}}
  - {id: gems, kind: consensus, inputs: {steps: steps/steps, votes: [calc/votes]}, with: {rule: "${2:-all}", quorum: 1}}
  - {id: out, kind: sink, inputs: {in: [gems/out, steps/passed]}}
END
}

status_row() {  # RUN NODE REPLICA: the JSON of one process
    "$SLUICE" status "$1" --json 2>/dev/null | tr '{' '\n' | grep "^\"id\":\"$2\",\"replica\":$3,"
}
field() {   # NAME: the value of a field of the JSON on standard input
    sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" | head -1
}
pid_of() { status_row "$1" "$2" "${3:-0}" | field pid; }
state_of() { status_row "$1" "$2" "${3:-0}" | field state; }
in_of() { status_row "$1" "$2" "${3:-0}" | field in; }
run_state() { "$SLUICE" status "$1" --json 2>/dev/null | sed 's/^{"run":"[^"]*","state":"\([a-z]*\)".*/\1/'; }
supervisor_of() { "$SLUICE" status "$1" --json 2>/dev/null | tr '{' '\n' | grep '^"pid"' | field pid; }
is_pid() { case $1 in ''|null|*[!0-9]*) return 1;; *) return 0;; esac; }
settled_at_least() { local n; n=$(in_of "$1" "$2" 0); [ "${n:-0}" -ge "$3" ] 2>/dev/null; }
lives() { is_pid "$(pid_of "$@")"; }
supervisor_is_new() { local pid; pid=$(supervisor_of "$1"); is_pid "$pid" && [ "$pid" != "$2" ]; }
over() { case $(run_state "$1") in done|failed|stopped|paused) return 0;; *) return 1;; esac; }
audit_ok() { "$SLUICE" audit "$1" --json 2>/dev/null | grep -q '^{"ok":true'; }

# RUN: one line that says what came out: hashes of the final checkpoints, or of the sinks' lines in order
outcome() {
    local found=
    for f in "$1"/checkpoints/*/final/model.safetensors; do
        [ -f "$f" ] && [ ! -L "$(dirname "$f")" ] && { found=1; sha256sum <"$f"; }
    done
    [ "$found" ] && return
    for f in "$1"/*.jsonl; do
        [ -f "$f" ] && sort "$f" | sha256sum
    done
}
