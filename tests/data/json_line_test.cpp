#include "data/json_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string text_of(const std::string& line, const std::string& field = "text") {
  Document document;
  EXPECT_EQ(parse_json_line(line, field, document), std::nullopt) << line;
  EXPECT_THAT(document.messages, SizeIs(0));
  return document.text;
}

std::string problem_of(const std::string& line) {
  Document document;
  const auto problem = parse_json_line(line, "text", document);
  EXPECT_TRUE(problem.has_value()) << line;
  return problem.value_or("");
}

TEST(JsonLineTest, Text) {
  EXPECT_EQ(text_of(R"({"text": "a\u00e9\n"})"), "a\xc3\xa9\n");
  EXPECT_EQ(text_of(R"({"id": {"text": 3, "messages": 1}, "x": [{"text": null}], "text": "", "y": 1.5})"),
            "");
  EXPECT_EQ(text_of(R"({"text": "first", "text": "last"})"), "last");
  EXPECT_EQ(text_of(R"({"body": "b", "text": 3})", "body"), "b");
  EXPECT_EQ(text_of(R"({"messages": [{"role": "user", "content": "c"}], "text": "wins"})"), "wins");
  EXPECT_EQ(text_of("\t {\"text\":\"a\"} "), "a");
}

TEST(JsonLineTest, Messages) {
  Document document;
  document.text = "left over";
  ASSERT_EQ(parse_json_line(R"({"messages": [{"role": "system", "content": "s", "extra": {"role": 1}},
                                             {"content": "", "role": "user"}], "id": 3})",
                            "text", document),
            std::nullopt);
  ASSERT_THAT(document.messages, SizeIs(2));
  EXPECT_EQ(document.messages[0].role, "system");
  EXPECT_EQ(document.messages[0].content, "s");
  EXPECT_EQ(document.messages[1].role, "user");
  EXPECT_EQ(document.messages[1].content, "");
}

TEST(JsonLineTest, ARepeatedMessagesKeyStartsAnew) {
  Document document;
  ASSERT_EQ(
      parse_json_line(
          R"({"messages": [{"role": "a", "content": "b"}], "messages": [{"role": "c", "content": "d"}]})",
          "text", document),
      std::nullopt);
  ASSERT_THAT(document.messages, SizeIs(1));
  EXPECT_EQ(document.messages[0].role, "c");
}

TEST(JsonLineTest, WhatIsWrongIsSaid) {
  EXPECT_THAT(problem_of("{\"text\": \"a\""), AllOf(HasSubstr("not valid JSON"), HasSubstr("byte 13")));
  EXPECT_THAT(problem_of("plain words"), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem_of("{\"text\": \"\xff\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(problem_of(R"({"text": "\ud800"})"), HasSubstr("surrogate"));
  EXPECT_THAT(problem_of(R"({"text": "a"} {"text": "b"})"), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem_of(R"(["text"])"), HasSubstr("an array where an object"));
  EXPECT_THAT(problem_of("3"), HasSubstr("a number where an object"));
  EXPECT_THAT(problem_of(R"({"txt": "a"})"), HasSubstr("neither `text` nor `messages`"));
  EXPECT_THAT(problem_of(R"({"text": 3})"), HasSubstr("`text` is a number"));
  EXPECT_THAT(problem_of(R"({"text": {"a": 1}})"), HasSubstr("`text` is an object"));
  EXPECT_THAT(problem_of(R"({"text": null})"), HasSubstr("`text` is null"));
  EXPECT_THAT(problem_of(R"({"messages": "a"})"), HasSubstr("`messages` is a string"));
  EXPECT_THAT(problem_of(R"({"messages": []})"), HasSubstr("`messages` is empty"));
  EXPECT_THAT(problem_of(R"({"messages": [[1]]})"), HasSubstr("messages[0] is an array"));
  EXPECT_THAT(problem_of(R"({"messages": [{"role": "user", "content": "a"}, {"role": "user"}]})"),
              HasSubstr("messages[1] lacks `content`"));
  EXPECT_THAT(problem_of(R"({"messages": [{"content": "user"}]})"), HasSubstr("lacks `role`"));
  EXPECT_THAT(problem_of(R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})"),
              HasSubstr("messages[0].content is an array"));
}

TEST(JsonLineTest, AMessageAboutALongLineStaysShort) {
  EXPECT_LT(problem_of("{\"text\": \"" + std::string(1 << 20, 'a') + "\xff\"}").size(), 400U);
  EXPECT_LT(problem_of("{\"text\": 1" + std::string(1 << 20, '9') + "}").size(), 400U);
}

TEST(JsonLineTest, DeepNestingIsNoProblem) {
  const std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  EXPECT_EQ(text_of("{\"x\": " + deep + ", \"text\": \"a\"}"), "a");
  EXPECT_THAT(problem_of(std::string(1 << 20, '[')), HasSubstr("an array where an object"));
}

}  // namespace
}  // namespace seer
