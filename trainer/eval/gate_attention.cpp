#include "trainer/eval/gate_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/core/error.h"

namespace seer {

void check_layers(const std::vector<int64_t>& layers, const ModelConfig& model) {
  for (const int64_t layer : layers) {
    if (layer < 0 || layer >= model.num_layers)
      fail_usage("--layers {}: the model has layers 0 to {}", layer, model.num_layers - 1);
    if (std::count(layers.begin(), layers.end(), layer) > 1)
      fail_usage("--layers: layer {} is named more than once", layer);
  }
}

GateAttentionPass::GateAttentionPass(EvalModel& model, GateAttentionOptions options)
    : model_(model),
      options_(std::move(options)),
      pass_(model.backend(), model.config(), model.weights(), model.gates(),
            {.max_tokens = options_.max_tokens,
             .block_size = model.block_size(),
             .methods = {},
             .visitor = [this](LayerContext& context, const LayerHeads& heads, int64_t layer) {
               visit(context, heads, layer);
             }}) {}

void GateAttentionPass::run(std::span<const int32_t> ids) {
  running_ = true;
  pass_.prefill(ids, {});
}

void GateAttentionPass::visit(LayerContext& context, const LayerHeads& heads, int64_t layer) {
  const std::vector<int64_t>& chosen = options_.layers;
  if (!chosen.empty() && std::find(chosen.begin(), chosen.end(), layer) == chosen.end()) return;
  Backend& backend = context.backend;
  Arena& arena = context.arena;
  const int64_t count = heads.q.dim(1);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(heads.q.dim(2))));
  GateAttention work{.layer = layer,
                     .dense = {.q = heads.q,
                               .k = heads.k,
                               .v = heads.v,
                               .layout = heads.batch,
                               .head_begin = 0,
                               .head_count = count,
                               .scale = scale,
                               .output = arena.tensor(backend.activation_dtype(), heads.q.shape())},
                     .sparse = {},
                     .kept = {}};
  work.dense.workspace = arena.bytes(backend.attention_workspace(work.dense));
  for (size_t r = 0; r < options_.rules.size(); ++r) {
    SparseAttentionArgs args{.q = heads.q,
                             .k = heads.k,
                             .v = heads.v,
                             .layout = heads.batch,
                             .blocks = heads.blocks,
                             .lists = take_lists(arena, *heads.blocks, count),
                             .head_begin = 0,
                             .head_count = count,
                             .scale = scale,
                             .output = work.dense.output};
    args.workspace = arena.bytes(backend.sparse_attention_workspace(args));
    work.sparse.push_back(args);
  }
  const Tensor kept = arena.tensor(DType::kF64, Shape{std::ssize(options_.rules), count});
  choose(context, heads, work, kept);
  if (!running_) return;  // planning

  std::vector<double> by_head(kept.numel());
  backend.copy(context.queue, kept, Tensor(by_head.data(), DType::kF64, kept.shape()));
  backend.synchronize(context.queue);
  for (auto row = by_head.begin(); row != by_head.end(); row += count)
    work.kept.push_back(std::accumulate(row, row + count, 0.0));
  const int64_t blocks = heads.blocks->max_blocks;
  work.visible = static_cast<double>(blocks * (blocks + 1) * count) / 2;
  options_.visitor(context, work);
}

/// The scores of all heads live together: they take what one of the rules' lists takes.
void GateAttentionPass::choose(LayerContext& context, const LayerHeads& heads, const GateAttention& work,
                               Tensor kept) {
  Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const LayerGate gate = model_.gates()->layer(work.layer);
  BlockScorer scorer(context, {.kind = ScoringMethod::Kind::kGate}, heads, &gate, work.layer);
  const int64_t count = work.dense.head_count;
  const Tensor scores = context.arena.tensor(DType::kF32, Shape{count, heads.blocks->elements});
  scorer.score(0, count, scores);
  backend.fill_zero(context.queue, kept);
  for (size_t r = 0; r < options_.rules.size(); ++r) {
    const Arena::Scope rule_scope(context.arena);
    SelectArgs select{.scores = scores,
                      .probabilities = scorer.probabilities(),
                      .layout = heads.blocks,
                      .head_count = count,
                      .rule = options_.rules[r],
                      .lists = work.sparse[r].lists,
                      .kept = kept.slice_rows(static_cast<int64_t>(r), 1).reshape(Shape{count})};
    select.workspace = context.arena.bytes(backend.select_workspace(select));
    backend.select_blocks(context.queue, select);
  }
}

}  // namespace seer
