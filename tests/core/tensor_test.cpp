#include "src/core/tensor.h"

#include <numeric>
#include <vector>

#include <gmock/gmock.h>

namespace seer {
namespace {

TEST(Shape, RankExtentsAndText) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(shape[3], 1);
  EXPECT_EQ(to_string(shape), "[2, 3, 4]");
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_NE(Shape({2}), Shape({2, 1}));
  EXPECT_THROW(Shape({1, 2, 3, 4, 5}), Error);
}

class TensorTest : public testing::Test {
 protected:
  void SetUp() override { std::iota(values_.begin(), values_.end(), 0.0F); }

  std::vector<float> values_ = std::vector<float>(24);
};

TEST_F(TensorTest, DtypeIsCheckedOnAccess) {
  const Tensor tensor(values_.data(), DType::kF32, {2, 12});
  EXPECT_EQ(tensor.data<float>(), values_.data());
  EXPECT_THROW(tensor.data<double>(), Error);
  const ConstTensor constant = tensor;
  static_assert(std::is_same_v<decltype(constant.data<float>()), const float*>);
  EXPECT_THROW(constant.data<int32_t>(), Error);
  EXPECT_TRUE(Tensor().empty());
}

TEST_F(TensorTest, RowsMayBeStrided) {
  // The middle two columns of [4, 6].
  const Tensor tensor(values_.data() + 2, DType::kF32, {4, 2}, 6);
  EXPECT_FALSE(tensor.contiguous());
  EXPECT_EQ(tensor.row_size(), 2);
  const Tensor rows = tensor.slice_rows(1, 2);
  EXPECT_EQ(rows.shape(), Shape({2, 2}));
  EXPECT_EQ(rows.row_stride(), 6);
  EXPECT_EQ(*rows.data<float>(), 8);
  EXPECT_TRUE(tensor.slice_rows(3, 1).contiguous());
  EXPECT_EQ(tensor.reshape({4, 2, 1}).row_stride(), 6);
  EXPECT_THROW(tensor.reshape({8}), Error);
}

TEST_F(TensorTest, ContiguousTensorsReshapeFreely) {
  const Tensor tensor(values_.data(), DType::kF32, {4, 6});
  EXPECT_EQ(tensor.reshape({2, 3, 4}).row_stride(), 12);
  EXPECT_EQ(tensor.reshape({24}).dim(0), 24);
  EXPECT_THROW(tensor.reshape({5, 5}), Error);
}

TEST_F(TensorTest, SlicesStayInside) {
  const Tensor tensor(values_.data(), DType::kF32, {4, 6});
  EXPECT_EQ(tensor.slice_rows(4, 0).rows(), 0);
  EXPECT_THROW(tensor.slice_rows(3, 2), Error);
  EXPECT_THROW(tensor.slice_rows(-1, 1), Error);
  EXPECT_THROW(tensor.slice_rows(0, -1), Error);
}

}  // namespace
}  // namespace seer
