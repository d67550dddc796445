#include "trainer/eval/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/core/error.h"

namespace seer {

void ThresholdCurve::add_row(std::span<const float> scores, std::span<const float> target,
                             const SelectionRule& rule, bool counts_in_recall) {
  const float maximum = *std::max_element(scores.begin(), scores.end());
  p_.resize(scores.size());
  double sum = 0;
  for (size_t j = 0; j < scores.size(); ++j)
    sum += p_[j] = std::exp(static_cast<double>(scores[j]) - static_cast<double>(maximum));
  const double mass = counts_in_recall ? std::accumulate(target.begin(), target.end(), 0.0) : 1.0;
  for (size_t j = 0; j < scores.size(); ++j) {
    const double octaves = std::log2(p_[j] / sum) + kOctaves;  // -infinity of a p that is 0
    const double bin = std::clamp(1 + std::floor(octaves * kBinsPerOctave), 0.0, kBins - 1.0);
    const auto place = static_cast<int64_t>(j);
    const int64_t back = std::ssize(scores) - 1 - place;
    const bool forced =
        place < rule.sink_blocks || back < rule.local_blocks || (rule.always_diagonal && back == 0);
    Bin& to = forced ? forced_ : bins_[static_cast<size_t>(bin)];
    to.blocks += 1;
    if (counts_in_recall) to.mass += target[j] / mass;
  }
  blocks_ += static_cast<double>(scores.size());
  if (counts_in_recall) mass_ += 1;
}

double ThresholdCurve::for_density(double density) const {
  return threshold(density * blocks_, forced_.blocks, &Bin::blocks);
}

double ThresholdCurve::for_recall(double recall) const {
  return threshold(recall * mass_, forced_.mass, &Bin::mass);
}

/// Bins are taken from the largest p down until they hold enough; the threshold lies below the last one taken, by more than
/// the selection's p, computed in fp32, differs from ours: equal scores give p that are the edge itself.
double ThresholdCurve::threshold(double wanted, double always, double Bin::*what) const {
  double kept = always;
  int bin = kBins;
  while (bin > 0 && kept < wanted) kept += bins_[--bin].*what;
  if (bin == 0) return 0;
  const double lower_edge = std::exp2(static_cast<double>(bin - 1) / kBinsPerOctave - kOctaves);
  constexpr double kRounding = 1e-5;
  return lower_edge * (1 - kRounding);
}

namespace {

/// Takes the gate's scores and T of every layer to the host, row by row into the curves.
class CurveCollector {
 public:
  CurveCollector(EvalModel& model, int64_t max_tokens, const SelectionRule& rule)
      : model_(model),
        rule_(rule),
        curves_(model.config().num_layers * model.config().num_heads),
        pass_(model.backend(), model.config(), model.weights(), model.gates(),
              {.max_tokens = max_tokens,
               .block_size = model.block_size(),
               .methods = {},
               .visitor = [this](LayerContext& context, const LayerHeads& heads, int64_t layer) {
                 visit(context, heads, layer);
               }}) {}

  void add(const std::vector<int32_t>& window) {
    collecting_ = true;
    pass_.prefill(window, {});
    collecting_ = false;
  }

  const ThresholdCurve& curve(int64_t layer, int64_t head) const {
    return curves_[layer * model_.config().num_heads + head];
  }

 private:
  void visit(LayerContext& context, const LayerHeads& heads, int64_t layer) {
    const LayerGate gate = model_.gates()->layer(layer);
    BlockScorer scorer(context, {.kind = ScoringMethod::Kind::kGate}, heads, &gate, layer);
    const int64_t group = model_.config().num_heads / model_.config().num_kv_heads;
    const Shape shape{group, heads.blocks->elements};
    const Tensor scores = context.arena.tensor(DType::kF32, shape);
    const Tensor target = context.arena.tensor(DType::kF32, shape);
    for (int64_t begin = 0; begin < model_.config().num_heads; begin += group) {
      scorer.score(begin, group, scores);
      BlockScorer::ground_truth(context, heads, begin, group, target);
      if (!collecting_) continue;  // planning
      read(context, scores, host_scores_);
      read(context, target, host_target_);
      context.backend.synchronize(context.queue);
      for (int64_t head = 0; head < group; ++head)
        add_head(*heads.blocks, head, curves_[layer * model_.config().num_heads + begin + head]);
    }
  }

  static void read(LayerContext& context, ConstTensor from, std::vector<float>& to) {
    to.resize(from.numel());
    context.backend.copy(context.queue, from, Tensor(to.data(), DType::kF32, from.shape()));
  }

  void add_head(const ScoreLayout& blocks, int64_t head, ThresholdCurve& curve) const {
    const ScoreSegment& segment = blocks.segments.host.front();  // one sequence
    for (int64_t i = 0; i < segment.queries.rows; ++i) {
      const int64_t offset = (head * segment.queries.rows + i) * segment.blocks;
      const auto seen = static_cast<size_t>(blocks.visible(segment.queries.position + i));
      curve.add_row(std::span(host_scores_).subspan(offset, seen),
                    std::span(host_target_).subspan(offset, seen), rule_,
                    segment.queries.position + i >= segment.first_loss_row);
    }
  }

  EvalModel& model_;
  SelectionRule rule_;
  std::vector<ThresholdCurve> curves_;
  std::vector<float> host_scores_;
  std::vector<float> host_target_;
  bool collecting_ = false;
  ForwardPass pass_;  // last: it plans by calling visit()
};

}  // namespace

std::vector<std::vector<float>> calibrate_thresholds(EvalModel& model,
                                                     std::span<const std::vector<int32_t>> windows,
                                                     const CalibrationTarget& target,
                                                     const SelectionRule& rule) {
  SEER_CHECK(model.gates() != nullptr && !windows.empty(), "calibration needs gates and text");
  CurveCollector collector(model, static_cast<int64_t>(windows.front().size()), rule);
  for (const std::vector<int32_t>& window : windows) collector.add(window);
  std::vector<std::vector<float>> thresholds;
  for (int64_t layer = 0; layer < model.config().num_layers; ++layer) {
    thresholds.emplace_back();
    for (int64_t head = 0; head < model.config().num_heads; ++head) {
      const ThresholdCurve& curve = collector.curve(layer, head);
      const double value =
          target.recall > 0 ? curve.for_recall(target.recall) : curve.for_density(target.density);
      thresholds.back().push_back(std::min(static_cast<float>(value), std::nextafter(1.0F, 0.0F)));
    }
  }
  return thresholds;
}

}  // namespace seer
