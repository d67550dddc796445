// `seer-train bench decode`: one token of generation as `generate` computes it, weights and cache random. Bound: memory, by
// which all weights and the keys and values of all tokens go through the chip once.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "cuda/bench/gemm_ceilings.h"
#include "cuda/bench/random_fill.h"
#include "cuda/bench/timing.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_queue.h"
#include "src/core/error.h"
#include "src/model/weights.h"
#include "src/ops/layout_tables.h"
#include "src/sparse/kv_cache.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/cudnn_peer.h"
#include "trainer/bench/relative_difference.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/device_tensors.h"
#include "trainer/eval/forward_pass.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kSeed = 42;
constexpr size_t kCopyBytes = size_t{1} << 30;

cudaStream_t stream_of(Queue& queue) {
  return static_cast<cuda::CudaQueue&>(queue).stream();
}

void fill(const Tensor& x, uint64_t seed, Queue& queue) {
  cuda::fill_random(static_cast<__nv_bfloat16*>(x.raw()), x.numel(), seed, 1.0F, stream_of(queue));
}

/// The attention of one new token in every layer.
class DecodeAttention {
 public:
  /// `tokens` of `cache`, the new one included.
  DecodeAttention(Backend& backend, Queue& queue, const ModelConfig& model, const KvCache& cache,
                  int64_t tokens)
      : backend_(backend),
        queue_(queue),
        model_(model),
        cache_(cache),
        tokens_(tokens),
        tables_(backend, LayoutTables::bytes_for(1, 0)),
        memory_(backend) {
    const RowSpan row{0, 1, tokens - 1};
    layout_.segments.host = {{.queries = row, .key_row = 0, .length = tokens, .sequence = 0}};
    layout_.rows.host = {row};
    layout_.key_rows.host = {row};
    layout_.sequences = 1;
    layout_.num_query_rows = 1;
    layout_.num_key_rows = tokens;
    tables_.upload(backend, queue, layout_);
    const Shape shape{1, model.num_heads, model.head_dim};
    q_ = memory_.make(DType::kBF16, shape);
    fill(q_, kSeed, queue);
    output_ = memory_.make(DType::kBF16, shape);
    workspace_ = memory_.make(DType::kU8, Shape{static_cast<int64_t>(backend.attention_workspace(args(0)))});
    backend.synchronize(queue);
  }

  AttentionArgs args(int64_t layer) const {
    return {.q = q_,
            .k = cache_.keys(layer).slice_rows(0, tokens_),
            .v = cache_.values(layer).slice_rows(0, tokens_),
            .layout = &layout_,
            .head_begin = 0,
            .head_count = model_.num_heads,
            .scale = 1.0F / std::sqrt(static_cast<float>(model_.head_dim)),
            .output = output_,
            .workspace = workspace_};
  }
  void run() {
    for (int64_t layer = 0; layer < model_.num_layers; ++layer) backend_.attention(queue_, args(layer));
  }
  /// Keys and values, read once.
  double bytes() const {
    return 2.0 * static_cast<double>(model_.num_layers * tokens_ * model_.num_kv_heads * model_.head_dim) *
           static_cast<double>(size_of(DType::kBF16));
  }

 private:
  Backend& backend_;
  Queue& queue_;
  const ModelConfig& model_;
  const KvCache& cache_;
  int64_t tokens_;
  BatchLayout layout_;
  LayoutTables tables_;
  DeviceTensors memory_;
  Tensor q_;
  Tensor output_;
  Tensor workspace_;
};

class DecodeBench {
 public:
  explicit DecodeBench(const BenchDecodeOptions& options)
      : options_(options),
        model_(bench_model(options.model_config)),
        max_tokens_(*std::max_element(options.tokens.begin(), options.tokens.end())),
        backend_(make_cuda_backend()),
        queue_(backend_->make_queue("bench")),
        timer_(stream_of(*queue_), {.repeats = options.repeats, .warmups = 2}),
        weights_(FrozenWeights::random(*backend_, *queue_, model_, kSeed)),
        pass_(*backend_, model_, weights_, nullptr,
              {.max_tokens = max_tokens_, .methods = {}, .visitor = {}}),
        cache_(*backend_, model_, max_tokens_),
        report_(begin_report("decode", backend_->name())) {
    for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
      fill(cache_.keys(layer), 2 * layer, *queue_);
      fill(cache_.values(layer), 2 * layer + 1, *queue_);
    }
    backend_->synchronize(*queue_);
    gb_per_s_ = cuda::measure_copy(kCopyBytes, timer_).gigabytes_per_second;
    report_["model"] = describe_shape(model_);
    report_["repeats"] = options.repeats;
    report_["copy_gb_per_s"] = gb_per_s_;
    report_["rows"] = Json::array();
  }

  void run() {
    for (const int64_t tokens : options_.tokens) measure(tokens);
    fmt::print(
        "{}; {} layers, {} heads, {} kv heads, head_dim {}; bf16; medians of {}\n"
        "bound: all weights but the embedding, and the cache, once, at the copy's {:.0f} GB/s\n{}",
        backend_->name(), model_.num_layers, model_.num_heads, model_.num_kv_heads, model_.head_dim,
        options_.repeats, gb_per_s_, table_.to_string());
    report_["cudnn"] = peer_.describe();
    write_report(options_.json, report_);
  }

 private:
  void measure(int64_t tokens) {
    DecodeAttention attention(*backend_, *queue_, model_, cache_, tokens);
    std::vector<cuda::GpuTimer::Enqueue> enqueues = {[&] { attention.run(); }};
    std::optional<CudnnContender> cudnn;
    std::string note = peer_.missing;
    if (peer_.cudnn != nullptr) {
      try {
        cudnn.emplace(*peer_.cudnn, *backend_, *queue_, attention.args(0));
        enqueues.emplace_back([&] {
          for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
            cudnn->take(attention.args(layer));
            cudnn->run();
          }
        });
      } catch (const Error& error) {
        note = error.what();
      }
    }
    const std::vector<cuda::Timing> timings = timer_.measure_in_turn(enqueues);
    backend_->synchronize(*queue_);
    if (cudnn) {
      const double difference =
          relative_difference(*backend_, *queue_, attention.args(0).output, cudnn->output());
      note = fmt::format("cuDNN {}; our output differs by {:.1e}", peer_.cudnn->version(), difference);
    }
    const double attention_ms = timings.front().median_ms;
    const double token_ms = measure_token(tokens);
    const double attention_rate = 1e-6 * attention.bytes() / attention_ms;
    const double bound_ms = 1e-6 * (weight_bytes() + attention.bytes()) / gb_per_s_;
    table_.add_row({std::to_string(tokens), fmt::format("{:.3f}", attention_ms),
                    fmt::format("{:.0f}", attention_rate), fmt::format("{:.2f}", attention_rate / gb_per_s_),
                    cudnn ? fmt::format("{:.3f}", timings[1].median_ms) : "-",
                    cudnn ? fmt::format("{:.3f}", attention_ms / timings[1].median_ms) : "-",
                    fmt::format("{:.3f}", token_ms), fmt::format("{:.1f}", 1e3 / token_ms),
                    fmt::format("{:.3f}", bound_ms), fmt::format("{:.2f}", bound_ms / token_ms), note});
    Json row = {
        {"tokens", tokens},     {"attention_ms", attention_ms}, {"attention_gb_per_s", attention_rate},
        {"token_ms", token_ms}, {"bound_ms", bound_ms},         {"note", note}};
    if (cudnn) row["cudnn_attention_ms"] = timings[1].median_ms;
    report_["rows"].push_back(std::move(row));
  }

  /// From the token to the logits on the host.
  double measure_token(int64_t tokens) {
    std::vector<double> ms;
    for (int i = 0; i < options_.repeats + 2; ++i) {
      cache_.set_length(tokens - 1);
      const auto start = std::chrono::steady_clock::now();
      pass_.decode(i, cache_);
      pass_.last_logits();
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
      if (i >= 2) ms.push_back(took.count());
    }
    return median(ms);
  }

  /// That a token reads: of an embedding that is not the head as well, one row.
  double weight_bytes() const {
    const int64_t embedding =
        weights_.embedding().numel() * static_cast<int64_t>(size_of(weights_.embedding().dtype()));
    return static_cast<double>(weights_.bytes() - (model_.tie_word_embeddings ? 0 : embedding));
  }

  const BenchDecodeOptions& options_;
  const ModelConfig model_;
  const int64_t max_tokens_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  cuda::GpuTimer timer_;
  FrozenWeights weights_;
  ForwardPass pass_;
  KvCache cache_;
  CudnnPeer peer_;
  double gb_per_s_ = 0;
  TextTable table_{{"tokens", "attention ms", "GB/s", "of copy", "cuDNN ms", "x cuDNN", "token ms",
                    "tokens/s", "bound ms", "of it", ""}};
  Json report_;
};

}  // namespace

int bench_decode_command(const BenchDecodeOptions& options) {
  require_gpu("decode");
  DecodeBench(options).run();
  return 0;
}

}  // namespace seer
