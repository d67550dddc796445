# What the trainings under real launchers have in common: `source` this, with SEER_TRAIN, MAKE_TINY_RUN and SOURCE set.
source "$SOURCE/tests/ranks/expect.sh"

# make_tiny FOLDER: $tiny, and what every training is given besides a run folder.
make_tiny() {
  tiny=$1
  mkdir "$tiny"
  "$MAKE_TINY_RUN" "$tiny"
  settings=(--set threads=1 --set train.batch_size=4)
  # So many steps that a signal comes in the middle.
  long=(--set train.steps=200 --set train.save_every=0 --set eval.every=0)
}

# train_alone RUN [arguments]
train_alone() {
  local run=$1
  shift
  "$SEER_TRAIN" train "$tiny/config.json" --set output.dir="$run" "${settings[@]}" "$@" > "$run.out" 2>&1 || { cat "$run.out"; return 1; }
}

# expect_same EXPECTED ACTUAL: the gates, and all that the last checkpoint says of them.
expect_same() {
  local last
  last=checkpoints/$(ls "$1/checkpoints" | tail -n 1)/state.safetensors
  diff -r "$1/gates" "$2/gates" && cmp "$1/$last" "$2/$last"
}

# wait_for_step RUN STEP: that many steps are in its metrics.
wait_for_step() { wait_for "$1/metrics.jsonl" "^.\"step\":$2,"; }
