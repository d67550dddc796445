#!/usr/bin/env bash
# Whole trainings under a real mpirun (Open MPI): four ranks train what one does, also when they are stopped by USR1 and
# started again, with the script of tools/launch.
#   mpirun_training_test.sh SEER_TRAIN MAKE_TINY_RUN SOURCE_FOLDER
set -euo pipefail
export SEER_TRAIN=$1 MAKE_TINY_RUN=$2 SOURCE=$3
source "$(dirname "$0")/training_checks.sh"
command -v mpirun >/dev/null || { echo "SKIPPED: mpirun is not installed (tools/setup.sh --tests)"; exit 0; }
home=$(mktemp -d /tmp/seer-mpirun.XXXXXX)
trap 'rm -rf "$home"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
make_tiny "$home/tiny"

train_alone "$home/alone"
mpirun -np 4 --oversubscribe "$SEER_TRAIN" train "$tiny/config.json" --set output.dir="$home/run" "${settings[@]}" \
  > "$home/out" 2>&1 || { cat "$home/out"; exit 1; }
expect "$home/out" "4 ranks on 1 machine \(Open MPI\) over Gloo"
expect_same "$home/alone" "$home/run"
echo "training: good ($SECONDS s)"

train_alone "$home/alone_long" "${long[@]}"
echo "localhost slots=4" > "$home/hosts"
export MPIRUN_FLAGS=--oversubscribe
script=("$SOURCE/tools/launch/mpirun.sh" "$home/hosts" "$tiny/config.json" "$home/stopped" "${settings[@]}" "${long[@]}")
"${script[@]}" > "$home/out" 2>&1 &
launcher=$!
wait_for_step "$home/stopped" 3
kill -USR1 "$launcher"
code=0
wait "$launcher" || code=$?
[[ $code == 75 ]] || { echo "mpirun ended with $code after USR1:"; cat "$home/out"; exit 1; }
expect "$home/out" "stopped after step [0-9]+ of 200: checkpoint saved"
"${script[@]}" > "$home/out" 2>&1 || { cat "$home/out"; exit 1; }
expect "$home/out" "resumed from "
expect_same "$home/alone_long" "$home/stopped"
echo "stopping and resuming: good ($SECONDS s)"
