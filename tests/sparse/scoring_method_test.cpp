#include "src/sparse/scoring_method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"

namespace seer {
namespace {

TEST(ScoringMethod, NamesReadBack) {
  EXPECT_THAT(scoring_method_names(),
              testing::ElementsAre("gate", "oracle", "minmax", "mean", "antidiagonal8", "antidiagonal16",
                                   "window", "random"));
  for (const std::string& name : scoring_method_names())
    EXPECT_EQ(to_string(parse_scoring_method(name)), name);
  EXPECT_EQ(parse_scoring_method("antidiagonal16").stride, 16);
  EXPECT_EQ(to_string({.kind = ScoringMethod::Kind::kRandom, .seed = 7}), "random");
}

TEST(ScoringMethod, OtherNamesAreAUsageErrorThatLists) {
  for (const char* name : {"", "Gate", "dense", "antidiagonal", "antidiagonal4"}) {
    try {
      (void)parse_scoring_method(name);
      ADD_FAILURE() << name << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.what(), testing::HasSubstr("gate, oracle, minmax"));
    }
  }
  EXPECT_THROW((void)to_string({.kind = ScoringMethod::Kind::kAntidiagonal, .stride = 4}), Error);
}

}  // namespace
}  // namespace seer
