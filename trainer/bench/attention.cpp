// `seer-train bench attention`: our kernel and cuDNN's on the same tensors, in turn, so that both see the same clocks.
#include <algorithm>
#include <functional>
#include <optional>

#include "cuda/bench/timing.h"
#include "cuda/check.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_queue.h"
#include "src/core/error.h"
#include "trainer/bench/attention_problem.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/cudnn_peer.h"
#include "trainer/bench/relative_difference.h"
#include "trainer/bench/report.h"
#include "trainer/bench/require_gpu.h"
#include "trainer/plan_backend.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPeerName = "cuDNN";

/// One way to compute attention, and how it did.
struct Contender {
  std::string name;
  double flops = 0;
  size_t scratch = 0;
  std::function<void()> enqueue;
  cuda::Timing timing;

  double tflops() const { return 1e-9 * flops / timing.median_ms; }
};

class AttentionBench {
 public:
  explicit AttentionBench(const BenchAttentionOptions& options)
      : options_(options),
        backend_(make_cuda_backend({.portable_attention = options.portable})),
        queue_(backend_->make_queue("bench")),
        timer_(static_cast<cuda::CudaQueue&>(*queue_).stream(), {.repeats = options.repeats, .warmups = 2}),
        report_(begin_attention_report("attention", backend_->name(), options)) {
    report_["cudnn"] = peer_.describe();
    report_["rows"] = Json::array();
  }

  void run() {
    for (const int64_t tokens : options_.tokens) measure(tokens);
    fmt::print("{}\n{}", attention_heading(backend_->name(), options_), table_.to_string());
    if (peer_.cudnn != nullptr) fmt::print("cuDNN: {}\n", peer_.cudnn->library_path());
    write_report(options_.json, report_);
  }

 private:
  /// All contenders on one sequence.
  void measure(int64_t tokens) {
    AttentionProblem problem(*backend_, *queue_,
                             {.tokens = tokens,
                              .num_heads = options_.num_heads,
                              .num_kv_heads = options_.num_kv_heads,
                              .head_dim = options_.head_dim,
                              .block_size = options_.block_size});
    std::vector<Contender> contenders;
    const auto ours = [&](const char* name, const AttentionArgs& args, bool normalise) {
      contenders.push_back({.name = name,
                            .flops = attention_flops(args),
                            .scratch = backend_->attention_workspace(args),
                            .enqueue = [this, args, normalise, &problem] {
                              backend_->attention(*queue_, args);
                              if (normalise) problem.normalise();
                            }});
    };
    ours("attention + T", problem.with_maxima(), true);
    ours("attention + block maxima", problem.with_maxima(), false);
    ours("attention alone", problem.dense(), false);
    ours("block maxima alone", problem.maxima_alone(), false);

    std::optional<CudnnContender> cudnn;
    std::string missing = peer_.missing;
    if (peer_.cudnn != nullptr) {
      try {
        cudnn.emplace(*peer_.cudnn, *backend_, *queue_, problem.with_maxima());
        contenders.push_back({.name = kPeerName,
                              .flops = contenders.front().flops,
                              .scratch = cudnn->scratch_bytes(),
                              .enqueue = [&cudnn] { cudnn->run(); }});
      } catch (const Error& error) {
        missing = error.what();
      }
    }

    std::vector<cuda::GpuTimer::Enqueue> works;
    works.reserve(contenders.size());
    for (const Contender& contender : contenders) works.push_back(contender.enqueue);
    const std::vector<cuda::Timing> timings = timer_.measure_in_turn(works);
    backend_->synchronize(*queue_);
    for (size_t i = 0; i < contenders.size(); ++i) contenders[i].timing = timings[i];

    std::string note;
    if (cudnn) {
      backend_->attention(*queue_, problem.with_maxima());  // the last to write the output was another
      const double difference =
          relative_difference(*backend_, *queue_, problem.with_maxima().output, cudnn->output());
      note = fmt::format("{}; our output differs by {:.1e}", peer_.cudnn->version(), difference);
    }
    if (tokens != options_.tokens.front()) table_.add_rule();
    const double peer_ms = cudnn ? timings.back().median_ms : 0;
    for (const Contender& contender : contenders) {
      add_line(tokens, contender, peer_ms, contender.name == kPeerName ? note : "");
    }
    if (!cudnn) {
      table_.add_row({std::to_string(tokens), kPeerName, "-", "-", "-", "-", "-", missing});
      report_["rows"].push_back({{"tokens", tokens}, {"what", kPeerName}, {"missing", missing}});
    }
  }

  void add_line(int64_t tokens, const Contender& contender, double peer_ms, const std::string& note) {
    const double ratio = peer_ms > 0 ? contender.timing.median_ms / peer_ms : 0;
    table_.add_row({std::to_string(tokens), contender.name, fmt::format("{:.3f}", contender.timing.median_ms),
                    fmt::format("{:.3f}", contender.timing.spread_ms),
                    fmt::format("{:.0f}", contender.tflops()),
                    peer_ms > 0 ? fmt::format("{:.3f}", ratio) : "-",
                    fmt::format("{:.1f}", static_cast<double>(contender.scratch) / 1e6), note});
    Json row = {{"tokens", tokens},
                {"what", contender.name},
                {"ms", contender.timing.median_ms},
                {"spread_ms", contender.timing.spread_ms},
                {"tflops", contender.tflops()},
                {"scratch_bytes", contender.scratch}};
    if (peer_ms > 0) row["ratio_to_cudnn"] = ratio;
    if (!note.empty()) row["note"] = note;
    report_["rows"].push_back(std::move(row));
  }

  const BenchAttentionOptions& options_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  cuda::GpuTimer timer_;
  CudnnPeer peer_;
  TextTable table_{{"tokens", "kernel", "ms", "spread", "TFLOP/s", "x cuDNN", "scratch MB", ""}};
  Json report_;
};

}  // namespace

int bench_attention_command(const BenchAttentionOptions& options) {
  check_heads(options);
  require_gpu("attention");
  AttentionBench(options).run();
  return 0;
}

}  // namespace seer
