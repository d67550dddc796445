// `seer-train bench ranks`: whole optimiser steps on several GPUs, each way of sharing them beside steps in which nothing
// crosses ranks, in one run. Random token ids and weights.
#include <algorithm>
#include <chrono>
#include <optional>

#include <cuda_runtime.h>

#include "cuda/bench/profiled_backend.h"
#include "cuda/check.h"
#include "cuda/cuda_backend.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "src/core/rng.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/report.h"
#include "trainer/memory_plan.h"
#include "trainer/run_ranks.h"
#include "trainer/runtime.h"
#include "trainer/session.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kSeed = 42;

/// One way of sharing the work.
struct Mode {
  std::string name;
  int context = 1;
  bool shard = false;
  bool together = true;  ///< False: every rank for itself
  int64_t tokens = 0;    ///< Of a sequence; every data rank has one
};

/// One mode on all ranks.
struct ModeResult {
  Mode mode;
  std::vector<double> seconds;  ///< Of a step, by rank: medians
  double waited = 0;   ///< Share of a profiled step in which compute waited for other ranks; the worst rank
  double peak_gb = 0;  ///< Device memory in use, the worst rank
  double planned_gb = 0;

  double slowest() const { return *std::max_element(seconds.begin(), seconds.end()); }
  double fastest() const { return *std::min_element(seconds.begin(), seconds.end()); }
  double tokens_per_step() const {
    const auto ranks = static_cast<double>(seconds.size());
    return static_cast<double>(mode.tokens) * ranks / mode.context;
  }
  double speed() const { return tokens_per_step() / slowest(); }
};

double used_gb() {
  size_t free = 0;
  size_t total = 0;
  cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<double>(total - free) / 1e9;
}

class RanksBench {
 public:
  explicit RanksBench(const BenchRanksOptions& options)
      : options_(options),
        config_(make_config(options)),
        ranks_(config_),
        model_(bench_model(options.model_config)) {
    if (ranks_.alone())
      fail_usage("bench ranks measures several GPUs: start it with --gpus 0,1 or under a launcher");
    if (options.layers > 0) model_.num_layers = std::min(options.layers, model_.num_layers);
    model_.tie_word_embeddings = true;  // training loads no head
    use_backend({});
    ranks_.connect(*backend_);
  }

  void run() {
    std::vector<ModeResult> results;
    const int size = ranks_.info().size;
    for (const std::string& name : options_.modes) {
      Mode mode{.name = name, .tokens = options_.tokens};
      mode.together = !name.starts_with("alone");
      mode.shard = name == "shard" || name == "context+shard";
      if (name.starts_with("context")) mode.context = size;
      if (name.starts_with("context") || name == "alone-long") mode.tokens = options_.long_tokens;
      results.push_back(measure(mode));
      if (ranks_.is_head()) log::info("{}: {:.3f} s a step", name, results.back().slowest());
    }
    if (ranks_.is_head()) print(results);
    ranks_.leave();
  }

 private:
  static RunConfig make_config(const BenchRanksOptions& options) {
    RunConfig config;
    config.device = "cuda";
    config.output.dir = options.rendezvous_folder;
    config.train.batch_size = 0;  // sessions here have batches of their own
    return config;
  }

  /// The groups of a mode. The communicators of the run are split once for each layout.
  RankGroups groups_of(const Mode& mode) {
    if (!mode.together) return {};
    return ranks_.split(*profiled_, mode.context, mode.shard ? ranks_.info().size : 1);
  }

  /// Attention leaves multiprocessors to what a mode exchanges.
  void use_backend(const Mode& mode) {
    const RankPlace place{.rank = ranks_.info().rank,
                          .size = mode.together ? ranks_.info().size : 1,
                          .shard = mode.shard ? ranks_.info().size : 1};
    if (backend_ != nullptr && reserved_ == place.reserved_sms()) return;
    weights_.reset();
    profiled_.reset();
    reserved_ = place.reserved_sms();
    backend_ = make_backend(config_, 1, reserved_);
    profiled_.emplace(*backend_);
  }

  FrozenWeights& weights_of(const Mode& mode, const RankGroups& groups) {
    if (weights_ && weights_are_sharded_ == mode.shard && !mode.shard) return *weights_;
    weights_.reset();
    const auto upload = profiled_->make_queue("upload");
    WeightOptions options{.head = false, .shard = groups.shard.get(), .exchange = groups.exchange.get()};
    weights_.emplace(FrozenWeights::random(*profiled_, *upload, model_, kSeed, options));
    weights_are_sharded_ = mode.shard;
    return *weights_;
  }

  ModeResult measure(const Mode& mode) {
    use_backend(mode);
    const RankGroups groups = groups_of(mode);
    FrozenWeights& weights = weights_of(mode, groups);
    const auto data_ranks = static_cast<int64_t>(groups.place.data_size());
    GateEntryConfig gate{.name = "gate", .type = "Qavg_Kmaxminavg", .block_size = 64};
    std::optional<Session> session(std::in_place, *profiled_, model_, weights,
                                   SessionOptions{.gates = {gate},
                                                  .total_steps = options_.steps + 3,
                                                  .batch_size = data_ranks * options_.batch_size,
                                                  .max_tokens = mode.tokens},
                                   &groups);
    for (GateTraining& g : session->gates()) {
      g.params().init_normal(*profiled_, session->queue(), kSeed, model_.initializer_range);
    }
    const std::vector<TokenSequence> sequences = random_sequences(mode, groups.place.data_rank());
    int64_t step = 0;
    const auto timed_step = [&] {
      const auto start = std::chrono::steady_clock::now();
      session->train_step(step++, sequences);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    timed_step();
    ranks_.any(false);  // all begin together
    std::vector<double> seconds;
    for (int64_t i = 0; i < options_.steps; ++i) seconds.push_back(timed_step());
    ModeResult result{.mode = mode, .seconds = {}};
    profiled_->start_recording(session->queue(),
                               4096 * static_cast<size_t>(options_.batch_size) * model_.num_layers);
    const double profiled = timed_step();
    double waited = 0;
    for (const cuda::OpTime& op : profiled_->finish_recording()) {
      if (op.kind == "wait for exchange") waited += 1e-3 * op.ms;
    }
    size_t planned = 0;
    for (const MemoryItem& item : session->memory()) planned += item.bytes;
    const std::vector<std::string> all = ranks_.exchange(fmt::format(
        "{} {} {} {}", median(seconds), waited / profiled, used_gb(), 1e-9 * static_cast<double>(planned)));
    for (const std::string& said : all) {
      double rank_seconds = 0;
      double rank_waited = 0;
      double peak = 0;
      double plan = 0;
      std::sscanf(said.c_str(), "%lf %lf %lf %lf", &rank_seconds, &rank_waited, &peak, &plan);
      result.seconds.push_back(rank_seconds);
      result.waited = std::max(result.waited, rank_waited);
      result.peak_gb = std::max(result.peak_gb, peak);
      result.planned_gb = std::max(result.planned_gb, plan);
    }
    session.reset();
    if (mode.shard) weights_.reset();  // they use the groups
    return result;
  }

  std::vector<TokenSequence> random_sequences(const Mode& mode, int data_rank) const {
    std::vector<TokenSequence> sequences(options_.batch_size);
    Rng rng = Rng(kSeed).fork(static_cast<uint64_t>(data_rank));
    for (TokenSequence& sequence : sequences) {
      sequence.cu_seqlens = {0, mode.tokens};
      sequence.ids.resize(mode.tokens);
      for (int32_t& id : sequence.ids) id = static_cast<int32_t>(rng.below(model_.vocab_size));
    }
    return sequences;
  }

  /// What one GPU does alone with sequences of the same length: the slower one where every GPU has its own sequence, the
  /// faster one where they share it. GPUs slow down as they warm up: list alone before and after.
  static std::optional<double> alone(const std::vector<ModeResult>& results, const ModeResult& of) {
    double speed = 0;
    int runs = 0;
    for (const ModeResult& result : results) {
      if (result.mode.together || result.mode.tokens != of.mode.tokens) continue;
      const double seconds = of.mode.context > 1 ? result.fastest() : result.slowest();
      speed += static_cast<double>(result.mode.tokens) / seconds;
      ++runs;
    }
    if (runs > 0) return speed / runs;
    return std::nullopt;
  }

  void print(const std::vector<ModeResult>& results) const {
    Json report = begin_report("ranks", backend_->name());
    report["model"] = describe_shape(model_);
    report["ranks"] = ranks_.info().size;
    report["modes"] = Json::array();
    fmt::print("{} ranks on {} machine(s), {} over {}; {} layers; medians of {} steps\n", ranks_.info().size,
               ranks_.info().nodes, backend_->name(), ranks_.groups().world->name(), model_.num_layers,
               options_.steps);
    TextTable table(
        {"mode", "tokens a step", "s", "tokens/s", "x one GPU", "waited", "peak GB", "planned GB"});
    for (const ModeResult& result : results) {
      const auto one = alone(results, result);
      const double batch = static_cast<double>(options_.batch_size);
      const std::string gain =
          result.mode.together && one ? fmt::format("{:.3f}", result.speed() / *one) : std::string();
      std::string by_rank;
      for (const double s : result.seconds) by_rank += fmt::format("{}{:.3f}", by_rank.empty() ? "" : " ", s);
      table.add_row({result.mode.name, fmt::format("{:.0f}", batch * result.tokens_per_step()), by_rank,
                     fmt::format("{:.0f}", batch * result.speed()), gain,
                     fmt::format("{:.2f}%", 100 * result.waited), fmt::format("{:.2f}", result.peak_gb),
                     fmt::format("{:.2f}", result.planned_gb)});
      report["modes"].push_back({{"mode", result.mode.name},
                                 {"tokens_per_sequence", result.mode.tokens},
                                 {"seconds_by_rank", result.seconds},
                                 {"tokens_per_second", batch * result.speed()},
                                 {"waited_share", result.waited},
                                 {"peak_gb", result.peak_gb},
                                 {"planned_gb", result.planned_gb}});
      if (result.mode.together && one) report["modes"].back()["times_one_gpu"] = result.speed() / *one;
    }
    fmt::print("{}", table.to_string());
    fmt::print(
        "alone: every GPU trains for itself at the same time, nothing crosses; data, shard beside the slower "
        "of them, "
        "context beside the faster; the mean of all runs of alone.\nwaited: compute stood still for another "
        "rank, in a profiled step, the "
        "worst rank.\n");
    write_report(options_.json, report);
  }

  const BenchRanksOptions& options_;
  const RunConfig config_;
  RunRanks ranks_;
  ModelConfig model_;
  std::unique_ptr<Backend> backend_;
  std::optional<cuda::ProfiledBackend> profiled_;
  std::optional<FrozenWeights> weights_;
  bool weights_are_sharded_ = false;
  int reserved_ = 0;
};

}  // namespace

int bench_ranks_command(const BenchRanksOptions& options) {
  RanksBench(options).run();
  return 0;
}

}  // namespace seer
