// Whole trainings on the GPU: they agree with the CPU's, their bits depend on nothing but their input, and nothing
// that is not finite gets past them.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <limits>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "tests/support/golden_file.h"
#include "tests/trainer/session_runs.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<Backend> cuda(CudaPrecision precision) {
  return make_cuda_backend({.precision = precision});
}

/// Expects a within `tolerance` of b, relative to b.
void expect_relative(double a, double b, double tolerance) {
  EXPECT_NEAR(a, b, tolerance * std::abs(b));
}

struct Tolerance {
  double loss;
  double grad_norm;
  double recall;  ///< Absolute: two gates that agree may rank two blocks that tie differently
};

void expect_close(const GateHistory& actual, const GateHistory& expected, const Tolerance& tolerance) {
  ASSERT_EQ(actual.steps.size(), expected.steps.size());
  for (size_t step = 0; step < actual.steps.size(); ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    const GateMetrics& a = actual.steps[step];
    const GateMetrics& b = expected.steps[step];
    expect_relative(a.loss, b.loss, tolerance.loss);
    for (size_t layer = 0; layer < b.layer_losses.size(); ++layer) {
      expect_relative(a.layer_losses[layer], b.layer_losses[layer], tolerance.loss);
    }
    expect_relative(a.grad_norm, b.grad_norm, tolerance.grad_norm);
    EXPECT_EQ(a.learning_rate, b.learning_rate);
  }
  expect_relative(actual.eval.loss, expected.eval.loss, tolerance.loss);
  for (size_t d = 0; d < expected.eval.densities.size(); ++d) {
    EXPECT_NEAR(actual.eval.densities[d].recall, expected.eval.densities[d].recall, tolerance.recall);
    EXPECT_NEAR(actual.eval.densities[d].oracle, expected.eval.densities[d].oracle, tolerance.recall);
  }
}

constexpr Tolerance kFp32 = {.loss = 1e-5, .grad_norm = 1e-4, .recall = 2e-3};
constexpr Tolerance kBf16 = {.loss = 0.02, .grad_norm = 0.1, .recall = 0.02};

class SessionCuda : public testing::TestWithParam<CudaPrecision> {
 protected:
  SessionCuda() { write_tiny_model(model_, {.layers = 3}); }

  const TempDir folder_;
  const fs::path model_ = folder_ / "model";
};

INSTANTIATE_TEST_SUITE_P(, SessionCuda, testing::Values(CudaPrecision::kFp32, CudaPrecision::kBf16),
                         [](const auto& test) {
                           return test.param == CudaPrecision::kFp32 ? "fp32" : "bf16";
                         });

TEST_P(SessionCuda, AgreesWithTheCpu) {
  const auto batches = random_batches(1, 5, 2, kRaggedLength);
  for (const TinyModel& shape : {TinyModel{.layers = 3}, TinyModel{.family = "qwen3", .head_dim = 32},
                                 TinyModel{.family = "qwen2", .kv_heads = 1}}) {
    SCOPED_TRACE(shape.family);
    write_tiny_model(folder_ / shape.family, shape);
    LoadedSession cpu(folder_ / shape.family, options_for(three_gates()));
    LoadedSession gpu(folder_ / shape.family, options_for(three_gates()), cuda(GetParam()));
    const std::vector<GateHistory> expected = train_gates(cpu, batches);
    const std::vector<GateHistory> actual = train_gates(gpu, batches);
    for (size_t g = 0; g < expected.size(); ++g) {
      SCOPED_TRACE(expected[g].steps[0].name);
      expect_close(actual[g], expected[g], GetParam() == CudaPrecision::kFp32 ? kFp32 : kBf16);
    }
  }
}

TEST_P(SessionCuda, EntriesTrainTogetherAsEachAlone) {
  const auto batches = random_batches(2, 5, 2, kRaggedLength);
  const std::vector<GateEntryConfig> gates = three_gates();
  LoadedSession together(model_, options_for(gates), cuda(GetParam()));
  const std::vector<GateHistory> histories = train_gates(together, batches);
  for (size_t g = 0; g < gates.size(); ++g) {
    SCOPED_TRACE(gates[g].name);
    LoadedSession alone(model_, options_for({gates[g]}), cuda(GetParam()));
    expect_same_bits(histories[g], train_gates(alone, batches).front());
  }
}

TEST_P(SessionCuda, TwoRunsAreTheSameBits) {
  const auto batches = random_batches(3, 5, 2, kRaggedLength);
  LoadedSession first(model_, options_for(three_gates()), cuda(GetParam()));
  LoadedSession second(model_, options_for(three_gates()), cuda(GetParam()));
  const std::vector<GateHistory> expected = train_gates(first, batches);
  const std::vector<GateHistory> actual = train_gates(second, batches);
  for (size_t g = 0; g < expected.size(); ++g) expect_same_bits(expected[g], actual[g]);
}

TEST_P(SessionCuda, APackAgreesWithTheCpu) {
  const std::vector<std::vector<TokenSequence>> batches = {{random_pack(4, {130, 328, 129, 200})},
                                                           {random_pack(5, {300, 131, 128, 228})}};
  SessionOptions options = options_for(three_gates(), 1, 787);
  options.packed = true;
  LoadedSession cpu(model_, options);
  LoadedSession gpu(model_, options, cuda(GetParam()));
  const std::vector<GateHistory> expected = train_gates(cpu, batches);
  const std::vector<GateHistory> actual = train_gates(gpu, batches);
  for (size_t g = 0; g < expected.size(); ++g) {
    SCOPED_TRACE(expected[g].steps[0].name);
    expect_close(actual[g], expected[g], GetParam() == CudaPrecision::kFp32 ? kFp32 : kBf16);
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

TEST_P(SessionCuda, ADamagedLayerStopsTheStepBeforeAnyGateChanges) {
  const std::vector<TokenSequence> batch = random_batches(6, 1, 2, kRaggedLength).front();
  struct Damage {
    std::string tensor;
    int64_t element;
    int layer;  ///< The first that it reaches
  };
  for (const Damage& damage : {Damage{"model.embed_tokens.weight", batch[1].ids[17] * 64, 0},
                               Damage{"model.layers.0.self_attn.v_proj.weight", 5, 0},
                               Damage{"model.layers.1.self_attn.q_proj.weight", 5, 1},
                               Damage{"model.layers.1.mlp.down_proj.weight", 5, 1},
                               Damage{"model.layers.2.input_layernorm.weight", 5, 2}}) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      SCOPED_TRACE(fmt::format("{} {}", damage.tensor, value));
      std::vector<OwnedTensor> tensors = tiny_tensors({.layers = 3});
      set_element(tensor_named(tensors, damage.tensor), damage.element, value);
      write_model(folder_ / "damaged", tiny_config_json({.layers = 3}), tensors);
      LoadedSession session(folder_ / "damaged", options_for(three_gates()), cuda(GetParam()));
      std::vector<std::vector<float>> before;
      for (size_t g = 0; g < 3; ++g) before.push_back(session.state(g));
      EXPECT_THAT(failure_of(session, 3, batch),
                  AllOf(HasSubstr("step 4"), HasSubstr(fmt::format("layer {}", damage.layer)),
                        HasSubstr("NaN or infinity")));
      for (size_t g = 0; g < 3; ++g) EXPECT_EQ(session.state(g), before[g]);
    }
  }
}

TEST_P(SessionCuda, ATokenOutsideTheEmbeddingIsReported) {
  const std::vector<TokenSequence> good = random_batches(7, 1, 2, kRaggedLength).front();
  for (const int32_t id : {256, -1}) {
    LoadedSession session(model_, options_for(three_gates()), cuda(GetParam()));
    std::vector<TokenSequence> bad = good;
    bad[0].ids[200] = id;
    const std::vector<float> before = session.state(0);
    EXPECT_THAT(failure_of(session, 0, bad),
                AllOf(HasSubstr(fmt::format("token id {} ", id)), HasSubstr("256 rows")));
    EXPECT_EQ(session.state(0), before);
    EXPECT_EQ(failure_of(session, 0, good), "no error") << "the session is still usable";
  }
}

// ---- runs of seer-train

/// Lets the run save a checkpoint of `step`, then sends the signal.
ProcessResult signal_after_checkpoint(const TinyRun& run, const std::string& name,
                                      const std::vector<std::string>& settings, int64_t step, int number) {
  std::vector<std::string> argv = run.arguments(name, settings);
  argv.insert(argv.begin(), seer_train_binary());
  Process process(argv);
  const fs::path checkpoint =
      run.path(name) / "checkpoints" / fmt::format("step-{:08d}", step) / "trainer_state.json";
  while (!fs::exists(checkpoint) && !process.ended()) std::this_thread::sleep_for(100us);
  process.signal(number);
  return process.wait();
}

class RunCuda : public testing::TestWithParam<TinyRun::Layout> {
 protected:
  const TinyRun run_{GetParam()};
  const std::vector<std::string> settings_ = {"--set", "device=cuda",         "--set", "precision=bf16",
                                              "--set", "train.steps=60",      "--set", "train.save_every=3",
                                              "--set", "train.keep_last=1000"};
};

INSTANTIATE_TEST_SUITE_P(, RunCuda, testing::Values(TinyRun::Layout::kJoined, TinyRun::Layout::kPacked),
                         [](const auto& test) {
                           return test.param == TinyRun::Layout::kJoined ? "Joined" : "Packed";
                         });

TEST_P(RunCuda, KilledAndStoppedEndsAsIfLeftAlone) {
  const ProcessResult whole = run_.train("whole", settings_);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("cuda"));

  std::vector<std::string> again = settings_;
  again.emplace_back("--resume");
  const ProcessResult killed = signal_after_checkpoint(run_, "run", settings_, 6, SIGKILL);
  EXPECT_EQ(killed.signal, SIGKILL) << killed.err;
  const ProcessResult stopped = signal_after_checkpoint(run_, "run", again, 21, SIGTERM);
  EXPECT_EQ(stopped.exit_code, 75) << stopped.err;
  const ProcessResult resumed = run_.train("run", again);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(metrics_of(run_.path("whole")), metrics_of(run_.path("run")));
  // The stop saved a checkpoint of its own.
  const auto expected = results_of(run_.path("whole"));
  auto actual = results_of(run_.path("run"));
  std::erase_if(actual, [&](const auto& file) {
    return file.first.starts_with("checkpoints/") && !expected.contains(file.first);
  });
  expect_same_results(expected, actual);
}

}  // namespace
}  // namespace seer::test
