// `seer-train bench step`: optimiser steps as training runs them, but for the files: random token ids, one GPU.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include <cuda_runtime.h>

#include "cuda/bench/gemm_ceilings.h"
#include "cuda/bench/profiled_backend.h"
#include "cuda/check.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_queue.h"
#include "src/core/error.h"
#include "src/core/rng.h"
#include "trainer/bench/attention_problem.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/memory_plan.h"
#include "trainer/plan_backend.h"
#include "trainer/read_speed.h"
#include "trainer/runtime.h"
#include "trainer/session.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;
using cuda::OpTime;

constexpr uint64_t kSeed = 42;
constexpr int64_t kWarmups = 2;
constexpr int64_t kCeilingRows = 32768;               // more make no product faster
constexpr int64_t kMostReadBytes = int64_t{8} << 30;  // enough for a steady speed

/// One step by the planner: nothing is run.
struct StepCount {
  std::map<std::string, OpWork> work;
  std::vector<MemoryItem> memory;

  /// Products and attention: what counts as the model's arithmetic.
  double model_flops() const { return work.at("linear").flops + work.at("attention").flops; }
  size_t calls() const {
    size_t calls = 0;
    for (const auto& [kind, done] : work) calls += static_cast<size_t>(done.calls);
    return calls;
  }
  size_t bytes() const {
    size_t bytes = 0;
    for (const MemoryItem& item : memory) bytes += item.bytes;
    return bytes;
  }
};

/// Device memory in use: CUDA's context, we, and everybody else on the device.
size_t used_device_bytes() {
  size_t free = 0;
  size_t total = 0;
  cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return total - free;
}

/// What the steps themselves say.
struct StepResult {
  MemoryPlan memory;
  StepCount count;
  std::vector<double> seconds;  ///< Of every timed step
  double profiled_seconds = 0;  ///< Of the step that was profiled
  std::vector<OpTime> profile;
  size_t bytes_before = 0;           ///< Device memory in use before the weights
  size_t peak_bytes = 0;             ///< Device memory in use after the last step
  int64_t sweep_bytes = 0;           ///< What a step reads from the files
  std::optional<ReadSpeed> reading;  ///< Where weights are streamed

  /// Of the profiled step, the seconds in which the compute queue stood still for weights.
  double lost_seconds() const {
    double ms = 0;
    for (const OpTime& op : profile) ms += op.kind == "wait for weights" ? op.ms : 0;
    return 1e-3 * ms;
  }
};

/// The time the step's products and attention would take at the speeds measured alone.
struct Ceilings {
  double product_flops = 0;
  double product_seconds = 0;
  double attention_flops = 0;
  double attention_rate = 0;  ///< FLOP/s

  double seconds() const { return product_seconds + attention_flops / attention_rate; }
};

class StepBench {
 public:
  explicit StepBench(const BenchStepOptions& options)
      : options_(options), full_model_(bench_model(options.model_config)), model_(full_model_) {
    if (options.layers > full_model_.num_layers) {
      fail_usage("--layers {}: the model has {}", options.layers, full_model_.num_layers);
    }
    if (options.layers > 0) model_.num_layers = options.layers;
    // The sweep has no use for a head of its own: training does not load one, random weights need not have it.
    if (random_weights()) model_.tie_word_embeddings = true;
    backend_ = make_cuda_backend();

    config_.device = "cuda";
    config_.model.weights = random_weights() ? "resident" : options.weights;
    config_.train.residuals = options.residuals;
    config_.train.batch_size = options.batch_size;
    config_.train.steps = kWarmups + options.steps + 1;
    config_.data.sequence_length = options.tokens;
    for (int64_t g = 0; g < options.gates; ++g) {
      config_.gates.push_back(
          {.name = fmt::format("gate-{}", g + 1), .type = "Qavg_Kmaxminavg", .block_size = 64});
    }
  }

  void run() {
    StepResult result = run_steps();
    if (result.memory.weights.stream) result.reading = measure_reading(result.memory.weights.read_threads);
    const Ceilings ceilings = measure_ceilings(result);
    print(result, ceilings);
  }

 private:
  double tokens_per_step() const { return static_cast<double>(options_.tokens * options_.batch_size); }
  bool all_layers() const { return model_.num_layers == full_model_.num_layers; }

  bool random_weights() const { return options_.random_weights || options_.model_config.empty(); }
  std::filesystem::path model_folder() const {
    const std::filesystem::path path = options_.model_config;
    return std::filesystem::is_directory(path) ? path : path.parent_path();
  }

  /// As train does: what the config leaves open is settled by what fits.
  MemoryPlan plan_memory() const {
    std::optional<ModelFiles> files;
    if (!random_weights()) files.emplace(model_folder());
    MemoryPlan plan = seer::plan_memory(*backend_, config_, model_, files ? &*files : nullptr,
                                        memory_budget(*backend_, config_));
    if (!plan.fits()) fail("{}", plan.refusal(backend_->name()));
    return plan;
  }

  FrozenWeights load_weights(Backend& backend, Queue& queue, const WeightOptions& options) const {
    if (random_weights()) return FrozenWeights::random(backend, queue, model_, kSeed);
    return FrozenWeights(backend, queue, model_, model_folder(), options);
  }

  std::vector<TokenSequence> random_sequences() const {
    std::vector<TokenSequence> sequences(options_.batch_size);
    Rng rng(kSeed);
    for (TokenSequence& sequence : sequences) {
      sequence.cu_seqlens = {0, options_.tokens};
      sequence.ids.resize(options_.tokens);
      for (int32_t& id : sequence.ids) id = static_cast<int32_t>(rng.below(model_.vocab_size));
    }
    return sequences;
  }

  SessionOptions setup(const MemoryPlan& memory) const {
    SessionOptions options = session_options(config_);
    options.residuals = memory.residuals;
    return options;
  }

  StepCount count_step(const ModelConfig& model, const MemoryPlan& memory) const {
    PlanBackend plan(*backend_);
    FrozenWeights weights = FrozenWeights::shapes(model, plan, nullptr, memory.weights);
    Session session(plan, model, weights, setup(memory));
    plan.reset_work();
    session.count_step(plan, options_.tokens);
    return {.work = plan.work(), .memory = session.memory()};
  }

  StepResult run_steps() {
    StepResult result{.memory = plan_memory(), .count = {}};
    result.count = count_step(model_, result.memory);

    result.bytes_before = used_device_bytes();
    cuda::ProfiledBackend backend(*backend_);
    const auto upload = backend.make_queue("upload");
    FrozenWeights weights = load_weights(backend, *upload, result.memory.weights);
    Session session(backend, model_, weights, setup(result.memory));
    for (GateTraining& gate : session.gates()) {
      gate.params().init_normal(backend, session.queue(), kSeed, model_.initializer_range);
    }
    const std::vector<TokenSequence> sequences = random_sequences();
    int64_t step = 0;
    const auto timed_step = [&] {
      const auto start = std::chrono::steady_clock::now();
      session.start_step(step++, sequences);
      session.upload_ahead(sequences);
      session.finish_step();  // when the host has the step's losses
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };

    for (int64_t i = 0; i < kWarmups; ++i) timed_step();
    for (int64_t i = 0; i < options_.steps; ++i) result.seconds.push_back(timed_step());
    result.peak_bytes = used_device_bytes();  // nothing is given back before the end
    result.sweep_bytes = weights.bytes_read_per_sweep();

    // What a step zeroes and downloads is not counted, nor are its waits: for weights, and for residual streams.
    const size_t waits = model_.num_layers * (1 + 2 * options_.batch_size);
    backend.start_recording(session.queue(), result.count.calls() + waits + 64 * config_.gates.size() + 64);
    result.profiled_seconds = timed_step();
    result.profile = backend.finish_recording();
    return result;
  }

  ReadSpeed measure_reading(int threads) const {
    const ModelFiles files(model_folder());
    std::set<std::filesystem::path> paths;
    for (const std::string& name : files.names()) paths.insert(files.locate(files.at(name)).path);
    return measure_read_speed({paths.begin(), paths.end()}, threads, kMostReadBytes);
  }

  /// After the session has given its memory back.
  Ceilings measure_ceilings(const StepResult& result) {
    const auto queue = backend_->make_queue("ceilings");
    cuda::GpuTimer timer(static_cast<cuda::CudaQueue&>(*queue).stream(), {.repeats = 10});
    Ceilings ceilings;
    for (const OpTime& op : result.profile) {
      if (op.kind != "linear") continue;
      const cuda::GemmShape shape{std::min(options_.tokens, kCeilingRows), op.out_features, op.in_features};
      ceilings.product_flops += op.flops;
      ceilings.product_seconds += 1e-12 * op.flops / cuda::measure_gemm(shape, timer).tflops;
    }
    AttentionProblem problem(*backend_, *queue,
                             {.tokens = options_.tokens,
                              .num_heads = model_.num_heads,
                              .num_kv_heads = model_.num_kv_heads,
                              .head_dim = model_.head_dim,
                              .block_size = config_.gates.front().block_size});
    const AttentionArgs& args = problem.with_maxima();
    const cuda::Timing attention = timer.measure([&] { backend_->attention(*queue, args); });
    ceilings.attention_flops = result.count.work.at("attention").flops;
    ceilings.attention_rate = 1e3 * attention_flops(args) / attention.median_ms;
    return ceilings;
  }

  void print(const StepResult& result, const Ceilings& ceilings) const {
    const double seconds = median(result.seconds);
    Json report = begin_report("step", backend_->name());
    report["model"] = describe_shape(full_model_);
    report["measured_layers"] = model_.num_layers;
    report["tokens_per_sequence"] = options_.tokens;
    report["batch_size"] = options_.batch_size;
    report["weights"] = result.memory.weights.stream ? "stream" : "resident";
    report["residuals"] = result.memory.residuals == ResidualPlace::kHost ? "host" : "device";
    report["gates"] = config_.gates.size();
    report["step_seconds"] = result.seconds;
    report["tokens_per_second"] = tokens_per_step() / seconds;
    report["model_tflops"] = 1e-12 * result.count.model_flops() / seconds;

    fmt::print(
        "{}; {} of {} layers; {} x {} tokens a step; {} gate(s) {}, block {}; median of {} steps after {}\n",
        backend_->name(), model_.num_layers, full_model_.num_layers, options_.batch_size, options_.tokens,
        config_.gates.size(), config_.gates.front().type, config_.gates.front().block_size, options_.steps,
        kWarmups);
    fmt::print("weights {}, residual streams on the {}\n\n",
               result.memory.weights.stream ? "streamed" : "resident",
               result.memory.residuals == ResidualPlace::kHost ? "host" : "device");
    fmt::print("{}\n", profile_table(result, seconds, report).to_string());
    TextTable table({"whole step", "figure", ""});
    const auto [least, most] = std::minmax_element(result.seconds.begin(), result.seconds.end());
    table.add_row(
        {"seconds", fmt::format("{:.3f}", seconds), fmt::format("{:.3f} to {:.3f}", *least, *most)});
    table.add_row({"tokens/s", fmt::format("{:.0f}", tokens_per_step() / seconds), ""});
    table.add_row({"model TFLOP/s", fmt::format("{:.0f}", 1e-12 * result.count.model_flops() / seconds),
                   fmt::format("{:.1f} TFLOP: products and attention", 1e-12 * result.count.model_flops())});
    add_ceilings(ceilings, seconds, table, report);
    add_waiting(result, seconds, table, report);
    add_memory(result, table, report);
    if (!all_layers()) add_calculation(result, seconds, table, report);
    fmt::print("{}", table.to_string());
    write_report(options_.json, report);
  }

  /// Time by kernel group in the profiled step; what it counts beyond the products comes from the plan.
  TextTable profile_table(const StepResult& result, double seconds, Json& report) const {
    TextTable table({"kernel group", "calls", "ms", "of step", "TFLOP/s", "GB/s"});
    report["profile"] = Json::array();
    double sum = 0;
    for (const OpTime& op : result.profile) {
      const bool product = op.kind == "linear";
      const std::string what =
          product ? fmt::format("linear {} -> {}", op.in_features, op.out_features) : op.kind;
      const auto counted = result.count.work.find(op.kind);
      const bool known = !product && counted != result.count.work.end() && counted->second.calls == op.calls;
      const double flops = product ? op.flops : known ? counted->second.flops : 0;
      const double bytes = known && flops == 0 ? counted->second.bytes : 0;
      sum += op.ms;
      const auto rate = [&](double work, double unit) {
        return work > 0 ? fmt::format("{:.0f}", work / unit / (op.ms * 1e-3)) : std::string();
      };
      table.add_row({what, std::to_string(op.calls), fmt::format("{:.2f}", op.ms),
                     fmt::format("{:.1f}%", 0.1 * op.ms / result.profiled_seconds), rate(flops, 1e12),
                     rate(bytes, 1e9)});
      report["profile"].push_back(
          {{"what", what}, {"calls", op.calls}, {"ms", op.ms}, {"flops", flops}, {"bytes", bytes}});
    }
    const double between = 1e3 * result.profiled_seconds - sum;
    table.add_row({"between kernels", "", fmt::format("{:.2f}", between),
                   fmt::format("{:.1f}%", 0.1 * between / result.profiled_seconds), "", ""});
    table.add_rule();
    table.add_row({"profiled step", "", fmt::format("{:.2f}", 1e3 * result.profiled_seconds),
                   fmt::format("{:.2f} x", result.profiled_seconds / seconds), "", ""});
    report["profiled_step_seconds"] = result.profiled_seconds;
    return table;
  }

  void add_ceilings(const Ceilings& ceilings, double seconds, TextTable& table, Json& report) const {
    const double product_rate = 1e-12 * ceilings.product_flops / ceilings.product_seconds;
    table.add_row(
        {"of the ceilings", fmt::format("{:.3f}", ceilings.seconds() / seconds),
         fmt::format("products at {:.0f} TFLOP/s, attention with block maxima at {:.0f}, both alone",
                     product_rate, 1e-12 * ceilings.attention_rate)});
    report["ceilings"] = {{"product_tflops", product_rate},
                          {"attention_tflops", 1e-12 * ceilings.attention_rate},
                          {"seconds", ceilings.seconds()},
                          {"share", ceilings.seconds() / seconds}};
  }

  void add_waiting(const StepResult& result, double seconds, TextTable& table, Json& report) const {
    const double lost = result.lost_seconds();
    report["lost_to_weights"] = {{"seconds", lost}, {"share", lost / result.profiled_seconds}};
    table.add_row({"lost to weights", fmt::format("{:.1f}%", 100 * lost / result.profiled_seconds),
                   fmt::format("{:.1f} ms of the profiled step waited for weights ({})", 1e3 * lost,
                               result.reading ? "streamed" : "resident")});
    if (!result.reading) return;
    const ReadSpeed& reading = *result.reading;
    const double read_seconds = static_cast<double>(result.sweep_bytes) / reading.cold;
    const double sequence_seconds = (seconds - lost) / static_cast<double>(options_.batch_size);
    const double sequences = std::ceil(read_seconds / sequence_seconds);
    report["reading"] = {
        {"measured_bytes", reading.bytes},       {"cached_bytes_per_second", reading.cached},
        {"cold_bytes_per_second", reading.cold}, {"cold_share_past_cache", reading.past_cache},
        {"step_bytes", result.sweep_bytes},      {"sequences_that_hide_a_cold_disk", sequences}};
    table.add_row({"GB/s, page cache", fmt::format("{:.2f}", reading.cached / 1e9),
                   fmt::format("{:.1f} GB of the files with {} readers; a step reads {:.1f} GB",
                               static_cast<double>(reading.bytes) / 1e9, result.memory.weights.read_threads,
                               static_cast<double>(result.sweep_bytes) / 1e9)});
    table.add_row({"GB/s, cold disk", fmt::format("{:.2f}", reading.cold / 1e9),
                   fmt::format("{:.0f}% of it past the page cache", 100 * reading.past_cache)});
    table.add_row({"sequences to hide", fmt::format("{:.0f}", sequences),
                   fmt::format("a step that computes as long as a cold disk reads: {:.1f} s", read_seconds)});
  }

  void add_memory(const StepResult& result, TextTable& table, Json& report) const {
    const size_t planned = result.count.bytes();
    report["plan"] = Json::object();
    for (const MemoryItem& item : result.count.memory) report["plan"][item.what] = item.bytes;
    report["planned_bytes"] = planned;
    report["peak_bytes"] = result.peak_bytes;
    report["bytes_before_weights"] = result.bytes_before;
    table.add_row(
        {"peak GB", fmt::format("{:.2f}", static_cast<double>(result.peak_bytes) / 1e9),
         "all that is in use on the device: CUDA's context, kernels and libraries, other programs"});
    table.add_row({"", fmt::format("{:.2f}", static_cast<double>(result.bytes_before) / 1e9),
                   "of it before the weights: the context, other programs"});
    table.add_row(
        {"planned GB", fmt::format("{:.2f}", static_cast<double>(planned) / 1e9), "the session's plan:"});
    for (const MemoryItem& item : result.count.memory) {
      table.add_row({"", fmt::format("{:.3f}", static_cast<double>(item.bytes) / 1e9), item.what});
    }
  }

  /// The whole model's figures by its arithmetic: nothing of it was run.
  void add_calculation(const StepResult& result, double seconds, TextTable& table, Json& report) const {
    const StepCount all = count_step(full_model_, result.memory);
    const double all_seconds = seconds * all.model_flops() / result.count.model_flops();
    table.add_rule();
    table.add_row({fmt::format("all {} layers", full_model_.num_layers), "",
                   "BY CALCULATION: the measured step's time in proportion to the FLOPs"});
    table.add_row({"seconds", fmt::format("{:.3f}", all_seconds), ""});
    table.add_row({"tokens/s", fmt::format("{:.0f}", tokens_per_step() / all_seconds), ""});
    table.add_row({"planned GB", fmt::format("{:.2f}", static_cast<double>(all.bytes()) / 1e9),
                   result.memory.weights.stream ? "weights streamed" : "weights resident"});
    report["all_layers_by_calculation"] = {{"seconds", all_seconds},
                                           {"tokens_per_second", tokens_per_step() / all_seconds},
                                           {"planned_bytes", all.bytes()}};
  }

  const BenchStepOptions& options_;
  ModelConfig full_model_;
  ModelConfig model_;  ///< With the layers that are measured
  std::unique_ptr<Backend> backend_;
  RunConfig config_;
};

}  // namespace

int bench_step_command(const BenchStepOptions& options) {
  require_gpu("step");
  StepBench(options).run();
  return 0;
}

}  // namespace seer
