// A model, its gates and all memory of a training, ready to run steps: no files, no logs, no clock.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/token_sequence.h"
#include "trainer/metrics_log.h"
#include "trainer/ranks.h"
#include "trainer/sweep.h"
#include "trainer/token_batches.h"

namespace seer {

struct SessionOptions {
  std::vector<GateEntryConfig> gates;
  int64_t total_steps = 0;        ///< For the schedules
  int64_t batch_size = 1;         ///< Micro-batches of a step, of all ranks
  int64_t max_tokens = 0;         ///< Of the longest sequence or pack that will be trained or evaluated on
  bool packed = false;            ///< Packs of several sequences may come: plan for their worst case
  std::vector<double> densities;  ///< Recall is evaluated at these
  ResidualPlace residuals = ResidualPlace::kDevice;
};

/// One line of the memory plan.
struct MemoryItem {
  std::string what;
  size_t bytes = 0;
};

class Session {
 public:
  /// Plans and takes all memory; nothing is allocated afterwards. `weights` must fit `model` and outlive the
  /// session. The gates' weights are zero until the caller draws or loads them, the same on all ranks. `ranks` must
  /// outlive the session; null: this process is alone. Ranks must all make the same calls in the same order.
  Session(Backend& backend, const ModelConfig& model, FrozenWeights& weights, const SessionOptions& options,
          const RankGroups* ranks = nullptr);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// One optimiser step (0, 1, ..) on this rank's share of `batch_size` sequences: data rank r of n has those from
  /// r * batch_size / n on. Returns the metrics of all. Throws Error naming layer and step (counted
  /// from 1, as metrics are) if anything was NaN or infinite; weights and moments of every gate are then as
  /// they were before the step.
  std::vector<GateMetrics> train_step(int64_t step, std::span<const TokenSequence> sequences);

  /// The same in two: between them the backend is at work, and the sequences of the next step can be uploaded. Every
  /// start must be finished before anything else is asked of the session.
  void start_step(int64_t step, std::span<const TokenSequence> sequences);
  std::vector<GateMetrics> finish_step();
  /// If the next step gets other sequences after all, this was in vain.
  void upload_ahead(std::span<const TokenSequence> sequences) { batches_->upload_ahead(backend_, sequences); }

  /// Loss and recall of every gate on any number of sequences, which may be shorter than those of training; every rank
  /// is given all of them and computes its share. Nothing if `stop`, which is asked between sweeps, said so, on all ranks
  /// alike.
  std::optional<std::vector<EvalMetrics>> evaluate(std::span<const TokenSequence> sequences, int64_t step,
                                                   const std::function<bool()>& stop);
  std::vector<EvalMetrics> evaluate(std::span<const TokenSequence> sequences, int64_t step) {
    return *evaluate(sequences, step, [] { return false; });
  }

  std::span<GateTraining> gates() { return gates_; }
  Backend& backend() { return backend_; }
  Queue& queue() { return *queue_; }
  const ModelConfig& model() const { return model_; }

  /// Device memory by purpose, frozen weights (as stored) first.
  const std::vector<MemoryItem>& memory() const { return memory_; }
  /// The most of the layer arena that was in use so far.
  size_t arena_peak() const { return arena_->peak(); }

  /// Counts, on `plan`, the operations of one optimiser step on one sequence of `tokens` per micro-batch.
  void count_step(Backend& plan, int64_t tokens);

 private:
  class PlannedSweep;

  const RankPlace& place() const { return ranks_.place; }
  /// Micro-batches of this rank.
  int64_t own_batches() const { return options_.batch_size / place().data_size(); }
  BatchShape batch_shape() const;
  size_t measure_arena(SweepMode mode, HeadRange heads);
  size_t plan_arena();
  void list_memory(size_t arena_bytes);
  void start_sweep(std::span<const TokenSequence> sequences, SweepMode mode, double loss_factor);
  void gather_scalars();
  void apply_gradients(Backend& backend, Queue& queue, int64_t step);
  /// `sequences`: of the sweep, over all ranks.
  void check_finite(const char* activity, int64_t step, int64_t sequences) const;
  void add_evaluation(int64_t i, int64_t gate, EvalMetrics& metrics) const;

  Backend& backend_;
  const ModelConfig model_;
  FrozenWeights& weights_;
  const SessionOptions options_;
  const RankGroups alone_;
  const RankGroups& ranks_;
  std::unique_ptr<RopeTables> token_rope_;
  std::vector<GateTraining> gates_;
  std::unique_ptr<StepScalars> scalars_;
  std::unique_ptr<TokenBatches> batches_;
  int64_t started_ = -1;  // the step that was started and not finished
  std::unique_ptr<Residuals> residuals_;
  std::unique_ptr<GradientSum> gradients_;
  std::unique_ptr<Event> computed_;
  std::unique_ptr<Event> gathered_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Sweep> sweep_;
  std::vector<MemoryItem> memory_;
  HeadRange heads_ = HeadRange::kAll;
  std::unique_ptr<Queue> queue_;  // last: destroyed first, when what it still runs has finished
};

}  // namespace seer
