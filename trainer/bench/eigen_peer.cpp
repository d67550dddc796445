#include "trainer/bench/eigen_peer.h"

#include <Eigen/Core>
#include <algorithm>
#include <chrono>
#include <vector>

#include "src/core/thread_pool.h"

namespace seer {

double eigen_sgemm_flops(const EigenShape& shape, int threads, int repeats) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Matrix a = Matrix::Random(shape.rows, shape.inner);
  const Matrix b = Matrix::Random(shape.inner, shape.columns);
  Matrix c = Matrix::Zero(shape.rows, shape.columns);
  ThreadPool pool(threads);
  const int64_t share = (shape.rows + threads - 1) / threads;
  std::vector<double> times;
  for (int run = 0; run < repeats + 1; ++run) {
    const auto start = std::chrono::steady_clock::now();
    pool.run(threads, [&](int64_t part, int) {
      const int64_t begin = part * share;
      const int64_t rows = std::clamp<int64_t>(shape.rows - begin, 0, share);
      c.middleRows(begin, rows).noalias() = a.middleRows(begin, rows) * b;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (run > 0) times.push_back(seconds);
  }
  std::sort(times.begin(), times.end());
  return 2.0 * static_cast<double>(shape.rows * shape.columns * shape.inner) / times[times.size() / 2];
}

}  // namespace seer
