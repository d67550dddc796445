// The sparse attention kernels in bf16, the portable one and the one that this GPU takes by itself, against fp64: over
// head dimensions, block sizes, packs and ranges of heads, with lists that differ, agree or are empty.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/cuda/fused_attention_case.h"
#include "tests/cuda/sparse_attention_case.h"
#include "tests/support/golden_file.h"

namespace seer::test {
namespace {

/// Heads [head_begin, head_begin + head_count) of the output; it fails if others were written.
Values run(Device& device, const SparseCase& c, const AttentionProblem& p, int64_t head_begin,
           int64_t head_count) {
  BatchLayout batch = layout_of(p.pack);
  ScoreLayout blocks = ScoreLayout::prefill(batch, c.attention.block);
  device.prepare(batch);
  device.prepare(blocks);
  const int64_t queries = query_tokens(p.pack);
  const double nan = std::nan("");
  SparseAttentionArgs args{.q = between_nan(device, p.heads, p.head_dim, p.q),
                           .k = between_nan(device, p.kv_heads, p.head_dim, p.k),
                           .v = between_nan(device, p.kv_heads, p.head_dim, p.v),
                           .layout = &batch,
                           .blocks = &blocks,
                           .lists = kept_blocks(c, head_begin, head_count).upload(device),
                           .head_begin = head_begin,
                           .head_count = head_count,
                           .scale = static_cast<float>(p.scale),
                           .output = between_nan(device, p.heads, p.head_dim, Values(p.q.size(), nan))};
  args.workspace = device.workspace(device.backend().sparse_attention_workspace(args));
  device.backend().sparse_attention(device.queue(), args);

  const int64_t stride = args.output.row_stride();
  const Tensor whole(static_cast<char*>(args.output.raw()) - p.head_dim * size_of(DType::kBF16), DType::kBF16,
                     Shape{queries, stride});
  return written_heads(device.download(whole), stride, p.head_dim, head_begin, head_count);
}

std::vector<SparseCase> all_cases() {
  std::vector<SparseCase> cases;
  const auto add = [&](const AttentionCase& attention, Lists lists = Lists::kRandom) {
    cases.push_back({attention, lists});
    cases.back().attention.name += "_" + name_of(lists);
  };
  for (const int64_t head_dim : {16, 32, 64, 96, 128, 256}) {
    for (const int64_t block : {16, 32, 64, 128}) {
      const std::string name = fmt::format("d{}_block_{}", head_dim, block);
      add({name, 4, 2, head_dim, whole({300, block + 1, 17}), block});
      add({name, 4, 2, head_dim, whole({515}), block, Content::kGrowing}, Lists::kShared);
    }
  }
  for (const int64_t length : {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 192, 193, 1000}) {
    for (const int64_t head_dim : {64, 128}) {
      for (const int64_t block : {64, 128}) {
        add({fmt::format("d{}_length_{}_block_{}", head_dim, length, block), 2, 1, head_dim, whole({length}),
             block});
      }
    }
  }
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{128, 128}, {512, 128}}}};
  // Lists of several windows of the Hopper kernel's loader, of sequences whose tiles do not lie on the same rows.
  const Pack far = {{4294, {{4224, 70}}}};
  const Pack far_apart = {{64, {{0, 64}}}, {4294, {{4224, 70}}}, {4200, {{4096, 104}}}};
  const Pack small = whole({1, 2, 3, 15, 16, 17, 64, 65, 128, 129, 5, 200});
  for (const int64_t head_dim : {32, 64, 128, 256}) {
    for (const int64_t block : {64, 128}) {
      const std::string name = fmt::format("d{}_b{}_", head_dim, block);
      add({name + "pack", 2, 1, head_dim, small, block});
      add({name + "chunks", 4, 2, head_dim, chunks, block});
      add({name + "shared_chunks", 8, 2, head_dim, chunks, block}, Lists::kShared);
      add({name + "all", 2, 1, head_dim, whole({1500}), block}, Lists::kAll);
      add({name + "none", 2, 1, head_dim, whole({300, 20}), block}, Lists::kNone);
      add({name + "diagonal", 3, 3, head_dim, whole({300, 20}), block}, Lists::kDiagonal);
      // One consumer's run of steps is longer than the ring.
      add({name + "disjoint", 4, 2, head_dim, whole({2100}), block}, Lists::kDisjoint);
      for (const Lists lists : {Lists::kAll, Lists::kRandom, Lists::kDisjoint, Lists::kGaps})
        add({name + "far", 2, 1, head_dim, far, block}, lists);
      add({name + "far_heads", 6, 1, head_dim, far, block}, Lists::kSomeHeads);
      for (const Lists lists : {Lists::kAll, Lists::kRandom})
        add({name + "far_apart", 2, 1, head_dim, far_apart, block}, lists);
      add({name + "some_heads", 6, 2, head_dim, whole({600, 70}), block}, Lists::kSomeHeads);
      add({name + "mqa", 8, 1, head_dim, whole({500}), block});
      add({name + "mha", 3, 3, head_dim, whole({500}), block});
      add({name + "r7", 7, 1, head_dim, whole({400}), block}, Lists::kShared);
      add({name + "range", 12, 3, head_dim, whole({350, 70}), block, Content::kRandom, 4, 4});
      add({name + "range_across_groups", 12, 3, head_dim, whole({350, 70}), block, Content::kRandom, 3, 7});
      add({name + "plus_minus_60", 2, 1, head_dim, whole({700}), block, Content::kPlusMinus}, Lists::kAll);
      add({name + "flat", 2, 1, head_dim, whole({300, 129}), block, Content::kFlat});
      add({name + "growing", 2, 1, head_dim, whole({1000}), block, Content::kGrowing}, Lists::kDisjoint);
      add({name + "shrinking", 2, 1, head_dim, whole({1000}), block, Content::kShrinking});
    }
  }
  return cases;
}

class SparseAttention : public testing::TestWithParam<std::tuple<Path, SparseCase>> {
 protected:
  /// Both paths are judged by the same one.
  static const Values& known_reference(const SparseCase& c, const AttentionProblem& problem) {
    static std::map<std::string, Values> known;
    const auto it = known.find(c.attention.name);
    if (it != known.end()) return it->second;
    return known[c.attention.name] = reference_sparse_attention(c, problem);
  }
};

TEST_P(SparseAttention, MatchesFp64) {
  const auto& [path, c] = GetParam();
  Device device = make_device(path);
  const AttentionProblem problem = problem_of(c.attention);
  const int64_t count = heads_computed(c.attention);
  const Values actual = run(device, c, problem, c.attention.head_begin, count);
  expect_output(actual, known_reference(c, problem), problem.head_dim);
  EXPECT_TRUE(same_bits(actual, run(device, c, problem, c.attention.head_begin, count))) << "the second time";
}

INSTANTIATE_TEST_SUITE_P(All, SparseAttention,
                         testing::Combine(testing::ValuesIn(kPaths), testing::ValuesIn(all_cases())),
                         [](const auto& test) {
                           return fmt::format("{}_{}", name_of(std::get<0>(test.param)),
                                              std::get<1>(test.param).attention.name);
                         });

/// What a head is computed together with changes no bit of it.
TEST(SparseAttentionRange, HeadsAloneGiveTheSameBits) {
  for (const Path path : kPaths) {
    for (const Lists lists : {Lists::kRandom, Lists::kShared, Lists::kDisjoint}) {
      for (const int64_t block : {64, 128}) {
        SCOPED_TRACE(fmt::format("{} {} block {}", name_of(path), name_of(lists), block));
        const SparseCase c{{"", 6, 2, 128, whole({700, 129, 64}), block}, lists};
        Device device = make_device(path);
        const AttentionProblem problem = problem_of(c.attention);
        const Values together = run(device, c, problem, 0, 6);
        for (int64_t head = 0; head < 6; ++head) {
          const Values alone = run(device, c, problem, head, 1);
          Values same;
          for (size_t at = 0; at < together.size(); ++at) {
            if (static_cast<int64_t>(at) / 128 % 6 == head) same.push_back(together[at]);
          }
          EXPECT_TRUE(same_bits(alone, same)) << "head " << head;
        }
      }
    }
  }
}

/// With all blocks kept the kernels compute what dense attention does.
TEST(SparseAttentionDense, AllBlocksGiveDenseAttention) {
  for (const Path path : kPaths) {
    const SparseCase c{{"", 4, 2, 128, whole({3000, 257}), 64}, Lists::kAll};
    Device device = make_device(path);
    const AttentionProblem problem = problem_of(c.attention);
    const FusedResult dense =
        run_attention(device, c.attention, problem, {.logsumexp = false, .maxima = false});
    EXPECT_LE(relative_error(run(device, c, problem, 0, 4), dense.output), 3e-3) << name_of(path);
  }
}

}  // namespace
}  // namespace seer::test
