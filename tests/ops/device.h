// A backend with a queue, and what op tests need around it: tensors from host values, poisoned outputs,
// downloads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/ops/layout_tables.h"
#include "tests/support/backends.h"

namespace seer::test {

/// Host values; fp32, bf16, fp16 and I32 elements convert to double without loss.
using Values = std::vector<double>;

class Device {
 public:
  explicit Device(std::unique_ptr<Backend> backend);

  Backend& backend() { return *backend_; }
  Queue& queue() { return *queue_; }

  /// Values must be exact in `dtype`, see random_values().
  Tensor upload(const Shape& shape, const Values& values, DType dtype = DType::kF32);
  Tensor upload_ids(const std::vector<int32_t>& ids);
  /// Rows lie kGap elements further apart than they are long; the gaps hold NaN.
  Tensor upload_strided(const Shape& shape, const Values& values, DType dtype = DType::kF32);

  /// An output: NaN (I32: the lowest integer) in every element, so that one that is not written shows.
  Tensor output(const Shape& shape, DType dtype = DType::kF32);
  Tensor output_strided(const Shape& shape, DType dtype = DType::kF32);
  Tensor zeros(const Shape& shape, DType dtype = DType::kF32);
  /// At least one byte, full of 0xff: an operation that reads what it has not written meets NaN.
  Tensor workspace(size_t bytes);

  /// Uploads the tables where the backend has memory of its own.
  const BatchLayout& prepare(BatchLayout& layout);
  const ScoreLayout& prepare(ScoreLayout& layout);
  template <typename T>
  void prepare(Table<T>& table) {
    table.device = upload_table(table.host.data(), table.host.size() * sizeof(T));
  }

  /// Waits for the queue. Strided tensors come back dense.
  Values download(ConstTensor tensor);
  /// The gaps of a tensor from output_strided() or upload_strided() are as they were.
  bool gaps_untouched(ConstTensor tensor);

 private:
  static constexpr int64_t kGap = 5;

  Tensor take(const Shape& shape, DType dtype, int64_t row_stride);
  ConstTensor upload_table(const void* data, size_t bytes);
  void store(const Values& values, DType dtype, const Tensor& to);

  std::unique_ptr<Backend> backend_;
  std::vector<Buffer> buffers_;
  std::unique_ptr<Queue> queue_;
};

/// Normal values times `scale`, rounded to `dtype`, a function of the arguments alone.
Values random_values(uint64_t seed, int64_t count, double scale = 1.0, DType dtype = DType::kF32);

}  // namespace seer::test
