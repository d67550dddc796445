#include "trainer/memory_plan.h"

#include <algorithm>
#include <cstdint>
#include <fstream>

#include "trainer/plan_backend.h"
#include "trainer/runtime.h"

namespace seer {
namespace {

/// What a device with memory of its own holds besides our buffers: kernels as they are loaded, the libraries' own
/// scratch, and what is lost to rounding.
constexpr size_t kReserve = size_t{512} << 20;

std::string gigabytes(size_t bytes) {
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

MemoryPlan plan_layout(const Backend& backend, const RunConfig& config, const ModelConfig& model,
                       const ModelFiles* files, bool stream, ResidualPlace residuals,
                       const RankPlace& place) {
  MemoryPlan out{
      .weights = {.stream = stream, .head = false}, .residuals = residuals, .place = place, .items = {}};
  out.own_memory = !backend.reads_host_memory();
  const bool by_eval = max_sequence_length(config) > config.data.sequence_length;
  out.length_key = by_eval ? "eval.sequence_length" : "data.sequence_length";
  PlanBackend plan(backend);
  const RankGroups ranks = RankGroups::planned(plan, place);
  WeightOptions of_rank = out.weights;
  of_rank.shard = ranks.shard.get();
  FrozenWeights weights = FrozenWeights::shapes(model, plan, files, of_rank);
  SessionOptions options = session_options(config);
  options.residuals = residuals;
  const Session session(plan, model, weights, options, &ranks);
  out.items = session.memory();
  for (const MemoryItem& item : out.items) out.needed += item.bytes;
  if (!out.own_memory) {  // a rank's slices of sharded weights are copies
    if (place.shard == 1) out.needed -= static_cast<size_t>(weights.bytes());
  } else {
    out.pinned = plan.pinned_bytes();
    out.items.push_back({"reserve for kernels and libraries", kReserve});
    out.needed += kReserve;
  }
  return out;
}

}  // namespace

size_t available_host_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(line.find(':') + 1)) * 1024;
  }
  return SIZE_MAX;  // a system that does not say is not held back
}

std::string MemoryPlan::refusal(const std::string& device) const {
  if (needed <= budget) {
    return fmt::format(
        "does not fit: {} of pinned host memory are needed, {} are available: lower train.batch_size (one "
        "residual stream each) or {}",
        gigabytes(pinned), gigabytes(pinned_budget), length_key);
  }
  std::string advice = "lower " + length_key;
  if (place.size > place.shard) advice += fmt::format(", set parallel.shard_weights to {}", place.size);
  if (place.size > place.context) advice += ", raise parallel.context";
  if (own_memory && !weights.stream) advice += ", set model.weights to \"stream\"";
  if (residuals == ResidualPlace::kDevice) {
    advice += ", lower train.batch_size (one residual stream each)";
    if (own_memory) advice += " or set train.residuals to \"host\"";
  }
  return fmt::format(
      "does not fit: {} are needed on {}{}, {} are available, {} too few: {}", gigabytes(needed), device,
      own_memory || place.shard > 1 ? "" : " beside the weights, which stay where they are mapped",
      gigabytes(budget), gigabytes(needed - budget), advice);
}

MemoryPlan plan_memory(const Backend& backend, const RunConfig& config, const ModelConfig& model,
                       const ModelFiles* files, size_t budget, size_t pinned_budget, const RankPlace& place) {
  // Weights that are read where their files are mapped give way to other memory: there is nothing to stream.
  const bool may_stream = !backend.reads_host_memory();
  // Host residuals visit the device in three buffers: fewer streams are better left there.
  const bool host_saves = config.train.batch_size / place.data_size() > 3;
  MemoryPlan least;
  least.needed = SIZE_MAX;
  for (const bool stream : {false, true}) {
    if (stream ? config.model.weights == "resident" || !may_stream : config.model.weights == "stream")
      continue;
    for (const ResidualPlace residuals : {ResidualPlace::kDevice, ResidualPlace::kHost}) {
      const std::string& wanted = config.train.residuals;
      if (residuals == ResidualPlace::kDevice
              ? wanted == "host"
              : wanted == "device" || !may_stream || (wanted == "auto" && !host_saves)) {
        continue;
      }
      MemoryPlan plan = plan_layout(backend, config, model, files, stream, residuals, place);
      plan.budget = budget;
      plan.pinned_budget = pinned_budget;
      if (plan.fits()) return plan;
      if (plan.needed < least.needed) least = std::move(plan);
    }
  }
  return least;
}

size_t memory_budget(const Backend& backend, const RunConfig& config) {
  const size_t available = backend.available_bytes();
  return config.memory_gb > 0 ? std::min(available, static_cast<size_t>(config.memory_gb * 1e9)) : available;
}

}  // namespace seer
