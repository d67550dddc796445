#!/usr/bin/env bash
# Ranks under a real mpirun (Open MPI): meeting, a killed rank, and stopping by USR1 with the script of tools/launch.
#   mpirun_test.sh RANK_HELPER SOURCE_FOLDER
set -euo pipefail
helper=$1
source_folder=$2
source "$(dirname "$0")/expect.sh"
command -v mpirun >/dev/null || { echo "SKIPPED: mpirun is not installed (tools/setup.sh --tests)"; exit 0; }
home=$(mktemp -d /tmp/seer-mpirun.XXXXXX)
trap 'rm -rf "$home"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
run=$home/run

mpirun --oversubscribe -np 4 "$helper" "$run" > "$home/out" 2>&1 || { cat "$home/out"; exit 1; }
for rank in 0 1 2 3; do
  expect "$home/out" "rank $rank of 4, local $rank of 4, nodes 1, by Open MPI, gpu none, resume 0: 0@.* 1@.* 2@.* 3@.* "
done
expect_absent "$run"
echo "meeting: good"

# mpirun ends the others itself as soon as it sees a failure; whether they hear of it from rank 0 before is a race.
for failure in exit:1:7 signal:1:9; do
  code=0
  timeout 30 mpirun --oversubscribe -np 3 "$helper" "$run" "$failure" > "$home/out" 2>&1 || code=$?
  [[ $code != 0 && $code != 124 ]] || { echo "$failure: mpirun ended with $code"; cat "$home/out"; exit 1; }
  echo "$failure: good (mpirun's exit code is $code)"
done

# The script calls `seer-train train CONFIG --set output.dir=RUN ...`; here a stand-in that knows RUN by itself.
cat > "$home/stand_in" <<SH
#!/bin/bash
exec $helper $run make-run wait
SH
chmod +x "$home/stand_in"
echo "localhost slots=3" > "$home/hosts"
SEER_TRAIN=$home/stand_in MPIRUN_FLAGS=--oversubscribe "$source_folder/tools/launch/mpirun.sh" "$home/hosts" my.json "$run" > "$home/out" 2>&1 &
launcher=$!
wait_for "$home/out" "rank 0 of 3" && wait_for "$home/out" "rank 1 of 3" && wait_for "$home/out" "rank 2 of 3"
kill -USR1 "$launcher"
code=0
wait "$launcher" || code=$?
[[ $code == 75 ]] || { echo "mpirun ended with $code after USR1:"; cat "$home/out"; exit 1; }
echo "stopping: good"
