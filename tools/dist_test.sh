#!/usr/bin/env bash
# Tests a checkpoint with several processes: one per GPU, or on CPUs through gloo. Same scores as with one.
#
#   tools/dist_test.sh CONFIG CKPT PROCESSES_PER_NODE [arguments of tools/test.py]
#
# Several machines: as tools/dist_train.sh.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1
checkpoint=$2
processes=$3
shift 3
# A test is not continued: a process that dies ends it.
TOOL=test.py MAX_RESTARTS=0 exec "$(dirname "${BASH_SOURCE[0]}")/dist_train.sh" "$config" "$processes" "$checkpoint" "$@"
