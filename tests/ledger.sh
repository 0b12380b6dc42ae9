# ledger: a judge behind HTTP whose server keeps its own ledger (tests/judge_server.h), for tests/chaos.sh. Kills of the judge happen
# while its supervisor stands still, so that what the dead judge had committed can be read at rest; afterwards the ledgers of an
# undisturbed and of a disturbed run tell which calls were made again, and whether any of them had been paid for and committed.
# Times are microseconds of the wall clock. Sourced after whole.sh.
server=$here/${BUILD:-build}/tools/judge_server
late_us=1000000         # an answer is committed within 50 ms; nothing here is so slow that it takes 20 times as long
look_at=24              # so many calls, the latest, are looked up in the store of a judge at rest
export no_proxy='*'

now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

serve() {   # LEDGER SECONDS: starts a server whose answers take up to so long, and exports its URL and server_pid
    : >"$1"
    "$server" --mode arith --ledger "$1" --latency "$2" >"$1.port" &
    server_pid=$!
    wait_for 10 test -s "$1.port" && export JUDGE_URL="http://127.0.0.1:$(cat "$1.port")/v1"
}

serve_again() {     # LEDGER SECONDS: another server, with an empty ledger
    kill "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    rm -f "$1.kills" "$1.port"
    serve "$@"
}

# FILE IN_FLIGHT: the topology with its llm_judge behind JUDGE_URL, without a cache (so that each answer is a call); exit code 1 when it has none, or its `with` is not one line
behind_http() {
    awk -v n="$2" '
        /^  - / { inside = 0 }
        /kind: *llm_judge/ { inside = 1 }
        inside && /^ *with: *\{.*\} *$/ {
            sub(/\{.*/, "{backend: http, url: \"${JUDGE_URL}\", model: arith, in_flight: " n ", cache_bytes: 0}")
            inside = 0; found++
        }
        { print }
        END { exit found != 1 }' "$1"
}

different_calls() { sed -n 's/.*"key":"\([^"]*\)".*/\1/p' "$1" | sort -u; }

# LEDGER SINCE: does a call that came after SINCE still wait for its answer?
a_call_flies() {
    awk -F'[:,}]' -v since="$2" '$3 == "\"call\"" && $2 > since { open[$4] } $3 == "\"answered\"" { delete open[$4] }
        END { for (i in open) exit 0; exit 1 }' "$1"
}

# LEDGER: the ordinals of the latest calls, one a line; the key of a call is sluice-HASH-ORDINAL-TRY
latest_ordinals() { sed -n 's/.*"key":"sluice-[0-9a-f]*-\([0-9]*\)-[0-9]*".*/\1/p' "$1" | tac | awk '!seen[$0]++' | head -n "$look_at"; }

state_is() { [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null)" = "$2" ]; }
is_dead() { [ ! -d "/proc/$1" ] || state_is "$1" Z; }

# RUN JUDGE ORDINAL: had the judge, at rest, committed what it says of it?
committed() {
    "$SLUICE" trace "$1" "$3" --json 2>>"$1.trace" | awk -v RS='"settled":' -v own="\"id\":\"$2\"" '
        index($0, own) { found = substr($0, 1, 4) == "true" } END { exit !found }'
}

# RUN JUDGE PID SUPERVISOR LEDGER: kills the judge, if possible with calls in flight, and appends to LEDGER.kills its time and the
# ordinals that were committed by then. Exit code 1: it was gone already.
kill_judge() {
    local at ordinal list='' last
    last=$(tail -n 1 "$5.kills" 2>/dev/null | cut -d' ' -f1)
    [ "$(different_calls "$5" | wc -l)" -ge "$calls_wanted" ] || wait_for 2 a_call_flies "$5" "${last:-0}"
    kill -STOP "$4" && wait_for 5 state_is "$4" T || return 1
    at=$(now_us)
    if ! kill -9 "$3" 2>/dev/null; then
        kill -CONT "$4"
        return 1
    fi
    wait_for 5 is_dead "$3"
    for ordinal in $(latest_ordinals "$5"); do
        committed "$1" "$2" "$ordinal" && list="$list $ordinal"
    done
    echo "$at$list" >>"$5.kills"
    kill -CONT "$4"
}

# LEDGER: prints "calls repeated unexplained caught read again". unexplained: repeated though no kill came before the answer or just
# after it. caught: in flight at a kill. read: committed at a kill, by the store; again: of those, called after it.
ledger_sums() {
    awk -v late="$late_us" '
        FILENAME ~ /kills$/ {
            kill_at[++kills] = $1
            for (i = 2; i <= NF; i++) { if (!($i in done_at)) done_at[$i] = $1; read++ }
            next
        }
        /"answered"/ { split($0, f, /[:,}]/); answered[f[4]] = f[2]; next }
        { split($0, f, /[:,}]/); calls++; at[calls] = f[2]; number[calls] = f[4]; key[calls] = f[6] }
        END {
            for (i = 1; i <= calls; i++) {
                split(key[i], part, "-")
                if (part[3] in done_at && at[i] > done_at[part[3]]) { again++; print "# committed, and called again: " key[i] >"/dev/stderr" }
                gone = number[i] in answered ? answered[number[i]] : 1e18
                for (k = 1; k <= kills && kill_at[k] < at[i]; k++) continue
                caught += k <= kills && kill_at[k] <= gone
                if (key[i] in before) {
                    repeated++
                    b = before[key[i]]
                    gone = number[b] in answered ? answered[number[b]] : 1e18
                    why = 0
                    for (k = 1; k <= kills; k++) why += at[b] <= kill_at[k] + late && kill_at[k] <= at[i] && kill_at[k] <= gone + late
                    if (!why) { unexplained++; print "# called again without need: " key[i] >"/dev/stderr" }
                }
                before[key[i]] = i
            }
            print calls + 0, repeated + 0, unexplained + 0, caught + 0, read + 0, again + 0
        }' "$1.kills" "$1"
}

# CALM WILD IN_FLIGHT: the TAP lines of two ledgers
ledgers_agree() {
    local calls repeated unexplained caught read again kills
    touch "$2.kills"
    kills=$(wc -l <"$2.kills")
    read -r calls repeated unexplained caught read again < <(ledger_sums "$2")
    echo "# $calls calls; $kills kills of the judge caught $caught in flight; $read votes read in its store at rest"
    same "an undisturbed run repeats no call" "$(grep -c '"repeated":true' "$1")" 0
    same "the different calls are those of the undisturbed run" "$(different_calls "$2" | sha256sum)" "$(different_calls "$1" | sha256sum)"
    check "calls repeated: $repeated, at most $kills kills x $3 in flight" test "$repeated" -le $((kills * $3))
    check "kills caught calls in flight ($caught)" test "$caught" -ge 1
    same "no call is repeated that was answered $((late_us / 1000)) ms before a kill, or without a kill" "$unexplained" 0
    check "votes were committed at the kills ($read)" test "$read" -ge 1
    same "no call is repeated whose vote was in the store" "$again" 0
}
