#include "data/tasks/summary.h"

#include <functional>

#include "data/tasks/longbench.h"
#include "data/tasks/ruler.h"
#include "data/tasks/string_match.h"

namespace seer {
namespace {

/// The mean over those samples that `counts` says.
Figure figure_of(std::span<const ScoredSample> samples,
                 const std::function<bool(const ScoredSample&)>& counts) {
  Figure figure;
  double sum = 0;
  for (const ScoredSample& sample : samples) {
    if (!counts(sample)) continue;
    ++figure.samples;
    sum += sample.score;
  }
  if (figure.samples > 0) figure.score = round_to_cents(100 * sum / static_cast<double>(figure.samples));
  return figure;
}

template <typename Rows, typename Get>
std::optional<double> mean_of(const Rows& rows, const Get& get) {
  double sum = 0;
  int64_t count = 0;
  for (const auto& row : rows) {
    const Figure& figure = get(row);
    if (!figure.score) continue;
    sum += *figure.score;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return round_to_cents(sum / static_cast<double>(count));
}

}  // namespace

RulerSummary summarise_ruler(std::span<const ScoredSample> samples) {
  for (const ScoredSample& sample : samples) (void)ruler_task(sample.task);
  RulerSummary summary;
  for (const RulerTask& task : ruler_tasks()) {
    const Figure figure =
        figure_of(samples, [&](const ScoredSample& sample) { return sample.task == task.name; });
    if (figure.samples > 0) summary.rows.push_back({std::string(task.name), figure});
  }
  summary.average = mean_of(summary.rows, [](const auto& row) -> const Figure& { return row.figure; });
  return summary;
}

size_t longbench_bucket(int64_t length) {
  return length < 4000 ? 0 : length < 8000 ? 1 : 2;
}

LongBenchSummary summarise_longbench(std::span<const ScoredSample> samples) {
  for (const ScoredSample& sample : samples) (void)longbench_task(sample.task);
  LongBenchSummary summary;
  for (const LongBenchTask& task : longbench_tasks()) {
    LongBenchSummary::Row row{.task = std::string(task.name)};
    row.all = figure_of(samples, [&](const ScoredSample& sample) { return sample.task == task.name; });
    if (row.all.samples == 0) continue;
    for (size_t b = 0; b < row.buckets.size(); ++b)
      row.buckets[b] = figure_of(samples, [&](const ScoredSample& sample) {
        return sample.task == task.name && longbench_bucket(sample.length) == b;
      });
    summary.rows.push_back(std::move(row));
  }
  for (size_t b = 0; b < summary.average.size(); ++b)
    summary.average[b] =
        mean_of(summary.rows, [b](const auto& row) -> const Figure& { return row.buckets[b]; });
  summary.average_of_all = mean_of(summary.rows, [](const auto& row) -> const Figure& { return row.all; });
  return summary;
}

}  // namespace seer
