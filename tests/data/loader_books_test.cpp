// The whole way from real books to batches, with the real tokenizer of seer-nano.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/json_line.h"
#include "data/loader.h"
#include "data/record.h"
#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::HasSubstr;

class LoaderBooksTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    tokenizer_ = std::make_shared<Tokenizer>(test::source_dir() / "configs" / "quickstart" / "seer-nano");
  }
  static void TearDownTestSuite() { tokenizer_.reset(); }

  /// Prose with paragraphs and quotes, differing from book to book.
  static std::string book(int number) {
    std::string text;
    for (int i = 0; i < 300; ++i)
      text += fmt::format("\"Chapter {} of book {},\" she said; it wasn't the {}th time.\n\n", i, number,
                          i * number);
    return text;
  }

  inline static std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(LoaderBooksTest, SequencesDecodeToTheBooks) {
  const test::TempDir folder;
  const std::vector<std::string> books = {book(1), book(2), book(3)};
  test::write_bytes(folder / "books.jsonl.zst", test::zstd(test::json_lines(books)));
  LoaderOptions options;
  options.files = {(folder / "books.jsonl.zst").string()};
  options.sequence_length = 512;
  options.shuffle = false;
  options.max_epochs = 1;
  options.vocab_size = tokenizer_->vocab_size();
  options.tokenizer_threads = 2;
  Loader loader(options, std::make_shared<TokenizerEncoder>(tokenizer_, detect_chat_format(*tokenizer_)));
  std::vector<int32_t> ids;
  while (const auto sequence = loader.next())
    ids.insert(ids.end(), sequence->ids.begin(), sequence->ids.end());

  std::vector<int32_t> expected;
  for (const std::string& text : books) tokenizer_->encode(text, {}, expected);
  EXPECT_EQ(loader.stats().tokens, static_cast<int64_t>(expected.size()));
  expected.resize(expected.size() / 512 * 512);
  EXPECT_EQ(ids, expected);
  const std::string whole = books[0] + books[1] + books[2];
  const std::string decoded = tokenizer_->decode(ids, true);
  EXPECT_EQ(decoded, whole.substr(0, decoded.size()));
}

TEST_F(LoaderBooksTest, TheQuickstartBooksDecodeAndResume) {
  const auto path = test::source_dir() / "configs" / "quickstart" / "books.jsonl.zst";
  const auto source = open_records(expand_inputs({path.string()}).at(0), int64_t{1} << 30);
  Record record;
  Document book;
  ASSERT_TRUE(source->next(record));
  ASSERT_EQ(parse_json_line(record.bytes, "text", book), std::nullopt);

  LoaderOptions options;
  options.files = {path.string()};
  options.sequence_length = 4096;
  options.shuffle = false;
  options.vocab_size = tokenizer_->vocab_size();
  const auto encoder = std::make_shared<TokenizerEncoder>(tokenizer_, std::nullopt);
  Loader loader(options, encoder);
  std::vector<int32_t> ids;
  for (int i = 0; i < 10; ++i) {
    const auto sequence = loader.next();
    ids.insert(ids.end(), sequence->ids.begin(), sequence->ids.end());
  }
  const std::string decoded = tokenizer_->decode(ids, true);
  ASSERT_LT(decoded.size(), book.text.size());
  EXPECT_EQ(decoded, book.text.substr(0, decoded.size()));
  while (loader.cursor().restart.record < 2) ASSERT_TRUE(loader.next());
  Loader resumed(options, encoder, loader.cursor());
  for (int i = 0; i < 30; ++i) EXPECT_EQ(resumed.next(), loader.next());
}

TEST_F(LoaderBooksTest, ConversationsNeedATemplate) {
  Document document;
  document.messages = {{"user", "Hello"}, {"assistant", "Hi."}};
  std::vector<int32_t> ids;
  EXPECT_THAT(test::error_of([&] { TokenizerEncoder(tokenizer_, std::nullopt).encode(document, ids); }),
              HasSubstr("data.chat_template"));
  TokenizerEncoder(tokenizer_, ChatFormat::kChatMl).encode(document, ids);
  EXPECT_EQ(tokenizer_->decode(ids),
            "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n");
  EXPECT_NE(TokenizerEncoder(tokenizer_, std::nullopt).fingerprint(),
            TokenizerEncoder(tokenizer_, ChatFormat::kChatMl).fingerprint());
}

}  // namespace
}  // namespace seer
