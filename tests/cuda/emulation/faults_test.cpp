// The emulated kernel on hardware that makes mistakes, such as a kernel that synchronises wrongly would make: each must
// be noticed, by the emulator or in the output.
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda/emulation/cuda_words.h"
// After CUDA's words.
#include "cuda/attention/sparse_hopper_roles.cuh"
#include "tests/cuda/emulation/emulated_attention.h"

namespace seer::test {
namespace {

using emulation::Fault;
using emulation::Injection;

constexpr int64_t kHeadDim = 128;
constexpr uint64_t kSchedules = 8;
using Shared = cuda::hopper::SparseShared<kHeadDim>;

alignas(Shared) unsigned char some_shared_memory[sizeof(Shared)];

/// Where the mbarriers of a kind lie.
template <size_t count>
uint32_t byte_of(uint64_t (Shared::*barriers)[count]) {
  const auto& shared = *reinterpret_cast<const Shared*>(some_shared_memory);
  return static_cast<uint32_t>(reinterpret_cast<const unsigned char*>(shared.*barriers) - some_shared_memory);
}

/// A fault of all of them.
template <size_t count>
Injection at(uint64_t (Shared::*barriers)[count], Fault fault) {
  const uint32_t begin = byte_of(barriers);
  return {.fault = fault, .begin = begin, .end = begin + static_cast<uint32_t>(count * sizeof(uint64_t))};
}

/// The event numbered `first` alone.
Injection once(Injection injection, int64_t first) {
  injection.first = first;
  injection.events = 1;
  return injection;
}

/// Releases `full`'s stages as soon as they have come.
template <size_t count>
Injection released_early(uint64_t (Shared::*full)[count], uint64_t (Shared::*empty)[count]) {
  Injection injection = at(full, Fault::kReleasedEarly);
  injection.partner = byte_of(empty);
  return injection;
}

/// What comes of the case under several schedules, with the fault: for each what was noticed, or nothing.
std::vector<std::string> noticed(const Injection& injection) {
  // Longer than the ring.
  const SparseCase c{{"", 2, 1, kHeadDim, whole({540}), 64}, Lists::kAll};
  static const AttentionProblem problem = problem_of(c.attention);
  static const Values healthy = run_emulated(c, problem, 0, 2, run_number(0));
  std::vector<std::string> found;
  for (uint64_t number = 0; number < kSchedules; ++number) {
    EmulatedRun how = run_number(number);
    how.settings.injection = injection;
    try {
      found.emplace_back(same_bits(run_emulated(c, problem, 0, 2, how), healthy) ? "" : "wrong output");
    } catch (const Error& error) {
      found.emplace_back(error.what());
    }
  }
  return found;
}

struct FaultCase {
  std::string name;
  Injection injection;
  std::string sign;  ///< Part of what is noticed under some schedule
  uint64_t least;    ///< Schedules under which something is
};

void PrintTo(const FaultCase& c, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << c.name;
}

std::vector<FaultCase> all_faults() {
  constexpr auto kOverwritten = "which a queued product reads";
  constexpr auto kTooEarly = "which TMA has not written yet";
  constexpr auto kStandsStill = "stands still";
  constexpr auto kTooMany = "arrivals in a phase";
  constexpr auto kWrong = "wrong output";
  constexpr auto kAny = "";
  constexpr uint64_t kMost = kSchedules / 2;
  return {
      {"full_arrival_lost", once(at(&Shared::full, Fault::kArrivalLost), 3), kStandsStill, kSchedules},
      {"empty_arrival_lost", once(at(&Shared::empty, Fault::kArrivalLost), 3), kStandsStill, kSchedules},
      {"q_full_arrival_lost", once(at(&Shared::q_full, Fault::kArrivalLost), 1), kStandsStill, kSchedules},
      {"q_empty_arrival_lost", once(at(&Shared::q_empty, Fault::kArrivalLost), 1), kStandsStill, kSchedules},
      {"work_full_arrival_lost", once(at(&Shared::work_full, Fault::kArrivalLost), 1), kStandsStill,
       kSchedules},
      {"work_empty_arrival_lost", once(at(&Shared::work_empty, Fault::kArrivalLost), 1), kStandsStill,
       kSchedules},
      {"full_arrivals_twice", at(&Shared::full, Fault::kArrivalTwice), kTooMany, kSchedules},
      {"empty_arrivals_twice", at(&Shared::empty, Fault::kArrivalTwice), kAny, kMost},
      {"q_empty_arrivals_twice", at(&Shared::q_empty, Fault::kArrivalTwice), kAny, kMost},
      {"work_empty_arrivals_twice", at(&Shared::work_empty, Fault::kArrivalTwice), kAny, kMost},
      {"full_not_waited_for", at(&Shared::full, Fault::kWaitSkipped), kAny, kMost},
      {"empty_not_waited_for", at(&Shared::empty, Fault::kWaitSkipped), kOverwritten, 1},
      {"q_full_not_waited_for", at(&Shared::q_full, Fault::kWaitSkipped), kOverwritten, kMost},
      {"q_empty_not_waited_for", at(&Shared::q_empty, Fault::kWaitSkipped), kAny, 1},
      {"work_full_not_waited_for", at(&Shared::work_full, Fault::kWaitSkipped), kAny, kMost},
      {"work_empty_not_waited_for", at(&Shared::work_empty, Fault::kWaitSkipped), kAny, kMost},
      {"stages_released_early", released_early(&Shared::full, &Shared::empty), kOverwritten, 1},
      {"q_released_early", released_early(&Shared::q_full, &Shared::q_empty), kAny, kMost},
      {"bytes_forgotten", at(&Shared::full, Fault::kBytesForgotten), kTooEarly, kMost},
      {"copy_one_row_off", once(at(&Shared::full, Fault::kCopyOneRowOff), 3), kWrong, kSchedules},
      {"q_one_row_off", once(at(&Shared::q_full, Fault::kCopyOneRowOff), 1), kWrong, kSchedules},
      {"copy_not_swizzled", once(at(&Shared::full, Fault::kCopyNotSwizzled), 3), kWrong, kSchedules},
      {"products_not_waited_for", {.fault = Fault::kProductNotWaitedFor}, kAny, kMost},
      {"some_products_not_waited_for",
       {.fault = Fault::kProductNotWaitedFor, .first = 1000, .events = 128},
       kWrong,
       1},
  };
}

class EmulatedFault : public testing::TestWithParam<FaultCase> {};

TEST_P(EmulatedFault, IsNoticed) {
  const FaultCase& c = GetParam();
  const std::vector<std::string> signs = noticed(c.injection);
  EXPECT_THAT(signs, testing::Contains(testing::HasSubstr(c.sign)));
  EXPECT_GE(std::ranges::count_if(signs, [](const std::string& s) { return !s.empty(); }),
            static_cast<int64_t>(c.least));
}

INSTANTIATE_TEST_SUITE_P(All, EmulatedFault, testing::ValuesIn(all_faults()),
                         [](const auto& test) { return test.param.name; });

TEST(EmulatedFaults, NothingIsNoticedWithoutOne) {
  EXPECT_THAT(noticed({}), testing::Each(""));
}

}  // namespace
}  // namespace seer::test
