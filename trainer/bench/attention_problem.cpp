#include "trainer/bench/attention_problem.h"

#include <cmath>

#include "cuda/bench/random_fill.h"
#include "cuda/cuda_queue.h"

namespace seer {

AttentionProblem::AttentionProblem(Backend& backend, Queue& queue, const AttentionShape& shape)
    : backend_(backend),
      queue_(queue),
      layout_(BatchLayout::packed(std::vector<int64_t>{0, shape.tokens})),
      blocks_(ScoreLayout::prefill(layout_, shape.block_size)),
      tables_(backend, LayoutTables::bytes_for(1, 1)),
      memory_(backend) {
  tables_.upload(backend, queue, layout_);
  tables_.upload(backend, queue, blocks_);

  uint64_t seed = 0;
  const auto random = [&](int64_t heads) {
    const Tensor x = memory_.make(DType::kBF16, Shape{shape.tokens, heads, shape.head_dim});
    cuda::fill_random(static_cast<__nv_bfloat16*>(x.raw()), x.numel(), ++seed, 1.0F,
                      static_cast<cuda::CudaQueue&>(queue).stream());
    return x;
  };
  const Tensor q = random(shape.num_heads);
  const Tensor k = random(shape.num_kv_heads);
  const Tensor v = random(shape.num_kv_heads);
  const Shape matrices{shape.num_heads, blocks_.elements};
  with_maxima_ = {.q = q,
                  .k = k,
                  .v = v,
                  .layout = &layout_,
                  .head_begin = 0,
                  .head_count = shape.num_heads,
                  .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim)),
                  .output = memory_.make(DType::kBF16, q.shape()),
                  .block_log_max = memory_.make(DType::kF32, matrices),
                  .blocks = &blocks_};
  target_ = memory_.make(DType::kF32, matrices);
  const auto workspace = static_cast<int64_t>(backend.attention_workspace(with_maxima_));
  with_maxima_.workspace = memory_.make(DType::kU8, Shape{workspace});
}

AttentionArgs AttentionProblem::maxima_alone() const {
  AttentionArgs args = with_maxima_;
  args.v = ConstTensor();
  args.output = Tensor();
  return args;
}

AttentionArgs AttentionProblem::dense() const {
  AttentionArgs args = with_maxima_;
  args.block_log_max = Tensor();
  args.blocks = nullptr;
  return args;
}

void AttentionProblem::normalise() {
  backend_.normalise_target(queue_, with_maxima_.block_log_max, blocks_, blocks_, with_maxima_.head_count,
                            target_);
}

}  // namespace seer
