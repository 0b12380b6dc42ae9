#!/bin/bash
# The command line as a stranger meets it: every command explains itself, mistakes are named, exit codes hold.
cd "$(dirname "$0")/.." || exit 2
sluice=${SLUICE:-${BUILD:-build}/sluice}
rc=0
claim() {       # NAME EXIT WORDS ARGUMENTS...: the command ends with EXIT and says WORDS
    local name=$1 want=$2 words=$3 out got
    shift 3
    out=$("$sluice" "$@" 2>&1 </dev/null); got=$?
    if [ $got = "$want" ] && grep -qF -- "$words" <<<"$out"; then
        echo "ok - $name"
    else
        echo "not ok - $name (exit $got, not $want; or it does not say: $words)"; sed 's/^/# /' <<<"$out" | head -5; rc=1
    fi
}
for c in $("$sluice" help | awk '/^kinds/ { exit } /^  [a-z]/ && $1 != "sluice" { print $1 }'); do
    claim "sluice $c --help explains $c" 0 "usage: sluice $c" "$c" --help
done
for k in $("$sluice" help | awk '/^kinds/ { on = 1; next } /^[^ ]/ { on = 0 } on && NF { print $1 }'); do
    claim "sluice help $k shows its options" 0 "options of every node" help "$k"
done
claim "no command is a usage error" 2 "sluice COMMAND"
claim "a wrong command is named" 2 "did you mean 'check'?" chekc
claim "a wrong flag is named" 2 "did you mean '--plan'?" check --plna tests/bad/good.yaml
claim "sluice help aspo says what the objective is" 0 "clip_dual 3, variant code" help aspo
claim "a wrong kind is named" 2 "did you mean 'consensus'?" help consenus
claim "version names the libraries" 0 "libzmq" --version
claim "a missing topology is told" 78 "nowhere.yaml: No such file" check nowhere.yaml
claim "a folder is no topology" 78 "tests/bad" check tests/bad
claim "the plan shows where a value is from" 0 "good.yaml:10:20" check --plan tests/bad/good.yaml
claim "the plan shows what --set gave" 0 "--set" check --plan tests/bad/good.yaml --set steps.method=sentence
claim "a bad --set is refused" 78 "did you mean 'method'?" check tests/bad/good.yaml --set steps.methd=line
claim "the text drawing shows links" 0 "calc.in, gems.steps" graph tests/bad/good.yaml
claim "the dot drawing is a digraph" 0 '"calc" -> "gems"' graph --dot tests/bad/good.yaml
claim "the mermaid drawing is a flowchart" 0 "n2 -- votes --> n3" graph --mermaid tests/bad/good.yaml
claim "the schema knows every kind" 0 '"llm_judge"' schema
if "$sluice" help >/dev/full 2>/dev/null; then
    echo "not ok - output that cannot be written is an error"; rc=1
else
    echo "ok - output that cannot be written is an error"
fi
exit $rc
