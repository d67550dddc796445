// out = x W^T: tiles of 256 rows by 256 outputs, one single-threaded Eigen product each. Weights in bf16 or
// fp16 are widened tile by tile, so they stay where the file is mapped and are never held in fp32 as a whole.
#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kTileRows = 256;
constexpr int64_t kTileOutputs = 256;

}  // namespace

size_t linear_workspace(const ThreadPool& pool, const StackedLinear& w) {
  bool widen = false;
  for (int i = 0; i < w.parts; ++i) widen |= w.weight[i].dtype() != DType::kF32;
  return widen ? pool.size() * kTileOutputs * w.in_features() * sizeof(float) : 0;
}

void linear(ThreadPool& pool, ConstTensor x, const StackedLinear& w, LinearOutput mode, Tensor out,
            Tensor workspace) {
  const int64_t in = w.in_features();
  const int64_t row_tiles = ceil_div(x.rows(), kTileRows);
  int64_t column = 0;
  for (int p = 0; p < w.parts; ++p) {
    const ConstTensor weight = w.weight[p];
    const int64_t outputs = weight.dim(0);
    const int64_t tiles = row_tiles * ceil_div(outputs, kTileOutputs);
    pool.run(tiles, [&](int64_t tile, int worker) {
      const int64_t row = tile % row_tiles * kTileRows;
      const int64_t rows = std::min(kTileRows, x.rows() - row);
      const int64_t first = tile / row_tiles * kTileOutputs;
      const int64_t count = std::min(kTileOutputs, outputs - first);
      const float* tile_weights = nullptr;
      if (weight.dtype() == DType::kF32) {
        tile_weights = weight.data<float>() + first * in;
      } else {
        float* wide = static_cast<float*>(workspace.raw()) + worker * kTileOutputs * in;
        convert_to_f32(weight.slice_rows(first, count).raw(), weight.dtype(), count * in, wide);
        tile_weights = wide;
      }
      const ConstRowMap<float> a = view(x.data<float>() + row * x.row_stride(), rows, in, x.row_stride());
      const ConstRowMap<float> b = view(tile_weights, count, in, in);
      RowMap<float> c =
          view(out.data<float>() + row * out.row_stride() + column + first, rows, count, out.row_stride());
      if (mode == LinearOutput::kStore) {
        c.noalias() = a * b.transpose();
      } else {
        c.noalias() += a * b.transpose();
      }
      if (!w.bias[p].empty()) {
        Eigen::Matrix<float, 1, kTileOutputs> bias;
        convert_to_f32(static_cast<const char*>(w.bias[p].raw()) + first * size_of(w.bias[p].dtype()),
                       w.bias[p].dtype(), count, bias.data());
        c.rowwise() += bias.head(count);
      }
    });
    column += outputs;
  }
}

}  // namespace seer::cpu
