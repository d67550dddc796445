#include <algorithm>
#include <filesystem>
#include <optional>
#include <tuple>

#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/commands.h"
#include "trainer/memory_plan.h"
#include "trainer/plan_backend.h"
#include "trainer/progress.h"
#include "trainer/runtime.h"
#include "trainer/speed_probe.h"
#include "trainer/table.h"

namespace seer {
namespace {

std::string megabytes(size_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::string giga(double count) {
  return fmt::format("{:.3f}", count / 1e9);
}

/// Seconds an operation takes if it is bound by arithmetic or by memory, whichever is slower.
double seconds_of(const std::string& kind, const OpWork& work, const MachineSpeed& speed) {
  return std::max(work.flops / (kind == "attention" ? speed.attention_flops : speed.flops),
                  work.bytes / speed.bandwidth);
}

/// The model's weights, if they lie beside its config.json already.
std::optional<ModelFiles> find_weights(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "model.safetensors") &&
      !std::filesystem::exists(folder / "model.safetensors.index.json")) {
    return std::nullopt;
  }
  return ModelFiles(folder);
}

}  // namespace

int plan_command(const PlanOptions& options) {
  const RunConfig config = load_run_config(options.config, options.overrides);
  const ModelConfig model = load_model_config(config.model.path, config.model.rope_scaling);
  const auto real = make_backend(config);
  const std::optional<ModelFiles> files = find_weights(config.model.path);
  const size_t budget =
      options.memory_gb > 0 ? static_cast<size_t>(options.memory_gb * 1e9) : memory_budget(*real, config);
  const MemoryPlan layout = plan_memory(*real, config, model, files ? &*files : nullptr, budget);

  size_t total = 0;
  TextTable memory({"memory", "size"});
  for (const MemoryItem& item : layout.items) {
    memory.add_row({item.what, megabytes(item.bytes)});
    total += item.bytes;
  }
  memory.add_rule();
  memory.add_row({"total", megabytes(total)});
  fmt::print("{} on {}\n\n{}\n", config.model.path, real->name(), memory.to_string());
  if (!files) fmt::print("(no weights in {} yet: planned as bf16)\n\n", config.model.path);
  if (!layout.fits()) fmt::print("{}\n\n", layout.refusal(real->name()));

  PlanBackend plan(*real);
  FrozenWeights weights = FrozenWeights::shapes(model, plan, files ? &*files : nullptr, layout.weights);
  SessionOptions session_setup = session_options(config);
  session_setup.residuals = layout.residuals;
  Session session(plan, model, weights, session_setup);
  MachineSpeed speed{options.gflops * 1e9, options.gflops * 1e9, options.bandwidth * 1e9};
  if (options.gflops <= 0 || options.bandwidth <= 0) {
    const MachineSpeed measured = probe_speed(*real, model.head_dim);
    if (options.gflops <= 0)
      std::tie(speed.flops, speed.attention_flops) = std::tie(measured.flops, measured.attention_flops);
    if (options.bandwidth <= 0) speed.bandwidth = measured.bandwidth;
  }
  plan.reset_work();
  session.count_step(plan, config.data.sequence_length);
  TextTable work({"operation", "calls", "GFLOP", "GB", "seconds"});
  double seconds = 0;
  for (const auto& [kind, w] : plan.work()) {
    const double s = seconds_of(kind, w, speed);
    seconds += s;
    work.add_row({kind, std::to_string(w.calls), giga(w.flops), giga(w.bytes), fmt::format("{:.3f}", s)});
  }
  work.add_rule();
  work.add_row({"step", "", "", "", fmt::format("{:.3f}", seconds)});
  const auto tokens = static_cast<double>(config.train.batch_size * config.data.sequence_length);
  fmt::print(
      "one optimiser step; products at {:.1f} GFLOP/s, attention at {:.1f}, memory at {:.1f} GB/s\n{}\n",
      speed.flops / 1e9, speed.attention_flops / 1e9, speed.bandwidth / 1e9, work.to_string());
  fmt::print("about {:.0f} tokens/s; {} steps take about {}\n", tokens / seconds, config.train.steps,
             format_duration(seconds * static_cast<double>(config.train.steps)));
  return 0;
}

}  // namespace seer
