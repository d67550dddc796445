#include "src/core/thread_pool.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace seer {
namespace {

TEST(ThreadPool, RunsEveryTileOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
      std::atomic<bool> worker_in_range = true;
      pool.run(count, [&](int64_t tile, int worker) {
        ++runs[static_cast<size_t>(tile)];
        if (worker < 0 || worker >= threads) worker_in_range = false;
      });
      for (const auto& run : runs) EXPECT_EQ(run, 1);
      EXPECT_TRUE(worker_in_range);
    }
  }
}

TEST(ThreadPool, WorkersNeverShareANumberAtOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> overlap = false;
  for (int round = 0; round < 200; ++round) {
    pool.run(16, [&](int64_t, int worker) {
      if (++inside[static_cast<size_t>(worker)] > 1) overlap = true;
      std::this_thread::yield();
      --inside[static_cast<size_t>(worker)];
    });
  }
  EXPECT_FALSE(overlap);
}

TEST(ThreadPool, TheFirstExceptionComesBackAndThePoolGoesOn) {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    try {
      pool.run(100, [](int64_t tile, int) {
        if (tile == 10) throw std::runtime_error("tile 10");
      });
      FAIL() << "no exception";
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), std::string("tile 10"));
    }
    std::atomic<int> ran = 0;
    pool.run(10, [&](int64_t, int) { ++ran; });
    EXPECT_EQ(ran, 10);
  }
}

TEST(ThreadPool, CallersFromSeveralThreadsTakeTurns) {
  ThreadPool pool(2);
  std::vector<int> owner_of_tile;  // unsynchronised on purpose: only the turns keep callers apart
  std::atomic<int> total = 0;
  std::atomic<bool> mixed = false;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 100; ++round) {
        pool.run(1, [&](int64_t, int) {
          owner_of_tile.assign(8, caller);
          std::this_thread::yield();
          for (const int owner : owner_of_tile) {
            if (owner != caller) mixed = true;
          }
        });
        pool.run(8, [&](int64_t, int) { ++total; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_FALSE(mixed);
  EXPECT_EQ(total, 3 * 100 * 8);
}

TEST(ThreadPool, HardwareHasAtLeastOneThread) {
  EXPECT_GE(ThreadPool::hardware_threads(), 1);
}

}  // namespace
}  // namespace seer
