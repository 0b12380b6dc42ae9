#!/bin/bash
# The committed manuals and the JSON schema say what the tables say, and the schema is JSON.
cd "$(dirname "$0")/.." || exit 2
tools/manual.sh --check
rc=$?
if command -v python3 >/dev/null; then
    if python3 -c 'import json; json.load(open("schemas/topology.schema.json"))' 2>/dev/null; then
        echo "ok - schemas/topology.schema.json is JSON"
    else
        echo "not ok - schemas/topology.schema.json is JSON"; rc=1
    fi
fi
exit $rc
