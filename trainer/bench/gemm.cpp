// `seer-train bench gemm`: what this GPU reaches on a model's products and on a copy, and our kernels beside it.
#include <functional>

#include "cuda/bench/gemm_ceilings.h"
#include "cuda/bench/random_fill.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_queue.h"
#include "src/core/ceil_div.h"
#include "src/core/rng.h"
#include "src/model/rope.h"
#include "src/ops/layout_tables.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/device_tensors.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kCopyBytes = size_t{1} << 30;  // many times any L2
constexpr int64_t kBlockSize = 64;
/// Score matrices of this many tokens do not fit L2, as those of few do.
constexpr int64_t kScoreTokens = 65536;

struct Product {
  const char* name;
  int64_t outputs;
  int64_t depth;
};

std::vector<Product> products_of(const ModelConfig& c) {
  const int64_t q_size = c.num_heads * c.head_dim;
  return {{"q, k, v", q_size + 2 * c.num_kv_heads * c.head_dim, c.hidden_size},
          {"o", c.hidden_size, q_size},
          {"gate, up", 2 * c.intermediate_size, c.hidden_size},
          {"down", c.hidden_size, c.intermediate_size}};
}

double bytes_of(const ConstTensor& x) {
  return static_cast<double>(x.numel()) * static_cast<double>(size_of(x.dtype()));
}

/// Elements per head that rows `first`, first + 1, .. of a causal matrix of `blocks` rows see.
double visible_elements(int64_t first, int64_t blocks) {
  const auto all = [](int64_t n) { return 0.5 * static_cast<double>(n) * static_cast<double>(n + 1); };
  return all(blocks) - all(first);
}

/// An operation that memory bounds.
struct Pass {
  std::string name;
  std::string shape;
  double bytes = 0;  ///< The least it must read and write
  std::function<void()> enqueue;
};

class GemmBench {
 public:
  explicit GemmBench(const BenchGemmOptions& options)
      : options_(options),
        model_(bench_model(options.model_config)),
        backend_(make_cuda_backend()),
        queue_(backend_->make_queue("bench")),
        stream_(static_cast<cuda::CudaQueue&>(*queue_).stream()),
        timer_(stream_, {.repeats = options.repeats}),
        report_(begin_report("gemm", backend_->name())) {
    report_["model"] = describe_shape(model_);
    report_["rows"] = options.rows;
    report_["repeats"] = options.repeats;
  }

  void run() {
    fmt::print("{}; {} rows; bf16; medians of {}\n", backend_->name(), options_.rows, options_.repeats);
    measure_products();
    measure_passes();
    write_report(options_.json, report_);
  }

 private:
  Tensor random(const Shape& shape) {
    const Tensor x = memory_.make(DType::kBF16, shape);
    cuda::fill_random(static_cast<__nv_bfloat16*>(x.raw()), x.numel(), ++seed_, 1.0F, stream_);
    return x;
  }
  /// A bf16 number is the upper half of an fp32 one: two random ones make a random fp32 number of the same size.
  Tensor random_fp32(const Shape& shape) {
    const Tensor x = memory_.make(DType::kF32, shape);
    cuda::fill_random(static_cast<__nv_bfloat16*>(x.raw()), 2 * x.numel(), ++seed_, 1.0F, stream_);
    return x;
  }

  /// The backend's own product: cuBLASLt's first choice for the shape, untimed and deterministic.
  cuda::Timing measure_ours(const cuda::GemmShape& shape) {
    memory_.clear();
    const Tensor x = random(Shape{shape.m, shape.k});
    StackedLinear w;
    w.parts = 1;
    w.weight[0] = random(Shape{shape.n, shape.k});
    const Tensor out = memory_.make(DType::kBF16, Shape{shape.m, shape.n});
    const auto workspace_bytes = static_cast<int64_t>(backend_->linear_workspace(w));
    const Tensor workspace = memory_.make(DType::kU8, Shape{workspace_bytes});
    return timer_.measure([&] { backend_->linear(*queue_, x, w, LinearOutput::kStore, out, workspace); });
  }

  void measure_products() {
    TextTable table({"product", "rows", "outputs", "inputs", "cuBLASLt ms", "TFLOP/s", "ours ms", "of it"});
    report_["products"] = Json::array();
    for (const Product& product : products_of(model_)) {
      const cuda::GemmShape shape{options_.rows, product.outputs, product.depth};
      memory_.clear();  // the ruler brings its own operands
      const cuda::GemmCeiling ceiling = cuda::measure_gemm(shape, timer_);
      const cuda::Timing ours = measure_ours(shape);
      const double fraction = ceiling.timing.median_ms / ours.median_ms;
      table.add_row({product.name, std::to_string(shape.m), std::to_string(shape.n), std::to_string(shape.k),
                     fmt::format("{:.3f}", ceiling.timing.median_ms), fmt::format("{:.0f}", ceiling.tflops),
                     fmt::format("{:.3f}", ours.median_ms), fmt::format("{:.2f}", fraction)});
      report_["products"].push_back({{"what", product.name},
                                     {"m", shape.m},
                                     {"n", shape.n},
                                     {"k", shape.k},
                                     {"ms", ceiling.timing.median_ms},
                                     {"spread_ms", ceiling.timing.spread_ms},
                                     {"tflops", ceiling.tflops},
                                     {"backend_ms", ours.median_ms},
                                     {"backend_fraction", fraction}});
    }
    fmt::print("\nproducts: the fastest algorithm cuBLASLt proposes, and the backend's\n{}",
               table.to_string());
  }

  void measure_passes() {
    memory_.clear();
    const cuda::CopyCeiling copy = cuda::measure_copy(kCopyBytes, timer_);
    const std::vector<Pass> passes = prepare_passes();
    std::vector<cuda::GpuTimer::Enqueue> works;
    works.reserve(passes.size());
    for (const Pass& pass : passes) works.push_back(pass.enqueue);
    const std::vector<cuda::Timing> timings = timer_.measure_in_turn(works);
    backend_->synchronize(*queue_);

    TextTable table({"pass", "shape", "MB", "ms", "GB/s", "of copy"});
    report_["copy"] = {{"bytes", kCopyBytes},
                       {"ms", copy.timing.median_ms},
                       {"gigabytes_per_second", copy.gigabytes_per_second}};
    report_["passes"] = Json::array();
    const auto row = [&](const std::string& name, const std::string& shape, double bytes, double ms) {
      const double speed = 1e-6 * bytes / ms;
      const double fraction = speed / copy.gigabytes_per_second;
      table.add_row({name, shape, fmt::format("{:.0f}", bytes / 1e6), fmt::format("{:.3f}", ms),
                     fmt::format("{:.0f}", speed), fmt::format("{:.2f}", fraction)});
      return Json{{"what", name},
                  {"shape", shape},
                  {"bytes", bytes},
                  {"ms", ms},
                  {"gigabytes_per_second", speed},
                  {"of_copy", fraction}};
    };
    row("device copy", "", 2.0 * static_cast<double>(kCopyBytes), copy.timing.median_ms);
    table.add_rule();
    for (size_t i = 0; i < passes.size(); ++i) {
      const Pass& pass = passes[i];
      report_["passes"].push_back(row(pass.name, pass.shape, pass.bytes, timings[i].median_ms));
    }
    fmt::print("\nmemory-bound kernels: the least bytes each must move, read plus written\n{}",
               table.to_string());
  }

  std::vector<Pass> prepare_passes() {
    std::vector<Pass> passes;
    prepare_activation_passes(passes);
    prepare_score_passes(passes);
    backend_->synchronize(*queue_);
    return passes;
  }

  /// What a layer does to the rows of tokens, on buffers laid out as in the sweep: q and k are columns of one projection.
  void prepare_activation_passes(std::vector<Pass>& passes) {
    const ModelConfig& c = model_;
    const int64_t rows = options_.rows;
    const int64_t q_size = c.num_heads * c.head_dim;
    const int64_t kv_size = c.num_kv_heads * c.head_dim;

    batch_ = BatchLayout::packed(std::vector<int64_t>{0, rows});
    batch_tables_.emplace(*backend_, LayoutTables::bytes_for(1, 1));
    batch_tables_->upload(*backend_, *queue_, batch_);
    rope_.emplace(*backend_, *queue_, rope_frequencies(c.rope, c.head_dim), rows);

    const Tensor x = random(Shape{rows, c.hidden_size});
    const Tensor norm_weight = random(Shape{c.hidden_size});
    const Tensor normed = memory_.make(DType::kBF16, x.shape());
    passes.push_back({"rms_norm", to_string(x.shape()), 2 * bytes_of(x), [=, this] {
                        backend_->rms_norm(*queue_, x, norm_weight, model_.rms_norm_eps, normed);
                      }});

    const Tensor qkv = random(Shape{rows, q_size + 2 * kv_size});
    const Tensor q(qkv.raw(), DType::kBF16, Shape{rows, c.num_heads, c.head_dim}, qkv.row_stride());
    const Tensor k(static_cast<__nv_bfloat16*>(qkv.raw()) + q_size, DType::kBF16,
                   Shape{rows, c.num_kv_heads, c.head_dim}, qkv.row_stride());
    const Tensor rotated = memory_.make(DType::kBF16, q.shape());
    passes.push_back({"rope of q", to_string(q.shape()), 2 * bytes_of(q), [=, this] {
                        backend_->rope(*queue_, q, rope_->table(), batch_.rows, RopeDirection::kForward,
                                       rotated);
                      }});

    const Tensor gate_up = random(Shape{rows, 2 * c.intermediate_size});
    const Tensor inner = memory_.make(DType::kBF16, Shape{rows, c.intermediate_size});
    passes.push_back({"swiglu", to_string(gate_up.shape()), bytes_of(gate_up) + bytes_of(inner),
                      [=, this] { backend_->swiglu(*queue_, gate_up, inner); }});

    const auto pool = [&](const char* name, const Tensor& heads, PoolSet pools) {
      const Tensor pooled = memory_.make(
          DType::kF32, Shape{ceil_div(rows, kBlockSize), heads.dim(1), pools.count() * heads.dim(2)});
      passes.push_back({name, to_string(heads.shape()), bytes_of(heads) + bytes_of(pooled), [=, this] {
                          backend_->pool_blocks(*queue_, heads, batch_.rows, kBlockSize, 1, pools, pooled);
                        }});
    };
    pool("pool_blocks of q, avg", q, {.avg = true});
    pool("pool_blocks of k, max min avg", k, {.max = true, .min = true, .avg = true});

    const Tensor table = random(Shape{c.vocab_size, c.hidden_size});
    const Tensor ids = memory_.make(DType::kI32, Shape{rows});
    const Buffer host = backend_->allocate(rows * sizeof(int32_t), Memory::kHostPinned);
    const Tensor host_ids = host.tensor(DType::kI32, ids.shape());
    Rng rng(7);
    for (int64_t i = 0; i < rows; ++i) {
      host_ids.data<int32_t>()[i] = static_cast<int32_t>(rng.below(c.vocab_size));
    }
    backend_->copy(*queue_, host_ids, ids);
    backend_->synchronize(*queue_);
    const Tensor embedded = memory_.make(DType::kBF16, x.shape());
    passes.push_back({"embed", to_string(x.shape()), 2 * bytes_of(x),
                      [=, this] { backend_->embed(*queue_, ids, table, embedded); }});
    const Tensor flag = memory_.make(DType::kF64, Shape{1});
    passes.push_back({"flag_not_finite", to_string(x.shape()), bytes_of(x),
                      [=, this] { backend_->flag_not_finite(*queue_, x, flag); }});
  }

  /// Between the block maxima of attention and the gradient of the scores: causal matrices, of which the rows' visible
  /// parts are read and all is written.
  void prepare_score_passes(std::vector<Pass>& passes) {
    const int64_t heads = model_.num_heads;
    const BatchLayout batch = BatchLayout::packed(std::vector<int64_t>{0, kScoreTokens});
    blocks_ = ScoreLayout::prefill(batch, kBlockSize);
    score_tables_.emplace(*backend_, LayoutTables::bytes_for(1, 1));
    score_tables_->upload(*backend_, *queue_, blocks_);

    const Shape matrices{heads, blocks_.elements};
    const ScoreSegment& segment = blocks_.segments.host.front();
    const double bytes_per_element = static_cast<double>(heads) * sizeof(float);
    const std::string shape = fmt::format("[{}, {}, {}]", heads, segment.blocks, segment.blocks);

    const Tensor maxima = random_fp32(matrices);
    const Tensor target = memory_.make(DType::kF32, matrices);
    passes.push_back({"normalise_target", shape,
                      bytes_of(target) + bytes_per_element * visible_elements(0, segment.blocks), [=, this] {
                        backend_->normalise_target(*queue_, maxima, blocks_, blocks_, heads, target);
                      }});

    KlArgs kl{.scores = random_fp32(matrices),
              .target = target,
              .layout = &blocks_,
              .heads = heads,
              .head_count = heads,
              .losses = memory_.make(DType::kF64, Shape{heads})};
    kl.workspace = memory_.make(DType::kU8, Shape{static_cast<int64_t>(backend_->kl_workspace(kl))});
    const double read = 2 * bytes_per_element * visible_elements(segment.first_loss_row, segment.blocks);
    passes.push_back({"kl_loss with gradient", shape, bytes_of(target) + read,
                      [=, this] { backend_->kl_loss(*queue_, kl); }});
  }

  const BenchGemmOptions& options_;
  ModelConfig model_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  cudaStream_t stream_;
  cuda::GpuTimer timer_;
  Json report_;
  uint64_t seed_ = 0;
  DeviceTensors memory_{*backend_};
  BatchLayout batch_;
  ScoreLayout blocks_;
  std::optional<LayoutTables> batch_tables_;
  std::optional<LayoutTables> score_tables_;
  std::optional<RopeTables> rope_;
};

}  // namespace

int bench_gemm_command(const BenchGemmOptions& options) {
  require_gpu("gemm");
  GemmBench(options).run();
  return 0;
}

}  // namespace seer
