# Checks of the cluster tests: `source` this.

# expect FILE REGEX: some line of FILE matches.
expect() {
  grep -Eq -- "$2" "$1" && return
  echo "expected a line matching \"$2\" in:"
  cat "$1"
  return 1
}

# wait_for FILE REGEX: as expect, but for up to 20 s.
wait_for() {
  for _ in $(seq 200); do
    [[ ! -e "$1" ]] || ! grep -Eq -- "$2" "$1" || return 0
    sleep 0.1
  done
  expect "$1" "$2"
}

# expect_absent PATH
expect_absent() {
  [[ ! -e "$1" ]] || { echo "$1 was left behind"; return 1; }
}
