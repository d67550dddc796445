// What the bench subcommands share: medians, the model whose shape is measured, the JSON beside the table, the line above it.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/model/model_config.h"
#include "trainer/bench/commands.h"

namespace seer {

/// Of at least one value.
double median(std::vector<double> values);

/// The shape in `path`, a config.json or a folder that holds one; empty: Llama-3.1-8B's.
ModelConfig bench_model(const std::string& path);

/// What every report begins with: the bench, the build, the device.
nlohmann::ordered_json begin_report(const std::string& bench, const std::string& device);

/// The same of a bench of attention, with the kernel and the shape.
nlohmann::ordered_json begin_attention_report(const std::string& bench, const std::string& device,
                                              const AttentionBenchOptions& options);
/// "device; 32 heads, ...; causal, bf16; medians of 10": the line above the table of such a bench.
std::string attention_heading(const std::string& device, const AttentionBenchOptions& options);
/// Throws a usage Error if the query heads cannot be shared out among the kv heads.
void check_heads(const AttentionBenchOptions& options);

nlohmann::ordered_json describe_shape(const ModelConfig& model);

/// Writes the report to `path`; nothing if that is empty.
void write_report(const std::string& path, const nlohmann::ordered_json& report);

}  // namespace seer
