#include "trainer/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "src/io/json_file.h"
#include "src/io/safetensors.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kState = "state.safetensors";
constexpr const char* kTrainer = "trainer_state.json";
constexpr const char* kPrefix = "step-";
constexpr const char* kTemporary = ".saving";
constexpr int kFormat = 1;

/// The arrays of one gate entry that a checkpoint holds.
std::vector<std::pair<std::string, Tensor>> arrays(const GateTraining& gate) {
  const std::string& name = gate.entry().name;
  return {{name + "/weights", gate.params().flat_weights()},
          {name + "/first_moment", gate.params().first_moment()},
          {name + "/second_moment", gate.params().second_moment()}};
}

/// The step of a folder "step-<digits>"; nothing for any other name.
std::optional<int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [parsed, error] = std::from_chars(name.data() + std::string_view(kPrefix).size(), end, step);
  if (error != std::errc() || parsed != end) return std::nullopt;
  return step;
}

/// Complete checkpoints, oldest first.
std::vector<fs::path> list_checkpoints(const fs::path& folder) {
  std::vector<std::pair<int64_t, fs::path>> found;
  if (fs::is_directory(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const auto step = step_of(entry.path());
      if (step && fs::exists(entry.path() / kTrainer)) found.emplace_back(*step, entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> out;
  out.reserve(found.size());
  for (auto& [step, path] : found) out.push_back(std::move(path));
  return out;
}

void write_state(const fs::path& file, Backend& backend, Queue& queue, std::span<const GateTraining> gates) {
  std::vector<std::vector<float>> storage;
  std::vector<NamedTensor> tensors;
  for (const GateTraining& gate : gates) {
    for (const auto& [name, tensor] : arrays(gate)) {
      if (tensor.numel() == 0)
        fail("{}: {} is empty: the checkpoint is not written", file.parent_path().string(), name);
      std::vector<float>& host = storage.emplace_back(tensor.numel());
      backend.copy(queue, tensor, Tensor(host.data(), DType::kF32, tensor.shape()));
      backend.synchronize(queue);
      if (!all_finite(host.data(), DType::kF32, tensor.numel())) {
        fail("{}: {} holds NaN or infinity: the checkpoint is not written", file.parent_path().string(),
             name);
      }
      tensors.push_back({name, DType::kF32, {tensor.numel()}, std::as_bytes(std::span(host))});
    }
  }
  write_safetensors(file, tensors, {{"format", "seer-train"}});
}

void load_array(const SafetensorsFile& file, const std::string& name, const Tensor& to, Backend& backend,
                Queue& queue) {
  const NamedTensor& tensor = file.at(name);
  if (tensor.dtype != DType::kF32 || tensor.shape != std::vector<int64_t>{to.numel()}) {
    fail("{}: {} is {} {}: expected F32 [{}]", file.display_name(), name, name_of(tensor.dtype),
         shape_text(tensor.shape), to.numel());
  }
  if (!all_finite(tensor.bytes.data(), tensor.dtype, to.numel())) {
    fail("{}: {} holds NaN or infinity", file.display_name(), name);
  }
  std::vector<float> host(to.numel());
  convert_to_f32(tensor.bytes.data(), tensor.dtype, to.numel(), host.data());
  backend.copy(queue, ConstTensor(host.data(), DType::kF32, to.shape()), to);
  backend.synchronize(queue);
}

/// "gates[1]" of "gates[1].block_size"; the key itself where it is not an entry's.
std::string entry_of(const std::string& key) {
  return key.substr(0, key.starts_with("gates[") ? key.find('.') : std::string::npos);
}

bool has_entry(const std::map<std::string, std::string>& identity, const std::string& entry) {
  return std::any_of(identity.begin(), identity.end(),
                     [&](const auto& value) { return entry_of(value.first) == entry; });
}

/// Keys of a gate that one side lacks altogether are one difference.
std::vector<std::string> differences_of(const std::map<std::string, std::string>& saved,
                                        const std::map<std::string, std::string>& now) {
  std::set<std::string> keys;
  for (const auto* side : {&now, &saved}) {
    for (const auto& [key, value] : *side) keys.insert(key);
  }
  const auto value_of = [](const std::map<std::string, std::string>& identity, const std::string& key) {
    const auto it = identity.find(key);
    return it == identity.end() ? "absent" : it->second;
  };
  std::vector<std::string> differences;
  for (const std::string& key : keys) {
    const std::string entry = entry_of(key);
    std::string difference;
    if (!has_entry(saved, entry) && entry != key) {
      difference = fmt::format("{} is new", entry);
    } else if (!has_entry(now, entry) && entry != key) {
      difference = fmt::format("{} is gone", entry);
    } else if (value_of(saved, key) != value_of(now, key)) {
      difference = fmt::format("{} was {} and is now {}", key, value_of(saved, key), value_of(now, key));
    }
    if (!difference.empty() && (differences.empty() || differences.back() != difference))
      differences.push_back(difference);
  }
  return differences;
}

}  // namespace

std::map<std::string, std::string> run_identity(const RunConfig& config, const ModelConfig& model,
                                                uint32_t weights) {
  const Json json = Json::parse(to_json(config));
  std::map<std::string, std::string> identity;
  for (const char* key : {"seed", "device"}) identity[key] = json[key].dump();
  const char* usual = config.device == "cuda" ? "bf16" : "fp32";
  identity["precision"] = config.precision == "auto" ? usual : config.precision;
  for (const char* key : {"steps", "batch_size"})
    identity[fmt::format("train.{}", key)] = json["train"][key].dump();
  for (const char* key : {"layout", "sequence_length"}) {
    identity[fmt::format("data.{}", key)] = json["data"][key].dump();
  }
  for (size_t g = 0; g < config.gates.size(); ++g) {
    for (const auto& [key, value] : json["gates"][g].items()) {
      if (key == "export" || key == "init_from") continue;
      // Of checkpoints of before these keys were: the published gate.
      if ((key == "key_pieces" && value == 1) || (key == "distance_bias" && value == false)) continue;
      identity[fmt::format("gates[{}].{}", g, key)] = value.dump();
    }
  }
  identity["model"] =
      fmt::format("{} with {} layers, hidden {}, heads {}/{}, head_dim {}", model.model_type,
                  model.num_layers, model.hidden_size, model.num_heads, model.num_kv_heads, model.head_dim);
  const RopeConfig& rope = model.rope;
  identity["model.rope"] = fmt::format(
      "type {}, theta {}, factor {}, frequency factors {} and {}, betas {} and {}, attention factor {}, "
      "original positions {}",
      static_cast<int>(rope.type), rope.theta, rope.factor, rope.low_freq_factor, rope.high_freq_factor,
      rope.beta_fast, rope.beta_slow, rope.attention_factor.value_or(0.0),
      rope.original_max_position_embeddings);
  identity["model.weights"] = fmt::format("fingerprint {:08x}", weights);
  return identity;
}

void save_checkpoint(const fs::path& checkpoints, const TrainerState& state, Backend& backend, Queue& queue,
                     std::span<const GateTraining> gates, int64_t keep_last) {
  const fs::path target = checkpoints / fmt::format("{}{:08d}", kPrefix, state.step);
  const fs::path temporary = checkpoints / kTemporary;
  std::error_code error;
  fs::remove_all(temporary, error);  // of a save that was interrupted
  fs::create_directories(temporary, error);
  if (error) fail("cannot write {}: {}", temporary.string(), error.message());
  try {
    write_state(temporary / kState, backend, queue, gates);
    write_file_atomically(temporary / kTrainer, to_json(state));
    commit_folder(temporary, target);
  } catch (...) {
    fs::remove_all(temporary, error);
    throw;
  }
  const std::vector<fs::path> all = list_checkpoints(checkpoints);
  for (size_t i = 0; i + std::max<int64_t>(1, keep_last) < all.size(); ++i) {
    if (all[i] != target) fs::remove_all(all[i], error);
  }
}

std::optional<fs::path> latest_checkpoint(const fs::path& checkpoints) {
  const std::vector<fs::path> all = list_checkpoints(checkpoints);
  if (all.empty()) return std::nullopt;
  return all.back();
}

std::string to_json(const TrainerState& state) {
  const Json json = {{"format", kFormat},
                     {"step", state.step},
                     {"tokens", state.tokens},
                     {"seconds", state.seconds},
                     {"data_cursor", Json::parse(to_json(state.cursor))},
                     {"identity", state.identity}};
  return json.dump(1) + "\n";
}

TrainerState trainer_state_from_json(const std::string& text, const std::string& where) {
  const std::string damaged = fmt::format("{}: the checkpoint is damaged", where);
  try {
    const auto json = nlohmann::json::parse(text);
    if (integer_at(json, "format", damaged) != kFormat) {
      fail("{}: format {}: this seer-train reads format {}", where, json.at("format").dump(), kFormat);
    }
    TrainerState state;
    state.step = integer_at(json, "step", damaged);
    state.tokens = integer_at(json, "tokens", damaged);
    state.seconds = json.at("seconds").get<double>();
    state.cursor = data_cursor_from_json(json.at("data_cursor").dump());
    state.identity = json.at("identity").get<std::map<std::string, std::string>>();
    if (state.step < 0 || state.tokens < 0) fail("{}: negative step or token count", where);
    return state;
  } catch (const nlohmann::json::exception& e) {
    fail("{}: {}", damaged, e.what());
  }
}

TrainerState read_trainer_state(const fs::path& checkpoint) {
  const fs::path file = checkpoint / kTrainer;
  TrainerState state = trainer_state_from_json(read_json_file(file).dump(), file.string());
  if (step_of(checkpoint).value_or(state.step) != state.step) {
    fail("{}: step {} in a folder of another step: the checkpoint is damaged", file.string(), state.step);
  }
  return state;
}

void check_identity(const fs::path& checkpoint, const TrainerState& state,
                    const std::map<std::string, std::string>& now) {
  const std::vector<std::string> differences = differences_of(state.identity, now);
  if (differences.empty()) return;
  constexpr size_t kShown = 12;
  std::string list = differences.front();
  for (size_t i = 1; i < std::min(differences.size(), kShown); ++i) list += "; " + differences[i];
  if (differences.size() > kShown) list += fmt::format("; and {} more", differences.size() - kShown);
  fail(
      "{} belongs to another config: {}. Resume with the config of that run, or give output.dir a new folder",
      checkpoint.string(), list);
}

void load_checkpoint(const fs::path& checkpoint, Backend& backend, Queue& queue,
                     std::span<GateTraining> gates) {
  const SafetensorsFile file(checkpoint / kState);
  for (const GateTraining& gate : gates) {
    for (const auto& [name, tensor] : arrays(gate)) load_array(file, name, tensor, backend, queue);
  }
}

}  // namespace seer
