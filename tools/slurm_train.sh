#!/usr/bin/env bash
# Trains on a Slurm cluster: srun starts one torchrun per node, which starts one process per GPU.
#
#   [NNODES=2] [GPUS_PER_NODE=8] tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
#
# CPUS_PER_GPU (default 8), PORT, MAX_RESTARTS (default 3) and SRUN_ARGS (more options of srun) are taken from
# the environment. GPUS_PER_NODE=0 with PROCESSES_PER_NODE=N trains on CPUs.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
shift 3

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export NNODES=${NNODES:-1}
gpus=${GPUS_PER_NODE:-8}
processes=${PROCESSES_PER_NODE:-$gpus}
if [ "$processes" -lt 1 ]; then
    echo "error: no processes: set GPUS_PER_NODE, or PROCESSES_PER_NODE for CPUs" >&2
    exit 2
fi
resources=(--cpus-per-task=$((processes * ${CPUS_PER_GPU:-8})))
if [ "$gpus" -gt 0 ]; then
    resources+=(--gres=gpu:"$gpus")
fi

# All nodes meet at the first of the job, which only srun's own environment knows.
# shellcheck disable=SC2016,SC2086
exec srun --partition="$partition" --job-name="$job_name" --nodes="$NNODES" --ntasks="$NNODES" \
    --ntasks-per-node=1 --kill-on-bad-exit=1 "${resources[@]}" ${SRUN_ARGS:-} \
    bash -c '
        export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
        export PORT=${PORT:-$((20000 + SLURM_JOB_ID % 20000))}
        export NODE_RANK=$SLURM_NODEID RDZV_ID=$SLURM_JOB_ID
        exec "$@"
    ' bash "$here/tools/dist_train.sh" "$config" "$processes" "$@"
