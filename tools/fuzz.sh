#!/usr/bin/env bash
# Builds the fuzz targets with clang, ASan and UBSan, replays their corpora and fuzzes all of them for SECONDS in all.
#   tools/fuzz.sh [SECONDS]     default 60
set -euo pipefail
cd "$(dirname "$0")/.."
total=${1:-60}
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake --preset fuzz "${launcher[@]}" >/dev/null
cmake --build --preset fuzz --target fuzzers -j "$(nproc)"

targets=(build/fuzz/tests/fuzz/fuzz_*)
each=$((total / ${#targets[@]}))
for target in "${targets[@]}"; do
  name=$(basename "$target")
  corpus=tests/fuzz/corpus/${name#fuzz_}
  found=$(mktemp -d)
  echo "fuzz: $name, $each s"
  if ! "$target" -max_total_time="$each" -max_len=16384 -timeout=20 -rss_limit_mb=4096 -print_final_stats=0 -verbosity=0 \
      -artifact_prefix="$found/" "$found" "$corpus" 2> "$found.log"; then
    cat "$found.log"
    echo "fuzz: $name FAILED; the input lies in $found" >&2
    exit 1
  fi
  rm -rf "$found" "$found.log"
done
echo "fuzz: no crashes"
