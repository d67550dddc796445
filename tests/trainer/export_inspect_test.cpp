// `seer-train export` and `inspect` on what a finished run left behind.
#include <fstream>
#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// One finished run for the commands that read runs.
class Finished : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    run_ = std::make_unique<TinyRun>();
    expect_success(run_->train("run"));
  }
  static void TearDownTestSuite() { run_.reset(); }

  static std::string path(const std::string& name) { return run_->path(name).string(); }
  static ProcessResult export_to(const std::string& source, const std::string& to,
                                 const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"export", path(source), "--to", path(to)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return seer_train(arguments);
  }

  static inline std::unique_ptr<TinyRun> run_;
};

void expect_same_folder(const fs::path& a, const fs::path& b) {
  ASSERT_EQ(files_below(a), files_below(b));
  for (const std::string& name : files_below(a)) {
    if (fs::is_directory(a / name)) continue;
    EXPECT_TRUE(read_text_file(a / name) == read_text_file(b / name)) << name;
  }
}

TEST_F(Finished, ExportsTheNewestCheckpointAsTheRunDid) {
  const ProcessResult all = export_to("run", "exported");
  expect_success(all);
  EXPECT_THAT(all.out, AllOf(HasSubstr("\"fine\" of step 8"), HasSubstr("\"coarse\" of step 8")));
  expect_same_folder(path("run/gates"), path("exported"));
  expect_success(export_to("run", "exported"));  // again, over its own
  expect_same_folder(path("run/gates"), path("exported"));
  expect_success(export_to("run", "one/deeper/", {"--gate", "coarse"}));
  expect_same_folder(path("run/gates/coarse"), path("one/deeper"));
}

TEST_F(Finished, ExportsAGivenCheckpoint) {
  const ProcessResult older = export_to("run/checkpoints/step-00000006", "older");
  expect_success(older);
  EXPECT_THAT(older.out, HasSubstr("of step 6"));
  EXPECT_FALSE(read_text_file(path("older/fine/attn_gate_weights.safetensors")) ==
               read_text_file(path("run/gates/fine/attn_gate_weights.safetensors")));
  const ProcessResult newest = export_to("run/checkpoints/step-00000008/", "newest");
  expect_success(newest);
  expect_same_folder(path("run/gates"), path("newest"));
}

TEST_F(Finished, ExportRefusesOtherFoldersAndNames) {
  expect_refusal(export_to("run", "refused", {"--gate", "medium"}), kUsage, {"--gate", "medium"});
  expect_refusal(export_to("model", "refused"), kFailure,
                 {path("model"), "is a model's folder", "expected a run's folder"});
  expect_refusal(export_to("run/gates/fine", "refused"), kFailure,
                 {"is a gates folder", "checkpoints/step-N"});
  expect_refusal(export_to("none", "refused"), kFailure, {path("none"), "is not there"});
  EXPECT_FALSE(fs::exists(path("refused")));
  fs::create_directories(path("thesis"));
  write_file_atomically(path("thesis") + "/chapter.txt", "precious");
  expect_refusal(export_to("run", "thesis", {"--gate", "fine"}), kUsage, {path("thesis"), "chapter.txt"});
  EXPECT_EQ(read_text_file(path("thesis") + "/chapter.txt"), "precious");
  write_file_atomically(path("file"), "");
  expect_refusal(export_to("run", "file/gates", {"--gate", "fine"}), kFailure, {path("file")});
  fs::create_directories(path("no checkpoint"));
  fs::copy(path("run/config.json"), path("no checkpoint/config.json"));
  expect_refusal(export_to("no checkpoint", "refused"), kFailure,
                 {path("no checkpoint"), "no checkpoint yet"});
}

TEST_F(Finished, InspectSaysWhatEverythingHolds) {
  struct Case {
    std::string path;
    std::vector<std::string> said;
  };
  for (const Case& tested : std::vector<Case>{
           {path("model"),
            {"llama", "2 layers", "4 query and 2 kv heads", "lm_head.weight", "BF16", "[256, 64]"}},
           {path("model/model.safetensors"), {"safetensors file", "format: pt", "model.norm.weight"}},
           {path("run"), {"step 8", "fine/weights", "coarse/second_moment"}},
           {path("run/checkpoints/step-00000006"), {"step 6", "train.steps: 8", "F32"}},
           {path("run/gates/fine"),
            {"seerattn_gate_type", "Qavg_Kmaxminavg", "mask_linear_k.weight", "[4, 48, 16]"}},
           {path("run/gates/coarse/attn_gate_weights.pth"), {"PyTorch file", "mask_linear_q.weight", "BF16"}},
           {(goldens_dir() / "pth" / "ordered.pth").string(), {"PyTorch file"}},
       }) {
    SCOPED_TRACE(tested.path);
    const ProcessResult result = seer_train({"inspect", tested.path});
    expect_success(result);
    for (const std::string& part : tested.said) EXPECT_THAT(result.out, HasSubstr(part));
    EXPECT_THAT(result.out, AllOf(HasSubstr("yes"), Not(HasSubstr("NO"))));
  }
}

TEST_F(Finished, InspectFindsWhatIsNotFinite) {
  std::vector<OwnedTensor> tensors = tiny_tensors({});
  set_element(tensor_named(tensors, "model.layers.1.self_attn.o_proj.weight"), 3, 1.0F / 0.0F);
  write_model(path("damaged model"), tiny_config_json({}), tensors);
  for (const std::string& name : {path("damaged model"), path("damaged model/model.safetensors")}) {
    const ProcessResult result = seer_train({"inspect", name});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.out, HasSubstr("NO"));
  }
}

TEST_F(Finished, InspectRefusesWhatItDoesNotKnow) {
  expect_refusal(seer_train({"inspect", path("none")}), kFailure, {path("none")});
  fs::create_directories(path("empty"));
  expect_refusal(seer_train({"inspect", path("empty")}), kFailure, {path("empty")});
  write_file_atomically(path("notes.txt"), "notes");
  expect_refusal(seer_train({"inspect", path("notes.txt")}), kFailure, {path("notes.txt")});
  write_file_atomically(path("broken.safetensors"), "notes");
  expect_refusal(seer_train({"inspect", path("broken.safetensors")}), kFailure, {path("broken.safetensors")});
  write_file_atomically(path("broken.pth"), "notes");
  expect_refusal(seer_train({"inspect", path("broken.pth")}), kFailure, {path("broken.pth")});
  // Gates that lack a layer.
  fs::copy(path("run/gates/fine"), path("half gates"));
  std::vector<NamedTensor> kept;
  const SafetensorsFile whole(path("run/gates/fine/attn_gate_weights.safetensors"));
  kept.push_back(whole.tensors().front());
  write_safetensors(path("half gates/attn_gate_weights.safetensors"), kept, {});
  expect_refusal(seer_train({"inspect", path("half gates")}), kFailure, {path("half gates"), "missing"});
}

TEST_F(Finished, InspectOfARunThatHasNotSavedYet) {
  fs::create_directories(path("fresh"));
  for (const char* name : {"config.json", "model_config.json", "metrics.jsonl"}) {
    fs::copy(path("run") + "/" + name, path("fresh") + "/" + name);
  }
  const ProcessResult result = seer_train({"inspect", path("fresh")});
  expect_success(result);
  EXPECT_THAT(result.out, HasSubstr("no checkpoint yet"));
}

}  // namespace
}  // namespace seer::test
