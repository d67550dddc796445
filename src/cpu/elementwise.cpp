// Embedding gather, SwiGLU, copies and the not-finite watch: bound by memory.
#include <atomic>
#include <cmath>
#include <cstring>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

}  // namespace

void embed(ThreadPool& pool, ConstTensor ids, ConstTensor table, Tensor out) {
  const auto* id = ids.data<int32_t>();
  auto* to = out.data<float>();
  const int64_t channels = out.dim(1);
  const size_t row_bytes = channels * size_of(table.dtype());
  pool.run(ceil_div(out.rows(), kRowsPerTile), [&](int64_t tile, int) {
    const int64_t end = std::min(out.rows(), (tile + 1) * kRowsPerTile);
    for (int64_t s = tile * kRowsPerTile; s < end; ++s) {
      SEER_CHECK(id[s] >= 0 && id[s] < table.rows(), "token id {} at row {} with an embedding of {} rows",
                 id[s], s, table.rows());
      convert_to_f32(static_cast<const char*>(table.raw()) + id[s] * row_bytes, table.dtype(), channels,
                     to + s * out.row_stride());
    }
  });
}

void swiglu(ThreadPool& pool, ConstTensor gate_up, Tensor out) {
  const int64_t inner = out.dim(1);
  const auto* from = gate_up.data<float>();
  auto* to = out.data<float>();
  pool.run(ceil_div(out.rows(), kRowsPerTile), [&](int64_t tile, int) {
    const int64_t end = std::min(out.rows(), (tile + 1) * kRowsPerTile);
    for (int64_t s = tile * kRowsPerTile; s < end; ++s) {
      const Eigen::Map<const Eigen::ArrayXf> gate(from + s * gate_up.row_stride(), inner);
      const Eigen::Map<const Eigen::ArrayXf> up(from + s * gate_up.row_stride() + inner, inner);
      Eigen::Map<Eigen::ArrayXf>(to + s * out.row_stride(), inner) = gate / (1.0F + (-gate).exp()) * up;
    }
  });
}

void copy(ConstTensor from, Tensor to) {
  const size_t row_bytes = from.row_size() * size_of(from.dtype());
  if (from.contiguous() && to.contiguous()) {
    std::memcpy(to.raw(), from.raw(), row_bytes * from.rows());
    return;
  }
  for (int64_t r = 0; r < from.rows(); ++r) {
    std::memcpy(to.slice_rows(r, 1).raw(), from.slice_rows(r, 1).raw(), row_bytes);
  }
}

void fill_zero(Tensor x) {
  const size_t row_bytes = x.row_size() * size_of(x.dtype());
  if (x.contiguous()) {
    std::memset(x.raw(), 0, row_bytes * x.rows());
    return;
  }
  for (int64_t r = 0; r < x.rows(); ++r) std::memset(x.slice_rows(r, 1).raw(), 0, row_bytes);
}

void flag_not_finite(ThreadPool& pool, ConstTensor x, Tensor slot) {
  std::atomic<bool> bad{false};
  const auto* from = x.data<float>();
  pool.run(ceil_div(x.rows(), kRowsPerTile), [&](int64_t tile, int) {
    const int64_t end = std::min(x.rows(), (tile + 1) * kRowsPerTile);
    for (int64_t r = tile * kRowsPerTile; r < end; ++r) {
      // 0 * x is 0 for finite x and NaN otherwise: the sum vectorises where a test per element would not.
      const Eigen::Map<const Eigen::ArrayXf> row(from + r * x.row_stride(), x.row_size());
      if (!((row * 0.0F).sum() == 0.0F)) bad = true;
    }
  });
  if (bad) *slot.data<double>() = 1.0;
}

}  // namespace seer::cpu
