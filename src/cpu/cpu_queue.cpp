#include "src/cpu/cpu_queue.h"

namespace seer::cpu {

uint64_t CpuEvent::record() {
  const std::lock_guard lock(mutex_);
  return ++recorded_;
}

void CpuEvent::complete(uint64_t record, std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (record >= completed_) failure_ = std::move(failure);
  completed_ = std::max(completed_, record);
  done_.notify_all();
}

uint64_t CpuEvent::last_record() const {
  const std::lock_guard lock(mutex_);
  return recorded_;
}

void CpuEvent::wait(uint64_t record) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return completed_ >= record; });
  if (failure_) std::rethrow_exception(failure_);
}

CpuQueue::CpuQueue()
    : ring_(std::make_unique<std::array<Task, kTasks>>()), tasks_(*ring_), thread_([this] { work(); }) {}

CpuQueue::~CpuQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  thread_.join();
}

void CpuQueue::synchronize() {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] { return finished_ == pushed_; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

std::exception_ptr CpuQueue::failure() {
  const std::lock_guard lock(mutex_);
  return error_;
}

void CpuQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || finished_ != pushed_; });
    if (finished_ == pushed_) return;  // stopped, and everything that was pushed has run
    Task& task = tasks_[finished_ % kTasks];
    const bool run = !error_ || task.always;
    lock.unlock();
    std::exception_ptr error;
    try {
      if (run) task.run(task.storage);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !error_) error_ = error;
    ++finished_;
    room_.notify_all();
  }
}

}  // namespace seer::cpu
