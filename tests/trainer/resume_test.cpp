// Runs that are killed, stopped and continued, as real processes: the outcome must be that of a run that was
// left alone.
#include <csignal>
#include <cstring>
#include <limits>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/rng.h"
#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

bool wait_until(Process& process, const std::function<bool()>& condition) {
  while (!condition()) {
    if (process.ended()) return condition();
    std::this_thread::sleep_for(100us);
  }
  return true;
}

std::vector<std::string> command(const TinyRun& run, const std::string& name,
                                 const std::vector<std::string>& more) {
  std::vector<std::string> argv = run.arguments(name, more);
  argv.insert(argv.begin(), seer_train_binary());
  return argv;
}

/// When a life of the process ends.
enum class Kill { kAnyMoment, kInsideASave };

struct Lives {
  int kills = 0;
  int unfinished_saves = 0;  ///< Kills that left a half-written checkpoint behind
};

/// Starts the run again and again, killing it each time, until it is done or `most` kills were made; then
/// lets it finish. A life of Kill::kAnyMoment ends within `longest`.
Lives run_with_kills(const TinyRun& run, const std::string& name, const std::vector<std::string>& settings,
                     Kill when, int most, std::chrono::microseconds longest = {}) {
  const fs::path folder = run.path(name);
  const fs::path saving = folder / "checkpoints" / ".saving";
  Rng rng = Rng(5).fork(name);
  Lives lives;
  while (true) {
    std::vector<std::string> more = settings;
    if (fs::exists(folder / "config.json")) more.emplace_back("--resume");
    Process process(command(run, name, more));
    if (lives.kills < most) {
      if (when == Kill::kInsideASave) {
        // The leftover of the life before is not this life's save.
        const int saves = 1 + static_cast<int>(rng.below(3));
        for (int i = 0; i < saves; ++i) {
          if (!wait_until(process, [&] { return !fs::exists(saving); })) break;
          if (!wait_until(process, [&] { return fs::exists(saving); })) break;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(rng.below(1500)));
      } else {
        std::this_thread::sleep_for(
            std::chrono::microseconds(rng.below(static_cast<uint64_t>(longest.count()))));
      }
      process.signal(SIGKILL);
    }
    const ProcessResult result = process.wait();
    if (result.signal == 0) {
      EXPECT_EQ(result.exit_code, 0) << result.err;
      return lives;
    }
    EXPECT_EQ(result.signal, SIGKILL);
    ++lives.kills;
    if (fs::exists(saving)) ++lives.unfinished_saves;
  }
}

class Resume : public testing::TestWithParam<TinyRun::Layout> {
 protected:
  const TinyRun run_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(, Resume, testing::Values(TinyRun::Layout::kJoined, TinyRun::Layout::kPacked),
                         [](const auto& tested) {
                           return tested.param == TinyRun::Layout::kJoined ? "Joined" : "Packed";
                         });

TEST_P(Resume, KilledAtAnyMomentEndsAsIfLeftAlone) {
  const std::vector<std::string> settings = {"--set", "train.steps=20", "--set", "train.save_every=3"};
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run_.train("whole", settings).exit_code, 0);
  // Short lives, whatever the speed of this machine: four of the longest do not make a whole run.
  const auto whole = std::chrono::steady_clock::now() - start;
  const Lives lives = run_with_kills(run_, "killed", settings, Kill::kAnyMoment, 15,
                                     std::chrono::duration_cast<std::chrono::microseconds>(whole) / 4);
  EXPECT_GE(lives.kills, 3);
  expect_same_run(run_.path("whole"), run_.path("killed"));
}

TEST_P(Resume, KilledInsideSavesEndsAsIfLeftAlone) {
  const std::vector<std::string> settings = {"--set", "train.steps=20",   "--set", "train.save_every=1",
                                             "--set", "train.keep_last=3"};
  ASSERT_EQ(run_.train("whole", settings).exit_code, 0);
  const Lives lives = run_with_kills(run_, "killed", settings, Kill::kInsideASave, 15);
  EXPECT_GE(lives.kills, 5);
  EXPECT_GE(lives.unfinished_saves, 1) << "no kill hit a save";
  expect_same_run(run_.path("whole"), run_.path("killed"));
  EXPECT_THAT(files_below(run_.path("killed")), Not(Contains(HasSubstr(".saving"))));
}

/// Of metrics.jsonl; also of a run that goes on.
int64_t last_step(const fs::path& run) {
  if (!fs::exists(run / "metrics.jsonl")) return 0;
  const MetricsHistory history = read_metrics(run / "metrics.jsonl");
  return history.steps.empty() ? 0 : history.steps.back().step;
}

/// A run long enough to be interrupted.
const std::vector<std::string> kLong = {"--set", "train.steps=40",           "--set", "train.save_every=0",
                                        "--set", "data.sequence_length=512", "--set", "eval.every=0"};

TEST_P(Resume, StopsAfterTheStepOnTheFirstSignal) {
  ASSERT_EQ(run_.train("whole", kLong).exit_code, 0);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    SCOPED_TRACE(number);
    const std::string name = fmt::format("stopped{}", number);
    const fs::path folder = run_.path(name);
    Process process(command(run_, name, kLong));
    ASSERT_TRUE(wait_until(process, [&] { return last_step(folder) > 0; }));
    process.signal(number);
    const ProcessResult result = process.wait();
    ASSERT_EQ(result.exit_code, 75) << result.err;
    const int64_t step = last_step(folder);
    EXPECT_THAT(result.err, HasSubstr(fmt::format("stopped after step {} of 40: checkpoint saved", step)));
    EXPECT_LT(step, 40);
    EXPECT_THAT(files_below(folder / "checkpoints"), Contains(fmt::format("step-{:08d}", step)));
    EXPECT_FALSE(fs::exists(folder / "gates")) << "gates are exported at the end";
    std::vector<std::string> again = kLong;
    again.emplace_back("--resume");
    const ProcessResult resumed = run_.train(name, again);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_THAT(resumed.err, HasSubstr(fmt::format("(step {})", step)));
    EXPECT_EQ(metrics_of(run_.path("whole")), metrics_of(folder));
    std::map<std::string, std::string> results = results_of(folder);
    results.erase(fmt::format("checkpoints/step-{:08d}/state.safetensors", step));
    results.erase(fmt::format("checkpoints/step-{:08d}/trainer_state.json", step));
    expect_same_results(results_of(run_.path("whole")), results);
  }
}

TEST(ResumeRun, StopsBeforeTheFirstStepAsWell) {
  // An evaluation of seconds ahead of the first step.
  const TinyRun run(TinyRun::Layout::kJoined, {.max_positions = 8192});
  write_npy(run.path("held_out.npy"), random_ids(2, 4096 * 16, 256));
  const std::vector<std::string> slow = {"--set", "eval.sequence_length=4096", "--set", "eval.sequences=16"};
  Process process(command(run, "run", slow));
  ASSERT_TRUE(wait_until(process, [&] { return process.error_text().find("memory") != std::string::npos; }));
  process.signal(SIGTERM);
  const ProcessResult result = process.wait();
  ASSERT_EQ(result.exit_code, 75) << result.err;
  EXPECT_THAT(result.err, HasSubstr("stopped after step 0 of 8"));
  EXPECT_EQ(last_step(run.path("run")), 0);

  const std::vector<std::string> quick = {"--set", "eval.files=[]", "--set", "eval.every=0"};
  std::vector<std::string> again = quick;
  again.emplace_back("--resume");
  ASSERT_EQ(run.train("run", again).exit_code, 0);
  ASSERT_EQ(run.train("whole", quick).exit_code, 0);
  expect_same_run(run.path("whole"), run.path("run"));
}

TEST(ResumeRun, QuitsAtOnceOnTheSecondSignal) {
  // Steps of seconds: the process must not finish one between the signals.
  const TinyRun run(TinyRun::Layout::kJoined,
                    {.layers = 4, .heads = 8, .kv_heads = 2, .max_positions = 8192});
  write_npy(run.path("tokens.npy"), random_ids(1, 4096 * 16, 256));
  const std::vector<std::string> settings = {"--set", "data.sequence_length=4096",
                                             "--set", "train.batch_size=16",
                                             "--set", "eval.files=[]",
                                             "--set", "eval.every=0"};
  Process process(command(run, "run", settings));
  // The handlers are in place before the first step, the session before its message.
  ASSERT_TRUE(wait_until(process, [&] { return process.error_text().find("memory") != std::string::npos; }));
  std::this_thread::sleep_for(50ms);
  process.signal(SIGINT);
  ASSERT_TRUE(wait_until(
      process, [&] { return process.error_text().find("again to quit at once") != std::string::npos; }));
  process.signal(SIGINT);
  const ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_THAT(files_below(run.path("run")), Not(Contains(HasSubstr("step-"))));
}

TEST(ResumeRun, KeepsTheLastCheckpointsAlone) {
  const TinyRun run;
  ASSERT_EQ(run.train("run", {"--set", "train.save_every=1", "--set", "train.keep_last=3"}).exit_code, 0);
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(run.path("run") / "checkpoints")) {
    folders.push_back(entry.path().filename().string());
  }
  std::sort(folders.begin(), folders.end());
  EXPECT_THAT(folders, ElementsAre("step-00000006", "step-00000007", "step-00000008"));
}

TEST(ResumeRun, OfAFinishedRunExportsAgainAndChangesNothing) {
  const TinyRun run;
  ASSERT_EQ(run.train("run").exit_code, 0);
  const auto metrics = metrics_of(run.path("run"));
  const auto results = results_of(run.path("run"));
  fs::remove_all(run.path("run") / "gates" / "fine");
  fs::create_directories(run.path("run") / "gates" / "fine.tmp.4711");  // of an export that was killed
  write_file_atomically(run.path("run") / "gates" / "fine.tmp.4711" / "config.json", "{}");
  const ProcessResult again = run.train("run", {"--resume"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(metrics_of(run.path("run")), metrics);
  expect_same_results(results, results_of(run.path("run")));
}

TEST(ResumeRun, WithoutACheckpointStartsFromTheFirstStep) {
  const TinyRun run;
  ASSERT_EQ(run.train("whole").exit_code, 0);
  ASSERT_EQ(run.train("run").exit_code, 0);
  fs::remove_all(run.path("run") / "checkpoints");
  fs::remove_all(run.path("run") / "gates");
  const ProcessResult again = run.train("run", {"--resume"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("no checkpoint yet: starting from step 0"));
  expect_same_run(run.path("whole"), run.path("run"));
}

TEST(ResumeRun, NotFiniteStopsWithTheLastGoodCheckpoint) {
  // The embedding of one token is damaged, which the fifth step is the first to meet.
  constexpr int32_t kRareToken = 256;
  const TinyModel model{.vocabulary = kRareToken + 1};
  const TinyRun run(TinyRun::Layout::kJoined, model);
  std::vector<int32_t> ids = random_ids(1, 256 * 16, kRareToken);
  ids[256 * 8 + 3] = kRareToken;
  write_npy(run.path("tokens.npy"), ids);
  write_npy(run.path("held_out.npy"), random_ids(2, 256 * 2, kRareToken));
  std::vector<OwnedTensor> tensors = tiny_tensors(model);
  set_element(tensor_named(tensors, "model.embed_tokens.weight"), kRareToken * model.hidden + 5,
              std::numeric_limits<float>::quiet_NaN());
  write_model(run.model(), tiny_config_json(model), tensors);
  for (const bool resume : {false, true}) {
    std::vector<std::string> settings = {"--set", "data.shuffle=false"};
    if (resume) settings.emplace_back("--resume");
    const ProcessResult result = run.train("run", settings);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("step 5: NaN or infinity in the base model's activations of layer 0"));
    EXPECT_EQ(last_step(run.path("run")), 4);
    EXPECT_FALSE(fs::exists(run.path("run") / "gates"));
    EXPECT_THAT(files_below(run.path("run") / "checkpoints"), Contains("step-00000004/state.safetensors"));
  }
  EXPECT_EQ(
      seer_train({"export", run.path("run").string(), "--to", run.path("gates").string(), "--gate", "fine"})
          .exit_code,
      0);
}

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
  for (const Change& change : std::vector<Change>{
           {"seed=12", "seed was 11 and is now 12"},
           {"train.steps=9", "train.steps was 8 and is now 9"},
           {"train.batch_size=1", "train.batch_size was 2 and is now 1"},
           {"data.sequence_length=128", "data.sequence_length was 256 and is now 128"},
           {"data.layout=packed", "data.layout was \"joined\" and is now \"packed\""},
           {"gates[1].block_size=64", "gates[1].block_size was 32 and is now 64"},
           {"gates[0].type=Qavg_Kavg", "gates[0].type was"},
           {"gates[0].name=other", "gates[0].name was"},
           {"gates[1].optimizer.learning_rate=0.5", "gates[1].optimizer was"},
           {"gates[1].schedule.type=linear", "gates[1].schedule was"},
           {R"(gates=[{"name":"fine","block_size":16,"schedule":{"warmup_steps":2},)"
            R"("optimizer":{"learning_rate":2e-3,"max_grad_norm":1e-3}}])",
            "gates[1].block_size was 32 and is now absent"},
           {R"(model.rope_scaling={"rope_type":"linear","factor":2.0})", "model.rope"},
       }) {
    SCOPED_TRACE(change.set);
    expect_refused({"--set", change.set}, {change.said, "step-00000004", "belongs to another config"});
  }
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
