#!/bin/bash
# A small chaos_judges.sh: a judge behind a server that misbehaves at 30 % of its calls, killed again and again. `make chaos-judges`
# is the long one.
cd "$(dirname "$0")/.." || exit 2
TIMEOUT=300ms LATENCY=0.1 IN_FLIGHT=16 tests/chaos_judges.sh "${JUDGES_ROLLOUTS:-400}" "${JUDGES_KILLS:-5}" "${CHAOS_SEED:-1}"
