#include "trainer/bench/report.h"

#include <algorithm>
#include <filesystem>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "trainer/version.h"

namespace seer {
namespace {

constexpr const char* kLlama8B = R"({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
  "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
  "vocab_size": 128256, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072,
  "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192}, "tie_word_embeddings": false})";

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

ModelConfig bench_model(const std::string& path) {
  if (path.empty()) return parse_model_config(kLlama8B, "Llama-3.1-8B's shape");
  if (std::filesystem::is_directory(path)) return load_model_config(path);
  return parse_model_config(read_text_file(path), path);
}

nlohmann::ordered_json begin_report(const std::string& bench, const std::string& device) {
  return {{"bench", bench}, {"version", version_text()}, {"device", device}};
}

nlohmann::ordered_json begin_attention_report(const std::string& bench, const std::string& device,
                                              const AttentionBenchOptions& options) {
  nlohmann::ordered_json report = begin_report(bench, device);
  report["kernel"] = options.portable ? "portable" : "best";
  report["num_heads"] = options.num_heads;
  report["num_kv_heads"] = options.num_kv_heads;
  report["head_dim"] = options.head_dim;
  report["block_size"] = options.block_size;
  report["repeats"] = options.repeats;
  return report;
}

std::string attention_heading(const std::string& device, const AttentionBenchOptions& options) {
  return fmt::format("{}; {} heads, {} kv heads, head_dim {}, block size {}{}; causal, bf16; medians of {}",
                     device, options.num_heads, options.num_kv_heads, options.head_dim, options.block_size,
                     options.portable ? ", portable kernel" : "", options.repeats);
}

void check_heads(const AttentionBenchOptions& options) {
  if (options.num_heads % options.num_kv_heads != 0) {
    fail_usage("--heads {} is no multiple of --kv-heads {}", options.num_heads, options.num_kv_heads);
  }
}

nlohmann::ordered_json describe_shape(const ModelConfig& model) {
  return {{"hidden_size", model.hidden_size},   {"intermediate_size", model.intermediate_size},
          {"num_layers", model.num_layers},     {"num_heads", model.num_heads},
          {"num_kv_heads", model.num_kv_heads}, {"head_dim", model.head_dim},
          {"vocab_size", model.vocab_size}};
}

void write_report(const std::string& path, const nlohmann::ordered_json& report) {
  if (!path.empty()) write_file_atomically(path, report.dump(2) + "\n");
}

}  // namespace seer
