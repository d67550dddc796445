#include "trainer/memory_plan.h"

#include <algorithm>

#include "trainer/plan_backend.h"
#include "trainer/runtime.h"

namespace seer {
namespace {

std::string gigabytes(size_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

MemoryPlan plan_layout(const Backend& backend, const RunConfig& config, const ModelConfig& model,
                       const ModelFiles* files, bool stream, ResidualPlace residuals) {
  MemoryPlan out{.weights = {.stream = stream, .head = false}, .residuals = residuals, .items = {}};
  PlanBackend plan(backend);
  FrozenWeights weights = FrozenWeights::shapes(model, plan, files, out.weights);
  SessionOptions options = session_options(config);
  options.residuals = residuals;
  const Session session(plan, model, weights, options);
  out.items = session.memory();
  for (const MemoryItem& item : out.items) out.needed += item.bytes;
  if (backend.reads_host_memory()) out.needed -= static_cast<size_t>(weights.bytes());
  return out;
}

}  // namespace

std::string MemoryPlan::refusal(const std::string& device) const {
  std::string advice = "lower data.sequence_length";
  if (!weights.stream) advice += ", set model.weights to \"stream\" on a GPU";
  if (residuals == ResidualPlace::kDevice) {
    advice +=
        ", lower train.batch_size (one residual stream each) or set train.residuals to \"host\" on a GPU";
  }
  return fmt::format("does not fit: {} are needed on {}, {} are available, {} too few: {}", gigabytes(needed),
                     device, gigabytes(budget), gigabytes(needed - budget), advice);
}

MemoryPlan plan_memory(const Backend& backend, const RunConfig& config, const ModelConfig& model,
                       const ModelFiles* files, size_t budget) {
  // Weights that are read where their files are mapped give way to other memory: there is nothing to stream.
  const bool may_stream = !backend.reads_host_memory();
  MemoryPlan last;
  for (const bool stream : {false, true}) {
    if (stream ? config.model.weights == "resident" || !may_stream : config.model.weights == "stream")
      continue;
    for (const ResidualPlace place : {ResidualPlace::kDevice, ResidualPlace::kHost}) {
      const bool host = place == ResidualPlace::kHost;
      if (host ? config.train.residuals == "device" || !may_stream : config.train.residuals == "host")
        continue;
      last = plan_layout(backend, config, model, files, stream, place);
      last.budget = budget;
      if (last.fits()) return last;
    }
  }
  return last;
}

size_t memory_budget(const Backend& backend, const RunConfig& config) {
  return config.memory_gb > 0 ? static_cast<size_t>(config.memory_gb * 1e9) : backend.available_bytes();
}

}  // namespace seer
