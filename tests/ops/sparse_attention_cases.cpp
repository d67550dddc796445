// sparse_attention against a full fp64 softmax in which the keys of blocks that are not kept are masked.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/ops/block_lists.h"
#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

enum class Lists {
  kRandom,          ///< Rows without any block among them
  kRandomDiagonal,  ///< As selection makes them by default
  kNone,
  kAll,
  kDiagonal,
  kAllButDiagonal,
  kEveryOther,  ///< No two neighbours
};

struct SparseCase {
  std::string name;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  Pack pack;
  int64_t block;
  Lists lists = Lists::kRandomDiagonal;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< 0: all
  double magnitude = 1.0;  ///< Of q
  double tolerance = 2e-6;
  bool strided = false;

  int64_t count() const { return head_count > 0 ? head_count : heads; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim)); }
  Values q() const { return random_values(150, query_tokens(pack) * heads * head_dim, magnitude); }
  Values k() const { return random_values(151, key_tokens(pack) * kv_heads * head_dim); }
  Values v() const { return random_values(152, key_tokens(pack) * kv_heads * head_dim); }
};

KeptBlocks kept_blocks(const SparseCase& c) {
  const bool random = c.lists == Lists::kRandom || c.lists == Lists::kRandomDiagonal;
  KeptBlocks kept = KeptBlocks::random(153, matrices_of(c.pack, ScoreKind::kPrefill, c.block), c.count(),
                                       random ? 0.3 : 0.0);
  const auto keeps = [&](int64_t j, int64_t diagonal) {
    switch (c.lists) {
      case Lists::kRandom:
      case Lists::kNone:
        return false;
      case Lists::kRandomDiagonal:
      case Lists::kDiagonal:
        return j == diagonal;
      case Lists::kAll:
        return true;
      case Lists::kAllButDiagonal:
        return j != diagonal;
      case Lists::kEveryOther:
        return j % 2 == 1;
    }
    fail("no lists");
  };
  for (const Matrix& m : kept.matrices()) {
    for (int64_t h = 0; h < c.count(); ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        std::vector<int64_t>& list = kept.row(m, h, i);
        for (int64_t j = 0; j <= m.position + i; ++j) {
          if (keeps(j, m.position + i) && !std::ranges::binary_search(list, j)) list.push_back(j);
        }
      }
    }
  }
  return kept;
}

Expectations reference(const SparseCase& c) {
  const Values q = c.q();
  const Values k = c.k();
  const Values v = c.v();
  const KeptBlocks kept = kept_blocks(c);
  Values output(query_tokens(c.pack) * c.count() * c.head_dim);
  int64_t matrix = 0;
  for (const PackedSequence& sequence : c.pack) {
    for (const Chunk& chunk : sequence.chunks) {
      const Matrix& m = kept.matrices()[matrix++];
      for (int64_t h = 0; h < c.count(); ++h) {
        const int64_t head = c.head_begin + h;
        const int64_t kv_head = head / (c.heads / c.kv_heads);
        for (int64_t i = 0; i < chunk.rows; ++i) {
          const int64_t row = m.token_row + i;
          const std::vector<int64_t>& list = kept.row(m, h, i / c.block);
          if (list.empty()) continue;  // 0
          Values scores(chunk.position + i + 1, -std::numeric_limits<double>::infinity());
          for (int64_t j = 0; j < static_cast<int64_t>(scores.size()); ++j) {
            if (!std::ranges::binary_search(list, j / c.block)) continue;
            scores[j] = 0;
            for (int64_t e = 0; e < c.head_dim; ++e) {
              scores[j] += static_cast<double>(c.scale()) * q[(row * c.heads + head) * c.head_dim + e] *
                           k[((m.key_token + j) * c.kv_heads + kv_head) * c.head_dim + e];
            }
          }
          const double maximum = *std::ranges::max_element(scores);
          double sum = 0;
          for (const double s : scores) sum += std::exp(s - maximum);
          for (int64_t j = 0; j < static_cast<int64_t>(scores.size()); ++j) {
            const double p = std::exp(scores[j] - maximum) / sum;
            for (int64_t e = 0; e < c.head_dim; ++e) {
              output[(row * c.count() + h) * c.head_dim + e] +=
                  p * v[((m.key_token + j) * c.kv_heads + kv_head) * c.head_dim + e];
            }
          }
        }
      }
    }
  }
  return {{"output", {output, c.tolerance}}, {"written_outside", {{0.0}}}};
}

Outputs run(Device& device, const SparseCase& c) {
  BatchLayout layout = layout_of(c.pack);
  ScoreLayout blocks = ScoreLayout::prefill(layout, c.block);
  device.prepare(layout);
  device.prepare(blocks);
  const auto input = [&](int64_t tokens, int64_t heads, const Values& values) {
    const Shape shape{tokens, heads, c.head_dim};
    return c.strided ? device.upload_strided(shape, values) : device.upload(shape, values);
  };
  const int64_t keys = key_tokens(c.pack);
  SparseAttentionArgs args{.q = input(query_tokens(c.pack), c.heads, c.q()),
                           .k = input(keys, c.kv_heads, c.k()),
                           .v = input(keys, c.kv_heads, c.v()),
                           .layout = &layout,
                           .blocks = &blocks,
                           .lists = kept_blocks(c).upload(device),
                           .head_begin = c.head_begin,
                           .head_count = c.count(),
                           .scale = c.scale()};
  args.output = c.strided ? device.output_strided(args.q.shape()) : device.output(args.q.shape());
  args.workspace = device.workspace(device.backend().sparse_attention_workspace(args));
  device.backend().sparse_attention(device.queue(), args);

  // The heads of the range; those outside must be as they were.
  const Values all = device.download(args.output);
  Values mine;
  double outside = c.strided && !device.gaps_untouched(args.output) ? 1 : 0;
  for (int64_t at = 0; at < static_cast<int64_t>(all.size()); ++at) {
    const int64_t head = at / c.head_dim % c.heads;
    if (head >= c.head_begin && head < c.head_begin + c.count()) {
      mine.push_back(all[at]);
    } else if (!std::isnan(all[at])) {
      ++outside;
    }
  }
  return {{"output", mine}, {"written_outside", {outside}}};
}

}  // namespace

OpCases sparse_attention_cases() {
  std::vector<SparseCase> list;
  for (const int64_t head_dim : {16, 32, 80, 128}) {
    list.push_back({fmt::format("d{}", head_dim), 4, 2, head_dim, whole({203, 65, 1, 17}), 32});
  }
  for (const int64_t block : {16, 32, 64, 128}) {
    list.push_back({fmt::format("block_{}", block), 2, 2, 32, whole({389, 128, 129}), block});
    list.push_back(
        {fmt::format("block_{}_empty_rows", block), 2, 1, 32, whole({389, 128, 129}), block, Lists::kRandom});
  }
  for (const int64_t length : {1, 2, 63, 64, 65, 127, 128, 129, 513}) {
    list.push_back({fmt::format("length_{}", length), 1, 1, 16, whole({length}), 64});
  }
  const Pack pack = whole({300, 77});
  list.push_back({"none", 2, 1, 16, pack, 32, Lists::kNone});
  list.push_back({"all", 2, 1, 32, pack, 32, Lists::kAll});
  list.push_back({"diagonal", 2, 1, 32, pack, 64, Lists::kDiagonal});
  list.push_back({"all_but_diagonal", 2, 1, 32, pack, 32, Lists::kAllButDiagonal});
  list.push_back({"every_other", 2, 1, 32, pack, 16, Lists::kEveryOther});
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{64, 64}, {512, 128}}}};
  list.push_back({"chunks", 4, 2, 32, chunks, 64});
  list.push_back({"chunks_block_16", 2, 1, 16, {{301, {{48, 160}, {288, 13}}}, {50, {{16, 32}}}}, 16});
  list.push_back({"head_range", 6, 3, 16, whole({150, 70}), 32, Lists::kRandom, 2, 2});
  list.push_back({"head_range_inside_a_group", 6, 2, 16, chunks, 64, Lists::kRandom, 1, 3});
  list.push_back({"mqa", 8, 1, 16, whole({140}), 32});
  list.push_back({"flat", 2, 1, 32, pack, 32, Lists::kRandom, 0, 0, 0.0});
  list.push_back({"strided", 4, 2, 32, whole({100, 151}), 32, Lists::kRandom, 0, 0, 1.0, 2e-6, true});
  list.push_back({"many_blocks", 1, 1, 16, {{8000, {{7936, 64}}}}, 16});
  // An fp32 dot product is off by some 1e-7 of |q||k|, and exp turns that into a relative error.
  list.push_back({"scores_of_100", 2, 1, 64, pack, 32, Lists::kRandom, 0, 0, 30.0, 1e-5});
  OpCases cases;
  for (const SparseCase& c : list) {
    cases.push_back({"sparse_attention_" + c.name, [=](Device& device) { return run(device, c); },
                     [=] { return reference(c); }});
  }
  return cases;
}

}  // namespace seer::test
