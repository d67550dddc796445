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
                 const SessionOptions& options, const RankGroups* ranks)
    : backend_(backend),
      model_(model),
      weights_(weights),
      options_(options),
      ranks_(ranks != nullptr ? *ranks : alone_),
      queue_(backend.make_queue("compute")) {
  SEER_CHECK(options_.batch_size % place().data_size() == 0, "{} sequences over {} ranks",
             options_.batch_size, place().data_size());
  const BatchShape shape = batch_shape();
  token_rope_ = std::make_unique<RopeTables>(
      backend_, *queue_, rope_frequencies(model_.rope, model_.head_dim), options_.max_tokens);
  for (const GateEntryConfig& entry : options_.gates)
    gates_.emplace_back(backend_, *queue_, entry, model_, options_.max_tokens);
  scalars_ =
      std::make_unique<StepScalars>(backend_, place(), model_.num_layers, model_.num_heads,
                                    static_cast<int64_t>(gates_.size()), options_.densities, own_batches());
  batches_ = std::make_unique<TokenBatches>(backend_, own_batches(), shape);
  residuals_ = std::make_unique<Residuals>(backend_, own_batches(), shape.capacity(), model_.hidden_size,
                                           options_.residuals);
  gradients_ = std::make_unique<GradientSum>(backend_, ranks_, gates_, own_batches());
  computed_ = backend_.make_event();
  gathered_ = backend_.make_event();
  const size_t arena_bytes = plan_arena();
  arena_ = std::make_unique<Arena>(backend_.allocate(arena_bytes, Memory::kDevice));
  sweep_ = std::make_unique<Sweep>(backend_, *queue_, FrozenModel{model_, weights_, token_rope_->table()},
                                   SweepMemory{*arena_, *residuals_, *gradients_, *scalars_}, heads_, ranks_);
  list_memory(arena_bytes);
  backend_.synchronize(*queue_);
}

/// Exchanges under way use memory of this object.
Session::~Session() {
  if (ranks_.exchange == nullptr) return;
  try {
    backend_.synchronize(*ranks_.exchange);
  } catch (const Error&) {  // nobody waits for them any more
  }
}

BatchShape Session::batch_shape() const {
  return {.max_tokens = options_.max_tokens,
          .block_sizes = distinct_block_sizes(options_.gates),
          .place = place()};
}

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
             {"sums of gradients", gradients_->device_bytes()},
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

/// A session's sweep on a backend and with ranks that do nothing.
class Session::PlannedSweep {
 public:
  PlannedSweep(Session& session, Backend& plan, HeadRange heads, int64_t micro_batches)
      : queue_(plan.make_queue("plan")),
        ranks_(RankGroups::planned(plan, session.place())),
        weights_(session.weights_.shapes_of(session.model_.num_layers)),
        gradients_(plan, ranks_, session.gates_, micro_batches) {
    sweep_.emplace(plan, *queue_, FrozenModel{session.model_, weights_, session.token_rope_->table()},
                   SweepMemory{arena_, *session.residuals_, gradients_, *session.scalars_}, heads, ranks_);
  }

  Queue& queue() { return *queue_; }
  Sweep& sweep() { return *sweep_; }
  size_t arena_peak() const { return arena_.peak(); }

 private:
  std::unique_ptr<Queue> queue_;
  RankGroups ranks_;
  FrozenWeights weights_;
  Arena arena_ = Arena::measuring();
  GradientSum gradients_;
  std::optional<Sweep> sweep_;
};

size_t Session::measure_arena(SweepMode mode, HeadRange heads) {
  PlanBackend plan(backend_);
  PlannedSweep planned(*this, plan, heads, 1);
  MicroBatch batch(plan, batch_shape());
  if (options_.packed) {
    batch.assign_worst_case();
  } else {
    batch.assign(plan, planned.queue(), blank_sequence(options_.max_tokens));
  }
  planned.sweep().run(std::span(&batch, 1), gates_, mode, 1.0);
  return planned.arena_peak();
}

void Session::count_step(Backend& plan, int64_t tokens) {
  PlannedSweep planned(*this, plan, heads_, own_batches());
  const std::vector<TokenSequence> sequences(own_batches(), blank_sequence(tokens));
  planned.sweep().run(batches_->take(plan, planned.queue(), sequences), gates_, SweepMode::kTrain, 1.0);
  apply_gradients(plan, planned.queue(), 0);
}

void Session::apply_gradients(Backend& backend, Queue& queue, int64_t step) {
  for (size_t g = 0; g < gates_.size(); ++g) {
    gates_[g].apply_gradients(backend, queue, step, options_.total_steps, scalars_->all_not_finite(),
                              scalars_->norm_squared(static_cast<int64_t>(g)));
  }
}

void Session::start_sweep(std::span<const TokenSequence> sequences, SweepMode mode, double loss_factor) {
  const std::span<const MicroBatch> batches = batches_->take(backend_, *queue_, sequences);
  scalars_->zero(backend_, *queue_);
  sweep_->run(batches, gates_, mode, loss_factor);
  gather_scalars();
}

/// Flags and losses of all ranks, on the queue of everything that crosses them.
void Session::gather_scalars() {
  if (ranks_.world == nullptr) return;
  backend_.record(*queue_, *computed_);
  backend_.wait(*ranks_.exchange, *computed_);
  scalars_->gather(*ranks_.exchange, *ranks_.world);
  backend_.record(*ranks_.exchange, *gathered_);
  backend_.wait(*queue_, *gathered_);
}

void Session::check_finite(const char* activity, int64_t step, int64_t sequences) const {
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
      bool loss = false;
      for (int64_t i = 0; i < sequences; ++i)
        loss = loss || !std::isfinite(scalars_->host_loss(i, number, layer));
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
  SEER_CHECK(static_cast<int64_t>(sequences.size()) == own_batches(),
             "{} sequences in a step of {} on this rank", sequences.size(), own_batches());
  start_sweep(sequences, SweepMode::kTrain, 1.0 / static_cast<double>(options_.batch_size));
  apply_gradients(backend_, *queue_, step);
  scalars_->download(backend_, *queue_);
  started_ = step;
}

std::vector<GateMetrics> Session::finish_step() {
  SEER_CHECK(started_ >= 0, "no step was started");
  const int64_t step = std::exchange(started_, -1);
  backend_.synchronize(*queue_);  // the one place where the host waits for the device
  check_finite("step", step + 1, options_.batch_size);

  std::vector<GateMetrics> metrics;
  metrics.reserve(gates_.size());
  for (size_t g = 0; g < gates_.size(); ++g) {
    const auto number = static_cast<int64_t>(g);
    const GateEntryConfig& entry = gates_[g].entry();
    GateMetrics out{.name = entry.name};
    out.layer_losses.reserve(model_.num_layers);
    for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
      double loss = 0;
      for (int64_t i = 0; i < options_.batch_size; ++i) loss += scalars_->host_loss(i, number, layer);
      out.layer_losses.push_back(loss);
      out.loss += entry.loss_scale * out.layer_losses.back();
    }
    out.learning_rate =
        learning_rate(entry.schedule, entry.optimizer.learning_rate, step, options_.total_steps);
    out.grad_norm = std::sqrt(scalars_->host_norm_squared(number));
    metrics.push_back(std::move(out));
  }
  return metrics;
}

/// What sequence `i` of the sweep that was downloaded last adds.
void Session::add_evaluation(int64_t i, int64_t gate, EvalMetrics& metrics) const {
  for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
    metrics.layer_losses[layer] += scalars_->host_loss(i, gate, layer);
    for (size_t d = 0; d < metrics.densities.size(); ++d) {
      const auto density = static_cast<int64_t>(d);
      metrics.densities[d].layer_recall[layer] += scalars_->host_recall(i, gate, layer, density);
      metrics.densities[d].layer_oracle[layer] += scalars_->host_oracle(i, gate, layer, density);
    }
  }
}

std::optional<std::vector<EvalMetrics>> Session::evaluate(std::span<const TokenSequence> sequences,
                                                          int64_t step, const std::function<bool()>& stop) {
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
  const int64_t total = static_cast<int64_t>(sequences.size());
  const auto own_share = [&](int64_t begin) {
    const int64_t first = std::min(begin + place().data_rank() * own_batches(), total);
    return sequences.subspan(first, std::min(own_batches(), total - first));
  };
  for (int64_t begin = 0; begin < total; begin += options_.batch_size) {
    if (stop()) return std::nullopt;
    start_sweep(own_share(begin), SweepMode::kEvaluate, 1.0 / static_cast<double>(total));
    scalars_->download(backend_, *queue_);
    batches_->upload_ahead(backend_, own_share(begin + options_.batch_size));
    backend_.synchronize(*queue_);
    const int64_t count = std::min(options_.batch_size, total - begin);
    check_finite("evaluation after step", step, count);
    for (size_t g = 0; g < gates_.size(); ++g) {
      for (int64_t i = 0; i < count; ++i) add_evaluation(i, static_cast<int64_t>(g), metrics[g]);
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
