#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/loader.h"
#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Case {
  const char* name;
  DataLayout layout;
  bool shuffle;
  int64_t max_epochs;
};

/// Seven files, small and large ones, with bad lines, an empty file and ids in pieces.
class ResumeTest : public ::testing::TestWithParam<Case> {
 protected:
  ResumeTest() {
    for (uint64_t f = 0; f < 3; ++f)
      write(fmt::format("part{}.jsonl", f), test::json_lines(test::random_texts(f + 1, 40, 0, 90)) + "bad\n");
    for (uint64_t f = 0; f < 2; ++f)
      write(fmt::format("one{}.txt", f), test::random_texts(f + 9, 1, 9, 9)[0]);
    write("long.txt.gz", test::gzip(test::random_texts(20, 1, 1000, 1000)[0]));
    write("empty.jsonl", "");
    std::vector<int32_t> ids(200);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(400 + i);
    write("rows.npy", test::npy({20, 10}, ids));
    options_.files = {folder_.path().string()};
    options_.layout = GetParam().layout;
    options_.sequence_length = 64;
    options_.min_document_tokens = 8;
    options_.separator = 300;
    options_.shuffle = GetParam().shuffle;
    options_.shuffle_buffer = 9;
    options_.max_bad_lines = 3;
    options_.max_epochs = GetParam().max_epochs;
  }

  void write(const std::string& name, std::string_view bytes) { test::write_bytes(folder_ / name, bytes); }

  test::TempDir folder_;
  LoaderOptions options_;
  std::shared_ptr<const TokenEncoder> encoder_ = std::make_shared<test::ByteEncoder>();
};

TEST_P(ResumeTest, FromEveryCursorTheRunContinuesUnchanged) {
  std::vector<TokenSequence> whole;
  std::vector<DataCursor> cursors;
  std::vector<DataStats> stats;
  Loader uninterrupted(options_, encoder_);
  cursors.push_back(uninterrupted.cursor());
  stats.push_back(uninterrupted.stats());
  for (int i = 0; i < 330; ++i) {
    auto sequence = uninterrupted.next();
    cursors.push_back(uninterrupted.cursor());
    stats.push_back(uninterrupted.stats());
    if (!sequence) break;
    whole.push_back(std::move(*sequence));
    EXPECT_EQ(whole.back().number, i);
  }
  ASSERT_EQ(whole.size() == 330, GetParam().max_epochs == 0);
  ASSERT_GE(cursors.back().restart.epoch, 2);

  bool carried = false;
  for (size_t at = 0; at < cursors.size(); ++at) {
    const DataCursor cursor = data_cursor_from_json(to_json(cursors[at]));
    ASSERT_EQ(cursor, cursors[at]);
    carried = carried || !cursor.restart.carry.empty();
    options_.tokenizer_threads = 1 + static_cast<int64_t>(at % 3);
    Loader resumed(options_, encoder_, cursor);
    EXPECT_EQ(resumed.cursor(), cursor);
    for (size_t i = at; i < std::min(at + 40, whole.size()); ++i) {
      ASSERT_EQ(resumed.next(), whole[i]) << "sequence " << i << " after the cursor before " << at;
      ASSERT_EQ(resumed.stats(), stats[i + 1]);
      if (i % 7 == 0) {
        ASSERT_EQ(resumed.cursor(), cursors[i + 1]);
      }
    }
    if (at + 40 > whole.size() && whole.size() < 330) {
      ASSERT_EQ(resumed.next(), std::nullopt);
    }
  }
  EXPECT_TRUE(carried);
}

TEST_P(ResumeTest, ReplaysLittle) {
  Loader loader(options_, encoder_);
  for (int i = 0; i < 150; ++i) {
    loader.next();
    const DataCursor cursor = loader.cursor();
    // One block of nine, and what one document of 1000 tokens can add.
    EXPECT_LE(cursor.next_sequence - cursor.restart.first_sequence, 9 + 16) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ResumeTest,
                         ::testing::Values(Case{"joined", DataLayout::kJoined, false, 0},
                                           Case{"joined_shuffled", DataLayout::kJoined, true, 0},
                                           Case{"joined_shuffled_finite", DataLayout::kJoined, true, 3},
                                           Case{"packed", DataLayout::kPacked, false, 0},
                                           Case{"packed_shuffled", DataLayout::kPacked, true, 0},
                                           Case{"packed_finite", DataLayout::kPacked, false, 3}),
                         [](const auto& suite) { return suite.param.name; });

class CursorTest : public ::testing::Test {
 protected:
  CursorTest() {
    test::write_bytes(folder_ / "a.jsonl", test::json_lines(test::random_texts(1, 100, 5, 90)));
    test::write_bytes(folder_ / "b.jsonl", test::json_lines(test::random_texts(2, 100, 5, 90)));
    options_.files = {folder_.path().string()};
    options_.sequence_length = 64;
    options_.shuffle_buffer = 8;
    options_.batch_size = 4;
    Loader loader(options_, encoder_);
    for (int i = 0; i < 5; ++i) loader.next_step();
    cursor_ = loader.cursor();
  }

  std::string error() {
    return test::error_of([&] { Loader(options_, encoder_, cursor_).next(); });
  }

  test::TempDir folder_;
  LoaderOptions options_;
  std::shared_ptr<const TokenEncoder> encoder_ = std::make_shared<test::ByteEncoder>();
  DataCursor cursor_;
};

TEST_F(CursorTest, OtherFilesOrOptionsAreRefusedSayingWhich) {
  options_.sequence_length = 32;
  EXPECT_THAT(error(),
              AllOf(HasSubstr("sequence_length=64 became sequence_length=32"), Not(HasSubstr("files="))));
  options_.sequence_length = 64;
  options_.seed = 1;
  EXPECT_THAT(error(), HasSubstr("seed=42 became seed=1"));
  options_.seed = 42;
  test::write_bytes(folder_ / "c.jsonl", "");
  EXPECT_THAT(error(), HasSubstr("files=2 became files=3"));
}

TEST_F(CursorTest, ThreadsPrefetchRanksAndBudgetMayChange) {
  Loader original(options_, encoder_, cursor_);
  const auto step = original.next_step();
  options_.tokenizer_threads = 3;
  options_.prefetch = 0;
  options_.max_bad_lines = 5;
  options_.world = 2;
  std::vector<TokenSequence> shares;
  for (options_.rank = 0; options_.rank < 2; ++options_.rank) {
    Loader loader(options_, encoder_, cursor_);
    for (TokenSequence& sequence : loader.next_step()) shares.push_back(std::move(sequence));
    EXPECT_EQ(loader.cursor().next_sequence, original.cursor().next_sequence);
  }
  EXPECT_EQ(shares, step);
}

TEST_F(CursorTest, AnyRanksCursorServesAllRanks) {
  Loader single(options_, encoder_);
  std::vector<TokenSequence> expected;
  for (int i = 0; i < 9; ++i) expected = single.next_step();
  options_.world = 4;
  options_.rank = 3;
  Loader last(options_, encoder_);
  for (int i = 0; i < 8; ++i) last.next_step();
  std::vector<TokenSequence> shares;
  for (options_.rank = 0; options_.rank < 4; ++options_.rank) {
    for (TokenSequence& sequence : Loader(options_, encoder_, last.cursor()).next_step())
      shares.push_back(std::move(sequence));
  }
  EXPECT_EQ(shares, expected);
}

TEST_F(CursorTest, RanksCannotContinueInsideAStep) {
  Loader loader(options_, encoder_, cursor_);
  loader.next();
  cursor_ = loader.cursor();
  const auto rest = loader.next_step();
  EXPECT_EQ(rest.size(), 3U);
  EXPECT_EQ(Loader(options_, encoder_, cursor_).next_step(), rest);
  options_.world = 2;
  EXPECT_THAT(error(), HasSubstr("inside a step"));
}

TEST_F(CursorTest, DamagedCursorsAreRefused) {
  const DataCursor good = cursor_;
  const std::vector<std::function<void(DataCursor&)>> damages = {
      [](DataCursor& c) { c.restart.file = 2; },
      [](DataCursor& c) { c.restart.carry.resize(64); },
      [](DataCursor& c) { c.restart.carry_boundaries = {1}; },
      [](DataCursor& c) { c.restart.first_sequence = c.next_sequence + 1; },
  };
  for (const auto& damage : damages) {
    cursor_ = good;
    damage(cursor_);
    EXPECT_THAT(error(), HasSubstr("damaged"));
  }
  cursor_ = good;
  cursor_.restart.record = 1000;
  EXPECT_THAT(error(), AllOf(HasSubstr(".jsonl"), HasSubstr("100 records"), HasSubstr("changed")));
}

}  // namespace
}  // namespace seer
