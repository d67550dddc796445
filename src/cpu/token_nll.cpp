// Negative log-likelihood of the next token, row by row.
#include <cmath>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"

namespace seer::cpu {

void token_nll(ThreadPool& pool, ConstTensor logits, ConstTensor targets, Tensor nll) {
  const int64_t vocabulary = logits.dim(1);
  pool.run(logits.rows(), [&](int64_t s, int) {
    const int32_t target = targets.data<int32_t>()[s];
    float& out = nll.data<float>()[s];
    if (target < 0) {
      out = 0.0F;
      return;
    }
    SEER_CHECK(target < vocabulary, "target {} at row {} with {} logits", target, s, vocabulary);
    const Eigen::Map<const Eigen::ArrayXf> row(logits.data<float>() + s * logits.row_stride(), vocabulary);
    const float maximum = row.maxCoeff();
    const double sum = (row - maximum).exp().cast<double>().sum();
    out = static_cast<float>(std::log(sum) + static_cast<double>(maximum) - static_cast<double>(row[target]));
  });
}

}  // namespace seer::cpu
