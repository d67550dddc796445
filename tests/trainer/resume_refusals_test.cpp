// Resuming a run that failed: what must be the same, what may differ, and damage that is refused.
#include <functional>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

/// A run that failed in step 5 of 8, at a token id that the model does not have, and has a checkpoint of step 4.
/// The data is good now.
class Interrupted : public testing::Test {
 protected:
  Interrupted() {
    write_npy(run_.path("first.npy"), random_ids(1, 256 * 8, 256));
    std::vector<int32_t> ids = random_ids(2, 256 * 8, 256);
    const std::vector<int32_t> good = ids;
    ids[3] = 256;
    write_npy(run_.path("second.npy"), ids);
    const ProcessResult result = run_.train("run", kInOrder);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, AllOf(HasSubstr("second.npy"), HasSubstr("256")));
    EXPECT_TRUE(fs::exists(checkpoint_ / "state.safetensors"));
    write_npy(run_.path("second.npy"), good);
  }

  ProcessResult resume(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = kInOrder;
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.emplace_back("--resume");
    return run_.train("run", arguments);
  }

  /// Expects that resuming fails with exit code 1, that the message holds all of `parts`, and that nothing in
  /// the run has changed.
  void expect_refused(const std::vector<std::string>& more, const std::vector<std::string>& parts) const {
    const auto before = results_of(run_.path("run"));
    const auto metrics = metrics_of(run_.path("run"));
    const ProcessResult result = resume(more);
    EXPECT_EQ(result.exit_code, 1) << result.err;
    for (const std::string& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
    expect_same_results(before, results_of(run_.path("run")));
    EXPECT_EQ(metrics_of(run_.path("run")), metrics);
  }

  const TinyRun run_;
  const std::vector<std::string> kInOrder = {
      "--set", "data.shuffle=false", "--set",
      fmt::format(R"(data.files=["{}","{}"])", run_.path("first.npy").string(),
                  run_.path("second.npy").string())};
  const fs::path checkpoint_ = run_.path("run") / "checkpoints" / "step-00000004";
};

TEST_F(Interrupted, AFailureKeepsTheLastGoodCheckpoint) {
  EXPECT_EQ(last_step(run_.path("run")), 4);
  ASSERT_EQ(run_.train("whole", kInOrder).exit_code, 0);
  const ProcessResult result = resume();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  expect_same_run(run_.path("whole"), run_.path("run"));
}

TEST_F(Interrupted, RefusesAnotherConfigByKey) {
  struct Change {
    std::string set;
    std::string said;
  };
  for (
      const Change& change : std::vector<Change>{
          {"seed=12", "seed was 11 and is now 12"},
          {"train.steps=9", "train.steps was 8 and is now 9"},
          {"train.batch_size=1", "train.batch_size was 2 and is now 1"},
          {"data.sequence_length=128", "data.sequence_length was 256 and is now 128"},
          {"data.layout=packed", "data.layout was \"joined\" and is now \"packed\""},
          {"gates[1].block_size=64", "gates[1].block_size was 32 and is now 64"},
          {"gates[0].type=Qavg_Kavg", "gates[0].type was"},
          {"gates[0].name=other", "gates[0].name was"},
          {"gates[0].key_pieces=2", "gates[0].key_pieces was absent and is now 2"},
          {"gates[1].distance_bias=true", "gates[1].distance_bias was absent and is now true"},
          {"gates[1].optimizer.learning_rate=0.5", "gates[1].optimizer was"},
          {"gates[1].schedule.type=linear", "gates[1].schedule was"},
          {R"(gates=[{"name":"fine","block_size":16,"schedule":{"warmup_steps":2},)"
           R"("optimizer":{"learning_rate":2e-3,"max_grad_norm":1e-3}}])",
           "another config: gates[1] is gone. Resume"},
          {R"(gates=[{"name":"fine","schedule":{"warmup_steps":2}},{"name":"coarse","schedule":{"warmup_steps":2}},)"
           R"({"name":"more","schedule":{"warmup_steps":2}}])",
           "gates[2] is new"},
          {R"(model.rope_scaling={"rope_type":"linear","factor":2.0})", "model.rope"},
      }) {
    SCOPED_TRACE(change.set);
    expect_refused({"--set", change.set}, {change.said, "step-00000004", "belongs to another config"});
  }
}

TEST_F(Interrupted, WhatExportingWouldDeleteIsToldBeforeTraining) {
  fs::create_directories(run_.path("run/gates/fine"));
  write_file_atomically(run_.path("run/gates/fine/eval-ppl.json"), "{}");
  const auto metrics = metrics_of(run_.path("run"));
  expect_refusal(resume(), 2, {"gates/fine", "eval-ppl.json", "move it away"});
  EXPECT_EQ(metrics_of(run_.path("run")), metrics) << "no step was computed";
  fs::remove(run_.path("run/gates/fine/eval-ppl.json"));
  expect_success(resume());
}

TEST_F(Interrupted, RefusesARopeThatDiffersInOneParameter) {
  // Scalings of one type and factor: what differs is what only the angles show.
  const auto scaling = [](const char* beta) {
    return fmt::format(R"(model.rope_scaling={{"rope_type":"yarn","factor":2.0,"beta_fast":{}}})", beta);
  };
  std::vector<std::string> settings = {"--set", scaling("32"), "--set", "train.steps=2"};
  ASSERT_EQ(run_.train("yarn", settings).exit_code, 0);
  settings[1] = scaling("16");
  settings.emplace_back("--resume");
  const ProcessResult result = run_.train("yarn", settings);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("model.rope was type"));
}

TEST_F(Interrupted, RefusesAnotherModelOfTheSameShape) {
  TinyModel other;
  other.seed = 2;
  write_tiny_model(run_.model(), other);
  expect_refused({}, {"model.weights was", "belongs to another config"});
}

TEST_F(Interrupted, RefusesOtherData) {
  write_npy(run_.path("second.npy"), random_ids(2, 256 * 9, 256));
  expect_refused({}, {"the checkpoint was made with other data"});
}

TEST_F(Interrupted, AcceptsOtherPlacesLoggingAndEvaluation) {
  fs::rename(run_.model(), run_.path("moved model"));
  const ProcessResult result =
      resume({"--set", "model.path=" + run_.path("moved model").string(), "--set", "threads=1", "--set",
              "train.log_every=3", "--set", "train.save_every=1", "--set", "eval.every=0", "--set",
              "gates[0].export.dtype=fp32", "--set", "data.prefetch=7"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const SafetensorsFile gates(run_.path("run") / "gates" / "fine" / "attn_gate_weights.safetensors");
  EXPECT_EQ(gates.tensors().front().dtype, DType::kF32);
}

TEST_F(Interrupted, RefusesADamagedCheckpoint) {
  const fs::path state = checkpoint_ / "state.safetensors";
  const fs::path trainer = checkpoint_ / "trainer_state.json";
  const std::string good_state = read_text_file(state);
  const std::string good_trainer = read_text_file(trainer);
  const auto rewrite = [&](const std::function<void(std::vector<OwnedTensor>&)>& change) {
    std::vector<OwnedTensor> tensors;
    {
      const SafetensorsFile file(state);
      for (const NamedTensor& t : file.tensors()) {
        tensors.push_back({t.name, t.dtype, t.shape, {t.bytes.begin(), t.bytes.end()}});
      }
    }
    change(tensors);
    std::vector<NamedTensor> views;
    for (const OwnedTensor& tensor : tensors) views.push_back(tensor.view());
    write_safetensors(state, views, {{"format", "seer-train"}});
  };
  const auto restore = [&] {
    write_file_atomically(state, good_state);
    write_file_atomically(trainer, good_trainer);
  };
  const auto set_json = [&](const std::function<void(nlohmann::ordered_json&)>& change) {
    auto json = nlohmann::ordered_json::parse(good_trainer);
    change(json);
    write_file_atomically(trainer, json.dump());
  };

  fs::resize_file(state, good_state.size() - 4);
  expect_refused({}, {"state.safetensors"});
  fs::resize_file(state, 0);
  expect_refused({}, {"state.safetensors"});
  fs::remove(state);
  expect_refused({}, {"state.safetensors"});
  restore();
  rewrite(
      [](auto& tensors) { std::erase_if(tensors, [](auto& t) { return t.name == "fine/first_moment"; }); });
  expect_refused({}, {"state.safetensors", "fine/first_moment"});
  restore();
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    rewrite([&](auto& tensors) { set_element(tensor_named(tensors, "coarse/weights"), 7, value); });
    expect_refused({}, {"state.safetensors", "coarse/weights", "NaN or infinity"});
    restore();
  }
  rewrite([](auto& tensors) {
    OwnedTensor& tensor = tensor_named(tensors, "coarse/second_moment");
    tensor.bytes.resize(tensor.bytes.size() - 4);
    tensor.shape[0] -= 1;
  });
  expect_refused({}, {"state.safetensors", "coarse/second_moment", "expected F32"});
  restore();
  rewrite([](auto& tensors) {
    OwnedTensor& tensor = tensor_named(tensors, "fine/weights");
    tensor.dtype = DType::kI32;
  });
  expect_refused({}, {"fine/weights", "I32"});
  restore();

  fs::resize_file(trainer, good_trainer.size() / 2);
  expect_refused({}, {"trainer_state.json"});
  set_json([](auto& json) { json.erase("data_cursor"); });
  expect_refused({}, {"trainer_state.json", "data_cursor"});
  set_json([](auto& json) { json["step"] = -4; });
  expect_refused({}, {"trainer_state.json", "step"});
  set_json([](auto& json) { json["step"] = 5; });
  expect_refused({}, {"trainer_state.json", "step"});
  set_json([](auto& json) { json["format"] = 2; });
  expect_refused({}, {"trainer_state.json", "format 2"});
  restore();
  EXPECT_EQ(resume().exit_code, 0) << "the files were put back";
}

TEST_F(Interrupted, IgnoresWhatInterruptedSavesLeft) {
  ASSERT_EQ(run_.train("whole", kInOrder).exit_code, 0);
  const fs::path checkpoints = checkpoint_.parent_path();
  fs::create_directories(checkpoints / ".saving");
  write_file_atomically(checkpoints / ".saving" / "trainer_state.json", "{}");
  fs::create_directories(checkpoints / "step-00000007");  // its trainer_state.json was never written
  fs::create_directories(checkpoints / "step-00000008.old.4711");
  write_file_atomically(checkpoints / "step-00000008.old.4711" / "trainer_state.json", "{}");
  fs::create_directories(checkpoints / "step-best");
  // The last line of a metrics.jsonl whose writer was killed, and steps after the checkpoint.
  write_file_atomically(
      run_.path("run") / "metrics.jsonl",
      read_text_file(run_.path("run") / "metrics.jsonl") +
          R"({"step":5,"gate":"fine","loss":1,"layer_losses":[1,1],"lr":1,"grad_norm":1,"tokens":1,)"
          R"("tokens_per_second":1,"time":1})"
          "\n{\"step\":6,\"ga");
  const ProcessResult result = resume();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(metrics_of(run_.path("whole")), metrics_of(run_.path("run")));
  EXPECT_FALSE(fs::exists(checkpoints / ".saving"));
}

TEST_F(Interrupted, TellsTensorBoardOfTheRestart) {
  ASSERT_EQ(resume().exit_code, 0);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(run_.path("run") / "tensorboard"))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  ASSERT_EQ(files.size(), 2U);
  // Event{wall_time, step = 5, session_log{status = START}}: what TensorBoard purges later steps by.
  const std::string start = {0x10, 5, 0x3a, 2, 0x08, 1};
  EXPECT_THAT(read_text_file(files[1]), HasSubstr(start));
  EXPECT_THAT(read_text_file(files[0]), Not(HasSubstr(std::string{0x3a, 2, 0x08, 1})));
}

TEST_F(Interrupted, RefusesToStartAnewOrWhereNoRunIs) {
  const auto before = results_of(run_.path("run"));
  const ProcessResult anew = run_.train("run", kInOrder);
  EXPECT_EQ(anew.exit_code, 2);
  EXPECT_THAT(anew.err, AllOf(HasSubstr(run_.path("run").string()), HasSubstr("--resume")));
  expect_same_results(before, results_of(run_.path("run")));

  const ProcessResult nowhere = run_.train("nowhere", {"--resume"});
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.err, AllOf(HasSubstr(run_.path("nowhere").string()), HasSubstr("no run")));
  EXPECT_FALSE(fs::exists(run_.path("nowhere")));
}

}  // namespace
}  // namespace seer::test
