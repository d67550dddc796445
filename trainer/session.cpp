#include "trainer/session.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "trainer/plan_backend.h"
#include "trainer/schedule.h"

namespace seer {
namespace {

/// Score matrices beyond the least possible may take this much memory.
constexpr size_t kScoreBytes = size_t{64} << 20;

TokenSequence blank_sequence(int64_t tokens) {
  TokenSequence sequence;
  sequence.ids.resize(tokens);
  sequence.cu_seqlens = {0, tokens};
  return sequence;
}

std::vector<int64_t> distinct_block_sizes(const std::vector<GateEntryConfig>& gates) {
  std::set<int64_t> sizes;
  for (const GateEntryConfig& gate : gates) sizes.insert(gate.block_size);
  return {sizes.begin(), sizes.end()};
}

}  // namespace

Session::Session(Backend& backend, const ModelConfig& model, FrozenWeights& weights,
                 const SessionOptions& options)
    : backend_(backend),
      model_(model),
      weights_(weights),
      options_(options),
      queue_(backend.make_queue("compute")) {
  const int64_t capacity = options_.max_tokens;
  token_rope_ = std::make_unique<RopeTables>(backend_, *queue_,
                                             rope_frequencies(model_.rope, model_.head_dim), capacity);
  for (const GateEntryConfig& entry : options_.gates)
    gates_.emplace_back(backend_, *queue_, entry, model_, capacity);
  scalars_ = std::make_unique<StepScalars>(backend_, model_.num_layers, model_.num_heads,
                                           static_cast<int64_t>(gates_.size()), options_.densities);
  batches_ = std::make_unique<TokenBatches>(backend_, options_.batch_size, capacity,
                                            distinct_block_sizes(options_.gates));
  residuals_ = std::make_unique<Residuals>(backend_, options_.batch_size, capacity, model_.hidden_size,
                                           options_.residuals);
  const size_t arena_bytes = plan_arena();
  arena_ = std::make_unique<Arena>(backend_.allocate(arena_bytes, Memory::kDevice));
  sweep_ = std::make_unique<Sweep>(backend_, *queue_, *arena_,
                                   FrozenModel{model_, weights_, token_rope_->table()}, *residuals_, heads_);
  list_memory(arena_bytes);
  backend_.synchronize(*queue_);
}

Session::~Session() = default;

void Session::list_memory(size_t arena_bytes) {
  size_t gates = 0;
  size_t rope = token_rope_->bytes();
  size_t rest = scalars_->device_bytes() + batches_->device_bytes();
  for (const GateTraining& gate : gates_) {
    gates += gate.params_bytes();
    rope += gate.rope_bytes();
    rest += gate.workspace_bytes();
  }
  memory_ = {{weights_.streamed() ? "frozen weights (embedding and two layers)" : "frozen weights",
              static_cast<size_t>(weights_.bytes())},
             {"gates, gradients and moments", gates},
             {"rotary tables", rope},
             {"residual streams", residuals_->device_bytes()},
             {"layer arena", arena_bytes},
             {"token ids, layouts and scalars", rest}};
}

/// The arena of the largest batch, for as many heads at a time as keep the score matrices small.
size_t Session::plan_arena() {
  const auto measure = [&](HeadRange heads) {
    return std::max(measure_arena(SweepMode::kTrain, heads), measure_arena(SweepMode::kEvaluate, heads));
  };
  const size_t least = measure(HeadRange::kGroup);
  const size_t most = measure(HeadRange::kAll);
  heads_ = most - least <= kScoreBytes ? HeadRange::kAll : HeadRange::kGroup;
  return heads_ == HeadRange::kAll ? most : least;
}

size_t Session::measure_arena(SweepMode mode, HeadRange heads) {
  PlanBackend plan(backend_);
  const auto queue = plan.make_queue("plan");
  Arena arena = Arena::measuring();
  MicroBatch batch(plan, options_.max_tokens, distinct_block_sizes(options_.gates));
  if (options_.packed) {
    batch.assign_worst_case();
  } else {
    batch.assign(plan, *queue, blank_sequence(options_.max_tokens));
  }
  FrozenWeights weights = weights_.shapes_of(model_.num_layers);
  Sweep sweep(plan, *queue, arena, FrozenModel{model_, weights, token_rope_->table()}, *residuals_, heads);
  sweep.run(std::span(&batch, 1), gates_, *scalars_, mode, 1.0);
  return arena.peak();
}

void Session::count_step(Backend& plan, int64_t tokens) {
  const auto queue = plan.make_queue("plan");
  Arena arena = Arena::measuring();
  const std::vector<TokenSequence> sequences(options_.batch_size, blank_sequence(tokens));
  FrozenWeights weights = weights_.shapes_of(model_.num_layers);
  Sweep sweep(plan, *queue, arena, FrozenModel{model_, weights, token_rope_->table()}, *residuals_, heads_);
  sweep.run(batches_->take(plan, *queue, sequences), gates_, *scalars_, SweepMode::kTrain, 1.0);
  apply_gradients(plan, *queue, 0);
}

void Session::apply_gradients(Backend& backend, Queue& queue, int64_t step) {
  for (size_t g = 0; g < gates_.size(); ++g) {
    gates_[g].apply_gradients(backend, queue, step, options_.total_steps, scalars_->not_finite(),
                              scalars_->norm_squared(static_cast<int64_t>(g)));
  }
}

void Session::start_sweep(std::span<const TokenSequence> sequences, SweepMode mode, double loss_factor) {
  const std::span<const MicroBatch> batches = batches_->take(backend_, *queue_, sequences);
  scalars_->zero(backend_, *queue_);
  sweep_->run(batches, gates_, *scalars_, mode, loss_factor);
}

void Session::check_finite(const char* activity, int64_t step) const {
  constexpr const char* kGateAdvice = "lower its learning_rate, or lengthen its warm-up";
  for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
    if (scalars_->host_not_finite(layer)) {
      fail(
          "{} {}: NaN or infinity in the base model's activations of layer {}: the model's weights are "
          "damaged, "
          "or do not fit its config.json",
          activity, step, layer);
    }
    for (size_t g = 0; g < gates_.size(); ++g) {
      const auto number = static_cast<int64_t>(g);
      const bool loss = !std::isfinite(scalars_->host_loss(number, layer));
      if (!loss && !scalars_->host_gradient_not_finite(number, layer)) continue;
      fail("{} {}: NaN or infinity in the {} of gate \"{}\" at layer {}: {}", activity, step,
           loss ? "loss" : "gradient", gates_[g].entry().name, layer, kGateAdvice);
    }
  }
}

std::vector<GateMetrics> Session::train_step(int64_t step, std::span<const TokenSequence> sequences) {
  start_step(step, sequences);
  return finish_step();
}

void Session::start_step(int64_t step, std::span<const TokenSequence> sequences) {
  SEER_CHECK(started_ < 0, "step {} is started before step {} is finished", step, started_);
  SEER_CHECK(static_cast<int64_t>(sequences.size()) == options_.batch_size, "{} sequences in a step of {}",
             sequences.size(), options_.batch_size);
  for (GateTraining& gate : gates_) backend_.fill_zero(*queue_, gate.params().flat_gradients());
  start_sweep(sequences, SweepMode::kTrain, 1.0 / static_cast<double>(options_.batch_size));
  apply_gradients(backend_, *queue_, step);
  scalars_->download(backend_, *queue_);
  started_ = step;
}

std::vector<GateMetrics> Session::finish_step() {
  SEER_CHECK(started_ >= 0, "no step was started");
  const int64_t step = std::exchange(started_, -1);
  backend_.synchronize(*queue_);  // the one place where the host waits for the device
  check_finite("step", step + 1);

  std::vector<GateMetrics> metrics;
  metrics.reserve(gates_.size());
  for (size_t g = 0; g < gates_.size(); ++g) {
    const auto number = static_cast<int64_t>(g);
    const GateEntryConfig& entry = gates_[g].entry();
    GateMetrics out{.name = entry.name};
    out.layer_losses.reserve(model_.num_layers);
    for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
      out.layer_losses.push_back(scalars_->host_loss(number, layer));
      out.loss += entry.loss_scale * out.layer_losses.back();
    }
    out.learning_rate =
        learning_rate(entry.schedule, entry.optimizer.learning_rate, step, options_.total_steps);
    out.grad_norm = std::sqrt(scalars_->host_norm_squared(number));
    metrics.push_back(std::move(out));
  }
  return metrics;
}

std::optional<std::vector<EvalMetrics>> Session::evaluate(std::span<const TokenSequence> sequences,
                                                          int64_t step, const std::function<bool()>& stop) {
  const auto densities = static_cast<int64_t>(options_.densities.size());
  std::vector<EvalMetrics> metrics(gates_.size());
  for (size_t g = 0; g < gates_.size(); ++g) {
    metrics[g].step = step;
    metrics[g].gate = gates_[g].entry().name;
    metrics[g].layer_losses.resize(model_.num_layers);
    metrics[g].densities.reserve(options_.densities.size());
    for (const double density : options_.densities) {
      EvalDensity entry{.density = density};
      entry.layer_recall.resize(model_.num_layers);
      entry.layer_oracle.resize(model_.num_layers);
      metrics[g].densities.push_back(std::move(entry));
    }
  }
  const auto from = [&](size_t begin) {
    const size_t first = std::min(begin, sequences.size());
    return sequences.subspan(first, std::min<size_t>(options_.batch_size, sequences.size() - first));
  };
  for (size_t begin = 0; begin < sequences.size(); begin += options_.batch_size) {
    if (stop()) return std::nullopt;
    start_sweep(from(begin), SweepMode::kEvaluate, 1.0 / static_cast<double>(sequences.size()));
    scalars_->download(backend_, *queue_);
    batches_->upload_ahead(backend_, from(begin + options_.batch_size));
    backend_.synchronize(*queue_);
    check_finite("evaluation after step", step);
    for (size_t g = 0; g < gates_.size(); ++g) {
      const auto number = static_cast<int64_t>(g);
      for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
        metrics[g].layer_losses[layer] += scalars_->host_loss(number, layer);
        for (int64_t d = 0; d < densities; ++d) {
          metrics[g].densities[d].layer_recall[layer] += scalars_->host_recall(number, layer, d);
          metrics[g].densities[d].layer_oracle[layer] += scalars_->host_oracle(number, layer, d);
        }
      }
    }
  }
  const auto layers = static_cast<double>(model_.num_layers);
  for (size_t g = 0; g < gates_.size(); ++g) {
    for (const double loss : metrics[g].layer_losses) metrics[g].loss += gates_[g].entry().loss_scale * loss;
    for (EvalDensity& entry : metrics[g].densities) {
      for (const double recall : entry.layer_recall) entry.recall += recall / layers;
      for (const double recall : entry.layer_oracle) entry.oracle += recall / layers;
    }
  }
  return metrics;
}

}  // namespace seer
