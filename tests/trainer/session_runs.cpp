#include "tests/trainer/session_runs.h"

#include <cstring>

#include <gtest/gtest.h>

#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

bool same_bits(double a, double b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace

LoadedSession::LoadedSession(const std::filesystem::path& model_folder, const SessionOptions& options,
                             std::unique_ptr<Backend> backend, uint64_t seed)
    : LoadedSession(model_folder, options, std::move(backend), RankSetup{}, seed) {}

LoadedSession::LoadedSession(const std::filesystem::path& model_folder, const SessionOptions& options,
                             std::unique_ptr<Backend> backend, RankSetup ranks, uint64_t seed)
    : backend_(std::move(backend)),
      queue_(backend_->make_queue("load")),
      model_(load_model_config(model_folder)) {
  const bool stream = ranks.stream;
  if (ranks.world != nullptr) {
    ranks_ = RankGroups::split(*backend_, std::move(ranks.world), ranks.context, ranks.shard);
  }
  weights_ = std::make_unique<FrozenWeights>(
      *backend_, *queue_, model_, model_folder,
      WeightOptions{
          .stream = stream, .head = false, .shard = ranks_.shard.get(), .exchange = ranks_.exchange.get()});
  session_ = std::make_unique<Session>(*backend_, model_, *weights_, options, &ranks_);
  for (GateTraining& gate : session_->gates()) {
    gate.params().init_normal(*backend_, session_->queue(), seed, model_.initializer_range);
  }
}

std::vector<float> LoadedSession::state(size_t gate) {
  const GateParams& params = session_->gates()[gate].params();
  std::vector<float> all;
  for (const Tensor& part : {params.flat_weights(), params.first_moment(), params.second_moment()}) {
    const std::vector<float> values = download(*backend_, session_->queue(), part);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::vector<float> LoadedSession::gradients(size_t gate) {
  return download(*backend_, session_->queue(), session_->gates()[gate].params().flat_gradients());
}

std::vector<GateEntryConfig> three_gates() {
  GateEntryConfig plain;
  plain.name = "plain";
  plain.block_size = 16;
  plain.optimizer = {.learning_rate = 2e-3, .max_grad_norm = 1e-3};
  plain.schedule = {.type = "cosine", .warmup_steps = 1};
  GateEntryConfig wide;
  wide.name = "wide";
  wide.type = "Qmaxmin_Kavg";
  wide.block_size = 32;
  wide.hidden_size = 24;
  wide.key_pieces = 4;
  wide.distance_bias = true;
  wide.loss_reduction = "rows";
  wide.optimizer = {.learning_rate = 1e-3, .weight_decay = 0.1, .max_grad_norm = 1e-3};
  wide.schedule = {.type = "linear", .warmup_steps = 2};
  GateEntryConfig both;
  both.name = "both";
  both.type = "Qavg_Kmaxmin";
  both.block_size = 64;
  both.force_double = true;
  both.loss_scale = 3.0;
  both.optimizer = {.learning_rate = 1e-3, .beta1 = 0.8, .max_grad_norm = 1e-3};
  both.schedule = {.type = "constant", .warmup_steps = 0};
  return {plain, wide, both};
}

SessionOptions options_for(std::vector<GateEntryConfig> gates, int64_t batch, int64_t tokens) {
  return {.gates = std::move(gates),
          .total_steps = 5,
          .batch_size = batch,
          .max_tokens = tokens,
          .densities = {0.1, 0.5}};
}

TokenSequence random_pack(uint64_t seed, const std::vector<int64_t>& lengths, int64_t vocabulary) {
  TokenSequence pack;
  pack.cu_seqlens = {0};
  for (const int64_t length : lengths) pack.cu_seqlens.push_back(pack.cu_seqlens.back() + length);
  pack.ids = random_ids(seed, pack.cu_seqlens.back(), vocabulary);
  return pack;
}

std::vector<std::vector<TokenSequence>> random_batches(uint64_t seed, int64_t steps, int64_t batch,
                                                       int64_t length) {
  std::vector<std::vector<TokenSequence>> batches(steps);
  for (std::vector<TokenSequence>& sequences : batches) {
    for (int64_t m = 0; m < batch; ++m) sequences.push_back(random_pack(seed++, {length}));
  }
  return batches;
}

std::vector<GateHistory> train_gates(LoadedSession& session,
                                     const std::vector<std::vector<TokenSequence>>& batches, int data_rank,
                                     int data_size) {
  std::vector<GateHistory> histories(session->gates().size());
  for (size_t step = 0; step < batches.size(); ++step) {
    const size_t share = batches[step].size() / data_size;
    const std::vector<GateMetrics> metrics = session->train_step(
        static_cast<int64_t>(step), std::span(batches[step]).subspan(data_rank * share, share));
    for (size_t g = 0; g < metrics.size(); ++g) histories[g].steps.push_back(metrics[g]);
  }
  const std::vector<EvalMetrics> evals =
      session->evaluate(batches.front(), static_cast<int64_t>(batches.size()));
  for (size_t g = 0; g < evals.size(); ++g) {
    histories[g].eval = evals[g];
    histories[g].state = session.state(g);
  }
  return histories;
}

void expect_same_bits(const GateHistory& a, const GateHistory& b) {
  ASSERT_EQ(a.steps.size(), b.steps.size());
  for (size_t step = 0; step < a.steps.size(); ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    EXPECT_TRUE(same_bits(a.steps[step].loss, b.steps[step].loss));
    EXPECT_TRUE(same_bits(a.steps[step].layer_losses, b.steps[step].layer_losses));
    EXPECT_TRUE(same_bits(a.steps[step].grad_norm, b.steps[step].grad_norm));
    EXPECT_TRUE(same_bits(a.steps[step].learning_rate, b.steps[step].learning_rate));
  }
  EXPECT_TRUE(same_bits(a.eval.loss, b.eval.loss));
  EXPECT_TRUE(same_bits(a.eval.layer_losses, b.eval.layer_losses));
  ASSERT_EQ(a.eval.densities.size(), b.eval.densities.size());
  for (size_t d = 0; d < a.eval.densities.size(); ++d) {
    EXPECT_TRUE(same_bits(a.eval.densities[d].layer_recall, b.eval.densities[d].layer_recall));
    EXPECT_TRUE(same_bits(a.eval.densities[d].layer_oracle, b.eval.densities[d].layer_oracle));
    EXPECT_TRUE(same_bits(a.eval.densities[d].recall, b.eval.densities[d].recall));
    EXPECT_TRUE(same_bits(a.eval.densities[d].oracle, b.eval.densities[d].oracle));
  }
  EXPECT_TRUE(same_bits(a.state, b.state));
}

}  // namespace seer::test
