// Block-sparse attention over the blocks that trained gates keep, in the layers of a model that reads a text: beside dense
// attention on the same q, k and v, in turn, layer by layer. Heads of a group keep some of the same blocks, which the kernel
// may load once for several of them: a time can lie below the L2 floor (sparse_bounds.h).
#include "trainer/bench/sparse_gates.h"

#include <algorithm>

#include "cuda/bench/timing.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_queue.h"
#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/bench/sparse_bounds.h"
#include "trainer/eval/gate_attention.h"
#include "trainer/eval/held_out.h"
#include "trainer/eval/selection_flags.h"
#include "trainer/eval/side_by_side.h"
#include "trainer/gates_folder.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

/// One layer, or the sum of several.
struct Measured {
  double dense_ms = 0;
  double visible = 0;  ///< Blocks
  struct Sparse {
    double ms = 0;
    double kept = 0;  ///< Blocks
  };
  std::vector<Sparse> sparse;  ///< By density

  void add(const Measured& other) {
    dense_ms += other.dense_ms;
    visible += other.visible;
    sparse.resize(other.sparse.size());
    for (size_t d = 0; d < sparse.size(); ++d) {
      sparse[d].ms += other.sparse[d].ms;
      sparse[d].kept += other.sparse[d].kept;
    }
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
    write_report(options_.json, report_);
  }

 private:
  void measure(int64_t tokens) {
    layers_.clear();
    std::vector<Measured> measured;
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
    Measured sum;
    for (size_t n = 0; n < measured.size(); ++n) {
      sum.add(measured[n]);
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

  Measured time_layer(LayerContext& context, const GateAttention& work) const {
    std::vector<cuda::GpuTimer::Enqueue> enqueues = {
        [&] { context.backend.attention(context.queue, work.dense); }};
    for (const SparseAttentionArgs& args : work.sparse)
      enqueues.emplace_back([&] { context.backend.sparse_attention(context.queue, args); });
    const std::vector<cuda::Timing> timings = timer_on(context.queue).measure_in_turn(enqueues);
    context.backend.synchronize(context.queue);
    Measured out{.dense_ms = timings.front().median_ms, .visible = work.visible, .sparse = {}};
    for (size_t d = 0; d < work.sparse.size(); ++d)
      out.sparse.push_back({.ms = timings[1 + d].median_ms, .kept = work.kept[d]});
    log::info("layer {}: dense {:.3f} ms, by its gate {:.3f} ms", work.layer, out.dense_ms,
              fmt::join(milliseconds(out), ", "));
    return out;
  }

  static std::vector<double> milliseconds(const Measured& measured) {
    std::vector<double> out;
    for (const Measured::Sparse& sparse : measured.sparse) out.push_back(sparse.ms);
    return out;
  }

  SparseBounds bounds_of(const Measured& measured, size_t density, const SparseRulers& rulers) const {
    const double kept = measured.sparse[density].kept;
    return SparseBounds({.density = kept / measured.visible,
                         .kept = kept,
                         .block_size = options_.block_size,
                         .head_dim = options_.head_dim,
                         .dense_ms = measured.dense_ms},
                        rulers);
  }

  std::vector<Json> rows_of(int64_t tokens, const Measured& measured, const SparseRulers& rulers) const {
    std::vector<Json> rows;
    for (size_t d = 0; d < measured.sparse.size(); ++d) {
      const double ms = measured.sparse[d].ms;
      Json& row = rows.emplace_back(Json{{"tokens", tokens},
                                         {"nz_ratio", options_.densities[d]},
                                         {"ms", ms},
                                         {"dense_ms", measured.dense_ms},
                                         {"ratio_to_dense", ms / measured.dense_ms}});
      row.update(bounds_of(measured, d, rulers).figures(ms));
    }
    return rows;
  }

  void add_lines(int64_t tokens, const Measured& sum, const SparseRulers& rulers) {
    if (tokens != options_.tokens.front()) table_.add_rule();
    std::vector<std::string> dense = {std::to_string(tokens), "dense", fmt::format("{:.3f}", sum.dense_ms),
                                      "1.0000"};
    dense.resize(kColumns);
    table_.add_row(std::move(dense));
    for (size_t d = 0; d < sum.sparse.size(); ++d) {
      const double ms = sum.sparse[d].ms;
      std::vector<std::string> cells = {std::to_string(tokens),
                                        fmt::format("gates, nz_ratio {:g}", options_.densities[d]),
                                        fmt::format("{:.3f}", ms), fmt::format("{:.4f}", ms / sum.dense_ms)};
      for (std::string& cell : bounds_of(sum, d, rulers).cells(ms)) cells.push_back(std::move(cell));
      table_.add_row(std::move(cells));
    }
  }

  static constexpr size_t kColumns = 10;

  const Inputs inputs_;
  const BenchSparseOptions options_;
  EvalModel model_;
  std::vector<int64_t> layers_;  ///< Measured, of the last length: the first one of those that ran at once
  TextTable table_{SparseBounds::with_bounds({"tokens", "what", "ms", "x dense"})};
  Json report_;
};

}  // namespace

int bench_sparse_gates(const BenchSparseOptions& options) {
  Inputs inputs(options);
  require_gpu("sparse");
  SparseGatesBench(options, std::move(inputs)).run();
  return 0;
}

}  // namespace seer
