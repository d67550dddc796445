#!/usr/bin/env bash
# Every GPU test and benchmark in one go, on a machine with an NVIDIA GPU, and the receipt that says for which code.
#   tools/gpu_check.sh [BUILD]     BUILD (default build/release) holds seer-train and the tests in gpu_tests/; a folder of
#                                  copies will do (tools/pack.sh), so that they can be built elsewhere
#   tools/gpu_check.sh --status    whether cuda/RECEIPT.txt is of the code at hand; runs nothing
#   --quick                        tests alone
# Environment: SEER_GOLDENS (default: tests/golden), SEER_CUDNN (a libcudnn to compare with).
set -euo pipefail
cd "$(dirname "$0")/.."
receipt=cuda/RECEIPT.txt

# What GPU results depend on: the CUDA code, the interface it implements, and the sweep that drives it.
code_hash() {
  find cuda src/ops src/model src/gate src/core/tree_order.h \
    trainer/{sweep,session,residuals,gradient_sum,step_scalars,ranks,micro_batch,token_batches}.* -type f \
    \( -name '*.cu' -o -name '*.cuh' -o -name '*.h' -o -name '*.cpp' -o -name CMakeLists.txt \) -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16
}

build=build/release
quick=0
for argument in "$@"; do
  case "$argument" in
    --status)
      if [[ ! -f "$receipt" ]]; then
        echo "GPU receipt: STALE (none was ever written; run tools/gpu_check.sh on a machine with a GPU)"
      elif grep -qx "code $(code_hash)" "$receipt"; then
        echo "GPU receipt: fresh ($(sed -n 's/^date //p' "$receipt"))"
      else
        echo "GPU receipt: STALE (it is of other code, $(sed -n 's/^date //p' "$receipt"); run tools/gpu_check.sh on a machine with a GPU)"
      fi
      exit 0 ;;
    --quick) quick=1 ;;
    -*) sed -n '2,8p' "$0" >&2; exit 2 ;;
    *) build=$argument ;;
  esac
done

export SEER_GOLDENS=${SEER_GOLDENS:-$PWD/tests/golden} SEER_SOURCE=$PWD
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader >/dev/null || { echo "gpu_check: no NVIDIA GPU here" >&2; exit 1; }
mapfile -t tests < <(find "$build/gpu_tests" -type f -perm -u+x | LC_ALL=C sort)
seer_train=$build/seer-train
least=18  # fewer: some were not built, or not copied
[[ ${#tests[@]} -ge $least && -x "$seer_train" ]] || {
  echo "gpu_check: $build holds ${#tests[@]} of at least $least test binaries in gpu_tests/, and seer-train" >&2
  exit 1
}

SEER_TRAIN_BINARY=$(realpath "$seer_train")  # for tests that start it
export SEER_TRAIN_BINARY
if [[ -d "$build/lib" ]]; then
  LD_LIBRARY_PATH=$(realpath "$build/lib"):${LD_LIBRARY_PATH:-}
  export LD_LIBRARY_PATH
fi

new=$(mktemp)
{
  echo "GPU receipt of seer-train: written by tools/gpu_check.sh, checked by tools/test.sh"
  echo "code $(code_hash)"
  echo "date $(date -u +%Y-%m-%d)"
  echo "device $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)"
  echo
} > "$new"
failed=0
for test in "${tests[@]}"; do
  log=$(mktemp)
  if timeout 300 "$test" --gtest_brief=1 > "$log" 2>&1; then result=passed; else result=FAILED; failed=1; fi
  if grep -q "NO DEVICE: two GPUs" "$log"; then
    result="skipped, as it needs two GPUs"
  elif grep -q "NO DEVICE" "$log"; then
    result=SKIPPED; failed=1
  fi
  line="$(basename "$test"): $result, $(sed -n 's/.*\] \([0-9]* tests\{0,1\}\) from.*(\(.*\) total).*/\1 in \2/p' "$log" | tail -n 1)"
  echo "$line" | tee -a "$new"
  if [[ "$result" != passed ]]; then grep -E "FAILED|Failure|NO DEVICE" -A 4 "$log" | head -n 40 || true; fi
  rm -f "$log"
done
if [[ "$quick" == 0 ]]; then
  benches=("attention" "attention --portable --seq 32768" "sparse" "sparse --portable --seq 32768" "decode" "gemm" "step --seq 32768" "step --seq 65536")
  # Blocks that real gates keep: those of a few steps on the quickstart's model.
  rm -rf runs/gpu_check
  "$seer_train" train configs/quickstart.json --set device=cuda --set train.steps=20 --set 'eval.files=[]' \
    --set output.dir=runs/gpu_check > "$new.train" 2>&1 || { tail -n 20 "$new.train"; failed=1; }
  benches+=("sparse --model configs/quickstart/seer-nano --gates runs/gpu_check/gates/gate --data configs/quickstart/heldout.jsonl.zst --seq 4096")
  # What a user does with gates, from the command line.
  used=(--model configs/quickstart/seer-nano --gates runs/gpu_check/gates/gate --device cuda)
  text=(--data configs/quickstart/heldout.jsonl.zst --documents 2)
  use() {
    local log
    log=$(mktemp)
    { echo; echo "\$ seer-train $*"; } | tee -a "$new"
    if timeout 300 "$seer_train" "$@" > "$log" 2>&1; then
      tail -n 12 "$log" | tee -a "$new"
    else
      { cat "$log"; echo FAILED; } | tee -a "$new"
      failed=1
    fi
    rm -f "$log"
  }
  use eval ppl "${used[@]}" "${text[@]}" --seq 4096 --methods gate,window,minmax,oracle --density 0.1,0.3 --sink-blocks 1 \
    --json runs/gpu_check/eval-ppl.json
  use calibrate "${used[@]}" "${text[@]}" --seq 4096 --density 0.2 --sink-blocks 1
  use generate "${used[@]}" --calibrated --max-new-tokens 24 --prompt "It was a dark night"
  use eval ruler "${used[@]}" --seq 2048 --tasks cwe --samples 2 --density 0.3 --results runs/gpu_check/ruler.jsonl
  use report runs/gpu_check --model configs/quickstart/seer-nano --data configs/quickstart/heldout.jsonl.zst --device cuda --density 0.1
  if (( $(nvidia-smi -L | wc -l) > 1 )); then benches+=("comm --gpus 0,1" "ranks --gpus 0,1"); fi
  for bench in "${benches[@]}"; do
    { echo; echo "\$ seer-train bench $bench"; } | tee -a "$new"
    # shellcheck disable=SC2086
    timeout 300 "$seer_train" bench $bench 2>&1 | tee -a "$new" || failed=1
  done
fi
if [[ "$failed" == 0 && "$quick" == 0 ]]; then
  mv "$new" "$receipt"
  chmod 644 "$receipt"
  echo "gpu_check: all passed; $receipt written"
else
  echo "gpu_check: $([[ "$failed" == 0 ]] && echo "tests passed; no receipt without the benchmarks" || echo "FAILED"); see $new" >&2
  exit "$failed"
fi
