#!/usr/bin/env bash
# Ranks under a real Slurm of two nodes: srun, its PMI, a shared secret, sbatch without srun, a killed rank, preemption
# with the script of tools/launch.
#   slurm_test.sh RANK_HELPER SOURCE_FOLDER
set -euo pipefail
export HELPER=$1 SOURCE=$2
source "$(dirname "$0")/expect.sh"
export -f expect expect_absent

meet() {
  srun -N2 --ntasks-per-node=2 "$@" "$HELPER" "$SEER_TEST_HOME/run" > "$SEER_TEST_HOME/out" 2>&1 || { cat "$SEER_TEST_HOME/out"; return 1; }
  for rank in 0 1 2 3; do
    expect "$SEER_TEST_HOME/out" "rank $rank of 4, local $((rank % 2)) of 2, nodes 2, by Slurm, gpu none, resume 0: 0@.* 1@.* 2@.* 3@.* "
  done
  expect_absent "$SEER_TEST_HOME/run"
}
by_token_file() { meet; }
by_pmi2() { meet --mpi=pmi2; }
by_secret() {
  export SEER_SECRET=0123456789abcdef MASTER_ADDR=127.0.0.1
  meet
}

batch_is_alone() {
  sbatch --quiet --wait -N1 -n4 --output="$SEER_TEST_HOME/batch" --wrap "$HELPER $SEER_TEST_HOME/run"
  expect "$SEER_TEST_HOME/batch" "rank 0 of 1, local 0 of 1, nodes 1, by alone"
}

a_killed_rank() {
  local code=0
  srun --quiet --kill-on-bad-exit=0 -N2 --ntasks-per-node=2 "$HELPER" "$SEER_TEST_HOME/run" signal:3:9 > "$SEER_TEST_HOME/out" 2>&1 || code=$?
  [[ $code != 0 ]] || { echo "srun ended well"; return 1; }
  for rank in 0 1 2; do
    expect "$SEER_TEST_HOME/out" "seer-train: rank $rank: ended because rank 3 \(host .*, pid [0-9]+\) closed its connection"
  done
}

preemption() {
  # The script starts `seer-train train CONFIG --set output.dir=RUN ...`; here a stand-in that knows RUN by itself.
  local run=$SEER_TEST_HOME/run out=$SEER_TEST_HOME/preempted stand_in=$SEER_TEST_HOME/stand_in job
  cat > "$stand_in" <<SH
#!/bin/bash
case "\$*" in *--resume*) exec $HELPER $run --resume ;; *) exec $HELPER $run make-run wait ;; esac
SH
  chmod +x "$stand_in"
  job=$(SEER_TRAIN=$stand_in sbatch --parsable --gpus-per-node=0 --cpus-per-task=1 --ntasks-per-node=2 --output="$out" \
    "$SOURCE/tools/launch/many_nodes.sbatch" my.json "$run")
  wait_for "$out" "rank 3 of 4, local 1 of 2, nodes 2, by Slurm, gpu none, resume 0"
  scancel --batch --signal=USR1 "$job"
  wait_for "$out" "back into the queue"
  # A requeued job waits for cred_expire seconds before it starts again.
  wait_for "$out" "rank 3 of 4, local 1 of 2, nodes 2, by Slurm, gpu none, resume 1"
}
export -f meet by_token_file by_pmi2 by_secret batch_is_alone a_killed_rank preemption wait_for

"$(dirname "$0")/slurm_cluster.sh" by_token_file by_pmi2 by_secret batch_is_alone a_killed_rank preemption
