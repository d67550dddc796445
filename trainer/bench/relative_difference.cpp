#include "trainer/bench/relative_difference.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace seer {

double relative_difference(Backend& backend, Queue& queue, ConstTensor a, ConstTensor b) {
  const int64_t rows = std::min<int64_t>(64, a.rows());
  const int64_t width = a.row_size();
  const Buffer host = backend.allocate(2 * rows * width * size_of(a.dtype()), Memory::kHostPinned);
  const Tensor samples = host.tensor(a.dtype(), Shape{2 * rows, width});
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = rows > 1 ? i * (a.rows() - 1) / (rows - 1) : 0;
    backend.copy(queue, a.slice_rows(row, 1).reshape(Shape{1, width}), samples.slice_rows(i, 1));
    backend.copy(queue, b.slice_rows(row, 1).reshape(Shape{1, width}), samples.slice_rows(rows + i, 1));
  }
  backend.synchronize(queue);
  std::vector<float> values(2 * rows * width);
  convert_to_f32(samples.raw(), samples.dtype(), samples.numel(), values.data());
  double difference = 0;
  double norm = 0;
  for (int64_t i = 0; i < rows * width; ++i) {
    const double x = values[i];
    const double y = values[rows * width + i];
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return std::sqrt(difference / norm);
}

}  // namespace seer
