// A step takes no memory that the session did not take at its start. malloc itself is watched in this binary,
// so nothing a library does goes unseen.
#include <atomic>
#include <cerrno>
#include <cstddef>

#include <gtest/gtest.h>

#include "tests/trainer/session_runs.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define SEER_WATCHES_MALLOC 0
#else
#define SEER_WATCHES_MALLOC 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#undef SEER_WATCHES_MALLOC
#define SEER_WATCHES_MALLOC 0
#endif
#endif

namespace {

std::atomic<bool> watching = false;
std::atomic<size_t> allocations = 0;
std::atomic<size_t> largest = 0;

#if SEER_WATCHES_MALLOC
void note(size_t bytes) {
  if (!watching) return;
  ++allocations;
  size_t seen = largest;
  while (bytes > seen && !largest.compare_exchange_weak(seen, bytes)) {
  }
}
#endif

}  // namespace

#if SEER_WATCHES_MALLOC
extern "C" {
// glibc's own, under the names it keeps for whoever replaces malloc.
void* __libc_malloc(size_t bytes);                      // NOLINT(bugprone-reserved-identifier)
void* __libc_calloc(size_t count, size_t bytes);        // NOLINT(bugprone-reserved-identifier)
void* __libc_realloc(void* memory, size_t bytes);       // NOLINT(bugprone-reserved-identifier)
void* __libc_memalign(size_t alignment, size_t bytes);  // NOLINT(bugprone-reserved-identifier)

void* malloc(size_t bytes) {
  note(bytes);
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  note(count * bytes);
  return __libc_calloc(count, bytes);
}
void* realloc(void* memory, size_t bytes) {
  note(bytes);
  return __libc_realloc(memory, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  note(bytes);
  return __libc_memalign(alignment, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  note(bytes);
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  note(bytes);
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}
}
#endif

namespace seer::test {
namespace {

struct Watched {
  size_t allocations = 0;
  size_t largest = 0;  ///< Bytes
};

/// Counts the allocations of all threads while it lives.
class Watch {
 public:
  Watch() {
    allocations = largest = 0;
    watching = true;
  }
  ~Watch() { watching = false; }
  Watched seen() const { return {allocations, largest}; }
};

GateEntryConfig gate_of(const std::string& name, const std::string& type, int64_t block, int64_t hidden) {
  GateEntryConfig gate;
  gate.name = name;
  gate.type = type;
  gate.block_size = block;
  gate.hidden_size = hidden;
  return gate;
}

class Allocation : public testing::TestWithParam<bool> {};

INSTANTIATE_TEST_SUITE_P(, Allocation, testing::Values(false, true),
                         [](const auto& tested) { return tested.param ? "Packed" : "Joined"; });

TEST_P(Allocation, AStepTakesNothingButItsMetrics) {
#if !SEER_WATCHES_MALLOC
  GTEST_SKIP() << "malloc belongs to the sanitizer";
#endif
  const TempDir folder;
  // Wide enough that Eigen's packed panels do not fit the stack buffers it has by default.
  write_tiny_model(folder / "model", {.heads = 8, .head_dim = 64, .hidden = 512, .intermediate = 1400});
  constexpr int64_t kTokens = 500;
  const bool packed = GetParam();
  const SessionOptions options{
      .gates = {gate_of("a", "Qavg_Kmaxminavg", 16, 0), gate_of("b", "Qmaxmin_Kavg", 64, 32)},
      .total_steps = 4,
      .batch_size = 2,
      .max_tokens = kTokens,
      .packed = packed,
      .densities = {0.1, 0.5}};
  LoadedSession session(folder / "model", options);
  std::vector<TokenSequence> batch;
  for (uint64_t m = 0; m < 2; ++m) {
    batch.push_back(
        random_pack(m, packed ? std::vector<int64_t>{128, 131, 241} : std::vector<int64_t>{kTokens}));
  }
  // The first step brings the layouts' lists to their size.
  session->train_step(0, batch);
  session->evaluate(batch, 1);
  const size_t arena = session->arena_peak();

  Watched step;
  {
    const Watch watch;
    session->train_step(1, batch);
    step = watch.seen();
  }
  const size_t gates = options.gates.size();
  EXPECT_EQ(step.allocations, 1 + gates) << "the list of metrics, and each entry's layer losses";
  EXPECT_LE(step.largest, 1024U) << "bytes";

  Watched evaluation;
  {
    const Watch watch;
    session->evaluate(batch, 2);
    evaluation = watch.seen();
  }
  EXPECT_EQ(evaluation.allocations, 1 + gates * (2 + 2 * options.densities.size()))
      << "the list of metrics; each entry's layer losses and densities; each density's recall and oracle";
  EXPECT_LE(evaluation.largest, 1024U) << "bytes";
  EXPECT_EQ(session->arena_peak(), arena);
}

TEST(AllocationWatch, SeesWhatALibraryTakes) {
#if !SEER_WATCHES_MALLOC
  GTEST_SKIP() << "malloc belongs to the sanitizer";
#endif
  const Watch watch;
  const std::vector<char> taken(5000);
  EXPECT_GE(watch.seen().allocations, 1U);
  EXPECT_GE(watch.seen().largest, taken.size());
}

}  // namespace
}  // namespace seer::test
