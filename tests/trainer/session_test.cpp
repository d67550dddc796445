// What a session promises: entries, threads and the backend's memory do not change a bit; batches and packs
// are means; nothing that is not finite gets past it.
#include "trainer/session.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden_file.h"
#include "tests/trainer/session_runs.h"

namespace seer::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

class SessionTest : public testing::Test {
 protected:
  SessionTest() { write_tiny_model(model_, {.layers = 3}); }

  const TempDir folder_;
  const std::filesystem::path model_ = folder_ / "model";
};

TEST_F(SessionTest, EntriesTrainTogetherAsEachAlone) {
  auto batches = random_batches(1, 5, 2, kRaggedLength);
  batches.back() = batches.front();  // so that the first and the last loss can be compared
  const std::vector<GateEntryConfig> gates = three_gates();
  LoadedSession together(model_, options_for(gates));
  const std::vector<GateHistory> histories = train_gates(together, batches);
  for (size_t g = 0; g < gates.size(); ++g) {
    SCOPED_TRACE(gates[g].name);
    LoadedSession alone(model_, options_for({gates[g]}));
    expect_same_bits(histories[g], train_gates(alone, batches).front());
    for (const GateMetrics& step : histories[g].steps) {
      EXPECT_GT(step.grad_norm, gates[g].optimizer.max_grad_norm) << "the clip is meant to be active";
    }
    EXPECT_LT(histories[g].steps.back().loss, histories[g].steps.front().loss);
  }
}

TEST_F(SessionTest, ThreadsDoNotChangeABit) {
  const auto batches = random_batches(2, 5, 2, kRaggedLength);
  LoadedSession one(model_, options_for(three_gates()), {.threads = 1});
  const std::vector<GateHistory> expected = train_gates(one, batches);
  for (const int threads : {2, 3, 7}) {
    SCOPED_TRACE(threads);
    LoadedSession several(model_, options_for(three_gates()), {.threads = threads});
    const std::vector<GateHistory> histories = train_gates(several, batches);
    for (size_t g = 0; g < histories.size(); ++g) expect_same_bits(expected[g], histories[g]);
  }
}

TEST_F(SessionTest, ABackendWithMemoryOfItsOwnGetsTheSameBits) {
  const auto batches = random_batches(3, 3, 2, kRaggedLength);
  LoadedSession mapped(model_, options_for(three_gates()), {.threads = 2, .reads_host_memory = true});
  LoadedSession copied(model_, options_for(three_gates()), {.threads = 2, .reads_host_memory = false});
  const std::vector<GateHistory> expected = train_gates(mapped, batches);
  const std::vector<GateHistory> histories = train_gates(copied, batches);
  for (size_t g = 0; g < histories.size(); ++g) expect_same_bits(expected[g], histories[g]);
}

TEST_F(SessionTest, TheSeedDecidesTheWeights) {
  const auto batches = random_batches(4, 2, 2, kRaggedLength);
  const auto run = [&](uint64_t seed) {
    LoadedSession session(model_, options_for(three_gates()), {.threads = 2}, seed);
    return train_gates(session, batches);
  };
  const std::vector<GateHistory> first = run(1);
  const std::vector<GateHistory> again = run(1);
  const std::vector<GateHistory> other = run(2);
  for (size_t g = 0; g < first.size(); ++g) {
    expect_same_bits(first[g], again[g]);
    EXPECT_NE(first[g].state, other[g].state);
    EXPECT_NE(first[g].steps[0].loss, other[g].steps[0].loss);
  }
}

/// Losses, recall and gradients of fresh weights on one batch.
struct Measured {
  std::vector<GateMetrics> metrics;
  std::vector<EvalMetrics> evals;
  std::vector<std::vector<float>> gradients;
};

Measured measure(LoadedSession& session, std::span<const TokenSequence> sequences) {
  Measured out;
  out.evals = session->evaluate(sequences, 0);
  out.metrics = session->train_step(0, sequences);
  for (size_t g = 0; g < out.metrics.size(); ++g) out.gradients.push_back(session.gradients(g));
  return out;
}

/// Expects that `whole` is the mean of `parts` (1e-6 relative: sums of other lengths round differently).
void expect_mean(const Measured& whole, const std::vector<Measured>& parts) {
  const auto count = static_cast<double>(parts.size());
  const auto mean = [&](const auto& value) {
    double sum = 0;
    for (const Measured& part : parts) sum += value(part);
    return sum / count;
  };
  const auto expect_near = [](double actual, double expected) {
    EXPECT_NEAR(actual, expected, 1e-6 * std::abs(expected));
  };
  for (size_t g = 0; g < whole.metrics.size(); ++g) {
    SCOPED_TRACE(whole.metrics[g].name);
    for (size_t layer = 0; layer < whole.metrics[g].layer_losses.size(); ++layer) {
      SCOPED_TRACE(layer);
      expect_near(whole.metrics[g].layer_losses[layer],
                  mean([&](const Measured& m) { return m.metrics[g].layer_losses[layer]; }));
      expect_near(whole.evals[g].layer_losses[layer],
                  mean([&](const Measured& m) { return m.evals[g].layer_losses[layer]; }));
      for (size_t d = 0; d < whole.evals[g].densities.size(); ++d) {
        expect_near(whole.evals[g].densities[d].layer_recall[layer],
                    mean([&](const Measured& m) { return m.evals[g].densities[d].layer_recall[layer]; }));
        expect_near(whole.evals[g].densities[d].layer_oracle[layer],
                    mean([&](const Measured& m) { return m.evals[g].densities[d].layer_oracle[layer]; }));
      }
    }
    expect_near(whole.metrics[g].loss, mean([&](const Measured& m) { return m.metrics[g].loss; }));
    std::vector<float> gradient(whole.gradients[g].size());
    for (size_t i = 0; i < gradient.size(); ++i) {
      gradient[i] = static_cast<float>(mean([&](const Measured& m) { return m.gradients[g][i]; }));
    }
    EXPECT_LE(relative_error(whole.gradients[g], gradient), 1e-5);
    double squares = 0;
    for (const float value : whole.gradients[g]) squares += static_cast<double>(value) * value;
    EXPECT_NEAR(whole.metrics[g].grad_norm, std::sqrt(squares), 1e-6 * std::sqrt(squares));
  }
}

TEST_F(SessionTest, ABatchIsTheMeanOfItsMicroBatches) {
  const std::vector<TokenSequence> batch = random_batches(5, 1, 4, kRaggedLength).front();
  LoadedSession session(model_, options_for(three_gates(), 4));
  const Measured whole = measure(session, batch);
  std::vector<Measured> parts;
  for (const TokenSequence& sequence : batch) {
    LoadedSession single(model_, options_for(three_gates(), 1));
    parts.push_back(measure(single, std::span(&sequence, 1)));
  }
  expect_mean(whole, parts);
}

TEST_F(SessionTest, APackIsTheMeanOfItsDocuments) {
  // Short last blocks of every kind, a document of two blocks exactly, and one of a single token more.
  const TokenSequence pack = random_pack(6, {131, 128, 129, 400, 197});
  SessionOptions options = options_for(three_gates(), 1);
  options.max_tokens = static_cast<int64_t>(pack.ids.size());
  options.packed = true;
  LoadedSession session(model_, options);
  const Measured whole = measure(session, std::span(&pack, 1));
  std::vector<Measured> parts;
  for (size_t d = 0; d + 1 < pack.cu_seqlens.size(); ++d) {
    TokenSequence document;
    document.ids.assign(pack.ids.begin() + pack.cu_seqlens[d], pack.ids.begin() + pack.cu_seqlens[d + 1]);
    document.cu_seqlens = {0, static_cast<int64_t>(document.ids.size())};
    SessionOptions single_options = options_for(three_gates(), 1);
    single_options.max_tokens = static_cast<int64_t>(document.ids.size());
    LoadedSession alone(model_, single_options);
    parts.push_back(measure(alone, std::span(&document, 1)));
  }
  expect_mean(whole, parts);
}

TEST_F(SessionTest, EvaluationTakesAnyNumberOfSequencesOfAnyLength) {
  std::vector<TokenSequence> sequences;
  for (const int64_t length : {328, 128, 200, 129, 300}) {
    sequences.push_back(random_pack(static_cast<uint64_t>(length), {length}));
  }
  LoadedSession session(model_, options_for(three_gates(), 2));
  const std::vector<EvalMetrics> all = session->evaluate(sequences, 7);
  ASSERT_EQ(all.size(), 3U);
  for (size_t g = 0; g < all.size(); ++g) {
    EXPECT_EQ(all[g].step, 7);
    double loss = 0;
    for (const TokenSequence& sequence : sequences) {
      loss += session->evaluate(std::span(&sequence, 1), 7)[g].loss / static_cast<double>(sequences.size());
    }
    EXPECT_NEAR(all[g].loss, loss, 1e-6 * loss);
    for (const EvalDensity& density : all[g].densities) {
      EXPECT_GT(density.recall, 0.0);
      EXPECT_GE(density.oracle, density.recall);
      EXPECT_LE(density.oracle, 1.0 + 1e-6);
    }
  }
}

std::string failure_of(LoadedSession& session, int64_t step, std::span<const TokenSequence> sequences) {
  try {
    session->train_step(step, sequences);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(SessionTest, ADamagedLayerStopsTheStepBeforeAnyGateChanges) {
  const std::vector<TokenSequence> batch = random_batches(8, 1, 2, kRaggedLength).front();
  struct Damage {
    std::string tensor;
    int layer;  // the first that it reaches
  };
  const std::vector<Damage> damages = {{"model.embed_tokens.weight", 0},
                                       {"model.layers.1.self_attn.q_proj.weight", 1},
                                       {"model.layers.1.mlp.down_proj.weight", 1},
                                       {"model.layers.0.self_attn.v_proj.weight", 0},
                                       {"model.layers.2.input_layernorm.weight", 2}};
  for (const Damage& damage : damages) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      SCOPED_TRACE(fmt::format("{} {}", damage.tensor, value));
      std::vector<OwnedTensor> tensors = tiny_tensors({.layers = 3});
      const int64_t element =
          damage.layer == 0 && damage.tensor.find("embed") != std::string::npos ? batch[1].ids[17] * 64 : 5;
      set_element(tensor_named(tensors, damage.tensor), element, value);
      write_model(folder_ / "damaged", tiny_config_json({.layers = 3}), tensors);
      LoadedSession session(folder_ / "damaged", options_for(three_gates()));
      std::vector<std::vector<float>> before;
      for (size_t g = 0; g < 3; ++g) before.push_back(session.state(g));
      EXPECT_THAT(failure_of(session, 3, batch),
                  AllOf(HasSubstr("step 4"), HasSubstr(fmt::format("layer {}", damage.layer)),
                        HasSubstr("NaN or infinity")));
      for (size_t g = 0; g < 3; ++g) EXPECT_EQ(session.state(g), before[g]);
    }
  }
}

TEST_F(SessionTest, AGateThatOverflowsStopsEveryGate) {
  const std::vector<TokenSequence> batch = random_batches(9, 1, 2, kRaggedLength).front();
  LoadedSession session(model_, options_for(three_gates()));
  GateTraining& gate = session->gates()[1];
  std::vector<float> huge(gate.params().size(), 1e30F);
  session->backend().copy(session->queue(),
                          ConstTensor(huge.data(), DType::kF32, Shape{gate.params().size()}),
                          gate.params().flat_weights());
  session->backend().synchronize(session->queue());
  std::vector<std::vector<float>> before;
  for (size_t g = 0; g < 3; ++g) before.push_back(session.state(g));
  EXPECT_THAT(failure_of(session, 0, batch),
              AllOf(HasSubstr("step 1"), HasSubstr("layer 0"), HasSubstr("\"wide\"")));
  for (size_t g = 0; g < 3; ++g) EXPECT_EQ(session.state(g), before[g]) << "gate " << g;
}

TEST_F(SessionTest, RefusesWhatItWasNotPlannedFor) {
  LoadedSession session(model_, options_for(three_gates()));
  const std::vector<TokenSequence> three = random_batches(10, 1, 3, kRaggedLength).front();
  EXPECT_THAT(failure_of(session, 0, three), HasSubstr("3 sequences in a step of 2"));
  const std::vector<TokenSequence> longer = random_batches(10, 1, 2, kRaggedLength + 1).front();
  EXPECT_THAT(failure_of(session, 0, longer), HasSubstr("329 tokens in a micro-batch of 328"));
  const std::vector<TokenSequence> good = random_batches(10, 1, 2, kRaggedLength).front();
  EXPECT_EQ(failure_of(session, 0, good), "no error") << "a refused step leaves the session usable";
}

}  // namespace
}  // namespace seer::test
