#include "trainer/report/heat_map.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/trainer/report/png_reader.h"
#include "tests/trainer/report/sample_report.h"

namespace seer::report {
namespace {

using ::testing::HasSubstr;

test::Picture drawn(const BlockMap& map, MapPanel panel) {
  return test::read_png(encode_png(map_image(map, panel)));
}

BlockMap small_map() {
  // Row 1: the gate keeps the diagonal, misses the stronger first block. Row 2: it keeps the first.
  return {.blocks = 3,
          .block_size = 64,
          .target = {1, 9, 9, 0.75F, 0.25F, 9, 0.5F, 0, 0.5F},
          .gate = {1, 9, 9, 0.4F, 0.6F, 9, 0.8F, 0.1F, 0.1F},
          .kept = {1, 1, 1, 0, 1, 1, 1, 0, 0}};
}

TEST(BlockMap, HueSaysWhatIsKeptAndStrengthHowMuch) {
  const test::Picture target = drawn(small_map(), MapPanel::kTarget);
  ASSERT_EQ(target.width, 3);
  ASSERT_EQ(target.height, 3);
  const auto hue = [](const std::array<uint8_t, 4>& pixel) {
    return std::array{pixel[0], pixel[1], pixel[2]};
  };
  const auto blue = hue(target.at(0, 0));
  const auto orange = hue(target.at(0, 1));
  EXPECT_GT(blue[2], blue[0]);
  EXPECT_GT(orange[0], orange[2]);
  EXPECT_EQ(hue(target.at(1, 1)), blue);
  EXPECT_EQ(hue(target.at(0, 2)), blue);
  EXPECT_EQ(hue(target.at(2, 2)), orange);
  // Each row's largest is opaque; what has less mass is fainter.
  EXPECT_EQ(target.at(0, 1)[3], 255);
  EXPECT_LT(target.at(1, 1)[3], 200);
  EXPECT_EQ(target.at(0, 2)[3], target.at(2, 2)[3]);
  EXPECT_LT(target.at(1, 2)[3], 20);
  // Above the diagonal nothing is drawn, whatever the values there.
  for (const auto& [x, y] : {std::pair{1, 0}, {2, 0}, {2, 1}}) EXPECT_EQ(target.at(x, y)[3], 0);

  const test::Picture gate = drawn(small_map(), MapPanel::kGate);
  EXPECT_EQ(hue(gate.at(1, 1)), blue);
  const auto grey = hue(gate.at(0, 1));
  EXPECT_NEAR(grey[0], grey[2], 16);
  EXPECT_EQ(gate.at(1, 1)[3], 255);
}

TEST(BlockMap, LargeMapsShowTheStrongestBlockOfAPixel) {
  BlockMap map = test::sample_map(0, 0, 300);
  EXPECT_EQ(blocks_per_pixel(map), 2);
  std::fill(map.target.begin(), map.target.end(), 0.0F);
  std::fill(map.kept.begin(), map.kept.end(), uint8_t{1});
  const auto at = [](int64_t row, int64_t column) { return static_cast<size_t>(row * 300 + column); };
  map.target[at(201, 100)] = 1;  // the lower left block of its pixel
  map.kept[at(201, 100)] = 0;
  map.target[at(201, 101)] = 0.01F;
  const test::Picture picture = drawn(map, MapPanel::kTarget);
  ASSERT_EQ(picture.width, 150);
  EXPECT_EQ(picture.at(50, 100)[3], 255);
  EXPECT_GT(picture.at(50, 100)[0], picture.at(50, 100)[2]);  // left out: orange
  EXPECT_EQ(blocks_per_pixel(test::sample_map(0, 0, 256)), 1);
}

TEST(BlockMap, ValuesThatAreNotFiniteAreEmpty) {
  BlockMap map = small_map();
  map.target[0] = std::numeric_limits<float>::quiet_NaN();
  map.target[3] = std::numeric_limits<float>::infinity();
  const test::Picture picture = drawn(map, MapPanel::kTarget);
  EXPECT_LT(picture.at(0, 0)[3], 20);
  EXPECT_LT(picture.at(0, 1)[3], 20);
  EXPECT_EQ(picture.at(1, 1)[3], 255);
}

TEST(BlockMap, RefusesAMapOfAnotherSize) {
  BlockMap map = small_map();
  map.kept.pop_back();
  EXPECT_THROW(map_image(map, MapPanel::kGate), Error);
}

TEST(HeadMap, ValuesRiseFromTransparentToOpaque) {
  const std::string svg =
      render({.id = "h", .title = "t<", .values = {{0.0, 0.5}, {0.25, 1.0}}, .low = 0, .high = 1});
  EXPECT_THAT(svg, HasSubstr("<title id=\"h-t\">t&lt;</title>"));
  const std::string prefix = "href=\"data:image/png;base64,";
  const size_t begin = svg.find(prefix) + prefix.size();
  const test::Picture picture =
      test::read_png(test::base64_decoded(svg.substr(begin, svg.find('"', begin) - begin)));
  EXPECT_EQ(picture.at(0, 0)[3], 0);
  EXPECT_NEAR(picture.at(1, 0)[3], 128, 2);
  EXPECT_NEAR(picture.at(0, 1)[3], 64, 2);
  EXPECT_EQ(picture.at(1, 1)[3], 255);
}

}  // namespace
}  // namespace seer::report
