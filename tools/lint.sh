#!/usr/bin/env bash
# clang-format on every source file; clang-tidy on the sources that differ from a base revision.
#   tools/lint.sh [BASE]    default: the merge base with origin/main, else the last commit's parent; `all` for every file
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
clang-format --dry-run --Werror "${files[@]}"
echo "lint: clang-format clean (${#files[@]} files)"

base=${1:-}
if [[ -z "$base" ]]; then
  base=$(git merge-base HEAD origin/main 2>/dev/null || true)
  if [[ -z "$base" || "$base" == "$(git rev-parse HEAD)" ]]; then
    base=$(git rev-parse -q --verify HEAD~1 || git hash-object -t tree /dev/null)
  fi
fi
if [[ "$base" == all ]]; then
  mapfile -t changed < <(git ls-files 'src/*.cpp' 'cuda/*.cpp' 'data/*.cpp' 'trainer/*.cpp')
else
  mapfile -t changed < <(git diff --name-only --diff-filter=AM "$base" -- 'src/*.cpp' 'cuda/*.cpp' 'data/*.cpp' 'trainer/*.cpp')
fi
# A build with CUDA compiles other files than one without.
compiled=()
for file in "${changed[@]}"; do
  if grep -q "/$file\"" build/release/compile_commands.json; then compiled+=("$file"); fi
done
changed=("${compiled[@]}")
if [[ ${#changed[@]} -gt 0 ]]; then
  printf '%s\n' "${changed[@]}" | xargs -P "$(nproc)" -n 4 timeout 1500 clang-tidy -p build/release --quiet 2>/dev/null
fi
echo "lint: clang-tidy clean (${#changed[@]} changed files)"
