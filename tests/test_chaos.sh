#!/bin/bash
# Kills of every process and the supervisor while the arith graph trains: the same checkpoint (P2, P3), conserved (P1).
exec "$(dirname "$0")/chaos.sh" "${CHAOS_KILLS:-20}" "${CHAOS_SEED:-1}" "$(dirname "$0")/../examples/arith/short.yaml"
