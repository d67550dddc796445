#include "src/core/dtype.h"

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "src/core/error.h"

namespace seer {
namespace {

struct Entry {
  DType dtype;
  std::string_view name;
  size_t size;
};

constexpr std::array<Entry, 10> kEntries = {{{DType::kF64, "F64", 8},
                                             {DType::kF32, "F32", 4},
                                             {DType::kBF16, "BF16", 2},
                                             {DType::kF16, "F16", 2},
                                             {DType::kI64, "I64", 8},
                                             {DType::kI32, "I32", 4},
                                             {DType::kI16, "I16", 2},
                                             {DType::kI8, "I8", 1},
                                             {DType::kU8, "U8", 1},
                                             {DType::kBool, "BOOL", 1}}};

template <typename From, typename To>
void cast(const void* source, int64_t count, void* out) {
  // Sources may lie unaligned inside a mapped file, so elements go through memcpy (which compiles to plain
  // loads).
  const auto* from = static_cast<const std::byte*>(source);
  auto* to = static_cast<std::byte*>(out);
  for (int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, from + i * sizeof(From), sizeof(From));
    const To converted = static_cast<To>(value);
    std::memcpy(to + i * sizeof(To), &converted, sizeof(To));
  }
}

void widen_bf16(const void* source, int64_t count, float* out) {
  if (reinterpret_cast<uintptr_t>(source) % alignof(uint16_t) != 0) {
    return cast<Eigen::bfloat16, float>(source, count, out);
  }
  // Weights are widened again and again, so this loop is written to vectorise.
  const auto* __restrict from = static_cast<const uint16_t*>(source);
  float* __restrict to = out;
  for (int64_t i = 0; i < count; ++i) to[i] = std::bit_cast<float>(static_cast<uint32_t>(from[i]) << 16);
}

}  // namespace

size_t size_of(DType dtype) {
  return kEntries[static_cast<size_t>(dtype)].size;
}

std::string_view name_of(DType dtype) {
  return kEntries[static_cast<size_t>(dtype)].name;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  const auto* it =
      std::find_if(kEntries.begin(), kEntries.end(), [&](const Entry& e) { return e.name == name; });
  if (it == kEntries.end()) return std::nullopt;
  return it->dtype;
}

bool is_floating(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

void convert_to_f32(const void* source, DType dtype, int64_t count, float* out) {
  switch (dtype) {
    case DType::kF64:
      return cast<double, float>(source, count, out);
    case DType::kF32:
      std::memmove(out, source, count * sizeof(float));
      return;
    case DType::kBF16:
      return widen_bf16(source, count, out);
    case DType::kF16:
      return cast<Eigen::half, float>(source, count, out);
    case DType::kI64:
      return cast<int64_t, float>(source, count, out);
    case DType::kI32:
      return cast<int32_t, float>(source, count, out);
    case DType::kI16:
      return cast<int16_t, float>(source, count, out);
    case DType::kI8:
      return cast<int8_t, float>(source, count, out);
    case DType::kU8:
    case DType::kBool:
      return cast<uint8_t, float>(source, count, out);
  }
}

void convert_from_f32(const float* source, int64_t count, DType dtype, void* out) {
  switch (dtype) {
    case DType::kF64:
      return cast<float, double>(source, count, out);
    case DType::kF32:
      std::memmove(out, source, count * sizeof(float));
      return;
    case DType::kBF16:
      return cast<float, Eigen::bfloat16>(source, count, out);
    case DType::kF16:
      return cast<float, Eigen::half>(source, count, out);
    default:
      fail("cannot convert fp32 values to {}: expected F64, F32, BF16 or F16", name_of(dtype));
  }
}

bool all_finite(const void* data, DType dtype, int64_t count) {
  if (!is_floating(dtype)) return true;
  if (dtype == DType::kF64) {
    const auto* bytes = static_cast<const std::byte*>(data);
    for (int64_t i = 0; i < count; ++i) {
      double value;
      std::memcpy(&value, bytes + i * sizeof(double), sizeof(double));
      if (!std::isfinite(value)) return false;
    }
    return true;
  }
  constexpr int64_t kChunk = 4096;
  std::array<float, kChunk> chunk;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = std::min(kChunk, count - begin);
    convert_to_f32(static_cast<const std::byte*>(data) + begin * size_of(dtype), dtype, n, chunk.data());
    if (!std::all_of(chunk.begin(), chunk.begin() + n, [](float v) { return std::isfinite(v); }))
      return false;
  }
  return true;
}

}  // namespace seer
