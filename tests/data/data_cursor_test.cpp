#include "data/data_cursor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/data/corpus_files.h"

namespace seer {
namespace {

using ::testing::HasSubstr;

DataCursor sample() {
  return {.fingerprint = "layout=packed files=3 \"quoted\"",
          .next_sequence = int64_t{1} << 40,
          .restart = {.epoch = 3,
                      .file = 1,
                      .record = 17,
                      .first_sequence = (int64_t{1} << 40) - 2,
                      .epoch_bad_lines = 2,
                      .carry = {0, 5, 151935},
                      .carry_boundaries = {1, 3},
                      .stats = {1, 2, 3, 4, 5, 6}},
          .stats = {7, 8, 9, 10, 11, 12}};
}

TEST(DataCursorTest, JsonGivesTheSameCursorBack) {
  const std::string json = to_json(sample());
  EXPECT_EQ(json.find('\n'), std::string::npos);
  EXPECT_EQ(data_cursor_from_json(json), sample());
  EXPECT_EQ(data_cursor_from_json(to_json(DataCursor{})), DataCursor{});
}

TEST(DataCursorTest, EveryMissingOrWrongKeyIsNamed) {
  const auto whole = nlohmann::json::parse(to_json(sample())).flatten();
  for (const auto& [pointer, value] : whole.items()) {
    for (const nlohmann::json& wrong :
         {nlohmann::json(-1), nlohmann::json({{"a", 1.5}}), nlohmann::json(nullptr)}) {
      nlohmann::json damaged = whole.unflatten();
      damaged[nlohmann::json::json_pointer(pointer)] = wrong;
      const std::string message = test::error_of([&] { data_cursor_from_json(damaged.dump()); });
      EXPECT_THAT(message, HasSubstr("data cursor"));
    }
  }
  nlohmann::json lacking = nlohmann::json::parse(to_json(sample()));
  lacking["restart"]["stats"].erase("tokens");
  EXPECT_THAT(test::error_of([&] { data_cursor_from_json(lacking.dump()); }),
              HasSubstr("`restart.stats.tokens` is missing"));
  EXPECT_THAT(test::error_of([] { data_cursor_from_json("{\"version\": 2}"); }), HasSubstr("version 2"));
  EXPECT_THAT(test::error_of([] { data_cursor_from_json("[]"); }), HasSubstr("not an object"));
  EXPECT_THAT(test::error_of([] { data_cursor_from_json("{"); }), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace seer
