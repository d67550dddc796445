// Thresholds: against brute force over all there are, and measured by the selection that uses them.
#include "trainer/eval/calibration.h"

#include <cmath>

#include <gtest/gtest.h>

#include "src/core/rng.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/eval/eval_files.h"
#include "trainer/eval/recall_pass.h"

namespace seer::test {
namespace {

/// Rows of scores and targets, and what a threshold keeps of them, p and the comparison in fp32 as selections do it.
struct Rows {
  std::vector<std::vector<float>> scores;
  std::vector<std::vector<float>> target;
  std::vector<bool> counts;
  SelectionRule rule;  ///< What is kept at any threshold

  ThresholdCurve curve() const {
    ThresholdCurve curve;
    for (size_t i = 0; i < scores.size(); ++i) curve.add_row(scores[i], target[i], rule, counts[i]);
    return curve;
  }

  bool is_forced(size_t row, size_t block) const {
    const auto back = static_cast<int64_t>(scores[row].size() - 1 - block);
    return static_cast<int64_t>(block) < rule.sink_blocks || back < rule.local_blocks ||
           (rule.always_diagonal && back == 0);
  }

  /// Shares of blocks and of mass.
  std::pair<double, double> kept(float threshold) const {
    double blocks = 0;
    double visible = 0;
    double mass = 0;
    double rows = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      const float largest = *std::max_element(scores[i].begin(), scores[i].end());
      float sum = 0;
      for (const float s : scores[i]) sum += std::exp(s - largest);
      double all = 0;
      double held = 0;
      for (size_t j = 0; j < scores[i].size(); ++j) {
        const bool is_kept = is_forced(i, j) || std::exp(scores[i][j] - largest) / sum > threshold;
        blocks += is_kept ? 1 : 0;
        held += is_kept ? target[i][j] : 0;
        all += target[i][j];
      }
      visible += static_cast<double>(scores[i].size());
      if (!counts[i]) continue;
      mass += held / all;
      rows += 1;
    }
    return {blocks / visible, mass / rows};
  }

  /// Every p there is, as thresholds.
  std::vector<float> probabilities() const {
    std::vector<float> all;
    for (const std::vector<float>& row : scores) {
      const float largest = *std::max_element(row.begin(), row.end());
      float sum = 0;
      for (const float s : row) sum += std::exp(s - largest);
      for (const float s : row) all.push_back(std::exp(s - largest) / sum);
    }
    return all;
  }
};

Rows random_rows(uint64_t seed, double spread) {
  Rng rng = Rng(seed).fork("rows");
  Rows rows;
  for (size_t i = 0; i < 40; ++i) {
    rows.scores.emplace_back();
    rows.target.emplace_back();
    for (size_t j = 0; j <= i; ++j) {
      rows.scores.back().push_back(static_cast<float>(spread * rng.normal()));
      rows.target.back().push_back(static_cast<float>(rng.uniform() + 1e-3));
    }
    rows.counts.push_back(i >= 10);
  }
  return rows;
}

TEST(ThresholdCurve, IsTheLargestThresholdThatReachesTheTarget) {
  // Thresholds that the curve tells apart: a bin's width, and a little for the rounding of p at its edges.
  const double bin = std::exp2(1.0 / ThresholdCurve::kBinsPerOctave) * (1 + 1e-4);
  const auto best_of_bins = [&](double best) {  // smaller p are one bin
    return best < std::exp2(-ThresholdCurve::kOctaves) ? 0 : best / bin;
  };
  for (const double spread : {0.5, 3.0, 12.0, 3.5}) {
    Rows rows = random_rows(1, spread);
    if (spread == 3.5) rows.rule = {.always_diagonal = false, .sink_blocks = 1, .local_blocks = 2};
    const ThresholdCurve curve = rows.curve();
    const std::vector<float> thresholds = rows.probabilities();
    for (const double wanted : {0.15, 0.3, 0.5, 0.8, 0.95}) {
      SCOPED_TRACE(testing::Message() << "spread " << spread << ", wanted " << wanted);
      double density_best = 0;
      double recall_best = 0;
      for (const float t : thresholds) {  // just below a p that is there: nothing else changes what is kept
        const float below = std::nextafter(t, 0.0F);
        const auto [density, recall] = rows.kept(below);
        if (density >= wanted) density_best = std::max<double>(density_best, below);
        if (recall >= wanted) recall_best = std::max<double>(recall_best, below);
      }
      const double for_density = curve.for_density(wanted);
      EXPECT_GE(rows.kept(static_cast<float>(for_density)).first, wanted);
      EXPECT_GE(for_density, best_of_bins(density_best));
      const double for_recall = curve.for_recall(wanted);
      EXPECT_GE(rows.kept(static_cast<float>(for_recall)).second, wanted);
      EXPECT_GE(for_recall, best_of_bins(recall_best));
    }
  }
}

TEST(ThresholdCurve, EqualScoresAreKeptTogether) {
  for (const size_t blocks : {2, 3, 4, 7, 8, 16, 64, 1000}) {  // powers of two lie on the bins' edges
    Rows rows;
    rows.scores = {std::vector<float>(blocks, 1.5F)};
    rows.target = {std::vector<float>(blocks, 1.0F)};
    rows.counts = {true};
    for (const double wanted : {0.6, 0.99}) {
      EXPECT_EQ(rows.kept(static_cast<float>(rows.curve().for_density(wanted))).first, 1) << blocks;
      EXPECT_EQ(rows.kept(static_cast<float>(rows.curve().for_recall(wanted))).second, 1) << blocks;
    }
  }
}

TEST(ThresholdCurve, TheDiagonalIsKeptAtAnyThreshold) {
  Rows rows;
  rows.scores = {{5, -5}, {5, -5}};
  rows.target = {{1, 3}, {1, 3}};
  rows.counts = {true, true};
  const ThresholdCurve curve = rows.curve();
  EXPECT_EQ(rows.kept(static_cast<float>(curve.for_density(0.5))).first, 0.5);
  EXPECT_EQ(rows.kept(static_cast<float>(curve.for_recall(0.75))).second, 0.75);
  EXPECT_EQ(rows.kept(static_cast<float>(curve.for_recall(0.76))).second, 1);
}

TEST(ThresholdCurve, ScoresFarApartAreNoTrouble) {
  Rows rows;
  rows.scores = {{-3e38F, 0, -200, 1}};
  rows.target = {{1, 1, 1, 1}};
  rows.counts = {true};
  EXPECT_EQ(rows.curve().for_density(1), 0);
  EXPECT_EQ(rows.kept(static_cast<float>(rows.curve().for_density(0.5))).first, 0.5);
}

class Calibration : public testing::Test {
 protected:
  Calibration() {
    write_tiny_model(folder_ / "model", {});
    write_random_gates(folder_ / "gates", folder_ / "model");
  }
  TempDir folder_;
};

TEST_F(Calibration, ReachesItsTargetInEveryHead) {
  constexpr int64_t kLength = 500;
  constexpr double kCoarse = 0.03;  // of all blocks or mass: blocks whose p are next to each other
  EvalModel model(on_one_thread(folder_ / "model", folder_ / "gates"), kLength);
  const auto windows = random_windows(7, 3, kLength, 256);
  for (const CalibrationTarget& target :
       {CalibrationTarget{.density = 0.3}, CalibrationTarget{.density = 0.7},
        CalibrationTarget{.recall = 0.8}}) {
    // With a first block that is kept besides, its share is part of the target.
    const SelectionRule rule{
        .by = SelectBy::kThreshold, .value = 0, .sink_blocks = target.density == 0.7 ? 1 : 0};
    const auto thresholds = calibrate_thresholds(model, windows, target, rule);
    RecallPass pass(model.backend(), model.config(), model.weights(), model.gates(), kLength,
                    model.block_size(), {{.method = ScoringMethod{}, .rule = rule, .values = thresholds}});
    for (const auto& window : windows) pass.add(window);
    const RecallResult reached = pass.results().front();
    const auto& measured = target.recall > 0 ? reached.recall : reached.density;
    const double wanted = std::max(target.recall, target.density);
    ASSERT_EQ(measured.size(), 2U);
    for (const std::vector<double>& layer : measured) {
      ASSERT_EQ(layer.size(), 4U);
      for (const double value : layer) {
        EXPECT_GE(value, wanted - 1e-9);
        EXPECT_LE(value, wanted + kCoarse);
      }
    }
  }
}

}  // namespace
}  // namespace seer::test
