// Gate types, shapes, names, and the flat arrays of weights.
#include "src/gate/gate_params.h"

#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "src/gate/decode_gate.h"
#include "tests/ops/device.h"

namespace seer::test {
namespace {

using ::testing::HasSubstr;

TEST(GateType, All49RoundTrip) {
  const std::vector<std::string> pools = {"max", "min", "avg", "maxmin", "maxavg", "minavg", "maxminavg"};
  std::set<std::string> names;
  for (const std::string& q : pools) {
    for (const std::string& k : pools) {
      const std::string name = fmt::format("Q{}_K{}", q, k);
      const GateType type = parse_gate_type(name);
      EXPECT_EQ(to_string(type), name);
      EXPECT_EQ(type.q.count(), static_cast<int>(q.size() / 3));
      EXPECT_EQ(type.k.count(), static_cast<int>(k.size() / 3));
      names.insert(to_string(type));
    }
  }
  EXPECT_EQ(names.size(), 49u);
  EXPECT_TRUE(parse_gate_type("Qminavg_Kmax").q.min);
  EXPECT_FALSE(parse_gate_type("Qminavg_Kmax").q.max);
}

TEST(GateType, RefusesOthersByName) {
  for (const char* name : {"", "Q", "Qavg", "Qavg_K", "Q_Kavg", "Qavg_Kavgmax", "Qavgavg_Kavg", "qavg_kavg",
                           "Qavg_Kmax ", " Qavg_Kmax", "Qavg_Ksum", "Qavg-Kavg", "Qavg_KmaxX"}) {
    try {
      parse_gate_type(name);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.what(), HasSubstr(fmt::format("\"{}\"", name)));
      EXPECT_THAT(error.what(), HasSubstr("Qavg_Kmaxminavg"));
    }
  }
}

TEST(HeadPooling, Names) {
  EXPECT_EQ(parse_head_pooling("Qproj"), HeadPooling::kProj);
  EXPECT_EQ(parse_head_pooling("Qavgproj"), HeadPooling::kAvgProj);
  EXPECT_EQ(parse_head_pooling("Qavg"), HeadPooling::kAvg);
  EXPECT_THROW(parse_head_pooling("Qmax"), Error);
}

PrefillGateConfig config(const char* type, int64_t hidden_size = 16, bool force_double = false) {
  return {.type = parse_gate_type(type),
          .hidden_size = hidden_size,
          .force_double = force_double,
          .num_heads = 6,
          .num_kv_heads = 2,
          .head_dim = 16};
}

TEST(PrefillGateConfig, WhenTheQueryLinearExists) {
  const PrefillGateConfig single = config("Qavg_Kmaxminavg");
  EXPECT_FALSE(single.has_query_linear());
  EXPECT_EQ(single.key_weight(), (Shape{6, 48, 16}));  // a matrix for each query head
  EXPECT_EQ(GateParams::layer_size(single), 6 * 48 * 16);
  for (const PrefillGateConfig& both :
       {config("Qmaxmin_Kavg"), config("Qavg_Kavg", 8), config("Qavg_Kavg", 16, true)}) {
    EXPECT_TRUE(both.has_query_linear());
    EXPECT_EQ(both.key_weight()[0], 2);
    EXPECT_EQ(both.query_weight(), (Shape{6, both.type.q.count() * 16, both.hidden_size}));
    EXPECT_EQ(GateParams::layer_size(both), both.key_weight().numel() + both.query_weight().numel());
  }
  // SEMANTICS 6: Llama-3.1-8B with the default gate, 100.7 MB in bf16.
  const PrefillGateConfig llama{.type = parse_gate_type("Qavg_Kmaxminavg"),
                                .hidden_size = 128,
                                .num_heads = 32,
                                .num_kv_heads = 8,
                                .head_dim = 128};
  EXPECT_EQ(llama.key_weight(), (Shape{32, 384, 128}));
  EXPECT_EQ(32 * GateParams::layer_size(llama) * 2, 100'663'296);
}

TEST(GateParams, Names) {
  EXPECT_EQ(gate_weight_name(17, true), "model.layers.17.self_attn.attn_gate.mask_linear_q.weight");
  EXPECT_EQ(gate_weight_name(0, false), "model.layers.0.self_attn.attn_gate.mask_linear_k.weight");
}

class GateParamsTest : public ::testing::Test {
 protected:
  Device device_{make_cpu_backend({.threads = 1})};
  GateParams make(const PrefillGateConfig& c, int64_t layers, uint64_t seed = 1) {
    GateParams params(device_.backend(), device_.queue(), c, layers);
    params.init_normal(device_.backend(), device_.queue(), seed, 0.02);
    return params;
  }
};

TEST_F(GateParamsTest, ViewsTileTheFlatArrays) {
  const GateParams params = make(config("Qmaxmin_Kavg"), 3);
  EXPECT_EQ(params.size(), 3 * GateParams::layer_size(params.config()));
  const auto* next = params.flat_weights().data<float>();
  for (int64_t layer = 0; layer < 3; ++layer) {
    const GateTensors weights = params.weights(layer);
    EXPECT_EQ(weights.query.data<float>(), next);
    next += weights.query.numel();
    EXPECT_EQ(weights.key.data<float>(), next);
    next += weights.key.numel();
    const GateTensors views = gate_tensors(params.config(), params.layer_gradients(layer));
    EXPECT_EQ(params.layer_gradients(layer).data<float>(), views.query.data<float>());
    EXPECT_EQ(params.layer_gradients(layer).numel(), GateParams::layer_size(params.config()));
  }
  EXPECT_EQ(next, params.flat_weights().data<float>() + params.size());
  EXPECT_TRUE(make(config("Qavg_Kavg"), 1).weights(0).query.empty());
  EXPECT_THROW(params.weights(3), Error);
  EXPECT_THROW(params.weights(-1), Error);
}

TEST_F(GateParamsTest, InitialWeightsAreAFunctionOfSeedAndLayer) {
  const GateParams three = make(config("Qmaxmin_Kavg"), 3);
  const GateParams one = make(config("Qmaxmin_Kavg"), 1);
  const GateParams other = make(config("Qmaxmin_Kavg"), 1, 2);
  EXPECT_EQ(device_.download(one.weights(0).key), device_.download(three.weights(0).key));
  EXPECT_NE(device_.download(other.weights(0).key), device_.download(one.weights(0).key));
  EXPECT_NE(device_.download(three.weights(1).key), device_.download(three.weights(0).key));

  double sum = 0;
  double squares = 0;
  const Values all = device_.download(three.flat_weights());
  for (const double value : all) {
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(all.size());  // some 10^4
  EXPECT_NEAR(sum / count, 0.0, 0.02 * 5 / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.02 * 5 / std::sqrt(2 * count));
  for (const Tensor& array : {three.flat_gradients(), three.first_moment(), three.second_moment()}) {
    EXPECT_EQ(device_.download(array), Values(all.size(), 0.0));
  }
}

}  // namespace
}  // namespace seer::test
