// Tensor maps: what TMA knows of q, k and v.
#pragma once

#include <cstdint>
#include <limits>

#include <cudaTypedefs.h>
#include <cuda_bf16.h>

#include "cuda/check.h"

namespace seer::cuda::hopper {

/// x [rows, heads, D], rows `stride` elements apart, for TMA in boxes of one head, `box_rows` rows and 64
/// columns.
inline CUtensorMap tensor_map(const char* name, const __nv_bfloat16* x, int64_t rows, int64_t heads,
                              int64_t head_dim, int64_t stride, int box_rows) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                           &found),
          "cuTensorMapEncodeTiled");
    if (found != cudaDriverEntryPointSuccess) fail("CUDA: the driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  if (reinterpret_cast<uintptr_t>(x) % 16 != 0 || stride % 8 != 0) {
    fail("attention: TMA needs {} at a multiple of 16 bytes and its row stride ({}) a multiple of 8", name,
         stride);
  }
  if (rows > std::numeric_limits<int32_t>::max() - box_rows) fail("attention: {} has {} rows", name, rows);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(head_dim), static_cast<cuuint64_t>(heads),
                              static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {head_dim * sizeof(__nv_bfloat16),
                                stride * sizeof(__nv_bfloat16)};  // of heads and rows
  const cuuint32_t box[] = {64, 1, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult status =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<__nv_bfloat16*>(x), sizes, strides, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    fail("CUDA: cuTensorMapEncodeTiled of {} [{}, {}, {}]: error {}", name, rows, heads, head_dim,
         static_cast<int>(status));
  }
  return map;
}

}  // namespace seer::cuda::hopper
