// Collectives over Gloo with ranks as threads, the order of sums, and sequences brought together.
#include <cmath>

#include <gmock/gmock.h>

#include "src/core/rng.h"
#include "src/core/tree_order.h"
#include "src/cpu/cpu_backend.h"
#include "src/cpu/gloo_communicator.h"
#include "src/ops/layout.h"
#include "src/ops/sequence_gather.h"
#include "tests/support/rank_threads.h"

namespace seer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

/// What a rank works with.
struct RankTools {
  std::unique_ptr<Backend> backend = make_cpu_backend({.threads = 1});
  std::unique_ptr<Queue> queue = backend->make_queue("exchange");
  std::unique_ptr<Communicator> world;

  RankTools(int rank, int size, const RankExchange& exchange)
      : world(make_gloo_communicator({.rank = rank, .size = size}, exchange)) {}

  std::vector<float> done(std::vector<float>& values) {
    backend->synchronize(*queue);
    return values;
  }
};

Tensor view(std::vector<float>& values, const Shape& shape) {
  return {values.data(), DType::kF32, shape};
}

class Ranks : public ::testing::TestWithParam<int> {};

TEST_P(Ranks, GatherInRankOrder) {
  const int size = GetParam();
  run_ranks(size, [&](int rank, const RankExchange& exchange) {
    RankTools tools(rank, size, exchange);
    std::vector<float> mine = {static_cast<float>(rank), static_cast<float>(10 * rank)};
    std::vector<float> all(2 * size, -1);
    tools.world->all_gather(*tools.queue, view(mine, Shape{2}), view(all, Shape{size, 2}));
    std::vector<float> expected;
    for (int r = 0; r < size; ++r)
      expected.insert(expected.end(), {static_cast<float>(r), static_cast<float>(10 * r)});
    EXPECT_THAT(tools.done(all), ElementsAreArray(expected));

    // In place: the rank's row is already there.
    std::vector<float> in_place(size, -1);
    in_place[rank] = static_cast<float>(rank + 1);
    const Tensor rows = view(in_place, Shape{size, 1});
    tools.world->all_gather(*tools.queue, rows.slice_rows(rank, 1), rows);
    for (int r = 0; r < size; ++r) expected[r] = static_cast<float>(r + 1);
    expected.resize(size);
    EXPECT_THAT(tools.done(in_place), ElementsAreArray(expected));
  });
}

TEST_P(Ranks, AllToAllTransposes) {
  const int size = GetParam();
  run_ranks(size, [&](int rank, const RankExchange& exchange) {
    RankTools tools(rank, size, exchange);
    std::vector<float> from(3 * size);
    std::vector<float> to(3 * size, -1);
    std::vector<float> expected(3 * size);
    for (int r = 0; r < size; ++r) {
      for (int i = 0; i < 3; ++i) {
        from[3 * r + i] = static_cast<float>(100 * rank + 10 * r + i);
        expected[3 * r + i] = static_cast<float>(100 * r + 10 * rank + i);
      }
    }
    tools.world->all_to_all(*tools.queue, view(from, Shape{size, 3}), view(to, Shape{size, 3}));
    EXPECT_THAT(tools.done(to), ElementsAreArray(expected));
  });
}

TEST_P(Ranks, BroadcastFromEveryRoot) {
  const int size = GetParam();
  run_ranks(size, [&](int rank, const RankExchange& exchange) {
    RankTools tools(rank, size, exchange);
    for (int root = 0; root < size; ++root) {
      std::vector<float> x = {static_cast<float>(rank), 7.0F + static_cast<float>(rank)};
      tools.world->broadcast(*tools.queue, view(x, Shape{2}), root);
      EXPECT_THAT(tools.done(x), ElementsAre(static_cast<float>(root), 7.0F + static_cast<float>(root)));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, ::testing::Values(1, 2, 3, 4));

TEST(Communicator, SplitOrdersByKey) {
  run_ranks(4, [](int rank, const RankExchange& exchange) {
    RankTools tools(rank, 4, exchange);
    const auto group = tools.world->split(rank / 2, -rank, 0);
    EXPECT_EQ(group->size(), 2);
    EXPECT_EQ(group->rank(), 1 - rank % 2);
    std::vector<float> mine = {static_cast<float>(rank)};
    std::vector<float> all(2, -1);
    group->all_gather(*tools.queue, view(mine, Shape{1}), view(all, Shape{2, 1}));
    const auto first = static_cast<float>(rank / 2 * 2);
    EXPECT_THAT(tools.done(all), ElementsAre(first + 1, first));
  });
}

TEST(Communicator, RefusesWhatDoesNotFit) {
  run_ranks(2, [](int rank, const RankExchange& exchange) {
    RankTools tools(rank, 2, exchange);
    std::vector<float> x(4);
    EXPECT_THROW(tools.world->all_gather(*tools.queue, view(x, Shape{4}), view(x, Shape{4})), Error);
    EXPECT_THROW(tools.world->all_to_all(*tools.queue, view(x, Shape{2, 2}), view(x, Shape{2, 2})), Error);
    // What was refused harms nothing; and no rank leaves before the other has come.
    std::vector<float> mine = {static_cast<float>(rank)};
    std::vector<float> all(2, -1);
    tools.world->all_gather(*tools.queue, view(mine, Shape{1}), view(all, Shape{2, 1}));
    EXPECT_THAT(tools.done(all), ElementsAre(0.0F, 1.0F));
  });
}

TEST(SequenceGather, BringsChunksIntoOrder) {
  constexpr int64_t kLength = 24;
  constexpr int64_t kWidth = 3;
  for (const int size : {2, 3}) {
    run_ranks(size, [&](int rank, const RankExchange& exchange) {
      RankTools tools(rank, size, exchange);
      const auto compute = tools.backend->make_queue("compute");
      const auto group = tools.world->split(0, rank, 0);
      const auto reversed = tools.world->split(0, -rank, 0);
      SequenceGather gather(*tools.backend, *group, *reversed, *tools.queue);
      BatchLayout share;
      share.assign_share(kLength, rank, size);
      ASSERT_EQ(share.num_query_rows, kLength / size);
      // A column of a wider matrix, as v is of the projection.
      std::vector<float> own(share.num_query_rows * 2 * kWidth, NAN);
      for (const RowSpan& span : share.rows.host) {
        for (int64_t i = 0; i < span.rows; ++i) {
          for (int64_t c = 0; c < kWidth; ++c) {
            own[(span.row + i) * 2 * kWidth + c] = static_cast<float>(100 * (span.position + i) + c);
          }
        }
      }
      std::vector<float> whole(kLength * kWidth, -1);
      gather.begin(*tools.backend, *compute,
                   ConstTensor(own.data(), DType::kF32, Shape{share.num_query_rows, kWidth}, 2 * kWidth),
                   view(whole, Shape{kLength, kWidth}));
      gather.finish(*tools.backend, *compute);
      tools.backend->synchronize(*compute);
      for (int64_t s = 0; s < kLength; ++s) {
        for (int64_t c = 0; c < kWidth; ++c)
          EXPECT_EQ(whole[s * kWidth + c], static_cast<float>(100 * s + c));
      }
    });
  }
}

TEST(TreeOrder, EverySumOfTwoIsMadeOnce) {
  for (int64_t n = 1; n <= 70; ++n) {
    int waiting = 0;
    int most = 0;
    int merges = 0;
    for (int64_t i = 0; i < n; ++i) {
      most = std::max(most, ++waiting);
      const int now = tree_merges(i, n);
      waiting -= now;
      merges += now;
      ASSERT_GE(waiting, 1) << n << " arrays, after " << i;
    }
    EXPECT_EQ(waiting, 1) << n;
    EXPECT_EQ(merges, n - 1) << n;
    EXPECT_LE(most, tree_depth(n)) << n;
  }
}

/// The sum of `values` in tree order, by the rule itself.
float tree_sum(const std::vector<float>& values) {
  std::vector<float> waiting;
  for (size_t i = 0; i < values.size(); ++i) {
    waiting.push_back(values[i]);
    for (int merges = tree_merges(static_cast<int64_t>(i), static_cast<int64_t>(values.size())); merges > 0;
         --merges) {
      const float last = waiting.back();
      waiting.pop_back();
      waiting.back() += last;
    }
  }
  return waiting.front();
}

TEST(TreeOrder, SharesOfRanksAreSubtrees) {
  for (const int64_t n : {8, 16, 24, 40}) {
    Rng rng(static_cast<uint64_t>(n));
    std::vector<float> values(n);
    for (float& value : values) value = static_cast<float>(std::exp(8 * rng.normal()) * rng.normal());
    const float whole = tree_sum(values);
    for (const int64_t ranks : {2, 4, 8}) {
      std::vector<float> sums;
      for (int64_t r = 0; r < ranks; ++r) {
        sums.push_back(tree_sum({values.begin() + r * n / ranks, values.begin() + (r + 1) * n / ranks}));
      }
      EXPECT_EQ(tree_sum(sums), whole) << n << " arrays over " << ranks << " ranks";
    }
  }
}

TEST(BatchLayout, SharesBalanceTheTriangle) {
  constexpr int64_t kLength = 64;
  for (const int ranks : {1, 2, 4, 8}) {
    int64_t rows = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      BatchLayout share;
      share.assign_share(kLength, rank, ranks);
      int64_t visible = 0;
      for (const Segment& segment : share.segments.host) {
        EXPECT_EQ(segment.length, kLength);
        for (int64_t i = 0; i < segment.queries.rows; ++i) visible += segment.queries.position + i + 1;
      }
      EXPECT_EQ(visible, kLength * (kLength + 1) / 2 / ranks) << rank << " of " << ranks;
      rows += share.num_query_rows;
    }
    EXPECT_EQ(rows, kLength);
  }
  BatchLayout odd;
  EXPECT_THROW(odd.assign_share(63, 0, 2), Error);
}

}  // namespace
}  // namespace seer::test
