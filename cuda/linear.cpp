#include "cuda/linear.h"

#include <utility>

#include "src/core/error.h"

namespace seer::cuda {
namespace {

cudaDataType_t data_type(DType dtype) {
  if (dtype == DType::kF32) return CUDA_R_32F;
  if (dtype == DType::kBF16) return CUDA_R_16BF;
  fail("linear on the GPU takes F32 and BF16, not {}", name_of(dtype));
}

BlasLtLayout layout(DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  return make_layout(data_type(dtype), rows, columns, stride);
}

/// Where part i of a stack begins right behind part i - 1, for weights or biases of `out_i` rows.
bool stacked(const ConstTensor& before, const ConstTensor& after) {
  if (before.empty() || after.empty()) return before.empty() && after.empty();
  const auto bytes = before.numel() * static_cast<int64_t>(size_of(before.dtype()));
  return before.dtype() == after.dtype() && static_cast<const char*>(before.raw()) + bytes == after.raw();
}

/// 16 where all operands can be read 16 bytes at a time, else the element's size: they may be slices of a buffer.
uint32_t common_alignment(const ConstTensor& x, const void* weight, int64_t depth, const void* out,
                          int64_t out_stride) {
  const size_t element = size_of(x.dtype());
  const auto bits = reinterpret_cast<uintptr_t>(x.raw()) | reinterpret_cast<uintptr_t>(weight) |
                    reinterpret_cast<uintptr_t>(out) | x.row_stride() * element | depth * element |
                    out_stride * element;
  return bits % 16 == 0 ? 16 : static_cast<uint32_t>(element);
}

}  // namespace

/// cuBLAS is column-major: out^T [outputs, rows] = W [depth, outputs]^T x^T [depth, rows].
struct Linear::Plan {
  BlasLtProduct product;
  BlasLtLayout weight, x, out;
  cublasLtMatmulAlgo_t algorithm{};
};

Linear::Linear() : handle_(make_blas_lt()) {}

Linear::~Linear() = default;

const Linear::Plan& Linear::plan(const Shape& shape) {
  if (const auto it = plans_.find(shape); it != plans_.end()) return it->second;
  // Packs come in any number of rows: what was chosen for old ones can be chosen again, and will be the same.
  constexpr size_t kMostPlans = 512;
  if (plans_.size() >= kMostPlans) plans_.clear();

  Plan plan;
  plan.product = make_product();
  if (shape.bias) {
    set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(shape.dtype));
  }
  plan.weight = layout(shape.dtype, shape.depth, shape.outputs, shape.weight_stride);
  plan.x = layout(shape.dtype, shape.depth, shape.rows, shape.x_stride);
  plan.out = layout(shape.dtype, shape.outputs, shape.rows, shape.out_stride);

  const BlasLtPreference preference = make_preference(workspace_bytes());
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(preference, attribute, shape.alignment);
  }
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle_.get(), plan.product.get(), plan.weight.get(), plan.x.get(),
                                       plan.out.get(), plan.out.get(), preference.get(), 1, &result, &found),
        "cublasLtMatmulAlgoGetHeuristic");
  if (found == 0) {
    fail("cuBLASLt has no algorithm for {} rows, {} -> {} ({})", shape.rows, shape.depth, shape.outputs,
         name_of(shape.dtype));
  }
  plan.algorithm = result.algo;
  return plans_.emplace(shape, std::move(plan)).first->second;
}

void Linear::product(cudaStream_t stream, ConstTensor x, const void* weight, int64_t outputs,
                     const void* bias, LinearOutput mode, void* out, int64_t out_stride, Tensor workspace) {
  const int64_t depth = x.row_size();
  const std::lock_guard lock(mutex_);  // plans hold the bias of the call
  const Plan& p = plan({.dtype = x.dtype(),
                        .outputs = outputs,
                        .rows = x.rows(),
                        .depth = depth,
                        .weight_stride = depth,
                        .x_stride = x.row_stride(),
                        .out_stride = out_stride,
                        .alignment = common_alignment(x, weight, depth, out, out_stride),
                        .bias = bias != nullptr});
  if (bias != nullptr) set(p.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const float one = 1.0F;
  const float beta = mode == LinearOutput::kAdd ? 1.0F : 0.0F;
  check(cublasLtMatmul(handle_.get(), p.product.get(), &one, weight, p.weight.get(), x.raw(), p.x.get(),
                       &beta, out, p.out.get(), out, p.out.get(), &p.algorithm, workspace.raw(),
                       static_cast<size_t>(workspace.numel()), stream),
        "cublasLtMatmul");
}

void Linear::run(cudaStream_t stream, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
                 Tensor workspace) {
  if (out.numel() == 0) return;
  int64_t column = 0;
  for (int part = 0; part < w.parts;) {
    // Parts that lie one behind the other are one product.
    int64_t outputs = w.weight[part].dim(0);
    int next = part + 1;
    while (next < w.parts && stacked(w.weight[next - 1], w.weight[next]) &&
           stacked(w.bias[next - 1], w.bias[next])) {
      outputs += w.weight[next++].dim(0);
    }
    SEER_CHECK(w.weight[part].dtype() == x.dtype() && out.dtype() == x.dtype(), "x {} weight {} out {}",
               name_of(x.dtype()), name_of(w.weight[part].dtype()), name_of(out.dtype()));
    auto* to = static_cast<char*>(out.raw()) + column * static_cast<int64_t>(size_of(out.dtype()));
    product(stream, x, w.weight[part].raw(), outputs, w.bias[part].raw(), mode, to, out.row_stride(),
            workspace);
    column += outputs;
    part = next;
  }
}

}  // namespace seer::cuda
