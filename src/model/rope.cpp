#include "src/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "src/core/error.h"

namespace seer {
namespace {

// Between wavelengths L/high (unchanged) and L/low (divided by factor), a linear blend.
float llama3_scaled(const RopeConfig& config, float inv_freq) {
  const auto length = static_cast<float>(config.original_max_position_embeddings);
  const auto factor = static_cast<float>(config.factor);
  const auto low = static_cast<float>(config.low_freq_factor);
  const auto high = static_cast<float>(config.high_freq_factor);
  const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / inv_freq;
  if (wavelength > length / low) return inv_freq / factor;
  if (wavelength < length / high) return inv_freq;
  const float smooth = (length / wavelength - low) / (high - low);
  return inv_freq * ((1.0F - smooth) / factor + smooth);
}

struct YarnRamp {
  double low;
  double high;
};

YarnRamp yarn_ramp(const RopeConfig& config, int64_t dim) {
  const auto length = static_cast<double>(config.original_max_position_embeddings);
  const auto channel = [&](double rotations) {
    return static_cast<double>(dim) * std::log(length / (2.0 * std::numbers::pi * rotations)) /
           (2.0 * std::log(config.theta));
  };
  YarnRamp ramp{std::max(0.0, std::floor(channel(config.beta_fast))),
                std::min(static_cast<double>(dim - 1), std::ceil(channel(config.beta_slow)))};
  if (ramp.low == ramp.high) ramp.high += 0.001;
  return ramp;
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t dim) {
  if (dim % 2 != 0) fail("RoPE rotates pairs of channels: dimension {} is odd", dim);
  RopeFrequencies out;
  out.inv_freq.resize(dim / 2);
  const auto factor = static_cast<float>(config.factor);
  const YarnRamp ramp = config.type == RopeType::kYarn ? yarn_ramp(config, dim) : YarnRamp{0, 1};
  for (int64_t j = 0; j < dim / 2; ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(dim);
    float& inv_freq = out.inv_freq[j];
    inv_freq = 1.0F / std::pow(static_cast<float>(config.theta), exponent);
    switch (config.type) {
      case RopeType::kDefault:
        break;
      case RopeType::kLinear:
        inv_freq /= factor;
        break;
      case RopeType::kLlama3:
        inv_freq = llama3_scaled(config, inv_freq);
        break;
      case RopeType::kYarn: {
        const auto t = static_cast<float>(
            std::clamp((static_cast<double>(j) - ramp.low) / (ramp.high - ramp.low), 0.0, 1.0));
        inv_freq *= (1.0F - t) + t / factor;
        break;
      }
    }
  }
  if (config.type == RopeType::kYarn) {
    out.attention_scaling =
        static_cast<float>(config.attention_factor.value_or(0.1 * std::log(config.factor) + 1.0));
  }
  return out;
}

RopeTables::RopeTables(Backend& backend, Queue& queue, const RopeFrequencies& frequencies, int64_t count,
                       int64_t stride, int64_t pieces) {
  const auto half = static_cast<int64_t>(frequencies.inv_freq.size());
  const int64_t rows = count * pieces;
  const Shape both{2, rows, half};
  Buffer host = backend.allocate(both.numel() * sizeof(float), Memory::kHostPinned);
  auto* cos = host.tensor(DType::kF32, both).data<float>();
  float* sin = cos + rows * half;
  for (int64_t p = 0; p < rows; ++p) {
    const auto position = static_cast<float>(p % count * stride + p / count * (stride / pieces));
    for (int64_t j = 0; j < half; ++j) {
      const float angle = position * frequencies.inv_freq[j];
      cos[p * half + j] = std::cos(angle) * frequencies.attention_scaling;
      sin[p * half + j] = std::sin(angle) * frequencies.attention_scaling;
    }
  }
  buffer_ = backend.allocate(both.numel() * sizeof(float), Memory::kDevice);
  const Tensor tables = buffer_.tensor(DType::kF32, both);
  backend.copy(queue, host.tensor(DType::kF32, both), tables);
  backend.synchronize(queue);  // the host copy ends here
  cos_ = tables.slice_rows(0, 1).reshape(Shape{rows, half});
  sin_ = tables.slice_rows(1, 1).reshape(Shape{rows, half});
}

}  // namespace seer
