// Streamed weights are the resident ones, layer by layer and sweep after sweep.
#include "src/model/weight_stream.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/cpu/cpu_backend.h"
#include "src/io/atomic_file.h"
#include "src/model/weights.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;

class WeightStreamTest : public testing::Test {
 protected:
  FrozenWeights load(bool stream) {
    return FrozenWeights(*backend_, *queue_, load_model_config(folder_.path()), folder_.path(),
                         {.stream = stream});
  }

  static std::vector<ConstTensor> tensors(const LayerWeights& layer) {
    std::vector<ConstTensor> all = {layer.input_norm, layer.post_norm, layer.q_norm, layer.k_norm};
    for (const StackedLinear* stack : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      for (int i = 0; i < stack->parts; ++i) {
        all.push_back(stack->weight[i]);
        all.push_back(stack->bias[i]);
      }
    }
    return all;
  }

  const TempDir folder_;
  // A backend that must be given copies, as a GPU must.
  std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 1, .reads_host_memory = false});
  std::unique_ptr<Queue> queue_ = backend_->make_queue("test");
};

TEST_F(WeightStreamTest, GivesTheResidentWeightsInEverySweep) {
  TinyModel model{.layers = 3, .hidden = 64, .intermediate = 40};  // an odd number of layers: slots alternate
  model.family = "qwen2";
  write_tiny_model(folder_.path(), model);
  const FrozenWeights resident = load(false);
  FrozenWeights streamed = load(true);
  EXPECT_TRUE(streamed.streamed());
  EXPECT_LT(streamed.bytes(), resident.bytes());
  for (int sweep = 0; sweep < 4; ++sweep) {
    for (int64_t i = 0; i < model.layers; ++i) {
      const LayerWeights& layer = streamed.begin_layer(*queue_, i);
      const std::vector<ConstTensor> expected = tensors(resident.layer(i));
      const std::vector<ConstTensor> actual = tensors(layer);
      ASSERT_EQ(actual.size(), expected.size());
      for (size_t t = 0; t < expected.size(); ++t) {
        ASSERT_EQ(actual[t].shape(), expected[t].shape());
        ASSERT_EQ(actual[t].empty(), expected[t].empty());
        if (actual[t].empty()) continue;
        ASSERT_EQ(actual[t].dtype(), expected[t].dtype());
        const Buffer host =
            backend_->allocate(actual[t].numel() * size_of(actual[t].dtype()), Memory::kHostPinned);
        backend_->copy(*queue_, actual[t], host.tensor(actual[t].dtype(), actual[t].shape()));
        backend_->synchronize(*queue_);
        EXPECT_EQ(
            std::memcmp(host.data(), expected[t].raw(), expected[t].numel() * size_of(expected[t].dtype())),
            0)
            << "sweep " << sweep << " layer " << i << " tensor " << t;
      }
      streamed.end_layer(*queue_, i);
    }
  }
}

TEST_F(WeightStreamTest, RefusesLayersOutOfOrder) {
  write_tiny_model(folder_.path(), {.layers = 3});
  FrozenWeights streamed = load(true);
  EXPECT_THROW(streamed.begin_layer(*queue_, 1), Error);
  streamed.begin_layer(*queue_, 0);
  EXPECT_THROW(streamed.end_layer(*queue_, 1), Error);
  EXPECT_THROW(streamed.layer(0), Error);
}

TEST_F(WeightStreamTest, SaysWhichFileFailed) {
  write_tiny_model(folder_.path(), {.layers = 4});
  FrozenWeights streamed = load(true);
  fs::resize_file(folder_ / "model.safetensors", 4096);
  try {
    for (int sweep = 0; sweep < 2; ++sweep) {
      for (int64_t i = 0; i < 4; ++i) {
        streamed.begin_layer(*queue_, i);
        streamed.end_layer(*queue_, i);
      }
    }
    FAIL() << "the file is gone";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("model.safetensors"));
  }
}

}  // namespace
}  // namespace seer::test
