// Trainings inside this process, on random tokens, with everything that comes out of them in comparable form.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/cpu/cpu_backend.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"
#include "trainer/ranks.h"
#include "trainer/session.h"

namespace seer::test {

/// How the ranks of a test share a session.
struct RankSetup {
  std::unique_ptr<Communicator> world;
  int context = 1;
  int shard = 1;
  bool stream = false;  ///< Weights
};

/// A session on a model folder, with the backend and the weights that it needs.
class LoadedSession {
 public:
  LoadedSession(const std::filesystem::path& model_folder, const SessionOptions& options,
                std::unique_ptr<Backend> backend, RankSetup ranks, uint64_t seed = 42);
  LoadedSession(const std::filesystem::path& model_folder, const SessionOptions& options,
                std::unique_ptr<Backend> backend, uint64_t seed = 42);
  LoadedSession(const std::filesystem::path& model_folder, const SessionOptions& options,
                const CpuOptions& cpu = {.threads = 2}, uint64_t seed = 42)
      : LoadedSession(model_folder, options, make_cpu_backend(cpu), seed) {}

  Session& operator*() { return *session_; }
  Session* operator->() { return session_.get(); }

  /// Weights, then first and second moments of a gate entry.
  std::vector<float> state(size_t gate);
  std::vector<float> gradients(size_t gate);

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  RankGroups ranks_;
  ModelConfig model_;
  std::unique_ptr<FrozenWeights> weights_;
  std::unique_ptr<Session> session_;
};

/// Tokens of a sequence that ends in a short block of every size.
constexpr int64_t kRaggedLength = 328;

/// Three trainings that differ in everything an entry can say, each with a clip that is active.
std::vector<GateEntryConfig> three_gates();

/// Five steps, with recall at two densities.
SessionOptions options_for(std::vector<GateEntryConfig> gates, int64_t batch = 2,
                           int64_t tokens = kRaggedLength);

/// One pack of random tokens.
TokenSequence random_pack(uint64_t seed, const std::vector<int64_t>& lengths, int64_t vocabulary = 256);

/// `steps` batches of `batch` sequences of `length` tokens.
std::vector<std::vector<TokenSequence>> random_batches(uint64_t seed, int64_t steps, int64_t batch,
                                                       int64_t length);

/// What one gate entry went through.
struct GateHistory {
  std::vector<GateMetrics> steps;
  EvalMetrics eval;  ///< After the last step, on the first batch
  std::vector<float> state;
};

/// Trains on the batches (of all ranks: data rank r of n takes its share), then evaluates.
std::vector<GateHistory> train_gates(LoadedSession& session,
                                     const std::vector<std::vector<TokenSequence>>& batches,
                                     int data_rank = 0, int data_size = 1);

/// Expects the same bits everywhere.
void expect_same_bits(const GateHistory& a, const GateHistory& b);

}  // namespace seer::test
