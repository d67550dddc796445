// Times device work by events: a rest, warm-ups, then repeats one behind the other, each between two events.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <vector>

#include <cuda_runtime.h>

namespace seer::cuda {

struct Timing {
  double median_ms = 0;
  double spread_ms = 0;  ///< Between the 10th and the 90th percentile
};

struct TimerOptions {
  int repeats = 20;
  int warmups = 3;
  /// Idle time before the warm-ups. Matrix work reaches the power limit of a large GPU within some 50 ms, and then slows
  /// it down: on an H200 one cuBLAS product ran at 795 TFLOP/s after a rest, at 677 after 0.3 s of its like.
  std::chrono::milliseconds rest{300};
};

class GpuTimer {
 public:
  /// Times on `stream`, which must outlive the timer.
  explicit GpuTimer(cudaStream_t stream, const TimerOptions& options = {});
  ~GpuTimer();
  GpuTimer(const GpuTimer&) = delete;
  GpuTimer& operator=(const GpuTimer&) = delete;

  cudaStream_t stream() const { return stream_; }

  /// Puts work on the stream and returns without waiting.
  using Enqueue = std::function<void()>;

  /// Repeats find in L2 what the last one left there: where that flatters, work on other buffers each time.
  Timing measure(const Enqueue& work);

  /// Times several works in turn, one repeat of each, then the next: all of them see the same clocks, so this is the
  /// way to compare.
  std::vector<Timing> measure_in_turn(std::span<const Enqueue> works);

 private:
  struct Interval {
    cudaEvent_t start = nullptr;
    cudaEvent_t end = nullptr;
  };

  cudaStream_t stream_;
  TimerOptions options_;
  std::vector<Interval> intervals_;  ///< Kept from one measurement to the next
};

}  // namespace seer::cuda
