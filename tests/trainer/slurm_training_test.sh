#!/usr/bin/env bash
# Whole trainings under a real Slurm of two nodes: four ranks train what one does, a batch script without srun trains alone,
# and a preempted job goes back into the queue and on from its checkpoint.
#   slurm_training_test.sh SEER_TRAIN MAKE_TINY_RUN SOURCE_FOLDER
set -euo pipefail
export SEER_TRAIN=$1 MAKE_TINY_RUN=$2 SOURCE=$3

# Of every test: Slurm's folder goes with it.
prepare() {
  source "$SOURCE/tests/trainer/training_checks.sh"
  home=$SEER_TEST_HOME/$1
  mkdir "$home"
  make_tiny "$home/tiny"
}

srun_trains() {
  prepare srun
  train_alone "$home/alone"
  srun -N2 --ntasks-per-node=2 "$SEER_TRAIN" train "$tiny/config.json" --set output.dir="$home/run" "${settings[@]}" \
    > "$home/out" 2>&1 || { cat "$home/out"; return 1; }
  expect "$home/out" "4 ranks on 2 machines \(Slurm\) over Gloo"
  expect_same "$home/alone" "$home/run"
}

batch_without_srun_is_alone() {
  prepare batch
  train_alone "$home/alone"
  sbatch --quiet --wait -N1 -n4 --output="$home/out" \
    --wrap "$SEER_TRAIN train $tiny/config.json --set output.dir=$home/run ${settings[*]}" || { cat "$home/out"; return 1; }
  if grep -q "ranks on" "$home/out"; then cat "$home/out"; return 1; fi
  expect_same "$home/alone" "$home/run"
}

preemption() {
  prepare preemption
  train_alone "$home/alone" "${long[@]}"
  local job
  job=$(sbatch --parsable --gpus-per-node=0 --cpus-per-task=1 --ntasks-per-node=2 --output="$home/out" \
    "$SOURCE/tools/launch/many_nodes.sbatch" "$tiny/config.json" "$home/run" "${settings[@]}" "${long[@]}")
  wait_for_step "$home/run" 3
  scancel --batch --signal=USR1 "$job"
  wait_for "$home/out" "stopped after step [0-9]+ of 200: checkpoint saved"
  wait_for "$home/out" "the run is saved: back into the queue"
  # A requeued job waits for cred_expire seconds before it starts again.
  wait_for "$home/out" "resumed from "
  wait_for "$home/out" "step 200/200 "
  for _ in $(seq 200); do
    [[ -n "$(squeue -h -j "$job" 2>/dev/null)" ]] || break
    sleep 0.1
  done
  expect_same "$home/alone" "$home/run"
}
export -f prepare srun_trains batch_without_srun_is_alone preemption

"$SOURCE/tests/ranks/slurm_cluster.sh" srun_trains batch_without_srun_is_alone preemption
