#include "src/io/model_files.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/checksum.h"
#include "src/io/json_file.h"
#include "src/io/tensor_name.h"

namespace seer {
namespace fs = std::filesystem;

namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// An index comes with the model from elsewhere: it must not name files outside its own folder.
void check_shard_name(const std::string& shard, const fs::path& index) {
  const fs::path name(shard);
  const bool climbs =
      std::any_of(name.begin(), name.end(), [](const fs::path& part) { return part == ".."; });
  if (shard.empty() || name.is_absolute() || climbs || shard.find('\0') != std::string::npos) {
    fail("{}: weight_map names the file {}, which is not inside the model's folder", index.string(),
         quote_name(shard));
  }
}

// A name that cannot even be looked up (too long, no permission) counts as absent: opening it will say why.
bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

ModelFiles::ModelFiles(const fs::path& folder) : folder_(folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    fail("{}: no such folder; expected a Hugging Face model", folder.string());
  if (present(folder / kSingle)) {
    open_single(folder / kSingle);
  } else if (present(folder / kIndex)) {
    open_sharded(folder / kIndex);
  } else if (present(folder / "pytorch_model.bin") || present(folder / "pytorch_model.bin.index.json")) {
    fail("{}: holds pytorch_model.bin but no {}: convert the weights to safetensors first", folder.string(),
         kSingle);
  } else {
    fail("{}: no weights: neither {} nor {} is there", folder.string(), kSingle, kIndex);
  }
}

void ModelFiles::open_single(const fs::path& file) {
  const SafetensorsFile& opened = files_.emplace_back(file);
  for (const NamedTensor& tensor : opened.tensors()) tensors_.emplace(tensor.name, &tensor);
}

void ModelFiles::open_sharded(const fs::path& index) {
  const nlohmann::json json = read_json_file(index);
  const auto weight_map = json.find("weight_map");
  if (weight_map == json.end() || !weight_map->is_object()) {
    fail("{}: no object \"weight_map\" in it", index.string());
  }
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) {
      fail("{}: weight_map: the value of {} is {}; expected a file name", index.string(), quote_name(tensor),
           quote_name(shard.dump()));
    }
    shards[shard.get<std::string>()].push_back(tensor);
  }
  for (const auto& [shard, names] : shards) {
    check_shard_name(shard, index);
    if (!present(folder_ / shard)) {
      fail("{}: the shard {}, which {} names for {} tensors ({}, ...), is missing", folder_.string(),
           quote_name(shard), kIndex, names.size(), quote_name(names.front()));
    }
  }
  files_.reserve(shards.size());
  for (const auto& [shard, names] : shards) {
    const SafetensorsFile& file = files_.emplace_back(folder_ / shard);
    for (const std::string& name : names) {
      const NamedTensor* tensor = file.find(name);
      if (tensor == nullptr) {
        fail("{}: no tensor {} in it, though {} says so", file.display_name(), quote_name(name), kIndex);
      }
      tensors_.emplace(name, tensor);
    }
  }
}

const NamedTensor* ModelFiles::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : it->second;
}

const NamedTensor& ModelFiles::at(std::string_view name) const {
  if (const NamedTensor* tensor = find(name)) return *tensor;
  std::vector<std::string_view> known;
  known.reserve(tensors_.size());
  for (const auto& [key, tensor] : tensors_) known.push_back(key);
  fail("{}: no tensor {} among its {}{}", folder_.string(), quote_name(name), tensors_.size(),
       nearest_names(name, known));
}

FileLocation ModelFiles::locate(const NamedTensor& tensor) const {
  for (const SafetensorsFile& file : files_) {
    const std::span<const std::byte> mapped = file.mapped();
    if (tensor.bytes.data() >= mapped.data() && tensor.bytes.data() < mapped.data() + mapped.size()) {
      return {file.display_name(), tensor.bytes.data() - mapped.data()};
    }
  }
  fail("{}: tensor {} is in none of the model's files", folder_.string(), tensor.name);
}

std::vector<std::string> ModelFiles::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

int64_t ModelFiles::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += static_cast<int64_t>(tensor->bytes.size());
  return total;
}

uint32_t ModelFiles::fingerprint() const {
  constexpr size_t kSample = 4096;
  Crc32 crc;
  for (const auto& [name, tensor] : tensors_) {
    crc.add(fmt::format("{} {} {}", name, name_of(tensor->dtype), shape_text(tensor->shape)));
    const std::span<const std::byte> bytes = tensor->bytes;
    const size_t sample = std::min(kSample, bytes.size());
    crc.add(bytes.first(sample));
    crc.add(bytes.subspan(bytes.size() / 2 - sample / 2, sample));
    crc.add(bytes.last(sample));
  }
  return crc.value();
}

}  // namespace seer
