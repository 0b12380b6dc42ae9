#!/bin/bash
# Looking at a run from outside: tap (what passes), export (what was labelled), top, doctor.
source "$(dirname "$0")/whole.sh"
cd "$work" || exit 2
rollouts 20 1 >rollouts.jsonl
sed 's/path: rollouts.jsonl,/path: rollouts.jsonl, follow: true, poll: 20ms,/; s/  - {id: out/  - {id: extra, kind: sink, inputs: {in: calc\/votes}}\n&/' <(topology 4096) >flow.yaml
"$SLUICE" run flow.yaml --run live >/dev/null 2>&1 &
check "a run that follows its input starts" wait_for 20 settled_at_least live extra 80

# ---- tap ----
timeout 20 "$SLUICE" tap live calc/votes --all -n 40 >all.jsonl 2>all.err
same "tap --all shows what has passed, from the first message" 40 "$(wc -l <all.jsonl)"
check "... as JSON lines with the message's fields" grep -q '^{"ordinal":[0-9]*,"first":[0-9]*,"size":4,"from":"calc","replica":0,"voter":"calc","abstain":"","scores":\[' all.jsonl
check "... closings too" grep -q '"closed":"routed"}' all.jsonl
timeout 20 "$SLUICE" tap live calc -n 8 >new.jsonl 2>new.err &
tapper=$!
# Its first question has to be asked before anything passes: append until it has seen enough.
more() { rollouts 1 2 "$1" >>rollouts.jsonl; }
given=100
until ! kill -0 $tapper 2>/dev/null || [ $given -ge 300 ]; do
    more $given
    given=$((given + 1))
    read -rt 0.05 <> <(:) || true
done
wait $tapper
same "tap shows what passes from now on, of the only output when no port is named" 8 "$(wc -l <new.jsonl)"
check "... and nothing from before" sh -c "! grep -qE '\"ordinal\":[0-7]?[0-9],' new.jsonl"
said=$("$SLUICE" tap live calc/vote 2>&1)
check "a port that is none is refused with a hint" grep -q "node 'calc' has no output 'vote'; did you mean 'votes'?" <<<"$said"
said=$("$SLUICE" tap live gem/out 2>&1)
check "... and a node" grep -q "has no node 'gem'; did you mean 'gems'?" <<<"$said"

# ---- top ----
timeout 20 "$SLUICE" top live --interval 0.1 2>/dev/null | head -2 >top.jsonl
check "top prints a JSON line for each look where nobody watches" test "$(wc -l <top.jsonl)" = 2
check "... with rates and memory from the second on" sh -c "sed -n 2p top.jsonl | grep -q '\"in_per_s\":[0-9.]*,\"out_per_s\":[0-9.]*,\"cpu\":[0-9.]*,\"rss_bytes\":[1-9]'"
if command -v script >/dev/null; then
    script -qec "$SLUICE top live --once" /dev/null >top.txt </dev/null
    check "... and a table for people" grep -qE '^gems\.0 +[a-z]+ .* [1-9][0-9]*  ' top.txt
else
    echo "ok - ... and a table for people # skip script is not installed"
fi
check "top --once on a run ends" "$SLUICE" top live --once >/dev/null

# ---- export, from processes that live and from stores at rest ----
check "export reads a run that lives" "$SLUICE" export live --format jsonl -o living.jsonl 2>/dev/null
"$SLUICE" end live >/dev/null
check "it ends" wait_for 30 over live
wait
"$SLUICE" export live --format jsonl >rest.jsonl 2>rest.err
check "what was there while it lived is there afterwards" sh -c "[ -s living.jsonl ] && head -n \$(wc -l <living.jsonl) rest.jsonl | cmp - living.jsonl"
same "jsonl has every labelled message and every passed rollout" "$(wc -l <live/out.jsonl)" "$(wc -l <rest.jsonl)"
check "... in the order of ordinals" sh -c "cut -d, -f1 rest.jsonl | cut -d: -f2 | sort -nc"
same "... with the fields of a sink" "$(sort live/out.jsonl | sha256sum)" "$(sort rest.jsonl | sha256sum)"
"$SLUICE" export live --format trl-stepwise >trl.jsonl 2>/dev/null
check "trl-stepwise rows are a prompt, completions and labels" sh -c "! grep -qvE '^\{\"prompt\":\"[^\"]*\",\"completions\":\[\"[^]]*\],\"labels\":\[(true|false)[a-z,]*\]\}$' trl.jsonl"
check "... whose completions end without a line end" sh -c "! grep -q 'n\",\"' trl.jsonl"
"$SLUICE" export live --format trl-stepwise --unknown skip >skip.jsonl 2>skip.err
same "... a row with an unknown step can be left out" 0 "$(wc -l <skip.jsonl)"
"$SLUICE" export live --format trl-stepwise --unknown correct >correct.jsonl 2>/dev/null
same "... or its step be called correct" "$(wc -l <correct.jsonl)" "$(grep -c 'true\]}$' correct.jsonl)"
"$SLUICE" export live --format verl --data-source mine >verl.jsonl 2>/dev/null
check "verl rows are what verl reads" grep -qE '^\{"data_source":"mine","prompt":\[\{"role":"user","content":"[^"]*"\}\],"ability":"math","reward_model":\{"style":"rule","ground_truth":"[0-9]+"\},"extra_info":\{"split":"train","index":[0-9]+,"id":"r[0-9-]+","reward":0\.0,"steps":\["' verl.jsonl
"$SLUICE" export live --format openrlhf >open.jsonl 2>/dev/null
check "openrlhf rows too" grep -qE '^\{"input":"[^"]*","output":"[^"]*","label":"[0-9]+","reward":1\.0,"steps":\[\],"step_labels":\[\]\}$' open.jsonl
"$SLUICE" export live gems/out --format openrlhf >some.jsonl 2>/dev/null
same "an output can be named" "$(grep -c '"kind":"labelled"' rest.jsonl)" "$(wc -l <some.jsonl)"
check "a file that is there is not overwritten" sh -c "! '$SLUICE' export live -o rest.jsonl 2>/dev/null"
said=$("$SLUICE" export live --format trl_stepwise 2>&1)
check "a format that is none is refused with a hint" grep -q "did you mean 'trl-stepwise'" <<<"$said"
said=$("$SLUICE" tap live calc/votes 2>&1)
check "tap of a run at rest says where to look" grep -q "nothing passes; \`sluice export\`" <<<"$said"

# ---- doctor ----
"$SLUICE" doctor "$work" --json >doctor.jsonl
same "doctor finds nothing here that fails" 0 $?
for name in cpu memory disk sync files sockets clock isolation libzmq lmdb libcurl pcre2 cuda device; do
    check "doctor looks at: $name" grep -q "^{\"check\":\"$name\",\"state\":\"\(ok\|warn\)\"" doctor.jsonl
done
SLUICE_CUDA=$(dirname "$SLUICE")/simt/libsluice-cuda.so "$SLUICE" doctor "$work" --json >doctor.jsonl
check "doctor says what \`device: auto\` is, where there is a device" \
    grep -q '"check":"device","state":"ok","text":"`device: auto` is cuda:0 .*, compute .* GiB free"' doctor.jsonl
SLUICE_SIMT_CUBLASLT=none SLUICE_CUDA=$(dirname "$SLUICE")/simt/libsluice-cuda.so "$SLUICE" doctor "$work" --json >doctor.jsonl
check "... and why it is none: no cuBLASLt" \
    grep -q '"check":"device".*`device: auto` is the processor: device cuda:0: cuBLASLt is too old: it has no cublasLt' doctor.jsonl
"$SLUICE" doctor "$work/nowhere" >doctor.jsonl 2>&1
same "a folder that is not there fails" 1 $?
check "... with what to do" grep -q '"check":"disk","state":"fail".*"do":"name a folder that exists"' doctor.jsonl
case ${BUILD:-} in
*san*) echo "ok - a limit of address space is told # skip AddressSanitizer needs more" ; [ $failures -eq 0 ]; exit ;;
esac
(ulimit -v 4000000; "$SLUICE" doctor "$work") >doctor.jsonl 2>&1
check "a limit of address space is told" grep -q '"check":"memory","state":"fail".*ulimit -v' doctor.jsonl
[ $failures -eq 0 ]
