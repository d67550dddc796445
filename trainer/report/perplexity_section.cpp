#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/svg_chart.h"

namespace seer::report {
namespace {

/// Smaller rises of perplexity than this share are drawn on the lower edge: a log axis has no 0.
constexpr double kSmallestChange = 0.001;

struct MethodLook {
  std::string_view method;
  std::string_view label;
  std::string_view css_class;
  Marker marker;
};

/// In the order of the legend.
constexpr std::array<MethodLook, 8> kMethods = {{
    {"oracle", "oracle", "s-oracle", Marker::kRing},
    {"gate", "gate", "s-gate", Marker::kDisc},
    {"minmax", "min/max bound", "s-minmax", Marker::kSquare},
    {"window", "sink + window", "s-window", Marker::kDiamond},
    {"antidiagonal8", "antidiagonal, stride 8", "s-anti", Marker::kTriangle},
    {"antidiagonal16", "antidiagonal, stride 16", "s-anti dashed", Marker::kTriangleDown},
    {"mean", "mean-pooled q·k", "s-mean", Marker::kPlus},
    {"random", "random", "s-random", Marker::kCross},
}};

size_t rank_of(std::string_view method) {
  const auto found = std::find_if(kMethods.begin(), kMethods.end(),
                                  [&](const MethodLook& look) { return look.method == method; });
  return static_cast<size_t>(found - kMethods.begin());
}

/// A method this page has no look for is drawn under its own name.
Series empty_series(const PerplexityRow& row, bool name_rule) {
  const size_t rank = rank_of(row.method);
  Series series;
  if (rank < kMethods.size()) {
    series.name = kMethods[rank].label;
    series.style = {std::string(kMethods[rank].css_class), kMethods[rank].marker, {}};
  } else {
    series.name = row.method;
    series.style = {"s-other", Marker::kDiamond, {}};
  }
  if (name_rule) {
    series.name += ", " + row.rule;
    if (row.rule != "nz_ratio") series.style.css_class += " dashed";
  }
  return series;
}

std::string tip_of(const PerplexityRow& row, const std::string& name) {
  std::string tip = fmt::format("{}, {}: {} % kept, perplexity {} ({} %), recall {} %", name, row.label,
                                percent(row.density), fixed(row.perplexity, 2), percent(row.change, 2),
                                percent(row.recall));
  if (std::isfinite(row.speedup)) tip += fmt::format(", prefill {}×", fixed(row.speedup, 2));
  return tip;
}

std::string no_label(const PerplexityRow& /*row*/) {
  return "";
}
std::string gate_density(const PerplexityRow& row) {
  return row.method == "gate" ? fmt::format("{:.2g} %", 100 * row.density) : "";
}

/// The rows of one length as one series for each method and rule; a chart then asks for two of a row's values.
class Curves {
 public:
  explicit Curves(const PerplexityLength& length) {
    std::set<std::string> rules;
    for (const PerplexityRow& row : length.rows) rules.insert(row.rule);
    std::vector<const PerplexityRow*> rows;
    for (const PerplexityRow& row : length.rows) rows.push_back(&row);
    const auto key = [](const PerplexityRow& row) {
      return std::tuple(rank_of(row.method), row.method, row.rule, row.density);
    };
    std::stable_sort(rows.begin(), rows.end(),
                     [&](const auto* a, const auto* b) { return key(*a) < key(*b); });
    for (const PerplexityRow* row : rows) {
      if (groups_.empty() || groups_.back().front()->method != row->method ||
          groups_.back().front()->rule != row->rule) {
        groups_.emplace_back();
        looks_.push_back(empty_series(*row, rules.size() > 1));
      }
      groups_.back().push_back(row);
    }
  }

  using Value = double (*)(const PerplexityRow&);
  using Label = std::string (*)(const PerplexityRow&);
  std::vector<Series> series(Value x, Value y, Label label = no_label) const {
    std::vector<Series> out = looks_;
    for (size_t i = 0; i < groups_.size(); ++i) {
      for (const PerplexityRow* row : groups_[i]) {
        out[i].points.push_back({x(*row), y(*row), tip_of(*row, out[i].name), label(*row)});
      }
    }
    // The first of the legend lie on top.
    std::reverse(out.begin(), out.end());
    return out;
  }

  const std::vector<Series>& looks() const { return looks_; }

 private:
  std::vector<std::vector<const PerplexityRow*>> groups_;
  std::vector<Series> looks_;
};

double density_of(const PerplexityRow& row) {
  return 100 * row.density;
}
double recall_of(const PerplexityRow& row) {
  return 100 * row.recall;
}
double change_of(const PerplexityRow& row) {
  return 100 * row.change;
}
double speedup_of(const PerplexityRow& row) {
  return row.speedup;
}

/// Densities over more than a decade are spread by their ratios.
Scale density_scale(const PerplexityLength& length) {
  double low = INFINITY;
  double high = 0;
  for (const PerplexityRow& row : length.rows) {
    if (!(row.density > 0)) continue;
    low = std::min(low, row.density);
    high = std::max(high, row.density);
  }
  return high > 12 * low ? Scale::kLog : Scale::kLinear;
}

std::vector<double> density_range(Scale scale) {
  return scale == Scale::kLinear ? std::vector<double>{0} : std::vector<double>{};
}

template <typename Value>
bool any_finite(const PerplexityLength& length, Value value) {
  return std::any_of(length.rows.begin(), length.rows.end(),
                     [&](const PerplexityRow& row) { return std::isfinite(value(row)); });
}

std::string recall_figure(const std::string& id, const PerplexityLength& length, const Curves& curves) {
  const Scale scale = density_scale(length);
  return figure("Recall against density",
                "How much of the true attention mass lies on the kept blocks. Good: the gate close under the "
                "oracle, which keeps the best blocks there are, and above all training-free choices.",
                render({.id = id + "-recall",
                        .title = "Recall against density",
                        .description = fmt::format("Windows of {} tokens", length.length),
                        .x_label = "blocks kept, %",
                        .y_label = "recall, % of attention mass",
                        .x_scale = scale,
                        .x_include = density_range(scale),
                        .y_include = {100},
                        .series = curves.series(density_of, recall_of)}));
}

std::string density_figure(const std::string& id, const PerplexityLength& length, const Curves& curves) {
  const Scale scale = density_scale(length);
  return figure(
      "Perplexity against density",
      "How much worse the model predicts text when it reads only the kept blocks. Good: low already "
      "at few blocks; each line down the scale is a smaller loss.",
      render({.id = id + "-ppl",
              .title = "Perplexity lost against density",
              .description = fmt::format("Windows of {} tokens, dense perplexity {}", length.length,
                                         fixed(length.dense_perplexity, 2)),
              .x_label = "blocks kept, %",
              .y_label = "perplexity above dense, %",
              .x_scale = scale,
              .y_scale = Scale::kLog,
              .x_include = density_range(scale),
              .y_floor = 100 * kSmallestChange,
              .series = curves.series(density_of, change_of)}));
}

std::string speed_figure(const std::string& id, const PerplexityLength& length, const Curves& curves) {
  std::vector<Series> series = curves.series(speedup_of, change_of, gate_density);
  std::vector<std::string> untimed;
  for (Series& entry : series) {
    const bool timed = std::any_of(entry.points.begin(), entry.points.end(),
                                   [](const Point& point) { return std::isfinite(point.x); });
    if (!timed) untimed.push_back(entry.name);
  }
  Series dense;
  dense.name = "dense";
  dense.style = {"s-oracle", Marker::kSquare, {}};
  dense.points.push_back({1, 0,
                          fmt::format("dense: perplexity {}, prefill {} s", fixed(length.dense_perplexity, 2),
                                      significant(length.dense_prefill_seconds, 3)),
                          "dense"});
  series.insert(series.begin(), std::move(dense));
  std::string sentence =
      "What the saved time costs: to the right is faster, downwards is better, dense is the corner at 1×. "
      "Good: "
      "the gate's points reach far right while still low; its labels say how many blocks it keeps.";
  if (!untimed.empty()) {
    sentence += fmt::format(" Without a time of its own: {}.", fmt::join(untimed, ", "));
  }
  return figure("Perplexity against speed-up", sentence,
                render({.id = id + "-speed",
                        .title = "Perplexity lost against prefill speed-up",
                        .description = fmt::format("Windows of {} tokens", length.length),
                        .x_label = "prefill speed-up, × dense",
                        .y_label = "perplexity above dense, %",
                        .y_scale = Scale::kLog,
                        .x_include = {1},
                        .y_floor = 100 * kSmallestChange,
                        .series = std::move(series)}));
}

std::string rows_table(const PerplexityLength& length) {
  Table table{.summary = fmt::format("Numbers: {} tokens", grouped(length.length)),
              .headers = {"method", "rule", "density, %", "perplexity", "above dense, %", "recall, %",
                          "prefill, s", "speed-up, ×"}};
  table.rows.push_back({"dense", "", "100", fixed(length.dense_perplexity, 2), "0", "100",
                        significant(length.dense_prefill_seconds, 3), "1"});
  for (const PerplexityRow& row : length.rows) {
    table.rows.push_back({row.method, row.label, percent(row.density, 2), fixed(row.perplexity, 2),
                          percent(row.change, 2), percent(row.recall), significant(row.prefill_seconds, 3),
                          fixed(row.speedup, 2)});
  }
  return to_html(table);
}

std::string length_part(const std::string& id, const PerplexityLength& length) {
  std::string out = fmt::format("<h3>{} tokens <small>{} {}, dense perplexity {}", grouped(length.length),
                                grouped(length.windows), length.windows == 1 ? "window" : "windows",
                                fixed(length.dense_perplexity, 2));
  if (std::isfinite(length.dense_prefill_seconds)) {
    out += fmt::format(", dense prefill {} s", significant(length.dense_prefill_seconds, 3));
  }
  out += "</small></h3>\n";
  const Curves curves(length);
  std::string charts;
  std::string missing;
  if (any_finite(length, recall_of)) charts += recall_figure(id, length, curves);
  if (any_finite(length, change_of)) charts += density_figure(id, length, curves);
  if (any_finite(length, speedup_of)) {
    charts += speed_figure(id, length, curves);
  } else {
    missing =
        "<p class=\"missing\">No prefill was timed at this length, so there is no speed-up to show.</p>\n";
  }
  return out + legend(curves.looks()) + "<div class=\"charts\">\n" + charts + "</div>\n" + missing +
         rows_table(length);
}

}  // namespace

std::string perplexity_section(const Report& report) {
  if (report.perplexity.empty()) return "";
  std::string out =
      "<section id=\"quality\"><h2>Quality and speed</h2>\n<p>The model reads held-out text with its "
      "attention "
      "cut down to the kept blocks, chosen by the trained gate, by the oracle, or by rules that need no "
      "training. <b>Perplexity</b> is how surprised it is by the next token: lower is better, and dense "
      "attention, which reads everything, is what to come close to.</p>\n";
  for (size_t i = 0; i < report.perplexity.size(); ++i) {
    const Perplexity& evaluation = report.perplexity[i];
    std::vector<std::string> facts = {evaluation.model};
    if (!evaluation.gates.empty()) facts.push_back(evaluation.gates);
    if (!evaluation.gate_type.empty()) facts.push_back(evaluation.gate_type);
    if (!evaluation.gate_form.empty()) facts.push_back(evaluation.gate_form);
    facts.push_back(fmt::format("block {}", evaluation.block_size));
    facts.push_back(evaluation.data);
    facts.push_back(evaluation.device);
    out += fmt::format("<p class=\"source\">{}</p>\n", escape(fmt::format("{}", fmt::join(facts, " · "))));
    for (size_t k = 0; k < evaluation.lengths.size(); ++k) {
      out += length_part(fmt::format("p{}-{}", i, k), evaluation.lengths[k]);
    }
  }
  return out + "</section>\n";
}

}  // namespace seer::report
