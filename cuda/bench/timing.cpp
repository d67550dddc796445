#include "cuda/bench/timing.h"

#include <algorithm>
#include <thread>

#include "cuda/check.h"

namespace seer::cuda {
namespace {

/// Of sorted values, between neighbours where it falls between them.
double quantile(const std::vector<double>& sorted, double fraction) {
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

GpuTimer::GpuTimer(cudaStream_t stream, const TimerOptions& options) : stream_(stream), options_(options) {
  SEER_CHECK(options.repeats > 0 && options.warmups >= 0, "{} repeats, {} warm-ups", options.repeats,
             options.warmups);
}

GpuTimer::~GpuTimer() {
  for (const Interval& interval : intervals_) {
    if (interval.start != nullptr) cudaEventDestroy(interval.start);
    if (interval.end != nullptr) cudaEventDestroy(interval.end);
  }
}

Timing GpuTimer::measure(const Enqueue& work) {
  return measure_in_turn({&work, 1}).front();
}

std::vector<Timing> GpuTimer::measure_in_turn(std::span<const Enqueue> works) {
  const auto repeats = static_cast<size_t>(options_.repeats);
  while (intervals_.size() < repeats * works.size()) {
    Interval& interval = intervals_.emplace_back();
    check(cudaEventCreate(&interval.start), "cudaEventCreate");
    check(cudaEventCreate(&interval.end), "cudaEventCreate");
  }

  check(cudaStreamSynchronize(stream_), "work before the timed one");
  std::this_thread::sleep_for(options_.rest);
  for (int i = 0; i < options_.warmups; ++i) {
    for (const Enqueue& work : works) work();
  }
  for (size_t i = 0; i < repeats * works.size(); ++i) {
    check(cudaEventRecord(intervals_[i].start, stream_), "cudaEventRecord");
    works[i % works.size()]();
    check(cudaEventRecord(intervals_[i].end, stream_), "cudaEventRecord");
  }
  check(cudaStreamSynchronize(stream_), "timed work");

  std::vector<Timing> timings;
  for (size_t first = 0; first < works.size(); ++first) {
    std::vector<double> times;
    for (size_t i = first; i < repeats * works.size(); i += works.size()) {
      float ms = 0;
      check(cudaEventElapsedTime(&ms, intervals_[i].start, intervals_[i].end), "cudaEventElapsedTime");
      times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    timings.push_back(
        {.median_ms = quantile(times, 0.5), .spread_ms = quantile(times, 0.9) - quantile(times, 0.1)});
  }
  return timings;
}

}  // namespace seer::cuda
