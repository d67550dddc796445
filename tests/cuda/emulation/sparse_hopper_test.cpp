// The Hopper sparse attention kernel without a GPU: its own sources on emulated thread blocks, against fp64, over head
// dimensions, block sizes, packs, ranges of heads and lists, each under several schedules. The limits are those of
// sparse_attention_test.cpp, which runs more and longer cases on a GPU.
//
// SEER_EMULATION_RUNS=100 runs every case under so many schedules instead of kRuns, SEER_EMULATION_FIRST says which is
// the first: what a failure names. --gtest_filter picks cases.
#include <cmath>
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/cuda/emulation/emulated_attention.h"

namespace seer::test {
namespace {

constexpr uint64_t kRuns = 4;

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* value = std::getenv(variable);
  return value == nullptr ? otherwise : std::stoull(value);
}

struct NumberedCase : SparseCase {
  uint64_t number;  ///< So that cases differ in their schedules
};

std::vector<NumberedCase> all_cases() {
  std::vector<NumberedCase> cases;
  const auto add = [&](const AttentionCase& attention, Lists lists = Lists::kRandom) {
    cases.push_back({{attention, lists}, cases.size()});
    cases.back().attention.name += "_" + name_of(lists);
  };
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{512, 128}}}};
  // Lists of several windows of 32 tiles, of sequences whose tiles do not lie on the same rows.
  const Pack far = {{4294, {{4224, 70}}}};
  const Pack far_apart = {{64, {{0, 64}}}, {4294, {{4224, 70}}}, {4200, {{4096, 104}}}};
  for (const int64_t head_dim : {64, 128}) {
    for (const int64_t block : {64, 128}) {
      const std::string name = fmt::format("d{}_b{}_", head_dim, block);
      for (const int64_t length : {1, 64, 65, 129, 191})
        add({fmt::format("{}length_{}", name, length), 2, 1, head_dim, whole({length}), block});
      add({name + "pack", 2, 1, head_dim, whole({1, 17, 64, 65, 130}), block});
      add({name + "chunks", 4, 2, head_dim, chunks, block});
      add({name + "chunks", 4, 1, head_dim, chunks, block}, Lists::kShared);
      add({name + "dense", 2, 1, head_dim, whole({400}), block}, Lists::kAll);
      add({name + "empty", 2, 1, head_dim, whole({300, 20}), block}, Lists::kNone);
      add({name + "mha", 3, 3, head_dim, whole({200, 20}), block}, Lists::kDiagonal);
      // One consumer's run of steps is longer than the ring.
      add({name + "long", 2, 1, head_dim, whole({1300}), block}, Lists::kDisjoint);
      for (const Lists lists : {Lists::kAll, Lists::kRandom, Lists::kDisjoint, Lists::kGaps})
        add({name + "far", 2, 1, head_dim, far, block}, lists);
      add({name + "far_heads", 6, 1, head_dim, far, block}, Lists::kSomeHeads);
      for (const Lists lists : {Lists::kAll, Lists::kRandom})
        add({name + "far_apart", 2, 1, head_dim, far_apart, block}, lists);
      add({name + "some_heads", 6, 2, head_dim, whole({200, 70}), block}, Lists::kSomeHeads);
      add({name + "r7", 7, 1, head_dim, whole({200}), block}, Lists::kShared);
      add({name + "range", 12, 3, head_dim, whole({150, 70}), block, Content::kRandom, 3, 7});
      add({name + "plus_minus_60", 2, 1, head_dim, whole({330}), block, Content::kPlusMinus}, Lists::kAll);
      add({name + "growing", 2, 1, head_dim, whole({330}), block, Content::kGrowing}, Lists::kDisjoint);
    }
  }
  return cases;
}

class EmulatedSparseAttention : public testing::TestWithParam<NumberedCase> {};

TEST_P(EmulatedSparseAttention, MatchesFp64UnderEverySchedule) {
  const NumberedCase& c = GetParam();
  const AttentionProblem problem = problem_of(c.attention);
  const Values expected = reference_sparse_attention(c, problem);
  const uint64_t runs = number_from("SEER_EMULATION_RUNS", kRuns);
  const uint64_t first = number_from("SEER_EMULATION_FIRST", kRuns * c.number);
  Values actual;
  for (uint64_t number = first; number < first + runs; ++number) {
    SCOPED_TRACE(fmt::format("SEER_EMULATION_FIRST={}", number));
    const Values output =
        run_emulated(c, problem, c.attention.head_begin, heads_computed(c.attention), run_number(number));
    if (number == first) {
      actual = output;
      expect_output(actual, expected, problem.head_dim);
    }
    ASSERT_TRUE(same_bits(output, actual)) << "the schedule changes the output";
  }
}

INSTANTIATE_TEST_SUITE_P(All, EmulatedSparseAttention, testing::ValuesIn(all_cases()),
                         [](const auto& test) { return test.param.attention.name; });

/// A row of NaN is NaN; its neighbours, which share a warp and its decisions with it, keep their bits.
TEST(EmulatedSparseAttentionNan, StaysInItsRow) {
  for (const int64_t block : {64, 128}) {
    const SparseCase c{{"", 2, 1, 64, whole({200}), block, Content::kGrowing}, Lists::kAll};
    AttentionProblem problem = problem_of(c.attention);
    const Values clean = run_emulated(c, problem, 0, 2, run_number(0));
    constexpr int64_t kRow = 2 * 133 + 1;  // of [tokens, heads]
    for (int64_t i = 0; i < 64; ++i) problem.q[kRow * 64 + i] = std::nan("");
    const Values output = run_emulated(c, problem, 0, 2, run_number(0));
    for (int64_t at = 0; at < std::ssize(output); ++at) {
      if (at / 64 == kRow)
        ASSERT_TRUE(std::isnan(output[at])) << at;
      else
        ASSERT_EQ(output[at], clean[at]) << at;
    }
  }
}

/// What a head is computed together with changes no bit of it.
TEST(EmulatedSparseAttentionRange, HeadsAloneGiveTheSameBits) {
  for (const int64_t block : {64, 128}) {
    const SparseCase c{{"", 6, 2, 64, whole({200, 129}), block}, Lists::kRandom};
    const AttentionProblem problem = problem_of(c.attention);
    const Values together = run_emulated(c, problem, 0, 6, run_number(0));
    for (int64_t head = 0; head < 6; ++head) {
      Values same;
      for (size_t at = 0; at < together.size(); ++at) {
        if (static_cast<int64_t>(at) / 64 % 6 == head) same.push_back(together[at]);
      }
      EXPECT_TRUE(same_bits(run_emulated(c, problem, head, 1, run_number(1 + head)), same))
          << "head " << head;
    }
  }
}

}  // namespace
}  // namespace seer::test
