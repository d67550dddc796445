// Owners of cuBLASLt's handle and descriptors, and its errors in the words of check.h.
#pragma once

#include <memory>
#include <type_traits>

#include <cublasLt.h>
#include <cublas_v2.h>

#include "src/core/error.h"

namespace seer::cuda {

/// Throws Error with cuBLASLt's own words unless `status` is success.
inline void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail("cuBLASLt: {}: {} ({})", call, cublasGetStatusString(status), cublasGetStatusName(status));
  }
}

/// One of cuBLASLt's opaque pointers with the function that destroys it.
template <typename Pointer, auto kDestroy>
struct BlasLtDestroy {
  using pointer = Pointer;
  void operator()(Pointer object) const { kDestroy(object); }
};
template <typename Pointer, auto kDestroy>
using BlasLtOwned = std::unique_ptr<std::remove_pointer_t<Pointer>, BlasLtDestroy<Pointer, kDestroy>>;

using BlasLt = BlasLtOwned<cublasLtHandle_t, cublasLtDestroy>;
using BlasLtProduct = BlasLtOwned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using BlasLtLayout = BlasLtOwned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using BlasLtPreference = BlasLtOwned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

inline BlasLt make_blas_lt() {
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "cublasLtCreate");
  return BlasLt(handle);
}

template <typename Value>
void set(const BlasLtProduct& product, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulDescSetAttribute(product.get(), attribute, &value, sizeof(value)),
        "cublasLtMatmulDescSetAttribute");
}
template <typename Value>
void set(const BlasLtPreference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
        "cublasLtMatmulPreferenceSetAttribute");
}

/// A W^T in row-major words, accumulated in fp32; for fp32 operands this is fp32 arithmetic: TF32 would have to be
/// asked for. cuBLASLt stores columns and computes (A W^T)^T = W A^T, where it sees W as [depth, outputs].
inline BlasLtProduct make_product() {
  cublasLtMatmulDesc_t handle = nullptr;
  check(cublasLtMatmulDescCreate(&handle, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  BlasLtProduct product(handle);
  set(product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(product, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  return product;
}

/// A matrix in cuBLASLt's words: `stride` elements from column to column.
inline BlasLtLayout make_layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t handle = nullptr;
  check(cublasLtMatrixLayoutCreate(&handle, type, rows, columns, stride), "cublasLtMatrixLayoutCreate");
  return BlasLtLayout(handle);
}

inline BlasLtPreference make_preference(size_t workspace_bytes) {
  cublasLtMatmulPreference_t handle = nullptr;
  check(cublasLtMatmulPreferenceCreate(&handle), "cublasLtMatmulPreferenceCreate");
  BlasLtPreference preference(handle);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  return preference;
}

}  // namespace seer::cuda
