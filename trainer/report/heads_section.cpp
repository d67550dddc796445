#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "trainer/report/axis.h"
#include "trainer/report/heat_map.h"
#include "trainer/report/html.h"
#include "trainer/report/sections.h"
#include "trainer/report/thin_curve.h"

namespace seer::report {
namespace {

/// Settings shown side by side; more would make each too small.
constexpr size_t kMostSettings = 4;

using HeadValues = std::vector<std::vector<double>> PerplexityRow::*;

std::vector<double> all_values(const std::vector<const PerplexityRow*>& rows, HeadValues which) {
  std::vector<double> values;
  for (const PerplexityRow* row : rows) {
    for (const auto& heads : row->*which) values.insert(values.end(), heads.begin(), heads.end());
  }
  return values;
}

/// One row of pictures, a setting each, with a common range.
std::string panels(const std::string& id, const std::vector<const PerplexityRow*>& rows, HeadValues which,
                   const std::string& what, double low, double high) {
  std::string out = "<div class=\"panels\">\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    if ((rows[i]->*which).empty()) continue;
    const std::string mean =
        percent(which == &PerplexityRow::density_by_head ? rows[i]->density : rows[i]->recall);
    out += fmt::format("<div><p><b>{}</b> mean {} %</p>{}</div>\n", escape(rows[i]->label), mean,
                       render({.id = fmt::format("{}-{}", id, i),
                               .title = fmt::format("{} by layer and head, {}", what, rows[i]->label),
                               .values = rows[i]->*which,
                               .low = low,
                               .high = high}));
  }
  return out + "</div>\n";
}

std::string head_table(const std::vector<const PerplexityRow*>& rows, HeadValues which,
                       const std::string& what) {
  Table table{.summary = fmt::format("Numbers: {} of each layer and head, %", what),
              .headers = {"setting", "layer"}};
  size_t heads = 0;
  for (const PerplexityRow* row : rows) {
    for (size_t layer = 0; layer < (row->*which).size(); ++layer) {
      std::vector<std::string> cells = {row->label, fmt::format("{}", layer)};
      for (const double value : (row->*which)[layer]) cells.push_back(percent(value));
      heads = std::max(heads, cells.size() - 2);
      table.rows.push_back(std::move(cells));
    }
  }
  for (size_t head = 0; head < heads; ++head) table.headers.push_back(fmt::format("head {}", head));
  return to_html(table);
}

/// The gate's rows with figures by head, at the longest length that has any.
std::vector<const PerplexityRow*> shown_rows(const Perplexity& evaluation, int64_t& length) {
  std::vector<const PerplexityRow*> rows;
  for (const PerplexityLength& candidate : evaluation.lengths) {
    if (!rows.empty() && candidate.length < length) continue;
    std::vector<const PerplexityRow*> found;
    for (const PerplexityRow& row : candidate.rows) {
      if (row.method == "gate" && !(row.density_by_head.empty() && row.recall_by_head.empty())) {
        found.push_back(&row);
      }
    }
    if (found.empty()) continue;
    rows = std::move(found);
    length = candidate.length;
  }
  return rows;
}

std::string evaluation_part(const std::string& id, const Perplexity& evaluation) {
  int64_t length = 0;
  const std::vector<const PerplexityRow*> all = shown_rows(evaluation, length);
  if (all.empty()) return "";
  const std::vector<const PerplexityRow*> rows = spread(all, kMostSettings);
  std::string out = fmt::format(
      "<p class=\"source\">{} · {} tokens{}</p>\n",
      escape(evaluation.gates.empty() ? evaluation.model : evaluation.gates), grouped(length),
      rows.size() < all.size() ? fmt::format(" · {} of {} settings", rows.size(), all.size()) : "");
  const std::vector<double> densities = all_values(rows, &PerplexityRow::density_by_head);
  if (!densities.empty()) {
    const double high = std::max(0.01, *std::max_element(densities.begin(), densities.end()));
    const double top = std::min(1.0, make_axis(std::vector<double>{0, high}, Scale::kLinear).high);
    out += figure("Density",
                  "The share of blocks each head keeps. Under nz_ratio all keep the same; under a threshold "
                  "heads that attend widely keep more, and that is good: blocks go where they are needed.",
                  head_map_key(0, top) +
                      panels(id + "-d", rows, &PerplexityRow::density_by_head, "Density", 0, top) +
                      head_table(rows, &PerplexityRow::density_by_head, "density"));
  }
  const std::vector<double> recalls = all_values(rows, &PerplexityRow::recall_by_head);
  if (!recalls.empty()) {
    const double low = std::min(0.9, *std::min_element(recalls.begin(), recalls.end()));
    const double bottom = std::floor(low * 10) / 10;
    out +=
        figure("Recall",
               "The share of each head's true attention mass on the blocks it keeps. Good: even and strong; "
               "faint cells are heads whose attention the gate does not find.",
               head_map_key(bottom, 1) +
                   panels(id + "-r", rows, &PerplexityRow::recall_by_head, "Recall", bottom, 1) +
                   head_table(rows, &PerplexityRow::recall_by_head, "recall"));
  }
  return out;
}

}  // namespace

std::string heads_section(const Report& report) {
  std::string parts;
  for (size_t i = 0; i < report.perplexity.size(); ++i) {
    parts += evaluation_part(fmt::format("h{}", i), report.perplexity[i]);
  }
  if (parts.empty()) return "";
  return "<section id=\"heads\"><h2>Layers and heads</h2>\n" + parts + "</section>\n";
}

}  // namespace seer::report
