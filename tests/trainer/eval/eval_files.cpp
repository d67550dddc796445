#include "tests/trainer/eval/eval_files.h"

#include "src/cpu/cpu_backend.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"
#include "trainer/gates_folder.h"

namespace seer::test {
namespace fs = std::filesystem;

fs::path nano_model() {
  return source_dir() / "configs/quickstart/seer-nano";
}

fs::path nano_held_out() {
  return source_dir() / "configs/quickstart/heldout.jsonl.zst";
}

void write_random_gates(const fs::path& folder, const fs::path& model, int64_t block_size, uint64_t seed) {
  const std::unique_ptr<Backend> backend = make_cpu_backend({.threads = 1});
  const std::unique_ptr<Queue> queue = backend->make_queue("gates");
  const ModelConfig config = load_model_config(model);
  GateEntryConfig entry;
  entry.block_size = block_size;
  entry.export_ = {.dtype = "fp32", .sparsity_method = "nz_ratio", .nz_ratio = 0.5};
  GateTraining gates(*backend, *queue, entry, config, 256);
  constexpr double kDeviation = 0.3;
  gates.params().init_normal(*backend, *queue, 4 + seed, kDeviation);
  write_gates_folder(folder, download_gates(*backend, *queue, gates, DType::kF32), entry, config,
                     model.string(), "Random.");
}

EvalModelOptions on_one_thread(const fs::path& model, const fs::path& gates) {
  return {.model = model.string(), .gates = gates.string(), .threads = 1, .block_size = 16};
}

std::vector<std::vector<int32_t>> random_windows(uint64_t seed, int64_t count, int64_t length,
                                                 int64_t vocabulary) {
  std::vector<std::vector<int32_t>> windows;
  for (int64_t w = 0; w < count; ++w) windows.push_back(random_ids(seed + w, length, vocabulary));
  return windows;
}

}  // namespace seer::test
