// Ranks that were not told the same, or do not find the same: each of them says what differs, and nothing is left behind.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "src/ranks/control_plane.h"
#include "tests/trainer/rank_runs.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::Eq;
using ::testing::HasSubstr;

class RanksDisagreement : public testing::Test {
 protected:
  Strings command(const Strings& settings = {}) const {
    return train_command(run_, "run", 0, sets(settings));
  }

  /// The command, run where relative paths lead to another folder.
  static Strings in(const fs::path& folder, const Strings& command) {
    Strings all = {"/usr/bin/env", "-C", folder.string()};
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }

  /// Every rank fails, by itself or as soon as another one did, and says why in one line that matches.
  void expect_refused(const std::vector<Strings>& commands, const std::string& regex) const {
    StartedRanks ranks(commands);
    for (const ProcessResult& result : ranks.wait()) {
      EXPECT_THAT(result.exit_code, AnyOf(Eq(kFailure), Eq(kExitPeerLost)));
      const Strings words = last_words(result.err);
      ASSERT_EQ(words.size(), 1) << result.err;
      EXPECT_THAT(words[0], ContainsRegex(regex));
      EXPECT_THAT(result.err, testing::Not(HasSubstr("unexpected failure")));
    }
    EXPECT_FALSE(fs::exists(run_.path("run")));
  }

  const TinyRun run_;
};

TEST_F(RanksDisagreement, OverTheConfig) {
  expect_refused({command(), command({"train.batch_size=2"})},
                 "train.batch_size is 4 on rank 0 and 2 on rank 1");
  expect_refused({command(), command({"gates[0].block_size=32"})},
                 "gates\\[0\\].block_size is 16 on rank 0 and 32 on rank 1");
  // Gates of other sizes, and ranks in other groups: what they would exchange next does not fit.
  expect_refused({command(), command({"gates[1].type=Qavg_Kmaxminavg"})},
                 "gates\\[1\\].type is \"Qmaxmin_Kavg\" on rank 0 and \"Qavg_Kmaxminavg\" on rank 1");
  expect_refused({command(), command(), command({"parallel.context=2"}), command()},
                 "parallel.context is 1 on rank 0 and 2 on rank 2");
}

TEST_F(RanksDisagreement, OverTheModel) {
  write_tiny_model(run_.path("other weights"), {.seed = 2});
  write_tiny_model(run_.path("other shape"), {.layers = 3});
  expect_refused({command(), command({"model.path=" + run_.path("other weights").string()})},
                 "model.weights is fingerprint [0-9a-f]+ on rank 0 and fingerprint [0-9a-f]+ on rank 1");
  expect_refused({command({"parallel.shard_weights=0"}),
                  command({"parallel.shard_weights=0", "model.path=" + run_.path("other shape").string()})},
                 "model is llama with 2 layers.* on rank 0 and llama with 3 layers.* on rank 1");
}

/// As on hosts whose disks do not hold the same.
TEST_F(RanksDisagreement, OverTheData) {
  const fs::path here = run_.path("here");
  const fs::path there = run_.path("there");
  for (const fs::path& folder : {here, there}) {
    fs::create_directory(folder);
    for (const char* file : {"tokens.npy", "held_out.npy"}) fs::copy(run_.path(file), folder);
  }
  const Strings relative = command({"data.files=[\"tokens.npy\"]", "eval.files=[\"held_out.npy\"]"});
  write_npy(there / "held_out.npy", random_ids(3, 256 * 2, 256));
  expect_refused(
      {in(here, relative), in(there, relative)},
      "the held-out data is 2 sequences, checksum .* on rank 0 and 2 sequences, checksum .* on rank 1");
  write_npy(there / "tokens.npy", random_ids(1, 256 * 9, 256));
  expect_refused({in(here, relative), in(there, relative)}, "the data is .* on rank 0 and .* on rank 1");
}

TEST_F(RanksDisagreement, AMissingRankIsNamed) {
  StartedRanks ranks({command({"parallel.timeout=1", "train.batch_size=3"})}, 3);
  const ProcessResult head = ranks.wait()[0];
  EXPECT_EQ(head.exit_code, kFailure);
  EXPECT_THAT(head.err, HasSubstr("seer-train: ranks 1-2 of 3 did not come within 1 s"));
  EXPECT_FALSE(fs::exists(run_.path("run")));
}

}  // namespace
}  // namespace seer::test
