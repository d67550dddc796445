#!/usr/bin/env bash
# From a fresh clone to gates in use: installs what is missing, builds, trains gates for a small real Llama model on real
# books (configs/quickstart.json), measures the sparse model beside the dense one, and writes a page to look at. One to four
# minutes on two cores after the build.
#   tools/quickstart.sh [-DSEER_CUDA=OFF ...] [--set KEY=VALUE ...]    -D options go to cmake, others to `seer-train train`
set -euo pipefail
cd "$(dirname "$0")/.."
configure=()
train=()
for option in "$@"; do
  case "$option" in
    -h | --help) sed -n '2,5p' "$0"; exit 0 ;;
    -D*) configure+=("$option") ;;
    *) train+=("$option") ;;
  esac
done

tools/setup.sh
cmake --preset release "${configure[@]}"
cmake --build --preset release --target seer-train

run=runs/quickstart
# Before anything is removed: are the options ones that training takes?
build/release/seer-train train configs/quickstart.json --set output.dir="$run" "${train[@]}" --print-config > /dev/null
if [[ -e "$run" ]]; then
  echo "quickstart: removing the earlier $run"
  rm -rf "$run"
fi
time build/release/seer-train train configs/quickstart.json --set output.dir="$run" "${train[@]}"

model=configs/quickstart/seer-nano
heldout=configs/quickstart/heldout.jsonl.zst
time build/release/seer-train eval ppl --model $model --gates "$run/gates/gate" --data $heldout --seq 4096 --documents 2 \
  --methods gate,window,oracle --density 0.1,0.3 --sink-blocks 1 --json "$run/eval-ppl.json"
build/release/seer-train report "$run" --model $model --data $heldout --density 0.1 --sink-blocks 1 --out "$run/report.html"
cat <<EOF

What to look at next:
  $run/report.html              what was learnt, what it saves and costs: open it in a browser
  $run/metrics.jsonl            every step, one JSON object a line
  tensorboard --logdir $run     the same curves
  build/release/seer-train generate --model $model --gates $run/gates/gate --density 0.3 --sink-blocks 1 --prompt "It was a dark night"
EOF
