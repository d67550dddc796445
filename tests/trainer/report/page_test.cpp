#include "trainer/report/page.h"

#include <limits>
#include <regex>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "tests/trainer/report/sample_report.h"
#include "trainer/report/html.h"
#include "trainer/report/perplexity_file.h"
#include "trainer/report/thin_curve.h"

namespace seer::report {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Perplexity sample_perplexity(const nlohmann::json& json) {
  const test::TempDir folder;
  write_file_atomically(folder / "eval-ppl.json", json.dump());
  return read_perplexity(folder / "eval-ppl.json");
}

Report full_report() {
  Report report{.subject = "runs/a",
                .generator = "Written by a test",
                .facts = {{"Model", "m"}},
                .training = {test::sample_curves("fine", 60, 4), test::sample_curves("coarse", 300, 9)},
                .perplexity = {sample_perplexity(test::sample_perplexity_json(3, 4))},
                .maps = {test::sample_map(1, 2, 20), test::sample_map(0, 3, 300)}};
  return report;
}

std::vector<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it)
    found.push_back((*it)[1]);
  return found;
}

/// Nothing outside the file is ever asked for, and the page's own policy forbids it besides.
void expect_self_contained(const std::string& page) {
  EXPECT_THAT(page, Not(HasSubstr("http:")));
  EXPECT_THAT(page, Not(HasSubstr("https:")));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<link")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
  EXPECT_THAT(page, Not(HasSubstr("url(")));
  for (const std::string& target : matches(page, "href=\"([^\"]{0,30})")) {
    EXPECT_TRUE(target.starts_with("#") || target.starts_with("data:image/png;base64,")) << target;
  }
  EXPECT_THAT(page, HasSubstr("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\""));
}

TEST(Page, HoldsEverySection) {
  const std::string page = render_page(full_report());
  expect_self_contained(page);
  for (const char* id : {"training", "quality", "heads", "maps"}) {
    EXPECT_THAT(page, AllOf(HasSubstr(fmt::format("<section id=\"{}\">", id)),
                            HasSubstr(fmt::format("href=\"#{}\"", id))));
  }
  EXPECT_THAT(page,
              AllOf(HasSubstr("fine: Qavg_Kmaxminavg"), HasSubstr("coarse: Qavg_Kmaxminavg"),
                    HasSubstr("Each point is the mean of 2 steps"), HasSubstr("Written by a test"),
                    HasSubstr("strongest of 2 × 2 blocks"), HasSubstr("Without a time of its own: oracle")));
  EXPECT_THAT(page, Not(HasSubstr("class=\"missing\"")));
  EXPECT_THAT(page, Not(AnyOf(HasSubstr("nan"), HasSubstr("inf,"))));
}

TEST(Page, IdsAreUniqueAndPictureTitlesAreThere) {
  const std::string page = render_page(full_report());
  std::set<std::string> ids;
  for (const std::string& id : matches(page, " id=\"([^\"]*)\"")) EXPECT_TRUE(ids.insert(id).second) << id;
  for (const std::string& list : matches(page, "aria-labelledby=\"([^\"]*)\"")) {
    std::istringstream names(list);
    for (std::string name; names >> name;) EXPECT_TRUE(ids.contains(name)) << name;
  }
}

TEST(Page, TablesHoldEveryNumber) {
  const Report report = full_report();
  const std::string page = render_page(report);
  const auto expect_cell = [&](const std::string& text) { EXPECT_THAT(page, HasSubstr("<td>" + text)); };
  for (const PerplexityLength& length : report.perplexity[0].lengths) {
    for (const PerplexityRow& row : length.rows) {
      EXPECT_THAT(
          page, HasSubstr(fmt::format("<tr><th scope=\"row\">{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}\n",
                                      row.method, row.label, percent(row.density, 2),
                                      fixed(row.perplexity, 2), percent(row.change, 2), percent(row.recall),
                                      significant(row.prefill_seconds, 3), fixed(row.speedup, 2))));
    }
  }
  for (const PerplexityRow& row : report.perplexity[0].lengths[1].rows) {
    if (row.method != "gate") continue;
    for (const auto& heads : row.recall_by_head) {
      for (const double recall : heads) expect_cell(percent(recall));
    }
    for (const auto& heads : row.density_by_head) {
      for (const double density : heads) expect_cell(percent(density));
    }
  }
  for (const GateCurves& gate : report.training) {
    for (const EvalMetrics& eval : gate.evals) {
      for (const EvalDensity& at : eval.densities) {
        EXPECT_THAT(page, HasSubstr(fmt::format("<td>{:.3g}<td>{}<td>{}<td>", 100 * at.density,
                                                percent(at.recall), percent(at.oracle))));
      }
    }
    expect_cell(significant(gate.evals.back().layer_losses.back(), 3));
  }
  // 60 steps: 25 of them in the table, the first and the last among them.
  expect_cell(significant(report.training[0].loss.front(), 4));
  expect_cell(significant(report.training[0].loss.back(), 4));
}

TEST(Page, HeadlinesSayWhoseGatesTheyAreWhereThatIsAQuestion) {
  Report report = full_report();
  report.perplexity.resize(1);
  const auto headline_begins = [&](const std::vector<std::string>& gates) {
    report.perplexity.resize(gates.size(), report.perplexity.front());
    for (size_t i = 0; i < gates.size(); ++i) report.perplexity[i].gates = gates[i];
    const std::string page = render_page(report);
    std::vector<std::string> begins;
    const std::string tag = "<p class=\"headline\">";
    for (size_t at = 0; begins.size() < gates.size() && (at = page.find(tag, at)) != std::string::npos;) {
      at += tag.size();
      begins.push_back(page.substr(at, page.find("At ", at) - at));
    }
    return begins;
  };
  EXPECT_THAT(headline_begins({"runs/a/gates/gate"}), ElementsAre(""));
  EXPECT_THAT(headline_begins({"runs/a/gates/gate", "runs/a/gates/gate/"}), ElementsAre("", ""));
  EXPECT_THAT(headline_begins({"runs/a/gates/gate", "runs/a/gates/local/"}),
              ElementsAre("<b>gate</b>: ", "<b>local</b>: "));
  EXPECT_THAT(headline_begins({"runs/a/gates/gate", "runs/b/gates/gate"}),
              ElementsAre("<b>runs/a/gates/gate</b>: ", "<b>runs/b/gates/gate</b>: "));
}

TEST(Page, HostileNamesStayText) {
  const std::string evil = "\"><script>alert(1)</script><img src=x onerror='a'>";
  Report report = full_report();
  report.subject = evil;
  report.generator = evil;
  report.facts = {{evil, evil}};
  report.training[0].name = evil;
  report.training[0].description = evil;
  Perplexity& perplexity = report.perplexity[0];
  perplexity.model = perplexity.gates = perplexity.data = perplexity.device = perplexity.gate_type = evil;
  for (PerplexityRow& row : perplexity.lengths[0].rows) row.label = evil;
  perplexity.lengths[0].rows[0].method = evil;
  const std::string page = render_page(report);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, Not(HasSubstr("onerror='")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
}

TEST(Page, SaysWhatIsMissingAndHowToMakeIt) {
  Report report = full_report();
  report.training.clear();
  EXPECT_THAT(render_page(report),
              AllOf(HasSubstr("No training curves"), HasSubstr("seer-train report RUN")));
  report = full_report();
  report.perplexity.clear();
  const std::string no_perplexity = render_page(report);
  EXPECT_THAT(no_perplexity,
              AllOf(HasSubstr("seer-train eval ppl"), HasSubstr("/eval-ppl.json</code>"),
                    HasSubstr("--json "), Not(HasSubstr("id=\"quality\"")), Not(HasSubstr("id=\"heads\""))));
  report.training[0].evals.clear();
  EXPECT_THAT(render_page(report), HasSubstr("No held-out evaluation"));
  report = full_report();
  for (PerplexityLength& length : report.perplexity[0].lengths) {
    for (PerplexityRow& row : length.rows) row.speedup = std::numeric_limits<double>::quiet_NaN();
  }
  EXPECT_THAT(render_page(report),
              AllOf(HasSubstr("No prefill was timed"), Not(HasSubstr("Perplexity against speed-up"))));
}

TEST(Page, OpensWithWhatTheGateCostsAndBrings) {
  EXPECT_THAT(
      render_page(full_report()),
      HasSubstr(
          "At 16,384 tokens, keeping <b>10.0 %</b> of the attention blocks (nz_ratio 0.1) takes perplexity "
          "from 19.02 to 19.79 (<b>+4.0 %</b>) at <b>4.54×</b> the speed of dense prefill; the kept blocks "
          "hold "
          "<b>82.2 %</b> of the attention mass, the best choice of as many would hold 86.3 %."));
}

TEST(Page, ParameterLessResultsDoNotBreakIt) {
  Report report = full_report();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (PerplexityLength& length : report.perplexity[0].lengths) {
    length.dense_perplexity = length.dense_prefill_seconds = nan;
    for (PerplexityRow& row : length.rows) {
      row.density = row.perplexity = row.change = row.recall = row.prefill_seconds = row.speedup = nan;
      row.density_by_head.clear();
      row.recall_by_head.clear();
    }
  }
  report.training[0].loss[3] = nan;
  report.training[0].layer_losses[3][1] = nan;
  report.training[0].evals[2].densities.clear();
  report.training[1].evals.resize(1);
  const std::string page = render_page(report);
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  report.perplexity[0].lengths[0].rows.clear();
  EXPECT_THAT(render_page(report), HasSubstr("Numbers: 8,192 tokens"));
}

/// The largest models, several gates, long runs: still a file one can mail.
TEST(Page, StaysBelowTwoMegabytes) {
  Report report{.subject = "large"};
  for (int gate = 0; gate < 4; ++gate) {
    report.training.push_back(test::sample_curves(fmt::format("gate{}", gate), 20'000, 80));
  }
  report.perplexity.push_back(sample_perplexity(test::sample_perplexity_json(80, 64)));
  for (int head = 0; head < 8; ++head) report.maps.push_back(test::sample_map(head, head, 512));
  EXPECT_LT(render_page(report).size(), 2'000'000U);
}

TEST(ThinCurve, MeansOfConsecutiveSteps) {
  GateCurves gate;
  for (int64_t step = 1; step <= 7; ++step) {
    gate.steps.push_back(step);
    gate.loss.push_back(static_cast<double>(step));
    gate.layer_losses.push_back({1.0, static_cast<double>(10 * step)});
  }
  const ThinCurve thin = thin_curve(gate, 3);
  EXPECT_EQ(thin.stride, 3U);
  EXPECT_THAT(thin.steps, ElementsAre(3, 6, 7));
  EXPECT_THAT(thin.loss, ElementsAre(2, 5, 7));
  EXPECT_THAT(thin.layer_losses[1], ElementsAre(1, 50));
  EXPECT_EQ(thin_curve(gate, 7).stride, 1U);
  EXPECT_THAT(thin_curve(gate, 100).loss, ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_TRUE(thin_curve({}, 5).steps.empty());
}

TEST(Spread, KeepsTheEnds) {
  EXPECT_THAT(spread(std::vector<int>{1, 2, 3}, 4), ElementsAre(1, 2, 3));
  EXPECT_THAT(spread(std::vector<int>{1, 2, 3, 4, 5}, 3), ElementsAre(1, 3, 5));
  EXPECT_THAT(spread(std::vector<int>{1, 2, 3, 4, 5}, 4), ElementsAre(1, 2, 4, 5));
}

}  // namespace
}  // namespace seer::report
