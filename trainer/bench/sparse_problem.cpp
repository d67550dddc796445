#include "trainer/bench/sparse_problem.h"

#include <algorithm>

namespace seer {

SparseProblem::SparseProblem(Backend& backend, Queue& queue, const AttentionArgs& dense,
                             const ScoreLayout& blocks)
    : backend_(backend), queue_(queue), dense_(dense), blocks_(blocks), memory_(backend) {
  scores_ = memory_.make(DType::kF32, Shape{heads(), blocks_.elements});
  kept_ = memory_.make(DType::kF64, Shape{heads()});
}

BlockLists SparseProblem::make_lists() {
  return {memory_.make(DType::kI32, Shape{heads(), blocks_.num_query_rows}),
          memory_.make(DType::kI32, Shape{heads(), blocks_.elements})};
}

SparseWork SparseProblem::random(double density, bool shared) {
  const int64_t draws = shared ? heads() / group() : heads();
  backend_.position_scores(queue_, PositionScores::kRandom, 1, blocks_, 0, draws, draws_of(draws));
  for (int64_t head = heads() - 1; shared && head > 0; --head) {  // backwards: copies come from lower ones
    backend_.copy(queue_, row_of(head / group()), row_of(head));
  }
  const BlockLists lists = make_lists();
  backend_.fill_zero(queue_, kept_);
  select({.by = SelectBy::kThreshold, .value = 1.0 - density}, /*probabilities=*/true, lists);
  const Buffer host = backend_.allocate(heads() * sizeof(double), Memory::kHostPinned);
  const Tensor counts = host.tensor(DType::kF64, Shape{heads()});
  backend_.copy(queue_, kept_, counts);
  backend_.synchronize(queue_);
  double kept = 0;
  for (int64_t head = 0; head < heads(); ++head) kept += counts.data<double>()[head];
  const auto n = static_cast<double>(blocks_.max_blocks);
  return {.name = shared ? "shared by a group" : "random",
          .enqueue = [this, args = attention_args(lists)] { backend_.sparse_attention(queue_, args); },
          .density = kept / (n * (n + 1) / 2 * static_cast<double>(heads())),
          .kept = kept,
          .shared = shared};
}

void SparseProblem::select(const SelectionRule& rule, bool probabilities, const BlockLists& lists) {
  backend_.select_blocks(queue_, {.scores = scores_,
                                  .probabilities = probabilities,
                                  .layout = &blocks_,
                                  .head_count = heads(),
                                  .rule = rule,
                                  .lists = lists,
                                  .kept = kept_});
}

SparseAttentionArgs SparseProblem::attention_args(const BlockLists& lists) {
  SparseAttentionArgs args{.q = dense_.q,
                           .k = dense_.k,
                           .v = dense_.v,
                           .layout = dense_.layout,
                           .blocks = &blocks_,
                           .lists = lists,
                           .head_begin = 0,
                           .head_count = heads(),
                           .scale = dense_.scale,
                           .output = dense_.output};
  const auto bytes = static_cast<int64_t>(backend_.sparse_attention_workspace(args));
  args.workspace = memory_.make(DType::kU8, Shape{std::max<int64_t>(bytes, 1)});
  return args;
}

}  // namespace seer
