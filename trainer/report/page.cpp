#include "trainer/report/page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"

namespace seer::report {
namespace {

/// The density that the opening sentence speaks of, if several were measured.
constexpr double kHeadlineDensity = 0.1;

template <typename Rows, typename Density>
auto nearest_density(const Rows& rows, Density density) {
  return *std::min_element(rows.begin(), rows.end(), [&](const auto* a, const auto* b) {
    return std::abs(density(*a) - kHeadlineDensity) < std::abs(density(*b) - kHeadlineDensity);
  });
}

/// `whose`: the gates, where that has to be said.
std::string perplexity_headline(const PerplexityLength& length, const std::string& whose) {
  std::vector<const PerplexityRow*> gates;
  std::vector<const PerplexityRow*> oracles;
  for (const PerplexityRow& row : length.rows) {
    if (!std::isfinite(row.density) || !std::isfinite(row.perplexity)) continue;
    if (row.method == "gate") gates.push_back(&row);
    if (row.method == "oracle") oracles.push_back(&row);
  }
  if (gates.empty()) return "";
  const auto density = [](const PerplexityRow& row) { return row.density; };
  const PerplexityRow& gate = *nearest_density(gates, density);
  std::string out = whose.empty() ? "" : fmt::format("<b>{}</b>: ", escape(whose));
  out += fmt::format("At {} tokens, keeping <b>{} %</b> of the attention blocks{} ", grouped(length.length),
                     percent(gate.density), gate.label.empty() ? "" : " (" + escape(gate.label) + ")");
  if (std::isfinite(length.dense_perplexity) && std::isfinite(gate.change)) {
    out += fmt::format("takes perplexity from {} to {} (<b>{}{} %</b>)", fixed(length.dense_perplexity, 2),
                       fixed(gate.perplexity, 2), gate.change > 0 ? "+" : "", percent(gate.change));
  } else {
    out += fmt::format("gives a perplexity of {}", fixed(gate.perplexity, 2));
  }
  if (std::isfinite(gate.speedup)) {
    out += fmt::format(" at <b>{}×</b> the speed of dense prefill", fixed(gate.speedup, 2));
  }
  if (std::isfinite(gate.recall)) {
    out += fmt::format("; the kept blocks hold <b>{} %</b> of the attention mass", percent(gate.recall));
    // Only an oracle that keeps as many blocks can be compared with.
    if (!oracles.empty()) {
      const PerplexityRow& oracle = **std::min_element(oracles.begin(), oracles.end(), [&](auto* a, auto* b) {
        return std::abs(a->density - gate.density) < std::abs(b->density - gate.density);
      });
      if (std::abs(oracle.density - gate.density) < 0.1 * gate.density && std::isfinite(oracle.recall)) {
        out += fmt::format(", the best choice of as many would hold {} %", percent(oracle.recall));
      }
    }
  }
  return out + ".";
}

std::string training_headline(const GateCurves& gate, bool name_it) {
  if (gate.evals.empty() || gate.evals.back().densities.empty()) return "";
  std::vector<const EvalDensity*> densities;
  for (const EvalDensity& at : gate.evals.back().densities) densities.push_back(&at);
  const EvalDensity& after = *nearest_density(densities, [](const EvalDensity& at) { return at.density; });
  std::string out = fmt::format(
      "{}On held-out text joined as in training, nothing forced but the diagonal, <b>{:.3g} %</b> of the "
      "blocks hold <b>{} %</b> of the attention mass after training",
      name_it ? fmt::format("<b>{}</b>: ", escape(gate.name)) : "", 100 * after.density,
      percent(after.recall));
  for (const EvalDensity& before : gate.evals.front().densities) {
    if (gate.evals.size() >= 2 && before.density == after.density) {
      out += fmt::format(", {} % before", percent(before.recall));
    }
  }
  return out + fmt::format("; the best choice of as many would hold {} %.", percent(after.oracle));
}

/// Whose gates an evaluation is of, as short as tells them apart; empty where all are of the same.
std::string name_among(const std::vector<Perplexity>& all, const Perplexity& one) {
  const auto path = [](const Perplexity& evaluation) {  // without a slash at its end
    const auto written = std::filesystem::path(evaluation.gates).lexically_normal();
    return written.has_filename() ? written : written.parent_path();
  };
  bool others = false;
  bool same_name = false;
  for (const Perplexity& other : all) {
    if (path(other) == path(one)) continue;
    others = true;
    same_name |= path(other).filename() == path(one).filename();
  }
  if (!others) return "";
  return same_name ? path(one).string() : path(one).filename().string();
}

std::string headlines(const Report& report) {
  std::string out;
  for (const Perplexity& evaluation : report.perplexity) {
    const auto longest = std::max_element(evaluation.lengths.begin(), evaluation.lengths.end(),
                                          [](const auto& a, const auto& b) { return a.length < b.length; });
    const std::string text = perplexity_headline(*longest, name_among(report.perplexity, evaluation));
    if (!text.empty()) out += fmt::format("<p class=\"headline\">{}</p>\n", text);
  }
  for (const GateCurves& gate : report.training) {
    const std::string text = training_headline(gate, report.training.size() > 1);
    if (!text.empty()) out += fmt::format("<p class=\"headline\">{}</p>\n", text);
  }
  return out;
}

std::string missing_parts(const Report& report) {
  std::string out;
  if (report.training.empty()) {
    out +=
        "<p class=\"missing\">No training curves: they come from a run's metrics.jsonl, so ask for the "
        "report of "
        "the run's folder, <code>seer-train report RUN --out FILE</code>.</p>\n";
  }
  if (report.perplexity.empty()) {
    out += fmt::format(
        "<p class=\"missing\">No perplexity, speed-up or baselines: <code>seer-train eval ppl --model "
        "MODEL --gates GATES --data HELDOUT --json {}/eval-ppl.json</code> measures them into the file "
        "that this page reads.</p>\n",
        escape(report.evaluations));
  }
  if (report.maps.empty()) {
    out +=
        "<p class=\"missing\">No maps of the attention: <code>seer-train report RUN_OR_GATES --model MODEL "
        "--data "
        "HELDOUT --out FILE</code> draws them.</p>\n";
  }
  return out;
}

std::string header(const Report& report) {
  std::string out =
      "<header>\n<fieldset class=\"theme\"><legend>Colours</legend>"
      "<label><input type=\"radio\" name=\"theme\" id=\"theme-auto\" checked>Auto</label>"
      "<label><input type=\"radio\" name=\"theme\" id=\"theme-light\">Light</label>"
      "<label><input type=\"radio\" name=\"theme\" id=\"theme-dark\">Dark</label></fieldset>\n";
  out += fmt::format("<h1><small>Attention gates</small>{}</h1>\n", escape(report.subject));
  out += headlines(report);
  if (!report.facts.empty()) {
    out += "<dl>";
    for (const auto& [name, value] : report.facts) {
      out += fmt::format("<div><dt>{}<dd>{}</div>", escape(name), escape(value));
    }
    out += "</dl>\n";
  }
  return out + missing_parts(report);
}

}  // namespace

std::string render_page(const Report& report) {
  struct Section {
    const char* id;
    const char* name;
    std::string html;
  };
  const std::array<Section, 4> sections = {{{"quality", "Quality and speed", perplexity_section(report)},
                                            {"heads", "Layers and heads", heads_section(report)},
                                            {"maps", "Ground truth and gate", maps_section(report)},
                                            {"training", "Training", training_section(report)}}};
  std::string navigation;
  std::string body;
  for (const Section& section : sections) {
    if (section.html.empty()) continue;
    navigation += fmt::format("<a href=\"#{}\">{}</a>", section.id, section.name);
    body += section.html;
  }
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
         "'unsafe-inline'; "
         "img-src data:\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta name=\"color-scheme\" content=\"light dark\">\n" +
         fmt::format("<title>{} · seer-train report</title>\n<style>\n", escape(report.subject)) +
         style_sheet() + "</style>\n</head>\n<body>\n" + header(report) +
         fmt::format("<nav aria-label=\"Sections\">{}</nav>\n</header>\n<main>\n", navigation) + body +
         fmt::format("</main>\n<footer>{}</footer>\n</body>\n</html>\n", escape(report.generator));
}

}  // namespace seer::report
