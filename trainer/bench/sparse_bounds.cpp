#include "trainer/bench/sparse_bounds.h"

#include <algorithm>

#include <fmt/format.h>

#include "cuda/bench/gemm_ceilings.h"
#include "cuda/bench/tile_reads.h"
#include "src/core/dtype.h"

namespace seer {
namespace {

constexpr int64_t kProductSize = 8192;  ///< Rows, columns and depth

/// How often a block is loaded for each of the `sharers` heads that keep it, where three heads at a time load once, whichever
/// block row they are of.
double loads_a_head(int64_t sharers) {
  constexpr int64_t kTogether = 3;
  int64_t loads = 0;
  for (int64_t row = 0; row < kTogether; ++row) {  // then the pattern repeats
    const int64_t first = row * sharers;
    loads += (first + sharers - 1) / kTogether - first / kTogether + 1;
  }
  return static_cast<double>(loads) / static_cast<double>(kTogether * sharers);
}

}  // namespace

SparseRulers measure_rulers(cuda::GpuTimer& timer, int64_t tokens, int64_t head_dim) {
  const int64_t kv_bytes = 2 * tokens * head_dim * static_cast<int64_t>(size_of(DType::kBF16));
  const cuda::GemmCeiling product = cuda::measure_gemm({kProductSize, kProductSize, kProductSize}, timer);
  const cuda::TileReadCeiling reads = cuda::measure_tile_reads(kv_bytes, timer);
  return {.product_tflops = product.tflops, .tile_read_gb_per_s = reads.gigabytes_per_second};
}

SparseBounds::SparseBounds(const SparseShare& share, const SparseRulers& rulers)
    : rulers_(rulers), density_(share.density), share_ms_(share.density * share.dense_ms) {
  const auto block = static_cast<double>(share.block_size);
  const auto head_dim = static_cast<double>(share.head_dim);
  matrix_ms_ = share.kept * 4 * block * block * head_dim / (1e9 * rulers.product_tflops);
  l2_ms_ =
      share.kept * 4 * block * head_dim * loads_a_head(share.sharers) / (1e6 * rulers.tile_read_gb_per_s);
  floor_ms_ = std::max(matrix_ms_, l2_ms_);
}

nlohmann::ordered_json SparseBounds::figures(double ms) const {
  return {{"density", density_},
          {"matrix_floor_ms", matrix_ms_},
          {"l2_floor_ms", l2_ms_},
          {"ratio_to_floor", ms / floor_ms_},
          {"density_times_dense_ms", share_ms_},
          {"ratio_to_density_times_dense", ms / share_ms_},
          {"product_tflops", rulers_.product_tflops},
          {"tile_read_gb_per_s", rulers_.tile_read_gb_per_s}};
}

std::vector<std::string> SparseBounds::cells(double ms) const {
  return {fmt::format("{:.3f}", density_),       fmt::format("{:.3f}", share_ms_),
          fmt::format("{:.2f}", ms / share_ms_), fmt::format("{:.3f}", matrix_ms_),
          fmt::format("{:.3f}", l2_ms_),         fmt::format("{:.2f}", ms / floor_ms_)};
}

std::vector<std::string> SparseBounds::with_bounds(std::vector<std::string> headers) {
  for (const char* name : {"density", "density x dense", "x that", "matrix floor", "L2 floor", "x floor"}) {
    headers.emplace_back(name);
  }
  return headers;
}

}  // namespace seer
