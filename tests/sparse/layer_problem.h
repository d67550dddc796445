// Random q, k and v of one layer on a backend, and what the scoring methods say about them, computed in double from their
// definitions.
#pragma once

#include <memory>
#include <vector>

#include "src/sparse/sparse_layer.h"
#include "tests/support/backends.h"
#include "tests/support/golden_file.h"

namespace seer::test {

/// One sequence whose last block is short.
class LayerProblem {
 public:
  static constexpr int64_t kTokens = 203;
  static constexpr int64_t kHeads = 4;
  static constexpr int64_t kKvHeads = 2;
  static constexpr int64_t kDim = 32;
  static constexpr int64_t kBlock = 16;
  static constexpr int64_t kBlocks = (kTokens + kBlock - 1) / kBlock;

  explicit LayerProblem(uint64_t seed);

  Backend& backend() { return *backend_; }
  Queue& queue() { return *queue_; }
  LayerContext& context() { return context_; }
  const LayerHeads& heads() const { return heads_; }
  const ScoreLayout& blocks() const { return blocks_; }
  double tolerance(double of_fp32) const { return of_fp32 * backends().back().tolerance_factor; }

  /// Scores [heads][i][j <= i] by a method, asked for `at_a_time` heads in each call.
  std::vector<float> scores(const ScoringMethod& method, int64_t layer = 0, int64_t at_a_time = kHeads);
  /// sparse_layer()'s output [S, H, D].
  std::vector<float> attend(const LayerSelection& selection, int64_t layer = 0);

  double q(int64_t token, int64_t head, int64_t e) const { return q_[(token * kHeads + head) * kDim + e]; }
  double k(int64_t token, int64_t head, int64_t e) const {
    return k_[(token * kKvHeads + head / 2) * kDim + e];
  }
  double v(int64_t token, int64_t head, int64_t e) const {
    return v_[(token * kKvHeads + head / 2) * kDim + e];
  }
  double dot(int64_t query, int64_t key, int64_t head) const;
  /// First token of a block, and of the one behind it.
  static int64_t begin(int64_t block) { return block * kBlock; }
  static int64_t end(int64_t block) { return std::min(kTokens, (block + 1) * kBlock); }
  /// Mean query of a block.
  double mean_query(int64_t block, int64_t head, int64_t e) const;
  /// Where scores() has element (i, j) of a head.
  static size_t at(int64_t head, int64_t i, int64_t j) {
    return head * (kBlocks * (kBlocks + 1) / 2) + i * (i + 1) / 2 + j;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Queue> queue_;
  std::vector<float> q_, k_, v_;
  DeviceTensor device_q_, device_k_, device_v_;
  BatchLayout batch_;
  ScoreLayout blocks_;
  LayoutTables tables_;
  LayerHeads heads_;
  Arena arena_;
  LayerContext context_;
};

}  // namespace seer::test
