#!/bin/sh
# Rooms include downwards only: base <- schemas <- graph <- nodes -> kernels; commands sit on top.
# A node includes graph/node.h and nothing else of the runtime.
set -u
bad=0
refuse() {      # ROOM PATTERN: no file of ROOM may include a header matching PATTERN
    if grep -rnE "#include \"($2)" "$1" --include='*.[ch]' --include='*.cu' --include='*.cuh'; then
        echo "check_layers: $1 may not include the above" >&2; bad=1
    fi
}
refuse base    'schemas/|graph/|nodes/|kernels/|commands/'
refuse schemas 'graph/|nodes/|kernels/|commands/'
refuse graph   'nodes/|kernels/|commands/'
refuse kernels 'schemas/|graph/|nodes/|commands/'
refuse nodes   'graph/([^n]|n[^o])|commands/'
exit $bad
