// A golden safetensors file as typed arrays, its metadata as parameters, and the comparison the goldens are
// judged by.
#pragma once

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "src/io/safetensors.h"
#include "src/ops/layout_tables.h"

namespace seer::test {

class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path) : file_(path) {}

  std::string text(const std::string& key) const;
  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  bool boolean(const std::string& key) const;
  bool has_metadata(const std::string& key) const { return file_.metadata().contains(key); }

  const NamedTensor* find(const std::string& name) const { return file_.find(name); }
  const std::vector<int64_t>& shape(const std::string& name) const { return file_.at(name).shape; }
  std::vector<float> floats(const std::string& name) const;
  std::vector<int64_t> integers(const std::string& name) const;
  std::vector<uint8_t> bytes(const std::string& name) const;
  const SafetensorsFile& file() const { return file_; }

 private:
  SafetensorsFile file_;
};

/// sqrt(sum (a-b)^2) / sqrt(sum b^2), in double; the norm of a if b is zero.
double relative_error(std::span<const float> a, std::span<const float> b);
double relative_error(std::span<const double> a, std::span<const double> b);

/// fp32 tensor in a buffer of the backend's, filled from the host; for tests on any backend.
class DeviceTensor {
 public:
  DeviceTensor(Backend& backend, Queue& queue, const Shape& shape, std::span<const float> values);
  DeviceTensor(Backend& backend, Queue& queue, const Shape& shape, std::span<const double> values);
  DeviceTensor(Backend& backend, Queue& queue, const Shape& shape, std::span<const int32_t> values);
  DeviceTensor(Backend& backend, const Shape& shape, DType dtype);

  const Tensor& get() const { return tensor_; }
  operator Tensor() const { return tensor_; }       // NOLINT(google-explicit-constructor)
  operator ConstTensor() const { return tensor_; }  // NOLINT(google-explicit-constructor)

 private:
  Buffer buffer_;
  Tensor tensor_;
};

/// Uploads the tables of layouts; the result must live as long as they are used.
template <typename... Layouts>
LayoutTables upload_tables(Backend& backend, Queue& queue, Layouts&... layouts) {
  size_t segments = 0;
  ((segments = std::max(segments, layouts.segments.host.size())), ...);
  LayoutTables tables(backend,
                      LayoutTables::bytes_for(static_cast<int64_t>(segments) + 1, sizeof...(layouts)));
  (tables.upload(backend, queue, layouts), ...);
  return tables;
}

/// Waits for the queue and copies a contiguous tensor to the host.
std::vector<float> download(Backend& backend, Queue& queue, ConstTensor tensor);
std::vector<double> download_f64(Backend& backend, Queue& queue, ConstTensor tensor);

}  // namespace seer::test
