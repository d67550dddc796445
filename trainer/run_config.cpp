#include "trainer/run_config.h"

#include <algorithm>
#include <system_error>

#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/gate/distill_layer.h"
#include "src/io/atomic_file.h"
#include "trainer/config_reader.h"
#include "trainer/config_text.h"
#include "trainer/config_writer.h"
#include "trainer/run_config_keys.h"

namespace seer {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;

/// The rules between keys; the reader has checked each key on its own.
class CrossCheck {
 public:
  CrossCheck(const RunConfig& config, const ConfigOrigins& origins) : config_(config), origins_(origins) {}

  void run() const {
    check_precision();
    check_places();
    check_rope_scaling();
    if (config_.gates.size() > kMaxGates) {
      refuse("gates", "found {} entries, expected at most {}, which one sweep trains", config_.gates.size(),
             kMaxGates);
    }
    for (size_t i = 0; i < config_.gates.size(); ++i) check_gate(i);
    check_lengths();
    check_eval();
    check_context();
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(const std::string& path, fmt::format_string<Args...> format,
                           Args&&... args) const {
    fail_usage("{}: {}: {}", origins_.of(path), path, fmt::format(format, std::forward<Args>(args)...));
  }

  void check_precision() const {
    if (config_.device == "cpu" && config_.precision == "bf16") {
      refuse("precision", "found \"bf16\", but device \"cpu\" computes in fp32; use \"auto\" or \"fp32\"");
    }
  }

  void check_places() const {
    if (config_.device != "cpu") return;
    if (config_.model.weights != "auto") {
      refuse("model.weights",
             "found \"{}\", but device \"cpu\" reads weights where their files are mapped; use \"auto\"",
             config_.model.weights);
    }
    if (config_.train.residuals != "auto") {
      refuse("train.residuals", "found \"{}\", but device \"cpu\" has one memory alone; use \"auto\"",
             config_.train.residuals);
    }
  }

  void check_rope_scaling() const {
    if (config_.model.rope_scaling.empty()) return;
    const Json scaling = Json::parse(config_.model.rope_scaling);
    const bool named = std::any_of(scaling.items().begin(), scaling.items().end(), [](const auto& item) {
      return (item.key() == "rope_type" || item.key() == "type") && item.value().is_string();
    });
    if (!named) {
      refuse("model.rope_scaling", "found {}, expected an object with a rope_type, like \"yarn\"",
             quote_json(scaling));
    }
  }

  void check_gate(size_t index) const {
    const GateEntryConfig& gate = config_.gates[index];
    const std::string path = fmt::format("gates[{}]", index);
    for (size_t other = 0; other < index; ++other) {
      if (config_.gates[other].name == gate.name) {
        refuse(path + ".name", "found \"{}\", the name of gates[{}] already; every entry needs its own",
               gate.name, other);
      }
    }
    if (gate.schedule.warmup_steps > config_.train.steps) {
      refuse(path + ".schedule.warmup_steps",
             "found {}, expected at most train.steps, which is {}; set one of the two",
             gate.schedule.warmup_steps, config_.train.steps);
    }
    const double floor = gate.schedule.min_learning_rate;
    if (gate.schedule.type != "cosine_floor" && floor != 0) {
      refuse(path + ".schedule.min_learning_rate",
             "found {}, but schedule.type is \"{}\"; only \"cosine_floor\" has a minimum", floor,
             gate.schedule.type);
    }
    if (floor > gate.optimizer.learning_rate) {
      refuse(path + ".schedule.min_learning_rate",
             "found {}, expected at most optimizer.learning_rate, which is {}", floor,
             gate.optimizer.learning_rate);
    }
  }

  /// A gate loss leaves out the first quarter of the blocks: with fewer than two there is nothing to select.
  void check_lengths() const {
    const auto largest = std::max_element(
        config_.gates.begin(), config_.gates.end(),
        [](const GateEntryConfig& a, const GateEntryConfig& b) { return a.block_size < b.block_size; });
    const auto check = [&](const std::string& path, int64_t length) {
      if (length >= 2 * largest->block_size) return;
      refuse(path, "found {}, expected at least {}: two blocks of gates[{}], whose block_size is {}", length,
             2 * largest->block_size, largest - config_.gates.begin(), largest->block_size);
    };
    check("data.sequence_length", config_.data.sequence_length);
    if (config_.eval.sequence_length != 0) check("eval.sequence_length", config_.eval.sequence_length);
  }

  void check_eval() const {
    if (config_.eval.every > 0 && config_.eval.files.empty()) {
      refuse("eval.every", "found {}, but eval.files names no held-out text", config_.eval.every);
    }
    std::vector<double> densities = config_.eval.densities;
    std::sort(densities.begin(), densities.end());
    if (const auto twice = std::adjacent_find(densities.begin(), densities.end()); twice != densities.end()) {
      refuse("eval.densities", "{} is given twice", *twice);
    }
  }

  /// A rank owns whole blocks of every sequence, two chunks of them.
  void check_context() const {
    const int64_t context = config_.parallel.context;
    if (context == 1) return;
    if (config_.data.layout != "joined") {
      refuse("parallel.context",
             "found {}, but data.layout is \"{}\"; sequences of one length, \"joined\", can be spread",
             context, config_.data.layout);
    }
    int64_t block = 0;
    for (const GateEntryConfig& gate : config_.gates) block = std::max(block, gate.block_size);
    const int64_t unit = 2 * context * block;
    const auto check = [&](const std::string& path, int64_t length) {
      if (length % unit == 0) return;
      refuse(path, "found {}, expected a multiple of {}: 2 * parallel.context * the largest block_size",
             length, unit);
    };
    check("data.sequence_length", config_.data.sequence_length);
    if (config_.eval.sequence_length != 0) check("eval.sequence_length", config_.eval.sequence_length);
  }

  const RunConfig& config_;
  const ConfigOrigins& origins_;
};

}  // namespace

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) fail_usage("config {}: no such file", path.string());
  if (!std::filesystem::is_regular_file(status)) fail_usage("config {}: not a regular file", path.string());
  return parse_run_config(read_text_file(path, kMaxConfigBytes), path.string(), overrides);
}

RunConfig parse_run_config(const std::string& text, const std::string& where,
                           const std::vector<std::string>& overrides) {
  RunConfig config;
  const ConfigSection keys = describe(config);
  ConfigOrigins origins(where);
  const ConfigReader reader(keys, origins);
  reader.read(parse_config_text(text, where, &origins));
  for (const std::string& argument : overrides) reader.apply_override(argument);
  reader.check_not_empty();
  CrossCheck(config, origins).run();
  return config;
}

std::string to_json(const RunConfig& config) {
  RunConfig copy = config;
  try {
    return write_values(describe(copy)).dump(2) + "\n";
  } catch (const Json::type_error& error) {
    fail("the config cannot be written as JSON: {}", error.what());
  }
}

namespace {

void flatten(const Json& value, const std::string& path, std::map<std::string, std::string>& out) {
  if (value.is_object()) {
    for (const auto& [key, part] : value.items()) flatten(part, path.empty() ? key : path + "." + key, out);
  } else if (value.is_array() && !value.empty() && value.front().is_object()) {
    for (size_t i = 0; i < value.size(); ++i) flatten(value[i], fmt::format("{}[{}]", path, i), out);
  } else {
    out[path] = value.dump();
  }
}

}  // namespace

std::map<std::string, std::string> flat_config(const RunConfig& config) {
  std::map<std::string, std::string> flat;
  flatten(Json::parse(to_json(config)), "", flat);
  return flat;
}

std::string config_schema_json() {
  RunConfig defaults;
  Json schema = {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "seer-train run config"},
      {"description",
       "One training run. Paths are relative to the working directory. Comments (// and /* */) are "
       "allowed in the file; rules between keys are in the descriptions."}};
  schema.update(write_schema(describe(defaults)));
  return schema.dump(2) + "\n";
}

std::string config_reference_markdown() {
  RunConfig defaults;
  return write_reference(describe(defaults));
}

}  // namespace seer
