// What moves and watches bf16 numbers: the not-finite flag, and copies between host and device.
#include <cmath>

#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "tests/cuda/bf16_case.h"

namespace seer::test {
namespace {

class Bf16Watch : public testing::Test {
 protected:
  /// The flag after a look at x, from `before`.
  double flag(const Shape& shape, Rows layout, const Values& x, double before = 0.0) {
    const Tensor slot = device_.upload(Shape{1}, {before}, DType::kF64);
    device_.backend().flag_not_finite(device_.queue(), Activation(device_, shape, layout, x), slot);
    return device_.download(slot)[0];
  }

  Device device_{make_cuda_backend({.precision = CudaPrecision::kBf16})};
};

TEST_F(Bf16Watch, SeesEveryElementAndNothingBetweenRows) {
  for (const Rows layout : kAllRows) {
    for (const int64_t width : {33, 64}) {
      SCOPED_TRACE(fmt::format("{} {}", name_of(layout), width));
      const Shape shape{19, width};
      const Values good = bf16_values(16, shape.numel());
      EXPECT_EQ(flag(shape, layout, good), 0.0);
      EXPECT_EQ(flag(shape, layout, good, 1.0), 1.0) << "a flag that was raised before";
      for (const int64_t at : {int64_t{0}, int64_t{7}, width - 1, width, 9 * width + 13, 19 * width - 1}) {
        for (const double bad :
             {kNaN, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
          Values x = good;
          x[at] = bad;
          EXPECT_EQ(flag(shape, layout, x), 1.0) << bad << " at " << at;
        }
      }
    }
  }
}

TEST_F(Bf16Watch, TheLargestNumbersAreFinite) {
  const double largest = std::ldexp(255.0, 120);
  EXPECT_EQ(flag(Shape{2, 8}, Rows::kDense, Values(16, largest)), 0.0);
  EXPECT_EQ(flag(Shape{2, 8}, Rows::kDense, Values(16, -largest)), 0.0);
}

TEST_F(Bf16Watch, SeesTheLastElementOfALargeTensor) {
  const Shape shape{4099, 1024};
  Values x(shape.numel(), 1.0);
  EXPECT_EQ(flag(shape, Rows::kDense, x), 0.0);
  x.back() = kNaN;
  EXPECT_EQ(flag(shape, Rows::kDense, x), 1.0);
}

TEST(Bf16Copy, BetweenHostAndDeviceKeepsEveryBit) {
  Device device(make_cuda_backend({.precision = CudaPrecision::kBf16}));
  std::vector<uint16_t> bits(1 << 16);  // every bf16 there is
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  const Shape shape{256, 256};
  for (const Rows layout : kAllRows) {
    SCOPED_TRACE(name_of(layout));
    const Activation there(device, shape, layout);
    std::vector<uint16_t> back(bits.size());
    device.backend().copy(device.queue(), ConstTensor(bits.data(), DType::kBF16, shape), there);
    device.backend().copy(device.queue(), there, Tensor(back.data(), DType::kBF16, shape));
    device.backend().synchronize(device.queue());
    EXPECT_EQ(bits, back);
    EXPECT_TRUE(there.gaps_untouched());
  }
}

}  // namespace
}  // namespace seer::test
