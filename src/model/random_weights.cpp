// FrozenWeights::random: a model for measurements.
#include <algorithm>

#include "src/core/rng.h"
#include "src/model/weight_slots.h"

namespace seer {

FrozenWeights FrozenWeights::random(Backend& backend, Queue& queue, const ModelConfig& config, uint64_t seed,
                                    const WeightOptions& options) {
  // Drawing billions of numbers takes minutes: tensors begin at places of their own in a table of some millions.
  constexpr int64_t kTableSize = (int64_t{1} << 22) - 3;  // a prime: rows of no model repeat with it
  constexpr uint16_t kOne = 0x3f80;
  const Rng base(seed);
  std::vector<float> normal(kTableSize);
  Rng draw = base.fork("table");
  for (float& value : normal) value = static_cast<float>(0.02 * draw.normal());
  std::vector<uint16_t> table(kTableSize);
  convert_from_f32(normal.data(), kTableSize, DType::kBF16, table.data());

  FrozenWeights weights;
  weights.head_ = options.head;
  Uploader uploader(backend, queue);
  std::vector<uint16_t> values;
  const auto draw_values = [&](const Slot& slot) {
    values.assign(slot.shape.numel(), kOne);
    auto at = static_cast<int64_t>(base.fork(slot.name).below(kTableSize));
    for (int64_t done = 0; done < slot.shape.numel() && !slot.is_norm; at = 0) {
      const int64_t count = std::min(slot.shape.numel() - done, kTableSize - at);
      std::copy_n(table.begin() + at, count, values.begin() + done);
      done += count;
    }
    return reinterpret_cast<const std::byte*>(values.data());
  };
  const StoredDType stored = [](const Slot&) { return DType::kBF16; };
  const Fill load = [&](std::span<const Slot> slots) {
    weights.copy_group(slots, backend, uploader, stored, draw_values);
  };
  if (options.shard != nullptr) {
    weights.fill_outer(config, load);
    weights.keep_slices(backend, config, options, uploader, stored, draw_values);
  } else {
    weights.fill(config, load);
  }
  uploader.finish();
  return weights;
}

}  // namespace seer
