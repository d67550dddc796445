#include "trainer/eval/block_maps.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "src/core/error.h"

namespace seer {
namespace {

/// Turns each row's visible scores into probabilities.
void softmax_rows(std::vector<float>& scores, int64_t blocks) {
  for (int64_t i = 0; i < blocks; ++i) {
    float* row = scores.data() + i * blocks;
    const float maximum = *std::max_element(row, row + i + 1);
    double sum = 0;
    for (int64_t j = 0; j <= i; ++j) sum += row[j] = std::exp(row[j] - maximum);
    for (int64_t j = 0; j <= i; ++j) row[j] = static_cast<float>(row[j] / sum);
    std::fill(row + i + 1, row + blocks, 0.0F);
  }
}

class MapCollector {
 public:
  MapCollector(EvalModel& model, int64_t tokens, const AttentionPlan& plan, std::span<const HeadPlace> heads)
      : model_(model),
        plan_(plan),
        values_(values_of(model, plan)),
        heads_(heads),
        pass_(model.backend(), model.config(), model.weights(), model.gates(),
              {.max_tokens = tokens,
               .block_size = model.block_size(),
               .methods = {},
               .visitor = [this](LayerContext& context, const LayerHeads& heads_of_layer, int64_t layer) {
                 visit(context, heads_of_layer, layer);
               }}) {}

  std::vector<report::BlockMap> run(std::span<const int32_t> window) {
    collecting_ = true;
    pass_.prefill(window, {});
    return std::move(maps_);
  }

 private:
  static Buffer values_of(EvalModel& model, const AttentionPlan& plan) {
    const std::unique_ptr<Queue> queue = model.backend().make_queue("values");
    Buffer values;
    upload_by_head(model.backend(), *queue, model.config(), plan.values, values);
    return values;
  }

  void visit(LayerContext& context, const LayerHeads& heads, int64_t layer) {
    const LayerGate gate = model_.gates()->layer(layer);
    BlockScorer scorer(context, {.kind = ScoringMethod::Kind::kGate}, heads, &gate, layer);
    const int64_t group = model_.config().num_heads / model_.config().num_kv_heads;
    for (const auto& [of_layer, head] : heads_) {
      if (of_layer == layer) add(context, heads, scorer, layer, head, head / group * group, group);
    }
  }

  /// Scores come for whole groups of heads.
  void add(LayerContext& context, const LayerHeads& heads, BlockScorer& scorer, int64_t layer, int64_t head,
           int64_t begin, int64_t group) {
    const Arena::Scope scope(context.arena);
    const Shape shape{group, heads.blocks->elements};
    const Tensor scores = context.arena.tensor(DType::kF32, shape);
    const Tensor target = context.arena.tensor(DType::kF32, shape);
    const BlockLists lists = take_lists(context.arena, *heads.blocks, group);
    scorer.score(begin, group, scores);
    BlockScorer::ground_truth(context, heads, begin, group, target);
    SelectArgs select{
        .scores = scores, .layout = heads.blocks, .head_count = group, .rule = plan_.rule, .lists = lists};
    if (layer < plan_.dense_layers) {
      select.rule = {.by = SelectBy::kNzRatio, .value = 1};
    } else if (values_.data() != nullptr) {
      select.values = values_of_layer(values_, model_.config(), layer).slice_rows(begin, group);
    }
    select.workspace = context.arena.bytes(context.backend.select_workspace(select));
    context.backend.select_blocks(context.queue, select);
    if (!collecting_) return;  // planning

    const int64_t blocks = heads.blocks->max_blocks;
    report::BlockMap map{
        .layer = layer, .head = head, .blocks = blocks, .block_size = heads.blocks->block_size};
    std::vector<int32_t> counts(blocks);
    std::vector<int32_t> kept(blocks * blocks);
    map.target.resize(blocks * blocks);
    map.gate.resize(blocks * blocks);
    const auto read = [&](const Tensor& from, auto& to) {
      const Tensor row = from.slice_rows(head - begin, 1);
      context.backend.copy(context.queue, row, Tensor(to.data(), from.dtype(), row.shape()));
    };
    read(target, map.target);
    read(scores, map.gate);
    read(lists.counts, counts);
    read(lists.blocks, kept);
    context.backend.synchronize(context.queue);
    softmax_rows(map.gate, blocks);
    mark_kept(counts, kept, heads.blocks->segments.host.front().first_loss_row, map);
    maps_.push_back(std::move(map));
  }

  static void mark_kept(const std::vector<int32_t>& counts, const std::vector<int32_t>& kept,
                        int64_t first_row, report::BlockMap& map) {
    map.kept.assign(map.blocks * map.blocks, 0);
    double blocks = 0;
    double recall = 0;
    for (int64_t i = 0; i < map.blocks; ++i) {
      double mass = 0;
      for (int32_t n = 0; n < counts[i]; ++n) {
        const int64_t at = i * map.blocks + kept[i * map.blocks + n];
        map.kept[at] = 1;
        mass += map.target[at];
      }
      blocks += counts[i];
      if (i >= first_row) recall += mass;
    }
    map.density = blocks / (static_cast<double>(map.blocks * (map.blocks + 1)) / 2);
    map.recall = recall / static_cast<double>(map.blocks - first_row);
  }

  EvalModel& model_;
  const AttentionPlan plan_;
  const Buffer values_;
  std::span<const HeadPlace> heads_;
  std::vector<report::BlockMap> maps_;
  bool collecting_ = false;
  ForwardPass pass_;  // last: it plans by calling visit()
};

}  // namespace

std::vector<HeadPlace> parse_heads(const std::string& text, const ModelConfig& model) {
  std::vector<HeadPlace> heads;
  if (text.empty()) {
    constexpr int64_t kMaps = 6;
    const int64_t count = std::min(kMaps, model.num_layers);
    for (int64_t n = 0; n < count; ++n) {
      // From the first layer to the last, each time another head.
      heads.emplace_back(count > 1 ? n * (model.num_layers - 1) / (count - 1) : 0,
                         n * model.num_heads / count % model.num_heads);
    }
    return heads;
  }
  const char* const end = text.data() + text.size();
  for (const char* at = text.data();; ++at) {
    int64_t layer = -1;
    int64_t head = -1;
    const auto first = std::from_chars(at, end, layer);
    const bool colon = first.ec == std::errc() && first.ptr != end && *first.ptr == ':';
    const auto second = colon ? std::from_chars(first.ptr + 1, end, head) : first;
    if (!colon || second.ec != std::errc() || (second.ptr != end && *second.ptr != ','))
      fail_usage("--heads {}: LAYER:HEAD, or several as 0:3,5:1, was expected", text);
    if (layer < 0 || layer >= model.num_layers || head < 0 || head >= model.num_heads) {
      fail_usage("--heads {}: the model has layers 0 to {} and heads 0 to {}", text, model.num_layers - 1,
                 model.num_heads - 1);
    }
    heads.emplace_back(layer, head);
    if (second.ptr == end) return heads;
    at = second.ptr;
  }
}

std::vector<report::BlockMap> compute_block_maps(EvalModel& model, std::span<const int32_t> window,
                                                 const AttentionPlan& plan,
                                                 std::span<const HeadPlace> heads) {
  SEER_CHECK(model.gates() != nullptr, "maps of gates that were not loaded");
  return MapCollector(model, static_cast<int64_t>(window.size()), plan, heads).run(window);
}

}  // namespace seer
