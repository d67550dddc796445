// wgmma: the matrix products of one warp group. A product is carried out at a time of its own: when the last of the 128
// threads has committed its group, or not before it is waited for. Until a thread has waited its accumulators are NaN.
//
// Operands in registers are read when the product is carried out: registers written meanwhile show. Those in shared
// memory must be there when the product is queued and stay until some thread has waited for it.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

namespace seer::emulation {

/// d[64, columns] (+)= a[64, 16] b, in bf16 and fp32. Matrices in shared memory are named as the instruction does:
/// bits 0 to 13 address, 16 to 29 panel stride, 32 to 45 group stride, all / 16; 62 and 63 swizzle: 128 bytes.
struct ProductShape {
  int columns;
  bool a_in_shared;  ///< Otherwise in registers
  uint64_t a;        ///< In shared memory, the summed axis contiguous
  uint64_t b;
  bool b_by_columns;  ///< b is [16, columns] with the columns contiguous, otherwise [columns, 16]
  bool accumulate;

  bool operator==(const ProductShape&) const = default;
};

class Products {
 public:
  static constexpr int kThreads = 128;

  /// By thread `thread` of the group, with its accumulators and, if they are in registers, its four of a.
  void queue(int thread, const ProductShape& shape, float* accumulators, const uint32_t* a);
  void commit(int thread);
  /// Until at most `pending` committed groups of the thread are unfinished.
  void wait(int thread, int pending);

 private:
  struct Product {
    ProductShape shape;
    std::vector<uint32_t> lines;  ///< Addresses in shared memory, one in each line of it that is read
    std::array<float*, kThreads> accumulators{};
    std::array<const uint32_t*, kThreads> a{};
    std::vector<float> values;  ///< [64, columns]: what the accumulators will hold
    int published = 0;          ///< Threads that have waited for it
    bool continues = false;     ///< Of the values of an earlier one that is not finished: `earlier`
    uint64_t earlier = 0;
  };
  /// What a thread has done so far.
  struct Progress {
    uint64_t queued = 0, committed = 0, published = 0;
  };

  Product& product(uint64_t number) { return queue_[number - first_]; }
  /// The latest product before `number` with these accumulators of the thread that it has not waited for; or `number`.
  uint64_t latest_on(int thread, const float* accumulators, uint64_t number);
  /// Whether a product that is not computed yet continues this one.
  bool awaited(uint64_t number);
  void compute_until(uint64_t end);
  void compute(Product& product);

  std::deque<Product> queue_;
  uint64_t first_ = 0;                    ///< Number of queue_'s first
  uint64_t computed_ = 0, finished_ = 0;  ///< Products up to here are
  std::array<Progress, kThreads> threads_;
  std::vector<uint64_t> group_ends_;  ///< Products up to the end of each committed group
  std::vector<int> committers_;       ///< Threads that have committed it
  uint64_t complete_groups_ = 0;      ///< Committed by all
};

}  // namespace seer::emulation
