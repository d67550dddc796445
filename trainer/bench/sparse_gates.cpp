// Block-sparse attention over the blocks that trained gates keep, in the layers of a model that reads a text: beside dense
// attention, cuDNN's, and random lists as `bench sparse` draws them, on the same q, k and v, in turn, layer by layer. The
// kernel loads blocks once for several list rows that keep them: a time can lie below the L2 floor (sparse_bounds.h).
#include "trainer/bench/sparse_gates.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cuda/bench/timing.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_queue.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/bench/cudnn_peer.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/bench/sparse_bounds.h"
#include "trainer/bench/sparse_problem.h"
#include "trainer/eval/gate_attention.h"
#include "trainer/eval/held_out.h"
#include "trainer/eval/selection_flags.h"
#include "trainer/eval/side_by_side.h"
#include "trainer/gates_folder.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

/// One kind of attention: over a layer, or summed over several.
struct Measured {
  std::string what;
  std::optional<double> nz_ratio;  ///< Of gates
  double ms = 0;
  double kept = 0;  ///< Blocks; 0: all
  double visible = 0;
  int64_t sharers = 1;  ///< Query heads that keep the same blocks

  /// The same kind over another layer.
  void add(const Measured& other) {
    ms += other.ms;
    kept += other.kept;
    visible += other.visible;
  }
};

/// What needs no GPU, so that nothing is loaded for a mistake.
struct Inputs {
  explicit Inputs(const BenchSparseOptions& options)
      : config(load_model_config(options.model)),
        block_size(read_gate_entry(options.gates).block_size),
        rules(SelectionFlags{.densities = options.densities}.rules()),
        max_tokens(*std::max_element(options.tokens.begin(), options.tokens.end())) {
    check_layers(options.layers, config);
    const int64_t layers = options.layers.empty() ? config.num_layers : std::ssize(options.layers);
    if (layers % options.layers_at_once != 0)
      fail_usage("--layers-at-once {}: {} layers are measured, give a divisor of that",
                 options.layers_at_once, layers);
    text = held_out_sequence({.data = {options.data}}, config, open_tokenizer(options.model, config),
                             max_tokens);
  }

  /// Whose heads and blocks are the model's and its gates'.
  BenchSparseOptions shaped(BenchSparseOptions options) const {
    options.num_heads = options.layers_at_once * config.num_heads;
    options.num_kv_heads = options.layers_at_once * config.num_kv_heads;
    options.head_dim = config.head_dim;
    options.block_size = block_size;
    return options;
  }

  ModelConfig config;
  int64_t block_size;
  std::vector<SelectionRule> rules;
  int64_t max_tokens;
  std::vector<int32_t> text;
};

class SparseGatesBench {
 public:
  SparseGatesBench(const BenchSparseOptions& options, Inputs inputs)
      : inputs_(std::move(inputs)),
        options_(inputs_.shaped(options)),
        model_(make_cuda_backend({.portable_attention = options.portable}),
               {.model = options.model, .gates = options.gates, .device = "cuda"}, inputs_.max_tokens),
        report_(begin_attention_report("sparse", model_.backend().name(), options_)) {
    report_["model"] = options.model;
    report_["gates"] = options.gates;
    report_["data"] = options.data;
    report_["layers_at_once"] = options.layers_at_once;
    report_["rows"] = Json::array();
    report_["layers"] = Json::array();
  }

  void run() {
    for (const int64_t tokens : options_.tokens) measure(tokens);
    fmt::print("{}\n{} of {} layers of {}{}, their times summed; gates {}; text {}\n{}",
               attention_heading(model_.backend().name(), options_),
               std::ssize(layers_) * options_.layers_at_once, inputs_.config.num_layers, options_.model,
               options_.layers_at_once > 1
                   ? fmt::format(", {} at once as the heads of one", options_.layers_at_once)
                   : "",
               options_.gates, options_.data, table_.to_string());
    if (peer_.cudnn == nullptr) fmt::print("no cuDNN: {}\n", peer_.missing);
    report_["cudnn"] = peer_.describe();
    write_report(options_.json, report_);
  }

 private:
  void measure(int64_t tokens) {
    layers_.clear();
    std::vector<std::vector<Measured>> measured;
    const auto add = [&](LayerContext& context, const GateAttention& work) {
      layers_.push_back(work.layer);
      measured.push_back(time_layer(context, work));
    };
    SideBySide group(model_.backend(), options_.layers_at_once);
    {
      GateAttentionPass pass(model_, {.max_tokens = tokens,
                                      .rules = inputs_.rules,
                                      .layers = options_.layers,
                                      .visitor = [&](LayerContext& context, const GateAttention& layer) {
                                        if (options_.layers_at_once == 1)  // as it lies in the model's memory
                                          return add(context, layer);
                                        group.add(context.queue, layer);
                                        if (group.complete()) add(context, group.take());
                                      }});
      pass.run(std::span(inputs_.text).first(tokens));
    }
    SEER_CHECK(group.empty(), "{} layers at once: some are left over", options_.layers_at_once);
    const std::unique_ptr<Queue> queue = model_.backend().make_queue("rulers");
    cuda::GpuTimer timer = timer_on(*queue);
    const SparseRulers rulers = measure_rulers(timer, tokens, options_.head_dim);
    std::vector<Measured> sum = measured.front();
    for (size_t n = 0; n < measured.size(); ++n) {
      for (size_t i = 0; n > 0 && i < sum.size(); ++i) sum[i].add(measured[n][i]);
      for (Json& row : rows_of(tokens, measured[n], rulers)) {
        row["layer"] = layers_[n];
        report_["layers"].push_back(std::move(row));
      }
    }
    for (Json& row : rows_of(tokens, sum, rulers)) report_["rows"].push_back(std::move(row));
    add_lines(tokens, sum, rulers);
  }

  cuda::GpuTimer timer_on(Queue& queue) const {
    return cuda::GpuTimer(static_cast<cuda::CudaQueue&>(queue).stream(),
                          {.repeats = options_.repeats, .warmups = 2});
  }

  /// Dense attention first, then cuDNN's if there is one, then all that is sparse, in turn on the layer's q, k and v.
  std::vector<Measured> time_layer(LayerContext& context, const GateAttention& work) {
    std::vector<Measured> out = {{.what = "dense", .visible = work.visible}};
    std::vector<cuda::GpuTimer::Enqueue> enqueues = {
        [&] { context.backend.attention(context.queue, work.dense); }};
    std::optional<CudnnContender> cudnn;
    if (peer_.cudnn != nullptr) {
      try {
        cudnn.emplace(*peer_.cudnn, context.backend, context.queue, work.dense);
      } catch (const Error& error) {
        // It does not take the model's shape: our own figures are wanted all the same. Later it is a failure.
        if (cudnn_ran_) throw;
        peer_.missing = error.what();
        peer_.cudnn.reset();
      }
    }
    if (cudnn) {
      cudnn_ran_ = true;
      out.push_back({.what = "cuDNN dense", .visible = work.visible});
      enqueues.emplace_back([&] { cudnn->run(); });
    }
    SparseProblem random(context.backend, context.queue, work.dense, *work.sparse.front().blocks);
    for (const double density : options_.densities) {
      for (const bool shared : {false, true}) {
        const SparseWork lists = random.random(density, shared);
        out.push_back({.what = lists.name,
                       .kept = lists.kept,
                       .visible = work.visible,
                       .sharers = shared ? random.group() : 1});
        enqueues.push_back(lists.enqueue);
      }
    }
    for (size_t d = 0; d < work.sparse.size(); ++d) {
      out.push_back({.what = fmt::format("gates, nz_ratio {:g}", options_.densities[d]),
                     .nz_ratio = options_.densities[d],
                     .kept = work.kept[d],
                     .visible = work.visible});
      enqueues.emplace_back([&, d] { context.backend.sparse_attention(context.queue, work.sparse[d]); });
    }
    const std::vector<cuda::Timing> timings = timer_on(context.queue).measure_in_turn(enqueues);
    context.backend.synchronize(context.queue);
    for (size_t i = 0; i < out.size(); ++i) out[i].ms = timings[i].median_ms;
    log::info("layer {}: dense {:.3f} ms, by its gate {:.3f} ms", work.layer, out.front().ms,
              fmt::join(of_gates(out), ", "));
    return out;
  }

  static std::vector<double> of_gates(const std::vector<Measured>& measured) {
    std::vector<double> out;
    for (const Measured& one : measured) {
      if (one.nz_ratio) out.push_back(one.ms);
    }
    return out;
  }

  double cudnn_ms(const std::vector<Measured>& measured) const {
    return peer_.cudnn != nullptr ? measured[1].ms : 0;
  }

  SparseBounds bounds_of(const Measured& sparse, double dense_ms, const SparseRulers& rulers) const {
    return SparseBounds({.density = sparse.kept / sparse.visible,
                         .kept = sparse.kept,
                         .sharers = sparse.sharers,
                         .block_size = options_.block_size,
                         .head_dim = options_.head_dim,
                         .dense_ms = dense_ms},
                        rulers);
  }

  std::vector<Json> rows_of(int64_t tokens, const std::vector<Measured>& measured,
                            const SparseRulers& rulers) const {
    const double dense_ms = measured.front().ms;
    std::vector<Json> rows;
    for (const Measured& one : measured) {
      Json& row = rows.emplace_back(Json{{"tokens", tokens}, {"what", one.what}});
      if (one.nz_ratio) row["nz_ratio"] = *one.nz_ratio;
      row["ms"] = one.ms;
      row["ratio_to_dense"] = one.ms / dense_ms;
      if (peer_.cudnn != nullptr) row["ratio_to_cudnn"] = one.ms / cudnn_ms(measured);
      if (one.kept > 0) row.update(bounds_of(one, dense_ms, rulers).figures(one.ms));
    }
    return rows;
  }

  void add_lines(int64_t tokens, const std::vector<Measured>& sum, const SparseRulers& rulers) {
    if (tokens != options_.tokens.front()) table_.add_rule();
    const double dense_ms = sum.front().ms;
    for (const Measured& one : sum) {
      std::vector<std::string> cells = {
          std::to_string(tokens), one.what, fmt::format("{:.3f}", one.ms),
          fmt::format("{:.4f}", one.ms / dense_ms),
          peer_.cudnn != nullptr ? fmt::format("{:.4f}", one.ms / cudnn_ms(sum)) : "-"};
      if (one.kept > 0) {
        for (std::string& cell : bounds_of(one, dense_ms, rulers).cells(one.ms))
          cells.push_back(std::move(cell));
      } else {
        cells.resize(kColumns);
      }
      table_.add_row(std::move(cells));
    }
  }

  static constexpr size_t kColumns = 11;

  const Inputs inputs_;
  const BenchSparseOptions options_;
  EvalModel model_;
  CudnnPeer peer_;
  bool cudnn_ran_ = false;
  std::vector<int64_t> layers_;  ///< Measured, of the last length: the first one of those that ran at once
  TextTable table_{SparseBounds::with_bounds({"tokens", "what", "ms", "x dense", "x cuDNN"})};
  Json report_;
};

}  // namespace

int bench_sparse_gates(const BenchSparseOptions& options) {
  BenchSparseOptions chosen = options;
  if (chosen.tokens.empty()) chosen.tokens = {load_model_config(options.model).max_position_embeddings};
  Inputs inputs(chosen);
  require_gpu("sparse");
  SparseGatesBench(chosen, std::move(inputs)).run();
  return 0;
}

}  // namespace seer
