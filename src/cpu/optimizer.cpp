// Global gradient norm and AdamW over flat arrays (SEMANTICS 5).
#include <algorithm>
#include <cmath>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {
namespace {

constexpr int64_t kElementsPerTile = 16384;

}  // namespace

size_t norm_workspace(int64_t elements) {
  return ceil_div(elements, kElementsPerTile) * sizeof(double);
}

void add_squared_norm(ThreadPool& pool, ConstTensor x, Tensor slot, Tensor workspace) {
  const int64_t tiles = ceil_div(x.numel(), kElementsPerTile);
  const auto* from = x.data<float>();
  auto* partial = static_cast<double*>(workspace.raw());
  pool.run(tiles, [&](int64_t tile, int) {
    const int64_t begin = tile * kElementsPerTile;
    const int64_t count = std::min(kElementsPerTile, x.numel() - begin);
    partial[tile] = Eigen::Map<const Eigen::ArrayXf>(from + begin, count).cast<double>().square().sum();
  });
  double total = 0;
  for (int64_t t = 0; t < tiles; ++t) total += partial[t];
  *slot.data<double>() += total;
}

void adamw(ThreadPool& pool, const AdamWArgs& a) {
  const double norm = std::sqrt(*a.norm_squared.data<double>());
  const auto* flags = a.not_finite.data<double>();
  const bool refuse =
      std::any_of(flags, flags + a.not_finite.numel(), [](double flag) { return flag != 0.0; });
  if (refuse || !std::isfinite(norm)) return;

  const double clip = a.max_grad_norm > 0 ? std::min(1.0, a.max_grad_norm / (norm + 1e-6)) : 1.0;
  const double correction1 = 1.0 - std::pow(a.beta1, static_cast<double>(a.step + 1));
  const double correction2 = 1.0 - std::pow(a.beta2, static_cast<double>(a.step + 1));
  const auto grad_scale = static_cast<float>(clip);
  const auto beta1 = static_cast<float>(a.beta1);
  const auto beta2 = static_cast<float>(a.beta2);
  const auto rest1 = static_cast<float>(1.0 - a.beta1);
  const auto rest2 = static_cast<float>(1.0 - a.beta2);
  const auto step_size = static_cast<float>(a.learning_rate / correction1);
  const auto root_correction = static_cast<float>(1.0 / std::sqrt(correction2));
  const auto eps = static_cast<float>(a.eps);
  const auto decay = static_cast<float>(1.0 - a.learning_rate * a.weight_decay);
  pool.run(ceil_div(a.weights.numel(), kElementsPerTile), [&](int64_t tile, int) {
    const int64_t begin = tile * kElementsPerTile;
    const int64_t end = std::min(a.weights.numel(), begin + kElementsPerTile);
    auto* w = a.weights.data<float>();
    const auto* g = a.gradients.data<float>();
    auto* m = a.first_moment.data<float>();
    auto* v = a.second_moment.data<float>();
    for (int64_t i = begin; i < end; ++i) {
      const float gradient = g[i] * grad_scale;
      m[i] = beta1 * m[i] + rest1 * gradient;
      v[i] = beta2 * v[i] + rest2 * gradient * gradient;
      w[i] = decay * w[i] - step_size * m[i] / (std::sqrt(v[i]) * root_correction + eps);
    }
  });
}

}  // namespace seer::cpu
