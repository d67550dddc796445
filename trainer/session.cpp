#include "trainer/session.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "trainer/plan_backend.h"
#include "trainer/schedule.h"

namespace seer {
namespace {

std::vector<int64_t> distinct_block_sizes(const std::vector<GateEntryConfig>& gates) {
  std::set<int64_t> sizes;
  for (const GateEntryConfig& gate : gates) sizes.insert(gate.block_size);
  return {sizes.begin(), sizes.end()};
}

}  // namespace

Session::Session(Backend& backend, const ModelConfig& model, const FrozenWeights& weights,
                 const SessionOptions& options)
    : backend_(backend),
      model_(model),
      weights_(weights),
      options_(options),
      queue_(backend.make_queue("compute")) {
  const int64_t capacity = options_.max_tokens;
  token_rope_ = std::make_unique<RopeTables>(backend_, *queue_,
                                             rope_frequencies(model_.rope, model_.head_dim), capacity);
  memory_.push_back({"frozen weights (as stored)", static_cast<size_t>(weights_.bytes())});
  size_t gate_bytes = 0;
  for (const GateEntryConfig& entry : options_.gates) {
    gates_.emplace_back(backend_, *queue_, entry, model_, capacity);
    gate_bytes += 4 * gates_.back().params().size() * sizeof(float);
  }
  memory_.push_back({"gates, gradients and moments", gate_bytes});
  memory_.push_back({"rotary tables", token_rope_->bytes()});
  scalars_ = std::make_unique<StepScalars>(backend_, model_.num_layers, model_.num_heads,
                                           static_cast<int64_t>(gates_.size()), options_.densities);
  const DType act = backend_.activation_dtype();
  const Shape residual{capacity, model_.hidden_size};
  const size_t residual_bytes = residual.numel() * size_of(act);
  for (int64_t m = 0; m < options_.batch_size; ++m) {
    batches_.emplace_back(backend_, capacity, distinct_block_sizes(options_.gates));
    residual_buffers_.push_back(backend_.allocate(residual_bytes, Memory::kDevice));
    residuals_.push_back(residual_buffers_.back().tensor(act, residual));
  }
  memory_.push_back({"residual streams", residual_bytes * options_.batch_size});
  const size_t arena_bytes = std::max(measure_arena(SweepMode::kTrain), measure_arena(SweepMode::kEvaluate));
  memory_.push_back({"layer arena", arena_bytes});
  arena_ = std::make_unique<Arena>(backend_.allocate(arena_bytes, Memory::kDevice));
  sweep_ = std::make_unique<Sweep>(backend_, *queue_, *arena_,
                                   FrozenModel{model_, weights_, token_rope_->table()}, residuals_);
  backend_.synchronize(*queue_);
}

Session::~Session() = default;

size_t Session::measure_arena(SweepMode mode) {
  PlanBackend plan(backend_);
  const auto queue = plan.make_queue("plan");
  Arena arena = Arena::measuring();
  MicroBatch& batch = batches_.front();
  if (options_.packed) {
    batch.assign_worst_case();
  } else {
    TokenSequence sequence;
    sequence.ids.resize(options_.max_tokens);
    sequence.cu_seqlens = {0, options_.max_tokens};
    batch.assign(plan, *queue, sequence);
  }
  Sweep sweep(plan, *queue, arena, FrozenModel{model_, weights_, token_rope_->table()}, residuals_);
  sweep.run(std::span(&batch, 1), gates_, *scalars_, mode, 1.0);
  return arena.peak();
}

void Session::count_step(Backend& plan) {
  const auto queue = plan.make_queue("plan");
  Arena arena = Arena::measuring();
  TokenSequence sequence;
  sequence.ids.resize(options_.max_tokens);
  sequence.cu_seqlens = {0, options_.max_tokens};
  for (MicroBatch& batch : batches_) batch.assign(plan, *queue, sequence);
  Sweep sweep(plan, *queue, arena, FrozenModel{model_, weights_, token_rope_->table()}, residuals_);
  sweep.run(batches_, gates_, *scalars_, SweepMode::kTrain, 1.0);
  for (size_t g = 0; g < gates_.size(); ++g) {
    gates_[g].apply_gradients(plan, *queue, 0, options_.total_steps, scalars_->not_finite(),
                              scalars_->norm_squared(static_cast<int64_t>(g)));
  }
}

void Session::run_sweep(std::span<const TokenSequence> sequences, SweepMode mode, double loss_factor) {
  for (size_t m = 0; m < sequences.size(); ++m) batches_[m].assign(backend_, *queue_, sequences[m]);
  scalars_->zero(backend_, *queue_);
  sweep_->run(std::span(batches_.data(), sequences.size()), gates_, *scalars_, mode, loss_factor);
}

void Session::check_finite(int64_t step, const char* activity) const {
  for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
    if (scalars_->host_not_finite(layer)) {
      fail(
          "{} step {}: NaN or infinity in the base model's activations of layer {}: the model's weights are "
          "damaged, or "
          "do not fit its config.json",
          activity, step, layer);
    }
    for (size_t g = 0; g < gates_.size(); ++g) {
      if (std::isfinite(scalars_->host_loss(static_cast<int64_t>(g), layer))) continue;
      fail(
          "{} step {}: NaN or infinity in the loss of gate \"{}\" at layer {}: lower its learning_rate, or "
          "lengthen "
          "its warm-up",
          activity, step, gates_[g].entry().name, layer);
    }
  }
}

std::vector<GateMetrics> Session::train_step(int64_t step, std::span<const TokenSequence> sequences) {
  SEER_CHECK(static_cast<int64_t>(sequences.size()) == options_.batch_size, "{} sequences in a step of {}",
             sequences.size(), options_.batch_size);
  for (GateTraining& gate : gates_) backend_.fill_zero(*queue_, gate.params().flat_gradients());
  run_sweep(sequences, SweepMode::kTrain, 1.0 / static_cast<double>(options_.batch_size));
  for (size_t g = 0; g < gates_.size(); ++g) {
    gates_[g].apply_gradients(backend_, *queue_, step, options_.total_steps, scalars_->not_finite(),
                              scalars_->norm_squared(static_cast<int64_t>(g)));
  }
  scalars_->download(backend_, *queue_);
  backend_.synchronize(*queue_);  // the one place where the host waits for the device
  check_finite(step, "training");

  std::vector<GateMetrics> metrics;
  for (size_t g = 0; g < gates_.size(); ++g) {
    const auto number = static_cast<int64_t>(g);
    const GateEntryConfig& entry = gates_[g].entry();
    GateMetrics out{.name = entry.name};
    for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
      out.layer_losses.push_back(scalars_->host_loss(number, layer));
      out.loss += entry.loss_scale * out.layer_losses.back();
    }
    out.learning_rate =
        learning_rate(entry.schedule, entry.optimizer.learning_rate, step, options_.total_steps);
    out.grad_norm = std::sqrt(scalars_->host_norm_squared(number));
    if (!std::isfinite(out.grad_norm)) {
      fail(
          "training step {}: NaN or infinity in the gradient of gate \"{}\": lower its learning_rate, or "
          "lengthen its "
          "warm-up",
          step, entry.name);
    }
    metrics.push_back(std::move(out));
  }
  return metrics;
}

std::vector<EvalMetrics> Session::evaluate(std::span<const TokenSequence> sequences, int64_t step) {
  const auto densities = static_cast<int64_t>(options_.densities.size());
  std::vector<EvalMetrics> metrics(gates_.size());
  for (size_t g = 0; g < gates_.size(); ++g) {
    metrics[g].step = step;
    metrics[g].gate = gates_[g].entry().name;
    metrics[g].layer_losses.resize(model_.num_layers);
    for (const double density : options_.densities) {
      EvalDensity entry{.density = density};
      entry.layer_recall.resize(model_.num_layers);
      entry.layer_oracle.resize(model_.num_layers);
      metrics[g].densities.push_back(std::move(entry));
    }
  }
  for (size_t begin = 0; begin < sequences.size(); begin += batches_.size()) {
    const size_t count = std::min(batches_.size(), sequences.size() - begin);
    run_sweep(sequences.subspan(begin, count), SweepMode::kEvaluate,
              1.0 / static_cast<double>(sequences.size()));
    scalars_->download(backend_, *queue_);
    backend_.synchronize(*queue_);
    check_finite(step, "evaluation after");
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
