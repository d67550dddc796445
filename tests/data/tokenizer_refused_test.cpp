// Files that are damaged or that mean something we do not do: each is refused by name.
#include <ostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/data/tokenizer_files.h"

namespace seer {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(const std::string& text) {
  return test::message_of([&] { Tokenizer::from_json(text, "x.json"); });
}

struct Refusal {
  const char* pointer;   // JSON pointer to what is replaced
  const char* value;     // by what
  const char* expected;  // a part of the message
};

// GoogleTest would print the three addresses.
void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.pointer << " = " << refusal.value;
}

class TokenizerRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(TokenizerRefuses, ByName) {
  json file = test::small_tokenizer_json();
  ASSERT_EQ(error_of(file.dump()), "");
  file[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  EXPECT_THAT(error_of(file.dump()), AllOf(StartsWith("x.json: "), HasSubstr(GetParam().expected)));
}

INSTANTIATE_TEST_SUITE_P(
    Unsupported, TokenizerRefuses,
    testing::Values(
        Refusal{"/model/type", R"("WordPiece")", "model.type is \"WordPiece\""},
        Refusal{"/model/type", R"("Unigram")", "model.type is \"Unigram\""},
        Refusal{"/model/byte_fallback", "true", "model.byte_fallback"},
        Refusal{"/model/dropout", "0.1", "model.dropout"},
        Refusal{"/model/continuing_subword_prefix", R"("##")", "model.continuing_subword_prefix"},
        Refusal{"/model/end_of_word_suffix", R"("</w>")", "model.end_of_word_suffix"},
        Refusal{"/model/surprise", "1", "\"surprise\""},
        Refusal{"/normalizer", R"({"type": "NFKC"})", "normalizer is of type NFKC"},
        Refusal{"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})",
                "normalizer.normalizers[0] is of type Lowercase"},
        Refusal{"/pre_tokenizer", R"({"type": "Metaspace"})", "pre_tokenizer is of type Metaspace"},
        Refusal{"/pre_tokenizer", "null", "pre_tokenizer is missing"},
        Refusal{"/pre_tokenizer/pretokenizers/1", R"({"type": "Digits"})", "of type Digits"},
        Refusal{"/pre_tokenizer/pretokenizers", "[]", "does not end with ByteLevel"},
        Refusal{"/pre_tokenizer/pretokenizers/2", R"({"type": "Split"})", "comes after ByteLevel"},
        Refusal{"/pre_tokenizer/pretokenizers/0/behavior", R"("Removed")", "behavior is Removed"},
        Refusal{"/pre_tokenizer/pretokenizers/0/invert", "true", "invert is true"},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern", R"({"String": " "})", "\"String\""},
        Refusal{"/pre_tokenizer/pretokenizers/1/add_prefix_space", "true", "add_prefix_space is true"},
        Refusal{"/post_processor", R"({"type": "BertProcessing"})",
                "post_processor is of type BertProcessing"},
        Refusal{"/post_processor/single/2", R"({"SpecialToken": {"id": "</s>"}})", "post_processor.single"},
        Refusal{"/decoder", R"({"type": "WordPiece"})", "decoder is of type WordPiece"},
        Refusal{"/added_tokens/1/lstrip", "true", "added_tokens[1].lstrip"},
        Refusal{"/added_tokens/1/rstrip", "true", "added_tokens[1].rstrip"},
        Refusal{"/added_tokens/1/single_word", "true", "added_tokens[1].single_word"}));

INSTANTIATE_TEST_SUITE_P(
    Damaged, TokenizerRefuses,
    testing::Values(
        Refusal{"/model", "null", "model is missing"}, Refusal{"/model", "3", "model is number"},
        Refusal{"/model/vocab", "{}", "model.vocab is empty"}, Refusal{"/model/vocab/he", "-1", "-1"},
        Refusal{"/model/vocab/he", "4194304", "expected 0 to 4194303"},
        Refusal{"/model/vocab/he", "18446744073709551615", "expected 0 to 4194303"},
        Refusal{"/model/vocab/he", "1.5", "\"he\" is number"},
        Refusal{"/model/vocab/he", "[1]", "\"he\" is array"},
        Refusal{"/model/vocab/he", "{}", "\"he\" is object"},
        Refusal{"/model/vocab/he", "256", "256 belongs to two tokens"},
        Refusal{"/model/vocab/", "300", "empty token"},
        Refusal{"/model/vocab/\u20ac", "300", "byte-level alphabet"},
        Refusal{"/model/vocab/<s>", "300", "the added token \"<s>\" has the id 260, but 300"},
        Refusal{"/model/merges", R"({"h": "e"})", "model.merges is object"},
        Refusal{"/model/merges", "null", "model.merges is missing"},
        Refusal{"/model/vocab", "[]", "model.vocab is array"},
        Refusal{"/model/merges/1", R"("he")", "model.merges[1]"},
        Refusal{"/model/merges/1", R"("h  e")", "model.merges[1]"},
        Refusal{"/model/merges/1", R"(["h", "e", "y"])", "model.merges[1] has 3 tokens"},
        Refusal{"/model/merges/1", R"(["h", 1])", "model.merges[1] is number"},
        Refusal{"/model/merges/1", "{}", "model.merges[1] is object"},
        Refusal{"/model/merges/1", R"("h qu")", "model.merges[1] joins \"qu\""},
        Refusal{"/model/merges/1", R"("h h")", "model.merges[1] makes \"hh\""},
        Refusal{"/model/merges/1", R"("h \u20ac")", "model.merges[1] is not written"},
        Refusal{"/model/merges/3", R"("h e")", "model.merges[3] stands there twice"},
        Refusal{"/model/ignore_merges", "1", "model.ignore_merges is number"},
        Refusal{"/added_tokens", "{}", "added_tokens is object"},
        Refusal{"/added_tokens/0/id", "-3", "added_tokens[0].id is -3"},
        Refusal{"/added_tokens/0/id", "null", "added_tokens[0].id is missing"},
        Refusal{"/added_tokens/0/id", "261", "261 belongs to two tokens"},
        Refusal{"/added_tokens/0/content", R"("")", "added_tokens[0].content is empty"},
        Refusal{"/added_tokens/0/content", R"("</s>")", "\"</s>\" stands there twice"},
        Refusal{"/post_processor/special_tokens", "{}", "special_tokens.<s>"},
        Refusal{"/post_processor/special_tokens/<s>/ids/0", "999", "999 is out of range"},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("(a")", "the regex (a is invalid"},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("a*")", "match the empty string"},
        Refusal{"/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("\\w+")", "\\w"}));

TEST(TokenizerRefusesVocab, WithoutOneOfTheBytes) {
  json file = test::small_tokenizer_json();
  file["model"]["vocab"].erase("!");
  EXPECT_THAT(error_of(file.dump()), HasSubstr("no token for the byte 0x21"));
}

TEST(TokenizerRefusesText, ThatIsNoDocument) {
  EXPECT_THAT(error_of(R"({"model": {"vocab": {"a": 1e400}}})"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of(""), HasSubstr("x.json: invalid JSON at byte"));
  EXPECT_THAT(error_of("{\"model\":"), HasSubstr("x.json: invalid JSON at byte"));
  EXPECT_THAT(error_of("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error_of("{\"a\": \"\xff\"}"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of(std::string(100, '[')), HasSubstr("deeper than 64"));
  EXPECT_THAT(error_of(R"({"model": {}, "model": {}})"), HasSubstr("\"model\" stands there twice"));
  EXPECT_THAT(error_of(R"({"model": {"vocab": {"a": 1}, "vocab": {"b": 2}}})"), HasSubstr("twice"));
}

}  // namespace
}  // namespace seer
