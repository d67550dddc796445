#include "trainer/table.h"

#include <gtest/gtest.h>

#include "src/core/error.h"

namespace seer {
namespace {

TEST(TextTable, AlignsNumbersRightAndTextLeft) {
  TextTable table({"layer", "loss before", "after", "note"});
  table.add_row({"0", "1.25", "-0.5", "first"});
  table.add_row({"11", "0.125", "-", ""});
  table.add_rule();
  table.add_row({"", "12345.125", "2.1 MB", "all"});
  EXPECT_EQ(table.to_string(),
            "layer  loss before   after  note\n"
            "---------------------------------\n"
            "    0         1.25    -0.5  first\n"
            "   11        0.125       -\n"
            "---------------------------------\n"
            "         12345.125  2.1 MB  all\n");
}

TEST(TextTable, TextColumnOfMixedCellsStaysLeft) {
  TextTable table({"name", "shape"});
  table.add_row({"wq", "[64, 64]"});
  table.add_row({"7", "8"});
  EXPECT_EQ(table.to_string(),
            "name  shape\n"
            "--------------\n"
            "wq    [64, 64]\n"
            "7     8\n");
}

TEST(TextTable, WithoutRows) {
  EXPECT_EQ(TextTable({"a", "b"}).to_string(), "a  b\n----\n");
}

TEST(TextTable, RefusesRowsOfAnotherWidth) {
  TextTable table({"a", "b"});
  EXPECT_THROW(table.add_row({"1"}), Error);
  EXPECT_THROW(TextTable({}), Error);
}

}  // namespace
}  // namespace seer
