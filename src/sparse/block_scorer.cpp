#include "src/sparse/block_scorer.h"

#include <cmath>

#include "src/core/rng.h"

namespace seer {
namespace {

using Kind = ScoringMethod::Kind;

constexpr PoolSet kMean{.max = false, .min = false, .avg = true};
constexpr PoolSet kBounds{.max = true, .min = true, .avg = false};

double attention_scale(const LayerHeads& heads) {
  return 1.0 / std::sqrt(static_cast<double>(heads.q.dim(2)));
}

Tensor pool(LayerContext& context, ConstTensor x, const Table<RowSpan>& rows, int64_t pooled_rows,
            int64_t block_size, PoolSet pools) {
  const Tensor out =
      context.arena.tensor(DType::kF32, Shape{pooled_rows, x.dim(1), pools.count() * x.dim(2)});
  context.backend.pool_blocks(context.queue, x, rows, block_size, 1, pools, out);
  return out;
}

}  // namespace

BlockScorer::BlockScorer(LayerContext& context, const ScoringMethod& method, const LayerHeads& heads,
                         const LayerGate* gate, int64_t layer)
    : context_(context),
      method_(method),
      heads_(heads),
      pooled_{.layout = heads.blocks, .scale = attention_scale(heads)} {
  switch (method.kind) {
    case Kind::kGate: {
      SEER_CHECK(gate != nullptr, "scores of a gate that is not there");
      const PrefillActivations activations =
          prefill_gate_forward(context, *gate->config, gate->weights, {heads.q_pre, heads.k_pre, heads.batch},
                               *heads.blocks, gate->blocks, /*want_gradient=*/false);
      pooled_ = prefill_score_args(*gate->config, activations, *heads.blocks, 0, 0);
      break;
    }
    case Kind::kMeanPooled:
      pool_means();
      break;
    case Kind::kMinMaxBound:
      pool_bounds();
      break;
    case Kind::kRandom:
      seed_ = Rng(method.seed).fork("random blocks").fork(static_cast<uint64_t>(layer)).next();
      break;
    case Kind::kOracle:
    case Kind::kAntidiagonal:
    case Kind::kWindow:
      break;
  }
}

void BlockScorer::pool_means() {
  const ScoreLayout& blocks = *heads_.blocks;
  pooled_.queries =
      pool(context_, heads_.q, heads_.batch->rows, blocks.num_query_rows, blocks.block_size, kMean);
  pooled_.keys =
      pool(context_, heads_.k, heads_.batch->key_rows, blocks.num_key_rows, blocks.block_size, kMean);
}

/// max(q, 0) . kmax + min(q, 0) . kmin is the largest q . k that keys within the bounds can have.
void BlockScorer::pool_bounds() {
  const ScoreLayout& blocks = *heads_.blocks;
  const Tensor mean =
      pool(context_, heads_.q, heads_.batch->rows, blocks.num_query_rows, blocks.block_size, kMean);
  const Tensor signs = context_.arena.tensor(DType::kF32, Shape{mean.rows(), mean.dim(1), 2 * mean.dim(2)});
  context_.backend.split_signs(context_.queue, mean, signs);
  pooled_.queries = signs;
  pooled_.keys =
      pool(context_, heads_.k, heads_.batch->key_rows, blocks.num_key_rows, blocks.block_size, kBounds);
}

bool BlockScorer::probabilities() const {
  return method_.kind == Kind::kOracle || method_.kind == Kind::kAntidiagonal;
}

void BlockScorer::score(int64_t head_begin, int64_t head_count, Tensor scores) {
  Backend& backend = context_.backend;
  Queue& queue = context_.queue;
  switch (method_.kind) {
    case Kind::kGate:
    case Kind::kMeanPooled:
    case Kind::kMinMaxBound:
      pooled_.head_begin = head_begin;
      pooled_.head_count = head_count;
      backend.gate_scores(queue, pooled_, scores);
      return;
    case Kind::kOracle:
      ground_truth(context_, heads_, head_begin, head_count, scores);
      return;
    case Kind::kAntidiagonal: {
      const Arena::Scope scope(context_.arena);
      AntidiagonalArgs args{.q = heads_.q,
                            .k = heads_.k,
                            .layout = heads_.batch,
                            .blocks = heads_.blocks,
                            .stride = method_.stride,
                            .head_begin = head_begin,
                            .head_count = head_count,
                            .scale = static_cast<float>(attention_scale(heads_)),
                            .scores = scores};
      args.workspace = context_.arena.bytes(backend.antidiagonal_workspace(args));
      backend.antidiagonal_scores(queue, args);
      return;
    }
    case Kind::kWindow:
    case Kind::kRandom:
      backend.position_scores(
          queue, method_.kind == Kind::kWindow ? PositionScores::kWindow : PositionScores::kRandom, seed_,
          *heads_.blocks, head_begin, head_count, scores);
  }
}

void BlockScorer::ground_truth(LayerContext& context, const LayerHeads& heads, int64_t head_begin,
                               int64_t head_count, Tensor target) {
  const Arena::Scope scope(context.arena);
  AttentionArgs args{
      .q = heads.q,
      .k = heads.k,
      .layout = heads.batch,
      .head_begin = head_begin,
      .head_count = head_count,
      .scale = static_cast<float>(attention_scale(heads)),
      .block_log_max = context.arena.tensor(DType::kF32, Shape{head_count, heads.blocks->elements}),
      .blocks = heads.blocks};
  args.workspace = context.arena.bytes(context.backend.attention_workspace(args));
  context.backend.attention(context.queue, args);
  context.backend.normalise_target(context.queue, args.block_log_max, *heads.blocks, *heads.blocks,
                                   head_count, target);
}

}  // namespace seer
