// The peer of `bench cpu`: Eigen's own single-precision matrix product.
#pragma once

#include <cstdint>

namespace seer {

struct EigenShape {
  int64_t rows;
  int64_t columns;
  int64_t inner;
};

/// FLOP/s of Eigen's sgemm on that shape, median of `repeats`: each thread computes its share of the rows
/// with one call of Eigen's.
double eigen_sgemm_flops(const EigenShape& shape, int threads, int repeats);

}  // namespace seer
