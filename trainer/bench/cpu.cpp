// `seer-train bench cpu` and `bench tokenizer`: medians of repeated runs on random data, beside a peer measured in the
// same run.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>

#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include "data/tokenizer.h"
#include "src/core/error.h"
#include "src/core/rng.h"
#include "src/core/thread_pool.h"
#include "src/cpu/cpu_backend.h"
#include "src/io/atomic_file.h"
#include "src/model/frozen_layer.h"
#include "src/model/rope.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/eigen_peer.h"
#include "trainer/bench/report.h"
#include "trainer/plan_backend.h"
#include "trainer/session.h"
#include "trainer/table.h"

namespace seer {
namespace {

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

constexpr const char* kSeerNano = R"({"model_type": "llama", "hidden_size": 128, "intermediate_size": 352,
  "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 4096,
  "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 4096, "tie_word_embeddings": true})";
constexpr const char* kSeerSmall = R"({"model_type": "llama", "hidden_size": 512, "intermediate_size": 1408,
  "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 4096,
  "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 16384, "tie_word_embeddings": true})";

void fill_normal(const Tensor& x, Rng rng, double scale) {
  auto* values = x.data<float>();
  for (int64_t i = 0; i < x.numel(); ++i) values[i] = static_cast<float>(rng.normal() * scale);
}

struct Work {
  double flops = 0;
  double seconds = 0;
};

/// Every layer's projections, attention and MLP on `tokens` tokens; FLOPs are those of the products.
Work time_forward(Backend& backend, const ModelConfig& c, int64_t tokens, int repeats) {
  const auto queue = backend.make_queue("bench");
  const FrozenWeights weights = FrozenWeights::random(backend, *queue, c, 7);
  const RopeTables rope(backend, *queue, rope_frequencies(c.rope, c.head_dim), tokens);
  const BatchLayout layout = BatchLayout::packed(std::vector<int64_t>{0, tokens});
  const Buffer residual = backend.allocate(tokens * c.hidden_size * sizeof(float), Memory::kDevice);
  const Tensor x = residual.tensor(DType::kF32, Shape{tokens, c.hidden_size});
  const auto forward = [&](Backend& on, Queue& q, Arena& arena) {
    LayerContext context{on, q, arena};
    for (int64_t i = 0; i < c.num_layers; ++i) {
      const Qkv qkv = project_qkv(context, c, weights.layer(i), x, true);
      const Tensor o = distill_layer(
          context,
          {.q_pre = qkv.q_pre, .k_pre = qkv.k_pre, .v = qkv.v, .batch = &layout, .tokens = rope.table()}, {});
      finish_layer(context, c, weights.layer(i), o.reshape(Shape{tokens, c.num_heads * c.head_dim}), x);
      arena.reset();
    }
  };
  PlanBackend plan(backend);
  Arena measuring = Arena::measuring();
  forward(plan, *plan.make_queue("plan"), measuring);
  Work work;
  for (const auto& [kind, w] : plan.work()) {
    if (kind == "linear" || kind == "attention") work.flops += w.flops;
  }
  Arena arena(backend.allocate(measuring.peak(), Memory::kDevice));
  std::vector<double> times;
  for (int run = 0; run < repeats + 1; ++run) {
    fill_normal(x, Rng(run), 1.0);
    const double seconds = seconds_of([&] {
      forward(backend, *queue, arena);
      backend.synchronize(*queue);
    });
    if (run > 0) times.push_back(seconds);
  }
  work.seconds = median(times);
  return work;
}

/// Attention of all heads with output and pooled ground truth at block 64.
Work time_attention(Backend& backend, const ModelConfig& c, int64_t tokens, int repeats) {
  const auto queue = backend.make_queue("bench");
  const BatchLayout layout = BatchLayout::packed(std::vector<int64_t>{0, tokens});
  const ScoreLayout blocks = ScoreLayout::prefill(layout, 64);
  std::vector<Buffer> buffers;
  const auto make = [&](const Shape& shape) {
    buffers.push_back(backend.allocate(shape.numel() * sizeof(float), Memory::kDevice));
    return buffers.back().tensor(DType::kF32, shape);
  };
  AttentionArgs args{.q = make(Shape{tokens, c.num_heads, c.head_dim}),
                     .k = make(Shape{tokens, c.num_kv_heads, c.head_dim}),
                     .v = make(Shape{tokens, c.num_kv_heads, c.head_dim}),
                     .layout = &layout,
                     .head_begin = 0,
                     .head_count = c.num_heads,
                     .scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim)),
                     .output = make(Shape{tokens, c.num_heads, c.head_dim}),
                     .block_log_max = make(Shape{c.num_heads, blocks.elements}),
                     .blocks = &blocks};
  for (size_t i = 0; i < 3; ++i) {
    const Shape flat{static_cast<int64_t>(buffers[i].bytes() / sizeof(float))};
    fill_normal(buffers[i].tensor(DType::kF32, flat), Rng(i), 1.0);
  }
  const Tensor target = make(Shape{c.num_heads, blocks.elements});
  const Buffer workspace = backend.allocate(backend.attention_workspace(args), Memory::kDevice);
  args.workspace = workspace.tensor(DType::kU8, Shape{static_cast<int64_t>(workspace.bytes())});
  std::vector<double> times;
  for (int run = 0; run < repeats + 1; ++run) {
    const double seconds = seconds_of([&] {
      backend.attention(*queue, args);
      backend.normalise_target(*queue, args.block_log_max, blocks, blocks, c.num_heads, target);
      backend.synchronize(*queue);
    });
    if (run > 0) times.push_back(seconds);
  }
  return {attention_flops(args), median(times)};
}

struct StepMemory {
  size_t planned = 0;
  size_t measured = 0;
};

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0;
  size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
}

size_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

/// Memory of a training step of seer-nano's shape beyond its weights: as the session plans it, and by how much the
/// process grew. Must come before anything larger has run in the process.
StepMemory nano_step_memory(Backend& backend, int64_t tokens) {
  const ModelConfig nano = parse_model_config(kSeerNano, "seer-nano's shape");
  const auto queue = backend.make_queue("bench");
  FrozenWeights weights = FrozenWeights::random(backend, *queue, nano, 7);
  const size_t before = resident_bytes();
  Session session(backend, nano, weights,
                  {.gates = {GateEntryConfig()}, .total_steps = 2, .max_tokens = tokens});
  for (GateTraining& gate : session.gates()) gate.params().init_normal(backend, session.queue(), 7, 0.02);
  TokenSequence sequence{.ids = std::vector<int32_t>(tokens), .cu_seqlens = {0, tokens}};
  Rng rng(7);
  for (int32_t& id : sequence.ids) id = static_cast<int32_t>(rng.below(nano.vocab_size));
  for (int64_t step = 0; step < 2; ++step) session.train_step(step, std::span(&sequence, 1));
  StepMemory memory;
  for (const MemoryItem& item : session.memory()) memory.planned += item.bytes;
  memory.planned -= static_cast<size_t>(weights.bytes());
  memory.measured = peak_resident_bytes() - before;
  return memory;
}

}  // namespace

int bench_cpu_command(const BenchOptions& options) {
  const ModelConfig model = options.model.empty() ? parse_model_config(kSeerSmall, "seer-small's shape")
                                                  : load_model_config(options.model);
  const auto backend = make_cpu_backend({.threads = options.threads});
  const int threads = options.threads > 0 ? options.threads : ThreadPool::hardware_threads();
  constexpr int64_t kForwardTokens = 4096;
  constexpr int64_t kAttentionTokens = 8192;
  constexpr int64_t kMemoryTokens = 16384;

  const StepMemory memory = nano_step_memory(*backend, kMemoryTokens);

  // The peer before, between and after: a shared machine's speed drifts.
  const EigenShape largest{kForwardTokens, 2 * model.intermediate_size, model.hidden_size};
  std::vector<double> peaks;
  const auto measure_peak = [&] { peaks.push_back(eigen_sgemm_flops(largest, threads, options.repeats)); };
  measure_peak();
  const Work forward = time_forward(*backend, model, kForwardTokens, options.repeats);
  measure_peak();
  const Work attention = time_attention(*backend, model, kAttentionTokens, options.repeats);
  measure_peak();
  const double peak = *std::max_element(peaks.begin(), peaks.end());

  TextTable table({"measured", "GFLOP/s", "ms", "of peak", "asked"});
  table.add_row({fmt::format("Eigen sgemm {}x{}x{} (peak)", largest.rows, largest.columns, largest.inner),
                 fmt::format("{:.1f}", peak / 1e9), "", "1.00", ""});
  const auto row = [&](const std::string& what, const Work& work, const char* asked) {
    table.add_row({what, fmt::format("{:.1f}", work.flops / work.seconds / 1e9),
                   fmt::format("{:.1f}", work.seconds * 1e3),
                   fmt::format("{:.2f}", work.flops / work.seconds / peak), asked});
  };
  row(fmt::format("frozen forward, {} tokens, {} layers", kForwardTokens, model.num_layers), forward,
      ">= 0.50");
  row(fmt::format("attention with pooled target, {} tokens, 1 layer", kAttentionTokens), attention,
      ">= 0.35");
  fmt::print("{} threads; medians of {}; bf16 weights, fp32 activations\n{}", threads, options.repeats,
             table.to_string());
  fmt::print(
      "memory of a seer-nano step at {} tokens beyond weights: {:.1f} MB measured, {:.1f} MB planned (asked: "
      "<= 160)\n",
      kMemoryTokens, static_cast<double>(memory.measured) / 1e6, static_cast<double>(memory.planned) / 1e6);
  return 0;
}

int bench_tokenizer_command(const std::string& path, const std::string& text_file, int repeats) {
  const auto start = std::chrono::steady_clock::now();
  const Tokenizer tokenizer(path);
  const double load = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::vector<std::string> documents;
  std::string text = read_text_file(text_file, size_t{4} << 30);
  if (text_file.ends_with(".jsonl")) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const auto line = nlohmann::json::parse(text.substr(begin, end - begin), nullptr, false);
      if (line.is_object() && line.contains("text")) documents.push_back(line["text"].get<std::string>());
      begin = end + 1;
    }
  } else {
    documents.push_back(std::move(text));
  }
  size_t bytes = 0;
  for (const std::string& document : documents) bytes += document.size();
  if (bytes == 0) fail("{} holds no text", text_file);
  size_t tokens = 0;
  std::vector<double> times;
  for (int run = 0; run < repeats + 1; ++run) {
    tokens = 0;
    const double seconds = seconds_of([&] {
      for (const std::string& document : documents) tokens += tokenizer.encode(document).size();
    });
    if (run > 0) times.push_back(seconds);
  }
  fmt::print("{}: loaded in {:.2f} s; {} tokens from {:.2f} MB; {:.2f} MB/s on one thread (median of {})\n",
             path, load, tokens, static_cast<double>(bytes) / 1e6,
             static_cast<double>(bytes) / 1e6 / median(times), repeats);
  return 0;
}

}  // namespace seer
