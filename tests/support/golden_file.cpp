#include "tests/support/golden_file.h"

#include <cmath>
#include <cstring>

#include "src/core/error.h"

namespace seer::test {
namespace {

template <typename T>
double relative_error_of(std::span<const T> a, std::span<const T> b) {
  SEER_CHECK(a.size() == b.size() && !a.empty(), "{} and {} values", a.size(), b.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1.0);
}

template <typename T>
std::vector<T> download_as(Backend& backend, Queue& queue, ConstTensor tensor) {
  std::vector<T> out(tensor.numel());
  backend.copy(queue, tensor, Tensor(out.data(), tensor.dtype(), tensor.shape()));
  backend.synchronize(queue);
  return out;
}

}  // namespace

std::string GoldenFile::text(const std::string& key) const {
  const auto it = file_.metadata().find(key);
  if (it == file_.metadata().end()) fail("{}: no metadata key {}", file_.display_name(), key);
  return it->second;
}
int64_t GoldenFile::integer(const std::string& key) const {
  return std::stoll(text(key));
}
double GoldenFile::number(const std::string& key) const {
  return std::stod(text(key));
}
bool GoldenFile::boolean(const std::string& key) const {
  return text(key) == "true";
}

std::vector<float> GoldenFile::floats(const std::string& name) const {
  const NamedTensor& tensor = file_.at(name);
  std::vector<float> out(tensor.numel());
  convert_to_f32(tensor.bytes.data(), tensor.dtype, tensor.numel(), out.data());
  return out;
}

std::vector<int64_t> GoldenFile::integers(const std::string& name) const {
  const NamedTensor& tensor = file_.at(name);
  SEER_CHECK(tensor.dtype == DType::kI64, "{} is {}", name, name_of(tensor.dtype));
  std::vector<int64_t> out(tensor.numel());
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

std::vector<uint8_t> GoldenFile::bytes(const std::string& name) const {
  const NamedTensor& tensor = file_.at(name);
  SEER_CHECK(tensor.dtype == DType::kU8, "{} is {}", name, name_of(tensor.dtype));
  std::vector<uint8_t> out(tensor.numel());
  std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

double relative_error(std::span<const float> a, std::span<const float> b) {
  return relative_error_of(a, b);
}
double relative_error(std::span<const double> a, std::span<const double> b) {
  return relative_error_of(a, b);
}

DeviceTensor::DeviceTensor(Backend& backend, const Shape& shape, DType dtype)
    : buffer_(backend.allocate(shape.numel() * size_of(dtype), Memory::kDevice)),
      tensor_(buffer_.tensor(dtype, shape)) {}

namespace {

template <typename T>
void upload(Backend& backend, Queue& queue, std::span<const T> values, const Tensor& to) {
  SEER_CHECK(static_cast<int64_t>(values.size()) == to.numel(), "{} values for {}", values.size(),
             to_string(to.shape()));
  backend.copy(queue, ConstTensor(values.data(), to.dtype(), to.shape()), to);
  backend.synchronize(queue);
}

}  // namespace

DeviceTensor::DeviceTensor(Backend& backend, Queue& queue, const Shape& shape, std::span<const float> values)
    : DeviceTensor(backend, shape, DType::kF32) {
  upload(backend, queue, values, tensor_);
}
DeviceTensor::DeviceTensor(Backend& backend, Queue& queue, const Shape& shape, std::span<const double> values)
    : DeviceTensor(backend, shape, DType::kF64) {
  upload(backend, queue, values, tensor_);
}
DeviceTensor::DeviceTensor(Backend& backend, Queue& queue, const Shape& shape,
                           std::span<const int32_t> values)
    : DeviceTensor(backend, shape, DType::kI32) {
  upload(backend, queue, values, tensor_);
}

std::vector<float> download(Backend& backend, Queue& queue, ConstTensor tensor) {
  return download_as<float>(backend, queue, tensor);
}
std::vector<double> download_f64(Backend& backend, Queue& queue, ConstTensor tensor) {
  return download_as<double>(backend, queue, tensor);
}

}  // namespace seer::test
