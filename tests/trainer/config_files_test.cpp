// The files in configs/: every recipe reads, says what was published, and schema and reference match the
// program.
#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "trainer/run_config.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReferenceMarker =
    "<!-- What follows is written by the program: SEER_UPDATE_CONFIGS=1 "
    "<build>/tests/trainer/run_config_test "
    "-->\n";

fs::path configs_dir() {
  return test::source_dir() / "configs";
}

std::vector<fs::path> recipes() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(configs_dir())) {
    if (entry.path().extension() == ".json" && entry.path().filename() != "schema.json") {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Compares a generated file with the program, or writes it where SEER_UPDATE_CONFIGS is set.
void expect_in_sync(const fs::path& path, const std::string& expected) {
  if (test::environment("SEER_UPDATE_CONFIGS")) write_file_atomically(path, expected);
  EXPECT_EQ(read_text_file(path), expected)
      << path << " is not what the program says. If the change is meant, write it anew:\n"
      << "  SEER_UPDATE_CONFIGS=1 <build>/tests/trainer/run_config_test --gtest_filter='ConfigFiles.*'\n"
      << "(the schema alone: seer-train train --print-schema > configs/schema.json)";
}

TEST(ConfigFiles, EveryRecipeReadsAndReadsBackFromItsEffectiveConfig) {
  ASSERT_FALSE(recipes().empty());
  for (const fs::path& path : recipes()) {
    SCOPED_TRACE(path);
    const RunConfig config = load_run_config(path);
    EXPECT_EQ(parse_run_config(to_json(config), "effective"), config);
    EXPECT_EQ(config.output.dir, "runs/" + path.stem().string());
  }
}

TEST(ConfigFiles, RecipesHoldThePublishedHyperParameters) {
  const std::map<std::string, int64_t> sequence_lengths = {
      {"llama3.1-8b-instruct", 65536},
      {"llama3.1-70b-instruct", 65536},
      {"qwen2.5-7b-instruct", 32768},
      {"qwen2.5-14b-instruct", 32768},
      {"qwen2.5-32b-instruct", 32768},
      {"deepseek-r1-distill-qwen-14b", 32768},
      {"deepseek-r1-distill-qwen-32b", 32768},
      {"qwen3-4b-prefill", 32768},
      {"qwen3-8b-prefill", 32768},
      {"qwen3-14b-prefill", 32768},
  };
  EXPECT_EQ(recipes().size(), sequence_lengths.size() + 1) << "these and the quickstart";
  for (const auto& [name, sequence_length] : sequence_lengths) {
    SCOPED_TRACE(name);
    const RunConfig config = load_run_config(configs_dir() / (name + ".json"));
    EXPECT_EQ(config.data.sequence_length, sequence_length);
    EXPECT_EQ(config.data.layout, "joined");
    EXPECT_EQ(config.train.batch_size, 16);
    EXPECT_EQ(config.train.steps * config.train.batch_size * sequence_length, 524'288'000);
    ASSERT_EQ(config.gates.size(), 1U);
    GateEntryConfig published;  // the defaults of the struct are the published ones
    published.hidden_size = 128;
    EXPECT_EQ(config.gates[0], published);
    EXPECT_EQ(published.type, "Qavg_Kmaxminavg");
    EXPECT_EQ(published.block_size, 64);
    EXPECT_EQ(published.loss_scale, 10.0);
    EXPECT_EQ(published.loss_reduction, "elements");
    EXPECT_EQ(published.optimizer.learning_rate, 1e-3);
    EXPECT_EQ(published.optimizer.beta1, 0.9);
    EXPECT_EQ(published.optimizer.beta2, 0.999);
    EXPECT_EQ(published.optimizer.eps, 1e-8);
    EXPECT_EQ(published.optimizer.weight_decay, 0.0);
    EXPECT_EQ(published.optimizer.max_grad_norm, 1.0);
    EXPECT_EQ(published.schedule.type, "cosine");
    EXPECT_EQ(published.schedule.warmup_steps, 20);
  }
}

TEST(ConfigFiles, QuickstartNamesFilesOfItsOwnFolder) {
  const RunConfig config = load_run_config(configs_dir() / "quickstart.json");
  const std::string folder = "configs/quickstart/";
  EXPECT_THAT(config.model.path, testing::StartsWith(folder));
  EXPECT_THAT(config.data.files, testing::Each(testing::StartsWith(folder)));
  EXPECT_THAT(config.eval.files, testing::Each(testing::StartsWith(folder)));
  EXPECT_FALSE(config.eval.files.empty());
}

TEST(ConfigFiles, SchemaIsWhatTheProgramSays) {
  expect_in_sync(configs_dir() / "schema.json", config_schema_json());
}

TEST(ConfigFiles, ReferenceIsWhatTheProgramSays) {
  const fs::path path = configs_dir() / "README.md";
  const std::string text = read_text_file(path), marker = kReferenceMarker;
  const size_t at = text.find(marker);
  ASSERT_NE(at, std::string::npos) << path << " lost the line " << marker;
  expect_in_sync(path, text.substr(0, at + marker.size()) + "\n" + config_reference_markdown());
}

/// Calls `visit(path, key, values)` for every key of a schema object beside the values of a config.
template <typename Visit>
void walk(const nlohmann::json& schema, const nlohmann::json& values, const std::string& path,
          const Visit& visit) {
  for (const auto& [name, key] : schema.at("properties").items()) {
    const std::string key_path = fmt::format("{}/{}", path, name);
    ASSERT_TRUE(values.contains(name)) << key_path;
    visit(key_path, key, values.at(name));
    if (key.contains("properties")) walk(key, values.at(name), key_path, visit);
    if (key.contains("items") && key["items"].contains("properties")) {
      for (const auto& entry : values.at(name)) walk(key["items"], entry, key_path, visit);
    }
  }
  EXPECT_EQ(schema.at("properties").size(), values.size()) << path;
}

TEST(ConfigFiles, SchemaDescribesEveryKeyWithItsDefault) {
  auto schema = nlohmann::json::parse(config_schema_json());
  EXPECT_EQ(schema["properties"].erase("$schema"), 1U) << "an editor's, with no value of its own";
  EXPECT_EQ(schema.at("$schema"), "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema.at("required"), nlohmann::json({"model", "gates", "data", "output"}));
  EXPECT_EQ(schema.at("additionalProperties"), false);
  RunConfig config;
  config.gates.resize(1);
  size_t keys = 0;
  walk(schema, nlohmann::json::parse(to_json(config)), "",
       [&](const auto& path, const auto& key, const auto& value) {
         ++keys;
         EXPECT_THAT(key.at("description").template get<std::string>(), testing::EndsWith(".")) << path;
         if (key.contains("properties")) {
           EXPECT_EQ(key.at("additionalProperties"), false) << path;
         } else if (key.contains("default")) {
           EXPECT_EQ(key["default"], value) << path;
         }
       });
  EXPECT_GT(keys, 50U);
  const auto& gate = schema["properties"]["gates"]["items"]["properties"];
  EXPECT_EQ(gate["type"]["enum"].size(), 49U);
  EXPECT_EQ(gate["block_size"]["enum"], nlohmann::json({16, 32, 64, 128}));
  EXPECT_EQ(gate["optimizer"]["properties"]["beta1"]["exclusiveMaximum"], 1.0);
}

}  // namespace
}  // namespace seer
