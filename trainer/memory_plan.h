// How a run's memory is laid out, decided before any of it is taken.
#pragma once

#include <string>
#include <vector>

#include "src/io/model_files.h"
#include "trainer/run_config.h"
#include "trainer/session.h"

namespace seer {

struct MemoryPlan {
  WeightOptions weights;                             ///< What model.weights comes to
  ResidualPlace residuals = ResidualPlace::kDevice;  ///< What train.residuals comes to
  RankPlace place;                                   ///< Of the rank it is for
  std::vector<MemoryItem> items;                     ///< Device memory by purpose
  size_t needed = 0;        ///< Bytes; without weights that are read where their files are mapped
  std::string length_key;   ///< The config key of the longest sequence
  bool own_memory = false;  ///< The device has a memory of its own, with choices what to keep there
  size_t budget = 0;        ///< memory_gb, or what the device could give

  size_t pinned = 0;  ///< Host memory that copies run from; nothing on a device without a memory of its own
  size_t pinned_budget = 0;  ///< What the host can give of it

  bool fits() const { return needed <= budget && pinned <= pinned_budget; }
  /// By how much it does not fit, and which key to lower.
  std::string refusal(const std::string& device) const;
};

/// MemAvailable of /proc/meminfo: free memory and what the kernel would drop for it.
size_t available_host_bytes();

/// The first layout that fits of those that model.weights and train.residuals allow: everything on the device, then
/// residuals on the host, then weights streamed, then both; if none does, the one that needs least. Runs the sweep's planner for each:
/// nothing is allocated. `files` may be null: weights are then planned as bf16. For the rank at `place`.
MemoryPlan plan_memory(const Backend& backend, const RunConfig& config, const ModelConfig& model,
                       const ModelFiles* files, size_t budget, size_t pinned_budget = available_host_bytes(),
                       const RankPlace& place = {});

/// What the backend could allocate now, or config.memory_gb if that is less.
size_t memory_budget(const Backend& backend, const RunConfig& config);

}  // namespace seer
