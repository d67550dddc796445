// `seer-train bench comm`: what crosses ranks in a layer, alone: bytes, time, and the bandwidth of each GPU's links.
#include <algorithm>
#include <chrono>

#include "src/gate/gate_params.h"
#include "src/model/weights.h"
#include "trainer/bench/commands.h"
#include "trainer/bench/report.h"
#include "trainer/gate_training.h"
#include "trainer/run_ranks.h"
#include "trainer/runtime.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

/// An exchange of a layer.
struct Exchange {
  std::string what;
  const char* operation;
  int64_t bytes;  ///< Of the whole tensor, on every rank after it
};

class CommBench {
 public:
  explicit CommBench(const BenchCommOptions& options)
      : options_(options),
        config_(make_config(options)),
        ranks_(config_),
        model_(bench_model(options.model_config)) {
    if (ranks_.alone())
      fail_usage(
          "bench comm measures several ranks: start it with --gpus 0,1, with --ranks N --device cpu, or "
          "under a launcher");
    backend_ = make_backend(config_, ranks_.info().local_size);
    ranks_.connect(*backend_);
  }

  void run() {
    const int size = ranks_.info().size;
    TextTable table({"exchange", "operation", "MB", "ms", "GB/s"});
    Json report = begin_report("comm", backend_->name());
    report["ranks"] = size;
    report["tokens"] = options_.tokens;
    report["exchanges"] = Json::array();
    for (const Exchange& exchange : exchanges()) {
      const double ms = measure(exchange);
      // Of every rank's part, all but its own arrives.
      const double received = static_cast<double>(exchange.bytes) * (size - 1) / size;
      table.add_row({exchange.what, exchange.operation, fmt::format("{:.1f}", 1e-6 * exchange.bytes),
                     fmt::format("{:.3f}", ms), fmt::format("{:.1f}", 1e-6 * received / ms)});
      report["exchanges"].push_back({{"what", exchange.what},
                                     {"operation", exchange.operation},
                                     {"bytes", exchange.bytes},
                                     {"ms", ms},
                                     {"gb_per_second", 1e-6 * received / ms}});
    }
    if (ranks_.is_head()) {
      fmt::print("{} ranks on {} machine(s), {} over {}; {} tokens; medians of {}, the slowest rank\n", size,
                 ranks_.info().nodes, backend_->name(), ranks_.groups().world->name(), options_.tokens,
                 options_.repeats);
      fmt::print("{}GB/s: received by a rank, which sends as much\n", table.to_string());
      write_report(options_.json, report);
    }
    ranks_.leave();
  }

 private:
  static RunConfig make_config(const BenchCommOptions& options) {
    RunConfig config;
    config.device = options.device;
    config.output.dir = options.rendezvous_folder;
    config.train.batch_size = 0;
    return config;
  }

  /// Of one layer; a gate of the published shape.
  std::vector<Exchange> exchanges() const {
    const auto act = static_cast<int64_t>(size_of(backend_->activation_dtype()));
    const auto weight = static_cast<int64_t>(size_of(backend_->weight_dtype(DType::kBF16)));
    const ModelConfig& m = model_;
    const int64_t q = m.num_heads * m.head_dim;
    const int64_t kv = m.num_kv_heads * m.head_dim;
    const int64_t matrices = m.hidden_size * (2 * q + 2 * kv + 3 * m.intermediate_size);
    const PrefillGateConfig gate =
        prefill_gate_config({.name = "gate", .type = "Qavg_Kmaxminavg", .block_size = 64}, m);
    const int64_t gradients = GateParams::layer_size(gate) * static_cast<int64_t>(sizeof(float));
    const int64_t pooled =
        options_.tokens / 64 * kv * gate.type.k.count() * static_cast<int64_t>(sizeof(float));
    return {{"a gate's gradients, slices", "all_to_all", gradients},
            {"a gate's gradients, sums", "all_gather", gradients},
            {"pooled keys", "all_gather", pooled},
            {"k, of a shared sequence", "all_gather", options_.tokens * kv * act},
            {"v, of a shared sequence", "all_gather", options_.tokens * kv * act},
            {"a layer's weights", "all_gather", matrices * weight}};
  }

  double measure(const Exchange& exchange) {
    const int64_t size = ranks_.info().size;
    const int64_t part = (exchange.bytes + size - 1) / size;
    const Buffer from = backend_->allocate(part * size, Memory::kDevice);
    const Buffer to = backend_->allocate(part * size, Memory::kDevice);
    const Tensor all = to.tensor(DType::kU8, Shape{size, part});
    const Tensor source = from.tensor(DType::kU8, Shape{size, part});
    Queue& queue = *ranks_.groups().exchange;
    const auto once = [&] {
      if (std::string_view(exchange.operation) == "all_to_all") {
        ranks_.groups().world->all_to_all(queue, source, all);
      } else {
        ranks_.groups().world->all_gather(queue, source.slice_rows(0, 1), all);
      }
    };
    once();
    backend_->synchronize(queue);
    std::vector<double> ms;
    for (int i = 0; i < options_.repeats; ++i) {
      constexpr int kInARow = 5;  // so that waiting for each other and for the host does not count
      const auto start = std::chrono::steady_clock::now();
      for (int k = 0; k < kInARow; ++k) once();
      backend_->synchronize(queue);
      ms.push_back(1e3 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
                   kInARow);
    }
    double slowest = 0;
    for (const std::string& said : ranks_.exchange(fmt::format("{}", median(ms)))) {
      slowest = std::max(slowest, std::stod(said));
    }
    return slowest;
  }

  const BenchCommOptions& options_;
  const RunConfig config_;
  RunRanks ranks_;
  ModelConfig model_;
  std::unique_ptr<Backend> backend_;
};

}  // namespace

int bench_comm_command(const BenchCommOptions& options) {
  CommBench(options).run();
  return 0;
}

}  // namespace seer
