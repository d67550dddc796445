// kept_recall of random lists against plain sums.
#include <cmath>
#include <numeric>

#include "tests/ops/block_lists.h"
#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

struct RecallCase {
  std::string name;
  Pack pack;
  int64_t block;
  double share;  ///< Of the blocks that are kept
  int64_t heads = 3;
  int64_t head_count = 3;

  std::vector<Matrix> matrices() const { return matrices_of(pack, ScoreKind::kPrefill, block); }
  KeptBlocks kept() const { return KeptBlocks::random(130, matrices(), head_count, share); }
};

constexpr double kFactor = 0.5;
constexpr double kBefore = 0.125;

/// Rows need not sum to 1: the operation divides by what they do sum to.
Values target_of(const RecallCase& c) {
  const std::vector<Matrix> matrices = c.matrices();
  const Values random = random_values(131, c.head_count * elements_of(matrices));
  Values target(random.size(), 0.0);
  for (const Matrix& m : matrices) {
    for (int64_t row = 0; row < c.head_count * m.rows; ++row) {
      const int64_t first = m.before * c.head_count + row * m.blocks;
      for (int64_t j = first; j <= first + m.position + row % m.rows; ++j) {
        target[j] = static_cast<float>(std::exp(random[j]));
      }
    }
  }
  return target;
}

Outputs run(Device& device, const RecallCase& c) {
  const BatchLayout batch = layout_of(c.pack);
  ScoreLayout layout = ScoreLayout::prefill(batch, c.block);
  device.prepare(layout);
  KeptRecallArgs args{
      .lists = c.kept().upload(device),
      .target = device.upload(Shape{c.head_count, layout.elements}, target_of(c)),
      .layout = &layout,
      .heads = c.heads,
      .head_count = c.head_count,
      .factor = kFactor,
      .recall = device.upload(Shape{c.head_count}, Values(c.head_count, kBefore), DType::kF64)};
  args.workspace = device.workspace(device.backend().kept_recall_workspace(args));
  device.backend().kept_recall(device.queue(), args);
  return {{"recall", device.download(args.recall)}};
}

Expectations reference(const RecallCase& c) {
  const Values target = target_of(c);
  const KeptBlocks kept = c.kept();
  Values recall(c.head_count, kBefore);
  for (const Matrix& m : kept.matrices()) {
    const int64_t first_row = m.blocks / 4;
    const double weight =
        kFactor / static_cast<double>(c.heads * (m.blocks - first_row) * static_cast<int64_t>(c.pack.size()));
    for (int64_t h = 0; h < c.head_count; ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        if (m.position + i < first_row) continue;
        const auto row = target.begin() + m.offset(c.head_count, h, i);
        double share = 0;
        for (const int64_t j : kept.row(m, h, i)) share += row[j];
        recall[h] += weight * share / std::accumulate(row, row + m.position + i + 1, 0.0);
      }
    }
  }
  return {{"recall", {recall, 1e-12}}};
}

}  // namespace

OpCases kept_recall_cases() {
  const Pack pack = whole({700, 33, 16, 1300});
  const Pack chunks = {{701, {{128, 512}, {640, 61}}}, {64, {{0, 64}}}};
  const std::vector<RecallCase> list = {
      {"few", pack, 16, 0.1},
      {"half", pack, 16, 0.5},
      {"nothing", pack, 32, 0.0},
      {"everything", pack, 32, 1.0},
      {"blocks_of_64", pack, 64, 0.3},
      {"blocks_of_128", pack, 128, 0.3},
      {"chunks_of_some_heads", chunks, 32, 0.4, 6, 2},
      {"long_rows", {{40000, {{39936, 64}}}, {5000, {{4864, 136}}}}, 16, 0.2, 2, 2},
      {"one_block", whole({9}), 16, 1.0},
  };
  OpCases cases;
  for (const RecallCase& c : list) {
    cases.push_back({"kept_recall_" + c.name, [=](Device& device) { return run(device, c); },
                     [=] { return reference(c); }});
  }
  return cases;
}

}  // namespace seer::test
