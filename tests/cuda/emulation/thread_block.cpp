#include "tests/cuda/emulation/thread_block.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "src/core/ceil_div.h"
#include "src/core/error.h"

namespace seer::emulation {
namespace {

constexpr int kRegisters = 64 * 1024;  ///< Of a multiprocessor
constexpr int kFast = 8;

ThreadBlock* running;

/// Stacks are made once.
std::vector<Fiber>& all_fibers() {
  static std::vector<Fiber> fibers(kMostThreads);
  return fibers;
}

/// What ptxas may give a thread where one such block fills a multiprocessor.
int registers_at_launch(int threads) {
  return std::min(kRegisters / threads / 8 * 8, 255);
}

}  // namespace

Pace::Pace(uint64_t seed, int warps) {
  Rng random = Rng(seed).fork("pace");
  std::vector<int> speed(warps, kFast);
  const auto one_group = [&](int others, int of_group) {
    const int group = static_cast<int>(random.below(ceil_div(warps, 4)));
    for (int warp = 0; warp < warps; ++warp) speed[warp] = warp / 4 == group ? of_group : others;
    return group;
  };
  switch (seed % 8) {
    case 0:
      name = "all alike";
      break;
    case 1:
      name = fmt::format("warp group {} slow", one_group(kFast, 1));
      break;
    case 2:
      name = fmt::format("warp group {} fast", one_group(1, kFast));
      break;
    case 3: {
      const uint64_t warp = random.below(warps);
      speed[warp] = 1;
      name = fmt::format("warp {} slow", warp);
      break;
    }
    case 4:
      copies = 1;
      name = "TMA slow";
      break;
    case 5:
      copies = 64;
      name = "TMA at once";
      break;
    case 6:
      for (int& s : speed) s = 1 + static_cast<int>(random.below(kFast));
      name = "each warp at its own speed";
      break;
    default:
      stays = true;
      name = "each warp as far as it gets";
  }
  for (int warp = 0; warp < warps; ++warp) turns.insert(turns.end(), speed[warp], warp);
}

ThreadBlock::ThreadBlock(int threads, uint32_t shared_bytes, uint64_t seed, const Injection& injection)
    : threads_(threads),
      fibers_(all_fibers()),
      waits_(threads),
      warps_(threads / kWarp),
      shared_(shared_bytes),
      products_(ceil_div(threads, Products::kThreads)),
      registers_(threads, registers_at_launch(threads)),
      random_(Rng(seed).fork("turns")),
      pace_(seed, threads / kWarp),
      faults_(injection),
      early_arrivals_(threads) {
  SEER_CHECK(running == nullptr, "one emulated thread block at a time");
  if (threads % kWarp != 0 || threads > kMostThreads) fail("a thread block of {} threads", threads);
  running = this;
}

ThreadBlock::~ThreadBlock() {
  running = nullptr;
}

ThreadBlock& ThreadBlock::current() {
  SEER_CHECK(running != nullptr, "no emulated thread block runs");
  return *running;
}

void ThreadBlock::run_thread(void* block) {
  auto& self = *static_cast<ThreadBlock*>(block);
  try {
    self.kernel_();
  } catch (...) {
    self.failure_ = std::current_exception();
  }
}

void ThreadBlock::run(const std::function<void()>& kernel) {
  kernel_ = kernel;
  for (int thread = 0; thread < threads_; ++thread) fibers_[thread].begin(run_thread, this);
  int misses = 0;
  int warp = 0;
  for (;;) {
    if (copies_.any() && random_.below(64) < pace_.copies) copies_.finish_one(random_);
    if (!pace_.stays || misses > 0) warp = pace_.turns[random_.below(pace_.turns.size())];
    if (run_warp(warp)) {
      misses = 0;
    } else if (++misses > 64) {
      misses = 1;
      if (any_can_run()) continue;
      if (copies_.any()) {
        copies_.finish_one(random_);
      } else if (all_ended()) {
        break;
      } else {
        fail_standing_still();
      }
    }
    if (failure_) std::rethrow_exception(failure_);
  }
  const int64_t registers = std::accumulate(registers_.begin(), registers_.end(), int64_t{0});
  const int64_t given = int64_t{threads_} * registers_at_launch(threads_);
  if (registers > given) fail("warp groups claim {} registers, of {} at launch", registers, given);
}

bool ThreadBlock::run_warp(int warp) {
  // From any lane on; now and then only some of them.
  const auto first = static_cast<int>(random_.below(kWarp));
  const int lanes = random_.below(8) == 0 ? 1 + static_cast<int>(random_.below(kWarp)) : kWarp;
  bool ran = false;
  for (int i = 0; i < lanes && !failure_; ++i) {
    const int thread = warp * kWarp + (first + i) % kWarp;
    if (!can_run(thread)) continue;
    thread_ = thread;
    fibers_[thread].resume();
    ran = true;
  }
  thread_ = -1;
  return ran;
}

bool ThreadBlock::any_can_run() const {
  for (int thread = 0; thread < threads_; ++thread) {
    if (can_run(thread)) return true;
  }
  return false;
}

bool ThreadBlock::all_ended() const {
  return std::all_of(fibers_.begin(), fibers_.begin() + threads_, [](const Fiber& f) { return f.ended(); });
}

void ThreadBlock::fail_standing_still() const {
  std::string who;
  for (int first = 0; first < threads_; first += kWarp) {
    // One lane of each warp, if possible one that keeps the others waiting.
    int shown = -1;
    for (int thread = first; thread < first + kWarp; ++thread) {
      if (fibers_[thread].ended()) continue;
      if (shown < 0 || waits_[shown].word == &warps_[first / kWarp].generation) shown = thread;
    }
    if (shown < 0) continue;
    const Wait& wait = waits_[shown];
    who += fmt::format("; thread {} for {}", shown, wait.reason);
    const auto* at = reinterpret_cast<const unsigned char*>(wait.word);
    if (at >= shared_.begin() && at < shared_.begin() + shared_.bytes())
      who += fmt::format(" at byte {}", shared_.byte_of(at));
  }
  fail("the thread block stands still{}", who);
}

void ThreadBlock::wait(const Wait& wait) {
  const int thread = thread_;
  waits_[thread] = wait;
  Fiber::pause();
  waits_[thread] = {};
}

const uint32_t* ThreadBlock::warp_together(Combine combine, uint32_t value, uint32_t argument) {
  const int lane = thread_ % kWarp;
  Warp& warp = warps_[thread_ / kWarp];
  if (warp.arrived == 0) {
    warp.combine = combine;
    warp.argument = argument;
  } else if (warp.combine != combine || warp.argument != argument) {
    fail("lanes of warp {} are at different instructions for the whole warp", thread_ / kWarp);
  }
  warp.given[lane] = value;
  if (++warp.arrived == kWarp) {
    std::ranges::copy(warp.given, warp.results);
    combine(warp.results, argument);
    warp.arrived = 0;
    ++warp.generation;
  } else {
    wait({&warp.generation, ~uint64_t{0}, warp.generation, "the other lanes of its warp"});
  }
  return warp.results;
}

void ThreadBlock::all_together() {
  if (++arrived_ == threads_) {
    arrived_ = 0;
    ++generation_;
  } else {
    wait({&generation_, ~uint64_t{0}, generation_, "the other threads of the block"});
  }
}

bool ThreadBlock::note_arrival(uint32_t byte) {
  auto& arrived = arrived_at_[byte];
  if (arrived[thread_]) return false;
  arrived.set(thread_);
  return true;
}

bool ThreadBlock::take_early_arrival(uint32_t byte) {
  return std::erase(early_arrivals_[thread_], byte) > 0;
}

}  // namespace seer::emulation
