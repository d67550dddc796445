#include "trainer/summary.h"

#include <array>

#include <fmt/format.h>

#include "trainer/table.h"

namespace seer {
namespace {

std::string held_out_table(const EvalMetrics& before, const EvalMetrics& after) {
  std::vector<std::string> headers{"layer", "loss before", "after"};
  for (const EvalDensity& density : after.densities) {
    headers.push_back(fmt::format("recall@{:g} before", density.density));
    headers.emplace_back("after");
    headers.emplace_back("oracle");
  }
  TextTable table(headers);
  const auto row = [&](const std::string& label, double loss_before, double loss_after, const auto& recalls) {
    std::vector<std::string> cells{label, fmt::format("{:.5f}", loss_before),
                                   fmt::format("{:.5f}", loss_after)};
    for (size_t d = 0; d < after.densities.size(); ++d) {
      for (const double value : recalls(d)) cells.push_back(fmt::format("{:.3f}", value));
    }
    table.add_row(cells);
  };
  for (size_t layer = 0; layer < after.layer_losses.size(); ++layer) {
    row(std::to_string(layer), before.layer_losses[layer], after.layer_losses[layer], [&](size_t d) {
      return std::array{before.densities[d].layer_recall[layer], after.densities[d].layer_recall[layer],
                        after.densities[d].layer_oracle[layer]};
    });
  }
  table.add_rule();
  row("total", before.loss, after.loss, [&](size_t d) {
    return std::array{before.densities[d].recall, after.densities[d].recall, after.densities[d].oracle};
  });
  return table.to_string();
}

std::string training_table(const GateMetrics& first, const GateMetrics& last) {
  TextTable table({"layer", "first loss", "last loss"});
  for (size_t layer = 0; layer < last.layer_losses.size(); ++layer) {
    table.add_row({std::to_string(layer), fmt::format("{:.5f}", first.layer_losses[layer]),
                   fmt::format("{:.5f}", last.layer_losses[layer])});
  }
  table.add_rule();
  table.add_row({"total", fmt::format("{:.5f}", first.loss), fmt::format("{:.5f}", last.loss)});
  return table.to_string();
}

}  // namespace

std::string training_summary(const MetricsHistory& history, const RunConfig& config,
                             const std::vector<std::filesystem::path>& gates) {
  std::string text;
  for (size_t g = 0; g < config.gates.size(); ++g) {
    const GateEntryConfig& entry = config.gates[g];
    text += fmt::format("\ngate \"{}\" ({}, block {}): total = {:g} x sum of layers\n", entry.name,
                        entry.type, entry.block_size, entry.loss_scale);
    std::vector<const EvalMetrics*> evals;
    for (const EvalMetrics& eval : history.evals) {
      if (eval.gate == entry.name) evals.push_back(&eval);
    }
    std::vector<GateMetrics> steps;
    for (const StepMetrics& step : history.steps) {
      for (const GateMetrics& gate : step.gates) {
        if (gate.name == entry.name) steps.push_back(gate);
      }
    }
    if (evals.size() >= 2) {
      text += "held-out text; recall: share of the true attention mass that the kept blocks hold\n";
      text += held_out_table(*evals.front(), *evals.back());
    } else if (!steps.empty()) {
      text += "training text\n" + training_table(steps.front(), steps.back());
    }
    text += fmt::format("gates written to {}\n", gates[g].string());
  }
  return text;
}

std::string training_note(const RunConfig& config, const GateEntryConfig& entry, int64_t steps,
                          int64_t tokens) {
  return fmt::format(
      "Trained by seer-train: {} steps, {} tokens in sequences of {} ({} layout), {} sequences a step; "
      "AdamW, learning "
      "rate {:g} ({}, {} warm-up steps), gradient clip {:g}, loss scale {:g} (mean over {}).",
      steps, tokens, config.data.sequence_length, config.data.layout, config.train.batch_size,
      entry.optimizer.learning_rate, entry.schedule.type, entry.schedule.warmup_steps,
      entry.optimizer.max_grad_norm, entry.loss_scale, entry.loss_reduction);
}

}  // namespace seer
