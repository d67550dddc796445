// Element types of tensors in memory and in files, and conversions between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace seer {

enum class DType : uint8_t { kF64, kF32, kBF16, kF16, kI64, kI32, kI16, kI8, kU8, kBool };

/// Bytes of one element.
size_t size_of(DType dtype);

/// The name safetensors uses: "F64", "F32", "BF16", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL".
std::string_view name_of(DType dtype);

/// The dtype with that safetensors name; nothing if it is not one of ours (F8_E4M3, U16, ...).
std::optional<DType> dtype_from_name(std::string_view name);

bool is_floating(DType dtype);

/// Writes `count` elements of any dtype as fp32. Integers and bool convert by value.
void convert_to_f32(const void* source, DType dtype, int64_t count, float* out);

/// Writes `count` fp32 values as F64, F32, BF16 or F16, rounding to nearest even.
void convert_from_f32(const float* source, int64_t count, DType dtype, void* out);

/// True if no element of a floating dtype is NaN or infinite; integers are always finite.
bool all_finite(const void* data, DType dtype, int64_t count);

}  // namespace seer
