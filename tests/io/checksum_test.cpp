#include "src/io/checksum.h"

#include <string>

#include <gtest/gtest.h>

namespace seer {
namespace {

TEST(Crc32, IsTheUsualOne) {
  Crc32 crc;
  EXPECT_EQ(crc.value(), 0U);
  crc.add("123456789");
  EXPECT_EQ(crc.value(), 0xcbf43926U);
}

TEST(Crc32, PartsAreTheWhole) {
  const std::string text = "The old man went down to the harbour";
  Crc32 whole;
  whole.add(text);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Crc32 parts;
    parts.add(text.substr(0, cut));
    parts.add(text.substr(cut));
    EXPECT_EQ(parts.value(), whole.value()) << cut;
  }
}

}  // namespace
}  // namespace seer
