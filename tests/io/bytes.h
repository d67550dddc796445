// Helpers of the file format tests: whole files as strings, hand-made files, and expected errors.
#pragma once

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>

#include "src/io/named_tensor.h"

namespace seer::test {

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::string_view text);
std::vector<std::string> file_names(const std::filesystem::path& folder);

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

template <typename T>
std::vector<T> values_of(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

/// Little-endian bytes of an integer, for hand-made files.
template <typename T>
std::string little_endian(T value) {
  std::string text(sizeof(T), '\0');
  std::memcpy(text.data(), &value, sizeof(T));
  return text;
}

/// A safetensors file with this JSON header and these data bytes, right or wrong.
std::string safetensors_text(std::string_view header, std::string_view data);

/// The message of the seer::Error that `action` throws; fails the test and returns "" if it throws none.
std::string error_of(const std::function<void()>& action);

/// Name, dtype, shape and bytes are the same.
void expect_same_tensor(const NamedTensor& actual, const NamedTensor& expected);

}  // namespace seer::test
