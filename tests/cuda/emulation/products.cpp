#include "tests/cuda/emulation/products.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "src/core/error.h"
#include "tests/cuda/emulation/thread_block.h"

namespace seer::emulation {
namespace {

constexpr int kRows = 64;
constexpr int kDepth = 16;
constexpr int kPanel = 64;  ///< Elements of 128 bytes
constexpr uint32_t kLine = SharedMemory::kLine;
constexpr uint32_t kElement = 2;

/// A matrix in shared memory.
struct Place {
  uint32_t address, panel_stride, group_stride;

  explicit Place(uint64_t descriptor)
      : address(static_cast<uint32_t>(descriptor & 0x3FFF) << 4),
        panel_stride(static_cast<uint32_t>(descriptor >> 16 & 0x3FFF) << 4),
        group_stride(static_cast<uint32_t>(descriptor >> 32 & 0x3FFF) << 4) {
    if (descriptor >> 62 != 1) fail("a product's matrix is not in the 128-byte swizzle");
  }

  /// Of element `column` of a row; rows of 64 elements lie in groups of 8.
  uint32_t element(int row, int column) const {
    return address + column / kPanel * panel_stride + row / 8 * group_stride + row % 8 * kLine +
           column % kPanel * kElement;
  }
};

/// Addresses in all lines that the operands lie in.
std::vector<uint32_t> lines_of(const ProductShape& shape) {
  std::vector<uint32_t> lines;
  const auto add = [&](const Place& place, int rows, int columns) {
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < columns; column += kPanel) lines.push_back(place.element(row, column));
    }
  };
  if (shape.a_in_shared) add(Place(shape.a), kRows, kDepth);
  if (shape.b_by_columns) {
    add(Place(shape.b), kDepth, shape.columns);
  } else {
    add(Place(shape.b), shape.columns, kDepth);
  }
  return lines;
}

/// Accumulator `index` of a thread, in [64, columns].
int accumulator_at(int thread, int index, int columns) {
  const int row = thread / 32 * 16 + thread % 32 / 4 + index / 2 % 2 * 8;
  return row * columns + index / 4 * 8 + thread % 4 * 2 + index % 2;
}

float bf16_of(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}

}  // namespace

uint64_t Products::latest_on(int thread, const float* accumulators, uint64_t number) {
  for (uint64_t other = number; other > threads_[thread].published; --other) {
    if (product(other - 1).accumulators[thread] == accumulators) return other - 1;
  }
  return number;
}

void Products::queue(int thread, const ProductShape& shape, float* accumulators, const uint32_t* a) {
  const uint64_t number = threads_[thread].queued++;
  if (number == first_ + queue_.size()) {
    Product& fresh = queue_.emplace_back();
    fresh.shape = shape;
    fresh.lines = lines_of(shape);
    fresh.values.resize(static_cast<size_t>(kRows) * shape.columns);
    ThreadBlock::current().shared().begin_read(fresh.lines);
  }
  Product& p = product(number);
  if (p.shape != shape) fail("threads of a warp group queue different products");
  p.accumulators[thread] = accumulators;
  p.a[thread] = a;
  const int count = shape.columns / 2;
  const uint64_t earlier = latest_on(thread, accumulators, number);
  if (earlier != number) {
    p.continues = true;
    p.earlier = earlier;
    return;  // NaN already
  }
  for (int i = 0; i < count; ++i) {
    if (shape.accumulate) p.values[accumulator_at(thread, i, shape.columns)] = accumulators[i];
    accumulators[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

void Products::commit(int thread) {
  Progress& mine = threads_[thread];
  const uint64_t group = mine.committed++;
  if (group == group_ends_.size()) {
    group_ends_.push_back(mine.queued);
    committers_.push_back(0);
  }
  if (group_ends_[group] != mine.queued) fail("threads of a warp group commit different groups of products");
  if (++committers_[group] < kThreads) return;
  ++complete_groups_;
  if (ThreadBlock::current().random().below(2) == 0) compute_until(group_ends_[group]);
}

void Products::wait(int thread, int pending) {
  ThreadBlock& block = ThreadBlock::current();
  if (block.faults().strike(Fault::kProductNotWaitedFor, 0)) return;
  Progress& mine = threads_[thread];
  if (mine.committed <= static_cast<uint64_t>(pending)) return;
  const uint64_t groups = mine.committed - pending;
  while (complete_groups_ < groups)
    block.wait({&complete_groups_, ~uint64_t{0}, complete_groups_, "products of its warp group"});

  const uint64_t end = group_ends_[groups - 1];
  compute_until(end);
  for (; finished_ < end; ++finished_) block.shared().end_read(product(finished_).lines);
  for (; mine.published < end; ++mine.published) {
    Product& p = product(mine.published);
    float* accumulators = p.accumulators[thread];
    if (latest_on(thread, accumulators, mine.queued) == mine.published) {
      for (int i = 0; i < p.shape.columns / 2; ++i)
        accumulators[i] = p.values[accumulator_at(thread, i, p.shape.columns)];
    }
    ++p.published;
  }
  // One that another continues is not forgotten before that has taken its values.
  while (!queue_.empty() && queue_.front().published == kThreads && !awaited(first_)) {
    queue_.pop_front();
    ++first_;
  }
}

bool Products::awaited(uint64_t number) {
  for (uint64_t other = computed_; other < first_ + queue_.size(); ++other) {
    if (product(other).continues && product(other).earlier == number) return true;
  }
  return false;
}

void Products::compute_until(uint64_t end) {
  for (; computed_ < end; ++computed_) compute(product(computed_));
}

void Products::compute(Product& p) {
  SharedMemory& shared = ThreadBlock::current().shared();
  const int columns = p.shape.columns;
  float a[kRows][kDepth];
  if (p.shape.a_in_shared) {
    const Place place(p.shape.a);
    for (int row = 0; row < kRows; ++row) {
      for (int k = 0; k < kDepth; ++k) a[row][k] = shared.bf16_at_swizzled(place.element(row, k));
    }
  } else {
    for (int thread = 0; thread < kThreads; ++thread) {
      const int row = thread / 32 * 16 + thread % 32 / 4;
      for (int i = 0; i < 4; ++i) {
        float* pair = &a[row + i % 2 * 8][i / 2 * 8 + thread % 4 * 2];
        pair[0] = bf16_of(p.a[thread][i] & 0xFFFF);
        pair[1] = bf16_of(p.a[thread][i] >> 16);
      }
    }
  }
  std::vector<float> b(static_cast<size_t>(kDepth) * columns);
  const Place place(p.shape.b);
  for (int k = 0; k < kDepth; ++k) {
    for (int column = 0; column < columns; ++column) {
      b[k * columns + column] =
          shared.bf16_at_swizzled(p.shape.b_by_columns ? place.element(k, column) : place.element(column, k));
    }
  }
  // Nobody else asks for them: accumulators hold what the latest product leaves.
  if (p.continues && p.shape.accumulate) p.values = std::move(product(p.earlier).values);
  for (int row = 0; row < kRows; ++row) {
    float* sums = p.values.data() + row * columns;
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < columns; ++column) sums[column] += a[row][k] * b[k * columns + column];
    }
  }
}

}  // namespace seer::emulation
