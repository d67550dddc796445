#!/usr/bin/env bash
# From a fresh clone to distilled gates: installs what is missing, builds, and trains gates for a small real Llama model
# on real books (configs/quickstart.json). About two minutes on two cores after the build.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh
cmake --preset release
cmake --build --preset release --target seer-train

run=runs/quickstart
if [[ -e "$run" ]]; then
  echo "quickstart: removing the earlier $run"
  rm -rf "$run"
fi
time build/release/seer-train train configs/quickstart.json --set output.dir="$run" "$@"
cat <<EOF

What to look at next:
  $run/metrics.jsonl            every step, one JSON object a line
  tensorboard --logdir $run     the same curves
  build/release/seer-train inspect $run/gates/gate
EOF
