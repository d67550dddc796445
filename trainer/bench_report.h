// What the bench subcommands share: medians, the model whose shape is measured, the JSON beside the table.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/model/model_config.h"

namespace seer {

/// Of at least one value.
double median(std::vector<double> values);

/// The shape in `path`, a config.json or a folder that holds one; empty: Llama-3.1-8B's.
ModelConfig bench_model(const std::string& path);

/// What every report begins with: the bench, the build, the device.
nlohmann::ordered_json begin_report(const std::string& bench, const std::string& device);

nlohmann::ordered_json describe_shape(const ModelConfig& model);

/// Writes the report to `path`; nothing if that is empty.
void write_report(const std::string& path, const nlohmann::ordered_json& report);

}  // namespace seer
