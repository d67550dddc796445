#include "src/core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>

namespace seer {

struct ThreadPool::Loop {
  int64_t count;
  Invoke invoke;
  const void* body;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written once, by the tile that set `failed`
};

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(std::max(threads, 1) - 1);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::drain(Loop& loop, int worker) {
  for (int64_t tile = loop.next++; tile < loop.count && !loop.failed; tile = loop.next++) {
    try {
      loop.invoke(loop.body, tile, worker);
    } catch (...) {
      if (!loop.failed.exchange(true)) loop.error = std::current_exception();
    }
  }
}

void ThreadPool::run_erased(int64_t count, Invoke invoke, const void* body) {
  if (count <= 0) return;
  const std::lock_guard turn(turn_);
  Loop loop{count, invoke, body};
  if (count > 1 && !workers_.empty()) {
    {
      const std::lock_guard lock(mutex_);
      loop_ = &loop;
      ++generation_;
    }
    wake_.notify_all();
    drain(loop, 0);
    // Workers that have not woken yet must not touch the loop any more: it lives on this stack.
    std::unique_lock lock(mutex_);
    loop_ = nullptr;
    done_.wait(lock, [this] { return active_ == 0; });
  } else {
    drain(loop, 0);
  }
  if (loop.error) std::rethrow_exception(loop.error);
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stop_ || (loop_ != nullptr && generation_ != seen); });
    if (stop_) return;
    seen = generation_;
    Loop* loop = loop_;
    ++active_;
    lock.unlock();
    drain(*loop, worker);
    lock.lock();
    if (--active_ == 0) done_.notify_all();
  }
}

int ThreadPool::hardware_threads() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace seer
