#include "data/work_window.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "src/core/rng.h"

namespace seer {
namespace {

TEST(WorkWindowTest, ItemsLeaveInOrderHoweverTheyFinish) {
  WorkWindow<int> window(5, 1000);
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (int i = 0; i < 500; ++i) ASSERT_TRUE(window.push(std::make_unique<int>(i), 1));
    window.close();
  });
  for (uint64_t worker = 0; worker < 4; ++worker) {
    threads.emplace_back([&window, worker] {
      Rng rng(worker);
      while (int* item = window.claim()) {
        if (rng.below(4) == 0) std::this_thread::sleep_for(std::chrono::microseconds(rng.below(300)));
        *item *= 2;
        window.finish(item);
      }
    });
  }
  for (int i = 0; i < 500; ++i) {
    const auto item = window.pop();
    ASSERT_NE(item, nullptr);
    EXPECT_EQ(*item, 2 * i);
  }
  EXPECT_EQ(window.pop(), nullptr);
  for (std::thread& thread : threads) thread.join();
}

TEST(WorkWindowTest, PushWaitsForRoomByNumberAndByWeight) {
  for (const size_t weight : {size_t{1}, size_t{400}}) {
    WorkWindow<int> window(3, 1000);
    std::atomic<int> pushed = 0;
    std::thread reader([&] {
      while (window.push(std::make_unique<int>(0), weight)) ++pushed;
    });
    const int limit = weight == 1 ? 3 : 2;
    while (pushed < limit) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(pushed, limit);
    window.stop();
    reader.join();
  }
}

TEST(WorkWindowTest, OneItemOverTheWeightPassesAlone) {
  WorkWindow<int> window(3, 1000);
  EXPECT_TRUE(window.push(std::make_unique<int>(7), 5000));
  int* item = window.claim();
  window.finish(item);
  EXPECT_EQ(*window.pop(), 7);
}

TEST(WorkWindowTest, StopWakesEverybody) {
  WorkWindow<int> window(1, 1);
  std::thread worker([&] { EXPECT_EQ(window.claim(), nullptr); });
  std::thread taker([&] { EXPECT_EQ(window.pop(), nullptr); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  window.stop();
  worker.join();
  taker.join();
  EXPECT_FALSE(window.push(std::make_unique<int>(1), 1));
}

}  // namespace
}  // namespace seer
