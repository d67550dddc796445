#include <algorithm>
#include <filesystem>
#include <optional>
#include <tuple>

#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/absent_gpu.h"
#include "trainer/commands.h"
#include "trainer/memory_plan.h"
#include "trainer/plan_backend.h"
#include "trainer/progress.h"
#include "trainer/run_ranks.h"
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

/// What is planned for: the device of the config, or the GPU named on the command line.
std::unique_ptr<Backend> planned_device(const PlanOptions& options, const RunConfig& config) {
  if (!options.gpu.empty()) {
    const GpuSheet& sheet = find_gpu(options.gpu);
    if (config.device != "cuda") {
      fail_usage("--gpu {}: the config's device is \"{}\": add --set device=cuda", options.gpu,
                 config.device);
    }
    return make_absent_gpu(sheet, config);
  }
  try {
    return make_backend(config);
  } catch (const Error& error) {
    if (config.device != "cuda") throw;
    throw Error(fmt::format("{}, or plan for a GPU that is not here: --gpu with one of {}", error.what(),
                            known_gpu_names()),
                error.kind());
  }
}

MachineSpeed speed_of(const PlanOptions& options, Backend& device, const ModelConfig& model) {
  const double products = options.gflops * 1e9;
  MachineSpeed speed{products, products, options.bandwidth * 1e9};
  if (products > 0 && speed.bandwidth > 0) return speed;
  if (options.gpu.empty())
    log::info("measuring this machine's speed; --gflops and --bandwidth plan for another");
  const MachineSpeed known =
      options.gpu.empty() ? probe_speed(device, model.head_dim) : expected_speed(find_gpu(options.gpu));
  if (products <= 0)
    std::tie(speed.flops, speed.attention_flops) = std::tie(known.flops, known.attention_flops);
  if (speed.bandwidth <= 0) speed.bandwidth = known.bandwidth;
  return speed;
}

}  // namespace

int plan_command(const PlanOptions& options) {
  const RunConfig config = load_run_config(options.config, options.overrides);
  const ModelConfig model = load_model_config(config.model.path, config.model.rope_scaling);
  const auto real = planned_device(options, config);
  const std::optional<ModelFiles> files = find_weights(config.model.path);
  const size_t budget =
      options.memory_gb > 0 ? static_cast<size_t>(options.memory_gb * 1e9) : memory_budget(*real, config);
  // The host of a GPU that is elsewhere is not known either.
  const size_t pinned_budget = options.gpu.empty() ? available_host_bytes() : SIZE_MAX;
  const RankPlace place = place_of(config, 0, options.ranks);
  const MemoryPlan layout =
      plan_memory(*real, config, model, files ? &*files : nullptr, budget, pinned_budget, place);

  size_t total = 0;
  TextTable memory({"memory", "size"});
  for (const MemoryItem& item : layout.items) {
    memory.add_row({item.what, megabytes(item.bytes)});
    total += item.bytes;
  }
  memory.add_rule();
  memory.add_row({"total", megabytes(total)});
  if (layout.pinned > 0) memory.add_row({"host memory, pinned", megabytes(layout.pinned)});
  const std::string who = place.alone() ? "" : fmt::format(", each of {} ranks", place.size);
  fmt::print("{} on {}{}\n\n{}\n", config.model.path, real->name(), who, memory.to_string());
  if (!place.alone()) {
    fmt::print(
        "(each rank; tokens/s of all of them, were nothing ever waited for. Communicators' buffers come on "
        "top)\n\n");
  }
  if (!files) fmt::print("(no weights in {} yet: planned as bf16)\n\n", config.model.path);
  if (!layout.fits()) fmt::print("{}\n\n", layout.refusal(real->name()));

  PlanBackend plan(*real);
  const RankGroups ranks = RankGroups::planned(plan, place);
  WeightOptions of_rank = layout.weights;
  of_rank.shard = ranks.shard.get();
  FrozenWeights weights = FrozenWeights::shapes(model, plan, files ? &*files : nullptr, of_rank);
  SessionOptions session_setup = session_options(config);
  session_setup.residuals = layout.residuals;
  Session session(plan, model, weights, session_setup, &ranks);
  const MachineSpeed speed = speed_of(options, *real, model);
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
  return layout.fits() ? 0 : 1;
}

}  // namespace seer
