// The frozen weights of a model folder: what is refused, what is converted, what stays where it is mapped.
#include "src/model/weights.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "src/io/safetensors.h"
#include "tests/support/fixtures.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_model.h"

namespace seer::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<float> values_of(const OwnedTensor& tensor) {
  std::vector<float> out(tensor.bytes.size() / size_of(tensor.dtype));
  convert_to_f32(tensor.bytes.data(), tensor.dtype, static_cast<int64_t>(out.size()), out.data());
  return out;
}

/// Any float tensor on the backend, as fp32.
std::vector<float> values_of(ConstTensor tensor) {
  std::vector<float> out(tensor.numel());
  convert_to_f32(tensor.raw(), tensor.dtype(), tensor.numel(), out.data());
  return out;
}

void convert(OwnedTensor& tensor, DType dtype) {
  const std::vector<float> values = values_of(tensor);
  tensor.bytes.resize(values.size() * size_of(dtype));
  tensor.dtype = dtype;
  convert_from_f32(values.data(), static_cast<int64_t>(values.size()), dtype, tensor.bytes.data());
}

class Weights : public ::testing::Test {
 protected:
  FrozenWeights load(bool reads_host_memory = true) {
    write_model(folder_.path(), config_, tensors_);
    backend_ = make_cpu_backend({.threads = 1, .reads_host_memory = reads_host_memory});
    queue_ = backend_->make_queue("test");
    return FrozenWeights(*backend_, *queue_, load_model_config(folder_.path()), folder_.path());
  }
  std::string refusal() {
    try {
      load();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  OwnedTensor& tensor(const std::string& name) { return tensor_named(tensors_, name); }
  void use(const TinyModel& model) {
    config_ = tiny_config_json(model);
    tensors_ = tiny_tensors(model);
  }
  bool in_mapped_file(ConstTensor view) const {
    // Anonymous memory has no path in the process's map.
    std::ifstream maps("/proc/self/maps");
    const auto address = reinterpret_cast<uintptr_t>(view.raw());
    for (std::string line; std::getline(maps, line);) {
      const size_t dash = line.find('-');
      const uintptr_t begin = std::stoull(line.substr(0, dash), nullptr, 16);
      const uintptr_t end = std::stoull(line.substr(dash + 1), nullptr, 16);
      if (address >= begin && address < end) return line.find("model.safetensors") != std::string::npos;
    }
    return false;
  }

  TempDir folder_;
  TinyModel model_;
  std::string config_ = tiny_config_json(model_);
  std::vector<OwnedTensor> tensors_ = tiny_tensors(model_);
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
};

TEST_F(Weights, MatricesStayInTheFileAndNormsAreConverted) {
  const FrozenWeights weights = load();
  const LayerWeights& layer = weights.layer(1);
  EXPECT_EQ(layer.qkv.parts, 3);
  EXPECT_EQ(layer.qkv.out_features(), (4 + 2 + 2) * 16);
  EXPECT_EQ(layer.qkv.in_features(), 64);
  EXPECT_EQ(layer.gate_up.parts, 2);
  EXPECT_EQ(layer.down.weight[0].shape(), (Shape{64, 96}));
  EXPECT_TRUE(in_mapped_file(layer.qkv.weight[1]));
  EXPECT_EQ(layer.qkv.weight[1].dtype(), DType::kBF16);
  EXPECT_EQ(layer.input_norm.dtype(), DType::kF32);
  EXPECT_EQ(values_of(layer.qkv.weight[1]), values_of(tensor("model.layers.1.self_attn.k_proj.weight")));
  EXPECT_EQ(values_of(layer.input_norm), values_of(tensor("model.layers.1.input_layernorm.weight")));
  EXPECT_EQ(values_of(weights.lm_head().weight[0]), values_of(tensor("lm_head.weight")));
  EXPECT_TRUE(layer.qkv.bias[0].empty());
  EXPECT_TRUE(layer.q_norm.empty());
  int64_t bytes = 0;
  for (const OwnedTensor& t : tensors_) {
    const bool norm = t.name.find("norm") != std::string::npos;
    bytes += static_cast<int64_t>(t.bytes.size()) * (norm ? 2 : 1);  // bf16 held as fp32
  }
  EXPECT_EQ(weights.bytes(), bytes);
  EXPECT_EQ(FrozenWeights::shapes(load_model_config(folder_.path()), *backend_, nullptr).bytes(), bytes);
}

TEST_F(Weights, CopiedToABackendThatCannotReadTheFile) {
  const FrozenWeights weights = load(/*reads_host_memory=*/false);
  EXPECT_FALSE(in_mapped_file(weights.layer(0).o.weight[0]));
  EXPECT_EQ(values_of(weights.layer(0).o.weight[0]),
            values_of(tensor("model.layers.0.self_attn.o_proj.weight")));
}

TEST_F(Weights, BiasesAndHeadNorms) {
  TinyModel model;
  model.family = "qwen2";
  use(model);
  const FrozenWeights qwen2 = load();
  EXPECT_EQ(values_of(qwen2.layer(0).qkv.bias[2]), values_of(tensor("model.layers.0.self_attn.v_proj.bias")));
  EXPECT_TRUE(qwen2.layer(0).o.bias[0].empty());
  model.family = "qwen3";
  use(model);
  const FrozenWeights qwen3 = load();
  EXPECT_EQ(values_of(qwen3.layer(1).k_norm), values_of(tensor("model.layers.1.self_attn.k_norm.weight")));
  EXPECT_EQ(qwen3.layer(1).q_norm.shape(), (Shape{16}));
}

TEST_F(Weights, Fp16AndFp32) {
  OwnedTensor& half = tensor("model.layers.0.mlp.up_proj.weight");
  convert(half, DType::kF16);
  OwnedTensor& norm = tensor("model.layers.0.post_attention_layernorm.weight");
  convert(norm, DType::kF16);
  OwnedTensor& single = tensor("model.layers.0.mlp.down_proj.weight");
  convert(single, DType::kF32);
  const FrozenWeights weights = load();
  EXPECT_EQ(weights.layer(0).gate_up.weight[1].dtype(), DType::kF16);
  EXPECT_EQ(values_of(weights.layer(0).gate_up.weight[1]), values_of(half));
  EXPECT_EQ(weights.layer(0).down.weight[0].dtype(), DType::kF32);
  EXPECT_EQ(values_of(weights.layer(0).down.weight[0]), values_of(single));
  EXPECT_EQ(weights.layer(0).post_norm.dtype(), DType::kF32);
  EXPECT_EQ(values_of(weights.layer(0).post_norm), values_of(norm));
}

TEST_F(Weights, TiedEmbeddingsWinOverAnLmHeadThatIsPresent) {
  ASSERT_NE(values_of(tensor("lm_head.weight")), values_of(tensor("model.embed_tokens.weight")));
  const size_t untied = config_.find("\"tie_word_embeddings\"");
  ASSERT_NE(untied, std::string::npos);
  const size_t value = config_.find("false", untied);
  config_.replace(value, 5, "true");
  const FrozenWeights weights = load();
  EXPECT_EQ(weights.lm_head().weight[0].raw(), weights.embedding().raw());
  EXPECT_EQ(values_of(weights.lm_head().weight[0]), values_of(tensor("model.embed_tokens.weight")));
  std::erase_if(tensors_, [](const OwnedTensor& t) { return t.name == "lm_head.weight"; });
  EXPECT_EQ(load().lm_head().parts, 1);
}

/// A header of odd length puts every tensor at an odd address.
TEST_F(Weights, UnalignedFilesAreCopied) {
  for (OwnedTensor& t : tensors_) {
    if (t.name.find("mlp") != std::string::npos) convert(t, DType::kF32);
  }
  load();
  const auto path = folder_ / "model.safetensors";
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  bytes.insert(8 + header, " ");
  ++header;
  std::memcpy(bytes.data(), &header, 8);
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));

  const FrozenWeights weights(*backend_, *queue_, load_model_config(folder_.path()), folder_.path());
  for (const auto& [view, name] :
       {std::pair{weights.layer(1).down.weight[0], "model.layers.1.mlp.down_proj.weight"},
        std::pair{weights.layer(1).o.weight[0], "model.layers.1.self_attn.o_proj.weight"},
        std::pair{weights.embedding(), "model.embed_tokens.weight"}}) {
    EXPECT_FALSE(in_mapped_file(view)) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.raw()) % size_of(view.dtype()), 0u) << name;
    EXPECT_EQ(values_of(view), values_of(tensor(name))) << name;
  }
}

TEST_F(Weights, RefusesAMissingTensor) {
  for (const char* name :
       {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
        "model.layers.1.self_attn.v_proj.weight", "model.layers.0.input_layernorm.weight"}) {
    tensors_ = tiny_tensors(model_);
    std::erase_if(tensors_, [&](const OwnedTensor& t) { return t.name == name; });
    EXPECT_THAT(refusal(), AllOf(HasSubstr(folder_.path().string()), HasSubstr(name)));
  }
}

TEST_F(Weights, RefusesAMissingBias) {
  TinyModel model;
  model.family = "qwen2";
  use(model);
  std::erase_if(tensors_,
                [](const OwnedTensor& t) { return t.name == "model.layers.1.self_attn.q_proj.bias"; });
  EXPECT_THAT(refusal(), HasSubstr("model.layers.1.self_attn.q_proj.bias"));
}

TEST_F(Weights, RefusesAnotherShape) {
  OwnedTensor& down = tensor("model.layers.1.mlp.down_proj.weight");
  std::swap(down.shape[0], down.shape[1]);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("model.layers.1.mlp.down_proj.weight"), HasSubstr("[96, 64]"),
                               HasSubstr("[64, 96]"), HasSubstr("config.json")));
  std::swap(down.shape[0], down.shape[1]);
  OwnedTensor& norm = tensor("model.norm.weight");
  norm.shape = {1, 64};  // as many elements, another rank
  EXPECT_THAT(refusal(), AllOf(HasSubstr("model.norm.weight"), HasSubstr("[1, 64]")));
}

TEST_F(Weights, RefusesOtherDtypes) {
  for (const DType dtype : {DType::kF64, DType::kI32, DType::kU8}) {
    tensors_ = tiny_tensors(model_);
    OwnedTensor& gate = tensor("model.layers.0.mlp.gate_proj.weight");
    gate.dtype = dtype;
    gate.bytes.resize(96 * 64 * size_of(dtype));
    EXPECT_THAT(refusal(), AllOf(HasSubstr("model.layers.0.mlp.gate_proj.weight"), HasSubstr(name_of(dtype)),
                                 HasSubstr("BF16, F16 or F32")));
  }
}

TEST_F(Weights, RefusesAFolderWithoutWeights) {
  write_model(folder_.path(), config_, tensors_);
  std::filesystem::remove(folder_ / "model.safetensors");
  const auto backend = make_cpu_backend({.threads = 1});
  const auto queue = backend->make_queue("test");
  EXPECT_THROW(FrozenWeights(*backend, *queue, load_model_config(folder_.path()), folder_.path()), Error);
}

}  // namespace
}  // namespace seer::test
