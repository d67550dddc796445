#include "src/core/dtype.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <gmock/gmock.h>

#include "src/core/error.h"

namespace seer {
namespace {

using testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<uint16_t> rounded(DType dtype, const std::vector<float>& values) {
  std::vector<uint16_t> out(values.size());
  convert_from_f32(values.data(), static_cast<int64_t>(values.size()), dtype, out.data());
  return out;
}

template <typename T>
std::vector<float> widened(DType dtype, const std::vector<T>& values) {
  std::vector<float> out(values.size());
  convert_to_f32(values.data(), dtype, static_cast<int64_t>(values.size()), out.data());
  return out;
}

TEST(DType, NamesAndSizes) {
  for (const char* name : {"F64", "F32", "BF16", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"}) {
    const std::optional<DType> dtype = dtype_from_name(name);
    ASSERT_TRUE(dtype) << name;
    EXPECT_EQ(name_of(*dtype), name);
  }
  EXPECT_EQ(dtype_from_name("F8_E4M3"), std::nullopt);
  EXPECT_EQ(dtype_from_name("f32"), std::nullopt);
  EXPECT_EQ(size_of(DType::kF64), 8);
  EXPECT_EQ(size_of(DType::kBF16), 2);
  EXPECT_EQ(size_of(DType::kBool), 1);
  EXPECT_TRUE(is_floating(DType::kF16));
  EXPECT_FALSE(is_floating(DType::kBool));
}

TEST(DType, Bf16RoundsToNearestEven) {
  // bf16 keeps 8 bits of significand: around 1 its steps are 2^-7, and ties go to the even neighbour.
  EXPECT_THAT(rounded(DType::kBF16, {1, 1 + 0x1p-8F, 1 + 0x3p-8F, 1 + 0x1.01p-8F, -2.5F, 0, -0.0F}),
              ElementsAre(0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xc020, 0x0000, 0x8000));
  EXPECT_THAT(rounded(DType::kBF16, {std::numeric_limits<float>::max(), kInf, -kInf}),
              ElementsAre(0x7f80, 0x7f80, 0xff80));
}

TEST(DType, F16RoundsToNearestEvenAndHasSubnormals) {
  EXPECT_THAT(
      rounded(DType::kF16, {1, 1 + 0x1p-11F, 1 + 0x3p-11F, 65504, 65520, 0x1p-24F, 0x1p-25F, 0x1.8p-24F}),
      ElementsAre(0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7c00, 0x0001, 0x0000, 0x0002));
}

TEST(DType, EveryHalfValueSurvivesTheWayThroughFp32) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      const float wide = widened(dtype, std::vector<uint16_t>{half})[0];
      if (std::isnan(wide)) {
        const uint16_t back = rounded(dtype, {wide})[0];
        EXPECT_TRUE(std::isnan(widened(dtype, std::vector<uint16_t>{back})[0])) << bits;
      } else {
        ASSERT_EQ(rounded(dtype, {wide})[0], half) << name_of(dtype) << " " << bits;
      }
    }
  }
}

TEST(DType, OtherDtypesConvertByValue) {
  EXPECT_THAT(widened(DType::kF64, std::vector<double>{0.1, -1e300}), ElementsAre(0.1F, -kInf));
  EXPECT_THAT(widened(DType::kI64, std::vector<int64_t>{-5, 1LL << 40}), ElementsAre(-5, 0x1p40F));
  EXPECT_THAT(widened(DType::kI32, std::vector<int32_t>{-7}), ElementsAre(-7));
  EXPECT_THAT(widened(DType::kI16, std::vector<int16_t>{-300}), ElementsAre(-300));
  EXPECT_THAT(widened(DType::kI8, std::vector<int8_t>{-128}), ElementsAre(-128));
  EXPECT_THAT(widened(DType::kU8, std::vector<uint8_t>{255}), ElementsAre(255));
  EXPECT_THAT(widened(DType::kBool, std::vector<uint8_t>{0, 1}), ElementsAre(0, 1));
  const float value = 0.1F;
  double wide = 0;
  convert_from_f32(&value, 1, DType::kF64, &wide);
  EXPECT_EQ(wide, static_cast<double>(0.1F));
  int32_t integer = 0;
  EXPECT_THROW(convert_from_f32(&value, 1, DType::kI32, &integer), Error);
}

TEST(DType, SourcesMayBeUnaligned) {
  std::vector<char> bytes(1 + 2 * sizeof(double));
  const double values[] = {1.5, -2.5};
  std::memcpy(bytes.data() + 1, values, sizeof(values));
  float out[2];
  convert_to_f32(bytes.data() + 1, DType::kF64, 2, out);
  EXPECT_THAT(out, ElementsAre(1.5F, -2.5F));
  EXPECT_TRUE(all_finite(bytes.data() + 1, DType::kF64, 2));
}

TEST(DType, AllFiniteFindsOneBadElementAnywhere) {
  for (const float bad : {kNan, kInf, -kInf}) {
    for (const size_t at : {size_t{0}, size_t{4095}, size_t{4096}, size_t{9999}}) {
      std::vector<float> values(10'000, 1);
      EXPECT_TRUE(all_finite(values.data(), DType::kF32, 10'000));
      values[at] = bad;
      EXPECT_FALSE(all_finite(values.data(), DType::kF32, 10'000)) << bad << " at " << at;
      EXPECT_FALSE(all_finite(rounded(DType::kBF16, values).data(), DType::kBF16, 10'000));
      EXPECT_FALSE(all_finite(rounded(DType::kF16, values).data(), DType::kF16, 10'000));
    }
  }
  // Finite in its own dtype, though it would not fit fp32.
  const double large = 1e300;
  EXPECT_TRUE(all_finite(&large, DType::kF64, 1));
  const int64_t integer = -1;
  EXPECT_TRUE(all_finite(&integer, DType::kI64, 1));
}

}  // namespace
}  // namespace seer
