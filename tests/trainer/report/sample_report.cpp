#include "tests/trainer/report/sample_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

namespace seer::test {
namespace {

using Json = nlohmann::json;

constexpr std::array<double, 4> kDensities = {0.1, 0.2, 0.3, 0.5};

struct Method {
  const char* name;
  std::array<double, 4> perplexity;
  std::array<double, 4> recall;
  double overhead;  ///< Of choosing blocks, as a share of the dense prefill; < 0: not timed
};

Json by_head(int64_t layers, int64_t heads, double mean, double spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> noise(-1, 1);
  Json result = Json::array();
  for (int64_t layer = 0; layer < layers; ++layer) {
    Json row = Json::array();
    const double slope = spread * std::sin(3.0 * static_cast<double>(layer) / static_cast<double>(layers));
    for (int64_t head = 0; head < heads; ++head) {
      row.push_back(std::clamp(mean + slope * noise(random) + 0.3 * spread * noise(random), 0.0, 1.0));
    }
    result.push_back(row);
  }
  return result;
}

Json length_json(int64_t length, int64_t windows, double dense, double seconds,
                 const std::vector<Method>& methods, int64_t layers, int64_t heads) {
  Json rows = Json::array();
  for (const Method& method : methods) {
    for (size_t i = 0; i < kDensities.size(); ++i) {
      const double density = kDensities[i] * 1.003;
      const bool timed = method.overhead >= 0;
      const double speedup = timed ? 1 / (0.12 + 0.85 * density + method.overhead) : 0;
      rows.push_back({{"method", method.name},
                      {"rule", "nz_ratio"},
                      {"value", kDensities[i]},
                      {"density", density},
                      {"perplexity", method.perplexity[i]},
                      {"change", method.perplexity[i] / dense - 1},
                      {"recall", method.recall[i]},
                      {"prefill_seconds", timed ? Json(seconds / speedup) : Json(nullptr)},
                      {"speedup", timed ? Json(speedup) : Json(nullptr)},
                      {"density_by_head", by_head(layers, heads, density, 0.6 * density, i)},
                      {"recall_by_head", by_head(layers, heads, method.recall[i], 0.12, i)}});
    }
  }
  return {{"length", length},
          {"windows", windows},
          {"dense", {{"perplexity", dense}, {"prefill_seconds", seconds}}},
          {"rows", rows}};
}

}  // namespace

Json sample_perplexity_json(int64_t layers, int64_t heads) {
  const std::vector<Method> at_8k = {
      {"gate", {20.94, 19.87, 19.55, 19.34}, {0.785, 0.862, 0.903, 0.953}, 0.02},
      {"oracle", {19.86, 19.38, 19.28, 19.23}, {0.839, 0.911, 0.942, 0.976}, -1},
      {"minmax", {21.01, 19.83, 19.55, 19.33}, {0.764, 0.846, 0.888, 0.943}, 0.03},
      {"window", {21.23, 20.10, 19.74, 19.44}, {0.809, 0.879, 0.914, 0.955}, 0.0},
      {"mean", {24.34, 21.95, 21.07, 20.02}, {0.551, 0.662, 0.741, 0.862}, 0.015},
      {"antidiagonal8", {21.90, 20.31, 19.83, 19.41}, {0.722, 0.823, 0.874, 0.938}, 0.06},
      {"antidiagonal16", {22.41, 20.62, 19.98, 19.47}, {0.701, 0.806, 0.861, 0.931}, 0.035},
      {"random", {48.96, 31.40, 26.32, 21.87}, {0.312, 0.401, 0.489, 0.661}, 0.0}};
  const std::vector<Method> at_16k = {
      {"gate", {19.79, 19.29, 19.13, 19.03}, {0.822, 0.880, 0.910, 0.950}, 0.015},
      {"oracle", {19.20, 19.04, 19.01, 19.00}, {0.863, 0.917, 0.942, 0.972}, -1},
      {"window", {20.02, 19.43, 19.26, 19.11}, {0.828, 0.882, 0.907, 0.942}, 0.0},
      {"mean", {21.93, 20.23, 19.67, 19.21}, {0.602, 0.704, 0.772, 0.880}, 0.01}};
  return {{"kind", "perplexity"},
          {"version", 1},
          {"model", "models/seer-small"},
          {"gates", "runs/small/gates/gate"},
          {"data", "corpus/heldout.jsonl"},
          {"device", "cuda"},
          {"block_size", 64},
          {"gate_type", "Qavg_Kmaxminavg"},
          {"gate_form", "key_pieces 4, distance_bias"},
          {"lengths",
           {length_json(8192, 16, 19.24, 1.2, at_8k, layers, heads),
            length_json(16384, 8, 19.02, 3.9, at_16k, layers, heads)}}};
}

report::BlockMap sample_map(int64_t layer, int64_t head, int64_t blocks) {
  const auto size = static_cast<size_t>(blocks * blocks);
  report::BlockMap map{.layer = layer, .head = head, .blocks = blocks, .block_size = 64};
  map.target.assign(size, 0);
  map.gate.assign(size, 0);
  map.kept.assign(size, 0);
  std::mt19937_64 random(static_cast<uint64_t>(layer * 100 + head));
  std::exponential_distribution<double> noise(1.0);
  std::vector<double> columns(static_cast<size_t>(blocks));
  for (double& column : columns) column = std::pow(noise(random), 3);
  double recall = 0;
  int64_t kept = 0;
  for (int64_t row = 0; row < blocks; ++row) {
    const auto at = [&](int64_t column) { return static_cast<size_t>(row * blocks + column); };
    double target_sum = 0;
    double gate_sum = 0;
    for (int64_t column = 0; column <= row; ++column) {
      const double near = 6 * std::exp(-0.3 * static_cast<double>(row - column));
      const double shape = 0.02 + near + (column == 0 ? 4 : 0) + 0.15 * columns[static_cast<size_t>(column)];
      map.target[at(column)] = static_cast<float>(shape * noise(random));
      map.gate[at(column)] = static_cast<float>(shape);
      target_sum += map.target[at(column)];
      gate_sum += map.gate[at(column)];
    }
    for (int64_t column = 0; column <= row; ++column) {
      map.target[at(column)] /= static_cast<float>(target_sum);
      map.gate[at(column)] /= static_cast<float>(gate_sum);
    }
    std::vector<int64_t> order(static_cast<size_t>(row + 1));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return map.gate[at(a)] > map.gate[at(b)]; });
    const auto keep = std::max<size_t>(1, order.size() / 8);
    for (size_t i = 0; i < keep; ++i) {
      map.kept[at(order[i])] = 1;
      recall += map.target[at(order[i])] / static_cast<double>(blocks);
      ++kept;
    }
  }
  map.density = static_cast<double>(kept) / (0.5 * static_cast<double>(blocks * (blocks + 1)));
  map.recall = recall;
  return map;
}

report::GateCurves sample_curves(const std::string& name, int64_t steps, int64_t layers) {
  report::GateCurves gate{.name = name, .description = "Qavg_Kmaxminavg, block 64"};
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> noise(0.85, 1.15);
  const auto loss_at = [&](double share, int64_t layer) {
    return 0.004 * (1 + 0.3 * std::sin(static_cast<double>(layer))) * (0.1 + std::exp(-9 * share));
  };
  for (int64_t step = 1; step <= steps; ++step) {
    std::vector<double> losses;
    for (int64_t layer = 0; layer < layers; ++layer) {
      losses.push_back(noise(random) *
                       loss_at(static_cast<double>(step) / static_cast<double>(steps), layer));
    }
    gate.steps.push_back(step);
    gate.loss.push_back(10 * std::accumulate(losses.begin(), losses.end(), 0.0));
    gate.layer_losses.push_back(std::move(losses));
  }
  for (int64_t part = 0; part <= 10; ++part) {
    const double share = static_cast<double>(part) / 10;
    EvalMetrics eval{.step = steps * part / 10, .gate = name};
    for (int64_t layer = 0; layer < layers; ++layer) {
      eval.layer_losses.push_back(1.1 * loss_at(share, layer));
      eval.loss += 10 * eval.layer_losses.back();
    }
    for (const double density : kDensities) {
      EvalDensity at{.density = density,
                     .recall = std::pow(density, 0.5 - 0.35 * (1 - std::exp(-4 * share))),
                     .oracle = std::pow(density, 0.08)};
      for (int64_t layer = 0; layer < layers; ++layer) {
        const double wave = 1 + 0.03 * std::sin(static_cast<double>(3 * layer));
        at.layer_recall.push_back(std::min(0.99, at.recall * wave));
        at.layer_oracle.push_back(std::min(1.0, at.oracle * wave));
      }
      eval.densities.push_back(std::move(at));
    }
    gate.evals.push_back(std::move(eval));
  }
  return gate;
}

}  // namespace seer::test
