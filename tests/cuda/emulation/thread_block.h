// An emulated thread block: threads that take turns on one thread of the host, warp by warp in an order drawn at
// random, and what they share. One at a time.
//
// A thread runs until it waits; where it arrives at an mbarrier, or has waited for one, its turn may end too. Lanes of a
// warp may run apart. What threads write themselves all others see at once: missing fences do not show, and races of
// plain reads and writes only where a turn ends between them.
#pragma once

#include <bitset>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "src/core/rng.h"
#include "tests/cuda/emulation/faults.h"
#include "tests/cuda/emulation/fiber.h"
#include "tests/cuda/emulation/products.h"
#include "tests/cuda/emulation/shared_memory.h"
#include "tests/cuda/emulation/tensor_copies.h"

namespace seer::emulation {

constexpr int kWarp = 32;
constexpr int kMostThreads = 1024;  ///< Of a thread block

/// What a thread waits for: that bits of a word change.
struct Wait {
  const uint64_t* word = nullptr;
  uint64_t mask = 0;
  uint64_t value = 0;  ///< Of the bits, while it waits
  const char* reason = nullptr;

  bool over() const { return word == nullptr || (*word & mask) != value; }
};

/// How fast warps and TMA are, drawn from a seed: all alike, some slow, or each as far as it gets.
struct Pace {
  std::vector<int> turns;  ///< Warps, each as often as it is likely to run
  uint64_t copies = 8;     ///< Of 64 turns, those of TMA while it has something to do
  bool stays = false;      ///< A warp runs until it waits
  std::string name;

  Pace(uint64_t seed, int warps);
};

class ThreadBlock {
 public:
  ThreadBlock(int threads, uint32_t shared_bytes, uint64_t seed, const Injection& injection = {});
  ~ThreadBlock();
  ThreadBlock(const ThreadBlock&) = delete;
  ThreadBlock& operator=(const ThreadBlock&) = delete;

  /// Every thread calls `kernel`. Throws what one of them throws, and Error if they stand still before all have ended.
  void run(const std::function<void()>& kernel);

  /// The one that runs.
  static ThreadBlock& current();

  // ---- by the thread that runs

  int thread() const { return thread_; }
  /// Others may run.
  void pause() { Fiber::pause(); }
  void wait(const Wait& wait);

  using Combine = void (*)(uint32_t (&values)[kWarp], uint32_t argument);
  /// All lanes of the warp hand in a value and get back what `combine` makes of them. Good until the next call.
  const uint32_t* warp_together(Combine combine, uint32_t value, uint32_t argument = 0);
  /// Every thread of the block has come here.
  void all_together();
  Products& products() { return products_[thread_ / Products::kThreads]; }
  /// The warp group's registers, for each thread, from here on.
  void set_registers(int registers) { registers_[thread_] = registers; }

  SharedMemory& shared() { return shared_; }
  TensorCopies& copies() { return copies_; }
  Rng& random() { return random_; }

  /// The thread arrives at the mbarrier at this byte; false: not for the first time since forget_arrivals().
  bool note_arrival(uint32_t byte);
  void forget_arrivals(uint32_t byte) { arrived_at_[byte].reset(); }

  // ---- faults

  Faults& faults() { return faults_; }
  /// This thread's next arrival at the mbarrier has been counted already.
  void note_early_arrival(uint32_t byte) { early_arrivals_[thread_].push_back(byte); }
  bool take_early_arrival(uint32_t byte);

 private:
  struct Warp {
    uint64_t generation = 0;
    int arrived = 0;
    Combine combine = nullptr;
    uint32_t argument = 0;
    uint32_t given[kWarp] = {}, results[kWarp] = {};
  };

  static void run_thread(void* block);
  bool can_run(int thread) const { return !fibers_[thread].ended() && waits_[thread].over(); }
  bool run_warp(int warp);
  bool any_can_run() const;
  bool all_ended() const;
  [[noreturn]] void fail_standing_still() const;

  std::function<void()> kernel_;
  const int threads_;
  int thread_ = -1;
  std::vector<Fiber>& fibers_;
  std::vector<Wait> waits_;
  std::vector<Warp> warps_;
  uint64_t generation_ = 0;  ///< Of all_together()
  int arrived_ = 0;
  std::exception_ptr failure_;

  SharedMemory shared_;
  TensorCopies copies_;
  std::vector<Products> products_;
  std::vector<int> registers_;
  std::map<uint32_t, std::bitset<kMostThreads>> arrived_at_;  ///< In the phases that mbarriers are in
  Rng random_;
  Pace pace_;
  Faults faults_;
  std::vector<std::vector<uint32_t>> early_arrivals_;
};

}  // namespace seer::emulation
