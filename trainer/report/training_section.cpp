#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/svg_chart.h"
#include "trainer/report/thin_curve.h"

namespace seer::report {
namespace {

/// Points of all curves of a page together, so that hundreds of layers or steps do not make it large.
constexpr size_t kPointBudget = 24000;
constexpr size_t kFewestPoints = 40;
constexpr size_t kMostPoints = 200;
constexpr size_t kMostTableRows = 25;
/// More densities than this are told apart in the table, not in the chart.
constexpr size_t kMostDensities = 4;
constexpr double kUsualDensity = 0.1;

const SeriesStyle kBefore = {"s-random", Marker::kCross};
const SeriesStyle kGate = {"s-gate", Marker::kDisc};
const SeriesStyle kOracle = {"s-oracle", Marker::kRing};

double ramp_place(size_t index, size_t count) {
  return count < 2 ? 1.0 : static_cast<double>(index) / static_cast<double>(count - 1);
}

std::string density_name(double density) {
  return fmt::format("{:.3g} %", 100 * density);
}

/// What the charts of one gate entry share.
class GateSection {
 public:
  GateSection(const GateCurves& gate, size_t index, size_t gates, bool alone)
      : gate_(gate), id_(fmt::format("g{}", index)), alone_(alone) {
    const size_t curves = std::max<size_t>(1, layers() * gates);
    curve_ = thin_curve(gate, std::clamp(kPointBudget / curves, kFewestPoints, kMostPoints));
  }

  std::string render() const {
    std::string out;
    if (!alone_ || !gate_.description.empty()) {
      out += fmt::format("<h3>{}{}{}</h3>\n", escape(gate_.name), gate_.description.empty() ? "" : ": ",
                         escape(gate_.description));
    }
    std::string charts;
    std::string tables;
    if (!curve_.steps.empty()) {
      charts += loss_figure() + layer_figure();
      tables += loss_table();
    }
    if (!gate_.evals.empty()) {
      if (gate_.evals.size() >= 2) charts += recall_by_step_figure();
      if (gate_.evals.back().densities.size() >= 2) charts += recall_by_density_figure();
      if (!gate_.evals.back().densities.empty()) charts += recall_by_layer_figure();
      tables += eval_table() + layer_table();
    } else {
      tables +=
          "<p class=\"missing\">No held-out evaluation in this run: set <code>eval.files</code> in its "
          "config "
          "for recall on text it was not trained on.</p>\n";
    }
    return out + "<div class=\"charts\">\n" + charts + "</div>\n" + tables;
  }

 private:
  size_t layers() const {
    if (!gate_.layer_losses.empty()) return gate_.layer_losses.front().size();
    return gate_.evals.empty() ? 0 : gate_.evals.front().layer_losses.size();
  }

  std::string thinning_note() const {
    return curve_.stride == 1 ? "" : fmt::format(" Each point is the mean of {} steps.", curve_.stride);
  }

  std::string loss_figure() const {
    Series train{.name = "training text", .style = {"s-gate", Marker::kNone}};
    for (size_t i = 0; i < curve_.steps.size(); ++i) {
      train.points.push_back({static_cast<double>(curve_.steps[i]), curve_.loss[i]});
    }
    Series held_out{.name = "held-out text", .style = {"s-minmax", Marker::kSquare}};
    for (const EvalMetrics& eval : gate_.evals) {
      held_out.points.push_back(
          {static_cast<double>(eval.step), eval.loss,
           fmt::format("held-out text, step {}: {}", eval.step, significant(eval.loss, 4))});
    }
    Chart chart{.id = id_ + "-loss",
                .title = "Loss over the steps",
                .description = fmt::format("From {} to {}", significant(curve_.loss.front(), 3),
                                           significant(curve_.loss.back(), 3)),
                .x_label = "step",
                .y_label = "loss, all layers",
                .y_scale = Scale::kLog,
                .x_integers = true,
                .x_include = {0},
                .series = {train}};
    if (!held_out.points.empty()) chart.series.push_back(held_out);
    return figure(
        "Loss",
        "The divergence of the gates from the attention they imitate, summed over layers and scaled. "
        "Good: a steep fall, then a flat line." +
            thinning_note(),
        legend(chart.series) + seer::report::render(chart));
  }

  std::string layer_figure() const {
    Chart chart{.id = id_ + "-layers",
                .title = "Loss of each layer over the steps",
                .description = fmt::format("{} layers", layers()),
                .x_label = "step",
                .y_label = "loss, one layer",
                .y_scale = Scale::kLog,
                .x_integers = true,
                .x_include = {0}};
    for (size_t layer = 0; layer < layers(); ++layer) {
      Series series{.name = fmt::format("layer {}", layer),
                    .style = {"ramp", Marker::kNone, ramp_place(layer, layers())}};
      for (size_t i = 0; i < curve_.steps.size(); ++i) {
        series.points.push_back({static_cast<double>(curve_.steps[i]), curve_.layer_losses[i][layer]});
      }
      chart.series.push_back(std::move(series));
    }
    constexpr size_t kMostNames = 6;
    const std::string key = layers() <= kMostNames
                                ? legend(chart.series)
                                : ramp_legend("layer 0", fmt::format("layer {}", layers() - 1));
    return figure(
        "Loss of each layer",
        "Layers learn independently of each other. Good: all fall; one that stays high has attention "
        "that its pooled queries and keys cannot tell.",
        key + seer::report::render(chart));
  }

  /// Indices of at most kMostDensities of the evaluated densities.
  std::vector<size_t> shown_densities() const {
    std::vector<size_t> all(gate_.evals.back().densities.size());
    std::iota(all.begin(), all.end(), size_t{0});
    return spread(all, kMostDensities);
  }

  std::string recall_by_step_figure() const {
    Chart chart{.id = id_ + "-recall",
                .title = "Recall on held-out text over the steps",
                .description = "One line for each density, the oracle dashed",
                .x_label = "step",
                .y_label = "recall, %",
                .x_integers = true,
                .y_include = {100}};
    const std::vector<size_t> shown = shown_densities();
    std::vector<Series> oracles;
    for (size_t i = 0; i < shown.size(); ++i) {
      const std::string name = density_name(gate_.evals.back().densities[shown[i]].density);
      Series gate{.name = name + " kept", .style = {"ramp", Marker::kDisc, ramp_place(i, shown.size())}};
      Series oracle{.name = "oracle, " + name + " kept",
                    .style = {"ramp dashed", Marker::kNone, ramp_place(i, shown.size())}};
      for (const EvalMetrics& eval : gate_.evals) {
        if (shown[i] >= eval.densities.size()) continue;
        const EvalDensity& at = eval.densities[shown[i]];
        const auto step = static_cast<double>(eval.step);
        gate.points.push_back({step, 100 * at.recall,
                               fmt::format("step {}, {} kept: recall {} %, oracle {} %", eval.step, name,
                                           percent(at.recall), percent(at.oracle))});
        oracle.points.push_back({step, 100 * at.oracle});
      }
      chart.series.push_back(std::move(gate));
      oracles.push_back(std::move(oracle));
    }
    const std::string key = legend(chart.series);
    chart.series.insert(chart.series.begin(), oracles.begin(), oracles.end());
    return figure(
        "Recall while training",
        "The share of the true attention mass on the blocks the gate keeps, on held-out text. Good: "
        "close to the dashed line of its colour, the best that as many blocks can do.",
        key + seer::report::render(chart));
  }

  std::string recall_by_density_figure() const {
    Series oracle{.name = "oracle", .style = kOracle};
    Series after{.name = "gate", .style = kGate};
    Series before{.name = "before training", .style = kBefore};
    const auto add = [](Series& series, double density, double recall) {
      series.points.push_back({100 * density, 100 * recall,
                               fmt::format("{}: {} % of the mass on {} of the blocks", series.name,
                                           percent(recall), density_name(density))});
    };
    for (const EvalDensity& at : gate_.evals.back().densities) {
      add(oracle, at.density, at.oracle);
      add(after, at.density, at.recall);
    }
    if (gate_.evals.size() >= 2) {
      for (const EvalDensity& at : gate_.evals.front().densities) add(before, at.density, at.recall);
    }
    Chart chart{.id = id_ + "-density",
                .title = "Recall against density on held-out text",
                .description = "Gate after training, before it, and the oracle",
                .x_label = "blocks kept, %",
                .y_label = "recall, %",
                .x_include = {0},
                .y_include = {100}};
    for (Series* series : {&oracle, &after, &before}) {
      std::sort(series->points.begin(), series->points.end(),
                [](const Point& a, const Point& b) { return a.x < b.x; });
      if (!series->points.empty()) chart.series.push_back(*series);
    }
    return figure(
        "Recall against density",
        fmt::format("After {} steps, on held-out text. Good: high already at few blocks, and close to "
                    "the oracle, which keeps the best blocks there are.",
                    grouped(gate_.evals.back().step)),
        legend(chart.series) + seer::report::render(chart));
  }

  std::string recall_by_layer_figure() const {
    const std::vector<EvalDensity>& densities = gate_.evals.back().densities;
    const auto nearest =
        std::min_element(densities.begin(), densities.end(), [](const auto& a, const auto& b) {
          return std::abs(a.density - kUsualDensity) < std::abs(b.density - kUsualDensity);
        });
    const auto index = static_cast<size_t>(nearest - densities.begin());
    Chart chart{.id = id_ + "-by-layer",
                .title = "Recall of each layer on held-out text",
                .description = density_name(nearest->density) + " of the blocks kept",
                .x_label = "layer",
                .y_label = "recall, %",
                .x_integers = true,
                .y_include = {100}};
    const auto add = [&](const std::string& name, const SeriesStyle& style,
                         const std::vector<double>& recall) {
      Series series{.name = name, .style = style};
      for (size_t layer = 0; layer < recall.size(); ++layer) {
        series.points.push_back({static_cast<double>(layer), 100 * recall[layer],
                                 fmt::format("layer {}, {}: {} %", layer, name, percent(recall[layer]))});
      }
      chart.series.push_back(std::move(series));
    };
    add("oracle", kOracle, nearest->layer_oracle);
    add("gate", kGate, nearest->layer_recall);
    if (gate_.evals.size() >= 2 && index < gate_.evals.front().densities.size()) {
      add("before training", kBefore, gate_.evals.front().densities[index].layer_recall);
    }
    return figure(
        "Recall by layer",
        fmt::format("With {} of the blocks kept. Good: the gate's line follows the oracle's; a gap in "
                    "one layer says where quality is lost.",
                    density_name(nearest->density)),
        legend(chart.series) + seer::report::render(chart));
  }

  std::string loss_table() const {
    Table table{.summary = "Numbers: loss by step and layer", .headers = {"step", "total"}};
    for (size_t layer = 0; layer < layers(); ++layer) {
      table.headers.push_back(fmt::format("layer {}", layer));
    }
    std::vector<size_t> all(curve_.steps.size());
    std::iota(all.begin(), all.end(), size_t{0});
    const std::vector<size_t> shown = spread(all, kMostTableRows);
    if (shown.size() < gate_.steps.size()) {
      table.summary += fmt::format(" ({} of {} steps; metrics.jsonl has them all)", shown.size(),
                                   grouped(static_cast<int64_t>(gate_.steps.size())));
    }
    for (const size_t i : shown) {
      std::vector<std::string> row = {grouped(curve_.steps[i]), significant(curve_.loss[i], 4)};
      for (const double loss : curve_.layer_losses[i]) row.push_back(significant(loss, 3));
      table.rows.push_back(std::move(row));
    }
    return to_html(table);
  }

  std::string eval_table() const {
    Table table{.summary = "Numbers: held-out loss and recall",
                .headers = {"step", "loss", "density, %", "recall, %", "oracle, %", "of oracle, %"}};
    for (const EvalMetrics& eval : gate_.evals) {
      for (const EvalDensity& at : eval.densities) {
        table.rows.push_back({grouped(eval.step), significant(eval.loss, 4),
                              fmt::format("{:.3g}", 100 * at.density), percent(at.recall), percent(at.oracle),
                              percent(at.recall / at.oracle)});
      }
    }
    return to_html(table);
  }

  std::string layer_table() const {
    const EvalMetrics& eval = gate_.evals.back();
    Table table{.summary = fmt::format("Numbers: recall by layer after {} steps", grouped(eval.step)),
                .headers = {"layer", "held-out loss"}};
    for (const EvalDensity& at : eval.densities) {
      const std::string name = density_name(at.density);
      table.headers.push_back(fmt::format("recall at {}, %", name));
      table.headers.push_back(fmt::format("oracle at {}, %", name));
    }
    for (size_t layer = 0; layer < eval.layer_losses.size(); ++layer) {
      std::vector<std::string> row = {fmt::format("{}", layer), significant(eval.layer_losses[layer], 3)};
      for (const EvalDensity& at : eval.densities) {
        row.push_back(layer < at.layer_recall.size() ? percent(at.layer_recall[layer]) : kNoValue);
        row.push_back(layer < at.layer_oracle.size() ? percent(at.layer_oracle[layer]) : kNoValue);
      }
      table.rows.push_back(std::move(row));
    }
    return to_html(table);
  }

  const GateCurves& gate_;
  std::string id_;
  bool alone_;
  ThinCurve curve_;
};

}  // namespace

std::string training_section(const Report& report) {
  if (report.training.empty()) return "";
  std::string out =
      "<section id=\"training\"><h2>Training</h2>\n<p>A gate learns which blocks of a layer's attention "
      "matter, from the frozen model itself. <b>Density</b> is the share of blocks it may keep, "
      "<b>recall</b> "
      "the share of the true attention mass on them, and the <b>oracle</b> keeps the best blocks there "
      "are.</p>\n";
  for (size_t i = 0; i < report.training.size(); ++i) {
    out += GateSection(report.training[i], i, report.training.size(), report.training.size() == 1).render();
  }
  return out + "</section>\n";
}

}  // namespace seer::report
