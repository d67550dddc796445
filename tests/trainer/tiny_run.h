// Whole runs of the real seer-train on a tiny model: a scratch folder with a model, tokens and a config, and
// what a finished run left behind in comparable form.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/support/fixtures.h"
#include "tests/support/process.h"
#include "tests/support/tiny_model.h"

namespace seer::test {

/// Runs the seer-train of this build.
ProcessResult seer_train(const std::vector<std::string>& arguments, const Process::Options& options = {});
/// Its path, for Process.
std::string seer_train_binary();

/// Exit codes of refusals.
constexpr int kUsage = 2;
constexpr int kFailure = 1;

/// Expects an exit code and one message on standard error, nothing else, that holds all of `parts`.
void expect_refusal(const ProcessResult& result, int code, const std::vector<std::string>& parts);
void expect_success(const ProcessResult& result);

/// Two gate entries on two layers, 256 tokens in a sequence, two sequences in each of 8 steps, evaluation on
/// held-out tokens. `--set` changes what a test is about.
class TinyRun {
 public:
  enum class Layout { kJoined, kPacked };

  explicit TinyRun(Layout layout = Layout::kJoined, const TinyModel& model = {}) {
    write(folder_.path(), layout, model);
  }
  /// Writes model/, tokens, and config.json, whose run goes to run/, into that folder.
  static void write(const std::filesystem::path& folder, Layout layout, const TinyModel& model);

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::filesystem::path model() const { return folder_ / "model"; }
  std::filesystem::path config() const { return folder_ / "config.json"; }

  /// Arguments of `seer-train train` for a run in path(run), with more arguments behind.
  std::vector<std::string> arguments(const std::string& run, const std::vector<std::string>& more = {}) const;

  /// Runs them.
  ProcessResult train(const std::string& run, const std::vector<std::string>& more = {}) const {
    return seer_train(arguments(run, more));
  }

 private:
  TempDir folder_;
};

/// Of a run's metrics.jsonl, 0 if there is none yet; also of a run that goes on.
int64_t last_step(const std::filesystem::path& run);

/// Lines of a run's metrics.jsonl without what no two runs have in common: time and speed.
std::vector<std::string> metrics_of(const std::filesystem::path& run);

/// Every file below gates/ and checkpoints/ by its path relative to the run; trainer_state.json without the
/// time spent.
std::map<std::string, std::string> results_of(const std::filesystem::path& run);

/// Expects the same files with the same bytes.
void expect_same_results(const std::map<std::string, std::string>& expected,
                         const std::map<std::string, std::string>& actual);

/// Expects that two runs computed the same: metrics as printed, and every byte of results_of().
void expect_same_run(const std::filesystem::path& expected, const std::filesystem::path& actual);

/// Everything below a folder, sorted, relative to it.
std::vector<std::string> files_below(const std::filesystem::path& folder);

}  // namespace seer::test
