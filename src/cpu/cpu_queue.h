// Queues and events of the CPU backend: a thread that runs operations in order.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>

#include "src/ops/backend.h"

namespace seer::cpu {

/// Counts its records; the queue thread catches up with them. A record that follows a failed operation carries its failure
/// to whoever waits: what was to come is not there.
class CpuEvent final : public Event {
 public:
  /// A new record; complete(its return value) must follow, from the queue.
  uint64_t record();
  /// `failure`: of the queue so far, or null.
  void complete(uint64_t record, std::exception_ptr failure);
  uint64_t last_record() const;
  /// Rethrows the failure that the record carries.
  void wait(uint64_t record);

 private:
  mutable std::mutex mutex_;
  std::condition_variable done_;
  uint64_t recorded_ = 0;
  uint64_t completed_ = 0;
  std::exception_ptr failure_;  // of the newest completed record
};

/// Runs tasks on its own thread in the order they were pushed. Tasks live in a fixed ring, so pushing
/// allocates nothing; a full ring makes push() wait. After a task has thrown, later ones are skipped (events
/// still complete) until synchronize() rethrows.
class CpuQueue final : public Queue {
 public:
  CpuQueue();
  ~CpuQueue() override;
  CpuQueue(const CpuQueue&) = delete;
  CpuQueue& operator=(const CpuQueue&) = delete;

  /// `always`: run even after a failure (events must complete).
  template <typename Function>
  void push(Function&& function, bool always = false) {
    using F = std::decay_t<Function>;
    static_assert(sizeof(F) <= kTaskBytes && std::is_trivially_destructible_v<F>,
                  "an operation's arguments must be plain views that fit a task slot");
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return pushed_ - finished_ < kTasks; });
    Task& task = tasks_[pushed_ % kTasks];
    new (task.storage) F(std::forward<Function>(function));
    task.run = [](void* f) { (*static_cast<F*>(f))(); };
    task.always = always;
    ++pushed_;
    work_.notify_one();
  }

  /// Waits until the queue is empty, then rethrows the first failure, once.
  void synchronize();

  /// Of the operations that have run since the last synchronize(), or null.
  std::exception_ptr failure();

 private:
  static constexpr size_t kTaskBytes = 1024;
  static constexpr uint64_t kTasks = 256;

  struct Task {
    alignas(64) std::byte storage[kTaskBytes];
    void (*run)(void*) = nullptr;
    bool always = false;
  };

  void work();

  std::unique_ptr<std::array<Task, kTasks>> ring_;
  std::array<Task, kTasks>& tasks_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;
  uint64_t pushed_ = 0;
  uint64_t finished_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace seer::cpu
