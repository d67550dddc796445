// topk_recall against a full sort of every row.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

struct RecallCase {
  std::string name;
  Pack pack;
  int64_t block;
  double nz_ratio;
  int64_t heads = 3;
  int64_t head_count = 3;
  bool ties = false;  ///< Few distinct scores and targets
};

constexpr double kFactor = 0.5;

Values scores_of(const RecallCase& c) {
  Values values =
      random_values(100, c.head_count * elements_of(matrices_of(c.pack, ScoreKind::kPrefill, c.block)));
  if (c.ties) {
    for (double& value : values) value = std::round(value);
  }
  return values;
}

Values target_of(const RecallCase& c) {
  const std::vector<Matrix> matrices = matrices_of(c.pack, ScoreKind::kPrefill, c.block);
  const Values random = random_values(101, c.head_count * elements_of(matrices));
  Values target(random.size(), 0.0);
  for (const Matrix& m : matrices) {
    for (int64_t row = 0; row < c.head_count * m.rows; ++row) {
      const int64_t first = m.before * c.head_count + row * m.blocks;
      const int64_t seen = m.position + row % m.rows + 1;
      for (int64_t j = first; j < first + seen; ++j) {
        target[j] = static_cast<float>(c.ties ? 1.0 + std::abs(std::round(random[j])) : std::exp(random[j]));
      }
    }
  }
  return target;
}

Outputs run(Device& device, const RecallCase& c) {
  const BatchLayout batch = layout_of(c.pack);
  ScoreLayout layout = ScoreLayout::prefill(batch, c.block);
  device.prepare(layout);
  const Shape shape{c.head_count, layout.elements};
  const Values before(c.head_count, 0.125);
  RecallArgs args{.scores = device.upload(shape, scores_of(c)),
                  .target = device.upload(shape, target_of(c)),
                  .layout = &layout,
                  .heads = c.heads,
                  .head_count = c.head_count,
                  .nz_ratio = c.nz_ratio,
                  .factor = kFactor,
                  .recall = device.upload(Shape{c.head_count}, before, DType::kF64),
                  .oracle = device.upload(Shape{c.head_count}, before, DType::kF64)};
  args.workspace = device.workspace(device.backend().recall_workspace(args));
  device.backend().topk_recall(device.queue(), args);
  const Values recall = device.download(args.recall);
  const Values oracle = device.download(args.oracle);
  double worse_than_gate = 0;
  for (size_t h = 0; h < recall.size(); ++h) worse_than_gate += oracle[h] < recall[h] - 1e-12 ? 1 : 0;
  return {{"recall", recall}, {"oracle", oracle}, {"oracle_worse_than_gate", {worse_than_gate}}};
}

/// Share of k blocks: the highest keys, then the lower index; with `diagonal`, that block before all others.
double share(const Values& key, const Values& target, int64_t first, int64_t seen, int64_t k, bool diagonal) {
  std::vector<int64_t> order(seen);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
    if (diagonal && (a == seen - 1) != (b == seen - 1)) return a == seen - 1;
    return key[first + a] > key[first + b];
  });
  double kept = 0;
  double mass = 0;
  for (int64_t n = 0; n < seen; ++n) {
    mass += target[first + n];
    if (n < k) kept += target[first + order[n]];
  }
  return kept / mass;
}

Expectations reference(const RecallCase& c) {
  const Values scores = scores_of(c);
  const Values target = target_of(c);
  Values recall(c.head_count, 0.125);
  Values oracle(c.head_count, 0.125);
  for (const Matrix& m : matrices_of(c.pack, ScoreKind::kPrefill, c.block)) {
    const auto k = std::max<int64_t>(1, static_cast<int64_t>(std::trunc((1.0 - std::sqrt(1.0 - c.nz_ratio)) *
                                                                        static_cast<double>(m.blocks))));
    const int64_t first_row = m.blocks / 4;
    const double weight =
        kFactor / static_cast<double>(c.heads * (m.blocks - first_row) * static_cast<int64_t>(c.pack.size()));
    for (int64_t h = 0; h < c.head_count; ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        if (m.position + i < first_row) continue;
        const int64_t first = m.offset(c.head_count, h, i);
        const int64_t seen = m.position + i + 1;
        recall[h] += weight * share(scores, target, first, seen, k, true);
        oracle[h] += weight * share(target, target, first, seen, k, false);
      }
    }
  }
  return {{"recall", {recall, 1e-12}}, {"oracle", {oracle, 1e-12}}, {"oracle_worse_than_gate", {{0.0}}}};
}

}  // namespace

OpCases recall_cases() {
  const Pack pack = whole({700, 33, 16, 1300});
  const Pack chunks = {{701, {{128, 512}, {640, 61}}}, {64, {{0, 64}}}};
  const std::vector<RecallCase> list = {
      {"sparse", pack, 16, 0.1},
      {"half", pack, 16, 0.5},
      {"one_block", pack, 32, 1e-9},
      {"everything", pack, 32, 1.0},
      {"ties", pack, 16, 0.3, 3, 3, true},
      {"chunks_of_some_heads", chunks, 32, 0.4, 6, 2},
      {"two_blocks", whole({32}), 16, 0.5},
      {"single_block", whole({9}), 16, 0.5},
  };
  OpCases cases;
  for (const RecallCase& c : list) {
    cases.push_back({"topk_recall_" + c.name, [=](Device& device) { return run(device, c); },
                     [=] { return reference(c); }});
  }
  return cases;
}

}  // namespace seer::test
