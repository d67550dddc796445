// What tests of `eval ppl` and `calibrate` share.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "tests/trainer/eval/eval_files.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {

/// The nano model, random gates and two windows of 256 tokens of two books.
class EvalCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    write_random_gates(*folder_ / "gates", nano_model());
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static ProcessResult run(std::vector<std::string> command, const std::vector<std::string>& more,
                           const std::string& gates = "gates") {
    command.insert(command.end(), {"--model", nano_model().string(), "--threads", "1", "--documents", "2"});
    if (std::find(more.begin(), more.end(), "--data") == more.end())
      command.insert(command.end(), {"--data", nano_held_out().string()});
    if (!gates.empty()) command.insert(command.end(), {"--gates", path(gates)});
    command.insert(command.end(), more.begin(), more.end());
    return seer_train(command);
  }
  static ProcessResult perplexity(const std::vector<std::string>& more, const std::string& gates = "gates") {
    return run({"eval", "ppl"}, more, gates);
  }
  static nlohmann::json json(const std::string& name) {
    return nlohmann::json::parse(read_text_file(path(name)));
  }
  /// A copy of the gates for a test that changes them.
  static void copy_gates(const std::string& to) {
    std::filesystem::copy(path("gates"), path(to), std::filesystem::copy_options::recursive);
  }

  static inline std::unique_ptr<TempDir> folder_;
};

}  // namespace seer::test
