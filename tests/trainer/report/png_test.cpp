#include "trainer/report/png.h"

#include <random>

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/trainer/report/png_reader.h"

namespace seer::report {
namespace {

TEST(Png, DecodesToWhatWasEncoded) {
  std::mt19937 random(3);
  for (const auto& [width, height, colours] :
       {std::array{1, 1, 1}, std::array{7, 3, 5}, std::array{256, 256, 256}}) {
    IndexedImage image{.width = width, .height = height};
    for (int i = 0; i < colours; ++i) {
      image.palette.push_back({static_cast<uint8_t>(random()), static_cast<uint8_t>(random()),
                               static_cast<uint8_t>(random()), static_cast<uint8_t>(random())});
    }
    for (int i = 0; i < width * height; ++i) {
      image.pixels.push_back(static_cast<uint8_t>(random() % static_cast<uint32_t>(colours)));
    }
    const std::string uri = data_uri(image);
    const std::string prefix = "data:image/png;base64,";
    ASSERT_TRUE(uri.starts_with(prefix));
    const test::Picture picture = test::read_png(test::base64_decoded(uri.substr(prefix.size())));
    ASSERT_EQ(picture.width, width);
    ASSERT_EQ(picture.height, height);
    for (size_t i = 0; i < image.pixels.size(); ++i) {
      ASSERT_EQ(picture.pixels[i], image.palette[image.pixels[i]]) << "pixel " << i;
    }
  }
}

TEST(Png, Base64OfEveryLength) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
  EXPECT_EQ(test::base64_decoded(base64(std::string("\0\x80 rest", 7))), std::string("\0\x80 rest", 7));
}

TEST(Png, RefusesWhatIsNoImage) {
  EXPECT_THROW(encode_png({.width = 0, .height = 1}), Error);
  EXPECT_THROW(encode_png({.width = 2, .height = 1, .pixels = {0}, .palette = {{}}}), Error);
  EXPECT_THROW(encode_png({.width = 1, .height = 1, .pixels = {1}, .palette = {{}}}), Error);
}

}  // namespace
}  // namespace seer::report
