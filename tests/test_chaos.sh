#!/bin/bash
# Kills of every process and the supervisor while the arith graph trains: the same checkpoint (P2, P3), conserved (P1). Then again with
# the judge behind HTTP: what the server's own ledger says of calls made twice. `make chaos` gives the kills and the seed.
cd "$(dirname "$0")/.." || exit 2
tests/chaos.sh "${CHAOS_KILLS:-20}" "${CHAOS_SEED:-1}" examples/arith/short.yaml
rc=$?
JUDGE=http LATENCY=${CHAOS_LATENCY:-0.05} tests/chaos.sh "${CHAOS_HTTP_KILLS:-10}" "${CHAOS_SEED:-1}" examples/arith/short.yaml || rc=1
exit $rc
