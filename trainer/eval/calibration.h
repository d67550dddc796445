// Thresholds by layer and head: what a gate's probabilities must exceed to reach a wanted density or recall.
#pragma once

#include <span>
#include <vector>

#include "trainer/eval/eval_model.h"
#include "trainer/eval/forward_pass.h"

namespace seer {

/// What one head keeps as a function of its threshold: for each bin of log2 p, how many blocks of the calibration text have
/// such a probability and how much of the ground truth they hold.
class ThresholdCurve {
 public:
  /// p at least 1 / 2^kOctaves is told apart by 2^(1 / kBinsPerOctave), 0.7 %; what is smaller is the first bin.
  static constexpr int kOctaves = 30;
  static constexpr int kBinsPerOctave = 100;
  static constexpr int kBins = kOctaves * kBinsPerOctave + 1;

  ThresholdCurve() : bins_(kBins) {}

  /// One block row's visible blocks: `scores` of the gate, and T. Those that `rule` keeps whatever their score are kept at any
  /// threshold. Rows that do not count in recall (SEMANTICS 9) add no mass.
  void add_row(std::span<const float> scores, std::span<const float> target, const SelectionRule& rule,
               bool counts_in_recall);

  /// The threshold, as high as the bins can tell, that keeps at least this share of all visible blocks, or of T's mass; 0
  /// if that takes the first bin.
  double for_density(double density) const;
  double for_recall(double recall) const;

 private:
  struct Bin {
    double blocks = 0;
    double mass = 0;
  };

  double threshold(double wanted, double always, double Bin::*what) const;

  std::vector<Bin> bins_;
  std::vector<double> p_;
  double blocks_ = 0;  // visible
  double mass_ = 0;    // of the rows that count
  Bin forced_;
};

struct CalibrationTarget {
  double density = 0;  ///< One of the two is not 0.
  double recall = 0;
};

/// One dense pass over `windows`; the thresholds of every head by layer, for a selection that keeps besides what `rule` does.
std::vector<std::vector<float>> calibrate_thresholds(EvalModel& model,
                                                     std::span<const std::vector<int32_t>> windows,
                                                     const CalibrationTarget& target,
                                                     const SelectionRule& rule);

}  // namespace seer
