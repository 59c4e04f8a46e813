#!/bin/sh
# task.sh INPUT PREFIX N STAGE OPTION...: one task of an array.
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# Two minutes before its time is over, or where the partition preempts it, a task gets SIGTERM: annslicer keeps what it has
# finished, and the task is queued again and goes on from there.
set -eu
input=$1 prefix=$2 n=$3 stage=$4
shift 4
again() {
    kill -TERM "$task" && wait "$task" || true
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    exit 143
}
trap again TERM
annslicer slice "$input" "$prefix" "$@" --part "$SLURM_ARRAY_TASK_ID/$n" --stage "$stage" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --tmpdir "${TMPDIR:-/tmp}" &
task=$!
wait "$task"
