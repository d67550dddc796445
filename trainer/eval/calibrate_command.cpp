#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"
#include "trainer/eval/calibration.h"
#include "trainer/eval/commands.h"
#include "trainer/eval/provenance.h"
#include "trainer/eval/recall_pass.h"
#include "trainer/gates_folder.h"
#include "trainer/output_path.h"
#include "trainer/table.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

/// The thresholds, and what they are for.
Json found_thresholds(const CalibrateOptions& options, const HeadValues& calibrated, int64_t length,
                      size_t windows) {
  Json json = Json::parse(to_json(calibrated));
  const bool by_density = options.target.density > 0;
  json[kTarget] = {
      {by_density ? "density" : "recall", by_density ? options.target.density : options.target.recall},
      {"data", fmt::format("{}", fmt::join(options.held_out.data, ","))},
      {kTargetLength, length},
      {"windows", windows},
      {"model_checksum", model_checksum(options.model.model)}};
  json[kThresholdsOf] = gates_checksum(options.model.gates);
  return json;
}

/// Adds the thresholds to the gates' config.json, whose other keys stay as they are.
void write_into_gates(const std::string& gates, const Json& thresholds) {
  const std::string file = gates + "/config.json";
  auto config = Json::parse(read_text_file(file));
  config[kCalibratedThresholds] = thresholds;
  write_file_atomically(file, config.dump(2) + "\n");
}

struct Range {
  double least = 1e300;
  double most = -1e300;
};

Range range_of(const std::vector<std::vector<double>>& by_head) {
  Range range;
  for (const std::vector<double>& layer : by_head) {
    for (const double value : layer) range = {std::min(range.least, value), std::max(range.most, value)};
  }
  return range;
}

}  // namespace

int calibrate_command(const CalibrateOptions& options) {
  if ((options.target.density > 0) == (options.target.recall > 0))
    fail_usage("calibrate needs one of --density and --recall{}",
               options.target.density > 0 ? ", not both" : "");
  if (options.model.gates.empty())
    fail_usage("calibrate needs --gates: the folder whose thresholds it finds");
  check_output_path("--to", options.to);
  const int64_t length =
      options.length > 0 ? options.length : default_length(load_model_config(options.model.model));
  EvalModel model(options.model, length);
  const auto windows =
      held_out_windows(options.held_out, model, held_out_documents(options.held_out, model), length);
  log::info("{} window{} of {} tokens on {}", windows.size(), windows.size() == 1 ? "" : "s", length,
            model.backend().name());
  SelectionRule rule = options.selection.with_forced({});
  rule.by = SelectBy::kThreshold;
  rule.value = 0;
  const HeadValues calibrated{.rule = rule,
                              .values = calibrate_thresholds(model, windows, options.target, rule)};
  const std::vector<std::vector<float>>& thresholds = calibrated.values;

  // What was found is measured by the selection that will use it.
  RecallPass check(
      model.backend(), model.config(), model.weights(), model.gates(), length, model.block_size(),
      {{.method = ScoringMethod{.kind = ScoringMethod::Kind::kGate}, .rule = rule, .values = thresholds}});
  for (const std::vector<int32_t>& window : windows) check.add(window);
  const RecallResult reached = check.results().front();
  TextTable table({"", "mean", "least head", "most head"});
  const auto add = [&](const char* name, double mean, const Range& range, const char* format) {
    table.add_row({name, fmt::format(fmt::runtime(format), mean),
                   fmt::format(fmt::runtime(format), range.least),
                   fmt::format(fmt::runtime(format), range.most)});
  };
  std::vector<std::vector<double>> values;
  values.reserve(thresholds.size());
  for (const std::vector<float>& layer : thresholds) values.emplace_back(layer.begin(), layer.end());
  add("threshold", mean_of(values), range_of(values), "{:.3g}");
  add("density", reached.mean_density(), range_of(reached.density), "{:.4f}");
  add("recall", reached.mean_recall(), range_of(reached.recall), "{:.4f}");
  fmt::print("{}", table.to_string());
  constexpr double kFarAbove = 1.2;
  if (options.target.density > 0 && reached.mean_density() > kFarAbove * options.target.density)
    log::warn("--density {} is out of reach: the blocks that are kept whatever their score are more",
              options.target.density);

  const Json found = found_thresholds(options, calibrated, length, windows.size());
  if (!options.to.empty()) {
    write_file_atomically(options.to, found.dump(1) + "\n");
    fmt::print("written to {}\n", options.to);
  } else {
    write_into_gates(options.model.gates, found);
    fmt::print("written into {}/config.json: use them with --calibrated\n", options.model.gates);
  }
  return 0;
}

}  // namespace seer
