#include "tests/trainer/tiny_run.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/rng.h"
#include "src/io/atomic_file.h"
#include "trainer/metrics_log.h"

namespace seer::test {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

Json config_of(const fs::path& folder, const std::string& tokens, const std::string& held_out,
               const std::string& layout) {
  const auto gate = [](const std::string& name, const std::string& type, int block) {
    return Json{{"name", name},
                {"type", type},
                {"block_size", block},
                {"optimizer", {{"learning_rate", 2e-3}, {"max_grad_norm", 1e-3}}},
                {"schedule", {{"warmup_steps", 2}}}};
  };
  return {
      {"model", {{"path", folder / "model"}}},
      {"threads", 2},
      {"seed", 11},
      {"gates", {gate("fine", "Qavg_Kmaxminavg", 16), gate("coarse", "Qmaxmin_Kavg", 32)}},
      {"data",
       {{"files", {folder / tokens}}, {"layout", layout}, {"sequence_length", 256}, {"shuffle_buffer", 4}}},
      {"train", {{"steps", 8}, {"batch_size", 2}, {"save_every", 2}, {"keep_last", 2}}},
      {"eval", {{"files", {folder / held_out}}, {"sequences", 2}, {"every", 3}, {"densities", {0.1, 0.5}}}},
      {"output", {{"dir", folder / "run"}}}};
}

std::vector<std::vector<int32_t>> random_documents(uint64_t seed, int64_t count, int64_t vocabulary) {
  Rng rng = Rng(seed).fork("lengths");
  std::vector<std::vector<int32_t>> documents;
  for (int64_t i = 0; i < count; ++i) {
    const auto length = static_cast<int64_t>(20 + rng.below(300));  // some too short, some cut
    documents.push_back(random_ids(seed + static_cast<uint64_t>(i), length, vocabulary));
  }
  return documents;
}

}  // namespace

std::string seer_train_binary() {
  return environment("SEER_TRAIN_BINARY").value_or(SEER_TRAIN_BINARY);
}

ProcessResult seer_train(const std::vector<std::string>& arguments, const Process::Options& options) {
  std::vector<std::string> argv = {seer_train_binary()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run_process(argv, options);
}

void expect_refusal(const ProcessResult& result, int code, const std::vector<std::string>& parts) {
  EXPECT_EQ(result.exit_code, code) << result.err;
  EXPECT_EQ(result.signal, 0);
  EXPECT_THAT(result.err, testing::Not(testing::HasSubstr("unexpected failure")));
  EXPECT_THAT(result.err, testing::Not(testing::HasSubstr("Check failed")))
      << "a user's mistake is no broken invariant";
  for (const std::string& part : parts) EXPECT_THAT(result.err, testing::HasSubstr(part));
}

void expect_success(const ProcessResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.signal, 0);
}

int64_t last_step(const fs::path& run) {
  if (!fs::exists(run / "metrics.jsonl")) return 0;
  const MetricsHistory history = read_metrics(run / "metrics.jsonl");
  return history.steps.empty() ? 0 : history.steps.back().step;
}

void TinyRun::write(const fs::path& folder, Layout layout, const TinyModel& model) {
  write_tiny_model(folder / "model", model);
  Json json;
  if (layout == Layout::kJoined) {
    write_npy(folder / "tokens.npy", random_ids(1, 256 * 11 + 100, model.vocabulary));
    write_npy(folder / "held_out.npy", random_ids(2, 256 * 2, model.vocabulary));
    json = config_of(folder, "tokens.npy", "held_out.npy", "joined");
  } else {
    write_documents(folder / "tokens.safetensors", random_documents(1, 16, model.vocabulary));
    write_documents(folder / "held_out.safetensors", random_documents(2, 6, model.vocabulary));
    json = config_of(folder, "tokens.safetensors", "held_out.safetensors", "packed");
  }
  write_file_atomically(folder / "config.json", json.dump(2));
}

std::vector<std::string> TinyRun::arguments(const std::string& run,
                                            const std::vector<std::string>& more) const {
  std::vector<std::string> arguments = {"train", config().string(), "--set",
                                        "output.dir=" + path(run).string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> metrics_of(const fs::path& run) {
  std::istringstream text(read_text_file(run / "metrics.jsonl"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    Json record = Json::parse(line);
    record.erase("time");
    record.erase("tokens_per_second");
    lines.push_back(record.dump());
  }
  return lines;
}

std::map<std::string, std::string> results_of(const fs::path& run) {
  std::map<std::string, std::string> results;
  for (const char* part : {"gates", "checkpoints"}) {
    for (const std::string& name : files_below(run / part)) {
      const fs::path file = run / part / name;
      if (!fs::is_regular_file(file)) continue;
      std::string bytes = read_text_file(file);
      if (file.filename() == "trainer_state.json") {
        Json state = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
        if (state.is_object()) {
          state.erase("seconds");
          bytes = state.dump();
        }
      }
      results[(fs::path(part) / name).string()] = std::move(bytes);
    }
  }
  return results;
}

void expect_same_results(const std::map<std::string, std::string>& expected,
                         const std::map<std::string, std::string>& actual) {
  EXPECT_FALSE(expected.empty());
  for (const auto& [name, bytes] : expected) {
    const auto it = actual.find(name);
    if (it == actual.end()) {
      ADD_FAILURE() << name << " is missing";
    } else {
      EXPECT_TRUE(it->second == bytes) << name << " differs";
    }
  }
  for (const auto& [name, bytes] : actual) EXPECT_TRUE(expected.contains(name)) << name << " is one too many";
}

void expect_same_run(const fs::path& expected, const fs::path& actual) {
  EXPECT_EQ(metrics_of(expected), metrics_of(actual));
  expect_same_results(results_of(expected), results_of(actual));
}

std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::exists(folder)) return names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    names.push_back(entry.path().lexically_relative(folder).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace seer::test
