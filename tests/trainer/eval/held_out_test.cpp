// One long sequence out of texts of any length.
#include "trainer/eval/held_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/eval/eval_files.h"

namespace seer::test {
namespace {

using ::testing::HasSubstr;

/// Four documents of 10, 20, 30 and 40 tokens.
class HeldOutSequence : public testing::Test {
 protected:
  HeldOutSequence() {
    for (int64_t n = 1; n <= 4; ++n) {
      documents_.push_back(random_ids(n, 10 * n, config_.vocab_size));
      all_.insert(all_.end(), documents_.back().begin(), documents_.back().end());
    }
    write_documents(folder_ / "ids.safetensors", documents_);
  }

  std::vector<int32_t> sequence(int64_t length, const std::shared_ptr<const Tokenizer>& tokenizer = nullptr) {
    return held_out_sequence({.data = {(folder_ / "ids.safetensors").string()}}, config_, tokenizer, length);
  }
  std::vector<int32_t> first(int64_t length) const { return {all_.begin(), all_.begin() + length}; }

  const TempDir folder_;
  const ModelConfig config_ = load_model_config(nano_model());
  std::vector<std::vector<int32_t>> documents_;
  std::vector<int32_t> all_;
};

TEST_F(HeldOutSequence, CutsTheFirstText) {
  EXPECT_EQ(sequence(7), first(7));
  EXPECT_EQ(sequence(10), first(10));
}

TEST_F(HeldOutSequence, JoinsWhatFollowsWhereItIsTooShort) {
  for (const int64_t length : {11, 30, 59, 61, 99, 100}) EXPECT_EQ(sequence(length), first(length)) << length;
}

TEST_F(HeldOutSequence, BeginsWithTheBosOfTheTokenizer) {
  const std::shared_ptr<const Tokenizer> tokenizer = open_tokenizer(nano_model(), config_);
  ASSERT_TRUE(tokenizer->bos_id().has_value());
  std::vector<int32_t> expected = first(41);
  expected.insert(expected.begin(), *tokenizer->bos_id());
  EXPECT_EQ(sequence(42, tokenizer), expected);

  for (std::vector<int32_t>& ids : documents_) ids.insert(ids.begin(), *tokenizer->bos_id());
  write_documents(folder_ / "ids.safetensors", documents_);
  EXPECT_EQ(sequence(42, tokenizer), expected) << "those of the documents are not in it";
  expected = all_;
  expected.insert(expected.begin(), *tokenizer->bos_id());
  EXPECT_EQ(sequence(101, tokenizer), expected);
}

TEST_F(HeldOutSequence, SaysHowManyTokensThereAre) {
  const Error error = error_of([&] { sequence(101); });
  EXPECT_THAT(error.what(), HasSubstr("--seq 101"));
  EXPECT_THAT(error.what(), HasSubstr("ids.safetensors have 100 tokens"));
  EXPECT_THAT(error_of([&] { sequence(1); }).what(), HasSubstr("at least 2"));
}

}  // namespace
}  // namespace seer::test
