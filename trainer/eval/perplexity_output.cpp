#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "trainer/eval/perplexity.h"
#include "trainer/eval/plans.h"
#include "trainer/eval/provenance.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

double change_of(const PerplexityResult& result, const SparseResult& row) {
  return row.perplexity / result.dense.perplexity - 1.0;
}

/// What the type does not say, as configs spell it; empty for the published form.
std::string gate_form(const GateEntryConfig& gates) {
  std::vector<std::string> parts;
  if (gates.force_double) parts.emplace_back("force_double");
  if (gates.key_pieces > 1) parts.push_back(fmt::format("key_pieces {}", gates.key_pieces));
  if (gates.distance_bias) parts.emplace_back("distance_bias");
  return fmt::format("{}", fmt::join(parts, ", "));
}

Json row_json(const PerplexityResult& result, const SparseResult& row) {
  Json json = {
      {"method", to_string(*row.plan.method)},
      {"rule", name_of(row.plan.rule.by)},
      {"value", row.plan.values.empty() ? Json(row.plan.rule.value) : Json()},  // by head: no one value
      {"density", row.density},
      {"perplexity", row.perplexity},
      {"change", change_of(result, row)},
      {"recall", nullptr},
      {"prefill_seconds", nullptr},
      {"speedup", nullptr},
      {"values_by_head", row.plan.values.empty() ? Json() : Json(row.plan.values)},
      {"density_by_head", row.density_by_head},
      {"recall_by_head", nullptr},
      // Of the blocks that recall speaks of: on the dense model's q and k, where a threshold keeps others.
      {"recall_density", nullptr},
      {"label", rule_text(row.plan)},
      {"kept_besides",
       {{"sink_blocks", row.plan.rule.sink_blocks},
        {"local_blocks", row.plan.rule.local_blocks},
        {"min_blocks", row.plan.rule.min_blocks},
        {"dense_last_rows", row.plan.rule.dense_last_rows},
        {"always_diagonal", row.plan.rule.always_diagonal},
        {"dense_layers", row.plan.dense_layers}}}};
  if (!row.recall.recall.empty()) {
    json["recall"] = row.recall.mean_recall();
    json["recall_by_head"] = row.recall.recall;
    json["recall_density"] = row.recall.mean_density();
  }
  if (row.prefill_seconds > 0) {
    json["prefill_seconds"] = row.prefill_seconds;
    json["speedup"] = result.dense.prefill_seconds / row.prefill_seconds;
  }
  return json;
}

}  // namespace

std::string perplexity_json(const EvalModel& model, const HeldOutFlags& held_out,
                            const std::vector<PerplexityResult>& results) {
  const EvalModelOptions& options = model.options();
  Json json = {{"kind", "perplexity"},
               {"version", 1},
               {"model", options.model},
               {"model_checksum", model_checksum(options.model)},
               {"gates", options.gates.empty() ? Json() : Json(options.gates)},
               {"gates_checksum", options.gates.empty() ? Json() : Json(gates_checksum(options.gates))},
               {"data", fmt::format("{}", fmt::join(held_out.data, ","))},
               {"windows_of_a_document", held_out.windows},
               {"documents", held_out.documents},
               {"keep_document_bos", held_out.keep_document_bos},
               {"device", options.device},
               {"precision", options.precision},
               {"block_size", model.block_size()},
               {"gate_type", model.gates() != nullptr ? Json(model.gates()->entry().type) : Json()},
               {"gate_form", model.gates() != nullptr ? gate_form(model.gates()->entry()) : ""},
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
      table.add_row({tokens, to_string(*row.plan.method), rule_text(row.plan),
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
