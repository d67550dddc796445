// The tile of queries that dense and sparse attention of the CPU backend share, with the online softmax:
//
//   s  = (q * scale) k^T           [rows, keys]
//   m' = max(m, max_j s_j)
//   p  = exp(s - m')
//   l  = l * exp(m - m') + sum_j p_j
//   o  = o * exp(m - m') + p v
//
// s is column-major: a column holds one key's score for every row, so that maxima, exponentials and sums run
// over rows with full vectors and no shuffles.
#pragma once

#include <cmath>
#include <limits>

#include <xmmintrin.h>

#include "src/cpu/eigen_views.h"
#include "src/ops/backend.h"

namespace seer::cpu {

inline constexpr int64_t kQueryTile =
    128;  // a multiple of every block size, so block maxima never straddle tasks
inline constexpr int64_t kKeyTile = 256;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// exp(s - m) underflows to denormals in rows with a sharp peak, and products with denormals run 100 times
/// slower.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040U); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

/// One task: rows [begin, begin + rows) of a segment, one head, rows <= kQueryTile.
class QueryTile {
 public:
  QueryTile(const AttentionArgs& args, int64_t segment, int64_t head, int64_t begin, int64_t rows,
            float* scratch)
      : a_(args),
        segment_(args.layout->segments.host[segment]),
        number_(segment),
        head_(head),
        begin_(begin),
        rows_(std::min(rows, segment_.queries.rows - begin)),
        position_(segment_.queries.position + begin),
        head_dim_(args.q.dim(2)),
        q_(scratch),
        o_(q_ + kQueryTile * head_dim_),
        s_(o_ + kQueryTile * head_dim_),
        m_(s_ + kQueryTile * kKeyTile),
        l_(m_ + kQueryTile),
        alpha_(l_ + kQueryTile),
        maxima_(alpha_ + kQueryTile) {}

  /// What a worker needs.
  static int64_t scratch_floats(const AttentionArgs& a) {
    const int64_t head_dim = a.q.dim(2);
    int64_t floats = kQueryTile * head_dim * 2 + kQueryTile * kKeyTile + 3 * kQueryTile;
    if (a.blocks != nullptr) floats += a.blocks->max_blocks * kQueryTile;
    return floats;
  }

  /// All keys that the rows see.
  void run() {
    load_queries();
    const int64_t keys = position_ + rows_;  // the last row sees this many
    for (int64_t key = 0; key < keys; key += kKeyTile) visit(key, std::min(kKeyTile, keys - key));
    finish(keys);
  }

  /// Those of `count` blocks, ascending, for rows that lie in one query block; without any the output is 0.
  void run(const int32_t* list, int64_t count, int64_t block) {
    load_queries();
    if (count == 0) column(l_, 0).setOnes();
    const int64_t keys = position_ + rows_;
    for (int64_t n = 0; n < count;) {
      int64_t run = 1;  // neighbours are visited together
      while (n + run < count && list[n + run] == list[n] + run && (run + 1) * block <= kKeyTile) ++run;
      const int64_t key = list[n] * block;
      visit(key, std::min(run * block, keys - key));
      n += run;
    }
    finish(keys);
  }

 private:
  using Column = Eigen::Map<Eigen::ArrayXf>;

  Column column(float* base, int64_t index) const { return {base + index * kQueryTile, rows_}; }

  ConstRowMap<float> key_rows(const ConstTensor& x, int64_t key, int64_t count) const {
    const int64_t kv_head = head_ * x.dim(1) / a_.q.dim(1);
    return view(x.data<float>() + (segment_.key_row + key) * x.row_stride() + kv_head * head_dim_, count,
                head_dim_, x.row_stride());
  }

  void load_queries() {
    const ConstTensor q = a_.q;
    const float* from =
        q.data<float>() + (segment_.queries.row + begin_) * q.row_stride() + head_ * head_dim_;
    view(q_, rows_, head_dim_, head_dim_) = view(from, rows_, head_dim_, q.row_stride()) * a_.scale;
    column(m_, 0).setConstant(kMinusInfinity);
    column(l_, 0).setZero();
    if (!a_.output.empty()) Eigen::Map<Eigen::ArrayXf>(o_, kQueryTile * head_dim_).setZero();
  }

  void visit(int64_t key, int64_t count) {
    // Columns of s_ lie kQueryTile apart whatever rows_ is.
    Eigen::Map<Eigen::MatrixXf, Eigen::Unaligned, Eigen::OuterStride<>> s(s_, rows_, count,
                                                                          Eigen::OuterStride<>(kQueryTile));
    s.noalias() = view(static_cast<const float*>(q_), rows_, head_dim_, head_dim_) *
                  key_rows(a_.k, key, count).transpose();
    for (int64_t j = std::max<int64_t>(0, position_ + 1 - key); j < count; ++j) {
      // Key key + j is seen by the rows at its position and later ones.
      column(s_, j).head(std::min(rows_, key + j - position_)).setConstant(kMinusInfinity);
    }
    Column m = column(m_, 0);
    Column l = column(l_, 0);
    Column alpha = column(alpha_, 0);
    alpha = m;
    raise_maxima(key, count);
    alpha = (alpha - m).exp();
    l *= alpha;
    for (int64_t j = 0; j < count; ++j) {
      Column p = column(s_, j);
      p = (p - m).exp();
      l += p;
    }
    if (a_.output.empty()) return;
    for (int64_t c = 0; c < head_dim_; ++c) column(o_, c) *= alpha;
    Eigen::Map<Eigen::MatrixXf, Eigen::Unaligned, Eigen::OuterStride<>> o(o_, rows_, head_dim_,
                                                                          Eigen::OuterStride<>(kQueryTile));
    o.noalias() += s * key_rows(a_.v, key, count);
  }

  /// m = max(m, scores of the tile); with block maxima wanted, each key block's are kept on the way.
  void raise_maxima(int64_t key, int64_t count) {
    Column m = column(m_, 0);
    if (a_.block_log_max.empty()) {
      for (int64_t j = 0; j < count; ++j) m = m.max(column(s_, j));
      return;
    }
    const int64_t block = a_.blocks->block_size;
    for (int64_t first = 0; first < count; first += block) {
      Column maxima = column(maxima_, (key + first) / block);
      maxima = column(s_, first);
      for (int64_t j = first + 1; j < std::min(count, first + block); ++j) maxima = maxima.max(column(s_, j));
      m = m.max(maxima);
    }
  }

  void finish(int64_t keys) {
    Column m = column(m_, 0);
    Column l = column(l_, 0);
    if (!a_.output.empty()) {
      const Tensor& out = a_.output;
      float* to = out.data<float>() + (segment_.queries.row + begin_) * out.row_stride() + head_ * head_dim_;
      Column inverse = column(alpha_, 0);
      inverse = l.inverse();
      for (int64_t c = 0; c < head_dim_; ++c) column(o_, c) *= inverse;
      view(to, rows_, head_dim_, out.row_stride()) =
          Eigen::Map<Eigen::MatrixXf, Eigen::Unaligned, Eigen::OuterStride<>>(
              o_, rows_, head_dim_, Eigen::OuterStride<>(kQueryTile));
    }
    Column lse = m;  // in place: m and l are not needed any more
    lse += l.log();
    if (!a_.logsumexp.empty()) {
      float* to =
          a_.logsumexp.data<float>() + (head_ - a_.head_begin) * a_.logsumexp.dim(1) + segment_.queries.row;
      Eigen::Map<Eigen::ArrayXf>(to + begin_, rows_) = lse;
    }
    if (!a_.block_log_max.empty()) write_maxima(keys, lse);
  }

  void write_maxima(int64_t keys, const Column& lse) {
    const ScoreSegment& matrix = a_.blocks->segments.host[number_];
    const int64_t block = a_.blocks->block_size;
    const int64_t visible = ceil_div(keys, block);
    for (int64_t j = 0; j < visible; ++j) column(maxima_, j) -= lse;
    float* to = a_.block_log_max.data<float>() + matrix.matrix * a_.head_count +
                (head_ - a_.head_begin) * matrix.queries.rows * matrix.blocks;
    for (int64_t row = 0; row < rows_; row += block) {
      const int64_t i = (begin_ + row) / block;
      const int64_t diagonal = (position_ + row) / block;
      float* out = to + i * matrix.blocks;
      for (int64_t j = 0; j <= diagonal; ++j) {
        out[j] =
            column(maxima_, j).segment(row, std::min(block, rows_ - row)).maxCoeff<Eigen::PropagateNaN>();
      }
      std::fill(out + diagonal + 1, out + matrix.blocks, kMinusInfinity);
    }
  }

  const AttentionArgs& a_;
  const Segment& segment_;
  int64_t number_, head_, begin_, rows_, position_, head_dim_;
  float *q_, *o_, *s_, *m_, *l_, *alpha_, *maxima_;
};

}  // namespace seer::cpu
