// The emulator itself: products against loops, and small kernels that do what a kernel must not.
#include <cmath>
#include <functional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/attention/ptx_sm90.cuh"
#include "cuda/attention/tensor_map.h"

namespace seer::emulation {
namespace {

namespace ptx = cuda::ptx;
using testing::HasSubstr;

constexpr uint32_t kTileBytes = 128 * 128;

/// Two tiles of 128 rows of 64, swizzled, and an mbarrier.
struct Shared {
  alignas(1024) uint16_t a[kTileBytes / 2], b[kTileBytes / 2];
  uint64_t barrier;
};

Shared& shared() {
  return *reinterpret_cast<Shared*>(shared_memory());
}

/// Runs `kernel` in a thread block; `failure` says how it must fail under some schedule, nothing that it must not.
void run(int threads, const char* failure, const std::function<void()>& kernel) {
  std::string failures;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    launch_settings() = {.seed = seed};
    try {
      run_grid(1, threads, sizeof(Shared), [&] {
        if (threadIdx.x == 0) ptx::mbarrier_init(shared().barrier, 1);
        __syncthreads();
        kernel();
      });
    } catch (const Error& error) {
      failures += std::string(error.what()) + '\n';
    }
  }
  if (failure == nullptr) {
    EXPECT_EQ(failures, "");
  } else {
    EXPECT_THAT(failures, HasSubstr(failure));
  }
}

/// Small whole numbers [128, 64]: sums of products are exact.
struct Matrix {
  std::vector<float> values;
  std::vector<uint16_t> bits;

  explicit Matrix(uint64_t seed) {
    Rng random(seed);
    for (int i = 0; i < 128 * 64; ++i) {
      values.push_back(static_cast<float>(random.below(9)) - 4);
      bits.push_back(static_cast<uint16_t>(cuda::pack_bf16(values.back(), 0)));
    }
  }
  float at(int row, int column) const { return values[row * 64 + column]; }
  CUtensorMap map(int rows) const {
    return cuda::hopper::tensor_map("x", reinterpret_cast<const __nv_bfloat16*>(bits.data()), 128, 1, 64, 64,
                                    rows);
  }
};

const Matrix kA(1), kB(2);

/// Thread 0 starts a copy of the whole matrix; everyone waits for it.
void load(uint16_t* to, const Matrix& matrix, uint32_t parity) {
  if (threadIdx.x == 0) {
    ptx::mbarrier_arrive_expect(shared().barrier, kTileBytes);
    ptx::tma_load_3d(to, matrix.map(128), 0, 0, 0, shared().barrier);
  }
  ptx::mbarrier_wait(shared().barrier, parity);
  __syncthreads();  // nobody still asks for this phase when the next one ends
}

/// This thread's row and column of accumulator i.
int row_of(int i) {
  return static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4 + i / 2 % 2 * 8;
}
int column_of(int i) {
  return i / 4 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
}

/// Columns [first, first + 16) of this thread's rows of kA, as the left operand.
void left_operand(uint32_t (&a)[4], int first) {
  for (int i = 0; i < 4; ++i) {
    const int row = row_of(i % 2 * 2), column = first + i / 2 * 8 + static_cast<int>(threadIdx.x) % 4 * 2;
    a[i] = cuda::pack_bf16(kA.at(row, column), kA.at(row, column + 1));
  }
}

ptx::MatrixDescriptor matrix(const uint16_t* tile, uint32_t panel_stride = 0) {
  return {cuda::shared_address(tile), panel_stride, 1024};
}

TEST(EmulatedProducts, OfRowsAreSumsOfProducts) {
  run(128, nullptr, [] {
    load(shared().a, kA, 0);
    load(shared().b, kB, 1);
    float d[64], narrow[32];
    uint32_t a[4][4];
    for (int k = 0; k < 4; ++k) {
      left_operand(a[k], 16 * k);
      ptx::wgmma_m64n128k16(d, a[k], matrix(shared().b) + 32 * k, k > 0);
    }
    for (int k = 0; k < 4; ++k)
      ptx::queue_product(narrow, matrix(shared().a) + 32 * k, matrix(shared().b) + 32 * k, false, k > 0);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>(d);
    for (int i = 0; i < 64; ++i) {
      float sum = 0;
      for (int k = 0; k < 64; ++k) sum += kA.at(row_of(i), k) * kB.at(column_of(i), k);
      if (d[i] != sum || (i < 32 && narrow[i] != sum))
        fail("{} and {} instead of {}", d[i], narrow[i % 32], sum);
    }
  });
}

TEST(EmulatedProducts, OfColumnsAreAddedAcrossPanelsAndGroups) {
  run(128, nullptr, [] {
    load(shared().b, kB, 0);
    float d[64];
    for (float& x : d) x = 7;
    uint32_t a[4][4];
    // 64 keys, columns 0 to 63 from rows 0 to 63 of the tile, columns 64 to 127 from rows 64 to 127.
    for (int k = 0; k < 4; ++k) {
      left_operand(a[k], 16 * k);
      ptx::wgmma_m64n128k16(d, a[k], matrix(shared().b, 64 * 128) + k * 16 * 128);
      ptx::wgmma_commit();
    }
    ptx::wgmma_wait<1>(d);
    if (!std::isnan(d[0])) fail("read while a product was on its way");
    ptx::wgmma_wait<0>(d);
    for (int i = 0; i < 64; ++i) {
      const int column = column_of(i);
      float sum = 7;
      for (int k = 0; k < 64; ++k) sum += kA.at(row_of(i), k) * kB.at(column / 64 * 64 + k, column % 64);
      if (d[i] != sum) fail("{} instead of {}", d[i], sum);
    }
  });
}

TEST(EmulatedProducts, ReadRegistersAtATimeOfTheirOwn) {
  run(128, "overwritten", [] {
    load(shared().b, kB, 0);
    float d[32];
    uint32_t a[4];
    left_operand(a, 0);
    ptx::wgmma_m64n64k16(d, a, matrix(shared().b), false);
    ptx::wgmma_commit();
    for (uint32_t& word : a) word = 0;
    ptx::wgmma_wait<0>(d);
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += kA.at(row_of(0), k) * kB.at(column_of(0), k);
    if (d[0] != sum) fail("overwritten");
  });
}

TEST(EmulatedProducts, MustBeTheSameForAWarpGroup) {
  run(128, "queue different products", [] {
    load(shared().b, kB, 0);
    float d[32];
    uint32_t a[4] = {};
    ptx::wgmma_m64n64k16(d, a, matrix(shared().b) + (threadIdx.x < 64 ? 0 : 32), false);
  });
  run(128, "stands still; thread 0 for products of its warp group", [] {
    load(shared().b, kB, 0);
    if (threadIdx.x >= 96) return;
    float d[32];
    uint32_t a[4] = {};
    ptx::wgmma_m64n64k16(d, a, matrix(shared().b), false);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>(d);
  });
}

TEST(EmulatedCopies, MustNotOverwriteWhatIsInUse) {
  run(128, "which a queued product reads", [] {
    load(shared().b, kB, 0);
    float d[32];
    uint32_t a[4] = {};
    ptx::wgmma_m64n64k16(d, a, matrix(shared().b), false);
    ptx::wgmma_commit();
    if (threadIdx.x == 0) ptx::tma_load_3d(shared().b, kA.map(128), 0, 0, 0, shared().barrier);
  });
  run(128, "a product reads byte 16384, which TMA has not written yet", [] {
    if (threadIdx.x == 0) ptx::tma_load_3d(shared().b, kA.map(128), 0, 0, 0, shared().barrier);
    __syncthreads();
    float d[32];
    uint32_t a[4] = {};
    ptx::wgmma_m64n64k16(d, a, matrix(shared().b), false);
  });
  run(32, "ldmatrix reads byte 0, which TMA has not written yet", [] {
    if (threadIdx.x == 0) ptx::tma_load_3d(shared().a, kA.map(128), 0, 0, 0, shared().barrier);
    __syncwarp();
    uint32_t fragment[4];
    cuda::ldmatrix_x4(fragment, cuda::shared_address(shared().a) + threadIdx.x % 32 * 16);
  });
  run(32, "told twice", [] {
    if (threadIdx.x > 1) return;
    ptx::tma_load_3d(shared().a, kA.map(128), 0, 0, 0, shared().barrier);
  });
}

TEST(EmulatedCopies, AreZeroOutsideOfTheTensorAndSwizzled) {
  run(32, nullptr, [] {
    if (threadIdx.x == 0) {
      ptx::mbarrier_arrive_expect(shared().barrier, 64 * 128);
      ptx::tma_load_3d(shared().a, kA.map(64), 0, 0, 100, shared().barrier);
    }
    ptx::mbarrier_wait(shared().barrier, 0);
    for (int row = 0; row < 64; ++row) {
      for (int column = 0; column < 64; ++column) {
        const uint16_t found = shared().a[row * 64 + (column / 8 ^ row % 8) * 8 + column % 8];
        const uint16_t expected = row < 28 ? kA.bits[(row + 100) * 64 + column] : 0;
        if (found != expected) fail("row {}, column {}", row, column);
      }
    }
  });
}

TEST(EmulatedMbarrier, CountsArrivalsAndBytes) {
  run(32, "gets more than 1 arrivals", [] {
    if (threadIdx.x > 0) return;
    ptx::mbarrier_arrive_expect(shared().barrier, 16);
    ptx::mbarrier_arrive(shared().barrier);
  });
  run(32, "stands still; thread 0 for an mbarrier at byte 32768", [] {
    if (threadIdx.x == 0) ptx::mbarrier_arrive_expect(shared().barrier, 16);
    ptx::mbarrier_wait(shared().barrier, 0);
  });
  run(64, "arrives twice in a phase of the mbarrier at byte 32768", [] {
    if (threadIdx.x == 0) ptx::mbarrier_init(shared().barrier, 3);
    __syncthreads();
    if (threadIdx.x % 32 != 0) return;
    ptx::mbarrier_arrive(shared().barrier);
    ptx::mbarrier_arrive(shared().barrier);
  });
  run(32, "before it is initialised", [] { ptx::mbarrier_arrive(*reinterpret_cast<uint64_t*>(shared().a)); });
}

TEST(EmulatedWarps, MustStayTogether) {
  run(32, "at different instructions", [] {
    if (threadIdx.x == 5) {
      __syncwarp();
    } else {
      __any_sync(~0U, 1);
    }
  });
  run(32, "stands still; thread 30 for the other lanes of its warp", [] {
    if (threadIdx.x != 31) __syncwarp();
  });
  // Lanes that nobody holds together overtake each other.
  run(32, "ahead", [] {
    uint16_t& latest = shared().a[0];
    if (threadIdx.x == 0) latest = 0;
    __syncwarp();
    ThreadBlock::current().pause();
    if (threadIdx.x < latest) fail("ahead");
    latest = static_cast<uint16_t>(threadIdx.x);
  });
}

TEST(EmulatedThreadBlock, HasTheRegistersOfItsLaunch) {
  const auto claim = [](auto consumers) {
    if (threadIdx.x < 128) {
      ptx::registers_give_back<56>();
    } else {
      ptx::registers_claim<decltype(consumers)::value>();
    }
  };
  run(384, nullptr, [&] { claim(std::integral_constant<int, 224>()); });
  run(384, "claim", [&] { claim(std::integral_constant<int, 232>()); });
}

TEST(EmulatedThreadBlock, SharesWorkWithOthers) {
  uint64_t with_work_for_all = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    launch_settings() = {.seed = seed};
    int counter = 0;
    unsigned block = 0;
    std::multiset<int> numbers;
    std::set<unsigned> blocks;
    run_grid(3, 32, 1024, [&] {
      if (threadIdx.x != 0) return;
      for (int number; (number = atomicAdd(&counter, 1)) < 20;) {
        numbers.insert(number);
        blocks.insert(block);
      }
      ++block;
    });
    EXPECT_EQ(numbers.size(), 20U);
    for (int number = 0; number < 20; ++number) EXPECT_EQ(numbers.count(number), 1U);
    with_work_for_all += blocks.size() == 3 ? 1 : 0;
  }
  EXPECT_GT(with_work_for_all, 8U);
}

}  // namespace
}  // namespace seer::emulation
