// Scores of blocks that need no trained gate: by signs, by position, along antidiagonals.
#include <algorithm>
#include <cmath>

#include "src/cpu/eigen_views.h"
#include "src/cpu/kernels.h"
#include "src/ops/score_order.h"

namespace seer::cpu {
namespace {

constexpr int64_t kRowsPerTile = 64;

/// Block rows of one task: enough groups for a product to be worth packing its keys.
int64_t blocks_per_task(const AntidiagonalArgs& a) {
  constexpr int64_t kGroups = 64;
  return std::max<int64_t>(1, kGroups * a.stride / a.blocks->block_size);
}
int64_t groups_per_block(const AntidiagonalArgs& a) {
  return a.blocks->block_size / a.stride;
}
/// Of a worker: x of one task against all groups of the longest sequence.
int64_t scratch_floats(const AntidiagonalArgs& a) {
  const int64_t per_block = groups_per_block(a);
  return blocks_per_task(a) * per_block * scratch_stride(a.blocks->max_blocks * per_block);
}

/// Some block rows of one head: x of their groups against all earlier ones, softmax, sums over blocks.
class AntidiagonalTile {
 public:
  AntidiagonalTile(const AntidiagonalArgs& args, size_t number, int64_t head, int64_t first_block,
                   float* scratch)
      : a_(args),
        segment_(args.layout->segments.host[number]),
        head_(head),
        token_(first_block * args.blocks->block_size),
        tokens_(std::min(blocks_per_task(args) * args.blocks->block_size, segment_.queries.rows - token_)),
        groups_(ceil_div(tokens_, args.stride)),
        first_group_((segment_.queries.position + token_) / args.stride),
        columns_(first_group_ + groups_),
        stride_(scratch_stride(columns_)),
        x_(scratch) {}

  /// `scores` is the tile's first row, rows are `row_stride` apart.
  void run(float* scores, int64_t row_stride) {
    multiply();
    const int64_t per_block = groups_per_block(a_);
    const float factor = a_.scale / static_cast<float>(a_.stride);
    for (int64_t g = 0; g < groups_; ++g) {
      Eigen::Map<Eigen::ArrayXf> row(x_ + g * stride_, first_group_ + g + 1);
      row *= factor;
      row = (row - row.maxCoeff()).exp();
      row *= 1.0F / row.sum();
      float* out = scores + g / per_block * row_stride;
      for (int64_t c = 0; c < row.size(); c += per_block) {
        float& score = out[c / per_block];
        const float sum = row.segment(c, std::min(per_block, row.size() - c)).sum();
        // The first group of a block row sees all of its blocks, the last of them in part.
        score = g % per_block == 0 ? sum : score + sum;
      }
    }
  }

 private:
  /// x, but for scale / stride.
  void multiply() {
    auto x = view(x_, groups_, columns_, stride_);
    x.setZero();
    const int64_t keys = std::min(segment_.length, columns_ * a_.stride);
    for (int64_t t = 0; t < a_.stride; ++t) {
      // Tokens past the end are zero vectors: the last group may lack some.
      const int64_t from = a_.stride - 1 - t;
      const int64_t query_groups = from < tokens_ ? ceil_div(tokens_ - from, a_.stride) : 0;
      const int64_t key_groups = t < keys ? ceil_div(keys - t, a_.stride) : 0;
      if (query_groups == 0 || key_groups == 0) continue;
      x.topLeftCorner(query_groups, key_groups).noalias() +=
          every(a_.q, segment_.queries.row + token_ + from, query_groups, head_) *
          every(a_.k, segment_.key_row + t, key_groups, head_ * a_.k.dim(1) / a_.q.dim(1)).transpose();
    }
  }

  /// Rows row, row + stride, .. of one head.
  ConstRowMap<float> every(const ConstTensor& x, int64_t row, int64_t count, int64_t head) const {
    return view(x.data<float>() + row * x.row_stride() + head * x.dim(2), count, x.dim(2),
                a_.stride * x.row_stride());
  }

  const AntidiagonalArgs& a_;
  const Segment& segment_;
  int64_t head_, token_, tokens_, groups_, first_group_, columns_, stride_;
  float* x_;  // [groups_, columns_], rows stride_ apart
};

}  // namespace

void split_signs(ThreadPool& pool, ConstTensor x, Tensor out) {
  const int64_t head_dim = x.dim(2);
  const int64_t vectors = x.rows() * x.dim(1);
  pool.run(ceil_div(vectors, kRowsPerTile), [&](int64_t tile, int) {
    for (int64_t n = tile * kRowsPerTile; n < std::min(vectors, (tile + 1) * kRowsPerTile); ++n) {
      const Eigen::Map<const Eigen::ArrayXf> from(x.data<float>() + n * head_dim, head_dim);
      float* to = out.data<float>() + 2 * n * head_dim;
      Eigen::Map<Eigen::ArrayXf>(to, head_dim) = from.max(0.0F);
      Eigen::Map<Eigen::ArrayXf>(to + head_dim, head_dim) = from.min(0.0F);
    }
  });
}

void position_scores(ThreadPool& pool, PositionScores kind, uint64_t seed, const ScoreLayout& layout,
                     int64_t head_begin, int64_t head_count, Tensor scores) {
  for (const ScoreSegment& segment : layout.segments.host) {
    const int64_t rows = segment.queries.rows;
    pool.run(head_count * rows, [&](int64_t task, int) {
      const int64_t position = segment.queries.position + task % rows;
      float* row = scores.data<float>() + segment.matrix * head_count + task * segment.blocks;
      for (int64_t j = 0; j <= position; ++j) {
        if (kind == PositionScores::kRandom) {
          row[j] = block_hash(seed, head_begin + task / rows, position, j);
        } else {
          row[j] = static_cast<float>(j == 0 ? segment.blocks : j);
        }
      }
    });
  }
}

size_t antidiagonal_workspace(const ThreadPool& pool, const AntidiagonalArgs& args) {
  return pool.size() * scratch_floats(args) * sizeof(float);
}

void antidiagonal_scores(ThreadPool& pool, const AntidiagonalArgs& a) {
  const int64_t blocks = blocks_per_task(a);
  for (size_t number = 0; number < a.blocks->segments.host.size(); ++number) {
    const ScoreSegment& segment = a.blocks->segments.host[number];
    const int64_t rows = segment.queries.rows;
    const int64_t tiles = ceil_div(rows, blocks);
    pool.run(a.head_count * tiles, [&](int64_t task, int worker) {
      float* scratch = static_cast<float*>(a.workspace.raw()) + worker * scratch_floats(a);
      const int64_t row = (tiles - 1 - task / a.head_count) * blocks;  // the longest rows first
      const int64_t head = task % a.head_count;
      AntidiagonalTile(a, number, a.head_begin + head, row, scratch)
          .run(a.scores.data<float>() + segment.matrix * a.head_count + (head * rows + row) * segment.blocks,
               segment.blocks);
    });
  }
}

}  // namespace seer::cpu
