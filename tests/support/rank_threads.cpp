#include "tests/support/rank_threads.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "src/core/error.h"

namespace seer::test {
namespace {

/// A meeting point that can be used again and again.
class Meeting {
 public:
  explicit Meeting(int ranks) : said_(ranks) {}

  std::vector<std::string> exchange(int rank, std::string_view mine) {
    std::unique_lock lock(mutex_);
    const int64_t turn = turn_;
    said_[rank] = mine;
    if (++arrived_ == said_.size()) {
      last_ = said_;
      arrived_ = 0;
      ++turn_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return turn_ != turn || over_; });
      if (turn_ == turn) fail("another rank failed");
    }
    return last_;
  }

  void end() {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> said_;
  std::vector<std::string> last_;
  size_t arrived_ = 0;
  int64_t turn_ = 0;
  bool over_ = false;
};

}  // namespace

void run_ranks(int ranks, const std::function<void(int rank, const RankExchange& exchange)>& body) {
  Meeting meeting(ranks);
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::thread> threads;
  threads.reserve(ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(rank, [&, rank](std::string_view mine) { return meeting.exchange(rank, mine); });
      } catch (...) {
        {
          const std::lock_guard lock(mutex);
          if (failure == nullptr) failure = std::current_exception();
        }
        meeting.end();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace seer::test
