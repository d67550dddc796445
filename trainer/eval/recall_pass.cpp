#include "trainer/eval/recall_pass.h"

#include <algorithm>
#include <numeric>

namespace seer {
namespace {

constexpr int kRecall = 0;
constexpr int kKept = 1;
constexpr int64_t kPerPlan = 2;

}  // namespace

double mean_of(const std::vector<std::vector<double>>& by_head) {
  double sum = 0;
  size_t count = 0;
  for (const std::vector<double>& layer : by_head) {
    sum = std::accumulate(layer.begin(), layer.end(), sum);
    count += layer.size();
  }
  return sum / static_cast<double>(count);
}

double RecallResult::mean_recall() const {
  return mean_of(recall);
}
double RecallResult::mean_density() const {
  return mean_of(density);
}

RecallPass::RecallPass(Backend& backend, const ModelConfig& model, FrozenWeights& weights,
                       const GateSet* gates, int64_t max_tokens, int64_t block_size,
                       std::vector<AttentionPlan> plans)
    : model_(model),
      gates_(gates),
      plans_(std::move(plans)),
      slots_(backend.allocate(plans_.size() * model.num_layers * kPerPlan * model.num_heads * sizeof(double),
                              Memory::kDevice)) {
  const auto queue = backend.make_queue("values");
  values_.resize(plans_.size());
  for (size_t n = 0; n < plans_.size(); ++n) {
    const AttentionPlan& plan = plans_[n];
    SEER_CHECK(plan.method.has_value(), "plan {} has no method whose recall could be measured", n);
    if (std::find(methods_.begin(), methods_.end(), *plan.method) == methods_.end())
      methods_.push_back(*plan.method);
    upload_by_head(backend, *queue, model, plan.values, values_[n]);
  }
  pass_.emplace(backend, model, weights, gates,
                ForwardOptions{.max_tokens = max_tokens,
                               .block_size = block_size,
                               .methods = {},
                               .visitor = [this](LayerContext& context, const LayerHeads& heads,
                                                 int64_t layer) { measure(context, heads, layer); }});
}

Tensor RecallPass::slots(size_t plan, int64_t layer, int which) const {
  const int64_t row = (static_cast<int64_t>(plan) * model_.num_layers + layer) * kPerPlan + which;
  const auto rows = static_cast<int64_t>(plans_.size()) * model_.num_layers * kPerPlan;
  return slots_.tensor(DType::kF64, Shape{rows, model_.num_heads})
      .slice_rows(row, 1)
      .reshape(Shape{model_.num_heads});
}

void RecallPass::measure(LayerContext& context, const LayerHeads& heads, int64_t layer) {
  Backend& backend = context.backend;
  Queue& queue = context.queue;
  LayerGate gate;
  if (gates_ != nullptr) gate = gates_->layer(layer);
  std::vector<BlockScorer> scorers;
  scorers.reserve(methods_.size());
  for (const ScoringMethod& method : methods_)
    scorers.emplace_back(context, method, heads, gates_ != nullptr ? &gate : nullptr, layer);

  const int64_t group = model_.num_heads / model_.num_kv_heads;
  for (int64_t begin = 0; begin < model_.num_heads; begin += group) {
    const Arena::Scope scope(context.arena);
    const Shape shape{group, heads.blocks->elements};
    const Tensor target = context.arena.tensor(DType::kF32, shape);
    const Tensor scores = context.arena.tensor(DType::kF32, shape);
    const BlockLists lists = take_lists(context.arena, *heads.blocks, group);
    BlockScorer::ground_truth(context, heads, begin, group, target);
    for (size_t m = 0; m < methods_.size(); ++m) {
      const bool oracle = methods_[m].kind == ScoringMethod::Kind::kOracle;
      if (!oracle) scorers[m].score(begin, group, scores);
      for (size_t t = 0; t < plans_.size(); ++t) {
        if (*plans_[t].method != methods_[m] || layer < plans_[t].dense_layers) continue;
        const Arena::Scope task_scope(context.arena);
        SelectArgs select{.scores = oracle ? target : scores,
                          .probabilities = scorers[m].probabilities(),
                          .layout = heads.blocks,
                          .head_count = group,
                          .rule = rule_for(methods_[m], plans_[t].rule),
                          .lists = lists,
                          .kept = slots(t, layer, kKept).slice_rows(begin, group)};
        if (values_[t].data() != nullptr)
          select.values = values_of_layer(values_[t], model_, layer).slice_rows(begin, group);
        select.workspace = context.arena.bytes(backend.select_workspace(select));
        backend.select_blocks(queue, select);
        KeptRecallArgs recall{.lists = lists,
                              .target = target,
                              .layout = heads.blocks,
                              .heads = 1,  // each head's own mean
                              .head_count = group,
                              .recall = slots(t, layer, kRecall).slice_rows(begin, group)};
        recall.workspace = context.arena.bytes(backend.kept_recall_workspace(recall));
        backend.kept_recall(queue, recall);
      }
    }
  }
}

void RecallPass::add(std::span<const int32_t> ids) {
  pass_->prefill(ids, {});
  ++sequences_;
  visible_blocks_ += pass_->visible_blocks();
}

std::vector<RecallResult> RecallPass::results() {
  SEER_CHECK(sequences_ > 0, "no sequence was measured");
  const Shape shape{static_cast<int64_t>(plans_.size()) * model_.num_layers * kPerPlan, model_.num_heads};
  std::vector<double> host(shape.numel());
  Backend& backend = pass_->backend();
  backend.copy(pass_->queue(), slots_.tensor(DType::kF64, shape), Tensor(host.data(), DType::kF64, shape));
  backend.synchronize(pass_->queue());
  std::vector<RecallResult> out(plans_.size());
  const double* row = host.data();
  for (size_t n = 0; n < out.size(); ++n) {
    RecallResult& result = out[n];
    for (int64_t layer = 0; layer < model_.num_layers; ++layer) {
      for (auto* part : {&result.recall, &result.density}) {
        std::vector<double>& heads = part->emplace_back(row, row + model_.num_heads);
        const double whole = part == &result.recall ? static_cast<double>(sequences_) : visible_blocks_;
        for (double& value : heads) value = layer < plans_[n].dense_layers ? 1.0 : value / whole;
        row += model_.num_heads;
      }
    }
  }
  return out;
}

}  // namespace seer
