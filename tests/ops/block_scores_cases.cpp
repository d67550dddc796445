// Scores that need no gate: split_signs, position_scores, and antidiagonal_scores by its definition.
#include <algorithm>
#include <cmath>
#include <functional>

#include "src/ops/score_order.h"
#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

OpCase split_signs_case(int64_t rows, int64_t heads, int64_t head_dim) {
  const auto values = [=] {
    Values x = random_values(160, rows * heads * head_dim);
    x[0] = 0.0;
    return x;
  };
  return {fmt::format("split_signs_{}x{}x{}", rows, heads, head_dim),
          [=](Device& device) -> Outputs {
            const Tensor out = device.output(Shape{rows, heads, 2 * head_dim});
            device.backend().split_signs(device.queue(),
                                         device.upload(Shape{rows, heads, head_dim}, values()), out);
            return {{"out", device.download(out)}};
          },
          [=]() -> Expectations {
            const Values x = values();
            Values out;
            for (int64_t vector = 0; vector < rows * heads; ++vector) {
              for (int64_t e = 0; e < head_dim; ++e) out.push_back(std::max(x[vector * head_dim + e], 0.0));
              for (int64_t e = 0; e < head_dim; ++e) out.push_back(std::min(x[vector * head_dim + e], 0.0));
            }
            return {{"out", {out}}};
          }};
}

/// The elements of score matrices that rows see; what the others hold is not defined.
Values visible(const std::vector<Matrix>& matrices, int64_t heads,
               const std::function<double(const Matrix&, int64_t head, int64_t i, int64_t j)>& element) {
  Values out;
  for (const Matrix& m : matrices) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        for (int64_t j = 0; j <= m.position + i; ++j) out.push_back(element(m, h, i, j));
      }
    }
  }
  return out;
}

Values visible(const std::vector<Matrix>& matrices, int64_t heads, const Values& all) {
  return visible(matrices, heads, [&](const Matrix& m, int64_t h, int64_t i, int64_t j) {
    return all[m.offset(heads, h, i) + j];
  });
}

struct PositionCase {
  std::string name;
  PositionScores kind;
  Pack pack;
  int64_t block;
  int64_t head_begin = 0;
  int64_t head_count = 3;
  uint64_t seed = 42;

  std::vector<Matrix> matrices() const { return matrices_of(pack, ScoreKind::kPrefill, block); }
};

OpCase position_case(const PositionCase& c) {
  return {"position_scores_" + c.name,
          [=](Device& device) -> Outputs {
            ScoreLayout layout = ScoreLayout::prefill(layout_of(c.pack), c.block);
            device.prepare(layout);
            const Tensor scores = device.output(Shape{c.head_count, layout.elements});
            device.backend().position_scores(device.queue(), c.kind, c.seed, layout, c.head_begin,
                                             c.head_count, scores);
            return {{"visible", visible(c.matrices(), c.head_count, device.download(scores))}};
          },
          [=]() -> Expectations {
            const auto score = [&](const Matrix& m, int64_t h, int64_t i, int64_t j) -> double {
              if (c.kind == PositionScores::kRandom) {
                return block_hash(c.seed, c.head_begin + h, m.position + i, j);
              }
              return static_cast<double>(j == 0 ? m.blocks : j);
            };
            return {{"visible", {visible(c.matrices(), c.head_count, score)}}};
          }};
}

struct AntidiagonalCase {
  std::string name;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  Pack pack;
  int64_t block;
  int64_t stride;
  int64_t head_begin = 0;
  int64_t head_count = 0;  ///< 0: all
  double magnitude = 3.0;  ///< Of q: groups differ enough for softmax to matter
  bool strided = false;

  int64_t count() const { return head_count > 0 ? head_count : heads; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim)); }
  Values q() const { return random_values(161, query_tokens(pack) * heads * head_dim, magnitude); }
  Values k() const { return random_values(162, key_tokens(pack) * kv_heads * head_dim); }
  std::vector<Matrix> matrices() const { return matrices_of(pack, ScoreKind::kPrefill, block); }
};

Outputs run(Device& device, const AntidiagonalCase& c) {
  BatchLayout layout = layout_of(c.pack);
  ScoreLayout blocks = ScoreLayout::prefill(layout, c.block);
  device.prepare(layout);
  device.prepare(blocks);
  const auto input = [&](int64_t tokens, int64_t heads, const Values& values) {
    const Shape shape{tokens, heads, c.head_dim};
    return c.strided ? device.upload_strided(shape, values) : device.upload(shape, values);
  };
  AntidiagonalArgs args{.q = input(query_tokens(c.pack), c.heads, c.q()),
                        .k = input(key_tokens(c.pack), c.kv_heads, c.k()),
                        .layout = &layout,
                        .blocks = &blocks,
                        .stride = c.stride,
                        .head_begin = c.head_begin,
                        .head_count = c.count(),
                        .scale = c.scale(),
                        .scores = device.output(Shape{c.count(), blocks.elements})};
  args.workspace = device.workspace(device.backend().antidiagonal_workspace(args));
  device.backend().antidiagonal_scores(device.queue(), args);
  return {{"visible", visible(c.matrices(), c.count(), device.download(args.scores))}};
}

Expectations reference(const AntidiagonalCase& c) {
  const Values q = c.q();
  const Values k = c.k();
  const std::vector<Matrix> matrices = c.matrices();
  Values scores(c.count() * elements_of(matrices));
  int64_t matrix = 0;
  for (const PackedSequence& sequence : c.pack) {
    for (const Chunk& chunk : sequence.chunks) {
      const Matrix& m = matrices[matrix++];
      for (int64_t h = 0; h < c.count(); ++h) {
        const int64_t head = c.head_begin + h;
        const int64_t kv_head = head / (c.heads / c.kv_heads);
        for (int64_t begin = 0; begin < chunk.rows; begin += c.stride) {
          const int64_t a = (chunk.position + begin) / c.stride;
          Values p(a + 1);
          for (int64_t group = 0; group <= a; ++group) {
            for (int64_t t = 0; t < c.stride; ++t) {
              const int64_t query = begin + c.stride - 1 - t;  // in the chunk
              const int64_t key = group * c.stride + t;
              if (query >= chunk.rows || key >= sequence.length) continue;  // zero vectors
              for (int64_t e = 0; e < c.head_dim; ++e) {
                p[group] += q[((m.token_row + query) * c.heads + head) * c.head_dim + e] *
                            k[((m.key_token + key) * c.kv_heads + kv_head) * c.head_dim + e];
              }
            }
            p[group] *= static_cast<double>(c.scale()) / static_cast<double>(c.stride);
          }
          const double maximum = *std::ranges::max_element(p);
          double sum = 0;
          for (double& x : p) sum += x = std::exp(x - maximum);
          for (int64_t group = 0; group <= a; ++group) {
            scores[m.offset(c.count(), h, begin / c.block) + group * c.stride / c.block] += p[group] / sum;
          }
        }
      }
    }
  }
  return {{"visible", {visible(matrices, c.count(), scores), 2e-6}}};
}

OpCase antidiagonal_case(const AntidiagonalCase& c) {
  return {"antidiagonal_" + c.name, [=](Device& device) { return run(device, c); },
          [=] { return reference(c); }};
}

}  // namespace

OpCases block_scores_cases() {
  OpCases cases = {split_signs_case(5, 3, 16), split_signs_case(1, 1, 1), split_signs_case(67, 2, 33),
                   split_signs_case(130, 4, 128)};
  const Pack pack = whole({700, 33, 16, 309});
  const Pack chunks = {{300, {{128, 128}, {256, 44}}}, {77, {{0, 77}}}, {640, {{64, 64}, {512, 128}}}};
  const Pack one = whole({9});
  for (const auto& [name, kind] : {std::pair{std::string("window"), PositionScores::kWindow},
                                   {std::string("random"), PositionScores::kRandom}}) {
    cases.push_back(position_case({name, kind, pack, 16}));
    cases.push_back(position_case({name + "_blocks_of_128", kind, pack, 128}));
    cases.push_back(position_case({name + "_chunks_of_some_heads", kind, chunks, 64, 5, 2}));
    cases.push_back(position_case({name + "_one_block", kind, one, 64}));
    cases.push_back(position_case({name + "_large_seed", kind, pack, 32, 0, 1, 0xfedcba9876543210ULL}));
  }
  for (const int64_t block : {16, 32, 64, 128}) {
    for (const int64_t stride : {8, 16}) {
      cases.push_back(antidiagonal_case({fmt::format("block_{}_stride_{}", block, stride), 2, 1, 32,
                                         whole({389, 128, 129}), block, stride}));
    }
  }
  for (const int64_t length : {1, 7, 8, 9, 63, 64, 65, 72}) {
    cases.push_back(antidiagonal_case({fmt::format("length_{}", length), 1, 1, 16, whole({length}), 64, 8}));
  }
  cases.push_back(antidiagonal_case({"stride_1", 1, 1, 16, whole({100}), 32, 1}));
  cases.push_back(antidiagonal_case({"stride_4", 2, 1, 16, whole({203, 30}), 32, 4}));
  cases.push_back(antidiagonal_case({"stride_of_a_block", 2, 1, 16, whole({203, 30}), 32, 32}));
  cases.push_back(antidiagonal_case({"d128_gqa", 4, 2, 128, whole({203, 65}), 64, 16}));
  cases.push_back(antidiagonal_case({"d80", 2, 2, 80, whole({150}), 64, 8}));
  cases.push_back(antidiagonal_case({"chunks", 4, 2, 32, chunks, 64, 8}));
  cases.push_back(antidiagonal_case({"head_range_inside_a_group", 6, 2, 16, chunks, 64, 16, 1, 3}));
  cases.push_back(antidiagonal_case({"strided", 4, 2, 32, whole({100, 151}), 32, 8, 0, 0, 3.0, true}));
  cases.push_back(antidiagonal_case({"flat", 2, 1, 32, pack, 32, 8, 0, 0, 0.0}));
  cases.push_back(antidiagonal_case({"long_rows", 1, 1, 16, {{8000, {{7936, 64}}}}, 64, 8}));
  return cases;
}

}  // namespace seer::test
