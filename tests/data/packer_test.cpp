#include "data/packer.h"

#include <numeric>

#include <gtest/gtest.h>

#include "src/core/rng.h"

namespace seer {
namespace {

using Ids = std::vector<int32_t>;

std::vector<Ids> random_documents(int64_t count, uint64_t longest) {
  Rng rng(11);
  std::vector<Ids> documents;
  int32_t next = 0;
  for (int64_t i = 0; i < count; ++i) {
    Ids ids(rng.below(longest + 1));
    std::iota(ids.begin(), ids.end(), next);
    next += static_cast<int32_t>(ids.size());
    documents.push_back(ids);
  }
  return documents;
}

/// All documents in pieces of at most `piece` ids.
std::vector<TokenSequence> run(DataLayout layout, int64_t length, int64_t shortest,
                               const std::vector<Ids>& documents, size_t piece, DataStats& stats) {
  std::vector<TokenSequence> sequences;
  Packer packer(layout, length, shortest, [&](TokenSequence&& s) { sequences.push_back(std::move(s)); });
  for (const Ids& ids : documents) {
    size_t at = 0;
    do {
      const size_t count = std::min(piece, ids.size() - at);
      packer.add(std::span(ids).subspan(at, count), at == 0, at + count == ids.size(), stats);
      EXPECT_LT(static_cast<int64_t>(packer.carry().size()), length);
      at += count;
    } while (at < ids.size());
  }
  packer.end_epoch(stats);
  EXPECT_TRUE(packer.carry().empty());
  return sequences;
}

TEST(PackerTest, JoinedIsTheCorpusCutIntoEqualParts) {
  for (const size_t piece : {size_t{5}, size_t{1000}}) {
    const std::vector<Ids> documents = random_documents(200, 90);
    Ids all;
    for (const Ids& ids : documents) all.insert(all.end(), ids.begin(), ids.end());
    DataStats stats;
    const auto sequences = run(DataLayout::kJoined, 64, 1, documents, piece, stats);
    ASSERT_EQ(sequences.size(), all.size() / 64);
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_EQ(sequences[i].ids, Ids(all.begin() + static_cast<int64_t>(i * 64),
                                      all.begin() + static_cast<int64_t>(i * 64 + 64)));
      EXPECT_EQ(sequences[i].cu_seqlens, (std::vector<int64_t>{0, 64}));
    }
    EXPECT_EQ(stats.dropped_tokens, static_cast<int64_t>(all.size() % 64));
  }
}

TEST(PackerTest, PackedIsNextFitOfWholeDocuments) {
  constexpr size_t kLength = 64;
  constexpr size_t kShortest = 8;
  const std::vector<Ids> documents = random_documents(300, 90);
  std::vector<TokenSequence> expected;
  DataStats counted;
  for (Ids ids : documents) {
    if (ids.size() < kShortest) {
      ++counted.short_documents;
      counted.dropped_tokens += static_cast<int64_t>(ids.size());
      continue;
    }
    if (ids.size() > kLength) {
      ++counted.cut_documents;
      counted.dropped_tokens += static_cast<int64_t>(ids.size() - kLength);
      ids.resize(kLength);
    }
    if (expected.empty() || expected.back().ids.size() + ids.size() > kLength)
      expected.push_back({{}, {0}, 0});
    expected.back().ids.insert(expected.back().ids.end(), ids.begin(), ids.end());
    expected.back().cu_seqlens.push_back(static_cast<int64_t>(expected.back().ids.size()));
  }
  ASSERT_GT(counted.short_documents, 0);
  ASSERT_GT(counted.cut_documents, 0);
  for (const size_t piece : {size_t{7}, size_t{1000}}) {
    DataStats stats;
    EXPECT_EQ(run(DataLayout::kPacked, kLength, kShortest, documents, piece, stats), expected);
    EXPECT_EQ(stats, counted);
  }
}

TEST(PackerTest, DocumentsWithoutTokensLeaveNoTrace) {
  DataStats stats;
  EXPECT_EQ(run(DataLayout::kPacked, 4, 0, {{}, {1, 2}, {}, {3}, {}}, 10, stats),
            (std::vector<TokenSequence>{{{1, 2, 3}, {0, 2, 3}, 0}}));
  EXPECT_EQ(stats.short_documents, 3);
  EXPECT_EQ(run(DataLayout::kJoined, 3, 0, {{}, {1, 2}, {}, {3}, {}}, 10, stats),
            (std::vector<TokenSequence>{{{1, 2, 3}, {0, 3}, 0}}));
}

TEST(PackerTest, RestoredCarryContinues) {
  DataStats stats;
  std::vector<TokenSequence> sequences;
  Packer first(DataLayout::kPacked, 8, 1, [&](TokenSequence&& s) { sequences.push_back(std::move(s)); });
  first.add(Ids{1, 2, 3}, true, true, stats);
  first.add(Ids{4, 5}, true, true, stats);
  Packer second(DataLayout::kPacked, 8, 1, [&](TokenSequence&& s) { sequences.push_back(std::move(s)); });
  second.restore(first.carry(), first.carry_boundaries());
  second.add(Ids{6, 7, 8}, true, true, stats);
  EXPECT_EQ(sequences, (std::vector<TokenSequence>{{{1, 2, 3, 4, 5, 6, 7, 8}, {0, 3, 5, 8}, 0}}));
}

}  // namespace
}  // namespace seer
