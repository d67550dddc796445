// make_tiny_run FOLDER: a model, tokens and a config for seer-train, for tests that are scripts.
#include "tests/trainer/tiny_run.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  using seer::test::TinyRun;
  TinyRun::write(argv[1], TinyRun::Layout::kJoined, {});
  return 0;
}
