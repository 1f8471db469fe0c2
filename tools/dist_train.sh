#!/usr/bin/env bash
# Trains with several processes: one per GPU, or on CPUs through gloo.
#
#   tools/dist_train.sh CONFIG PROCESSES_PER_NODE [arguments of tools/train.py]
#
# On several machines, on each of them with its own NODE_RANK:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 PORT=29500 tools/dist_train.sh CONFIG 8 ...
# MASTER_ADDR is that of the machine with NODE_RANK=0. NNODES=2:4 lets machines leave and join.
#
# When a process dies, all are started again, at most MAX_RESTARTS times (default 3), and continue from the
# newest complete checkpoint of the run.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1
processes=$2
shift 2
case $processes in
    '' | *[!0-9]* | 0) echo "error: PROCESSES_PER_NODE=$processes, must be a number of at least 1" >&2; exit 2 ;;
esac

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && [ -x "$here/.venv/bin/python" ]; then
    python=$here/.venv/bin/python
fi
max_restarts=${MAX_RESTARTS:-3}
nnodes=${NNODES:-1}
address=${MASTER_ADDR:-127.0.0.1}

if [ "$nnodes" = 1 ] && [ -z "${PORT:-}" ]; then
    rendezvous=(--standalone) # on a free port, so that two runs on a machine do not meet
else
    port=${PORT:-29500}
    rendezvous=(--rdzv_backend=c10d --rdzv_endpoint="$address:$port" --rdzv_id="${RDZV_ID:-mimselfsup-$port}")
    # Told, not guessed from names and addresses, who hosts the meeting point.
    if [ "${NODE_RANK:-0}" = 0 ]; then
        rendezvous+=(--rdzv_conf=is_host=1 --local_addr="$address")
    else
        rendezvous+=(--rdzv_conf=is_host=0)
    fi
fi

# A store of its own for every start: in a shared one, processes that start again find the addresses of those that
# died, and cannot connect (torch 2.11).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" -m torch.distributed.run --nnodes="$nnodes" --nproc_per_node="$processes" \
    --max-restarts="$max_restarts" "${rendezvous[@]}" \
    "$here/tools/${TOOL:-train.py}" "$config" --launcher pytorch "$@"
