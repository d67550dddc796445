// `seer-train bench sparse`: block-sparse attention beside what bounds it. All of one length runs in turn, so that
// everything sees the same clocks:
//
//   dense            our attention without the target; times the density, the price of a perfect sparse kernel
//   cuDNN            its dense attention
//   floors           sparse_bounds.h
#include <algorithm>
#include <optional>

#include "cuda/bench/timing.h"
#include "cuda/cuda_backend.h"
#include "src/core/ceil_div.h"
#include "src/gate/prefill_gate.h"
#include "src/model/rope.h"
#include "trainer/bench/attention_problem.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/cudnn_peer.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/bench/sparse_bounds.h"
#include "trainer/bench/sparse_gates.h"
#include "trainer/bench/sparse_problem.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kGateDensity = 0.1;

/// A gate of the published type on the problem's q and k, piece by piece.
class GateProblem {
 public:
  GateProblem(Backend& backend, Queue& queue, const AttentionProblem& dense, SparseProblem& sparse,
              int64_t block_size)
      : sparse_(sparse),
        blocks_(*dense.with_maxima().blocks),
        input_{.q_pre = dense.with_maxima().q,
               .k_pre = dense.with_maxima().k,
               .batch = dense.with_maxima().layout},
        config_{.type = parse_gate_type("Qavg_Kmaxminavg"),
                .block_size = block_size,
                .hidden_size = input_.q_pre.dim(2),
                .num_heads = input_.q_pre.dim(1),
                .num_kv_heads = input_.k_pre.dim(1),
                .head_dim = input_.q_pre.dim(2)},
        params_(backend, queue, config_, 1, GateUse::kInference),
        rope_(backend, queue, rope_frequencies(bench_model("").rope, config_.hidden_size), blocks_.max_blocks,
              block_size),
        arena_(backend.allocate(arena_bytes(), Memory::kDevice)),
        context_{.backend = backend, .queue = queue, .arena = arena_},
        lists_(sparse.make_lists()) {
    params_.init_normal(backend, queue, 1, 0.02);
    pool();
    project();
  }

  std::vector<SparseWork> works() {
    return {{.name = "gate: pool", .enqueue = [this] { pool(); }},
            {.name = "gate: linear, RoPE", .enqueue = [this] { project(); }},
            {.name = "gate: scores", .enqueue = [this] { score(); }},
            {.name = "gate: selection", .enqueue = [this] { select(); }},
            {.name = "gate, whole", .enqueue = [this] {
               pool();
               project();
               score();
               select();
             }}};
  }

 private:
  int64_t arena_bytes() const {
    const int64_t width =
        config_.num_heads * (config_.type.q.count() * config_.head_dim + 2 * config_.hidden_size) +
        config_.num_kv_heads * config_.type.k.count() * config_.head_dim;
    return blocks_.num_query_rows * width * static_cast<int64_t>(sizeof(float)) + 4 * Arena::kAlignment;
  }

  void pool() {
    arena_.reset();
    activations_ = prefill_gate_pool(context_, config_, input_, blocks_);
  }
  void project() {
    const Arena::Scope scope(arena_);
    prefill_gate_project(context_, config_, params_.weights(0), blocks_, rope_.table(),
                         /*want_gradient=*/false, activations_);
  }
  void score() {
    context_.backend.gate_scores(context_.queue,
                                 prefill_score_args(config_, activations_, blocks_, 0, config_.num_heads),
                                 sparse_.scores());
  }
  void select() {
    sparse_.select({.by = SelectBy::kNzRatio, .value = kGateDensity}, /*probabilities=*/false, lists_);
  }

  SparseProblem& sparse_;
  const ScoreLayout& blocks_;
  GateInput input_;
  PrefillGateConfig config_;
  GateParams params_;
  RopeTables rope_;
  Arena arena_;
  LayerContext context_;
  BlockLists lists_;
  PrefillActivations activations_;
};

class SparseBench {
 public:
  explicit SparseBench(const BenchSparseOptions& options)
      : options_(options),
        backend_(make_cuda_backend({.portable_attention = options.portable})),
        queue_(backend_->make_queue("bench")),
        timer_(static_cast<cuda::CudaQueue&>(*queue_).stream(), {.repeats = options.repeats, .warmups = 2}),
        report_(begin_attention_report("sparse", backend_->name(), options)) {
    report_["cudnn"] = peer_.describe();
    report_["rows"] = Json::array();
  }

  void run() {
    for (const int64_t tokens : options_.tokens) measure(tokens);
    fmt::print("{}\n{}", attention_heading(backend_->name(), options_), table_.to_string());
    if (peer_.cudnn == nullptr) fmt::print("no cuDNN: {}\n", peer_.missing);
    write_report(options_.json, report_);
  }

 private:
  /// Everything on one sequence.
  void measure(int64_t tokens) {
    AttentionProblem dense(*backend_, *queue_,
                           {.tokens = tokens,
                            .num_heads = options_.num_heads,
                            .num_kv_heads = options_.num_kv_heads,
                            .head_dim = options_.head_dim,
                            .block_size = options_.block_size});
    SparseProblem sparse(*backend_, *queue_, dense.dense(), *dense.with_maxima().blocks);
    std::vector<SparseWork> works;
    works.push_back(
        {.name = "dense", .enqueue = [this, args = dense.dense()] { backend_->attention(*queue_, args); }});
    std::optional<CudnnContender> cudnn;
    if (peer_.cudnn != nullptr) {
      cudnn.emplace(*peer_.cudnn, *backend_, *queue_, dense.dense());
      works.push_back({.name = "cuDNN dense", .enqueue = [&cudnn] { cudnn->run(); }});
    }
    for (const double density : options_.densities) {
      works.push_back(sparse.random(density, /*shared=*/false));
      works.push_back(sparse.random(density, /*shared=*/true));
    }
    GateProblem gate(*backend_, *queue_, dense, sparse, options_.block_size);
    for (SparseWork& work : gate.works()) works.push_back(std::move(work));

    std::vector<cuda::GpuTimer::Enqueue> enqueues;
    enqueues.reserve(works.size());
    for (const SparseWork& work : works) enqueues.push_back(work.enqueue);
    const std::vector<cuda::Timing> timings = timer_.measure_in_turn(enqueues);
    backend_->synchronize(*queue_);
    for (size_t i = 0; i < works.size(); ++i) works[i].timing = timings[i];

    const SparseRulers rulers = measure_rulers(timer_, tokens, options_.head_dim);
    if (tokens != options_.tokens.front()) table_.add_rule();
    for (const SparseWork& work : works) {
      add_line(tokens, work, works.front().timing.median_ms, cudnn ? works[1].timing.median_ms : 0, rulers);
    }
  }

  void add_line(int64_t tokens, const SparseWork& work, double dense_ms, double cudnn_ms,
                const SparseRulers& rulers) {
    const double ms = work.timing.median_ms;
    Json row = {{"tokens", tokens},
                {"what", work.name},
                {"ms", ms},
                {"spread_ms", work.timing.spread_ms},
                {"ratio_to_dense", ms / dense_ms}};
    if (cudnn_ms > 0) row["ratio_to_cudnn"] = ms / cudnn_ms;
    std::vector<std::string> cells = {std::to_string(tokens),
                                      work.name,
                                      fmt::format("{:.3f}", ms),
                                      fmt::format("{:.3f}", work.timing.spread_ms),
                                      fmt::format("{:.4f}", ms / dense_ms),
                                      cudnn_ms > 0 ? fmt::format("{:.4f}", ms / cudnn_ms) : "-"};
    if (work.density > 0) {
      const SparseBounds bounds({.density = work.density,
                                 .kept = work.kept,
                                 .sharers = work.shared ? options_.num_heads / options_.num_kv_heads : 1,
                                 .block_size = options_.block_size,
                                 .head_dim = options_.head_dim,
                                 .dense_ms = dense_ms},
                                rulers);
      row.update(bounds.figures(ms));
      for (std::string& cell : bounds.cells(ms)) cells.push_back(std::move(cell));
    } else {
      cells.resize(kColumns, "");
    }
    table_.add_row(cells);
    report_["rows"].push_back(std::move(row));
  }

  static constexpr size_t kColumns = 12;

  const BenchSparseOptions& options_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  cuda::GpuTimer timer_;
  CudnnPeer peer_;
  TextTable table_{SparseBounds::with_bounds({"tokens", "what", "ms", "spread", "x dense", "x cuDNN"})};
  Json report_;
};

}  // namespace

int bench_sparse_command(const BenchSparseOptions& options) {
  if (!options.model.empty()) return bench_sparse_gates(options);
  check_heads(options);
  require_gpu("sparse");
  SparseBench(options).run();
  return 0;
}

}  // namespace seer
