#include "trainer/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "trainer/eval/plans.h"

namespace seer {
namespace {

std::string windows(const PerplexityResult& result) {
  return fmt::format("{} window{}", result.windows, result.windows == 1 ? "" : "s");
}

class PerplexityRun {
 public:
  PerplexityRun(EvalModel& model, const PerplexityOptions& options)
      : model_(model), options_(options), length_(static_cast<int64_t>(options.windows.front().size())) {}

  PerplexityResult run() {
    PerplexityResult result{.length = length_, .windows = static_cast<int64_t>(options_.windows.size())};
    std::vector<ScoringMethod> methods;
    for (const AttentionPlan& plan : options_.plans) {
      result.rows.push_back({.plan = plan, .recall = {}, .density_by_head = {}});
      methods.push_back(*plan.method);
    }
    log::info("{} tokens: {}, {} choices of blocks ..", length_, windows(result), result.rows.size());
    if (options_.recall && !result.rows.empty()) measure_recall(result.rows);

    ForwardPass pass(
        model_.backend(), model_.config(), model_.weights(), model_.gates(),
        {.max_tokens = length_, .block_size = model_.block_size(), .methods = methods, .visitor = {}});
    if (model_.options().device == "cuda") {
      warm_up(pass, methods);
    } else if (!options_.recall) {
      constexpr size_t kFew = 64;
      const std::span<const int32_t> window = options_.windows.front();
      pass.prefill(window.first(std::min(window.size(), kFew)), {});  // brings the weights into memory
    }
    const Measured dense = measure(pass, {});
    result.dense = {.perplexity = dense.perplexity, .prefill_seconds = dense.seconds};
    log::info("{} tokens, {}, dense: perplexity {:.4f}", length_, windows(result), dense.perplexity);
    for (SparseResult& row : result.rows) measure_row(pass, row);
    return result;
  }

 private:
  struct Measured {
    double perplexity = 0;
    double seconds = 0;
    std::vector<std::vector<double>> density;
  };

  /// The first prefill of every kind loads its kernels: outside of what is timed.
  void warm_up(ForwardPass& pass, const std::vector<ScoringMethod>& methods) {
    pass.prefill(options_.windows.front(), {});
    for (size_t i = 0; i < methods.size(); ++i) {
      if (std::find(methods.begin(), methods.begin() + static_cast<std::ptrdiff_t>(i), methods[i]) ==
          methods.begin() + static_cast<std::ptrdiff_t>(i))
        pass.prefill(options_.windows.front(), options_.plans[i]);
    }
  }

  void measure_recall(std::vector<SparseResult>& rows) {
    RecallPass pass(model_.backend(), model_.config(), model_.weights(), model_.gates(), length_,
                    model_.block_size(), options_.plans);
    for (const std::vector<int32_t>& window : options_.windows) pass.add(window);
    std::vector<RecallResult> results = pass.results();
    for (size_t i = 0; i < rows.size(); ++i) rows[i].recall = std::move(results[i]);
  }

  void measure_row(ForwardPass& pass, SparseResult& row) {
    Measured measured = measure(pass, row.plan);
    row.perplexity = measured.perplexity;
    row.density = mean_of(measured.density);
    row.density_by_head = std::move(measured.density);
    if (row.plan.method->kind != ScoringMethod::Kind::kOracle) row.prefill_seconds = measured.seconds;
    log::info("{} tokens, {} {}: density {:.4f}, perplexity {:.4f}", length_, to_string(*row.plan.method),
              rule_text(row.plan), row.density, row.perplexity);
  }

  Measured measure(ForwardPass& pass, const AttentionPlan& plan) {
    using Clock = std::chrono::steady_clock;
    Measured out;
    double nll = 0;
    double visible = 0;
    std::vector<double> seconds;
    for (const std::vector<int32_t>& window : options_.windows) {
      const auto start = Clock::now();
      pass.prefill(window, plan);  // waits for the device
      seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
      nll += mean_nll(pass, window);
      visible += pass.visible_blocks();
      add(pass.kept(), out.density);
    }
    for (std::vector<double>& layer : out.density) {
      for (double& head : layer) head /= visible;
    }
    out.seconds = median(std::move(seconds));
    out.perplexity = std::exp(nll / static_cast<double>(options_.windows.size()));
    return out;
  }

  static double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  }

  static double mean_nll(ForwardPass& pass, const std::vector<int32_t>& window) {
    std::vector<int32_t> targets(window.begin() + 1, window.end());
    targets.push_back(-1);  // what follows the last token is not known
    double sum = 0;
    for (const float value : pass.nll(targets)) sum += value;
    return sum / static_cast<double>(window.size() - 1);
  }

  static void add(const std::vector<std::vector<double>>& from, std::vector<std::vector<double>>& to) {
    if (to.empty()) {
      to = from;
      return;
    }
    for (size_t layer = 0; layer < from.size(); ++layer) {
      for (size_t head = 0; head < from[layer].size(); ++head) to[layer][head] += from[layer][head];
    }
  }

  EvalModel& model_;
  const PerplexityOptions& options_;
  int64_t length_;
};

}  // namespace

PerplexityResult measure_perplexity(EvalModel& model, const PerplexityOptions& options) {
  SEER_CHECK(!options.windows.empty(), "no windows");
  return PerplexityRun(model, options).run();
}

}  // namespace seer
