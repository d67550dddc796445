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
    --resume | output.dir=* | --set=output.dir=*)
      echo "quickstart: $option: it trains anew, into runs/quickstart; give it to build/release/seer-train train instead" >&2
      exit 2 ;;
    *) train+=("$option") ;;
  esac
done

tools/setup.sh
cmake --preset release "${configure[@]}"
cmake --build --preset release --target seer-train

run=runs/quickstart
# Before anything is moved: are the options ones that training takes, and does this machine have what they ask for?
effective=$(mktemp)
trap 'rm -f "$effective"' EXIT
build/release/seer-train train configs/quickstart.json --set output.dir="$run" "${train[@]}" --print-config > "$effective"
plan=$(build/release/seer-train plan "$effective") || { echo "$plan"; exit 1; }
if [[ -e "$run" ]]; then
  echo "quickstart: the earlier $run goes to $run.before"
  rm -rf "$run.before"
  mv "$run" "$run.before"
fi
time build/release/seer-train train configs/quickstart.json --set output.dir="$run" "${train[@]}"

model=configs/quickstart/seer-nano
gates=$(find "$run/gates" -mindepth 1 -maxdepth 1 -type d | LC_ALL=C sort | head -n 1)  # with several, the first
heldout=configs/quickstart/heldout.jsonl.zst
time build/release/seer-train eval ppl --model $model --gates "$gates" --data $heldout --seq 4096 --documents 2 \
  --methods gate,window,oracle --density 0.1,0.3 --sink-blocks 1 --json "$run/eval-ppl.json"
build/release/seer-train report "$run" --gate "$(basename "$gates")" --model $model --data $heldout --density 0.1 --sink-blocks 1 --out "$run/report.html"
cat <<EOF

What to look at next (export PATH=$PWD/build/release:\$PATH, and seer-train is a command):
  $run/report.html              what was learnt, what it saves and costs: open it in a browser
  $run/metrics.jsonl            every step, one JSON object a line
  tensorboard --logdir $run     the same curves
  build/release/seer-train generate --model $model --gates $gates --density 0.3 --sink-blocks 1 --prompt "It was a dark night"
EOF
