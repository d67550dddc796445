// Gradients of ranks (threads, over Gloo) added up layer by layer, or some layers together.
#include "trainer/gradient_sum.h"

#include <gtest/gtest.h>

#include "src/core/tree_order.h"
#include "src/cpu/cpu_backend.h"
#include "src/cpu/gloo_communicator.h"
#include "tests/support/golden_file.h"
#include "tests/support/rank_threads.h"
#include "tests/trainer/session_runs.h"

namespace seer::test {
namespace {

constexpr int64_t kLayers = 5;

ModelConfig model_of_layers() {
  ModelConfig model;
  model.num_layers = kLayers;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 8;
  model.hidden_size = 32;
  return model;
}

/// What micro-batch m of the step adds to element i of a layer: no two sums of them round alike.
float leaf(int64_t gate, int64_t layer, int64_t m, int64_t i) {
  return 1.0F / static_cast<float>(3 + 7 * gate + 11 * layer + 13 * m + i % 101);
}

float expected(int64_t gate, int64_t layer, int64_t first, int64_t count, int64_t i) {
  if (count == 1) return leaf(gate, layer, first, i);
  const int64_t half = (count + 1) / 2;
  return expected(gate, layer, first, half, i) + expected(gate, layer, first + half, count - half, i);
}

/// `micro_batches` of each rank; the largest number of layers that `bytes_together` allows is what is tested.
void sum_on_ranks(int ranks, int64_t micro_batches, int64_t layers_together) {
  run_ranks(ranks, [&](int rank, const RankExchange& exchange) {
    const auto backend = make_cpu_backend({.threads = 1});
    const auto queue = backend->make_queue("compute");
    const RankGroups groups =
        RankGroups::split(*backend, make_gloo_communicator({.rank = rank, .size = ranks}, exchange), 1, 1);
    std::vector<GateTraining> gates;
    for (const GateEntryConfig& entry : three_gates()) {
      gates.emplace_back(*backend, *queue, entry, model_of_layers(), 256);
    }
    int64_t layer_bytes = 0;
    for (const GateTraining& gate : gates) layer_bytes += 4 * GateParams::layer_size(gate.config());
    GradientSum sum(*backend, groups, gates, micro_batches, layers_together * layer_bytes);
    for (int step = 0; step < 2; ++step) {  // what a step leaves behind must not reach the next
      for (int64_t layer = 0; layer < kLayers; ++layer) {
        for (int64_t m = 0; m < micro_batches; ++m) {
          for (size_t g = 0; g < gates.size(); ++g) {
            const auto number = static_cast<int64_t>(g);
            const GateTensors to = sum.begin(*backend, *queue, gates[g], number, layer, m);
            backend->synchronize(*queue);
            const int64_t size = GateParams::layer_size(gates[g].config());
            float* values = (to.query.empty() ? to.key : to.query).data<float>();
            for (int64_t i = 0; i < size; ++i) {
              ASSERT_EQ(values[i], 0.0F) << "a leaf does not begin at zero";
              values[i] = leaf(number, layer, rank * micro_batches + m, i);
            }
            sum.end(*backend, *queue, gates[g], number, layer, m);
          }
        }
        sum.reduce(*backend, *queue, gates, layer);
      }
      sum.finish(*backend, *queue);
      backend->synchronize(*queue);
      for (size_t g = 0; g < gates.size(); ++g) {
        const auto number = static_cast<int64_t>(g);
        const int64_t size = GateParams::layer_size(gates[g].config());
        for (int64_t layer = 0; layer < kLayers; ++layer) {
          const auto* values = gates[g].params().layer_gradients(layer).data<float>();
          for (int64_t i = 0; i < size; ++i) {
            ASSERT_EQ(values[i], expected(number, layer, 0, ranks * micro_batches, i))
                << "gate " << g << ", layer " << layer << ", element " << i;
          }
        }
      }
    }
  });
}

TEST(GradientSum, LayerByLayer) {
  sum_on_ranks(2, 1, 1);
  sum_on_ranks(2, 4, 1);
  sum_on_ranks(4, 2, 1);
}

TEST(GradientSum, SomeLayersTogether) {
  sum_on_ranks(2, 2, 2);  // the last of five is alone
  sum_on_ranks(4, 1, 3);
  sum_on_ranks(2, 3, 5);
}

TEST(GradientSum, LessThanALayerIsALayer) {
  sum_on_ranks(2, 1, 0);
}

}  // namespace
}  // namespace seer::test
