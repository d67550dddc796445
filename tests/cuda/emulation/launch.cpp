#include "tests/cuda/emulation/launch.h"

#include <deque>

#include "src/core/error.h"
#include "tests/cuda/emulation/thread_block.h"

namespace seer::emulation {
namespace {

/// Numbers of the counter that a thread block has left to those after it.
struct Work {
  std::deque<int32_t> left, passed_over;
  uint64_t blocks_to_come = 0;
};
Work work;
uint3 running{};

}  // namespace

uint3 block_index() {
  return running;
}

LaunchSettings& launch_settings() {
  static LaunchSettings settings;
  return settings;
}

void run_grid(dim3 blocks, int threads, uint32_t shared_bytes, const std::function<void()>& kernel) {
  const LaunchSettings& settings = launch_settings();
  work = {};
  const unsigned count = blocks.x * blocks.y;
  for (unsigned number = 0; number < count; ++number) {
    running = {number % blocks.x, number / blocks.x, 0};
    work.blocks_to_come = count - 1 - number;
    work.left.insert(work.left.begin(), work.passed_over.begin(), work.passed_over.end());
    work.passed_over.clear();
    const uint64_t seed = Rng(settings.seed).fork(number).next();
    try {
      ThreadBlock(threads, shared_bytes, seed, settings.injection).run(kernel);
    } catch (const Error& error) {
      throw Error(fmt::format("{} (seed {}, thread block {}: {})", error.what(), settings.seed, number,
                              Pace(seed, threads / kWarp).name));
    }
  }
}

unsigned char* shared_memory() {
  return ThreadBlock::current().shared().begin();
}

int32_t take_from(int32_t* counter) {
  for (;;) {
    int32_t number;
    if (work.left.empty()) {
      number = (*counter)++;
    } else {
      number = work.left.front();
      work.left.pop_front();
    }
    if (ThreadBlock::current().random().below(work.blocks_to_come + 1) == 0) return number;
    work.passed_over.push_back(number);
  }
}

}  // namespace seer::emulation

// Of the CUDA runtime, which a machine without a GPU need not have.
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
const char* cudaGetErrorName(cudaError_t) {
  return "";
}
const char* cudaGetErrorString(cudaError_t) {
  return "";
}
