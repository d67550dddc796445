#include "tests/sparse/layer_problem.h"

#include "src/core/rng.h"

namespace seer::test {
namespace {

std::vector<float> random_floats(uint64_t seed, const char* name, int64_t count) {
  Rng rng = Rng(seed).fork(name);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(1.5 * rng.normal());
  return values;
}

}  // namespace

LayerProblem::LayerProblem(uint64_t seed)
    : backend_(backends().back().make()),
      queue_(backend_->make_queue("test")),
      q_(random_floats(seed, "q", kTokens * kHeads * kDim)),
      k_(random_floats(seed, "k", kTokens * kKvHeads * kDim)),
      v_(random_floats(seed, "v", kTokens * kKvHeads * kDim)),
      device_q_(*backend_, *queue_, Shape{kTokens, kHeads, kDim}, q_),
      device_k_(*backend_, *queue_, Shape{kTokens, kKvHeads, kDim}, k_),
      device_v_(*backend_, *queue_, Shape{kTokens, kKvHeads, kDim}, v_),
      batch_(BatchLayout::packed(std::vector<int64_t>{0, kTokens})),
      blocks_(ScoreLayout::prefill(batch_, kBlock)),
      tables_(upload_tables(*backend_, *queue_, batch_, blocks_)),
      arena_(backend_->allocate(size_t{64} << 20, Memory::kDevice)),
      context_{*backend_, *queue_, arena_} {
  heads_ = {.q_pre = device_q_,
            .k_pre = device_k_,
            .q = device_q_,
            .k = device_k_,
            .v = device_v_,
            .batch = &batch_,
            .blocks = &blocks_};
  backend_->synchronize(*queue_);
}

std::vector<float> LayerProblem::scores(const ScoringMethod& method, int64_t layer, int64_t at_a_time) {
  arena_.reset();
  BlockScorer scorer(context_, method, heads_, nullptr, layer);
  std::vector<float> visible;
  for (int64_t head = 0; head < kHeads; head += at_a_time) {
    const DeviceTensor out(*backend_, Shape{at_a_time, blocks_.elements}, DType::kF32);
    scorer.score(head, at_a_time, out);
    const std::vector<float> all = download(*backend_, *queue_, out);
    for (int64_t h = 0; h < at_a_time; ++h) {
      for (int64_t i = 0; i < kBlocks; ++i) {
        const auto row = all.begin() + (h * kBlocks + i) * kBlocks;
        visible.insert(visible.end(), row, row + i + 1);
      }
    }
  }
  return visible;
}

std::vector<float> LayerProblem::attend(const LayerSelection& selection, int64_t layer) {
  arena_.reset();
  return download(*backend_, *queue_, sparse_layer(context_, heads_, selection, layer));
}

double LayerProblem::dot(int64_t query, int64_t key, int64_t head) const {
  double sum = 0;
  for (int64_t e = 0; e < kDim; ++e) sum += q(query, head, e) * k(key, head, e);
  return sum;
}

double LayerProblem::mean_query(int64_t block, int64_t head, int64_t e) const {
  double sum = 0;
  for (int64_t t = begin(block); t < end(block); ++t) sum += q(t, head, e);
  return sum / static_cast<double>(end(block) - begin(block));
}

}  // namespace seer::test
