// kl_loss: losses per head and the gradient of the scores, by the definitions of SEMANTICS 4 and 8.
#include <algorithm>
#include <cmath>

#include "src/core/rng.h"
#include "tests/ops/op_case.h"
#include "tests/ops/packs.h"

namespace seer::test {
namespace {

struct KlCase {
  std::string name;
  ScoreKind kind;
  Pack pack;
  int64_t block;
  LossReduction reduction = LossReduction::kElements;
  DType dtype = DType::kF32;
  int64_t heads = 3;       ///< Of the layer
  int64_t head_count = 3;  ///< In the matrices
  double slice_ratio = 0.5;
  bool want_gradient = true;
  double score_scale = 3.0;
};

constexpr double kLossFactor = 0.7;
constexpr double kGradientFactor = 2.5;

/// A quarter of T is 0; rows sum to something between 0 and 2. Invisible elements are 0.
Values target_of(const KlCase& c) {
  const std::vector<Matrix> matrices = matrices_of(c.pack, c.kind, c.block);
  Rng rng(91);
  Values target(c.head_count * elements_of(matrices), 0.0);
  for (const Matrix& m : matrices) {
    for (int64_t row = 0; row < c.head_count * m.rows; ++row) {
      const int64_t seen = seen_blocks(c.kind, m.position + row % m.rows, c.block);
      for (int64_t j = 0; j < seen; ++j) {
        const bool zero = rng.below(4) == 0;
        const double value = 2.0 * rng.uniform() / static_cast<double>(seen);
        target[m.before * c.head_count + row * m.blocks + j] = zero ? 0.0 : static_cast<float>(value);
      }
    }
  }
  return target;
}

Values scores_of(const KlCase& c) {
  return random_values(90, c.head_count * elements_of(matrices_of(c.pack, c.kind, c.block)), c.score_scale);
}

Outputs run(Device& device, const KlCase& c) {
  const BatchLayout batch = layout_of(c.pack);
  ScoreLayout layout = c.kind == ScoreKind::kPrefill ? ScoreLayout::prefill(batch, c.block)
                                                     : ScoreLayout::decode(batch, c.block, c.slice_ratio);
  device.prepare(layout);
  const Shape shape{c.head_count, layout.elements};
  const Tensor losses = device.upload(Shape{c.head_count}, Values(c.head_count, 0.25), DType::kF64);
  KlArgs args{.scores = device.upload(shape, scores_of(c), c.dtype),
              .target = device.upload(shape, target_of(c), c.dtype),
              .layout = &layout,
              .heads = c.heads,
              .head_count = c.head_count,
              .reduction = c.reduction,
              .loss_factor = kLossFactor,
              .gradient_factor = kGradientFactor,
              .want_gradient = c.want_gradient,
              .losses = losses};
  args.workspace = device.workspace(device.backend().kl_workspace(args));
  device.backend().kl_loss(device.queue(), args);
  return {{"losses", device.download(losses)}, {"scores", device.download(args.scores)}};
}

Expectations reference(const KlCase& c) {
  const Values scores = scores_of(c);
  const Values target = target_of(c);
  const std::vector<Matrix> matrices = matrices_of(c.pack, c.kind, c.block);
  int64_t longest = 0;
  for (const Matrix& m : matrices) longest = std::max(longest, m.blocks);
  Values losses(c.head_count, 0.25);
  Values gradient(scores.size(), 0.0);
  for (const Matrix& m : matrices) {
    const bool prefill = c.kind == ScoreKind::kPrefill;
    const int64_t first =
        prefill ? m.blocks / 4
                : static_cast<int64_t>(std::trunc(static_cast<double>(m.length) * c.slice_ratio));
    double count = static_cast<double>(c.heads * ((prefill ? m.blocks : m.length) - first));
    if (c.reduction == LossReduction::kElements) count *= static_cast<double>(prefill ? m.blocks : longest);
    const double weight = 1.0 / (count * static_cast<double>(c.pack.size()));
    for (int64_t h = 0; h < c.head_count; ++h) {
      for (int64_t i = 0; i < m.rows; ++i) {
        if (m.position + i < first) continue;
        const int64_t at = m.offset(c.head_count, h, i);
        const int64_t seen = seen_blocks(c.kind, m.position + i, c.block);
        if (seen == 0) continue;
        const double maximum = *std::max_element(scores.begin() + at, scores.begin() + at + seen);
        double sum = 0;
        double mass = 0;
        for (int64_t j = 0; j < seen; ++j) {
          sum += std::exp(scores[at + j] - maximum);
          mass += target[at + j];
        }
        for (int64_t j = 0; j < seen; ++j) {
          const double log_p = scores[at + j] - maximum - std::log(sum);
          const double t = target[at + j];
          if (t > 0) losses[h] += kLossFactor * weight * t * (std::log(t) - log_p);
          gradient[at + j] = kGradientFactor * weight * (std::exp(log_p) * mass - t);
        }
      }
    }
  }
  return {{"losses", {losses, c.dtype == DType::kF64 ? 1e-13 : 1e-7}},
          {"scores", {c.want_gradient ? gradient : scores, c.want_gradient ? tolerance_of(c.dtype) : 0.0}}};
}

}  // namespace

OpCases kl_loss_cases() {
  std::vector<KlCase> list;
  const Pack chunks = {{301, {{128, 128}, {256, 45}}}, {64, {{0, 64}}}};
  for (const LossReduction reduction : {LossReduction::kElements, LossReduction::kRows}) {
    const std::string mean = reduction == LossReduction::kElements ? "_elements" : "_rows";
    for (const DType dtype : {DType::kF32, DType::kF64}) {
      for (const int64_t blocks : {1, 2, 3, 4, 5}) {
        list.push_back({fmt::format("n{}{}", blocks, mean), ScoreKind::kPrefill, whole({16 * blocks}), 16,
                        reduction, dtype});
      }
      list.push_back({"pack" + mean, ScoreKind::kPrefill, whole({300, 33, 1300}), 16, reduction, dtype});
      list.push_back({"chunks" + mean, ScoreKind::kPrefill, chunks, 32, reduction, dtype, 6, 2});
      list.push_back({"decode" + mean, ScoreKind::kDecode, whole({130, 20, 71}), 16, reduction, dtype});
      list.push_back(
          {"decode_all_rows" + mean, ScoreKind::kDecode, whole({40, 20}), 16, reduction, dtype, 4, 2, 0.0});
    }
    // The last rows of sequences of up to 16,384 blocks and more; odd numbers of blocks do not keep rows aligned.
    for (const int64_t blocks : {255, 1024, 1025, 4095, 4097, 16384, 16387}) {
      const Pack last_rows = {{16 * blocks, {{16 * (blocks - 2), 32}}}};
      list.push_back({fmt::format("last_rows_of_{}{}", blocks, mean), ScoreKind::kPrefill, last_rows, 16,
                      reduction, DType::kF32, 2, 2});
    }
    // A short sequence beside a long one: rows of both sizes in one call.
    list.push_back({"short_and_long" + mean, ScoreKind::kPrefill,
                    Pack{{16 * 1500, {{16 * 1498, 32}}}, {16 * 40, {{0, 16 * 40}}}}, 16, reduction,
                    DType::kF32, 2, 2});
    list.push_back({"loss_only" + mean, ScoreKind::kPrefill, whole({300, 33}), 16, reduction, DType::kF32, 3,
                    3, 0.5, false});
    list.push_back({"large_scores" + mean, ScoreKind::kPrefill, whole({300, 33}), 16, reduction, DType::kF32,
                    3, 3, 0.5, true, 150.0});
  }
  OpCases cases;
  for (const KlCase& c : list) {
    cases.push_back({fmt::format("kl_loss_{}{}", c.name, suffix_of(c.dtype)),
                     [=](Device& device) { return run(device, c); }, [=] { return reference(c); }});
  }
  return cases;
}

}  // namespace seer::test
