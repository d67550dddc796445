// A fixed set of worker threads that run numbered tiles of one loop at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace seer {

/// Runs `body(tile, worker)` for tiles 0 .. count-1 on all workers, tiles handed out in order. Work is cut
/// into tiles whose number and content depend on the problem alone, so results do not depend on the number of
/// threads. run() may be called from several threads: calls take turns. It allocates nothing.
class ThreadPool {
 public:
  /// `threads` workers in all, the calling thread included; at least 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Returns when every tile has run. The first exception a tile throws is rethrown here, after the others
  /// ended.
  template <typename Body>
  void run(int64_t count, const Body& body) {
    run_erased(
        count, [](const void* b, int64_t tile, int worker) { (*static_cast<const Body*>(b))(tile, worker); },
        &body);
  }

  /// std::thread::hardware_concurrency, at least 1.
  static int hardware_threads();

 private:
  using Invoke = void (*)(const void* body, int64_t tile, int worker);
  struct Loop;

  void run_erased(int64_t count, Invoke invoke, const void* body);
  void work(int worker);
  static void drain(Loop& loop, int worker);

  std::mutex turn_;  // held by the caller of run() for the whole loop
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  Loop* loop_ = nullptr;  // guarded by mutex_
  uint64_t generation_ = 0;
  int active_ = 0;  // workers inside the current loop
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace seer
