#include "trainer/eval/side_by_side.h"

#include <algorithm>

namespace seer {
namespace {

/// Heads [n x count, (n + 1) x count) of x [rows, heads, D], count as in `part`, become `part`'s.
void copy_heads(Backend& backend, Queue& queue, ConstTensor part, Tensor x, int64_t n) {
  auto* begin = static_cast<char*>(x.raw()) + n * part.row_size() * static_cast<int64_t>(size_of(x.dtype()));
  backend.copy(queue, part, Tensor(begin, x.dtype(), part.shape(), x.row_stride()));
}

/// Rows [n x count, (n + 1) x count), likewise.
void copy_rows(Backend& backend, Queue& queue, ConstTensor part, Tensor x, int64_t n) {
  backend.copy(queue, part, x.slice_rows(n * part.rows(), part.rows()));
}

}  // namespace

void SideBySide::add(Queue& queue, const GateAttention& layer) {
  SEER_CHECK(!complete(), "take() comes before layer {}", layer.layer);
  if (q_.empty()) plan(layer);
  if (count_ == 0) {
    work_.layer = layer.layer;
    work_.visible = 0;
    std::fill(work_.kept.begin(), work_.kept.end(), 0.0);
  }
  copy_heads(backend_, queue, layer.dense.q, q_, count_);
  copy_heads(backend_, queue, layer.dense.k, k_, count_);
  copy_heads(backend_, queue, layer.dense.v, v_, count_);
  for (size_t r = 0; r < layer.sparse.size(); ++r) {
    const BlockLists& from = layer.sparse[r].lists;
    copy_rows(backend_, queue, from.counts, work_.sparse[r].lists.counts, count_);
    copy_rows(backend_, queue, from.blocks, work_.sparse[r].lists.blocks, count_);
    work_.kept[r] += layer.kept[r];
  }
  work_.visible += layer.visible;
  ++count_;
}

GateAttention SideBySide::take() {
  SEER_CHECK(complete(), "{} of {} layers", count_, layers_);
  count_ = 0;
  return work_;
}

void SideBySide::plan(const GateAttention& layer) {
  SEER_CHECK(layer.dense.layout->segments.host.size() == 1, "{} sequences side by side",
             layer.dense.layout->segments.host.size());
  const auto wide = [&](ConstTensor x) {
    return memory_.make(x.dtype(), Shape{x.dim(0), layers_ * x.dim(1), x.dim(2)});
  };
  const auto tall = [&](ConstTensor x) {
    return memory_.make(x.dtype(), Shape{layers_ * x.dim(0), x.dim(1)});
  };
  q_ = wide(layer.dense.q);
  k_ = wide(layer.dense.k);
  v_ = wide(layer.dense.v);
  work_ = layer;
  AttentionArgs& dense = work_.dense;
  dense.q = q_;
  dense.k = k_;
  dense.v = v_;
  dense.head_count *= layers_;
  dense.output = wide(layer.dense.output);
  const auto bytes = static_cast<int64_t>(backend_.attention_workspace(dense));
  dense.workspace = memory_.make(DType::kU8, Shape{std::max<int64_t>(bytes, 1)});
  for (SparseAttentionArgs& args : work_.sparse) {
    args.q = q_;
    args.k = k_;
    args.v = v_;
    args.head_count = dense.head_count;
    args.lists = {.counts = tall(args.lists.counts), .blocks = tall(args.lists.blocks)};
    args.output = dense.output;
    const auto sparse_bytes = static_cast<int64_t>(backend_.sparse_attention_workspace(args));
    args.workspace = memory_.make(DType::kU8, Shape{std::max<int64_t>(sparse_bytes, 1)});
  }
}

}  // namespace seer
