#!/bin/sh
# submit.sh INPUT PREFIX N [OPTION...]: slices INPUT in N tasks, in two stages, and publishes the shards when all are done.
# OPTION... are those of `annslicer slice`. The memory of a task is what its dry run tells, and a tenth more.
# Options of sbatch, such as a partition, go into SBATCH_... variables or the lines of task.sh.
set -eu
input=$1 prefix=$2 n=$3
shift 3
here=$(dirname "$0")
limit=${MEMORY_LIMIT:-8GB}

memory() { # MB for a task of this stage
    annslicer slice "$input" "$prefix" "$@" --memory-limit "$limit" --dry-run --json -q |
        sed -n 's/.*"memory_bytes": *\([0-9]*\).*/\1/p' | awk '{ printf "%d", $1 * 1.1 / 1e6 + 200 }'
}

submit() { # STAGE AFTER OPTION...
    stage=$1 after=$2
    shift 2
    sbatch --parsable --job-name "annslicer-$stage" --array "1-$n" --mem "$(memory "$@" --part "1/$n" --stage "$stage")M" \
        ${after:+--dependency "afterok:$after" --kill-on-invalid-dep yes} \
        "$here/task.sh" "$input" "$prefix" "$n" "$stage" --memory-limit "$limit" "$@"
}

scatter=$(submit scatter "" "$@")
gather=$(submit gather "$scatter" "$@")
finish=$(sbatch --parsable --job-name annslicer-finish --dependency "afterok:$gather" --kill-on-invalid-dep yes \
    --mem 1G --cpus-per-task 1 --wrap "annslicer slice '$input' '$prefix' $* --finish")
echo "scatter $scatter, gather $gather, finish $finish"
