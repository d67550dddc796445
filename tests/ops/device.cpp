#include "tests/ops/device.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "src/core/rng.h"

namespace seer::test {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kNoInteger = std::numeric_limits<int32_t>::min();

std::vector<std::byte> encode(const Values& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  if (dtype == DType::kF64) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
  } else if (dtype == DType::kI32) {
    const std::vector<int32_t> integers(values.begin(), values.end());
    std::memcpy(bytes.data(), integers.data(), bytes.size());
  } else {
    const std::vector<float> narrow(values.begin(), values.end());
    convert_from_f32(narrow.data(), static_cast<int64_t>(narrow.size()), dtype, bytes.data());
  }
  return bytes;
}

Values decode(const std::vector<std::byte>& bytes, DType dtype) {
  Values values(bytes.size() / size_of(dtype));
  if (dtype == DType::kF64) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
  } else if (dtype == DType::kI32) {
    std::vector<int32_t> integers(values.size());
    std::memcpy(integers.data(), bytes.data(), bytes.size());
    values.assign(integers.begin(), integers.end());
  } else {
    std::vector<float> wide(values.size());
    convert_to_f32(bytes.data(), dtype, static_cast<int64_t>(wide.size()), wide.data());
    values.assign(wide.begin(), wide.end());
  }
  return values;
}

/// The memory under a strided tensor, gaps and all.
Tensor with_gaps(ConstTensor tensor) {
  return {const_cast<void*>(tensor.raw()), tensor.dtype(), Shape{tensor.rows(), tensor.row_stride()}};
}

}  // namespace

Device::Device(std::unique_ptr<Backend> backend)
    : backend_(std::move(backend)), queue_(backend_->make_queue("test")) {}

Tensor Device::take(const Shape& shape, DType dtype, int64_t row_stride) {
  buffers_.push_back(backend_->allocate(shape[0] * row_stride * size_of(dtype), Memory::kDevice));
  return {buffers_.back().data(), dtype, shape, row_stride};
}

void Device::store(const Values& values, DType dtype, const Tensor& to) {
  SEER_CHECK(static_cast<int64_t>(values.size()) == to.numel(), "{} values for {}", values.size(),
             to_string(to.shape()));
  const std::vector<std::byte> bytes = encode(values, dtype);
  backend_->copy(*queue_, ConstTensor(bytes.data(), dtype, to.shape()), to);
  backend_->synchronize(*queue_);
}

Tensor Device::upload(const Shape& shape, const Values& values, DType dtype) {
  const Tensor out = take(shape, dtype, shape.numel() / shape[0]);
  store(values, dtype, out);
  return out;
}

Tensor Device::upload_ids(const std::vector<int32_t>& ids) {
  const Shape shape{static_cast<int64_t>(ids.size())};
  const Tensor out = take(shape, DType::kI32, 1);
  backend_->copy(*queue_, ConstTensor(ids.data(), DType::kI32, shape), out);
  backend_->synchronize(*queue_);
  return out;
}

Tensor Device::upload_strided(const Shape& shape, const Values& values, DType dtype) {
  const Tensor out = output_strided(shape, dtype);
  store(values, dtype, out);
  return out;
}

Tensor Device::output(const Shape& shape, DType dtype) {
  return upload(shape, Values(shape.numel(), dtype == DType::kI32 ? kNoInteger : kNaN), dtype);
}

Tensor Device::output_strided(const Shape& shape, DType dtype) {
  const Tensor out = take(shape, dtype, shape.numel() / shape[0] + kGap);
  store(Values(out.rows() * out.row_stride(), kNaN), dtype, with_gaps(out));
  return out;
}

Tensor Device::zeros(const Shape& shape, DType dtype) {
  return upload(shape, Values(shape.numel(), 0.0), dtype);
}

Tensor Device::workspace(size_t bytes) {
  const Shape shape{static_cast<int64_t>(std::max<size_t>(bytes, 1))};
  const Tensor out = take(shape, DType::kU8, 1);
  const std::vector<uint8_t> ones(shape.numel(), 0xff);
  backend_->copy(*queue_, ConstTensor(ones.data(), DType::kU8, shape), out);
  backend_->synchronize(*queue_);
  return out;
}

ConstTensor Device::upload_table(const void* data, size_t bytes) {
  const Shape shape{static_cast<int64_t>(bytes)};
  const Tensor out = take(shape, DType::kU8, 1);
  backend_->copy(*queue_, ConstTensor(data, DType::kU8, shape), out);
  backend_->synchronize(*queue_);
  return out;
}

const BatchLayout& Device::prepare(BatchLayout& layout) {
  prepare(layout.segments);
  prepare(layout.rows);
  prepare(layout.key_rows);
  return layout;
}

const ScoreLayout& Device::prepare(ScoreLayout& layout) {
  prepare(layout.segments);
  prepare(layout.query_rows);
  prepare(layout.key_rows);
  return layout;
}

Values Device::download(ConstTensor tensor) {
  std::vector<std::byte> bytes(tensor.numel() * size_of(tensor.dtype()));
  backend_->copy(*queue_, tensor, Tensor(bytes.data(), tensor.dtype(), tensor.shape()));
  backend_->synchronize(*queue_);
  return decode(bytes, tensor.dtype());
}

bool Device::gaps_untouched(ConstTensor tensor) {
  const Values all = download(with_gaps(tensor));
  for (int64_t r = 0; r < tensor.rows(); ++r) {
    for (int64_t c = tensor.row_size(); c < tensor.row_stride(); ++c) {
      if (!std::isnan(all[r * tensor.row_stride() + c])) return false;
    }
  }
  return true;
}

Values random_values(uint64_t seed, int64_t count, double scale, DType dtype) {
  Rng rng(seed);
  Values values(count);
  for (double& value : values) value = rng.normal() * scale;
  return decode(encode(values, dtype == DType::kF64 ? DType::kF32 : dtype),
                dtype == DType::kF64 ? DType::kF32 : dtype);
}

}  // namespace seer::test
