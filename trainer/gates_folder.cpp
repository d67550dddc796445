#include "trainer/gates_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"
#include "src/io/safetensors.h"
#include "trainer/folder_kind.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSafetensors = "attn_gate_weights.safetensors";
constexpr const char* kPth = "attn_gate_weights.pth";
constexpr const char* kConfig = "config.json";
constexpr const char* kCard = "README.md";

struct NamedGate {
  std::string name;
  Tensor tensor;
};

/// Every weight of every layer, in the order of the layers.
std::vector<NamedGate> named_gates(const GateParams& params) {
  std::vector<NamedGate> out;
  for (int64_t layer = 0; layer < params.num_layers(); ++layer) {
    const GateTensors tensors = params.weights(layer);
    for (const GateWeight& weight : gate_weights(params.config(), layer)) {
      out.push_back({weight.name, tensors.*weight.tensor});
    }
  }
  return out;
}

/// For messages.
std::string describe_gate(const GateEntryConfig& entry) {
  return fmt::format("type {}, force_double {}, key_pieces {}, distance_bias {}", entry.type,
                     entry.force_double, entry.key_pieces, entry.distance_bias);
}

std::vector<int64_t> extents(const Shape& shape) {
  std::vector<int64_t> out;
  out.reserve(Shape::kMaxRank);
  for (int axis = 0; axis < shape.rank(); ++axis) out.push_back(shape[axis]);
  return out;
}

std::vector<NamedTensor> views(const std::vector<OwnedTensor>& tensors) {
  std::vector<NamedTensor> out;
  out.reserve(tensors.size());
  for (const OwnedTensor& tensor : tensors) out.push_back(tensor.view());
  return out;
}

std::string architecture(const ModelConfig& model, const nlohmann::ordered_json& config) {
  if (model.model_type == "llama") return "SeerAttnLlamaForCausalLM";
  if (model.model_type == "qwen2") return "SeerAttnQwen2ForCausalLM";
  if (model.model_type == "qwen3") return "SeerAttnQwen3ForCausalLM";
  // The published package has no class for the family; the gates still load in ours.
  const auto stored = config.find("architectures");
  const bool named =
      stored != config.end() && stored->is_array() && !stored->empty() && stored->front().is_string();
  return named ? stored->front().get<std::string>() : model.model_type;
}

std::string folder_config(const GateEntryConfig& entry, const ModelConfig& model,
                          const std::string& base_model) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(model.json);
  config["architectures"] = {architecture(model, config)};
  config["base_model"] = base_model;
  config["seerattn_gate_type"] = entry.type;
  config["seerattn_gate_block_size"] = entry.block_size;
  config["seerattn_gate_hidden_size"] = prefill_gate_config(entry, model).hidden_size;
  config["seerattn_gate_force_double"] = entry.force_double;
  config["seerattn_sparsity_method"] = entry.export_.sparsity_method;
  config["seerattn_threshold"] = entry.export_.threshold;
  config["seerattn_nz_ratio"] = entry.export_.nz_ratio;
  config["seerattn_last_block_dense"] = entry.export_.last_block_dense;
  if (!prefill_gate_config(entry, model).published()) {
    config[kOurGate] = {
        {"key_pieces", entry.key_pieces},
        {"distance_bias", entry.distance_bias},
        {"note", "for seer-train alone: the published inference code does not know such gates"}};
  }
  config["use_flash_rope"] = false;
  config["fused_norm"] = false;
  return config.dump(2) + "\n";
}

/// The model's name on the hub, where its config.json has kept one: transformers writes a path there as well.
std::optional<std::string> hub_id(const ModelConfig& model) {
  const auto config = nlohmann::json::parse(model.json);
  const auto name = config.find("_name_or_path");
  if (name == config.end() || !name->is_string()) return std::nullopt;
  const auto id = name->get<std::string>();
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
  };
  const bool named = std::all_of(id.begin(), id.end(), allowed) &&
                     std::count(id.begin(), id.end(), '/') == 1 &&
                     std::isalnum(static_cast<unsigned char>(id.front())) != 0 && id.back() != '/';
  return named ? std::optional(id) : std::nullopt;
}

std::string model_card(const GateEntryConfig& entry, const ModelConfig& model, const std::string& base_model,
                       const std::string& training_note, size_t tensors) {
  const PrefillGateConfig gate = prefill_gate_config(entry, model);
  return fmt::format(
      "---\nbase_model: {0}\ntags:\n- seerattention\n- sparse-attention\n---\n\n"
      "# AttnGates for {0}\n\n"
      "One small gate per layer predicts which blocks of the attention map matter (SeerAttention, arXiv "
      "2410.13276). The "
      "base model is unchanged and not included.\n\n"
      "| | |\n|---|---|\n| gate type | `{1}` |\n| block size | {2} |\n| gate hidden size | {3} |\n"
      "| layers, query heads, kv heads, head_dim | {4}, {5}, {6}, {7} |\n| weights | {8} tensors, {9} |\n\n"
      "{10}\n\n"
      "Files: `attn_gate_weights.safetensors`, {11}, and `config.json`: the base model's, plus the gate's "
      "keys.\n\n"
      "Sequences joined from many documents seldom begin with BOS, so gates may not have met the block that "
      "such a prompt "
      "attends to the most: measure them with and without the first block always kept (`seer-train eval "
      "ppl`, "
      "`--sink-blocks 1`).\n",
      hub_id(model).value_or(base_model), entry.type, entry.block_size, gate.hidden_size, model.num_layers,
      model.num_heads, model.num_kv_heads, model.head_dim, tensors, entry.export_.dtype, training_note,
      gate.published() ? "the same weights as `attn_gate_weights.pth` for the published inference code"
                       : fmt::format("which seer-train alone can use (key_pieces {}, distance_bias {})",
                                     gate.key_pieces, gate.distance_bias));
}

/// A gate's keys of a gates folder's config.json, with the defaults of the published package.
GateEntryConfig gate_keys(const nlohmann::json& config, const std::string& where) {
  GateEntryConfig entry;
  entry.export_ = {.threshold = 0, .nz_ratio = 1, .last_block_dense = true};
  try {
    entry.type = config.value("seerattn_gate_type", entry.type);
    if (config.contains("seerattn_gate_block_size"))
      entry.block_size = integer_at(config, "seerattn_gate_block_size", where);
    entry.hidden_size = config.contains("seerattn_gate_hidden_size")
                            ? integer_at(config, "seerattn_gate_hidden_size", where)
                            : 128;
    entry.force_double = config.value("seerattn_gate_force_double", entry.force_double);
    if (const auto ours = config.find(kOurGate); ours != config.end()) {
      if (ours->contains("key_pieces") && !ours->at("key_pieces").is_number_integer()) {
        fail("{}: {}.key_pieces is {}: expected 1, 2, 4 or 8", where, kOurGate,
             ours->at("key_pieces").dump());
      }
      entry.key_pieces = ours->value("key_pieces", entry.key_pieces);
      entry.distance_bias = ours->value("distance_bias", entry.distance_bias);
      for (const auto& [key, value] : ours->items()) {
        if (key == "key_pieces" || key == "distance_bias" || key == "note") continue;
        fail("{}: {}.{} is not known: these gates are of a later seer-train", where, kOurGate, key);
      }
    }
    entry.export_.sparsity_method = config.value("seerattn_sparsity_method", entry.export_.sparsity_method);
    entry.export_.threshold = config.value("seerattn_threshold", entry.export_.threshold);
    entry.export_.nz_ratio = config.value("seerattn_nz_ratio", entry.export_.nz_ratio);
    entry.export_.last_block_dense =
        config.value("seerattn_last_block_dense", entry.export_.last_block_dense);
  } catch (const nlohmann::json::exception& e) {
    fail("{}: a seerattn_* key, or one of {}, has the wrong type: {}", where, kOurGate, e.what());
  }
  constexpr std::array<int64_t, 4> kPieces = {1, 2, 4, 8};
  if (std::find(kPieces.begin(), kPieces.end(), entry.key_pieces) == kPieces.end()) {
    fail("{}: {}.key_pieces is {}: expected 1, 2, 4 or 8", where, kOurGate, entry.key_pieces);
  }
  return entry;
}

}  // namespace

void check_init_from(const fs::path& path, const GateTraining& gates) {
  const fs::path file = path / kConfig;
  if (!fs::exists(file)) {
    log::warn("{} comes without config.json: that its gates are of {} cannot be checked", path.string(),
              describe_gate(gates.entry()));
    return;
  }
  const GateEntryConfig stored = gate_keys(read_json_file(file), file.string());
  const GateEntryConfig& wanted = gates.entry();
  if (stored.type != wanted.type || stored.force_double != wanted.force_double ||
      stored.key_pieces != wanted.key_pieces || stored.distance_bias != wanted.distance_bias ||
      stored.hidden_size != gates.config().hidden_size) {
    fail("init_from {}: gates of {}, hidden size {}; gate \"{}\" is of {}, hidden size {}", path.string(),
         describe_gate(stored), stored.hidden_size, wanted.name, describe_gate(wanted),
         gates.config().hidden_size);
  }
  if (stored.block_size != gates.entry().block_size) {
    log::warn("init_from {}: gates for blocks of {} go on for blocks of {}", path.string(), stored.block_size,
              gates.entry().block_size);
  }
}

GateEntryConfig read_gate_entry(const fs::path& folder) {
  const fs::path file = folder / kConfig;
  if (!fs::exists(file)) {
    fail("{} is {}: a gates folder with a config.json was expected{}", folder.string(), describe_path(folder),
         folder_kind(folder) == FolderKind::kRun ? "; those of a run lie in its gates/NAME" : "");
  }
  const nlohmann::json config = read_json_file(file);
  if (!config.contains("seerattn_gate_type")) {
    fail("{} names no seerattn_gate_type: it belongs to no prefill gates{}", file.string(),
         folder_kind(folder) == FolderKind::kRun ? "; those of a run lie in its gates/NAME" : "");
  }
  return gate_keys(config, file.string());
}

void check_complete(const fs::path& folder, std::span<const NamedTensor> tensors) {
  const fs::path file = folder / kConfig;
  const nlohmann::json config = read_json_file(file);
  if (!config.contains("seerattn_gate_type")) return;  // decode gates have other tensors
  const ModelConfig model = parse_model_config(config.dump(), file.string());
  const PrefillGateConfig gate = prefill_gate_config(gate_keys(config, file.string()), model);
  for (int64_t layer = 0; layer < model.num_layers; ++layer) {
    for (const GateWeight& weight : gate_weights(gate, layer)) {
      const auto it = std::find_if(tensors.begin(), tensors.end(),
                                   [&](const NamedTensor& t) { return t.name == weight.name; });
      if (it == tensors.end()) fail("{}: tensor {} is missing", folder.string(), weight.name);
      if (it->shape != extents(weight.shape)) {
        fail("{}: tensor {} is {}: config.json asks for {}", folder.string(), weight.name,
             shape_text(it->shape), to_string(weight.shape));
      }
    }
  }
}

DType export_dtype(const GateEntryConfig& entry) {
  return entry.export_.dtype == "fp32" ? DType::kF32 : DType::kBF16;
}

std::vector<OwnedTensor> download_gates(Backend& backend, Queue& queue, const GateTraining& gates,
                                        DType dtype) {
  const GateParams& params = gates.params();
  std::vector<float> host(params.size());
  const Tensor flat(host.data(), DType::kF32, Shape{params.size()});
  backend.copy(queue, params.flat_weights(), flat);
  backend.synchronize(queue);
  const auto* base = static_cast<const float*>(params.flat_weights().raw());
  std::vector<OwnedTensor> out;
  for (const NamedGate& gate : named_gates(params)) {
    const float* values = host.data() + (static_cast<const float*>(gate.tensor.raw()) - base);
    if (!all_finite(values, DType::kF32, gate.tensor.numel())) {
      fail("gate \"{}\": tensor {} holds NaN or infinity and is not written", gates.entry().name, gate.name);
    }
    OwnedTensor tensor{gate.name, dtype, extents(gate.tensor.shape()), {}};
    tensor.bytes.resize(gate.tensor.numel() * size_of(dtype));
    convert_from_f32(values, gate.tensor.numel(), dtype, tensor.bytes.data());
    out.push_back(std::move(tensor));
  }
  return out;
}

std::vector<OwnedTensor> read_gates(const fs::path& path) {
  fs::path file = path;
  if (fs::is_directory(path)) {
    file = fs::exists(path / kSafetensors) ? path / kSafetensors : path / kPth;
    if (!fs::exists(file)) {
      const bool run = folder_kind(path) == FolderKind::kRun;
      fail("{} is {}, no gates folder: expected {} or {} in it{}", path.string(), describe_path(path),
           kSafetensors, kPth, run ? "; those of a run lie in its gates/NAME" : "");
    }
  }
  if (file.extension() != ".safetensors") return PthFile(file).tensors();
  const SafetensorsFile contents(file);
  std::vector<OwnedTensor> out;
  for (const NamedTensor& tensor : contents.tensors()) {
    out.push_back({tensor.name, tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}});
  }
  return out;
}

void upload_gates(Backend& backend, Queue& queue, const std::vector<OwnedTensor>& tensors,
                  const std::string& where, const GateEntryConfig& entry, const GateParams& params) {
  const auto* base = static_cast<const float*>(params.flat_weights().raw());
  std::vector<float> host(params.size());
  const std::vector<NamedGate> wanted = named_gates(params);
  for (const NamedGate& gate : wanted) {
    const auto it = std::find_if(tensors.begin(), tensors.end(),
                                 [&](const OwnedTensor& t) { return t.name == gate.name; });
    if (it == tensors.end()) {
      fail("{}: tensor {} is missing: gates of {} for {} layers need {} tensors, the file holds {}", where,
           gate.name, describe_gate(entry), params.num_layers(), wanted.size(), tensors.size());
    }
    if (it->view().numel() == 0) {
      fail(
          "{}: tensor {} is empty ({}): a save of sharded (ZeRO-3) weights writes such files; gather them "
          "before saving",
          where, gate.name, shape_text(it->shape));
    }
    if (it->shape != extents(gate.tensor.shape())) {
      fail("{}: tensor {} is {}: gate type {} with hidden size {} needs {}", where, gate.name,
           shape_text(it->shape), entry.type, params.config().hidden_size, to_string(gate.tensor.shape()));
    }
    if (!is_floating(it->dtype) || !all_finite(it->bytes.data(), it->dtype, gate.tensor.numel())) {
      fail("{}: tensor {} ({}) holds values that are not finite numbers", where, gate.name,
           name_of(it->dtype));
    }
    convert_to_f32(it->bytes.data(), it->dtype, gate.tensor.numel(),
                   host.data() + (static_cast<const float*>(gate.tensor.raw()) - base));
  }
  for (const OwnedTensor& tensor : tensors) {
    const bool known =
        std::any_of(wanted.begin(), wanted.end(), [&](const NamedGate& g) { return g.name == tensor.name; });
    if (!known) {
      fail("{}: tensor {} does not belong to gates of {} for {} layers", where, tensor.name,
           describe_gate(entry), params.num_layers());
    }
  }
  backend.copy(queue, ConstTensor(host.data(), DType::kF32, Shape{params.size()}), params.flat_weights());
  backend.synchronize(queue);
}

void check_gates_folder(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  if (!fs::is_directory(folder)) fail_usage("{} is a file: gates are written as a folder", folder.string());
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name == kSafetensors || name == kPth || name == kConfig || name == kCard) continue;
    fail_usage("{} holds {}, which writing gates there would delete: move it away, or give another folder",
               folder.string(), name);
  }
}

namespace {

/// The config.json, and in it the thresholds that `calibrate` wrote into `folder` if its weights are those of `weights`:
/// thresholds belong to weights, those of others are not taken over.
std::string with_thresholds(std::string config, const fs::path& folder, const fs::path& weights) {
  if (!fs::exists(folder / kConfig)) return config;
  try {
    const nlohmann::json before = read_json_file(folder / kConfig);
    if (!before.is_object() || !before.contains(kCalibratedThresholds)) return config;
    if (fs::exists(folder / kSafetensors) &&
        read_text_file(folder / kSafetensors) == read_text_file(weights)) {
      auto kept = nlohmann::ordered_json::parse(config);
      kept[kCalibratedThresholds] = before.at(kCalibratedThresholds);
      return kept.dump(2) + "\n";
    }
    log::warn("{}: thresholds of `calibrate` were for the weights before: calibrate again", folder.string());
  } catch (const Error& error) {  // it is about to be replaced
    log::warn("{}", error.what());
  }
  return config;
}

}  // namespace

void write_gates_folder(const fs::path& where, const std::vector<OwnedTensor>& tensors,
                        const GateEntryConfig& entry, const ModelConfig& model, const std::string& base_model,
                        const std::string& training_note) {
  const fs::path folder = without_trailing_slash(where);
  check_gates_folder(folder);
  const fs::path temporary = folder.string() + fmt::format(".tmp.{}", ::getpid());
  std::error_code error;
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  if (error) fail("cannot write {}: {}", folder.string(), error.message());
  try {
    const std::vector<NamedTensor> named = views(tensors);
    write_safetensors(temporary / kSafetensors, named, {{"format", "pt"}});
    if (prefill_gate_config(entry, model).published()) write_pth(temporary / kPth, named);
    write_file_atomically(temporary / kConfig, with_thresholds(folder_config(entry, model, base_model),
                                                               folder, temporary / kSafetensors));
    write_file_atomically(temporary / kCard,
                          model_card(entry, model, base_model, training_note, tensors.size()));
    commit_folder(temporary, folder);
  } catch (...) {
    fs::remove_all(temporary, error);
    throw;
  }
}

}  // namespace seer
