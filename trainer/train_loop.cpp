#include "trainer/train_loop.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

#include <unistd.h>

#include "src/core/ceil_div.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "trainer/checkpoint.h"
#include "trainer/gates_folder.h"
#include "trainer/memory_plan.h"
#include "trainer/progress.h"
#include "trainer/run_folder.h"
#include "trainer/run_ranks.h"
#include "trainer/runtime.h"
#include "trainer/signals.h"
#include "trainer/summary.h"
#include "trainer/tensorboard.h"
#include "trainer/version.h"

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

void log_memory(std::vector<MemoryItem> items, size_t communicators) {
  if (communicators > 0) items.push_back({"communicators", communicators});
  size_t total = 0;
  for (const MemoryItem& item : items) total += item.bytes;
  std::string parts;
  for (const MemoryItem& item : items) {
    parts += fmt::format("{}{} {:.1f} MB", parts.empty() ? "" : ", ", item.what,
                         static_cast<double>(item.bytes) / 1e6);
  }
  log::info("memory {:.1f} MB: {}", static_cast<double>(total) / 1e6, parts);
}

/// One training: owns everything between the config and the exported gates.
class Training {
 public:
  Training(const RunConfig& config, const StopSignal& stop, RunRanks& ranks)
      : config_(config),
        stop_(stop),
        ranks_(ranks),
        backend_(make_backend(config, ranks.info().local_size, ranks.place().reserved_sms())),
        communicator_bytes_(connect_ranks()),
        model_(load_model_config(config.model.path, config.model.rope_scaling)),
        text_(make_text_pipeline(config, model_)),
        load_queue_(backend_->make_queue("load")),
        memory_(plan_memory()),
        weights_(*backend_, *load_queue_, model_, config.model.path, weight_options()),
        session_(*backend_, model_, weights_, options(), &ranks.groups()) {}

  /// Others are told of a failure before this object waits for what it shares with them.
  int run(bool resume) {
    try {
      prepare(resume);
      return train_all();
    } catch (const std::exception& e) {
      ranks_.abort(e);
      throw;
    }
  }

 private:
  void prepare(bool resume) {
    if (config_.data.sequence_length > model_.max_position_embeddings) {
      log::warn("data.sequence_length {} is longer than the model's max_position_embeddings {}",
                config_.data.sequence_length, model_.max_position_embeddings);
    }
    warn_of_tiny_budgets();
    if (resume && is_head()) {
      folder_.emplace(RunFolder::open(config_.output.dir));
      for (const GateEntryConfig& entry : config_.gates) check_gates_folder(paths().gate(entry.name));
    }
    start_weights(resume);
    loader_.emplace(training_data(config_, model_, text_, ranks_.place()), text_.encoder, cursor_);
    next_begins_ = loader_->cursor();
    epoch_ = next_begins_.restart.epoch;
    if (state_.step < config_.train.steps) next_ = loader_->next_step();
    if (!config_.eval.files.empty()) held_out_ = load_held_out(config_, model_, text_);
    compare_data();  // every rank has come so far before the first leaves something behind
    if (is_head()) open_logs(resume);
    log::info("{} on {}: {} layers, {} gate entr{}, {} steps of {} x {} tokens", config_.model.path,
              backend_->name(), model_.num_layers, config_.gates.size(),
              config_.gates.size() == 1 ? "y" : "ies", config_.train.steps, config_.train.batch_size,
              config_.data.sequence_length);
    log_memory(session_.memory(), communicator_bytes_);
  }

  int train_all() {
    Progress progress({.steps = config_.train.steps, .log_every = config_.train.log_every});
    const log::Wrapper around_progress([&](const std::function<void()>& write) { progress.around(write); });
    const Stopwatch watch;
    const double seconds_before = state_.seconds;
    agree_to_stop();
    if (state_.step == config_.train.steps && seconds_before > 0)
      log::info(
          "all {} steps are done: nothing to train. To train on, let another run begin with "
          "gates[].init_from",
          state_.step);
    bool evaluated = !evaluation_is_missing() || evaluate();
    while (state_.step < config_.train.steps && !stopping_) {
      StepMetrics metrics = train_step();
      metrics.seconds = state_.seconds = seconds_before + watch.seconds();
      if (is_head()) {
        metrics_->append(metrics);
        if (tensorboard_) tensorboard_->add(metrics);
        progress.update(metrics);
      }
      evaluated = !evaluation_is_due() || evaluate();
      if (state_.step == config_.train.steps || stopping_ ||
          (config_.train.save_every > 0 && state_.step % config_.train.save_every == 0)) {
        save();
      }
    }
    progress.finish();
    if (state_.step < config_.train.steps || !evaluated) {
      if (saved_step_ != state_.step) save();
      log::info("stopped after step {} of {}: checkpoint saved; continue with --resume", state_.step,
                config_.train.steps);
      return kExitStoppedEarly;
    }
    if (is_head()) export_gates();
    return kExitDone;
  }

  bool is_head() const { return ranks_.is_head(); }
  const RunPaths& paths() const { return folder_->paths(); }

  /// Returns the device memory that the communicators take: what is planned has to fit into the rest.
  size_t connect_ranks() {
    compare_configs();  // which say how the ranks connect
    const size_t before = backend_->available_bytes();
    ranks_.connect(*backend_);
    return before - std::min(before, backend_->available_bytes());
  }

  /// Every rank is told the same. What only says how fast or where a rank computes may differ.
  void compare_configs() {
    std::map<std::string, std::string> facts = flat_config(config_);
    for (const char* own : {"threads", "memory_gb", "model.path", "data.tokenizer"}) facts.erase(own);
    facts["seer-train"] = version_text();
    ranks_.compare(facts);
  }

  /// Every rank has found the same text.
  void compare_data() {
    std::string checksums;
    for (const TokenSequence& sequence : held_out_) {
      const auto bytes = std::as_bytes(std::span(sequence.ids));
      checksums += fmt::format("{:08x}", crc32c({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    }
    ranks_.compare({{"the data", loader_->cursor().fingerprint},
                    {"the held-out data",
                     fmt::format("{} sequences, checksum {:08x}", held_out_.size(), crc32c(checksums))}});
  }

  /// The run's folder and logs are made last: a mistake in the config so far leaves nothing behind.
  void open_logs(bool resume) {
    if (!resume) folder_.emplace(RunFolder::create(config_.output.dir, to_json(config_)));
    if (resume) write_file_atomically(paths().config(), to_json(config_));
    write_file_atomically(paths().model_config(), model_.json);
    metrics_.emplace(resume ? MetricsLog::resume(paths().metrics(), state_.step > 0 ? state_.step : -1)
                            : MetricsLog::create(paths().metrics()));
    if (config_.output.tensorboard) {
      tensorboard_.emplace(paths().tensorboard(), resume ? std::optional(state_.step) : std::nullopt);
    }
  }

  bool agree_to_stop() {
    stopping_ = ranks_.any(stopping_ || stop_.requested());
    return stopping_;
  }

  MemoryPlan plan_memory() const {
    const ModelFiles files(config_.model.path);
    const auto local = static_cast<size_t>(std::max(1, ranks_.info().local_size));
    // Ranks on one machine share what is not a GPU's own; all plan with what the least of them has.
    size_t device = memory_budget(*backend_, config_) / (backend_->reads_host_memory() ? local : 1);
    if (config_.memory_gb > 0) {
      const auto limit = static_cast<size_t>(config_.memory_gb * 1e9);
      device = std::min(device, limit - std::min(limit, communicator_bytes_));
    }
    MemoryPlan plan = seer::plan_memory(*backend_, config_, model_, &files, ranks_.least(device),
                                        ranks_.least(available_host_bytes() / local), ranks_.place());
    if (!plan.fits()) fail("{}", plan.refusal(backend_->name()));
    return plan;
  }

  WeightOptions weight_options() const {
    WeightOptions options = memory_.weights;
    options.shard = ranks_.groups().shard.get();
    options.exchange = ranks_.groups().exchange.get();
    return options;
  }

  SessionOptions options() const {
    SessionOptions options = session_options(config_);
    options.residuals = memory_.residuals;
    return options;
  }

  /// A budget of one block a row is the row's own: recall then says nothing of the gate.
  void warn_of_tiny_budgets() const {
    if (config_.eval.files.empty()) return;
    const int64_t tokens =
        config_.eval.sequence_length > 0 ? config_.eval.sequence_length : config_.data.sequence_length;
    for (const GateEntryConfig& gate : config_.gates) {
      const int64_t blocks = ceil_div(tokens, gate.block_size);
      for (const double density : config_.eval.densities) {
        const double share = 1.0 - std::sqrt(1.0 - density);
        if (share * static_cast<double>(blocks) >= 2.0) continue;
        log::warn(
            "eval.densities {}: of {} tokens' {} blocks of {}, gate \"{}\" keeps one a row, the row's own: "
            "sequences from {} tokens on have a choice",
            density, tokens, blocks, gate.block_size, gate.name,
            static_cast<int64_t>(std::ceil(2.0 / share)) * gate.block_size);
      }
    }
  }

  /// Fresh weights, weights of other gates, or everything of the newest checkpoint: rank 0's, on all ranks.
  void start_weights(bool resume) {
    state_.identity = run_identity(config_, model_, weights_.fingerprint());
    ranks_.compare(state_.identity);  // what follows is of one size on all ranks
    const bool resumed = is_head() && read_start(resume);
    const std::string saved = ranks_.from(0, resumed ? to_json(state_) : std::string());
    if (!is_head() && !saved.empty()) {
      const auto identity = std::move(state_.identity);
      state_ = trainer_state_from_json(saved, "rank 0's checkpoint");
      state_.identity = identity;
    }
    if (!saved.empty()) {
      cursor_ = state_.cursor;
      saved_step_ = state_.step;
    }
    for (GateTraining& gate : session_.gates()) {
      const GateParams& params = gate.params();
      for (const Tensor& part : {params.flat_weights(), params.first_moment(), params.second_moment()}) {
        ranks_.broadcast(*backend_, session_.queue(), part);
      }
    }
    backend_->synchronize(session_.queue());
  }

  /// Whether the run was continued from a checkpoint.
  bool read_start(bool resume) {
    const auto checkpoint = resume ? latest_checkpoint(paths().checkpoints()) : std::nullopt;
    if (checkpoint) {
      TrainerState saved = read_trainer_state(*checkpoint);
      check_identity(*checkpoint, saved, state_.identity);
      load_checkpoint(*checkpoint, *backend_, session_.queue(), session_.gates());
      state_ = std::move(saved);
      log::info("resumed from {} (step {})", checkpoint->string(), state_.step);
      return true;
    }
    if (resume) log::info("{} has no checkpoint yet: starting from step 0", config_.output.dir);
    for (GateTraining& gate : session_.gates()) {
      const std::string& from = gate.entry().init_from;
      if (from.empty()) {
        gate.params().init_normal(*backend_, session_.queue(), config_.seed, model_.initializer_range);
      } else {
        const std::vector<OwnedTensor> tensors = read_gates(from);
        check_init_from(from, gate);
        upload_gates(*backend_, session_.queue(), tensors, from, gate.entry(), gate.params());
        log::info("gate \"{}\" continues from {}", gate.entry().name, from);
      }
    }
    return false;
  }

  StepMetrics train_step() {
    const Stopwatch watch;
    if (next_.empty()) next_ = loader_->next_step();
    const std::vector<TokenSequence> sequences = std::exchange(next_, {});
    log_epoch(sequences);
    session_.start_step(state_.step, sequences);
    fetch_next();
    StepMetrics metrics;
    metrics.gates = session_.finish_step();
    int64_t own = 0;
    for (const TokenSequence& sequence : sequences) own += static_cast<int64_t>(sequence.ids.size());
    // Ranks that share a sequence count it once; and they stop together, once one of them was asked to.
    const auto all = ranks_.sum({ranks_.place().context_rank() == 0 ? own : 0, stop_.requested() ? 1 : 0});
    const int64_t tokens = all[0];
    stopping_ = stopping_ || all[1] > 0;
    metrics.step = ++state_.step;
    metrics.tokens = state_.tokens += tokens;
    metrics.tokens_per_second = static_cast<double>(tokens) / watch.seconds();
    return metrics;
  }

  /// While a step runs: the sequences of the one after it, if there will be one.
  void fetch_next() {
    next_begins_ = loader_->cursor();
    if (state_.step + 1 == config_.train.steps) return;
    try {
      next_ = loader_->next_step();
    } catch (const Error&) {
      return;  // the step under way has its data; the loader says it again to the one that has not
    }
    session_.upload_ahead(next_);
  }

  /// Shuffled blocks may hold sequences of two epochs: the first of the later one counts.
  void log_epoch(std::span<const TokenSequence> sequences) {
    for (const TokenSequence& sequence : sequences) {
      if (sequence.epoch <= epoch_) continue;
      epoch_ = sequence.epoch;
      log::info("epoch {} of the data begins at step {}", epoch_ + 1, state_.step + 1);
    }
  }

  bool evaluation_is_due() const {
    return state_.step == config_.train.steps ||
           (config_.eval.every > 0 && state_.step % config_.eval.every == 0);
  }

  /// Before the first step, and where a signal has cut the evaluation off that the resumed step should have had.
  bool evaluation_is_missing() const {
    if (held_out_.empty() || state_.step == 0) return true;
    return ranks_.any(is_head() && evaluation_was_cut_off());
  }

  bool evaluation_was_cut_off() const {
    const MetricsHistory history = read_metrics(paths().metrics());
    return evaluation_is_due() && (history.evals.empty() || history.evals.back().step != state_.step);
  }

  /// False if a signal has cut it off; nothing is logged then.
  bool evaluate() {
    if (held_out_.empty()) return true;
    const auto evaluation = session_.evaluate(held_out_, state_.step, [this] { return agree_to_stop(); });
    if (!evaluation) return false;
    if (!is_head()) return true;
    const std::vector<EvalMetrics>& all = *evaluation;
    for (size_t g = 0; g < all.size(); ++g) {
      metrics_->append(all[g]);
      if (tensorboard_) tensorboard_->add(all[g], g == 0 ? "" : all[g].gate + "/");
      std::string recall;
      for (const EvalDensity& d : all[g].densities) {
        recall += fmt::format(", recall at {}: {:.3f} (oracle {:.3f})", d.density, d.recall, d.oracle);
      }
      log::info("step {}: held-out loss of {} {:.4f}{}", state_.step, all[g].gate, all[g].loss, recall);
    }
    return true;
  }

  void save() {
    // Every rank's serves all ranks; the last one's is that of a rank alone, which has read the whole step.
    state_.cursor = data_cursor_from_json(ranks_.from(ranks_.info().size - 1, to_json(next_begins_)));
    saved_step_ = state_.step;
    if (!is_head()) return;
    metrics_->sync();
    save_checkpoint(paths().checkpoints(), state_, *backend_, session_.queue(), session_.gates(),
                    config_.train.keep_last);
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
  RunRanks& ranks_;
  std::unique_ptr<Backend> backend_;
  size_t communicator_bytes_;
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
  std::vector<TokenSequence> next_;  ///< Of the next step, if they have been fetched
  DataCursor next_begins_;           ///< Before them
  int64_t epoch_ = 0;                ///< Of the data, the latest so far
  int64_t saved_step_ = -1;          ///< Of the newest checkpoint
  bool stopping_ = false;            ///< After this step, on all ranks
  std::vector<TokenSequence> held_out_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
};

}  // namespace

int train(const RunConfig& config, bool resume) {
  const bool launched = std::getenv("SEER_RANK") != nullptr;
  const StopSignal stop(launched ? ::getppid() : 0);  // from here on, also while the model loads
  check_paths(config, resume);
  RunRanks ranks(config);
  try {
    const int code = Training(config, stop, ranks).run(resume);
    ranks.leave();
    return code;
  } catch (const std::exception& e) {
    ranks.abort(e);
    throw;
  }
}

}  // namespace seer
