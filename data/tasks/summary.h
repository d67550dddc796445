// Scores of samples to the figures that are reported.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tasks/sample.h"

namespace seer {

struct ScoredSample {
  std::string task;
  int64_t length = 0;  ///< TaskSample::length
  double score = 0;    ///< 0 to 1, of score()
};

/// A figure as the published scripts print it: times 100, rounded to two decimals. None of no sample (the
/// published script prints NaN then).
struct Figure {
  int64_t samples = 0;
  std::optional<double> score;
};

/// RULER at one length: each task's mean over its samples, in RULER's order, and the mean of these.
struct RulerSummary {
  struct Row {
    std::string task;
    Figure figure;
  };
  std::vector<Row> rows;  ///< Tasks with samples.
  std::optional<double> average;
};
/// Throws a usage Error for a task that is not RULER's.
RulerSummary summarise_ruler(std::span<const ScoredSample> samples);

constexpr std::array<std::string_view, 3> kLongBenchBuckets = {"0-4k", "4-8k", "8k+"};
/// The place of a length (words) in that list: below 4000, below 8000, the rest.
size_t longbench_bucket(int64_t length);

/// LongBench-E: each set's mean by length bucket and over all its samples; the averages are of the sets'
/// rounded figures, sets without a sample in a bucket left out.
struct LongBenchSummary {
  struct Row {
    std::string task;
    std::array<Figure, kLongBenchBuckets.size()> buckets;
    Figure all;
  };
  std::vector<Row> rows;  ///< Sets with samples, in the published order.
  std::array<std::optional<double>, kLongBenchBuckets.size()> average;
  std::optional<double> average_of_all;
};
/// Throws a usage Error for a set that is not LongBench-E's.
LongBenchSummary summarise_longbench(std::span<const ScoredSample> samples);

}  // namespace seer
