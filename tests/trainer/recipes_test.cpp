// Every recipe of configs/ runs: two steps, evaluation and export on a tiny model of its family.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/gates_folder.h"
#include "trainer/metrics_log.h"
#include "trainer/run_config.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::vector<std::string> recipes() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(source_dir() / "configs")) {
    if (entry.path().extension() == ".json" && entry.path().filename() != "schema.json") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// A model of the recipe's family with its ratio of query to kv heads.
TinyModel stand_in(const std::string& recipe) {
  const TinyModel llama{.family = "llama",
                        .rope_scaling = R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                            "high_freq_factor": 4.0, "original_max_position_embeddings": 128})"};
  const auto of = [](TinyModel model, int64_t heads, int64_t head_dim, int64_t hidden) {
    model.heads = heads;
    model.kv_heads = 2;
    model.head_dim = head_dim;
    model.hidden = hidden;
    return model;
  };
  const TinyModel qwen2{.family = "qwen2"};
  const TinyModel qwen3{.family = "qwen3"};  // heads * head_dim is not the hidden size
  const std::map<std::string, TinyModel> models = {
      {"llama3.1-8b-instruct", of(llama, 8, 8, 64)},
      {"llama3.1-70b-instruct", of(llama, 16, 8, 64)},
      {"qwen2.5-7b-instruct", of(qwen2, 14, 8, 112)},
      {"qwen2.5-14b-instruct", of(qwen2, 10, 8, 80)},
      {"qwen2.5-32b-instruct", of(qwen2, 10, 8, 80)},
      {"deepseek-r1-distill-qwen-14b", of(qwen2, 10, 8, 80)},
      {"deepseek-r1-distill-qwen-32b", of(qwen2, 10, 8, 80)},
      {"qwen3-4b-prefill", of(qwen3, 8, 16, 80)},
      {"qwen3-8b-prefill", of(qwen3, 8, 8, 64)},
      {"qwen3-14b-prefill", of(qwen3, 10, 8, 80)},
  };
  const auto it = models.find(recipe);
  if (it == models.end()) fail("recipe {} is new: name a tiny model of its family here", recipe);
  return it->second;
}

class Recipes : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(, Recipes, testing::ValuesIn(recipes()), [](const auto& tested) {
  std::string name = tested.param;
  std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
  return name;
});

/// The weights that a gates folder should hold: those of the checkpoint, rounded.
std::vector<std::byte> rounded_weights(const fs::path& checkpoint) {
  const SafetensorsFile state(checkpoint / "state.safetensors");
  const NamedTensor& weights = state.at("gate/weights");
  std::vector<float> values(weights.numel());
  convert_to_f32(weights.bytes.data(), weights.dtype, weights.numel(), values.data());
  std::vector<std::byte> bytes(values.size() * size_of(DType::kBF16));
  convert_from_f32(values.data(), weights.numel(), DType::kBF16, bytes.data());
  return bytes;
}

void check_gates(const fs::path& folder, const fs::path& checkpoint, const std::string& family) {
  const std::vector<OwnedTensor> safetensors = read_gates(folder / "attn_gate_weights.safetensors");
  const std::vector<OwnedTensor> pth = read_gates(folder / "attn_gate_weights.pth");
  ASSERT_FALSE(safetensors.empty());
  ASSERT_EQ(safetensors.size(), pth.size());
  std::vector<std::byte> all;
  for (size_t layer = 0; layer < pth.size(); ++layer) {
    // One matrix a layer: the hidden size is the head_dim, as in the published gates.
    const std::string name = gate_weight_name(static_cast<int64_t>(layer), /*query=*/false);
    EXPECT_EQ(pth[layer].name, name);
    const auto other = std::find_if(safetensors.begin(), safetensors.end(),
                                    [&](const OwnedTensor& tensor) { return tensor.name == name; });
    ASSERT_NE(other, safetensors.end()) << name;
    EXPECT_EQ(pth[layer].dtype, DType::kBF16);
    EXPECT_EQ(other->dtype, DType::kBF16);
    EXPECT_EQ(pth[layer].shape, other->shape);
    EXPECT_TRUE(pth[layer].bytes == other->bytes) << name;
    all.insert(all.end(), pth[layer].bytes.begin(), pth[layer].bytes.end());
  }
  EXPECT_TRUE(all == rounded_weights(checkpoint)) << "not the weights of the last step";
  const auto config = nlohmann::json::parse(read_text_file(folder / "config.json"));
  const std::map<std::string, std::string> architectures = {{"llama", "SeerAttnLlamaForCausalLM"},
                                                            {"qwen2", "SeerAttnQwen2ForCausalLM"},
                                                            {"qwen3", "SeerAttnQwen3ForCausalLM"}};
  EXPECT_EQ(config.at("model_type"), family);
  EXPECT_EQ(config.at("architectures"), nlohmann::json({architectures.at(family)}));
}

void check_metrics(const fs::path& run, double learning_rate) {
  const MetricsHistory history = read_metrics(run / "metrics.jsonl");
  ASSERT_EQ(history.steps.size(), 2U);
  ASSERT_EQ(history.evals.size(), 2U);
  for (const StepMetrics& step : history.steps) {
    ASSERT_EQ(step.gates.size(), 1U);
    EXPECT_GT(step.gates[0].loss, 0.0);
    EXPECT_GT(step.gates[0].grad_norm, 0.0);
  }
  EXPECT_EQ(history.steps[0].gates[0].learning_rate, 0.0);
  EXPECT_EQ(history.steps[1].gates[0].learning_rate, learning_rate);
  EXPECT_EQ(history.evals[0].step, 0);
  EXPECT_EQ(history.evals[1].step, 2);
  EXPECT_NE(history.evals[0].loss, history.evals[1].loss) << "the second step changes the gates";
  for (const EvalMetrics& eval : history.evals) {
    EXPECT_GE(eval.densities.at(0).oracle, eval.densities.at(0).recall);
  }
}

TEST_P(Recipes, TrainsEvaluatesAndExports) {
  const TempDir folder;
  const fs::path recipe = source_dir() / "configs" / (GetParam() + ".json");
  const RunConfig original = load_run_config(recipe);
  const fs::path run = folder / "run";
  std::vector<std::string> sets = {
      "data.sequence_length=256",         "data.shuffle_buffer=2",  "train.steps=2",    "train.batch_size=2",
      "gates[0].schedule.warmup_steps=1", "gates[0].block_size=16", "eval.sequences=1", "eval.every=0",
      "output.dir=" + run.string()};
  std::string family = "llama";
  if (GetParam() == "quickstart") {  // its model and text are here
    sets.push_back("model.path=" + (source_dir() / original.model.path).string());
    sets.push_back("data.files=" + (source_dir() / original.data.files.at(0)).string());
    sets.push_back("eval.files=" + (source_dir() / original.eval.files.at(0)).string());
  } else {
    const TinyModel model = stand_in(GetParam());
    family = model.family;
    write_tiny_model(folder / "model", model);
    write_npy(folder / "tokens.npy", random_ids(1, 256 * 5, model.vocabulary));
    write_npy(folder / "held_out.npy", random_ids(2, 256, model.vocabulary));
    sets.push_back("model.path=" + (folder / "model").string());
    sets.push_back("data.files=" + (folder / "tokens.npy").string());
    sets.push_back("eval.files=" + (folder / "held_out.npy").string());
    EXPECT_EQ(original.gates.at(0).hidden_size, 128) << "the head_dim of the real model";
    sets.push_back(fmt::format("gates[0].hidden_size={}", model.head_dim));
  }
  std::vector<std::string> arguments = {"train", recipe.string()};
  arguments.insert(arguments.end(), {"--set", "device=cpu"});  // the recipes are for GPUs
  for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
  const ProcessResult result = seer_train(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("gates written to " + (run / "gates" / "gate").string()));

  check_metrics(run, original.gates.at(0).optimizer.learning_rate);
  check_gates(run / "gates" / "gate", run / "checkpoints" / "step-00000002", family);
  // What was not overridden is still what the recipe says.
  RunConfig effective = load_run_config(run / "config.json");
  EXPECT_EQ(effective.gates.at(0).type, original.gates.at(0).type);
  EXPECT_EQ(effective.gates.at(0).optimizer, original.gates.at(0).optimizer);
  EXPECT_EQ(effective.gates.at(0).loss_scale, original.gates.at(0).loss_scale);
  EXPECT_EQ(effective.data.layout, original.data.layout);
}

}  // namespace
}  // namespace seer::test
