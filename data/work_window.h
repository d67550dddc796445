// A bounded queue whose items are worked on by many threads and leave it in the order they came.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

namespace seer {

/// One thread pushes, any number claim and finish, one pops. Holds at most `max_items` items and, beyond the
/// first, `max_weight` of weight. Thread-safe; stop() wakes everybody who waits.
template <typename Item>
class WorkWindow {
 public:
  WorkWindow(size_t max_items, size_t max_weight) : max_items_(max_items), max_weight_(max_weight) {}

  /// Waits for room. False, and the item is gone, once stopped.
  bool push(std::unique_ptr<Item> item, size_t weight) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] {
      return stopped_ || entries_.empty() ||
             (entries_.size() < max_items_ && weight_ + weight <= max_weight_);
    });
    if (stopped_) return false;
    weight_ += weight;
    entries_.push_back({std::move(item), weight, false});
    claimable_.notify_one();
    return true;
  }

  /// No more items come: pop() ends after the last.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    claimable_.notify_all();
    finished_.notify_all();
  }

  /// Waits for the first item that nobody works on; null when there will be none. The item stays where it is
  /// and belongs to the caller until finish().
  Item* claim() {
    std::unique_lock lock(mutex_);
    claimable_.wait(lock, [&] { return stopped_ || closed_ || unclaimed() < entries_.size(); });
    if (stopped_ || unclaimed() == entries_.size()) return nullptr;
    Item* item = entries_[unclaimed()].item.get();
    ++claimed_;
    return item;
  }

  void finish(const Item* item) {
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) {
      if (entry.item.get() == item) entry.finished = true;
    }
    if (!entries_.empty() && entries_.front().finished) finished_.notify_one();
  }

  /// Waits until the oldest item is finished and takes it out; null once stopped, or closed and empty.
  std::unique_ptr<Item> pop() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock,
                   [&] { return stopped_ || (entries_.empty() ? closed_ : entries_.front().finished); });
    if (stopped_ || entries_.empty()) return nullptr;
    std::unique_ptr<Item> item = std::move(entries_.front().item);
    weight_ -= entries_.front().weight;
    entries_.pop_front();
    ++popped_;
    room_.notify_one();
    return item;
  }

  /// Everything that waits or comes later returns empty-handed.
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    room_.notify_all();
    claimable_.notify_all();
    finished_.notify_all();
  }

 private:
  struct Entry {
    std::unique_ptr<Item> item;
    size_t weight = 0;
    bool finished = false;
  };

  /// Position in entries_ of the next item to claim.
  size_t unclaimed() const { return claimed_ - popped_; }

  const size_t max_items_;
  const size_t max_weight_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable claimable_;
  std::condition_variable finished_;
  std::deque<Entry> entries_;  // all below guarded by mutex_
  size_t weight_ = 0;
  size_t claimed_ = 0;  // since the beginning
  size_t popped_ = 0;
  bool closed_ = false;
  bool stopped_ = false;
};

}  // namespace seer
