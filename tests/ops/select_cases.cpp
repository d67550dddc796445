// select_blocks against a full sort of every row. Lists and counts must be the same to the last block, so every decision
// lies further from its boundary than fp32 rounds.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/ops/block_lists.h"
#include "tests/ops/op_case.h"

namespace seer::test {
namespace {

enum class Input {
  kScores,
  kProbabilities,  ///< >= 0, some 0, rows of any sum
  kTies,           ///< Scores of few distinct values, 0 and -0 among them
  kTiedProbabilities,
};

struct SelectCase {
  std::string name;
  Pack pack;
  int64_t block;
  SelectionRule rule;
  Input input = Input::kScores;
  int64_t heads = 3;
  Values values = {};  ///< Of each head; empty: the rule's
  bool count_kept = true;

  bool probabilities() const { return input == Input::kProbabilities || input == Input::kTiedProbabilities; }
  std::vector<Matrix> matrices() const { return matrices_of(pack, ScoreKind::kPrefill, block); }
};

constexpr double kKeptBefore = 17.0;

Values scores_of(const SelectCase& c) {
  const std::vector<Matrix> matrices = c.matrices();
  Values scores = random_values(120, c.heads * elements_of(matrices), 1.5);
  for (double& score : scores) {
    if (c.input == Input::kTies || c.input == Input::kTiedProbabilities) score = std::round(score);
    if (c.probabilities()) score = score < -2.0 ? 0.0 : static_cast<float>(std::exp(score));
  }
  for (const Matrix& m : matrices) {  // what lies above the diagonal is not defined
    for (int64_t row = 0; row < c.heads * m.rows; ++row) {
      const auto first = scores.begin() + m.before * c.heads + row * m.blocks;
      std::fill(first + m.position + row % m.rows + 1, first + m.blocks,
                std::numeric_limits<double>::quiet_NaN());
    }
  }
  return scores;
}

Outputs run(Device& device, const SelectCase& c) {
  const BatchLayout batch = layout_of(c.pack);
  ScoreLayout layout = ScoreLayout::prefill(batch, c.block);
  device.prepare(layout);
  SelectArgs args{.scores = device.upload(Shape{c.heads, layout.elements}, scores_of(c)),
                  .probabilities = c.probabilities(),
                  .layout = &layout,
                  .head_count = c.heads,
                  .rule = c.rule,
                  .lists = KeptBlocks::output(device, c.matrices(), c.heads)};
  if (!c.values.empty()) args.values = device.upload(Shape{c.heads}, c.values);
  if (c.count_kept) args.kept = device.upload(Shape{c.heads}, Values(c.heads, kKeptBefore), DType::kF64);
  args.workspace = device.workspace(device.backend().select_workspace(args));
  device.backend().select_blocks(device.queue(), args);
  const KeptBlocks kept = KeptBlocks::download(device, args.lists, c.matrices(), c.heads);
  Outputs out = {{"counts", kept.counts()}, {"blocks", kept.blocks()}};
  if (c.count_kept) out["kept"] = device.download(args.kept);
  return out;
}

/// The boundary is far enough from what is held against it for any order of fp32 arithmetic.
void expect_margin(double value, double boundary) {
  SEER_CHECK(std::abs(value - boundary) > 1e-5 * std::max(value, boundary),
             "{} lies too close to {} for a test: choose other values", value, boundary);
}

std::vector<int64_t> kept_of_row(const SelectCase& c, const double* scores, int64_t seen, int64_t blocks,
                                 double value) {
  const SelectionRule& rule = c.rule;
  std::vector<int64_t> order(seen);
  std::iota(order.begin(), order.end(), 0);
  if (seen > blocks - rule.dense_last_rows) return order;

  const auto forced = [&](int64_t j) {
    return j < rule.sink_blocks || seen - j <= rule.local_blocks || (rule.always_diagonal && j == seen - 1);
  };
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
    if (forced(a) != forced(b)) return forced(a);
    return scores[a] > scores[b];
  });
  Values p(scores, scores + seen);
  if (!c.probabilities()) {
    const double maximum = *std::ranges::max_element(p);
    for (double& x : p) x = std::exp(x - maximum);
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  }
  const double mass = std::accumulate(p.begin(), p.end(), 0.0);

  int64_t k = seen;
  if (rule.by == SelectBy::kNzRatio) {
    k = static_cast<int64_t>(std::trunc((1.0 - std::sqrt(1.0 - value)) * static_cast<double>(blocks)));
  } else if (rule.by == SelectBy::kTokenBudget) {
    k = static_cast<int64_t>(std::floor(value / static_cast<double>(c.block)));
  }
  double sum = 0;  // of p of the blocks before this one in the order
  std::vector<int64_t> kept;
  for (int64_t n = 0; n < seen; ++n) {
    const int64_t j = order[n];
    bool keep = forced(j) || n < rule.min_blocks;
    if (rule.by == SelectBy::kThreshold) {
      const double threshold = static_cast<float>(value);
      if (!c.probabilities() && seen > 1) expect_margin(p[j], threshold);
      keep = keep || p[j] > threshold;
    } else if (rule.by == SelectBy::kTopP) {
      if (n > 0 && value < 1) expect_margin(sum, value * mass);
      keep = keep || value >= 1 || sum < value * mass;
    } else {
      keep = keep || n < std::max<int64_t>(1, k);
    }
    if (keep) kept.push_back(j);
    sum += p[j];
  }
  std::ranges::sort(kept);
  return kept;
}

Expectations reference(const SelectCase& c) {
  const Values scores = scores_of(c);
  KeptBlocks kept(c.matrices(), c.heads);
  Values total(c.heads, kKeptBefore);
  for (const Matrix& m : kept.matrices()) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const double value = c.values.empty() ? c.rule.value : c.values[h];
      for (int64_t i = 0; i < m.rows; ++i) {
        kept.row(m, h, i) =
            kept_of_row(c, scores.data() + m.offset(c.heads, h, i), m.position + i + 1, m.blocks, value);
        total[h] += static_cast<double>(kept.row(m, h, i).size());
      }
    }
  }
  Expectations out = {{"counts", {kept.counts()}}, {"blocks", {kept.blocks()}}};
  if (c.count_kept) out["kept"] = {total};
  return out;
}

struct NamedRule {
  std::string name;
  SelectBy by;
  double value;
};

/// Every rule with everything that can be forced.
std::vector<SelectCase> rules_and_forced_blocks() {
  const Pack pack = whole({700, 33, 16, 309});
  const std::vector<NamedRule> rules = {{"nz_ratio", SelectBy::kNzRatio, 0.3},
                                        {"token_budget", SelectBy::kTokenBudget, 100.0},
                                        {"threshold", SelectBy::kThreshold, 0.05},
                                        {"top_p", SelectBy::kTopP, 0.7}};
  const std::vector<std::pair<std::string, SelectionRule>> forced = {
      {"diagonal", {}},
      {"nothing_forced", {.always_diagonal = false}},
      {"sink", {.sink_blocks = 1}},
      {"local", {.always_diagonal = false, .local_blocks = 3}},
      {"sink_and_local", {.sink_blocks = 2, .local_blocks = 2}},
      {"more_than_rows_see", {.always_diagonal = false, .sink_blocks = 9, .local_blocks = 9}},
      {"last_rows", {.always_diagonal = false, .dense_last_rows = 2}},
      {"least", {.always_diagonal = false, .min_blocks = 5}},
      {"all", {.sink_blocks = 1, .local_blocks = 2, .dense_last_rows = 1, .min_blocks = 4}},
  };
  std::vector<SelectCase> list;
  for (const NamedRule& rule : rules) {
    for (const auto& [name, base] : forced) {
      SelectionRule full = base;
      full.by = rule.by;
      full.value = rule.value;
      list.push_back({rule.name + "_" + name, pack, 16, full});
      list.push_back({rule.name + "_" + name + "_of_probabilities", pack, 16, full, Input::kProbabilities});
    }
  }
  return list;
}

std::vector<SelectCase> extremes() {
  const Pack pack = whole({700, 33, 16, 309});
  const Pack chunks = {{701, {{128, 512}, {640, 61}}}, {64, {{0, 64}}}, {1300, {{1280, 20}}}};
  const Pack long_row = {{40000, {{39936, 64}}}, {5000, {{4864, 136}}}};
  const auto rule = [](SelectBy by, double value, bool diagonal = true) {
    return SelectionRule{.by = by, .value = value, .always_diagonal = diagonal};
  };
  std::vector<SelectCase> list = {
      {"nz_ratio_0", pack, 16, rule(SelectBy::kNzRatio, 0.0)},
      {"nz_ratio_tiny", pack, 32, rule(SelectBy::kNzRatio, 1e-9, false)},
      {"nz_ratio_1", pack, 32, rule(SelectBy::kNzRatio, 1.0, false)},
      {"token_budget_of_less_than_a_block", pack, 64, rule(SelectBy::kTokenBudget, 63.0)},
      {"token_budget_of_more_than_there_is", pack, 16, rule(SelectBy::kTokenBudget, 1e6, false)},
      {"threshold_0", pack, 16, rule(SelectBy::kThreshold, 0.0, false)},
      {"threshold_0_of_probabilities", pack, 16, rule(SelectBy::kThreshold, 0.0, false),
       Input::kProbabilities},
      {"threshold_1", pack, 16, rule(SelectBy::kThreshold, 1.0)},
      {"threshold_1_leaves_rows_empty", pack, 16, rule(SelectBy::kThreshold, 1.0, false)},
      {"threshold_below_0", pack, 16, rule(SelectBy::kThreshold, -1.0, false), Input::kProbabilities},
      {"threshold_that_a_probability_equals", pack, 16, rule(SelectBy::kThreshold, 1.0, false),
       Input::kTiedProbabilities},
      {"top_p_0", pack, 16, rule(SelectBy::kTopP, 0.0, false)},
      {"top_p_0_with_diagonal", pack, 16, rule(SelectBy::kTopP, 0.0)},
      {"top_p_tiny", pack, 16, rule(SelectBy::kTopP, 1e-6, false)},
      {"top_p_tiny_with_diagonal", pack, 16, rule(SelectBy::kTopP, 1e-6)},
      {"top_p_high", pack, 16, rule(SelectBy::kTopP, 0.99, false)},
      {"top_p_1", pack, 16, rule(SelectBy::kTopP, 1.0, false)},
      {"top_p_1_of_probabilities", pack, 16, rule(SelectBy::kTopP, 1.0, false), Input::kProbabilities},
      {"without_count", pack, 16, rule(SelectBy::kNzRatio, 0.2), Input::kScores, 3, {}, false},
      {"one_head", pack, 16, rule(SelectBy::kNzRatio, 0.2), Input::kScores, 1},
      {"one_block", whole({9}), 16, rule(SelectBy::kNzRatio, 0.5)},
      {"two_blocks", whole({17}), 16, rule(SelectBy::kTopP, 0.6)},
      {"nz_ratio_of_heads", pack, 16, rule(SelectBy::kNzRatio, 0.5), Input::kScores, 3, {0.09375, 0.5, 1.0}},
      {"token_budget_of_heads", pack, 16, rule(SelectBy::kTokenBudget, 0), Input::kScores, 3, {0, 40, 400}},
      {"threshold_of_heads",
       pack,
       16,
       rule(SelectBy::kThreshold, 0.5),
       Input::kScores,
       3,
       {0.0625, 0.0, 0.25}},
      {"top_p_of_heads", pack, 16, rule(SelectBy::kTopP, 0.5), Input::kScores, 3, {0.25, 0.9375, 1.0}},
  };
  for (const NamedRule& named : {NamedRule{"nz_ratio", SelectBy::kNzRatio, 0.4},
                                 {"top_p", SelectBy::kTopP, 0.83},
                                 {"threshold", SelectBy::kThreshold, 0.03}}) {
    for (const int64_t block : {16, 32, 64, 128}) {
      list.push_back({fmt::format("{}_blocks_of_{}", named.name, block), whole({1291, 385, 128}), block,
                      rule(named.by, named.value)});
    }
    for (const bool diagonal : {true, false}) {
      list.push_back({named.name + (diagonal ? "_ties_with_diagonal" : "_ties"), pack, 16,
                      rule(named.by, named.value, diagonal), Input::kTies});
    }
    list.push_back({named.name + "_chunks", chunks, 32, rule(named.by, named.value)});
    list.push_back({named.name + "_long_rows", long_row, 16,
                    rule(named.by, named.by == SelectBy::kThreshold ? 0.002 : named.value), Input::kScores,
                    2});
    list.push_back({named.name + "_long_rows_ties", long_row, 16,
                    rule(named.by, named.by == SelectBy::kThreshold ? 0.002 : named.value, false),
                    Input::kTies, 2});
  }
  SelectionRule everything{
      .value = 0.2, .sink_blocks = 1, .local_blocks = 2, .dense_last_rows = 2, .min_blocks = 6};
  list.push_back({"chunks_with_everything_forced", chunks, 32, everything});
  return list;
}

}  // namespace

OpCases select_cases() {
  OpCases cases;
  for (const auto& list : {rules_and_forced_blocks(), extremes()}) {
    for (const SelectCase& c : list) {
      cases.push_back(
          {"select_" + c.name, [=](Device& device) { return run(device, c); }, [=] { return reference(c); }});
    }
  }
  return cases;
}

}  // namespace seer::test
