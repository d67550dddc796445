// out = x W^T (+ bias, + out) through cuBLASLt.
#pragma once

#include <map>
#include <mutex>

#include <cuda_runtime.h>

#include "cuda/blas_lt.h"
#include "src/ops/backend.h"

namespace seer::cuda {

/// Products of one device. The algorithm of a shape is the library's first heuristic choice, never timed, with
/// every split-K scheme that adds by atomics excluded: a resumed run computes the same bits. bf16 operands are
/// accumulated in fp32; where a bias or `out` is added, the library may round the product to bf16 before. fp32 ones
/// use no tensor cores.
class Linear {
 public:
  Linear();
  ~Linear();
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  void run(cudaStream_t stream, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
           Tensor workspace);
  static size_t workspace_bytes() { return size_t{32} << 20; }

 private:
  /// What a choice of algorithm depends on.
  struct Shape {
    DType dtype;
    int64_t outputs, rows, depth, weight_stride, x_stride, out_stride;
    uint32_t alignment;  ///< Bytes that every operand and its rows are aligned to
    bool bias;
    auto operator<=>(const Shape&) const = default;
  };
  struct Plan;

  const Plan& plan(const Shape& shape);
  void product(cudaStream_t stream, ConstTensor x, const void* weight, int64_t outputs, const void* bias,
               LinearOutput mode, void* out, int64_t out_stride, Tensor workspace);

  BlasLt handle_;
  std::mutex mutex_;
  std::map<Shape, Plan> plans_;
};

}  // namespace seer::cuda
