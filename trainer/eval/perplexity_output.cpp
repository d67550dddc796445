#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "trainer/eval/perplexity.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

double change_of(const PerplexityResult& result, const SparseResult& row) {
  return row.perplexity / result.dense.perplexity - 1.0;
}

Json row_json(const PerplexityResult& result, const SparseResult& row) {
  Json json = {{"method", to_string(row.method)},
               {"rule", name_of(row.rule.by)},
               {"value", row.rule.value},
               {"density", row.density},
               {"perplexity", row.perplexity},
               {"change", change_of(result, row)},
               {"recall", nullptr},
               {"prefill_seconds", nullptr},
               {"speedup", nullptr},
               {"density_by_head", row.density_by_head},
               {"recall_by_head", nullptr}};
  if (!row.recall.recall.empty()) {
    json["recall"] = row.recall.mean_recall();
    json["recall_by_head"] = row.recall.recall;
  }
  if (row.prefill_seconds > 0) {
    json["prefill_seconds"] = row.prefill_seconds;
    json["speedup"] = result.dense.prefill_seconds / row.prefill_seconds;
  }
  return json;
}

}  // namespace

std::string name_of(SelectBy by) {
  switch (by) {
    case SelectBy::kThreshold:
      return "threshold";
    case SelectBy::kNzRatio:
      return "nz_ratio";
    case SelectBy::kTokenBudget:
      return "token_budget";
    case SelectBy::kTopP:
      return "top_p";
  }
  fail("a rule without a name");
}

std::string perplexity_json(const EvalModel& model, const std::string& data,
                            const std::vector<PerplexityResult>& results) {
  const EvalModelOptions& options = model.options();
  Json json = {{"kind", "perplexity"},
               {"version", 1},
               {"model", options.model},
               {"gates", options.gates.empty() ? Json() : Json(options.gates)},
               {"data", data},
               {"device", options.device},
               {"block_size", model.block_size()},
               {"gate_type", model.gates() != nullptr ? Json(model.gates()->entry().type) : Json()},
               {"lengths", Json::array()}};
  for (const PerplexityResult& result : results) {
    Json length = {
        {"length", result.length},
        {"windows", result.windows},
        {"dense",
         {{"perplexity", result.dense.perplexity}, {"prefill_seconds", result.dense.prefill_seconds}}},
        {"rows", Json::array()}};
    for (const SparseResult& row : result.rows) length["rows"].push_back(row_json(result, row));
    json["lengths"].push_back(std::move(length));
  }
  return json.dump(1) + "\n";
}

std::string perplexity_table(const std::vector<PerplexityResult>& results) {
  TextTable table(
      {"tokens", "method", "rule", "density", "perplexity", "change", "recall", "prefill", "speed-up"});
  for (const PerplexityResult& result : results) {
    const std::string tokens = std::to_string(result.length);
    table.add_row({tokens, "dense", "", "1", fmt::format("{:.3f}", result.dense.perplexity), "", "",
                   fmt::format("{:.3f} s", result.dense.prefill_seconds), ""});
    for (const SparseResult& row : result.rows) {
      const bool timed = row.prefill_seconds > 0;
      table.add_row({tokens, to_string(row.method),
                     fmt::format("{} {:g}", name_of(row.rule.by), row.rule.value),
                     fmt::format("{:.4f}", row.density), fmt::format("{:.3f}", row.perplexity),
                     fmt::format("{:+.2f} %", 100 * change_of(result, row)),
                     row.recall.recall.empty() ? "" : fmt::format("{:.4f}", row.recall.mean_recall()),
                     timed ? fmt::format("{:.3f} s", row.prefill_seconds) : "",
                     timed ? fmt::format("{:.2f}", result.dense.prefill_seconds / row.prefill_seconds) : ""});
    }
    if (&result != &results.back()) table.add_rule();
  }
  return table.to_string();
}

}  // namespace seer
