// Order, failures and lifetimes of the CPU backend's queues and events.
#include "src/cpu/cpu_queue.h"

#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "tests/ops/device.h"

namespace seer::test {
namespace {

using cpu::CpuEvent;
using cpu::CpuQueue;
using namespace std::chrono_literals;

/// Lets a queue's thread run into it and wait there until the test opens it.
class Gate {
 public:
  void pass() const { open_.wait(false); }
  void open() {
    open_ = true;
    open_.notify_all();
  }

 private:
  std::atomic<bool> open_{false};
};

TEST(CpuQueue, RunsInOrderThroughAFullRing) {
  std::vector<int> order;
  Gate gate;
  CpuQueue queue;
  queue.push([&gate] { gate.pass(); });
  // More tasks than the ring holds: push() waits for room, so the gate must open meanwhile.
  std::thread opener([&] {
    std::this_thread::sleep_for(5ms);
    gate.open();
  });
  for (int i = 0; i < 1000; ++i) queue.push([&order, i] { order.push_back(i); });
  queue.synchronize();
  opener.join();
  ASSERT_EQ(order.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST(CpuQueue, DestructionRunsWhatIsPending) {
  int ran = 0;
  Gate gate;
  {
    CpuQueue queue;
    queue.push([&gate] { gate.pass(); });
    for (int i = 0; i < 100; ++i) queue.push([&ran] { ++ran; });
    gate.open();
  }
  EXPECT_EQ(ran, 100);
}

TEST(CpuQueue, AFailureIsRethrownOnceAndLaterTasksAreSkipped) {
  int ran = 0;
  CpuQueue queue;
  queue.push([] { fail("first failure"); });
  queue.push([&ran] { ++ran; });
  queue.push([] { fail("second failure"); });
  try {
    queue.synchronize();
    FAIL() << "synchronize() did not throw";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "first failure");
  }
  EXPECT_EQ(ran, 0);
  EXPECT_NO_THROW(queue.synchronize());
  queue.push([&ran] { ++ran; });  // the queue works again
  queue.synchronize();
  EXPECT_EQ(ran, 1);
}

TEST(CpuQueue, DestructionAfterAFailureIsQuiet) {
  CpuQueue queue;
  queue.push([] { fail("nobody asks"); });
}

class CpuEvents : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 2});
};

TEST_F(CpuEvents, AWaitOrdersTwoQueues) {
  Device device(make_cpu_backend({.threads = 2}));
  const auto second = device.backend().make_queue("second");
  const auto event = device.backend().make_event();
  const Shape shape{1 << 16};
  const Tensor a = device.zeros(shape);
  const Tensor b = device.zeros(shape);
  const Tensor c = device.zeros(shape);
  for (int round = 1; round <= 50; ++round) {
    const Tensor source = device.upload(shape, Values(shape.numel(), round));
    device.backend().copy(device.queue(), source, a);
    device.backend().copy(device.queue(), a, b);
    device.backend().record(device.queue(), *event);
    device.backend().wait(*second, *event);
    device.backend().copy(*second, b, c);
    device.backend().synchronize(*second);
    ASSERT_EQ(device.download(c), Values(shape.numel(), round));
  }
}

TEST_F(CpuEvents, AnEventThatWasNeverRecordedDoesNotBlock) {
  const auto queue = backend_->make_queue("test");
  const auto event = backend_->make_event();
  backend_->synchronize(*event);
  backend_->wait(*queue, *event);
  backend_->synchronize(*queue);
}

TEST_F(CpuEvents, AWaitStandsForTheRecordBeforeIt) {
  Gate gate;
  CpuQueue slow;
  CpuEvent event;
  const uint64_t first = event.record();
  slow.push([&event, first] { event.complete(first, nullptr); }, true);
  slow.synchronize();
  // Recorded again, not yet reached: a wait for the first record returns, one for the second does not.
  const uint64_t second = event.record();
  slow.push([&gate] { gate.pass(); });
  slow.push([&event, second] { event.complete(second, nullptr); }, true);
  event.wait(first);
  std::atomic<bool> passed = false;
  std::thread waiter([&] {
    event.wait(second);
    passed = true;
  });
  std::this_thread::sleep_for(2ms);
  EXPECT_FALSE(passed);
  gate.open();
  waiter.join();
  EXPECT_TRUE(passed);
}

TEST_F(CpuEvents, CarryTheFailureOfWhatTheyStandFor) {
  Device device(make_cpu_backend({.threads = 2}));
  const auto second = device.backend().make_queue("second");
  const auto event = device.backend().make_event();
  const Tensor table = device.zeros(Shape{4, 2});
  const Tensor ids = device.upload_ids({1, 4});  // 4 is not in the table
  const Tensor out = device.zeros(Shape{2, 2});
  const Tensor untouched = device.upload(Shape{2}, {7.0, 8.0});
  const Tensor later = device.upload(Shape{2}, {5.0, 6.0});
  const auto expect_failure = [](const auto& wait) {
    try {
      wait();
      FAIL() << "did not throw";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("token id 4 at row 1 with an embedding of 4 rows"),
                std::string::npos)
          << error.what();
    }
  };
  device.backend().embed(device.queue(), ids, table, out);
  device.backend().fill_zero(device.queue(), untouched);  // skipped
  device.backend().record(device.queue(), *event);
  device.backend().wait(*second, *event);
  device.backend().fill_zero(*second, later);  // skipped: it may need what did not come
  expect_failure([&] { device.backend().synchronize(*event); });
  expect_failure([&] { device.backend().synchronize(*second); });
  expect_failure([&] { device.backend().synchronize(device.queue()); });
  EXPECT_EQ(device.download(untouched), (Values{7.0, 8.0}));
  EXPECT_EQ(device.download(later), (Values{5.0, 6.0}));

  // Told once: the queues and the event are good again.
  device.backend().record(device.queue(), *event);
  device.backend().wait(*second, *event);
  device.backend().fill_zero(*second, later);
  device.backend().synchronize(*second);
  device.backend().synchronize(*event);
  EXPECT_EQ(device.download(later), (Values{0.0, 0.0}));
}

TEST_F(CpuEvents, OneQueueServesManyOperationsOfManyCallers) {
  // Two queues share the workers: their operations interleave, each queue keeps its order.
  Device device(make_cpu_backend({.threads = 3}));
  const auto second = device.backend().make_queue("second");
  const Shape shape{300, 40};
  const Tensor one = device.upload(shape, random_values(1, shape.numel()));
  const Tensor weight = device.upload(Shape{40}, Values(40, 1.5));
  const Tensor a = device.output(shape);
  const Tensor b = device.output(shape);
  for (int i = 0; i < 400; ++i) {
    device.backend().rms_norm(device.queue(), i == 0 ? one : a, weight, 1e-6, a);
    device.backend().rms_norm(*second, i == 0 ? one : b, weight, 1e-6, b);
  }
  device.backend().synchronize(*second);
  EXPECT_EQ(device.download(a), device.download(b));
}

}  // namespace
}  // namespace seer::test
