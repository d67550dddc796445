#include "trainer/train_loop.h"

#include <chrono>
#include <cstdio>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/checkpoint.h"
#include "trainer/gates_folder.h"
#include "trainer/memory_plan.h"
#include "trainer/progress.h"
#include "trainer/run_folder.h"
#include "trainer/runtime.h"
#include "trainer/signals.h"
#include "trainer/summary.h"
#include "trainer/tensorboard.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void log_memory(const Session& session) {
  size_t total = 0;
  for (const MemoryItem& item : session.memory()) total += item.bytes;
  std::string parts;
  for (const MemoryItem& item : session.memory()) {
    parts += fmt::format("{}{} {:.1f} MB", parts.empty() ? "" : ", ", item.what,
                         static_cast<double>(item.bytes) / 1e6);
  }
  log::info("memory {:.1f} MB: {}", static_cast<double>(total) / 1e6, parts);
}

/// One training: owns everything between the config and the exported gates.
class Training {
 public:
  Training(const RunConfig& config, bool resume, const StopSignal& stop)
      : config_(config),
        stop_(stop),
        backend_(make_backend(config)),
        model_(load_model_config(config.model.path, config.model.rope_scaling)),
        text_(make_text_pipeline(config, model_)),
        load_queue_(backend_->make_queue("load")),
        memory_(plan_memory()),
        weights_(*backend_, *load_queue_, model_, config.model.path, memory_.weights),
        session_(*backend_, model_, weights_, options()) {
    if (config_.data.sequence_length > model_.max_position_embeddings) {
      log::warn("data.sequence_length {} is longer than the model's max_position_embeddings {}",
                config_.data.sequence_length, model_.max_position_embeddings);
    }
    if (resume) folder_.emplace(RunFolder::open(config_.output.dir));
    start_weights(resume);
    loader_.emplace(training_data(config_, model_, text_), text_.encoder, cursor_);
    if (state_.step < config_.train.steps) {
      first_cursor_ = loader_->cursor();
      next_ = loader_->next_step();
    }
    if (!config_.eval.files.empty()) held_out_ = load_held_out(config_, model_, text_);
    // A new run's folder is made last: a mistake in the config so far leaves nothing behind.
    if (!resume) folder_.emplace(RunFolder::create(config_.output.dir, to_json(config_)));
    if (resume) write_file_atomically(paths().config(), to_json(config_));
    write_file_atomically(paths().model_config(), model_.json);
    metrics_.emplace(resume ? MetricsLog::resume(paths().metrics(), state_.step > 0 ? state_.step : -1)
                            : MetricsLog::create(paths().metrics()));
    if (config_.output.tensorboard) {
      tensorboard_.emplace(paths().tensorboard(), resume ? std::optional(state_.step) : std::nullopt);
    }
    log::info("{} on {}: {} layers, {} gate entr{}, {} steps of {} x {} tokens", config_.model.path,
              backend_->name(), model_.num_layers, config_.gates.size(),
              config_.gates.size() == 1 ? "y" : "ies", config_.train.steps, config_.train.batch_size,
              config_.data.sequence_length);
    log_memory(session_);
  }

  int run() {
    Progress progress({.steps = config_.train.steps, .log_every = config_.train.log_every});
    const log::Wrapper around_progress([&](const std::function<void()>& write) { progress.around(write); });
    const Stopwatch watch;
    const double seconds_before = state_.seconds;
    if (state_.step == 0 && !stop_.requested()) evaluate();
    while (state_.step < config_.train.steps) {
      if (stop_.requested()) {
        if (saved_step_ != state_.step) save();
        progress.finish();
        log::info("stopped after step {} of {}: checkpoint saved; continue with --resume", state_.step,
                  config_.train.steps);
        return kExitStoppedEarly;
      }
      const Stopwatch step_watch;
      if (next_.empty()) next_ = loader_->next_step();
      StepMetrics metrics;
      metrics.gates = session_.train_step(state_.step, next_);
      int64_t tokens = 0;
      for (const TokenSequence& sequence : next_) tokens += static_cast<int64_t>(sequence.ids.size());
      next_.clear();
      ++state_.step;
      state_.tokens += tokens;
      state_.seconds = seconds_before + watch.seconds();
      metrics.step = state_.step;
      metrics.tokens = state_.tokens;
      metrics.tokens_per_second = static_cast<double>(tokens) / step_watch.seconds();
      metrics.seconds = state_.seconds;
      metrics_->append(metrics);
      if (tensorboard_) tensorboard_->add(metrics);
      progress.update(metrics);

      const bool last = state_.step == config_.train.steps;
      if (last || (config_.eval.every > 0 && state_.step % config_.eval.every == 0)) evaluate();
      if (last || stop_.requested() ||
          (config_.train.save_every > 0 && state_.step % config_.train.save_every == 0)) {
        save();
      }
    }
    progress.finish();
    export_gates();
    return kExitDone;
  }

 private:
  const RunPaths& paths() const { return folder_->paths(); }

  MemoryPlan plan_memory() const {
    const ModelFiles files(config_.model.path);
    MemoryPlan plan =
        seer::plan_memory(*backend_, config_, model_, &files, memory_budget(*backend_, config_));
    if (!plan.fits()) fail("{}", plan.refusal(backend_->name()));
    return plan;
  }

  SessionOptions options() const {
    SessionOptions options = session_options(config_);
    options.residuals = memory_.residuals;
    return options;
  }

  /// Fresh weights, weights of other gates, or everything of the newest checkpoint.
  void start_weights(bool resume) {
    const auto checkpoint = resume ? latest_checkpoint(paths().checkpoints()) : std::nullopt;
    state_.identity = run_identity(config_, model_, weights_.fingerprint());
    if (checkpoint) {
      TrainerState saved = read_trainer_state(*checkpoint);
      check_identity(*checkpoint, saved, state_.identity);
      load_checkpoint(*checkpoint, *backend_, session_.queue(), session_.gates());
      state_ = std::move(saved);
      cursor_ = state_.cursor;
      saved_step_ = state_.step;
      log::info("resumed from {} (step {})", checkpoint->string(), state_.step);
      return;
    }
    if (resume) log::info("{} has no checkpoint yet: starting from step 0", config_.output.dir);
    for (GateTraining& gate : session_.gates()) {
      const std::string& from = gate.entry().init_from;
      if (from.empty()) {
        gate.params().init_normal(*backend_, session_.queue(), config_.seed, model_.initializer_range);
      } else {
        check_init_from(from, gate);
        upload_gates(*backend_, session_.queue(), read_gates(from), from, gate);
        log::info("gate \"{}\" continues from {}", gate.entry().name, from);
      }
    }
  }

  void evaluate() {
    if (held_out_.empty()) return;
    const std::vector<EvalMetrics> all = session_.evaluate(held_out_, state_.step);
    for (size_t g = 0; g < all.size(); ++g) {
      metrics_->append(all[g]);
      if (tensorboard_) tensorboard_->add(all[g], g == 0 ? "" : all[g].gate + "/");
      std::string recall;
      for (const EvalDensity& d : all[g].densities) {
        recall += fmt::format(", recall at {}: {:.3f} (oracle {:.3f})", d.density, d.recall, d.oracle);
      }
      log::info("step {}: held-out loss of {} {:.4f}{}", state_.step, all[g].gate, all[g].loss, recall);
    }
  }

  void save() {
    metrics_->sync();
    state_.cursor = next_.empty() ? loader_->cursor() : first_cursor_;
    save_checkpoint(paths().checkpoints(), state_, *backend_, session_.queue(), session_.gates(),
                    config_.train.keep_last);
    saved_step_ = state_.step;
  }

  void export_gates() {
    std::vector<fs::path> written;
    for (const GateTraining& gate : session_.gates()) {
      const GateEntryConfig& entry = gate.entry();
      written.push_back(paths().gate(entry.name));
      fs::create_directories(written.back().parent_path());
      write_gates_folder(
          written.back(), download_gates(*backend_, session_.queue(), gate, export_dtype(entry)), entry,
          model_, config_.model.path, training_note(config_, entry, state_.step, state_.tokens));
    }
    std::fputs(training_summary(read_metrics(paths().metrics()), config_, written).c_str(), stdout);
  }

  const RunConfig config_;
  const StopSignal& stop_;
  std::unique_ptr<Backend> backend_;
  ModelConfig model_;
  TextPipeline text_;
  std::unique_ptr<Queue> load_queue_;
  MemoryPlan memory_;
  FrozenWeights weights_;
  Session session_;
  std::optional<RunFolder> folder_;
  TrainerState state_;
  std::optional<DataCursor> cursor_;
  std::optional<Loader> loader_;
  DataCursor first_cursor_;          ///< Before the sequences of this process's first step
  std::vector<TokenSequence> next_;  ///< Of the next step, if they have been fetched
  int64_t saved_step_ = -1;          ///< Of the newest checkpoint
  std::vector<TokenSequence> held_out_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
};

}  // namespace

int train(const RunConfig& config, bool resume) {
  const StopSignal stop;  // from here on, also while the model loads
  check_paths(config, resume);
  return Training(config, resume, stop).run();
}

}  // namespace seer
