#include "data/loader.h"

#include <chrono>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/file_list.h"
#include "src/core/error.h"
#include "src/core/rng.h"
#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int32_t kSeparator = 300;

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    options_.files = {folder_.path().string()};
    options_.sequence_length = 64;
    options_.separator = kSeparator;
    options_.shuffle = false;
    options_.max_epochs = 1;
  }

  void write(const std::string& name, std::string_view bytes) { test::write_bytes(folder_ / name, bytes); }

  std::vector<TokenSequence> all() const {
    Loader loader(options_, encoder_);
    std::vector<TokenSequence> sequences;
    while (auto sequence = loader.next()) sequences.push_back(std::move(*sequence));
    return sequences;
  }

  std::vector<TokenSequence> first(int64_t count) const {
    Loader loader(options_, encoder_);
    std::vector<TokenSequence> sequences;
    for (int64_t i = 0; i < count; ++i) sequences.push_back(loader.next().value());
    return sequences;
  }

  std::string error() const {
    return test::error_of([&] { all(); });
  }

  test::TempDir folder_;
  LoaderOptions options_;
  std::shared_ptr<const TokenEncoder> encoder_ = std::make_shared<test::ByteEncoder>();
};

/// Bytes of the texts, each with the separator.
std::vector<int32_t> joined(const std::vector<std::string>& texts) {
  std::vector<int32_t> ids;
  for (const std::string& text : texts) {
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    ids.push_back(kSeparator);
  }
  return ids;
}

std::vector<TokenSequence> cut(const std::vector<int32_t>& ids, size_t length) {
  std::vector<TokenSequence> sequences;
  for (size_t at = 0; at + length <= ids.size(); at += length) {
    const auto begin = ids.begin() + static_cast<int64_t>(at);
    sequences.push_back({{begin, begin + static_cast<int64_t>(length)},
                         {0, static_cast<int64_t>(length)},
                         static_cast<int64_t>(sequences.size())});
  }
  return sequences;
}

std::vector<std::string> concatenation(const std::vector<std::vector<std::string>>& lists) {
  std::vector<std::string> all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

TEST_F(LoaderTest, JoinedRunsOnAcrossDocumentsFilesAndFormats) {
  const auto texts = test::random_texts(1, 90, 5, 200);
  const auto part = [&](size_t begin, size_t end) {
    return std::vector<std::string>(texts.begin() + static_cast<int64_t>(begin),
                                    texts.begin() + static_cast<int64_t>(end));
  };
  write("a.jsonl", test::json_lines(part(0, 20)));
  write("b.jsonl.gz", test::gzip(test::json_lines(part(20, 40))));
  write("c.jsonl.zst", test::zstd(test::json_lines(part(40, 60))));
  write("d.jsonl", "");
  write("e.txt", texts[60]);
  write("f.txt.gz", test::gzip(texts[61]));
  const std::string lines = test::json_lines(part(62, 90));
  write("g.json", lines.substr(0, lines.size() - 1));
  options_.max_epochs = 2;

  const std::vector<int32_t> epoch = joined(texts);
  auto expected = cut(epoch, 64);
  const auto count = static_cast<int64_t>(expected.size());
  for (int64_t i = 0; i < count; ++i) {
    expected.push_back(expected[static_cast<size_t>(i)]);
    expected.back().number += count;
    expected.back().epoch = 1;
  }
  EXPECT_EQ(all(), expected);

  Loader loader(options_, encoder_);
  while (loader.next()) {
  }
  EXPECT_EQ(loader.stats().documents, 180);
  EXPECT_EQ(loader.stats().tokens, 2 * static_cast<int64_t>(epoch.size()));
  EXPECT_EQ(loader.stats().dropped_tokens, 2 * static_cast<int64_t>(epoch.size() % 64));
}

TEST_F(LoaderTest, PackedKeepsDocumentsWhole) {
  const auto texts = test::random_texts(2, 60, 1, 90);
  write("a.jsonl", test::json_lines(texts));
  options_.layout = DataLayout::kPacked;
  options_.min_document_tokens = 16;
  std::vector<int32_t> kept;
  std::vector<int32_t> expected;
  for (const TokenSequence& pack : all()) {
    EXPECT_LE(pack.ids.size(), 64U);
    EXPECT_EQ(pack.cu_seqlens.back(), static_cast<int64_t>(pack.ids.size()));
    kept.insert(kept.end(), pack.ids.begin(), pack.ids.end());
  }
  for (const std::string& text : texts) {
    std::vector<int32_t> ids = joined({text});
    if (ids.size() < 16) continue;
    ids.resize(std::min<size_t>(ids.size(), 64));
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(kept, expected);
}

TEST_F(LoaderTest, IdsFromFilesAreUsedAsTheyAre) {
  write("a.npy", test::npy({2, 3}, {1, 2, 3, 4, 5, 6}));
  write("b.npy", test::npy({4}, {7, 8, 9, 10}));
  options_.sequence_length = 5;
  encoder_ = nullptr;
  EXPECT_EQ(all(), (std::vector<TokenSequence>{{{1, 2, 3, 4, 5}, {0, 5}, 0}, {{6, 7, 8, 9, 10}, {0, 5}, 1}}));
  options_.layout = DataLayout::kPacked;
  options_.sequence_length = 7;
  EXPECT_EQ(all(),
            (std::vector<TokenSequence>{{{1, 2, 3, 4, 5, 6}, {0, 3, 6}, 0}, {{7, 8, 9, 10}, {0, 4}, 1}}));
}

TEST_F(LoaderTest, AStreamLongerThanAPieceIsRead) {
  std::vector<int32_t> ids(2'500'000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  write("a.npy", test::npy({static_cast<int64_t>(ids.size())}, ids));
  options_.sequence_length = 300'000;
  EXPECT_EQ(all(), cut(ids, 300'000));
  options_.layout = DataLayout::kPacked;
  options_.sequence_length = 1'500'000;
  const auto packs = all();
  ASSERT_THAT(packs, SizeIs(1));
  EXPECT_EQ(packs[0].ids, std::vector<int32_t>(ids.begin(), ids.begin() + 1'500'000));
}

TEST_F(LoaderTest, ConversationsAreDocuments) {
  write("a.jsonl",
        R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "there"}]})");
  const auto expected = joined({"user=hi;assistant=there;"});
  options_.sequence_length = static_cast<int64_t>(expected.size());
  const auto sequences = all();
  ASSERT_THAT(sequences, SizeIs(1));
  EXPECT_EQ(sequences[0].ids, expected);
}

TEST_F(LoaderTest, ShuffleIsTheDocumentedOrder) {
  std::vector<std::vector<std::string>> files;
  for (uint64_t f = 0; f < 5; ++f) {
    files.push_back(test::random_texts(f + 1, 30, 5, 120));
    write(fmt::format("part{}.jsonl", f), test::json_lines(files.back()));
  }
  options_.shuffle = true;
  options_.shuffle_buffer = 10;
  options_.seed = 9;
  options_.max_epochs = 2;

  std::vector<TokenSequence> expected;
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    std::vector<std::vector<std::string>> ordered;
    for (const int64_t f : file_order(5, 9, epoch, true)) ordered.push_back(files[static_cast<size_t>(f)]);
    for (TokenSequence& sequence : cut(joined(concatenation(ordered)), 64)) {
      expected.push_back(std::move(sequence));
      expected.back().epoch = epoch;
    }
  }
  ASSERT_NE(expected.size() % 10, 0U) << "a short last block belongs to the test";
  for (size_t begin = 0; begin < expected.size(); begin += 10) {
    Rng rng = Rng(9).fork("block").fork(uint64_t{begin / 10});
    rng.shuffle(std::span(expected).subspan(begin, std::min<size_t>(10, expected.size() - begin)));
  }
  for (size_t i = 0; i < expected.size(); ++i) expected[i].number = static_cast<int64_t>(i);
  EXPECT_EQ(all(), expected);
}

TEST_F(LoaderTest, ThreadsAndPrefetchDoNotChangeTheResult) {
  for (uint64_t f = 0; f < 4; ++f)
    write(fmt::format("part{}.jsonl", f), test::json_lines(test::random_texts(f + 1, 1000, 0, 300)));
  write("ids.npy", test::npy({3000, 7}, std::vector<int32_t>(21000, 5)));
  options_.shuffle = true;
  options_.shuffle_buffer = 16;
  options_.max_epochs = 0;
  const auto expected = first(20'000);
  options_.tokenizer_threads = 4;
  options_.prefetch = 100;
  EXPECT_EQ(first(20'000), expected);
  options_.tokenizer_threads = 3;
  options_.prefetch = 0;
  EXPECT_EQ(first(20'000), expected);
}

TEST_F(LoaderTest, ADocumentLargerThanEverythingElse) {
  const auto texts =
      concatenation({test::random_texts(1, 3, 5, 50), test::random_texts(2, 1, 3'000'000, 3'000'000),
                     test::random_texts(3, 3, 5, 50)});
  write("a.jsonl", test::json_lines(texts));
  options_.tokenizer_threads = 2;
  EXPECT_EQ(all(), cut(joined(texts), 64));
}

TEST_F(LoaderTest, BadLinesAreSkippedUpToTheBudget) {
  const auto texts = test::random_texts(1, 40, 20, 60);
  write("a.jsonl", test::json_lines({texts.begin(), texts.begin() + 20}) + "not json\n{\"text\": 5}\n" +
                       test::json_lines({texts.begin() + 20, texts.end()}) +
                       "{\"text\": \"please refuse\"}\n");
  options_.max_bad_lines = 3;
  EXPECT_EQ(all(), cut(joined(texts), 64));
  options_.max_epochs = 3;
  EXPECT_THAT(all(), SizeIs(3 * cut(joined(texts), 64).size())) << "the budget holds for each epoch anew";
  options_.max_bad_lines = 2;
  EXPECT_THAT(error(), AllOf(HasSubstr("a.jsonl:43: this text is refused"), HasSubstr("max_bad_lines is 2")));
  options_.max_bad_lines = 1;
  EXPECT_THAT(error(), HasSubstr("a.jsonl:22: `text` is a number"));
  options_.max_bad_lines = 0;
  EXPECT_THAT(error(), HasSubstr("a.jsonl:21: not valid JSON"));
}

TEST_F(LoaderTest, WhatCameBeforeAnErrorIsHandedOutAndTheErrorStays) {
  const auto texts = test::random_texts(1, 40, 20, 60);
  write("a.jsonl", test::json_lines(texts) + "bad\n");
  options_.tokenizer_threads = 3;
  Loader loader(options_, encoder_);
  for (const TokenSequence& sequence : cut(joined(texts), 64)) EXPECT_EQ(loader.next(), sequence);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(test::error_of([&] { loader.next(); }), HasSubstr("a.jsonl:41"));
}

TEST_F(LoaderTest, TextFilesAndLongLinesCountAsLines) {
  write("a.txt", "broken \xff bytes");
  EXPECT_THAT(error(), HasSubstr("a.txt:1: invalid UTF-8 at byte 7"));
  write("a.txt", std::string(500, 'x'));
  options_.max_document_bytes = 400;
  EXPECT_THAT(error(), HasSubstr("a.txt:1: longer than 400 bytes"));
  write("a.txt", std::string(300, 'x'));
  write("b.jsonl", test::json_lines({"short", std::string(500, 'y')}));
  EXPECT_THAT(error(), HasSubstr("b.jsonl:2: longer than 400 bytes"));
}

TEST_F(LoaderTest, DamagedFilesAreNamed) {
  write("a.jsonl", test::json_lines(test::random_texts(1, 50, 20, 60)));
  const std::string packed = test::gzip(test::json_lines(test::random_texts(2, 50, 20, 60)));
  write("b.jsonl.gz", packed.substr(0, packed.size() / 2));
  EXPECT_THAT(error(), AllOf(HasSubstr("b.jsonl.gz"), HasSubstr("truncated")));
}

TEST_F(LoaderTest, IdsOutsideTheVocabularyAreNamed) {
  options_.vocab_size = 280;
  write("a.npy", test::npy({2, 4}, {1, 2, 3, 4, 5, 280, 7, 8}));
  EXPECT_THAT(error(), AllOf(HasSubstr("a.npy: position 5"), HasSubstr("id 280"), HasSubstr("280")));
  std::filesystem::remove(folder_ / "a.npy");
  write("a.jsonl", fmt::format("\n{}", test::json_lines({"abc"})));
  EXPECT_THAT(error(), AllOf(HasSubstr("a.jsonl:2: token 3"), HasSubstr("id 300")));
}

TEST_F(LoaderTest, AnEpochWithoutASequenceIsAnError) {
  write("a.jsonl", "");
  options_.max_epochs = 0;
  EXPECT_THAT(error(),
              AllOf(HasSubstr("no sequence of 64 tokens"), HasSubstr("0 document(s) with 0 token(s)")));
  write("b.jsonl", test::json_lines({"ten bytes.", "ten bytes."}));
  EXPECT_THAT(error(), HasSubstr("2 document(s) with 22 token(s)"));
  options_.layout = DataLayout::kPacked;
  options_.min_document_tokens = 32;
  EXPECT_THAT(error(), HasSubstr("2 of them dropped as shorter than 32 token(s)"));
}

TEST_F(LoaderTest, TextNeedsAnEncoder) {
  write("a.txt", "text");
  encoder_ = nullptr;
  EXPECT_THAT(error(), AllOf(HasSubstr("a.txt"), HasSubstr("tokenizer")));
}

TEST_F(LoaderTest, RanksPartitionTheGlobalOrder) {
  for (uint64_t f = 0; f < 3; ++f)
    write(fmt::format("part{}.jsonl", f), test::json_lines(test::random_texts(f + 1, 100, 5, 120)));
  options_.shuffle = true;
  options_.shuffle_buffer = 7;
  options_.batch_size = 6;
  options_.max_epochs = 2;
  const auto global = all();
  for (const int64_t world : {1, 2, 3, 6}) {
    std::vector<std::unique_ptr<Loader>> ranks;
    for (int64_t rank = 0; rank < world; ++rank) {
      LoaderOptions options = options_;
      options.world = world;
      options.rank = rank;
      ranks.push_back(std::make_unique<Loader>(options, encoder_));
    }
    std::vector<TokenSequence> seen;
    while (seen.size() < global.size()) {
      const size_t before = seen.size();
      for (auto& loader : ranks) {
        const auto share = loader->next_step();
        if (before + 6 <= global.size()) {
          EXPECT_EQ(share.size(), static_cast<size_t>(6 / world));
        }
        seen.insert(seen.end(), share.begin(), share.end());
        EXPECT_EQ(loader->cursor().next_sequence % 6 == 0,
                  share.size() == static_cast<size_t>(6 / world) || share.empty());
      }
    }
    EXPECT_EQ(seen, global);
    for (auto& loader : ranks) EXPECT_THAT(loader->next_step(), IsEmpty());
  }
  options_.world = 4;
  EXPECT_THAT(error(), AllOf(HasSubstr("batch_size is 6"), HasSubstr("4 ranks")));
}

TEST_F(LoaderTest, StopsAtAnyMoment) {
  for (uint64_t f = 0; f < 3; ++f)
    write(fmt::format("part{}.jsonl", f), test::json_lines(test::random_texts(f + 1, 2000, 0, 900)));
  options_.max_epochs = 0;
  options_.tokenizer_threads = 3;
  for (int round = 0; round < 20; ++round) {
    options_.shuffle = round % 2 == 0;
    Loader loader(options_, encoder_);
    for (int i = 0; i < round; ++i) loader.next();
    std::this_thread::sleep_for(
        std::chrono::microseconds(round * 200));  // until every thread waits for another
  }
}

class SlowEncoder : public test::ByteEncoder {
 public:
  void encode(const Document& document, std::vector<int32_t>& ids) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ByteEncoder::encode(document, ids);
  }
};

TEST_F(LoaderTest, StopsWhileWorkersAreBusy) {
  write("a.jsonl", test::json_lines(test::random_texts(1, 20, 100, 200)));
  options_.max_epochs = 0;
  options_.tokenizer_threads = 4;
  Loader loader(options_, std::make_shared<SlowEncoder>());
}

/// A mistake in the settings, which no bad-line budget may hide.
class MisconfiguredEncoder : public test::ByteEncoder {
 public:
  void encode(const Document& /*document*/, std::vector<int32_t>& /*ids*/) const override {
    fail_usage("no template");
  }
};

TEST_F(LoaderTest, AUsageErrorOfTheEncoderIsNoBadLine) {
  write("a.jsonl", test::json_lines({"text"}));
  options_.max_bad_lines = 100;
  Loader loader(options_, std::make_shared<MisconfiguredEncoder>());
  try {
    loader.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("a.jsonl:1"), HasSubstr("no template")));
  }
}

}  // namespace
}  // namespace seer
