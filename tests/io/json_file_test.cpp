#include "src/io/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(IntegerAt, ReadsWhatIsAnIntegerHoweverWritten) {
  const auto json =
      parse_json(R"({"a": 7, "b": -3, "c": 2e3, "d": -9223372036854775808, "e": 9223372036854775807})", "t");
  EXPECT_EQ(integer_at(json, "a"), 7);
  EXPECT_EQ(integer_at(json, "b"), -3);
  EXPECT_EQ(integer_at(json, "c"), 2000);
  EXPECT_EQ(integer_at(json, "d"), INT64_MIN);
  EXPECT_EQ(integer_at(json, "e"), INT64_MAX);
}

TEST(IntegerAt, RefusesWhatIsNone) {
  const auto json = parse_json(
      R"({"a": 1e300, "b": 1.5, "c": "7", "d": null, "e": 9223372036854775808, "f": -1e19, "g": [1], "h": true})",
      "t");
  for (const char* key : {"a", "b", "c", "d", "e", "f", "g", "h", "missing"}) {
    try {
      (void)integer_at(json, key, "file.json");
      ADD_FAILURE() << key << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("file.json: "), HasSubstr(key)));
    }
  }
}

TEST(JsonFile, SyntaxErrorsAreSaidWithoutTheLibrarysNumbers) {
  try {
    parse_json("[1, 2", "t.json");
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("t.json: not valid JSON: parse error at line 1"));
  }
}

}  // namespace
}  // namespace seer
